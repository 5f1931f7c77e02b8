"""UDP sockets: who gets a datagram, connect, buffers, and the errno of every call (facts U2 to U5, U8)."""

from __future__ import annotations

import errno
from collections import Counter

import pytest
from stack_bench import (
    FAMILIES,
    HOST,
    HOST6,
    OF_HOST,
    OF_PEER,
    PEER,
    PEER6,
    Bench,
    errno_of,
    icmp_message,
    ip,
    udp,
)

from netemu.reasons import Drop, Match
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket, datagram_charge
from netemu.wire import udp as udp_wire
from netemu.wire.ip import UDP, parse_address
from netemu.wire.packet import Packet

OTHER = "198.18.0.7"
MAPPED = f"::ffff:{HOST}"


class Machine(Bench):
    def __init__(self) -> None:
        super().__init__(HOST, OTHER, HOST6)

    def bound(
        self, address: str, port: int = 7, *, peer: tuple[str, int] | None = None, **options: bool
    ) -> DatagramSocket:
        uid = 11 if options.pop("other", False) else 0
        socket = self.udp(so.AF_INET6 if ":" in address else so.AF_INET, uid=uid, **options)  # type: ignore[arg-type]
        socket.bind((address, port))
        if peer is not None:
            socket.connect(peer)
        return socket

    def winner(self, sport: int = 40000, dst: str = HOST, src: str = "", dport: int = 7) -> DatagramSocket | None:
        """Who gets a datagram."""
        src = src or (PEER6 if ":" in dst else PEER)
        reason = self.give(udp(b"x", sport=sport, src=src, dst=dst, dport=dport))
        self.take()
        if reason is Drop.UDP_NO_SOCKET:
            return None
        found = self.host.matched
        assert isinstance(found, DatagramSocket)
        assert found.recvfrom(9) == (b"x", (("::ffff:" if found.is_ipv6 and ":" not in src else "") + src, sport))
        for socket in self.host.table.sockets.values():
            assert isinstance(socket, DatagramSocket)
            assert socket.queues == (0, 0)
        return found


# -- U2: who gets a unicast datagram ---------------------------------------------------------------------------------


def test_the_last_bound_gets_all() -> None:
    machine = Machine()
    sockets = [machine.bound(HOST, reuseaddr=True) for _ in range(4)]
    for last in reversed(sockets):
        assert {machine.winner(n) for n in range(1, 50)} == {last}
        last.close()
    assert machine.winner() is None


def test_the_last_bound_may_be_a_stranger() -> None:
    machine = Machine()
    machine.bound("0.0.0.0", 7000, reuseaddr=True)
    thief = machine.bound("0.0.0.0", 7000, reuseaddr=True, other=True)
    assert machine.winner(dport=7000) is thief
    specific = machine.bound(HOST, 7000, reuseaddr=True, other=True)
    assert machine.winner(dport=7000) is specific


def test_a_group_shares() -> None:
    machine = Machine()
    group = [machine.bound("0.0.0.0", reuseport=True) for _ in range(4)]
    first = [machine.winner(n) for n in range(1000, 1400)]
    count = Counter(group.index(s) for s in first if s)
    assert sum(count.values()) == 400
    assert min(count.values()) > 70
    assert [machine.winner(n) for n in range(1000, 1400)] == first


@pytest.mark.parametrize(
    ("order", "winners"),
    [
        (["AP", "AP", "A-"], [2]),
        (["A-", "AP", "AP"], [1, 2]),
        (["AP", "A-", "AP"], [0, 2]),
        (["A-", "A-", "AP"], [2]),
    ],
)
def test_groups_and_others_on_one_address(order: list[str], winners: list[int]) -> None:
    """The walk begins with the newest, and stops at the first group that it meets."""
    machine = Machine()
    sockets = [machine.bound(HOST, reuseaddr=True, reuseport="P" in options) for options in order]
    assert {machine.winner(n) for n in range(1000, 1100)} == {sockets[n] for n in winners}


def test_a_group_is_of_one_user() -> None:
    """Another user may bind, by SO_REUSEADDR, and is a group of its own."""
    machine = Machine()
    for _ in range(2):
        machine.bound(HOST, 7000, reuseaddr=True, reuseport=True)
    newest = machine.bound(HOST, 7000, reuseaddr=True, reuseport=True, other=True)
    assert {machine.winner(n, dport=7000) for n in range(1000, 1050)} == {newest}


def test_specific_beats_wildcard() -> None:
    machine = Machine()
    wild = [machine.bound("0.0.0.0", reuseport=True) for _ in range(2)]
    specific = machine.bound(HOST, reuseport=True)
    assert {machine.winner(n) for n in range(1000, 1100)} == {specific}
    assert {machine.winner(n, OTHER) for n in range(1000, 1100)} == set(wild)


@pytest.mark.parametrize("dual_first", [True, False])
@pytest.mark.parametrize("option", ["reuseaddr", "reuseport"])
def test_ipv4_beats_dual_stack(dual_first: bool, option: str) -> None:
    machine = Machine()
    names = ["::", "0.0.0.0"] if dual_first else ["0.0.0.0", "::"]
    sockets = {name: machine.bound(name, **{option: True}) for name in names}  # type: ignore[arg-type]
    assert {machine.winner(n) for n in range(1, 30)} == {sockets["0.0.0.0"]}
    assert machine.winner(dst=HOST6) is sockets["::"]


def test_mapped_addresses() -> None:
    machine = Machine()
    machine.bound("0.0.0.0", reuseaddr=True)
    mapped = machine.bound(MAPPED, reuseaddr=True)
    assert machine.winner() is mapped
    v4 = machine.bound(HOST, reuseaddr=True)
    assert machine.winner() is v4


def test_ipv6_wildcards() -> None:
    machine = Machine()
    dual = machine.bound("::", reuseaddr=True)
    only = machine.bound("::", reuseaddr=True, v6only=True)
    assert machine.winner(dst=HOST6) is only  # the last bound
    assert machine.winner() is dual
    specific = machine.bound(HOST6, reuseaddr=True)
    assert machine.winner(dst=HOST6) is specific


@pytest.mark.parametrize("option", ["reuseaddr", "reuseport"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_connected_beats_all(option: str, order: tuple[int, ...]) -> None:
    machine = Machine()
    sockets: dict[int, DatagramSocket] = {}
    for n in order:
        address, peer = [("0.0.0.0", None), (HOST, None), ("0.0.0.0", (PEER, 9))][n]
        sockets[n] = machine.bound(address, peer=peer, **{option: True})
    assert machine.winner(9) is sockets[2]
    assert machine.winner(10) is sockets[1]
    assert machine.winner(9, OTHER) is sockets[0]


def test_connected_members_leave_the_spread() -> None:
    machine = Machine()
    one, two = machine.bound(HOST, reuseport=True), machine.bound(HOST, reuseport=True)
    two.connect((PEER, 9))
    assert {machine.winner(n) for n in range(1000, 1100)} == {one}


def test_only_sockets_that_are_connected_elsewhere() -> None:
    machine = Machine()
    machine.bound(HOST, peer=(PEER, 9))
    machine.bound(OTHER)
    assert machine.winner(10) is None
    assert machine.winner(9, src="198.18.0.99") is None


@pytest.mark.parametrize("first_bound_connects_last", [True, False])
def test_two_sockets_with_one_peer(first_bound_connects_last: bool) -> None:
    """U3: both may; the last to connect gets all, until it closes."""
    machine = Machine()
    sockets = [machine.bound(HOST, reuseaddr=True) for _ in range(2)]
    if first_bound_connects_last:
        sockets.reverse()
    for socket in sockets:
        socket.connect((PEER, 9))
    assert machine.winner(9) is sockets[1]
    sockets[1].close()
    assert machine.winner(9) is sockets[0]
    sockets[0].connect((PEER, 10))
    assert machine.winner(9) is None
    assert machine.winner(10) is sockets[0]


def test_what_was_queued_before_connect_stays() -> None:
    machine = Machine()
    socket = machine.bound(HOST)
    machine.give(udp(b"stranger", sport=1))
    socket.connect((PEER, 9))
    assert socket.recvfrom(99) == (b"stranger", (PEER, 1))


@FAMILIES
def test_reasons(version: int) -> None:
    machine = Machine()
    dst = OF_HOST[version]
    packet = udp(b"x", sport=9, src=OF_PEER[version], dst=dst)
    assert machine.give(packet) is Drop.UDP_NO_SOCKET
    machine.bound("::", reuseaddr=True)
    assert machine.give(packet) is (Match.UDP_DUAL_STACK if version == 4 else Match.UDP_WILDCARD)
    if version == 4:
        machine.bound("0.0.0.0", reuseaddr=True)
        assert machine.give(packet) is Match.UDP_WILDCARD
    specific = machine.bound(dst, reuseaddr=True)
    assert machine.give(packet) is Match.UDP_SPECIFIC
    specific.connect((OF_PEER[version], 9))
    assert machine.give(packet) is Match.UDP_CONNECTED


# -- U3: connect -----------------------------------------------------------------------------------------------------


def test_connect_makes_the_name_concrete() -> None:
    machine = Machine()
    socket = machine.udp()
    socket.bind(("0.0.0.0", 5000))
    socket.connect((PEER, 9))
    assert socket.getsockname() == (HOST, 5000)
    assert socket.getpeername() == (PEER, 9)
    assert socket.state_name == "ESTAB"
    socket.connect((PEER, 10))
    assert socket.getpeername() == (PEER, 10)
    assert errno_of(socket.connect, ("240.0.0.1", 9)) == errno.ENETUNREACH
    assert errno_of(socket.connect, ("255.255.255.255", 9)) == errno.EACCES
    assert socket.getpeername() == (PEER, 10)  # as it was
    assert machine.winner(10, dport=5000) is socket


def test_connect_binds() -> None:
    machine = Machine()
    socket = machine.udp()
    socket.connect((PEER, 9))
    address, port = socket.getsockname()
    assert address == HOST
    assert 32768 <= port <= 60999
    assert errno_of(socket.bind, (HOST, 5000)) == errno.EINVAL


def test_a_dual_stack_socket_may_change_the_family_of_its_peer() -> None:
    machine = Machine()
    socket = machine.udp(so.AF_INET6)
    socket.connect((f"::ffff:{PEER}", 9))
    assert socket.getsockname()[0] == MAPPED
    assert socket.getpeername() == (f"::ffff:{PEER}", 9)
    socket.send(b"four")
    assert machine.one().ip.version == 4
    socket.connect((PEER6, 9))
    assert socket.getsockname()[0] == HOST6
    socket.send(b"six")
    assert machine.one().ip.version == 6
    assert machine.winner(9, HOST6, dport=socket.lport) is socket
    assert machine.winner(9, dport=socket.lport) is None
    socket.close()
    assert not machine.host.udp.connected
    assert not machine.host.udp.bound


def test_connect_to_port_zero() -> None:
    machine = Machine()
    socket = machine.udp()
    socket.connect((PEER, 0))
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    assert socket.getsockname()[0] == HOST


@pytest.mark.parametrize("name", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_the_wildcard_address_means_this_host(name: str) -> None:
    machine = Machine()
    server = machine.bound("::", 7)
    client = machine.udp(so.AF_INET6 if ":" in name else so.AF_INET)
    client.sendto(b"one", (name, 7))
    client.connect((name, 7))
    client.send(b"two")
    assert machine.take() == []
    assert [server.recv(9), server.recv(9)] == [b"one", b"two"]
    assert client.getpeername()[0].removeprefix("::ffff:") in ("127.0.0.1", "::1")


def test_connect_to_oneself() -> None:
    machine = Machine()
    socket = machine.bound(HOST)
    socket.connect((HOST, 7))
    socket.send(b"back")
    assert machine.take() == []
    assert socket.recvfrom(9) == (b"back", (HOST, 7))


def test_a_connected_socket_may_send_to_others() -> None:
    machine = Machine()
    socket = machine.bound(HOST, peer=(PEER, 9))
    socket.sendto(b"x", ("198.18.0.99", 10))
    seen = machine.one()
    assert (seen.ip.dst, seen.dport) == (parse_address("198.18.0.99"), 10)
    assert machine.winner(10, src="198.18.0.99") is None  # but does not hear their answers


@pytest.mark.parametrize("how", ["unconnected", "port 0", "too big", "no route", "broadcast"])
def test_a_call_that_fails_has_bound_already(how: str) -> None:
    machine = Machine()
    socket = machine.udp()
    calls = {
        "unconnected": lambda: socket.send(b"x"),
        "port 0": lambda: socket.sendto(b"x", (PEER, 0)),
        "too big": lambda: socket.sendto(bytes(65508), (PEER, 9)),
        "no route": lambda: socket.sendto(b"x", ("240.0.0.1", 9)),
        "broadcast": lambda: socket.sendto(b"x", ("255.255.255.255", 9)),
    }
    numbers = {
        "unconnected": errno.EDESTADDRREQ,
        "port 0": errno.EINVAL,
        "too big": errno.EMSGSIZE,
        "no route": errno.ENETUNREACH,
        "broadcast": errno.EACCES,
    }
    assert errno_of(calls[how]) == numbers[how]
    assert socket.getsockname()[1] >= 32768
    assert machine.take() == []


# -- U4: single calls ------------------------------------------------------------------------------------------------


def test_calls_that_udp_does_not_have() -> None:
    socket = Machine().udp()
    assert errno_of(socket.listen, 5) == errno.EOPNOTSUPP
    assert errno_of(socket.accept) == errno.EOPNOTSUPP
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    assert errno_of(socket.shutdown, so.SHUT_WR) == errno.ENOTCONN
    assert errno_of(socket.shutdown, 7) == errno.EINVAL
    assert errno_of(socket.recv, 1) == errno.EAGAIN
    assert socket.poll() == 2
    assert socket.state_name == "UNCONN"


def test_shutdown() -> None:
    machine = Machine()
    socket = machine.bound(HOST, peer=(PEER, 9))
    socket.shutdown(so.SHUT_RD)
    assert errno_of(socket.recv, 1) == errno.EAGAIN
    assert socket.send(b"x") == 1
    socket.shutdown(so.SHUT_WR)
    assert errno_of(socket.send, b"x") == errno.EPIPE
    assert errno_of(socket.sendto, b"x", (PEER, 9)) == errno.EPIPE
    machine.give(udp(b"still", sport=9))
    assert socket.recv(9) == b"still"


def test_families_that_do_not_fit() -> None:
    machine = Machine()
    assert errno_of(machine.udp().sendto, b"x", (PEER6, 9)) == errno.EAFNOSUPPORT
    only = machine.udp(so.AF_INET6, v6only=True)
    bound6 = machine.udp(so.AF_INET6)
    bound6.bind((HOST6, 0))
    bound4 = machine.udp(so.AF_INET6)
    bound4.bind((MAPPED, 0))
    for socket, address, number in (
        (only, f"::ffff:{PEER}", errno.ENETUNREACH),
        (bound6, f"::ffff:{PEER}", errno.ENETUNREACH),
        (bound4, PEER6, errno.EAFNOSUPPORT),
    ):
        assert errno_of(socket.sendto, b"x", (address, 9)) == number
        assert errno_of(socket.connect, (address, 9)) == number
    assert errno_of(Bench(HOST).udp(so.AF_INET6).sendto, b"x", (PEER6, 9)) == errno.ENETUNREACH


@pytest.mark.parametrize(("version", "largest"), [(4, 65507), (6, 65527)])
def test_the_largest_datagram(version: int, largest: int) -> None:
    machine = Machine()
    socket = machine.udp(so.AF_INET if version == 4 else so.AF_INET6)
    assert socket.sendto(bytes(largest), (OF_PEER[version], 9)) == largest
    out = machine.take()
    assert sum(len(seen.payload) for seen in out) == largest + 8
    assert all(len(seen.raw) <= 1500 for seen in out)
    assert len({seen.ip.ident for seen in out}) == 1
    assert errno_of(socket.sendto, bytes(largest + 1), (OF_PEER[version], 9)) == errno.EMSGSIZE


@FAMILIES
def test_empty_and_long_datagrams(version: int) -> None:
    machine = Machine()
    socket = machine.bound(OF_HOST[version])
    for data in (b"", b"0123456789", b""):
        machine.give(udp(data, src=OF_PEER[version], dst=OF_HOST[version]))
    assert socket.recv(9) == b""
    assert socket.recv(4) == b"0123"  # the rest is lost
    assert socket.recv(9) == b""
    assert errno_of(socket.recv, 9) == errno.EAGAIN
    assert socket.sendto(b"", (OF_PEER[version], 9)) == 0
    assert machine.one().datagram.payload == b""


@FAMILIES
def test_ttl_and_tos(version: int) -> None:
    machine = Machine()
    socket = machine.udp(so.AF_INET if version == 4 else so.AF_INET6)
    level, hops, marks = (
        (so.IPPROTO_IP, so.IP_TTL, so.IP_TOS)
        if version == 4
        else (so.IPPROTO_IPV6, so.IPV6_UNICAST_HOPS, so.IPV6_TCLASS)
    )
    socket.setsockopt(level, hops, 5)
    socket.setsockopt(level, marks, 0xBB)
    socket.sendto(b"x", (OF_PEER[version], 9))
    seen = machine.one()
    assert (seen.ip.hop_limit, seen.ip.tos) == (5, 0xBB)


def test_the_address_that_was_asked() -> None:
    """What IP_PKTINFO tells, and the source that it sets."""
    machine = Machine()
    socket = machine.bound("0.0.0.0")
    machine.give(udp(b"x", dst=OTHER))
    data, address, asked = socket.recvfrom_to(99)
    assert (data, address, asked) == (b"x", (PEER, 40000), parse_address(OTHER))
    socket.sendto(b"y", address, asked)
    assert machine.one().ip.src == parse_address(OTHER)
    socket.sendto(b"y", address)
    assert machine.one().ip.src == parse_address(HOST)  # U8: the routed address
    assert errno_of(socket.sendto, b"y", address, parse_address(PEER)) == errno.ENETUNREACH
    assert errno_of(socket.sendto, b"y", address, parse_address(HOST6)) == errno.ENETUNREACH


# -- U8: buffer and checksum -----------------------------------------------------------------------------------------

KERNEL_FITS = {
    0: 256, 1: 256, 50: 256, 100: 256, 180: 256, 200: 166, 300: 166, 640: 166, 650: 92, 1000: 92, 1400: 92, 1650: 92,
    1700: 48, 3700: 48, 3800: 25, 8000: 12, 16000: 12, 30000: 6, 60000: 3,
}  # fmt: skip
"""Bytes of a datagram: how many of them a Linux 6.18 kernel queued in the default SO_RCVBUF of 212992."""


@pytest.mark.parametrize(("size", "count"), KERNEL_FITS.items())
def test_as_many_datagrams_fit_as_in_the_kernel(size: int, count: int) -> None:
    assert 212992 // datagram_charge(size) == count
    if size > 2000:
        return
    machine = Machine()
    socket = machine.bound(HOST)
    packet = udp(bytes(size))
    for _ in range(count):
        assert machine.quiet(packet) is Match.UDP_SPECIFIC
    assert machine.quiet(packet) is Drop.UDP_BUFFER_FULL  # in silence
    assert machine.host.matched is socket
    socket.recv(1)
    assert machine.quiet(packet) is Match.UDP_SPECIFIC
    assert socket.queues[0] == count * datagram_charge(size)


def test_the_newest_is_dropped() -> None:
    machine = Machine()
    socket = machine.bound(HOST)
    socket.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 1)
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_RCVBUF) == 2304
    for n in range(4):
        machine.give(udp(bytes([n])))
    assert [socket.recv(9) for _ in range(2)] == [b"\0", b"\1"]
    assert errno_of(socket.recv, 9) == errno.EAGAIN


def test_an_empty_queue_takes_any_one() -> None:
    machine = Machine()
    socket = machine.bound(HOST)
    socket.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 1)
    raw = udp(bytes(60_000))
    assert machine.quiet(raw) is Match.UDP_SPECIFIC
    assert machine.quiet(raw) is Drop.UDP_BUFFER_FULL
    assert len(socket.recv(65535)) == 60_000


def test_options_that_udp_does_not_have() -> None:
    socket = Machine().udp()
    for level, option in ((so.IPPROTO_TCP, so.TCP_NODELAY), (so.SOL_SOCKET, 9999)):
        expected = errno.EOPNOTSUPP if level == so.IPPROTO_TCP else errno.ENOPROTOOPT  # as Linux has it
        assert errno_of(socket.getsockopt, level, option) == expected
        assert errno_of(socket.setsockopt, level, option, 1) == errno.ENOPROTOOPT
    socket.setsockopt(so.SOL_SOCKET, so.SO_REUSEADDR, 1)
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_REUSEADDR) == 1
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == 0
    socket.setsockopt(so.IPPROTO_IP, so.IP_TOS, -1)
    assert socket.getsockopt(so.IPPROTO_IP, so.IP_TOS) == 255
    assert socket.getsockopt(so.IPPROTO_IP, so.IP_TTL) == 64


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_that_are_none(port: int) -> None:
    socket = Machine().udp()
    for call in (socket.bind, socket.connect, lambda address: socket.sendto(b"x", address)):
        with pytest.raises(OverflowError):
            call((PEER, port))


def test_rcvbuf_and_sndbuf() -> None:
    socket = Machine().udp()
    for option in (so.SO_RCVBUF, so.SO_SNDBUF):
        assert socket.getsockopt(so.SOL_SOCKET, option) == 212992
        socket.setsockopt(so.SOL_SOCKET, option, 10_000)
        assert socket.getsockopt(so.SOL_SOCKET, option) == 20_000


@FAMILIES
def test_bad_checksums_and_lengths(version: int) -> None:
    machine = Machine()
    machine.bound(OF_HOST[version])
    src, dst = OF_PEER[version], OF_HOST[version]
    good = udp(b"data", src=src, dst=dst)
    assert machine.quiet(good[:-1] + b"x") is Drop.BAD_UDP_CHECKSUM
    for length in (0, 7, 13, 65535):
        raw = udp_wire.HEADER.pack(40000, 7, length, 0) + b"data"
        assert machine.quiet(ip(src, dst, UDP, raw)) is Drop.BAD_UDP
    for size in range(8):
        assert machine.quiet(ip(src, dst, UDP, bytes(size))) is Drop.BAD_UDP
    zero = ip(src, dst, UDP, udp_wire.HEADER.pack(40000, 7, 12, 0) + b"data")
    assert machine.quiet(zero) is (Match.UDP_SPECIFIC if version == 4 else Drop.BAD_UDP_CHECKSUM)
    start = 20 if version == 4 else 40
    assert machine.quiet(Packet(zero, (), 0, start, 6)) is Match.UDP_SPECIFIC  # the local kernel's own


def test_source_port_zero_is_taken() -> None:
    machine = Machine()
    socket = machine.bound(HOST)
    assert machine.quiet(udp(b"x", sport=0)) is Match.UDP_SPECIFIC
    assert socket.recvfrom(9)[1] == (PEER, 0)
    assert errno_of(socket.sendto, b"x", (PEER, 0)) == errno.EINVAL


def test_a_shorter_length_than_ips_cuts() -> None:
    machine = Machine()
    socket = machine.bound(HOST)
    raw = udp_wire.emit(parse_address(PEER), parse_address(HOST), 40000, 7, b"data")
    assert machine.quiet(ip(PEER, HOST, UDP, raw + b"more")) is Match.UDP_SPECIFIC
    assert socket.recv(99) == b"data"


# -- news ------------------------------------------------------------------------------------------------------------


def test_events() -> None:
    machine = Machine()
    socket = machine.bound(HOST)
    heard: list[int] = []
    socket.on_event = lambda _, events: heard.append(events)
    machine.host.receive(udp(b"x"), machine.now)
    machine.host.receive(udp(b"y"), machine.now)
    assert heard == []
    machine.host.dispatch()
    assert heard == [1]
    assert socket.poll() == 3
    machine.host.receive(udp(b"z"), machine.now)
    socket.close()
    machine.host.dispatch()
    assert heard == [1]
    assert machine.winner() is None
    socket.close()


def test_an_error_wakes_reader_and_writer() -> None:
    machine = Machine()
    socket = machine.bound(HOST, peer=(PEER, 9))
    heard: list[int] = []
    socket.on_event = lambda _, events: heard.append(events)
    socket.send(b"x")
    sent = machine.one()
    machine.give(icmp_message(3, 3, 0, sent.raw))
    assert heard == [3]
    assert socket.poll() == 3
