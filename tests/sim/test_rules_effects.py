"""What rules do to two hosts of ours, in virtual time: the end effect, not the packet."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from netemu.sim.simulation import Simulation
from netemu.sim.sockets import SimSocket

DATA = bytes(range(256)) * 400
SECOND = 10**9


def _sending(socket: SimSocket, data: bytes) -> Any:
    """What a program yields to send all of it; ``sendall`` itself says that it returns nothing."""
    send: Any = socket.sendall
    return send(data)


class World:
    """A client and a server with 10 ms between them each way; in is towards the server."""

    def __init__(self, *rules: str, offload: bool = False, words: str = "delay 10ms") -> None:
        self.sim = Simulation(1)
        self.a = self.sim.host("a", "10.0.0.1/24", "2001:db8::1/64", offload=offload)
        self.b = self.sim.host("b", "10.0.0.2/24", "2001:db8::2/64", offload=offload)
        self.link = self.sim.link(self.a, self.b, words)
        for rule in rules:
            self.link.add_rule(rule)
        self.listener = self.b.socket()
        self.listener.bind(("", 80))
        self.listener.listen()

    def connected(self) -> tuple[SimSocket, SimSocket]:
        client = self.a.socket()
        client.connect(("10.0.0.2", 80))
        server, _ = self.listener.accept()
        return client, server

    def acted(self) -> list[int]:
        return [row.acted for row in self.link.rules()]


def carry(world: World, data: bytes = DATA) -> bytes:
    """Send ``data`` from client to server; what came."""
    client, server = world.connected()

    def send() -> Iterator[Any]:
        yield _sending(client, data)
        client.close()

    world.sim.spawn(send)
    got = bytearray()
    while piece := server.recv(65536):
        got += piece
    return bytes(got)


def test_each_dropped_syn_costs_its_timeout() -> None:
    """RFC 6298: 1 s, then twice as much."""
    world = World("in: tcp.flags.syn drop first 2")
    client = world.a.socket()
    client.connect(("10.0.0.2", 80))
    assert world.sim.now == 3 * SECOND + 20_000_000
    assert world.acted() == [2]


def test_the_nth_retransmission_is_lost_too() -> None:
    plain = World("in: flow.data == 1 drop")
    assert carry(plain, b"hello") == b"hello"
    worse = World("in: flow.data == 1 drop", "in: flow.retransmission.count in {1, 2} drop")
    assert carry(worse, b"hello") == b"hello"
    assert worse.acted() == [1, 2]
    assert worse.sim.now > 2 * plain.sim.now  # the timeout doubles each time (RFC 6298 5.5)


@pytest.mark.parametrize("offload", [False, True])
def test_data_comes_whole_through_all_that_can_be_mended(offload: bool) -> None:
    world = World(
        "in: tcp.len > 0 corrupt every 7",
        "in: flow.data in {3, 5, 20..22} drop",
        "in: tcp.len > 0 duplicate probability 20%",
        "in: tcp.len > 0 delay 15ms every 5",
        "in: tcp.len > 100 truncate 100 every 11",
        "out: flow.pure_ack drop probability 20%",
        "both: tcp reset both out-of-window every 10",
        offload=offload,
    )
    assert carry(world) == DATA
    assert all(world.acted())


@pytest.mark.parametrize("offload", [False, True])
def test_good_corruption_is_what_nobody_notices(offload: bool) -> None:
    world = World("in: flow.data == 2 corrupt good", offload=offload)
    got = carry(world)
    assert len(got) == len(DATA)
    assert (int.from_bytes(got, "big") ^ int.from_bytes(DATA, "big")).bit_count() == 1


def test_a_reset_after_so_many_bytes() -> None:
    world = World("in: flow.bytes >= 50000 reset both first 1")
    client, server = world.connected()
    ended: list[str] = []

    def send() -> Iterator[Any]:
        try:
            yield _sending(client, DATA * 50)  # more than buffers hold
        except ConnectionResetError:
            ended.append("client")

    world.sim.spawn(send)
    got = 0
    ends = ""
    try:
        while piece := server.recv(65536):
            got += len(piece)
    except ConnectionResetError:  # the receiver's RST is at once, and finds what came before it
        ends = "reset"
    assert ends == "reset"
    world.sim.run(for_="1s")
    assert got <= 52_000
    assert ended == ["client"]


def test_a_reset_refuses_a_connection() -> None:
    world = World("in: tcp.flags.syn reset")
    with pytest.raises(ConnectionRefusedError):
        world.connected()
    assert world.sim.now == 0  # the answer is the link's own


def test_unreachable_ends_a_connection_that_is_not_there_yet() -> None:
    world = World("in: tcp.flags.syn unreachable host")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - what it is, is looked at
        world.connected()
    assert caught.value.errno == errno.EHOSTUNREACH


def test_a_datagram_that_is_refused() -> None:
    world = World("in: udp unreachable port")
    client = world.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("10.0.0.2", 9))
    client.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        client.recv(10)


@pytest.mark.parametrize("family", [4, 6])
def test_frag_needed_finds_the_path_mtu(family: int) -> None:
    """RFC 1191, RFC 8201: the sender learns it, and everything comes."""
    world = World("in: frame.len > 1280 frag-needed 1280")
    if family == 6:
        listener = world.b.socket(socket.AF_INET6)
        listener.bind(("2001:db8::2", 81))
        listener.listen()
        client = world.a.socket(socket.AF_INET6)
        client.connect(("2001:db8::2", 81))
        server, _ = listener.accept()
    else:
        client, server = world.connected()

    def send() -> Iterator[Any]:
        yield _sending(client, DATA)
        client.close()

    world.sim.spawn(send)
    got = bytearray()
    while piece := server.recv(65536):
        got += piece
    assert bytes(got) == DATA
    assert world.acted()[0] >= 1
    assert world.sim.now < 3 * SECOND


def test_a_window_that_is_said_to_be_closed_stops_the_sender() -> None:
    world = World("out: tcp.flags.syn == 0 set tcp.window_size_value=0 for 5s")
    assert carry(world) == DATA
    assert world.sim.now > 5 * SECOND  # probed until the window opens (RFC 9293 3.8.6.1)


def test_delay_is_added_to_the_links() -> None:
    world = World("in: udp delay 40ms", "in: udp delay 2ms")
    server = world.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", 9))
    client = world.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.sendto(b"x", ("10.0.0.2", 9))
    assert server.recv(10) == b"x"
    assert world.sim.now == 52_000_000


def test_a_function_of_python() -> None:
    def shout(packet: Any) -> Any:
        from scapy.packet import Raw

        if Raw in packet:
            packet[Raw].load = packet[Raw].load.upper()
        return packet

    world = World()
    world.link.add_rule("in: tcp call shout", shout)
    assert carry(world, b"hello") == b"HELLO"


def test_a_rule_may_come_and_go() -> None:
    world = World()
    number = world.link.add_rule("in: tcp drop")
    world.sim.at("10s", world.link.delete_rule, number)
    assert carry(world, b"hello") == b"hello"
    assert world.sim.now > 10 * SECOND
    assert world.link.rules() == []


def test_the_same_seed_decides_the_same() -> None:
    rules = "in: tcp.len > 0 drop probability 10%", "out: tcp corrupt probability 5%"
    worlds = [World(*rules) for _ in range(2)]
    assert all(carry(world) == DATA for world in worlds)
    assert worlds[0].sim.digest() == worlds[1].sim.digest()
    assert all(worlds[0].acted())
