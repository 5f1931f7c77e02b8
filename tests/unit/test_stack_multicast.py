"""Datagrams to many, on the wire: who gets a copy, what is let in, what goes out (facts U6, U7, F1, F2)."""

from __future__ import annotations

import struct

import pytest
from stack_bench import HOST, HOST6, PEER, PEER6, Bench, errno_of, icmp_message, ip, udp

from netemu.reasons import Drop, Match
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.wire import udp as udp_wire
from netemu.wire.ip import UDP, parse_address

GROUP, GROUP6, SUBNET = "239.1.1.1", "ff05::1:1", "198.18.0.255"


class Machine(Bench):
    def __init__(self, flavour: str = "linux") -> None:
        super().__init__(f"{HOST}/24", HOST6, flavour=flavour)

    def bound(self, address: str = "0.0.0.0", *, group: str = "", reuseport: bool = False) -> DatagramSocket:
        family = so.AF_INET6 if ":" in address else so.AF_INET
        socket = self.udp(family, reuseaddr=not reuseport, reuseport=reuseport)
        socket.bind((address, 7))
        if group:
            join(socket, group)
            self.take()  # what the routers are told of it is test_stack_membership's
        return socket

    def copies(self, packet: bytes) -> list[DatagramSocket]:
        """Who has something in its queue then, emptied."""
        self.quiet(packet)
        heard = [s for s in self.host.table.sockets.values() if isinstance(s, DatagramSocket) and s.queues[0]]
        for socket in heard:
            assert socket.recv(9) == b"x"
            assert socket.queues == (0, 0)
        return heard


def join(socket: DatagramSocket, group: str, device: int = 2) -> None:
    packed = parse_address(group)
    if len(packed) == 16:
        socket.setsockopt(so.IPPROTO_IPV6, so.IPV6_JOIN_GROUP, struct.pack("=16si", packed, device))
    else:
        socket.setsockopt(so.IPPROTO_IP, so.IP_ADD_MEMBERSHIP, struct.pack("=4s4si", packed, bytes(4), device))


@pytest.mark.parametrize(("group", "src", "anywhere"), [(GROUP, PEER, "0.0.0.0"), (GROUP6, PEER6, "::")])
def test_the_reasons_of_a_groups_datagram(group: str, src: str, anywhere: str) -> None:
    machine = Machine()
    packet = udp(b"x", src=src, dst=group)
    assert machine.quiet(packet) is Drop.NOT_JOINED
    socket = machine.bound(anywhere, group=group)
    assert machine.quiet(packet) is Match.UDP_MULTICAST
    assert machine.host.matched is socket
    assert machine.quiet(udp(b"x", src=src, dst=group, dport=9)) is Drop.UDP_NOBODY
    assert machine.quiet(udp(b"x", src=src, dst=group)[:-1] + b"y") is Drop.BAD_UDP_CHECKSUM
    socket.close()
    machine.take()
    assert machine.quiet(packet) is Drop.NOT_JOINED
    assert not machine.host.udp.members.at


def test_the_reasons_of_a_broadcast() -> None:
    machine = Machine()
    assert machine.quiet(udp(b"x", dst=SUBNET)) is Drop.UDP_NOBODY
    machine.bound()
    assert machine.quiet(udp(b"x", dst=SUBNET)) is Match.UDP_BROADCAST
    assert machine.quiet(udp(b"x", dst="198.18.1.255")) is Drop.NOT_FOR_US
    assert machine.quiet(udp(b"x", dst="127.255.255.255")) is Drop.NOT_FOR_US


def test_each_has_a_buffer_of_its_own() -> None:
    machine = Machine()
    small, large = machine.bound(), machine.bound()
    small.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 1)
    for _ in range(10):
        assert machine.quiet(udp(b"x", dst=SUBNET)) is Match.UDP_BROADCAST
    assert (small.queues[0], large.queues[0]) == (2 * 832, 10 * 832)
    large.close()
    assert machine.quiet(udp(b"x", dst=SUBNET)) is Drop.UDP_BUFFER_FULL


def test_who_asks_for_an_address_is_heard() -> None:
    """DHCP: from 0.0.0.0, to 255.255.255.255 alone."""
    machine = Machine()
    socket = machine.bound()
    assert machine.quiet(udp(b"x", src="0.0.0.0", dst="255.255.255.255")) is Match.UDP_BROADCAST
    assert socket.recvfrom(9)[1] == ("0.0.0.0", 40000)
    assert machine.quiet(udp(b"x", src="0.0.0.0", dst=SUBNET)) is Drop.BAD_SOURCE
    assert machine.quiet(udp(b"x", src=GROUP, dst=SUBNET)) is Drop.BAD_SOURCE
    assert machine.quiet(udp(b"x", dst=SUBNET, ttl=0)) is Drop.HOP_LIMIT_ZERO


def test_fragments_to_a_group() -> None:
    machine = Machine()
    socket = machine.bound(group=GROUP)
    body = udp_wire.emit(parse_address(PEER), parse_address(GROUP), 9, 7, bytes(1000))
    assert machine.quiet(ip(PEER, GROUP, UDP, body[:600], ident=5, fragment=0x2000)) is Match.FRAGMENT
    assert machine.quiet(ip(PEER, GROUP, UDP, body[600:], ident=5, fragment=75)) is Match.UDP_MULTICAST
    assert socket.recv(2000) == bytes(1000)


def test_a_large_one_goes_out_in_fragments_and_comes_back_whole() -> None:
    machine = Machine()
    socket = machine.bound(group=GROUP)
    assert socket.sendto(bytes(4000), (GROUP, 7)) == 4000
    assert len(machine.take()) == 3
    assert socket.recv(9999) == bytes(4000)


def test_groups_of_an_interface_stay_in_the_host() -> None:
    machine = Machine()
    socket = machine.bound("::", group="ff01::5")
    socket.sendto(b"x", ("ff01::5", 7))
    assert machine.take() == []
    assert socket.recv(9) == b"x"


def test_link_local_names_take_a_device() -> None:
    machine = Machine()
    socket = machine.udp(so.AF_INET6)
    assert errno_of(socket.bind, ("ff02::fb", 7)) == errno_of(socket.bind, ("fe80::1", 7)) == 22
    assert errno_of(socket.bind, ("ff02::fb%nix", 7)) == 19
    socket.bind(("ff02::fb%netemu0", 7))
    assert socket.device == "netemu0"
    sender = machine.udp(so.AF_INET6)
    sender.sendto(b"x", ("ff02::fb%2", 7))
    assert machine.one().ip.hop_limit == 1


# -- other systems ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["freebsd", "macos"])
def test_elsewhere_only_members_hear_a_group(flavour: str) -> None:
    machine = Machine(flavour)
    member, _ = machine.bound(group=GROUP, reuseport=True), machine.bound(reuseport=True)
    assert machine.copies(udp(b"x", dst=GROUP)) == [member]
    expected = 2 if flavour == "macos" else 0
    assert len(machine.copies(udp(b"x", dst="224.0.0.1"))) == expected


def test_freebsds_walk_ends_at_a_socket_without_an_option() -> None:
    machine = Machine("freebsd")
    first, second = machine.bound(reuseport=True), machine.bound(reuseport=True)
    assert set(machine.copies(udp(b"x", dst=SUBNET))) == {first, second}
    second.setsockopt(so.SOL_SOCKET, so.SO_REUSEPORT, 0)
    assert machine.copies(udp(b"x", dst=SUBNET)) == [second]


@pytest.mark.parametrize(("flavour", "sender", "receiver"), [("linux", False, True), ("windows", True, False)])
def test_whose_option_the_loop_is(flavour: str, sender: bool, receiver: bool) -> None:
    """Does clearing IP_MULTICAST_LOOP there leave the host's own sockets hearing?"""
    for at_sender, heard in ((True, sender), (False, receiver)):
        machine = Machine(flavour)
        member, talker = machine.bound(group=GROUP), machine.udp()
        (talker if at_sender else member).setsockopt(so.IPPROTO_IP, so.IP_MULTICAST_LOOP, 0)
        talker.sendto(b"x", (GROUP, 7))
        assert len(machine.take()) == 1
        assert bool(member.queues[0]) is heard


def test_freebsds_second_connect_to_one_peer() -> None:
    machine = Machine("freebsd")
    one, two = (machine.bound(HOST, reuseport=True) for _ in range(2))
    one.connect((PEER, 9))
    assert errno_of(two.connect, (PEER, 9)) == 98
    assert two.peer is None
    one.disconnect()
    assert one.getsockname() == ("0.0.0.0", 7)


def test_windows_tells_an_unconnected_socket_in_recv_alone() -> None:
    machine = Machine("windows")
    socket = machine.bound(HOST)
    socket.sendto(b"x", (PEER, 9))
    sent = machine.one()
    machine.give(icmp_message(3, 3, 0, sent.raw))
    socket.sendto(b"y", (PEER, 9))
    assert errno_of(socket.recv, 9) == 104
    assert errno_of(socket.recv, 9) == 11
