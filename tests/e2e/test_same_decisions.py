"""One scenario file, in real and in virtual time: the same packets have the same fate, at every link on their way.

What a real kernel sent is in the instance's capture, and so is what became of it. The very same packets are played into the
simulation of the file; so are those that its own host sends, and super-packets slice by slice.

What chance and rules decide follows from the order of packets, not from their times. But times decide who overtakes whom, and no
machine keeps them to the nanosecond: so what has packets overtake each other here is the link at the TUN, where both know their
times exactly, and the last one.
"""

from __future__ import annotations

import json
import os
import random
import re
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from emulated import Emulated, emulated, scratch, until
from netns import PATIENCE, Entered

import netemu
from netemu.capture.pcapng import Record, read_blocks
from netemu.wire.packet import Packet
from netemu.wire.slices import split
from tun.netns import call_in

pytestmark = pytest.mark.e2e

CLIENT, SERVER = "10.1.0.2", "10.2.0.2"
OWN = f"same-{os.getpid()}"
DATAGRAMS, BURST = 1500, 100
STREAM, MTU = 400_000, 1500
SCENARIO = f"""
seed = 1234
[tun.client]
address = ["{CLIENT}/24"]
namespace = "{OWN}"

[host.server]
address = ["{SERVER}/24"]
app = ["echo=echo:7"]

[router.home]
nat = {{ inside = ["lan"] }}

[router.isp]

[link.lan]
ends = ["client", "home 10.1.0.1/24"]
in = "delay 4ms reorder 20% 40% gap 4 loss 2% 30% duplicate 3%"
out = "delay 2ms 1ms distribution normal corrupt 2%"
rules = [
    "in: udp.length > 900 drop probability 5%",
    "in: flow.packet == 17 drop",
    "in: udp set ip.dsfield.dscp=10 every 5",
    "in: udp delay 3ms probability 4%",
    "in: tcp and flow.data in {{30..33}} duplicate",
    "out: udp duplicate skip 10 every 40",
    "both: icmp pass",
]

[link.dsl]
ends = ["home", "isp"]
in = "loss gemodel 1% 60% corrupt 2%"
out = "delay 5ms loss state 1% 60%"

[link.core]
ends = ["isp 10.2.0.1/24", "server"]
in = "delay 1ms duplicate 2%"
out = "loss 1% ecn"
rules = ["in: udp corrupt good probability 3%", "out: udp drop first 3", "out: udp set ip.ttl-=3 probability 5%",
         "out: flow.data == 30 corrupt"]
"""
POINTS = ("home.lan", "home.dsl", "isp.dsl", "isp.core", "server")
COUNTED = (
    "packets_in",
    "bytes_in",
    "packets_out",
    "dropped",
    "duplicated",
    "corrupted",
    "reordered",
    "marked",
    "passed",
)

Told = list[tuple[bytes, str]]
"""Packets, and what was decided."""


class Run(NamedTuple):
    """What a run of the scenario in real time has left."""

    records: list[Record]
    links: list[dict[str, Any]]
    rules: list[dict[str, Any]]


def records(path: Path) -> list[Record]:
    with path.open("rb") as capture:
        return [record for record in read_blocks(capture.read) if record.data is not None]


def told(found: list[Record], point: str, *, inbound: bool) -> Told:
    """What a capture has of a point, without times: the machine's load has a part in them."""
    return [
        (record.data or b"", re.sub(r"delayed [\d.e+-]+ ms", "delayed", record.comment))
        for record in found
        if (record.point, record.inbound) == (point, inbound)
    ]


def came(found: list[Record], node: str) -> list[tuple[int, bytes]]:
    """(when, packet) of all that ``node`` sent into its link. What the link drops at once is told once more."""
    is_device = node == "client"  # "inbound" is what comes out of it
    return [
        (record.wall_ns, record.data or b"")
        for record in found
        if (record.point, record.inbound) == (node, is_device)
        and (not record.comment if is_device else record.comment.startswith("sent"))
    ]


def lost(found: list[Record], *, inbound: bool) -> Told:
    """What was dropped where the client's packets enter."""
    entering = told(found, "client", inbound=inbound)
    return [(data, why.removeprefix("injected; ")) for data, why in entering if "dropped: " in why]


def asked(instance: Emulated, *argv: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(instance.netemu(*argv, "show", "--json").stdout)
    return rows


def counts(rows: list[dict[str, Any]], link: str, way: str) -> dict[str, Any]:
    (row,) = (row for row in rows if (row["link"], row["direction"]) == (link, way))
    return row


def has_taken(instance: Emulated, number: int) -> bool:
    return bool(counts(asked(instance, "link"), "lan", "in")["packets_in"] >= number)


def at_rest(instance: Emulated) -> bool:
    return not any(row["in_flight"] + row["queued_packets"] for row in asked(instance, "link"))


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with scratch() as directory:
        path = directory / "same.toml"
        path.write_text(SCENARIO)
        yield path


def datagrams() -> list[bytes]:
    chance = random.Random(1)
    return [number.to_bytes(4, "big") + chance.randbytes(chance.randrange(4, 1400)) for number in range(DATAGRAMS)]


def send_datagrams(instance: Emulated) -> None:
    with call_in(OWN, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.bind((CLIENT, 5000))
        payloads = datagrams()
        for start in range(0, DATAGRAMS, BURST):  # the device's queue has room for that many
            for payload in payloads[start : start + BURST]:
                client.sendto(payload, (SERVER, 7))
            until(partial(has_taken, instance, start + BURST))
        until(lambda: at_rest(instance))


def send_stream(instance: Emulated) -> None:
    with call_in(OWN, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as client:
        client.settimeout(2 * PATIENCE)
        client.bind((CLIENT, 5001))
        client.connect((SERVER, 7))
        client.sendall(bytes(STREAM))
        client.shutdown(socket.SHUT_WR)
        while client.recv(1 << 16):
            pass
    until(lambda: at_rest(instance))


def really(file: Path, send: Callable[[Emulated], None]) -> Run:
    namespace = Entered()
    pcap = file.parent / "real.pcapng"
    try:
        with emulated(namespace, str(file), "--pcap", str(pcap)) as instance:
            send(instance)
            links, rules = asked(instance, "link"), asked(instance, "rule")
        return Run(records(pcap), links, rules)
    finally:
        namespace.close()


@pytest.fixture(scope="module")
def real(file: Path) -> Run:
    return really(file, send_datagrams)


@pytest.fixture(scope="module")
def stream(file: Path) -> Run:
    return really(file, send_stream)


def simulation(file: Path) -> tuple[netemu.Simulation, Path]:
    """The file in virtual time, and its capture."""
    sim = netemu.Simulation.load(file)
    path = file.parent / "simulated.pcapng"
    sim.capture(path)
    return sim, path


def without_identity(told: Told) -> Told:
    """Without IP identification and header checksum: another host counts its packets otherwise."""
    return [(data[:4] + data[6:10] + data[12:], why) for data, why in told]


def test_a_kernels_datagrams_have_the_same_fate_in_virtual_time(file: Path, real: Run) -> None:
    sent = came(real.records, "client")
    assert [data[28:] for _, data in sent] == datagrams()  # the kernel sent nothing else
    sim, path = simulation(file)
    with sim, sim.hosts["client"].socket(kind=socket.SOCK_DGRAM) as client:
        client.bind((CLIENT, 5000))
        for when, data in sent:
            sim.at(when - sent[0][0], sim.hosts["client"].inject, data)
        sim.run()
        simulated = records(path)
        for point in POINTS:
            for inbound in (True, False):
                assert told(simulated, point, inbound=inbound) == told(real.records, point, inbound=inbound), point
        assert lost(simulated, inbound=False) == lost(real.records, inbound=True) != []
        # the last link has jitter: who comes first is a matter of times
        arrived = [data for data, _ in told(simulated, "client", inbound=True)]
        assert sorted(arrived) == sorted(data for data, _ in told(real.records, "client", inbound=False))
        for link in sim.links.values():
            for row in link.link.rows():
                theirs = counts(real.links, row.link, row.direction)
                assert {key: getattr(row, key) for key in COUNTED} == {key: theirs[key] for key in COUNTED}, row
        done = [
            (r.link, r.direction, r.number, r.packets, r.bytes, r.acted)
            for link in sim.links.values()
            for r in link.rules()
        ]
        assert done == [
            (r["link"], r["direction"], r["number"], r["packets"], r["bytes"], r["acted"]) for r in real.rules
        ]
        assert all(acted for *_, acted in done[:4])


def test_each_knob_had_something_to_do(real: Run) -> None:
    """Else the comparison would say nothing."""
    comments = " ".join(record.comment for record in real.records)
    for word in (
        "lost at random",
        "duplicated",
        "reordered",
        "corrupted",
        "gemodel",
        "state 3",
        "rule 1: drop",
        "rule 4: delay",
        "rule 6: duplicate",
    ):
        assert word in comments, word
    assert "rule 2: drop" in comments


def test_the_simulations_own_datagrams_have_the_same_fate(file: Path, real: Run) -> None:
    times = [when for when, _ in came(real.records, "client")]
    sim, path = simulation(file)
    with sim, sim.hosts["client"].socket(kind=socket.SOCK_DGRAM) as client:
        client.bind((CLIENT, 5000))

        def send() -> Iterator[object]:
            for when, payload in zip(times, datagrams(), strict=True):
                yield sim.sleep(when - times[0] - sim.now)
                yield client.sendto(payload, (SERVER, 7))

        sim.spawn(send)
        sim.run()
    simulated = records(path)
    for point in POINTS:
        for inbound in (True, False):
            ours, theirs = (told(found, point, inbound=inbound) for found in (simulated, real.records))
            assert without_identity(ours) == without_identity(theirs), point


def slices(data: bytes) -> list[bytes]:
    """A captured super-packet's packets of the wire."""
    if len(data) <= MTU:
        return [data]
    headers = 20 + (data[32] >> 4) * 4
    return [bytes(piece) for piece in split(Packet(data, gso_size=MTU - headers))]


@pytest.mark.parametrize(("node", "entry", "exit_"), [("client", "lan", "home.lan"), ("server", "core", "isp.core")])
def test_super_packets_have_the_fate_of_their_slices(
    file: Path, stream: Run, node: str, entry: str, exit_: str
) -> None:
    sent = came(stream.records, node)
    assert max(len(data) for _, data in sent) > MTU, "there were no super-packets"
    sim, path = simulation(file)
    with sim:
        for link, way in (("core", "out"), ("lan", "in")):
            if link != entry:  # nobody answers what he knows nothing of
                sim.links[link].add_rule(f"{way}: frame drop", before=1)
        for when, data in sent:
            for piece in slices(data):
                sim.at(when - sent[0][0], sim.hosts[node].inject, piece)
        sim.run()
    ours, theirs = (
        [(piece, why) for data, why in told(found, exit_, inbound=True) for piece in slices(data)]
        for found in (records(path), stream.records)
    )
    assert ours == theirs
    assert any("rule" in why for _, why in theirs)
