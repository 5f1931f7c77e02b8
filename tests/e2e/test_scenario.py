"""Scenarios on real devices: real clients in namespaces, and hosts, routers and links of a file around them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from emulated import NETEMU, Emulated, emulated, scratch, until
from netns import PATIENCE, ROOT, Entered, Namespace
from verbs import running

pytestmark = pytest.mark.e2e

SCENARIOS = ROOT / "scripts" / "scenarios"
SERVER, SERVER6 = "10.2.0.2", "2001:db8:2::2"


@pytest.fixture
def netns() -> Iterator[Namespace]:
    namespace = Entered()
    try:
        yield namespace
    finally:
        namespace.close()


class Client:
    """The namespace that a scenario makes for its client."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *argv: str) -> str:
        command = ["ip", "netns", "exec", self.name, *argv]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{argv}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def scenario(netns: Namespace, file: str, namespace: str, text: str | None = None) -> Iterator[tuple[Emulated, Client]]:
    """A running one of scripts/scenarios, its namespace under a name of this test's own."""
    own = f"{namespace}-{os.getpid()}"
    text = (SCENARIOS / file).read_text() if text is None else text
    with scratch() as directory:
        path = directory / file
        path.write_text(text.replace(f'namespace = "{namespace}"', f'namespace = "{own}"'))
        with emulated(netns, str(path)) as instance:
            assert f"sudo ip netns exec {own} ping" in instance.welcome
            yield instance, Client(own)
    until(lambda: own not in {path.name for path in Path("/run/netns").iterdir()})


def hops(traceroute: str) -> list[str]:
    return [line.split()[1] for line in traceroute.splitlines()[1:]]


def test_traceroute_and_mtr_show_the_path(netns: Namespace) -> None:
    with scenario(netns, "three-routers.toml", "client") as (instance, client):
        path = ["10.1.0.1", "198.19.0.2", "198.19.0.6", SERVER]
        for kind in ((), ("-I",), ("-T", "-p", "80")):
            assert hops(client.run("traceroute", "-n", "-w", "10", "-q", "1", *kind, SERVER)) == path
        shown = hops(client.run("traceroute", "-6", "-n", "-w", "10", "-q", "1", SERVER6))
        assert (shown[0], shown[-1], len(shown)) == ("2001:db8:1::1", SERVER6, 4)
        report = json.loads(client.run("mtr", "-n", "--json", "-c", "3", "-i", "0.3", SERVER))["report"]["hubs"]
        assert [hub["host"] for hub in report] == path
        assert report[-1]["Best"] >= 50  # 2 + 8 + 10 (give or take 1) there, 30 + 2 back: the way back is another one
        shown_links = json.loads(instance.netemu("link", "show", "--json").stdout)
        rows = {(row["link"], row["direction"]): row for row in shown_links}
        assert rows["north", "in"]["packets_in"] > 0
        assert rows["north", "out"]["packets_in"] == 0
        assert rows["south", "out"]["packets_in"] > 0
        assert client.run("curl", "-s", "--max-time", "20", f"http://{SERVER}/").startswith("<!DOCTYPE html>")


def test_a_client_behind_nat_reaches_a_server_and_nobody_reaches_the_client(netns: Namespace) -> None:
    with scenario(netns, "home.toml", "laptop") as (instance, client):
        with running(instance, "serve", "7007", "--host", "server", "--", "sh", "-c", "echo $NETEMU_PEER; cat"):
            told = client.run("sh", "-c", "echo hello | nc -N -w 10 203.0.113.10 7007")
        seen, said = told.split("\n", 1)
        assert said == "hello\n"
        assert not seen.startswith("192.168.")  # the server sees the home's address
        (home,) = json.loads(instance.netemu("router", "home", "--json").stdout)
        mapped = [row for row in home["nat"] if row["kind"] == "dynamic" and row["protocol"] == "tcp"]
        assert [(row["inside"].split(":")[0], row["outside"]) for row in mapped] == [("192.168.1.20", seen)]
        assert next(row["packets"] for row in home["firewall"] if row["rule"] == "allow in wifi") == 1
        assert home["counters"]["FORWARDED"] >= 6
        wrong = instance.netemu("router", "nowhere", check=False)
        assert (wrong.returncode, wrong.stderr) == (
            2,
            "netemu: there is no router 'nowhere'; there is home, provider\n",
        )
        assert {row["host"] for row in instance.sockets()} == {"printer", "server"}
        assert instance.netemu("ss", "-a").stdout.split()[0] == "Host"
        refused = instance.netemu("serve", "7", "--host", "nowhere", "--", "cat", check=False)
        assert refused.returncode == 1
        assert "has no host 'nowhere'; it has printer, server" in refused.stderr


TROUBLED = """
[tun.visitor]
address = ["10.7.1.2/24"]
namespace = "visitor"
[host.bad]
address = ["10.7.2.2/24"]
app = ["trouble"]
[router.r]
[link.near]
ends = ["visitor", "r 10.7.1.1/24"]
[link.far]
ends = ["r 10.7.2.1/24", "bad"]
both = "delay 10ms"
"""


def test_trouble_behind_a_router(netns: Namespace) -> None:
    """Some of its ports are rules for packets, one is an app's doing, one a bend's."""

    def curl(port: int, most: int = PATIENCE) -> list[str]:
        said = "%{exitcode} %{time_connect} %{size_download}"
        url = f"http://10.7.2.2:{port}/"
        return client.run("sh", "-c", f"curl -s -o /dev/null -m {most} -w '{said}' {url} || true").split()

    with scenario(netns, "troubled.toml", "visitor", TROUBLED) as (instance, client):
        assert curl(10001, 2)[0] == "28"  # no-answer
        status, connected, size = curl(10003)  # lost-syns
        assert (status, int(size) > 0) == ("0", True)
        assert float(connected) >= 1.9  # the third SYN: Linux sends the first few a second apart
        assert curl(10005)[0] == "7"  # refuse
        assert curl(10021)[0] == "18"  # truncated
        assert curl(10035)[0] == "0"  # blind-reset

        def on_the_way(port: int) -> list[str]:
            told = instance.netemu("why", "tcp", "10.7.1.2:5000", f"10.7.2.2:{port}", "--flags", "S").stdout
            return [line.removeprefix("on its way: ") for line in told.splitlines() if line.startswith("on its way")]

        delay = "link far: delay 10ms"
        assert on_the_way(10001) == [delay, "at the host: rule 1: in: tcp.dstport == 10001 and tcp.flags.syn drop"]
        assert on_the_way(10035) == [delay, "at the host: BlindReset, both ways"]
        assert on_the_way(10005)[1:] == ["at the host: rule 1: in: tcp.dstport == 10005 and tcp.flags.syn reset sender"]
        assert on_the_way(10013) == [delay]  # early-fin: the app does it


def test_a_wrong_file_starts_nothing(netns: Namespace, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    nodes = '[host.a]\naddress = ["10.0.0.1/24"]\n[tun.b]\naddress = ["10.0.0.2/24"]\n'
    path.write_text(nodes + '[link.l]\nends = ["b", "a"]\nboth = "loss 120%"\n')
    done = netns.run(NETEMU, "up", str(path), check=False)
    assert done.returncode == 2
    assert done.stderr == f"netemu: {path}:7: link.l.both: loss 120%: a share is between 0% and 100%\n"
    assert "b" not in netns.run("ip", "-br", "link").stdout.split()


def test_run_in_a_scenario(netns: Namespace) -> None:
    """The namespace that the file names is not made: the command has it for its own."""

    def run(command: str) -> str:
        file = str(SCENARIOS / "home.toml")
        return netns.run(NETEMU, "run", "--scenario", file, "--", "sh", "-c", command, timeout=3 * PATIENCE).stdout

    assert run("curl -s --max-time 20 http://203.0.113.10/").startswith("<!DOCTYPE html>")
    shown = run("ip -br address; netemu link show --json; ls /run/netns; netemu ss -a")
    assert "192.168.1.20/24" in shown
    assert '"dsl"' in shown
    assert "laptop\n" not in shown
    assert "printer" in shown
