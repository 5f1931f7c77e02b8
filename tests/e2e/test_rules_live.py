"""Rules and links of a running instance, changed from outside, as real clients meet them."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulated import ADDRESS4, NETEMU, Emulated, emulated, inside, scratch, until
from netns import PATIENCE, Namespace

from netemu.capture.pcapng import Record, read_blocks

pytestmark = pytest.mark.e2e

URL = f"http://{ADDRESS4}/"
NO_LIMIT = ("--max-time", str(PATIENCE))


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulated]:
    namespace = Namespace()
    try:
        with emulated(namespace) as instance:
            yield instance
    finally:
        namespace.close()


@pytest.fixture
def host(shared: Emulated) -> Emulated:
    """A running instance whose link does nothing."""
    shared.netemu("link", "reset")
    if rules(shared):
        shared.netemu("rule", "del", "--all")
    return shared


def rules(host: Emulated) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(host.netemu("rule", "show", "--json").stdout)
    return rows


def links(host: Emulated) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(host.netemu("link", "show", "--json").stdout)
    return rows


def add(host: Emulated, *words: str) -> int:
    """Add a rule; its number, which no other rule of the link ever had."""
    rows = json.loads(host.netemu("rule", "add", *words, "--json").stdout)
    return max(int(row["number"]) for row in rows)


def curl(host: Emulated, *options: str) -> tuple[int, float, str]:
    """Its exit status, when it was connected (s), and what it complained about."""
    said = ("-sS", "-o", "/dev/null", "-w", "%{time_connect}", *NO_LIMIT)
    done = host.namespace.run("curl", *said, *options, URL, check=False, timeout=2 * PATIENCE)
    return done.returncode, float(done.stdout), done.stderr


def test_a_lost_syn_costs_curl_a_second(host: Emulated) -> None:
    host.netemu("rule", "add", "in: tcp.flags.syn and tcp.dstport == 80 drop first 1")
    status, connected, _ = curl(host)
    assert status == 0
    assert connected >= 0.9  # RFC 6298: the first retransmission is due after 1 s
    (row,) = rules(host)
    assert (row["acted"], row["packets"], row["rests"]) == (1, 1, True)
    assert links(host)[0]["dropped"] == {"RULE": 1}
    assert "1 packet, rests" in host.netemu("rule", "show").stdout
    assert "  1 rule" in host.netemu("link", "show").stdout
    assert curl(host)[0] == 0
    assert rules(host)[0]["acted"] == 1


def test_a_reset_in_place_of_the_request(host: Emulated) -> None:
    host.netemu("rule", "add", "in: tcp.dstport == 80 and tcp.len > 0 reset both first 1")
    status, _, complaint = curl(host)
    assert status == 56, complaint
    assert "reset by peer" in complaint
    until(lambda: not host.connections())  # the host has had its own
    inward = links(host)[0]
    assert (inward["answered"], inward["passed"]) == (1, 1)


def test_unreachable(host: Emulated) -> None:
    number = add(host, "in: tcp.dstport == 80 unreachable host")
    status, _, complaint = curl(host)
    assert status == 7, complaint
    assert rules(host)[0]["acted"] >= 1
    host.netemu("rule", "del", str(number))
    assert curl(host)[0] == 0
    assert rules(host) == []


def test_fields_are_set(host: Emulated) -> None:
    host.netemu("rule", "add", "out: icmp set ip.ttl=7")
    assert "ttl=7 " in host.namespace.run("ping", "-c", "1", ADDRESS4).stdout
    host.netemu("rule", "del", "--all")
    assert "ttl=64 " in host.namespace.run("ping", "-c", "1", ADDRESS4).stdout


def test_a_kernel_heeds_frag_needed(host: Emulated) -> None:
    """Super-packets among them: each slice is too long."""
    host.netemu("rule", "add", "in: tcp and ip.len > 1000 frag-needed 1000")
    with inside(host.namespace, lambda: socket.create_connection((ADDRESS4, 7), PATIENCE)) as client:
        client.sendall(bytes(100_000))
        client.shutdown(socket.SHUT_WR)
        received = 0
        while data := client.recv(1 << 16):
            received += len(data)
        assert received == 100_000
    assert "mtu 1000" in host.namespace.run("ip", "route", "get", ADDRESS4).stdout
    assert rules(host)[0]["acted"] >= 1
    host.namespace.run("ip", "route", "flush", "cache")


def test_rules_have_an_order_and_what_is_wrong_changes_nothing(host: Emulated) -> None:
    number = add(host, "in: icmp drop")
    before = add(host, "--before", str(number), "in: icmp pass first 1")
    pinged = host.namespace.run("ping", "-c", "3", "-i", "0.2", "-W", "1", ADDRESS4, check=False)
    assert "3 packets transmitted, 1 received" in pinged.stdout
    assert [(row["number"], row["packets"], row["acted"]) for row in rules(host)] == [(before, 1, 1), (number, 2, 2)]
    for words, complaint in (
        (("add", "in: tcp.flags.sin drop"), "did you mean"),
        (("add", "in: tcp"), "action"),
        (("del", "999"), "there is no rule 999"),
        (("add", "icmp steer wan"), "give another link"),
    ):
        done = host.netemu("rule", *words, check=False)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert complaint in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert len(rules(host)) == 2


def test_why_names_what_stands_before_the_host(host: Emulated) -> None:
    host.netemu("link", "set", "in", "delay", "1ms")
    number = add(host, "in: tcp.flags.syn and tcp.dstport == 80 drop first 1")
    said = host.netemu("why", "tcp", "198.18.0.1:4000", f"{ADDRESS4}:80").stdout.splitlines()
    assert said[1:3] == [
        f"on its way: link link: rule {number}: in: tcp.flags.syn and tcp.dstport == 80 drop first 1",
        "on its way: link link: delay 1ms",
    ]
    assert rules(host)[0]["packets"] == 0


def records(path: Path) -> list[Record]:
    with path.open("rb") as capture:
        return [record for record in read_blocks(capture.read) if record.data is not None]


def test_a_capture_of_a_link_that_is_changed_has_both_sides(host: Emulated) -> None:
    def pinged(count: int) -> list[tuple[str, str]]:
        """(point, comment) of each packet that one ping makes."""
        with scratch() as directory:
            path = directory / "live.pcapng"
            process = host.namespace.start(
                "env", f"NETEMU_NAME={host.name}", NETEMU, "capture", "-c", str(count), "-w", str(path), "icmp"
            )
            until(lambda: path.exists() and path.stat().st_size)
            host.namespace.run("ping", "-c", "1", "-W", "1", ADDRESS4, check=False)
            assert process.wait(PATIENCE) == 0
            return [(record.point, re.sub(r"[\d.]+ ms", "… ms", record.comment)) for record in records(path)]

    device = host.name
    host.netemu("link", "set", "in", "delay", "30ms")
    *asks, one, other = pinged(4)
    assert asks == [(device, ""), ("host", "delayed … ms; taken: ICMP_ECHO")]
    assert {one, other} == {("host", "sent: ICMP_ECHO (an echo request, answered by the host)"), (device, "")}
    host.netemu("link", "set", "in", "loss", "100%")
    assert pinged(2) == [(device, ""), (device, "dropped: lost at random")]
    host.netemu("link", "set", "in", "clear")
    number = add(host, "out: icmp drop")
    *_, lost = pinged(3)
    assert lost[0] == "host"
    assert lost[1].endswith(f"; dropped: rule {number}: drop")


def test_up_with_words_for_the_link(netns: Namespace) -> None:
    with emulated(netns, "--link", "in delay 30ms out delay 20ms") as host:
        rtt = host.namespace.run("ping", "-c", "2", "-i", "0.2", ADDRESS4).stdout.rsplit("=", 1)[1].split("/")
        assert float(rtt[0]) >= 50
        assert [row["words"] for row in links(host)] == ["delay 30ms", "delay 20ms"]
    done = netns.run(NETEMU, "up", "--link", "loss 120%", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "netemu: loss 120%: a share is between 0% and 100%\n"
