"""Hosts that speak TCP through routers, in virtual time: NAT, an MTU that has to be found out, a firewall, offload."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from netemu.reasons import Close, RouterDrop, RouterMatch
from netemu.router.nat_config import parse_nat
from netemu.router.router import Router
from netemu.router.routes import parse_route
from netemu.router.rows import nat_rows
from netemu.stack import constants as so
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.packet import Packet

MS, SECOND = 1_000_000, 1_000_000_000
CLIENT, SERVER = "10.0.1.2", "198.51.100.7"
CLIENT6, SERVER6 = "2001:db8:1::2", "2001:db8:3::2"


class World:
    """A client, two routers in a row, a server; 5 ms from each to the next."""

    def __init__(
        self, mtu: int = 1500, nat: bool = False, firewall: tuple[str, ...] = (), offload: bool = True
    ) -> None:
        self.now = SECOND
        self.client = Host([CLIENT, CLIENT6], seed=1, offload=offload)
        self.server = Host([SERVER, SERVER6], seed=2, offload=offload)
        self.near, self.far = Router("near", 1), Router("far", 1)
        self.near.add_port("lan", ["10.0.1.1/24", "2001:db8:1::1/64"])
        self.near.add_port("wan", ["192.0.2.1/30", "2001:db8:2::1/64"])
        self.far.add_port("wan", ["192.0.2.2/30", "2001:db8:2::2/64"])
        self.far.add_port("dmz", ["198.51.100.1/24", "2001:db8:3::1/64"], mtu)
        for route in ("default via 192.0.2.2", "::/0 via 2001:db8:2::2"):
            self.near.add_route(parse_route(route))
        self.far.add_route(parse_route("2001:db8:1::/64 via 2001:db8:2::1"))
        if nat:
            self.near.use_nat(parse_nat({"inside": ["lan"], "port_preservation": False}))
        else:
            self.far.add_route(parse_route("10.0.1.0/24 via 192.0.2.1"))
        if firewall:
            self.near.use_firewall(firewall)
        self.largest = 0

    def into(self, router: Router, port: int) -> Callable[[Packet], object]:
        return lambda packet: router.receive(port, packet, self.now)

    def to_host(self, host: Host) -> Callable[[Packet], object]:
        def arrive(packet: Packet) -> object:
            whole = bytes(packet.head) + b"".join(packet.body)
            return host.receive(Packet(whole, (), packet.gso_size, packet.csum_start, packet.csum_offset), self.now)

        return arrive

    def step(self) -> None:
        """Everybody sends what there is to send; 5 ms pass, and it arrives."""
        near_wan, far_wan = self.into(self.near, 1), self.into(self.far, 0)
        ways = {self.near: (self.to_host(self.client), far_wan), self.far: (near_wan, self.to_host(self.server))}
        arriving: list[tuple[Callable[[Packet], object], Packet]] = []
        for host, way in ((self.client, self.into(self.near, 0)), (self.server, self.into(self.far, 1))):
            host.dispatch()
            while (packet := host.transmit(self.now)) is not None:
                self.largest = max(self.largest, len(packet))
                arriving.append((way, packet))
        for router, ends in ways.items():
            while (sent := router.transmit(self.now)) is not None:
                arriving.append((ends[sent[0]], sent[1]))
        self.now += 5 * MS
        for way, packet in arriving:
            way(packet)
        for who in (self.client, self.server):
            if who.deadline() <= self.now:
                who.on_timer(self.now)
        for router in ways:
            if router.deadline() <= self.now:
                router.on_timer(self.now)
        assert not self.client.faults
        assert not self.server.faults

    def until(self, holds: Callable[[], object], seconds: int = 60) -> None:
        end = self.now + seconds * SECOND
        while not holds():
            assert self.now < end, "nothing came of it"
            self.step()

    def connect(self, family: int, address: str) -> tuple[StreamSocket, StreamSocket]:
        """(client's socket, server's socket) of a connection to port 80."""
        listener, socket = self.server.socket(family), self.client.socket(family)
        assert isinstance(listener, StreamSocket)
        assert isinstance(socket, StreamSocket)
        listener.bind(("", 80))
        listener.listen()
        accepted: list[StreamSocket] = []

        def accept() -> bool:
            with suppress(BlockingIOError):
                accepted.append(listener.accept()[0])
            return bool(accepted)

        with suppress(BlockingIOError):
            socket.connect((address, 80))
        self.until(accept)
        return socket, accepted[0]

    def carry(self, sender: StreamSocket, receiver: StreamSocket, data: bytes) -> bytes:
        """What arrives of ``data``."""
        got, at = bytearray(), 0

        def move() -> bool:
            nonlocal at
            with suppress(BlockingIOError):
                at += sender.send(data[at : at + 200_000]) if at < len(data) else 0
            with suppress(BlockingIOError):
                got.extend(receiver.recv(1 << 20))
            return len(got) >= len(data)

        self.until(move)
        return bytes(got)


@pytest.mark.parametrize("mtu", [1500, 1300])
@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize(("family", "nat"), [(so.AF_INET, False), (so.AF_INET, True), (so.AF_INET6, True)])
def test_a_megabyte_each_way(family: int, nat: bool, offload: bool, mtu: int) -> None:
    world = World(mtu, nat, offload=offload)
    client, server = world.connect(family, SERVER if family == so.AF_INET else SERVER6)
    data = Random(1).randbytes(1_000_000)
    assert world.carry(client, server, data) == data
    assert world.carry(server, client, data) == data
    assert (world.largest > 20_000) == offload
    assert (world.far.counters[RouterDrop.TOO_BIG] > 0) == (mtu < 1500)
    assert world.near.counters[RouterMatch.FORWARDED] > 40
    seen_from = server.getpeername()[0]
    assert seen_from == ("192.0.2.1" if nat and family == so.AF_INET else CLIENT if family == so.AF_INET else CLIENT6)


def test_the_server_cannot_call_back_through_nat_and_firewall() -> None:
    firewall = ("allow state established,related", "allow in lan", "policy deny")
    world = World(nat=True, firewall=firewall)
    client, server = world.connect(so.AF_INET, SERVER)
    assert world.carry(client, server, b"hello") == b"hello"
    back = world.server.socket()
    assert isinstance(back, StreamSocket)
    with suppress(BlockingIOError):
        back.connect(("192.0.2.1", 9999))
    world.until(lambda: world.near.counters[RouterDrop.NAT_UNSOLICITED])
    assert [row.sessions for row in nat_rows(world.near)] == [1]


def test_a_rejected_connection_fails_at_once() -> None:
    world = World(firewall=("reject out wan proto tcp dport 80",))
    socket = world.client.socket()
    assert isinstance(socket, StreamSocket)
    with suppress(BlockingIOError):
        socket.connect((SERVER, 80))
    world.until(lambda: world.client.counters[Close.REFUSED], seconds=1)
    assert world.near.counters[RouterDrop.REJECTED] == 1
