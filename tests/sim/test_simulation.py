"""What a simulation consists of and what it shows: topologies, time, captures, and one digest for one seed."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import netemu
import netemu.sim.simulation
from netemu.capture.pcapng import Record, read_blocks
from netemu.link.words import WordsError
from netemu.reasons import RouterMatch
from netemu.sim.hosts import SimHost
from netemu.sim.simulation import Simulation
from netemu.stack.datagram_socket import DatagramSocket

SECOND = 10**9


def asked(host: SimHost, name: str, family: int = 2) -> bytes:
    """What an echo on ``name`` answers."""
    socket = host.socket(family)
    socket.connect((name, 7))
    socket.sendall(b"are you there?")
    answer = socket.recv(100)
    socket.close()
    return answer


# -- what there is


def test_the_documentation_is_true() -> None:
    assert doctest.testmod(netemu.sim.simulation).failed == 0
    assert doctest.testmod(netemu.sim.simulation).attempted > 5


def test_names() -> None:
    sim = Simulation()
    assert sim.host("10.0.0.1").name == "h1"
    assert sim.host("web", "10.0.0.2/24", "2001:db8::2/64").addresses == ["10.0.0.2", "2001:db8::2"]
    assert sim.host("10.0.0.3").name == "h3"
    for again in (lambda: sim.host("web", "10.0.0.4"), lambda: sim.router("web")):
        with pytest.raises(ValueError, match="there is a node 'web' already"):
            again()
    with pytest.raises(TypeError, match="address"):
        sim.host()
    with pytest.raises(ValueError, match="web"):
        sim.host("x", "web")


def test_links_that_cannot_be() -> None:
    sim = Simulation()
    a, b, c = (sim.host(name, f"10.0.0.{n}") for n, name in enumerate("abc", 1))
    with pytest.raises(WordsError, match="delya"):
        sim.link(a, b, delya="20ms")
    with pytest.raises(WordsError, match="120"):
        sim.link(a, b, loss="120%")
    with pytest.raises(ValueError, match="both ends are 'a'"):
        sim.link(a, a)
    sim.link(a, b)
    with pytest.raises(ValueError, match="host b has its link already; put a router"):
        sim.link(b, c)
    with pytest.raises(ValueError, match="no node 'nobody'"):
        sim.link("nobody", c)
    with pytest.raises(ValueError, match=r"leave 10\.0\.0\.9/24 out"):
        sim.link("c 10.0.0.9/24", sim.router("r"))


def test_words_of_a_link() -> None:
    """Keywords are words, and each direction may have its own."""
    sim = Simulation()
    a, b = sim.host("a", "10.0.0.1"), sim.host("b", "10.0.0.2")
    link = sim.link(a, b, delay="20ms 5ms", keep_order=True, limit=100, back="delay 1ms")
    inward, outward = link.link.rows()
    assert (inward.words, outward.words) == ("limit 100 delay 20ms 5ms keep-order", "delay 1ms")
    link.set("out loss 5%")
    link.add("in duplicate 1%")
    inward, outward = link.link.rows()
    assert (inward.words, outward.words) == ("limit 100 delay 20ms 5ms keep-order duplicate 1%", "loss 5%")
    link.reset("in")
    assert link.link.rows()[0].words == ""
    with pytest.raises(WordsError, match="los"):
        link.set("los 5%")
    assert link.stats("in").packets_in == 0
    with pytest.raises(ValueError, match="give in or out"):
        link.stats("both")


def test_what_is_under_way_stays_so_when_a_link_changes() -> None:
    sim = Simulation()
    a, b = sim.host("a", "10.0.0.1"), sim.host("b", "10.0.0.2")
    link = sim.link(a, b, "delay 1s")
    receiver = b.socket(kind=2)
    receiver.bind(("", 9))
    a.socket(kind=2).sendto(b"slow", ("b", 9))
    sim.run(for_="10ms")
    link.set("delay 1ms")
    assert receiver.recv(10) == b"slow"
    assert sim.now == SECOND
    a.socket(kind=2).sendto(b"fast", ("b", 9))
    assert receiver.recv(10) == b"fast"
    assert sim.now == SECOND + 1_000_000


def test_super_packets_between_hosts() -> None:
    """With offload a write of 100 KB is a few packets for everybody but the link, which decides about each slice."""
    sim = Simulation(3)
    a, b = sim.host("a", "10.0.0.1", offload=True), sim.host("b", "10.0.0.2", offload=True)
    link = sim.link(a, b, "delay 5ms loss 2%")
    listener = b.socket()
    listener.bind(("", 80))
    listener.listen()
    client = a.socket()
    client.connect(("b", 80))
    server, _ = listener.accept()
    data = bytes(range(256)) * 800
    client.sendall(data)
    client.close()
    got = b""
    while piece := server.recv(1 << 20):
        got += piece
    assert got == data
    (inward, _) = link.link.rows()
    assert inward.packets_in > len(data) / 1448
    assert 0 < sum(inward.dropped.values()) < inward.packets_in / 10


# -- routers


def routed() -> tuple[Simulation, SimHost, SimHost]:
    """a - r1 - r2 - b, the way back by r3 as the links to it cost."""
    sim = Simulation(1)
    a = sim.host("a", "10.0.1.2/24", "2001:db8:1::2/64")
    b = sim.host("b", "10.0.2.2/24", "2001:db8:2::2/64")
    r1, r2, r3 = (sim.router(f"r{n}") for n in (1, 2, 3))
    sim.link(a, f"{r1} 10.0.1.1/24 2001:db8:1::1/64", "delay 1ms")
    sim.link(r1, r2, "delay 10ms", cost=(1, 9))
    sim.link(r2, f"{b.name}", "delay 1ms")
    sim.link(r2, r3, "delay 30ms")
    sim.link(r3, r1, "delay 30ms")
    b.serve("echo:7")
    return sim, a, b


def test_routes_follow_from_the_topology() -> None:
    sim, a, _ = routed()
    assert asked(a, "b") == b"are you there?"
    assert sim.now == 2 * (12 + 62) * 1_000_000, "there by r2, back by r3, twice"
    assert asked(a, "b", 10) == b"are you there?"
    assert sim.routers["r3"].router.counters[RouterMatch.FORWARDED] > 4


def test_a_router_at_work_gets_no_more_links() -> None:
    sim, a, _ = routed()
    asked(a, "b")
    with pytest.raises(ValueError, match="router r1 is at work"):
        sim.link("r1", sim.host("c", "10.0.3.2/24"))


def test_addresses_that_an_app_has_are_reached_by_a_router() -> None:
    sim = Simulation(seed=1)
    client, server = sim.host("client", "10.0.1.2/24"), sim.host("server", "10.0.2.2/24")
    router = sim.router("r1")
    sim.link(client, router)
    sim.link(router, server)
    server.serve("http")
    server.serve("trouble,addresses=10.0.3.0/24")
    assert server.addresses == ["10.0.2.2"], "the others are for the app alone"
    for address, size in (("10.0.3.21", 4096), ("10.0.3.32", 32768)):
        c = client.socket()
        c.connect((address, 80))
        c.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert len(b"".join(iter(partial(c.recv, 65536), b"")).partition(b"\r\n\r\n")[2]) == size
    with pytest.raises(ConnectionRefusedError):
        client.socket().connect(("10.0.3.5", 80))
    server.serve("more=echo:1007")
    with pytest.raises(ValueError, match="routers are at work; serve t, which has addresses, before"):
        server.serve("t=trouble:20001,addresses=10.0.4.0/24")


def test_a_router_with_nat() -> None:
    sim = Simulation(1)
    inside, outside = sim.host("inside", "192.168.0.2/24"), sim.host("outside", "203.0.113.2/24")
    sim.router("r", nat={"inside": ["lan"]})
    sim.link(inside, "r 192.168.0.1/24", name="lan")
    sim.link("r 203.0.113.1/24", outside, name="wan")
    listener = outside.socket()
    listener.bind(("", 80))
    listener.listen()
    inside.socket().connect(("outside", 80))
    assert listener.accept()[1][0] == "203.0.113.1"


# -- rules


def test_a_rule_on_a_link() -> None:
    sim = Simulation()
    a, b = sim.host("a", "10.0.0.1"), sim.host("b", "10.0.0.2")
    link = sim.link(a, b, "delay 10ms")
    b.serve("echo:7")
    link.add_rule("in: tcp.flags.syn and tcp.dstport == 7 drop first 2")
    assert asked(a, "b") == b"are you there?"
    assert sim.now == 3 * SECOND + 40_000_000, "the SYN of 3 s got through"


def test_a_rule_in_python() -> None:
    sim = Simulation()
    a, b = sim.host("a", "10.0.0.1"), sim.host("b", "10.0.0.2")
    link = sim.link(a, b)
    seen = []
    link.add_rule("in: udp call look", lambda packet: seen.append(bytes(packet)))
    a.socket(kind=2).sendto(b"hello", ("b", 9))
    sim.run()
    assert [packet[-5:] for packet in seen] == [b"hello"]


# -- time


def test_run_and_sleep() -> None:
    sim = Simulation()
    sim.sleep("1.5s")
    assert sim.now == 1_500_000_000
    assert sim.run(for_="500ms")
    assert sim.run(until="3s")
    assert sim.run(until=4 * SECOND)
    assert sim.now == 4 * SECOND
    with pytest.raises(ValueError, match="has passed"):
        sim.run(until="3s")
    with pytest.raises(ValueError, match="no unit"):
        sim.run(for_="3")
    with pytest.raises(TypeError, match="no time"):
        sim.sleep(1.5)  # type: ignore[arg-type]  # which is the mistake


def test_at() -> None:
    sim = Simulation()
    told: list[str] = []
    sim.at("2s", told.append, "second")
    sim.at("1s", told.append, "first")
    assert sim.run(until=lambda: bool(told))
    assert (told, sim.now) == (["first"], SECOND)
    assert not sim.run(until=lambda: len(told) > 2)
    assert (told, sim.now) == (["first", "second"], 2 * SECOND)
    with pytest.raises(ValueError, match="has passed"):
        sim.at("1s", told.append, "late")

    def waits():  # type: ignore[no-untyped-def]  # a generator, whatever it yields
        yield "1s"

    with pytest.raises(TypeError, match="spawn"):
        sim.at("3s", waits)


# -- what is seen


def records(path: Path) -> list[Record]:
    with open(path, "rb") as file:
        return [record for record in read_blocks(file.read) if record.data is not None]


def test_a_capture_shows_each_packet_on_both_sides(tmp_path: Path) -> None:
    """Of what is lost, why; and the file is whole while the simulation goes on."""
    with Simulation(5) as sim:
        sim.capture(tmp_path / "out.pcapng")
        a, b = sim.host("a", "10.0.0.1"), sim.host("b", "10.0.0.2")
        link = sim.link(a, b, "delay 20ms")
        receiver = b.socket(kind=2, app="listens")
        receiver.bind(("", 9))
        a.socket(kind=2).sendto(b"one", ("b", 9))
        receiver.recv(10)
        assert len(records(tmp_path / "out.pcapng")) == 2
        link.set("loss 100%")
        a.socket(kind=2).sendto(b"two", ("b", 9))
        sim.run()
    sent, received, lost = records(tmp_path / "out.pcapng")
    assert (sent.point, sent.inbound, sent.comment) == ("a", False, "sent by s1")
    assert (received.point, received.inbound) == ("b", True)
    assert received.comment == "delayed 20 ms; delivered to s1 of app listens by UDP_WILDCARD"
    assert received.wall_ns - sent.wall_ns == 20_000_000
    assert lost.point == "a"
    assert "dropped" in lost.comment


def busy(seed: int) -> str:
    """Everything at once; its digest."""
    sim = Simulation(seed)
    a, b = sim.host("a", "10.0.1.2/24"), sim.host("b", "10.0.2.2/24", offload=True)
    router = sim.router("r")
    sim.link(a, f"{router} 10.0.1.1/24", "delay 10ms 5ms loss 2% duplicate 2% corrupt 1% reorder 5%")
    sim.link(router, b, "rate 5mbit queue fq_codel delay 5ms")
    b.serve("web=http:80")
    b.serve("echo:7")
    for _ in range(2):
        asked(a, "b")
    socket = a.socket()
    socket.connect(("b", 7))
    socket.send(bytes(100_000))
    sim.run(for_="20s")
    return sim.digest()


def test_one_seed_one_digest_in_every_process() -> None:
    """Whatever order sets and dictionaries of text have there."""
    program = "import test_simulation; print(test_simulation.busy(7))"
    digests = {busy(7)}
    for hash_seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        told = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        digests.add(told.stdout.strip())
    assert len(digests) == 1
    assert busy(8) not in digests


def test_a_capture_changes_nothing(tmp_path: Path) -> None:
    digests = []
    for captured in (False, True):
        with Simulation(7) as sim:
            a, b = sim.host("a", "10.0.0.1"), sim.host("b", "10.0.0.2")
            sim.link(a, b, "delay 10ms 5ms loss 10%")
            b.serve("echo:7")
            if captured:
                sim.capture(tmp_path / "out.pcapng")
            asked(a, "b")
            digests.append(sim.digest())
    assert digests[0] == digests[1]


def test_a_scenario_in_virtual_time() -> None:
    path = Path(__file__).parents[2] / "scripts" / "scenarios" / "three-routers.toml"
    digests = []
    for _ in range(2):
        sim = Simulation.load(path)
        client = sim.hosts["client"].socket()
        client.connect(("server", 80))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        digests.append(sim.digest())
    assert digests[0] == digests[1]
    assert list(sim.routers) == ["r1", "r2", "r3"]


def test_a_packet_from_elsewhere_goes_over_the_hosts_link_and_captures_say_so() -> None:
    with Simulation(7) as sim:
        a, b = sim.host("a", "10.0.0.1/24"), sim.host("b", "10.0.2.2/24")
        sim.link(a, sim.router("r"), "in delay 1ms", name="first")
        sim.link("r", b, "in delay 5ms", name="second")
        told: list[tuple[str, bool, str]] = []
        sim.tap(lambda packet, wall_ns, inbound, comment, point: told.append((point, inbound, comment)))
        other = netemu.Host(["10.0.0.1/24"])
        sender = other.socket(2, 2)
        assert isinstance(sender, DatagramSocket)
        sender.sendto(b"hello", ("10.0.2.2", 9))
        packet = other.transmit(0)
        assert packet is not None
        a.inject(bytes(packet))  # before the router was made
        sim.at("2ms", a.inject, packet)
        sim.run()
        assert sim.now == 8_000_000
        assert told.count(("a", False, "injected")) == 2
        delivered = "delayed 5 ms; dropped: UDP_NO_SOCKET (no UDP socket on this port: ICMP port unreachable)"
        assert [told for told in told if told[:2] == ("b", True)] == [("b", True, delivered)] * 2
        assert len([told for told in told if told[:2] == ("a", True)]) == 2  # ICMP errors
