"""Socket options: the same bounds, errnos and bytes as the kernel's, and their effect on the wire."""

from __future__ import annotations

import errno
import socket as kernel
import struct
from collections.abc import Iterator

import pytest
from stack_bench import HOST, MS, PEER, SECOND, Bench, errno_of, tcp

from netemu.reasons import Close, Drop
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.tcp import ACK, FIN, PSH, RST, SYN

LINGER = struct.Struct("=ii")
VALUES = (-2, -1, 0, 1, 2, 3, 87, 88, 127, 128, 255, 256, 511, 1460, 32767, 32768, 65536, (1 << 31) - 1)
INTS = [
    (so.IPPROTO_TCP, so.TCP_NODELAY),
    (so.IPPROTO_TCP, so.TCP_MAXSEG),
    (so.IPPROTO_TCP, so.TCP_KEEPIDLE),
    (so.IPPROTO_TCP, so.TCP_KEEPINTVL),
    (so.IPPROTO_TCP, so.TCP_KEEPCNT),
    (so.IPPROTO_TCP, so.TCP_USER_TIMEOUT),
    (so.IPPROTO_TCP, so.TCP_INFO),
    (so.IPPROTO_TCP, 9999),
    (so.SOL_SOCKET, so.SO_KEEPALIVE),
    (so.SOL_SOCKET, so.SO_TYPE),
    (so.SOL_SOCKET, so.SO_DOMAIN),
    (so.SOL_SOCKET, so.SO_PROTOCOL),
    (so.SOL_SOCKET, so.SO_ACCEPTCONN),
    (so.SOL_SOCKET, so.SO_ERROR),
    (so.SOL_SOCKET, so.SO_INCOMING_CPU),
    (so.SOL_SOCKET, 9999),
    (so.IPPROTO_IP, so.IP_TTL),
    (so.IPPROTO_IP, so.IP_TOS),
    (so.IPPROTO_IPV6, so.IPV6_UNICAST_HOPS),
    (so.IPPROTO_IPV6, so.IPV6_TCLASS),
    (9999, 1),
]
FOR_UDP = [pair for pair in INTS if pair[0] != so.IPPROTO_TCP and pair[1] != so.SO_KEEPALIVE] + [
    (so.IPPROTO_TCP, so.TCP_NODELAY)
]
CASES = [
    (family, kind, *pair)
    for kind, pairs in ((so.SOCK_STREAM, INTS), (so.SOCK_DGRAM, FOR_UDP))
    for family in (so.AF_INET, so.AF_INET6)
    for pair in pairs
    # IP_TTL and IP_TOS of an IPv6 socket's IPv4 half are values of their own in Linux; here a socket has one of each
    if family == so.AF_INET or pair[0] != so.IPPROTO_IP
]


def answers(socket: StreamSocket | DatagramSocket | kernel.socket, level: int, option: int) -> Iterator[object]:
    """What a socket says to every value, as an int and as C lays it out."""
    for value in VALUES:
        for given in (value, struct.pack("=i", value)):
            yield value, errno_of(socket.setsockopt, level, option, given)
            number = errno_of(socket.getsockopt, level, option)
            yield value, number or (socket.getsockopt(level, option), socket.getsockopt(level, option, 4))
    if level != so.IPPROTO_IP:
        yield b"", errno_of(socket.setsockopt, level, option, b"")
    if level in (so.SOL_SOCKET, so.IPPROTO_TCP):
        yield b"12", errno_of(socket.setsockopt, level, option, b"12")


@pytest.mark.parametrize(("family", "kind", "level", "option"), CASES)
def test_the_kernel_says_the_same(family: int, kind: int, level: int, option: int) -> None:
    ours = Bench().host.socket(family, kind)
    with kernel.socket(family, kind) as theirs:
        assert list(answers(ours, level, option)) == list(answers(theirs, level, option))


@pytest.mark.parametrize(
    "value",
    [b"", b"\1\0\0\0", LINGER.pack(1, 5), LINGER.pack(1, 0), LINGER.pack(0, 0), LINGER.pack(7, 9) + b"more"],
)
def test_linger_is_a_struct(value: bytes) -> None:
    ours = Bench().tcp()
    with kernel.socket() as theirs:
        for socket in (ours, theirs):
            assert errno_of(socket.setsockopt, so.SOL_SOCKET, so.SO_LINGER, value) == (
                0 if len(value) >= 8 else errno.EINVAL
            )
        for size in (4, 8, 12):
            read = ours.getsockopt(so.SOL_SOCKET, so.SO_LINGER, size)
            assert read == theirs.getsockopt(so.SOL_SOCKET, so.SO_LINGER, size)


def test_linger_of_zero_resets() -> None:
    bench = Bench()
    socket, _ = bench.connected()
    socket.setsockopt(so.SOL_SOCKET, so.SO_LINGER, LINGER.pack(1, 0))
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_LINGER) == 0
    socket.close()
    assert bench.one().segment.flags & RST


def test_buflen_has_bounds() -> None:
    socket = Bench().tcp()
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_TYPE, 1024) == b"\1\0\0\0"
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_TYPE, 2) == b"\1\0"
    for size in (-1, 1025):
        assert errno_of(socket.getsockopt, so.SOL_SOCKET, so.SO_TYPE, size) == errno.EINVAL


# -- what they do ----------------------------------------------------------------------------------------------------


def test_a_child_inherits() -> None:
    """Facts T3, and the rest as measured on Linux 6.18."""
    bench = Bench()
    parent = bench.tcp()
    for level, option, value in (
        (so.IPPROTO_TCP, so.TCP_NODELAY, 1),
        (so.IPPROTO_TCP, so.TCP_KEEPIDLE, 11),
        (so.IPPROTO_TCP, so.TCP_KEEPINTVL, 12),
        (so.IPPROTO_TCP, so.TCP_KEEPCNT, 3),
        (so.IPPROTO_TCP, so.TCP_USER_TIMEOUT, 5000),
        (so.SOL_SOCKET, so.SO_KEEPALIVE, 1),
        (so.SOL_SOCKET, so.SO_REUSEADDR, 1),
        (so.SOL_SOCKET, so.SO_RCVBUF, 50_000),
        (so.SOL_SOCKET, so.SO_SNDBUF, 60_000),
        (so.SOL_SOCKET, so.SO_LINGER, 9),
        (so.IPPROTO_IP, so.IP_TTL, 77),
        (so.IPPROTO_IP, so.IP_TOS, 16),
    ):
        parent.setsockopt(level, option, value)
    parent.pid, parent.program = 4711, "server"
    parent.bind((HOST, 80))
    parent.listen()
    assert parent.getsockopt(so.SOL_SOCKET, so.SO_ACCEPTCONN) == 1
    bench.handshake()
    child, _ = parent.accept()
    assert child.getsockopt(so.SOL_SOCKET, so.SO_ACCEPTCONN) == 0
    for level, option in [*INTS[:6], (so.SOL_SOCKET, so.SO_KEEPALIVE), (so.SOL_SOCKET, so.SO_RCVBUF)]:
        if option != so.TCP_MAXSEG:
            assert child.getsockopt(level, option) == parent.getsockopt(level, option)
    assert child.getsockopt(so.SOL_SOCKET, so.SO_LINGER, 8) == LINGER.pack(1, 9)
    assert (child.ttl, child.tos, child.sndbuf, child.pid, child.program) == (77, 16, 120_000, 4711, "server")
    child.setsockopt(so.IPPROTO_TCP, so.TCP_KEEPCNT, 4)
    assert parent.getsockopt(so.IPPROTO_TCP, so.TCP_KEEPCNT) == 3


def test_maxseg_caps_what_is_announced_and_sent() -> None:
    bench = Bench()
    socket = bench.tcp()
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_MAXSEG, 1000)
    syn = bench.connecting(socket)
    assert syn.segment.options.mss == 1000
    bench.give(tcp(SYN | ACK, 5000, syn.segment.seq + 1, sport=80, dport=syn.sport, options=b"\x02\x04\x05\xb4"))
    bench.take()
    assert socket.getsockopt(so.IPPROTO_TCP, so.TCP_MAXSEG) == 1000
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_MAXSEG, 500)  # too late, and no error
    assert socket.getsockopt(so.IPPROTO_TCP, so.TCP_MAXSEG) == 1000
    socket.send(bytes(3000))
    assert [seen.segment.length for seen in bench.take()] == [1000, 1000, 1000]


def test_maxseg_of_a_listener() -> None:
    bench = Bench()
    parent = bench.tcp()
    parent.setsockopt(so.IPPROTO_TCP, so.TCP_MAXSEG, 600)
    parent.bind((HOST, 80))
    parent.listen()
    assert parent.getsockopt(so.IPPROTO_TCP, so.TCP_MAXSEG) == 600
    assert bench.ask(tcp(SYN, 1, options=b"\x02\x04\x05\xb4")).segment.options.mss == 600


def test_keepalive_by_the_sockets_own_times() -> None:
    bench = Bench()
    socket, _ = bench.connected()
    for option, value in ((so.TCP_KEEPIDLE, 5), (so.TCP_KEEPINTVL, 2), (so.TCP_KEEPCNT, 2)):
        socket.setsockopt(so.IPPROTO_TCP, option, value)
    socket.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, 1)
    assert bench.wait(5 * SECOND - 1) == []
    assert len(bench.wait(1)) == 1
    assert len(bench.wait(2 * SECOND)) == 1
    assert bench.wait(2 * SECOND)[0].segment.flags & RST
    assert bench.host.counters[Close.KEEPALIVE] == 1
    assert errno_of(socket.recv, 1) == errno.ETIMEDOUT


def test_keepalive_times_may_change_while_it_waits() -> None:
    bench = Bench()
    socket, peer = bench.connected()
    socket.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, 1)
    bench.wait(3 * SECOND)
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_KEEPIDLE, 4)
    assert len(bench.wait(1 * SECOND)) == 1
    peer.send(ACK)
    assert bench.wait(4 * SECOND - 1) == []


def timed(milliseconds: int) -> tuple[Bench, StreamSocket]:
    bench = Bench()
    socket, _ = bench.connected()
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_USER_TIMEOUT, milliseconds)
    return bench, socket


def test_user_timeout_ends_what_is_not_acknowledged() -> None:
    """RFC 9293 3.8.3, RFC 5482: at that time, not at the next expiry of a backed-off timer."""
    bench, socket = timed(3000)
    socket.send(b"into the void")
    bench.wait(3000 * MS - 1)
    assert socket.state_name == "ESTABLISHED"
    assert bench.wait(1) == []  # without a RST, as Linux
    assert bench.host.counters[Close.TIMED_OUT] == 1
    assert errno_of(socket.recv, 1) == errno.ETIMEDOUT
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == 0


def test_user_timeout_begins_anew_with_each_progress() -> None:
    bench = Bench()
    socket, peer = bench.connected()
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_USER_TIMEOUT, 3000)
    for _ in range(4):
        socket.send(b"slow")
        bench.wait(2500 * MS)
        peer.rcv_nxt += 4
        peer.send(ACK)
        assert socket.state_name == "ESTABLISHED"


def test_user_timeout_counts_while_the_window_is_closed() -> None:
    """As Linux: though the peer answers every probe."""
    bench = Bench()
    socket, peer = bench.connected()
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_USER_TIMEOUT, 3000)
    bench.give(peer.made(ACK, wnd=0))
    socket.send(b"no room")
    for _ in range(35):
        for _ in bench.wait(100 * MS):
            bench.give(peer.made(ACK, wnd=0))
    assert bench.host.counters[Close.TIMED_OUT] == 1


def test_user_timeout_of_a_handshake() -> None:
    bench = Bench()
    socket = bench.tcp()
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_USER_TIMEOUT, 4000)
    bench.connecting(socket)
    bench.wait(4000 * MS)
    assert errno_of(socket.connect, (PEER, 80)) == errno.ETIMEDOUT


def test_user_timeout_overrules_the_number_of_probes() -> None:
    bench, socket = timed(7500)
    for option, value in ((so.TCP_KEEPIDLE, 5), (so.TCP_KEEPINTVL, 1), (so.TCP_KEEPCNT, 1)):
        socket.setsockopt(so.IPPROTO_TCP, option, value)
    socket.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, 1)
    out = bench.wait(8 * SECOND)
    assert [bool(seen.segment.flags & RST) for seen in out] == [False, False, False, True]
    assert bench.host.counters[Close.KEEPALIVE] == 1


# -- TCP_INFO --------------------------------------------------------------------------------------------------------


def info_of(socket: StreamSocket) -> dict[str, int]:
    raw = socket.getsockopt(so.IPPROTO_TCP, so.TCP_INFO, 1024)
    assert isinstance(raw, bytes)
    assert len(raw) == 240
    small, words = raw[:8], struct.unpack_from("=24I", raw, 8)
    longs = struct.unpack_from("=4Q", raw, 104)
    return {
        "state": small[0],
        "retransmits": small[2],
        "options": small[5],
        "rto": words[0],
        "snd_mss": words[2],
        "unacked": words[4],
        "sacked": words[5],
        "rtt": words[15],
        "ssthresh": words[17],
        "cwnd": words[18],
        "total_retrans": words[23],
        "acked": longs[2],
        "received": longs[3],
        "notsent": struct.unpack_from("=I", raw, 144)[0],
        "snd_wnd": struct.unpack_from("=I", raw, 228)[0],
    }


def test_tcp_info_of_a_connection() -> None:
    bench = Bench()
    socket, peer = bench.connected()
    peer.send(ACK | PSH, b"12345")
    socket.send(b"x" * 1460 * 3)
    bench.take()
    found = info_of(socket)
    assert (found["state"], found["snd_mss"], found["unacked"], found["cwnd"]) == (1, 1460, 3, 10)
    assert (found["received"], found["acked"], found["ssthresh"], found["snd_wnd"]) == (5, 0, 0x7FFFFFFF, 65535)
    bench.wait(300 * MS)
    found = info_of(socket)
    assert (found["retransmits"], found["total_retrans"], found["cwnd"]) == (1, 1, 1)
    assert found["rto"] == 400_000
    peer.rcv_nxt += 1460 * 3
    peer.send(ACK)
    found = info_of(socket)
    assert (found["acked"], found["retransmits"], found["total_retrans"]) == (1460 * 3, 0, 1)
    assert socket.getsockopt(so.IPPROTO_TCP, so.TCP_INFO, 1) == b"\1"
    assert socket.getsockopt(so.IPPROTO_TCP, so.TCP_INFO) & 0xFF == 1  # type: ignore[operator]  # an int without a size


def test_tcp_info_of_other_states() -> None:
    bench = Bench()
    assert info_of(bench.tcp())["state"] == 7
    listener = bench.listen(backlog=5)
    bench.handshake()
    found = info_of(listener)
    assert (found["state"], found["unacked"], found["sacked"]) == (10, 1, 5)
    socket, peer = bench.connected(81)
    peer.send(FIN | ACK)
    assert info_of(socket)["state"] == 8
    socket.close()
    bench.take()
    assert Drop.NO_SOCKET not in bench.host.counters


def test_tcp_info_is_laid_out_as_the_kernels() -> None:
    """The kernel's own, of a socket that does nothing: the same state at the same place, and not shorter than ours."""
    with kernel.socket() as theirs:
        raw = theirs.getsockopt(so.IPPROTO_TCP, so.TCP_INFO, 1024)
    ours = Bench().tcp().getsockopt(so.IPPROTO_TCP, so.TCP_INFO, 1024)
    assert isinstance(ours, bytes)
    assert ours[0] == raw[0] == 7
    assert len(raw) >= 232
