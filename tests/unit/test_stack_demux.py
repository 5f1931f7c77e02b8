"""Whose segment is this? The socket table, listeners and their queues, and the RSTs for nobody (facts T8, T9, T12)."""

from __future__ import annotations

import errno
from collections import Counter
from contextlib import suppress
from random import Random

import pytest
from stack_bench import (
    FAMILIES,
    HOST,
    HOST6,
    MSS,
    OF_HOST,
    OF_PEER,
    PEER,
    SECOND,
    Bench,
    Pair,
    Peer,
    errno_of,
    tcp,
    udp,
)

from netemu.reasons import Close, Drop, Match, Reset
from netemu.stack import constants as so
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.state import State
from netemu.wire.ip import parse_address
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

OTHER = "198.18.0.7"
MAPPED = f"::ffff:{HOST}"


class Machine(Bench):
    def __init__(self, **options: object) -> None:
        super().__init__(HOST, OTHER, HOST6, **options)

    def winner(self, sport: int, dst: str = HOST, version: int = 4) -> StreamSocket | None:
        """The listener that a SYN goes to; its connection is reset at once."""
        src = OF_PEER[version]
        self.give(tcp(SYN, 1000, sport=sport, src=src, dst=dst, options=MSS))
        matched = self.host.matched
        (answer,) = self.take()
        if answer.segment.flags & RST:
            assert matched is None
            return None
        assert isinstance(matched, StreamSocket)
        assert matched.listener is not None
        half_open = len(matched.listener.half_open)
        self.give(tcp(RST, 1001, answer.segment.end, sport=sport, src=src, dst=dst))
        assert len(matched.listener.half_open) == half_open - 1
        return matched

    def stream_to_peer(self, port: int) -> StreamSocket:
        """A socket on ``port`` that connects to us."""
        client = self.tcp(reuseaddr=True)
        client.bind((HOST, port))
        self.connecting(client)
        return client


# -- T8: which listener ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("specific_first", [True, False])
def test_a_specific_address_beats_a_wildcard(specific_first: bool) -> None:
    machine = Machine()
    names = [HOST, "0.0.0.0", "0.0.0.0"] if specific_first else ["0.0.0.0", "0.0.0.0", HOST]
    sockets = [machine.listen(name, reuseport=True) for name in names]
    specific = sockets[names.index(HOST)]
    wild = {socket for socket in sockets if socket is not specific}
    assert {machine.winner(n) for n in range(1000, 1030)} == {specific}
    assert {machine.winner(n, OTHER) for n in range(1000, 1030)} == wild
    specific.close()
    assert {machine.winner(n) for n in range(1000, 1030)} == wild


@pytest.mark.parametrize("dual_first", [True, False])
def test_an_ipv4_socket_beats_a_dual_stack_one(dual_first: bool) -> None:
    machine = Machine()
    names = ["::"] * 5 + ["0.0.0.0"] * 5 if dual_first else ["0.0.0.0"] * 5 + ["::"] * 5
    sockets = [machine.listen(name, reuseport=True) for name in names]
    v4 = {socket for socket in sockets if not socket.is_ipv6}
    assert {machine.winner(n) for n in range(1000, 1100)} == v4
    assert {machine.winner(n, HOST6, 6) for n in range(1000, 1100)} == {s for s in sockets if s.is_ipv6}


@pytest.mark.parametrize("wild", ["0.0.0.0", "::"])
def test_a_mapped_specific_address_beats_a_wildcard(wild: str) -> None:
    machine = Machine()
    machine.listen(wild, reuseport=True)
    mapped = machine.listen(MAPPED, reuseport=True)
    assert {machine.winner(n) for n in range(1000, 1010)} == {mapped}


def test_an_ipv4_socket_beats_a_mapped_one() -> None:
    machine = Machine()
    machine.listen(MAPPED, reuseport=True)
    v4 = machine.listen(HOST, reuseport=True)
    assert {machine.winner(n) for n in range(1000, 1020)} == {v4}


def test_a_dual_stack_listener_takes_ipv4() -> None:
    machine = Machine()
    dual = machine.listen("::")
    assert machine.winner(1000) is dual
    machine.handshake(80, 2000)
    child, address = dual.accept()
    assert address == child.getpeername() == (f"::ffff:{PEER}", 2000)
    assert child.getsockname() == (MAPPED, 80)


def test_a_v6only_listener_does_not() -> None:
    machine = Machine()
    only = machine.listen("::", v6only=True)
    assert machine.winner(1000) is None
    assert machine.winner(1000, HOST6, 6) is only


def test_mapped_wildcard_is_ipv4() -> None:
    machine = Machine()
    mapped = machine.listen("::ffff:0.0.0.0")
    assert machine.winner(1000) is mapped
    assert machine.winner(1000, HOST6, 6) is None


def test_a_specific_ipv4_listener_and_a_dual_stack_one() -> None:
    machine = Machine()
    dual = machine.listen("::", reuseport=True)
    v4 = machine.listen(HOST, reuseport=True)
    assert machine.winner(1000) is v4
    assert machine.winner(1000, OTHER) is dual
    assert machine.winner(1000, HOST6, 6) is dual


@pytest.mark.parametrize(
    ("name", "version", "match"),
    [
        (HOST, 4, Match.LISTEN_SPECIFIC),
        ("0.0.0.0", 4, Match.LISTEN_WILDCARD),
        ("::", 4, Match.LISTEN_DUAL_STACK),
        (MAPPED, 4, Match.LISTEN_SPECIFIC),
        (HOST6, 6, Match.LISTEN_SPECIFIC),
        ("::", 6, Match.LISTEN_WILDCARD),
    ],
)
def test_the_reason_names_the_rule(name: str, version: int, match: Match) -> None:
    machine = Machine()
    listener = machine.listen(name)
    packet = tcp(SYN, 1, src=OF_PEER[version], dst=OF_HOST[version])
    assert machine.give(packet) is match
    assert machine.host.matched is listener
    assert machine.host.counters[match] == 1


def test_a_connection_beats_every_listener() -> None:
    machine = Machine()
    client = machine.stream_to_peer(5000)
    machine.listen(HOST, 5000, reuseaddr=True)
    assert machine.give(tcp(SYN, 99, sport=80, dport=5000)) is Match.CONNECTION
    assert machine.host.matched is client
    assert machine.give(tcp(SYN, 99, sport=81, dport=5000)) is Match.LISTEN_SPECIFIC


# -- merely bound ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound_first", [True, False])
def test_a_merely_bound_socket_never_gets_a_syn(bound_first: bool) -> None:
    """The question this project is about: of all that hold the port, only those in LISTEN count (T9)."""
    machine = Machine()
    bound = []

    def bind() -> None:
        for name in ("0.0.0.0", HOST, "::", MAPPED):
            socket = machine.tcp(so.AF_INET6 if ":" in name else so.AF_INET, reuseport=True)
            socket.bind((name, 80))
            bound.append(socket)

    if bound_first:
        bind()
    listener = machine.listen("0.0.0.0", reuseport=True, backlog=100)
    if not bound_first:
        bind()
    for n in range(40):
        assert machine.winner(1000 + n) is listener
        machine.handshake(80, 2000 + n)
    assert listener.listener is not None
    assert len(listener.listener.accepted) == 40
    bound[0].listen()
    assert {machine.winner(n) for n in range(1000, 1060)} == {listener, bound[0]}
    bound[1].listen()
    assert {machine.winner(n) for n in range(1000, 1060)} == {bound[1]}


# -- T9: groups ------------------------------------------------------------------------------------------------------


def test_a_group_shares_evenly_and_stably() -> None:
    machine = Machine()
    group = [machine.listen("0.0.0.0", reuseport=True) for _ in range(4)]
    first = [machine.winner(n) for n in range(1000, 1400)]
    count = Counter(group.index(s) for s in first if s is not None)
    assert sum(count.values()) == 400
    assert min(count.values()) > 70
    assert [machine.winner(n) for n in range(1000, 1400)] == first


def test_the_spread_is_not_to_be_guessed() -> None:
    """Another host, another secret."""
    spreads = []
    for seed in (1, 2):
        machine = Machine()
        machine.host.table.secret = bytes([seed]) * 16
        group = [machine.listen("0.0.0.0", reuseport=True) for _ in range(2)]
        winners = [machine.winner(n) for n in range(1000, 1100)]
        spreads.append([group.index(s) for s in winners if s is not None])
    assert spreads[0] != spreads[1]


def test_a_full_member_does_not_spill_over() -> None:
    machine = Machine()
    group = [machine.listen("0.0.0.0", reuseport=True, backlog=0) for _ in range(2)]
    for n in range(40):
        machine.give(tcp(SYN, 1000, sport=1000 + n, options=MSS))
        for answer in machine.take():
            machine.give(tcp(ACK, 1001, answer.segment.end, sport=1000 + n))
    queues = [socket.listener for socket in group]
    assert [len(q.accepted) for q in queues if q is not None] == [1, 1]
    assert machine.host.counters[Drop.ACCEPT_QUEUE_FULL] == 38


@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_a_member_that_goes_takes_its_connections_along(how: str) -> None:
    machine = Machine()
    group = [machine.listen("0.0.0.0", reuseport=True, backlog=100) for _ in range(2)]
    for n in range(40):
        machine.handshake(80, 1000 + n)
    for n in range(10):
        machine.ask(tcp(SYN, 5, sport=3000 + n))
    gone, left = (socket.listener for socket in group)
    assert gone is not None
    assert left is not None
    waiting = len(gone.accepted) + len(gone.half_open)
    assert len(gone.accepted) + len(left.accepted) == 40
    if how == "close":
        group[0].close()
    else:
        group[0].shutdown(so.SHUT_RDWR)
    out = machine.take()
    assert len(out) == waiting
    assert all(seen.segment.flags & RST for seen in out)
    assert machine.host.counters[Reset.LISTENER_CLOSED] == waiting
    assert {machine.winner(n) for n in range(4000, 4020)} == {group[1]}
    assert len(left.accepted) > 5


def test_the_order_of_resets_is_the_same_every_time() -> None:
    def ports_reset() -> list[int]:
        machine = Machine()
        listener = machine.listen(HOST, backlog=100)
        for n in Random(3).sample(range(1000, 2000), 50):
            machine.ask(tcp(SYN, 5, sport=n))
        listener.close()
        return [seen.dport for seen in machine.take()]

    assert ports_reset() == ports_reset()


# -- RSTs for nobody (RFC 9293 3.10.7.1) -----------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("data", [b"", b"12345"])
@pytest.mark.parametrize("flags", [0, SYN, FIN, SYN | FIN, PSH, URG, FIN | PSH | URG, SYN | PSH | URG])
def test_the_reset_for_a_segment_without_ack(version: int, flags: int, data: bytes) -> None:
    machine = Machine()
    packet = tcp(flags, 1000, 0, data, sport=1234, dport=99, src=OF_PEER[version], dst=OF_HOST[version])
    assert machine.give(packet) is Drop.NO_SOCKET
    seen = machine.one()
    length = len(data) + bool(flags & SYN) + bool(flags & FIN)
    assert (seen.segment.seq, seen.segment.ack, seen.segment.flags) == (0, 1000 + length, RST | ACK)
    assert (seen.sport, seen.dport, seen.segment.wnd, seen.segment.length) == (99, 1234, 0, 0)
    assert (seen.ip.src, seen.ip.dst) == (parse_address(OF_HOST[version]), parse_address(OF_PEER[version]))
    assert machine.host.sent_for is Reset.NO_SOCKET
    assert machine.host.counters[Reset.NO_SOCKET] == 1


@FAMILIES
@pytest.mark.parametrize("data", [b"", b"12345"])
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK, PSH | ACK, SYN | FIN | ACK | URG])
def test_the_reset_for_a_segment_with_ack(version: int, flags: int, data: bytes) -> None:
    machine = Machine()
    packet = tcp(flags, 1000, 0xFFFFFFF0, data, sport=1234, dport=99, src=OF_PEER[version], dst=OF_HOST[version])
    assert machine.give(packet) is Drop.NO_SOCKET
    seen = machine.one()
    assert (seen.segment.seq, seen.segment.ack, seen.segment.flags) == (0xFFFFFFF0, 0, RST)


def test_sequence_numbers_of_resets_wrap() -> None:
    assert Machine().ask(tcp(SYN, 0xFFFFFFFF, data=b"1234", dport=99)).segment.ack == 4


def test_the_reset_for_a_super_segment() -> None:
    machine = Machine()
    raw = tcp(0, 1000, 0, b"x" * 6000, dport=99)
    machine.give(Packet(raw, (), 1460))
    assert machine.one().segment.ack == 7000


@pytest.mark.parametrize("flags", [RST, RST | ACK, RST | SYN, RST | FIN | ACK | PSH | URG])
def test_a_rst_is_never_answered(flags: int) -> None:
    machine = Machine()
    assert machine.quiet(tcp(flags, 5, 6, dport=99)) is Drop.NO_SOCKET
    machine.listen(HOST)
    assert machine.quiet(tcp(flags, 5, 6)) is Drop.LISTEN_RST
    bound = machine.tcp()
    bound.bind((HOST, 81))
    assert machine.quiet(tcp(flags, 5, 6, dport=81)) is Drop.ONLY_BOUND


def test_only_bound() -> None:
    machine = Machine()
    machine.tcp().bind((HOST, 81))
    assert machine.give(tcp(SYN, 5, dport=81)) is Drop.ONLY_BOUND
    assert machine.one().segment.flags == RST | ACK


# -- LISTEN (RFC 9293 3.10.7.2) --------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK, SYN | FIN | ACK, PSH | ACK])
def test_an_ack_for_a_listener(version: int, flags: int) -> None:
    machine = Machine()
    listener = machine.listen(OF_HOST[version])
    packet = tcp(flags, 5, 77, b"data", src=OF_PEER[version], dst=OF_HOST[version])
    assert machine.give(packet) is Drop.LISTEN_NOT_SYN
    assert machine.host.matched is listener
    seen = machine.one()
    assert (seen.segment.seq, seen.segment.flags) == (77, RST)
    assert machine.host.counters[Reset.LISTEN_ACK] == 1


@pytest.mark.parametrize("flags", [0, FIN, PSH, URG, FIN | PSH | URG])
def test_neither_syn_nor_ack_nor_rst_for_a_listener(flags: int) -> None:
    machine = Machine()
    listener = machine.listen(HOST)
    assert machine.quiet(tcp(flags, 5, 0, b"data")) is Drop.LISTEN_NOT_SYN
    assert machine.host.matched is listener


def test_a_syn_from_port_zero() -> None:
    machine = Machine()
    machine.listen(HOST)
    assert machine.quiet(tcp(SYN, 5, sport=0)) is Drop.BAD_TCP_HEADER


@FAMILIES
def test_damaged_segments(version: int) -> None:
    machine = Machine()
    machine.listen(OF_HOST[version])
    start = 20 if version == 4 else 40
    good = tcp(SYN, 5, src=OF_PEER[version], dst=OF_HOST[version])
    for at in range(start, len(good)):
        broken = good[:at] + bytes([good[at] ^ 8]) + good[at + 1 :]
        assert machine.quiet(broken) in (Drop.BAD_TCP_CHECKSUM, Drop.BAD_TCP_HEADER)
    assert machine.give(Packet(good, (), 0, start, 16)) is Match.LISTEN_SPECIFIC  # the kernel's own: not looked at


# -- T12: the queues -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backlog", [0, 1, 2, 3, 5])
@FAMILIES
def test_one_more_than_the_backlog_completes(version: int, backlog: int) -> None:
    machine = Machine()
    listener = machine.listen(OF_HOST[version], backlog=backlog)
    for n in range(backlog + 1):
        machine.handshake(80, 1000 + n, version=version)
    for n in range(5):
        packet = tcp(SYN, 5, sport=2000 + n, src=OF_PEER[version], dst=OF_HOST[version])
        assert machine.quiet(packet) is Drop.ACCEPT_QUEUE_FULL
    assert listener.queues == (backlog + 1, backlog)
    accepted = [listener.accept()[1][1] for _ in range(backlog + 1)]
    assert accepted == [1000 + n for n in range(backlog + 1)]  # in the order in which they came
    assert errno_of(listener.accept) == errno.EAGAIN
    machine.handshake(80, 3000, version=version)


def test_an_ack_that_finds_the_queue_full_is_not_heard() -> None:
    """The SYN queue let it in; the connection completes once there is room, by its data or by the SYN-ACK that goes again."""
    machine = Machine()
    listener = machine.listen(HOST, backlog=1)
    peers = [Peer(machine, 80, 1000 + n, 4, 1000) for n in range(2)]
    for peer in peers:
        answer = machine.ask(peer.made(SYN, 1000, options=MSS))
        peer.rcv_nxt = answer.segment.end
    late = Peer(machine, 80, 2000, 4, 1000)
    assert machine.quiet(late.made(SYN, 1000)) is Drop.SYN_QUEUE_FULL
    assert machine.quiet(peers[0].made(ACK)) is Match.CONNECTION
    assert machine.quiet(peers[1].made(ACK)) is Match.CONNECTION
    listener.listen(0)
    assert listener.queues == (2, 0)


def test_a_handshake_ends_after_accept_made_room() -> None:
    machine = Machine()
    listener = machine.listen(HOST, backlog=0)
    first = Peer(machine, 80, 1000, 4, 1000)
    first.rcv_nxt = machine.ask(first.made(SYN, 1000, options=MSS)).segment.end
    listener.listen(5)
    second = Peer(machine, 80, 1001, 4, 1000)
    second.rcv_nxt = machine.ask(second.made(SYN, 1000, options=MSS)).segment.end
    listener.listen(0)
    assert machine.quiet(first.made(ACK)) is Match.CONNECTION
    assert machine.quiet(second.made(ACK)) is Drop.ACCEPT_QUEUE_FULL
    assert machine.quiet(second.made(ACK | PSH, data=b"data")) is Drop.ACCEPT_QUEUE_FULL
    assert listener.queues == (1, 0)
    again = machine.wait(SECOND)
    assert [seen.segment.flags for seen in again] == [SYN | ACK]
    assert again[0].dport == 1001
    listener.accept()
    second.send(ACK | PSH, b"data")
    child = listener.accept()[0]
    assert child.recv(10) == b"data"


def test_backlogs_are_bounded() -> None:
    machine = Machine()
    listener = machine.listen(HOST, backlog=1 << 30)
    assert listener.queues == (0, 4096)
    listener.listen(-5)
    assert listener.queues == (0, 0)


@FAMILIES
@pytest.mark.parametrize("how", ["close", "shutdown", "shutdown read"])
def test_a_listener_that_closes_resets_what_was_not_accepted(version: int, how: str) -> None:
    machine = Machine()
    listener = machine.listen(OF_HOST[version])
    taken = machine.handshake(80, 1000, version=version)
    child = listener.accept()[0]
    waiting = machine.handshake(80, 1001, version=version)
    half = Peer(machine, 80, 1002, version, 1000)
    half.rcv_nxt = machine.ask(half.made(SYN, 1000, options=MSS)).segment.end
    if how == "close":
        listener.close()
    else:
        listener.shutdown(so.SHUT_RDWR if how == "shutdown" else so.SHUT_RD)
    out = {seen.dport: seen.segment for seen in machine.take()}
    assert set(out) == {1001, 1002}
    for peer, port in ((waiting, 1001), (half, 1002)):
        assert out[port].flags & RST
        assert out[port].seq == peer.rcv_nxt & 0xFFFFFFFF
    assert machine.host.counters[Close.LISTENER_CLOSED] == 2
    taken.send(ACK | PSH, b"still here")
    assert child.recv(100) == b"still here"
    assert machine.give(tcp(SYN, 5, sport=9, src=OF_PEER[version], dst=OF_HOST[version])) in (
        Drop.NO_SOCKET,
        Drop.ONLY_BOUND,
    )
    machine.take()
    if how != "close":
        assert listener.state_name == "CLOSED"
        assert errno_of(listener.accept) == errno.EINVAL


def test_shutdown_of_a_listeners_sending_side_does_nothing() -> None:
    """As Linux."""
    machine = Machine()
    listener = machine.listen(HOST)
    listener.shutdown(so.SHUT_WR)
    machine.handshake()
    listener.accept()


def test_a_listener_may_listen_again() -> None:
    machine = Machine()
    listener = machine.listen(HOST)
    listener.shutdown(so.SHUT_RDWR)
    assert listener.getsockname() == (HOST, 80)
    listener.listen()
    machine.handshake()
    auto = machine.tcp()
    auto.listen()
    before = auto.getsockname()[1]
    auto.shutdown(so.SHUT_RDWR)
    assert auto.getsockname()[1] == before
    assert errno_of(machine.tcp().bind, ("", before)) == 0
    auto.listen()
    assert auto.getsockname()[1] != before


def test_a_reset_before_accept() -> None:
    """T12: accept still returns the socket."""
    machine = Machine()
    listener = machine.listen(HOST)
    peer = machine.handshake()
    machine.give(peer.made(RST))
    child, address = listener.accept()
    assert address == (PEER, 40000)
    assert errno_of(child.getpeername) == errno.ENOTCONN
    assert errno_of(child.recv, 1) == errno.ECONNRESET
    assert child.recv(1) == b""
    assert errno_of(child.send, b"x") == errno.EPIPE


def test_a_reset_of_a_half_open_connection() -> None:
    machine = Machine()
    listener = machine.listen(HOST, backlog=0)
    for n in range(5):
        answer = machine.ask(tcp(SYN, 1000, sport=1000 + n))
        machine.give(tcp(RST, 1001, answer.segment.end, sport=1000 + n))
    assert listener.queues == (0, 0)
    assert not machine.host.table.connections
    machine.handshake()


def test_a_half_open_connection_gives_up() -> None:
    machine = Machine()
    listener = machine.listen(HOST)
    machine.ask(tcp(SYN, 1000))
    again = machine.wait(200 * SECOND)
    assert [seen.segment.flags for seen in again] == [SYN | ACK] * 5  # tcp_synack_retries
    assert listener.listener is not None
    assert not listener.listener.half_open
    assert not machine.host.table.connections
    assert errno_of(listener.accept) == errno.EAGAIN


def test_inherited_by_children() -> None:
    """T3: options come from the listener."""
    machine = Machine()
    listener = machine.listen("::", reuseaddr=True, reuseport=True)
    listener.setsockopt(so.IPPROTO_TCP, so.TCP_NODELAY, 1)
    listener.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, 1)
    listener.setsockopt(so.SOL_SOCKET, so.SO_LINGER, 0)
    listener.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 100_000)
    listener.setsockopt(so.SOL_SOCKET, so.SO_SNDBUF, 50_000)
    listener.setsockopt(so.IPPROTO_IP, so.IP_TTL, 77)
    machine.handshake()
    child = listener.accept()[0]
    for level, option, value in (
        (so.SOL_SOCKET, so.SO_REUSEADDR, 1),
        (so.SOL_SOCKET, so.SO_REUSEPORT, 1),
        (so.IPPROTO_TCP, so.TCP_NODELAY, 1),
        (so.SOL_SOCKET, so.SO_KEEPALIVE, 1),
        (so.SOL_SOCKET, so.SO_LINGER, 0),
        (so.SOL_SOCKET, so.SO_RCVBUF, 200_000),
        (so.SOL_SOCKET, so.SO_SNDBUF, 100_000),
        (so.IPPROTO_IP, so.IP_TTL, 77),
    ):
        assert child.getsockopt(level, option) == value
    assert child.app == listener.app
    assert child.uid == listener.uid


# -- floods ----------------------------------------------------------------------------------------------------------


def test_a_syn_flood() -> None:
    """Bounded memory, and what is connected goes on."""
    machine = Machine()
    listener = machine.listen("0.0.0.0", backlog=128)
    peer = machine.handshake(80, 9)
    child = listener.accept()[0]
    random = Random(5)
    reasons: Counter[object] = Counter()
    for n in range(20_000):
        src = f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        reasons[machine.give(tcp(SYN, random.getrandbits(32), sport=random.randrange(1, 65536), src=src))] += 1
        if n % 500 == 0:
            machine.take()
            machine.now += 10_000_000
            assert len(machine.host.table.connections) <= 130
            peer.send(ACK | PSH, b"ping")
            assert child.recv(100) == b"ping"
            child.send(b"pong")
            assert any(seen.segment.length for seen in peer.heard())
    assert set(reasons) == {Match.LISTEN_WILDCARD, Drop.SYN_QUEUE_FULL}
    assert reasons[Match.LISTEN_WILDCARD] == 129
    machine.wait(200 * SECOND)
    assert len(machine.host.table.connections) == 1
    assert len(machine.host.tcp.timers) < 10
    machine.handshake(80, 10)
    assert listener.accept()[1] == (PEER, 10)


def test_a_flood_of_stray_segments() -> None:
    machine = Machine()
    listener = machine.listen("0.0.0.0")
    machine.handshake(80, 9)
    listener.accept()
    random = Random(6)
    for _ in range(10_000):
        machine.give(tcp(random.getrandbits(6), random.getrandbits(32), dport=random.choice((80, 81)), sport=7))
        machine.give(udp(b"x", dport=99))
    assert 1000 < len(machine.take()) <= 4096
    assert len(machine.host.table.connections) <= 2


def test_what_a_connection_costs_in_time_wait() -> None:
    """The compact form must not hold the socket's whole connection."""
    machine = Machine()
    listener = machine.listen(HOST)
    held = []
    for n in range(20):
        peer = machine.handshake(80, 1000 + n)
        child = listener.accept()[0]
        assert child.connection is not None
        held.append(child)
        child.close()
        peer.heard()
        peer.send(ACK | FIN)
    assert {c.state for c in machine.host.table.connections.values()} == {State.TIME_WAIT}
    assert [child.connection for child in held] == [None] * 20
    assert len(machine.host.table.connections) == 20


# -- two sockets of one host -----------------------------------------------------------------------------------------


@FAMILIES
def test_two_sockets_of_one_host(version: int) -> None:
    machine = Machine()
    listener = machine.listen(OF_HOST[version])
    client = machine.tcp(so.AF_INET if version == 4 else so.AF_INET6)
    assert errno_of(client.connect, (OF_HOST[version], 80)) == errno.EINPROGRESS
    assert machine.take() == []  # nothing of it on the wire
    child, address = listener.accept()
    assert address == client.getsockname()
    assert client.getpeername() == child.getsockname() == (OF_HOST[version], 80)
    data = bytes(range(256)) * 4000
    sent, got = 0, b""
    while len(got) < len(data):
        with suppress(BlockingIOError):
            sent += client.send(data[sent:])
        assert machine.take() == []
        try:
            got += child.recv(1 << 20)
        except BlockingIOError:
            machine.wait(1_000_000)
    assert got == data
    client.close()
    child.close()
    assert machine.take() == []
    assert {c.state for c in machine.host.table.connections.values()} == {State.TIME_WAIT}
    machine.wait(61 * SECOND)
    assert not machine.host.table.connections


@pytest.mark.parametrize("name", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_connect_to_the_wildcard_address_means_this_host(name: str) -> None:
    """T10."""
    machine = Machine()
    listener = machine.listen("::")
    client = machine.tcp(so.AF_INET6 if ":" in name else so.AF_INET)
    assert errno_of(client.connect, (name, 80)) == errno.EINPROGRESS
    assert machine.take() == []
    assert listener.accept()[0].getpeername()[1] == client.lport
    assert client.getpeername()[0].removeprefix("::ffff:") in ("127.0.0.1", "::1")


@FAMILIES
def test_self_connect(version: int) -> None:
    """T10: a simultaneous open with oneself."""
    machine = Machine()
    socket = machine.tcp(so.AF_INET if version == 4 else so.AF_INET6)
    socket.bind((OF_HOST[version], 5000))
    assert errno_of(socket.connect, (OF_HOST[version], 5000)) == errno.EINPROGRESS
    assert machine.take() == []
    assert socket.state_name == "ESTABLISHED"
    assert socket.getpeername() == socket.getsockname() == (OF_HOST[version], 5000)
    assert socket.connect((OF_HOST[version], 5000)) is None  # type: ignore[func-returns-value]
    socket.send(b"echo")
    assert machine.take() == []
    assert socket.recv(100) == b"echo"
    socket.close()
    assert machine.take() == []
    machine.wait(61 * SECOND)
    assert not machine.host.table.connections
    assert not machine.host.table.sockets


def test_a_refused_connection_to_oneself() -> None:
    machine = Machine()
    client = machine.tcp()
    assert errno_of(client.connect, (HOST, 81)) == errno.EINPROGRESS
    assert machine.take() == []
    assert errno_of(client.connect, (HOST, 81)) == errno.ECONNREFUSED


@pytest.mark.parametrize("in_one_batch", [False, True])
def test_simultaneous_open_of_two_hosts(in_one_batch: bool) -> None:
    pair = Pair()
    a, b = StreamSocket(pair.a), StreamSocket(pair.b)
    a.bind((PEER, 5000))
    b.bind((HOST, 6000))
    assert errno_of(a.connect, (HOST, 6000)) == errno.EINPROGRESS
    assert errno_of(b.connect, (PEER, 5000)) == errno.EINPROGRESS
    for _ in range(1 if in_one_batch else 2):  # the SYNs cross, and the SYN-ACKs
        first, second = pair.a.transmit(pair.now), pair.b.transmit(pair.now)
        assert first is not None
        assert second is not None
        pair.b.receive(bytes(first), pair.now)
        pair.a.receive(bytes(second), pair.now)
    pair.run()
    assert a.state_name == b.state_name == "ESTABLISHED"
    a.send(b"hello")
    pair.run()
    assert b.recv(100) == b"hello"


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.5", "::1"])
def test_loopback_stays_in_the_host(name: str) -> None:
    """RFC 1122 3.2.1.3 (g): every host has it, and it is never on the wire."""
    machine = Machine()
    listener = machine.listen(name)
    family = so.AF_INET6 if ":" in name else so.AF_INET
    client = machine.tcp(family)
    assert errno_of(client.connect, (name, 80)) == errno.EINPROGRESS
    assert machine.take() == []
    child, peer = listener.accept()
    assert child.getsockname() == (name, 80)
    assert peer == client.getsockname() == ("::1" if ":" in name else "127.0.0.1", client.lport)
    machine.give(tcp(SYN, 1000, sport=2000, dst=name, src="::2" if ":" in name else PEER, options=MSS))
    assert machine.take() == []
    assert machine.host.counters[Drop.NOT_FOR_US] == 1
