"""What the calls of a TCP socket answer in every state: Linux' errno, asked of a kernel (facts T11, T12 and our own probes)."""

from __future__ import annotations

import errno

import pytest
from stack_bench import (
    FAMILIES,
    HOST,
    HOST6,
    MS,
    OF_HOST,
    OF_PEER,
    PEER,
    PEER6,
    SECOND,
    Bench,
    Pair,
    Peer,
    errno_of,
    tcp,
)

from netemu.reasons import Close, Reset
from netemu.stack import constants as so
from netemu.stack.host import Host
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.connection import ENDED, READABLE, WRITABLE
from netemu.wire.ip import parse_address
from netemu.wire.tcp import ACK, FIN, PSH, RST, SYN

BOTH = READABLE | WRITABLE


def refuse(bench: Bench, syn_from: StreamSocket) -> None:
    """The peer's RST for a SYN."""
    syn = bench.connecting(syn_from)
    bench.give(tcp(RST | ACK, 0, syn.segment.end, sport=syn.dport, dport=syn.sport))
    assert bench.take() == []


def accepted(bench: Bench) -> tuple[StreamSocket, Peer]:
    listener = bench.listen()
    peer = bench.handshake()
    return listener.accept()[0], peer


# -- a fresh socket --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [False, True])
def test_fresh_or_bound(bound: bool) -> None:
    socket = Bench().tcp()
    if bound:
        socket.bind((HOST, 0))
    assert errno_of(socket.recv, 1) == errno.ENOTCONN
    assert errno_of(socket.send, b"x") == errno.EPIPE
    assert errno_of(socket.accept) == errno.EINVAL
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    for how in (so.SHUT_RD, so.SHUT_WR, so.SHUT_RDWR):
        assert errno_of(socket.shutdown, how) == errno.ENOTCONN
    assert errno_of(socket.shutdown, 3) == errno.EINVAL
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == 0
    assert socket.state_name == "CLOSED"


def test_families() -> None:
    host = Host([HOST])
    assert errno_of(lambda: StreamSocket(host, 1)) == errno.EAFNOSUPPORT
    assert isinstance(host.socket(), StreamSocket)
    assert host.socket(so.AF_INET6, so.SOCK_DGRAM).is_ipv6


# -- listen, accept --------------------------------------------------------------------------------------------------


def test_listen_without_bind() -> None:
    socket = Bench().tcp()
    socket.listen()
    address, port = socket.getsockname()
    assert address == "0.0.0.0"
    assert 32768 <= port <= 60999
    v6 = Bench().tcp(so.AF_INET6)
    v6.listen()
    assert v6.getsockname()[0] == "::"


def test_a_listener() -> None:
    bench = Bench()
    socket = bench.listen(backlog=2)
    assert errno_of(socket.connect, (PEER, 80)) == errno.EISCONN
    assert errno_of(socket.recv, 1) == errno.ENOTCONN
    assert errno_of(socket.send, b"x") == errno.EPIPE
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    assert errno_of(socket.accept) == errno.EAGAIN
    assert errno_of(socket.bind, (HOST, 81)) == errno.EINVAL
    socket.listen(7)
    assert socket.queues == (0, 7)
    assert socket.poll() == 0
    assert socket.state_name == "LISTEN"
    bench.handshake()
    assert socket.poll() == READABLE
    assert socket.queues == (1, 7)


def test_listen_on_what_connects_or_is_connected() -> None:
    bench = Bench()
    socket = bench.tcp()
    bench.connecting(socket)
    assert errno_of(socket.listen) == errno.EINVAL
    client, _ = bench.connected(81)
    assert errno_of(client.listen) == errno.EINVAL
    child, peer = accepted(bench)
    assert errno_of(child.listen) == errno.EINVAL
    bench.give(peer.made(RST))
    assert errno_of(child.listen) == errno.EINVAL


def test_a_failed_bind_in_listen_leaves_nothing() -> None:
    bench = Bench()
    one, two = bench.tcp(reuseaddr=True), bench.tcp(reuseaddr=True)
    one.bind((HOST, 5000))
    two.bind((HOST, 5000))
    one.listen()
    assert errno_of(two.listen) == errno.EADDRINUSE
    assert two.state_name == "CLOSED"
    assert two.getsockname() == (HOST, 5000)
    one.close()
    two.listen()


# -- connect ---------------------------------------------------------------------------------------------------------


@FAMILIES
def test_connecting(version: int) -> None:
    bench = Bench()
    socket = bench.tcp(so.AF_INET if version == 4 else so.AF_INET6)
    syn = bench.connecting(socket, version=version)
    assert errno_of(socket.connect, (OF_PEER[version], 80)) == errno.EALREADY
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    assert errno_of(socket.recv, 1) == errno.EAGAIN
    assert errno_of(socket.send, b"x") == errno.EAGAIN
    assert errno_of(socket.bind, (OF_HOST[version], 5000)) == errno.EINVAL
    assert socket.getsockname() == (OF_HOST[version], syn.sport)
    assert socket.poll() == 0


def test_how_connect_went_is_told_by_calling_it_again() -> None:
    bench = Bench()
    socket, _ = bench.connected()
    assert socket.poll() == WRITABLE
    assert errno_of(socket.connect, (PEER, 80)) == 0
    assert errno_of(socket.connect, (PEER, 80)) == errno.EISCONN
    assert socket.getpeername() == (PEER, 80)
    child, _ = accepted(bench)
    assert errno_of(child.connect, (PEER, 80)) == errno.EISCONN


def test_refused() -> None:
    bench = Bench()
    socket = bench.tcp()
    refuse(bench, socket)
    assert bench.host.counters[Close.REFUSED] == 1
    assert socket.poll() == BOTH
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    assert errno_of(socket.listen) == errno.EINVAL
    assert errno_of(socket.shutdown, so.SHUT_WR) == errno.ENOTCONN
    assert errno_of(socket.connect, (PEER, 80)) == errno.ECONNREFUSED
    assert socket.getsockname()[0] == "0.0.0.0"
    refuse(bench, socket)  # and again
    assert errno_of(socket.connect, (PEER, 80)) == errno.ECONNREFUSED
    socket.listen()


@pytest.mark.parametrize("how", ["recv", "send", "so_error"])
def test_refused_is_told_once(how: str) -> None:
    bench = Bench()
    socket = bench.tcp()
    refuse(bench, socket)
    if how == "recv":
        assert errno_of(socket.recv, 1) == errno.ECONNREFUSED
    elif how == "send":
        assert errno_of(socket.send, b"x") == errno.ECONNREFUSED
    else:
        assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == errno.ECONNREFUSED
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == 0
    assert socket.recv(1) == b""
    assert errno_of(socket.send, b"x") == errno.EPIPE
    assert errno_of(socket.connect, (PEER, 80)) == errno.ECONNABORTED
    refuse(bench, socket)


def test_a_refused_socket_keeps_the_address_that_it_was_bound_to() -> None:
    bench = Bench(HOST, "198.18.0.7")
    socket = bench.tcp()
    socket.bind(("198.18.0.7", 5000))
    refuse_from(bench, socket)
    assert errno_of(socket.connect, (PEER, 80)) == errno.ECONNREFUSED
    assert socket.getsockname() == ("198.18.0.7", 5000)
    wild = bench.tcp()
    wild.bind(("0.0.0.0", 5001))
    refuse_from(bench, wild)
    assert errno_of(wild.connect, (PEER, 80)) == errno.ECONNREFUSED
    assert wild.getsockname() == ("0.0.0.0", 5001)


def refuse_from(bench: Bench, socket: StreamSocket) -> None:
    syn = bench.connecting(socket)
    dst = ".".join(map(str, syn.ip.src))
    bench.give(tcp(RST | ACK, 0, syn.segment.end, sport=80, dport=syn.sport, dst=dst))


@pytest.mark.parametrize(
    ("family", "address", "number"),
    [
        (so.AF_INET, "224.0.0.1", errno.ENETUNREACH),
        (so.AF_INET, "255.255.255.255", errno.ENETUNREACH),
        (so.AF_INET, "240.0.0.1", errno.ENETUNREACH),
        (so.AF_INET, "0.1.2.3", errno.ENETUNREACH),
        (so.AF_INET, PEER6, errno.EAFNOSUPPORT),
        (so.AF_INET, "nonsense", errno.EINVAL),
        (so.AF_INET6, "ff02::1", errno.ENETUNREACH),
        (so.AF_INET6, "::ffff:224.0.0.1", errno.ENETUNREACH),
        (so.AF_INET6, PEER, errno.EAFNOSUPPORT),
    ],
)
def test_where_nobody_can_connect_to(family: int, address: str, number: int) -> None:
    """MUST-46."""
    bench = Bench()
    socket = bench.tcp(family)
    assert errno_of(socket.connect, (address, 80)) == number
    assert bench.take() == []
    assert socket.getsockname()[1] == 0
    for port in (-1, 65536):
        with pytest.raises(OverflowError):
            socket.connect((PEER if family == so.AF_INET else PEER6, port))
    bench.connecting(socket, version=4 if family == so.AF_INET else 6)


def test_families_that_do_not_fit() -> None:
    bench = Bench()
    v6only = bench.tcp(so.AF_INET6, v6only=True)
    assert errno_of(v6only.connect, (f"::ffff:{PEER}", 80)) == errno.ENETUNREACH
    bound6 = bench.tcp(so.AF_INET6)
    bound6.bind((HOST6, 0))
    assert errno_of(bound6.connect, (f"::ffff:{PEER}", 80)) == errno.ENETUNREACH
    bound4 = bench.tcp(so.AF_INET6)
    bound4.bind((f"::ffff:{HOST}", 0))
    assert errno_of(bound4.connect, (PEER6, 80)) == errno.EAFNOSUPPORT
    assert errno_of(bound4.connect, (f"::ffff:{PEER}", 80)) == errno.EINPROGRESS
    only4 = Bench(HOST)
    assert errno_of(only4.tcp(so.AF_INET6).connect, (PEER6, 80)) == errno.ENETUNREACH
    assert errno_of(only4.tcp(so.AF_INET6).connect, (f"::ffff:{PEER}", 80)) == errno.EINPROGRESS
    only6 = Bench(HOST6)
    assert errno_of(only6.tcp().connect, (PEER, 80)) == errno.ENETUNREACH


def test_a_dual_stack_socket_shows_mapped_names() -> None:
    bench = Bench()
    socket = bench.tcp(so.AF_INET6)
    socket.bind(("::", 5000))
    assert errno_of(socket.connect, (f"::ffff:{PEER}", 80)) == errno.EINPROGRESS
    syn = bench.one()
    assert syn.ip.version == 4
    bench.give(tcp(SYN | ACK, 9, syn.segment.end, sport=80, dport=5000))
    bench.take()
    assert socket.getsockname() == (f"::ffff:{HOST}", 5000)
    assert socket.getpeername() == (f"::ffff:{PEER}", 80)


def test_the_local_address_stays_what_it_was() -> None:
    """MUST-44, MUST-45."""
    bench = Bench("10.0.0.1", HOST)
    socket = bench.tcp()
    socket.bind(("0.0.0.0", 5000))
    syn = bench.connecting(socket)
    assert syn.ip.src == parse_address(HOST)
    assert all(seen.ip.src == parse_address(HOST) for seen in bench.wait(20 * SECOND))
    assert socket.getsockname() == (HOST, 5000)


def test_a_connect_that_nobody_answers() -> None:
    bench = Bench()
    socket = bench.tcp()
    bench.connecting(socket)
    again = bench.wait(600 * SECOND)
    assert 3 <= len(again) <= 8
    assert errno_of(socket.connect, (PEER, 80)) == errno.ETIMEDOUT
    assert bench.host.counters[Close.TIMED_OUT] == 1


@pytest.mark.parametrize("how", [so.SHUT_RD, so.SHUT_WR, so.SHUT_RDWR])
def test_shutdown_while_connecting(how: int) -> None:
    bench = Bench()
    socket = bench.tcp()
    bench.connecting(socket)
    socket.shutdown(how)
    assert bench.take() == []
    assert not bench.host.table.connections
    assert errno_of(socket.recv, 1) == errno.ECONNRESET
    assert errno_of(socket.send, b"x") == errno.EPIPE
    bench.connecting(socket, 81)


def test_close_while_connecting() -> None:
    bench = Bench()
    socket = bench.tcp()
    bench.connecting(socket)
    socket.close()
    assert bench.take() == []
    assert not bench.host.table.connections
    assert not bench.host.table.sockets


# -- data ------------------------------------------------------------------------------------------------------------


@FAMILIES
def test_reading_and_the_end_of_the_stream(version: int) -> None:
    bench = Bench()
    socket, peer = bench.connected(version=version)
    assert errno_of(socket.recv, 1) == errno.EAGAIN
    peer.send(ACK | PSH, b"hello")
    assert socket.poll() == BOTH
    assert socket.recv(2) == b"he"
    assert socket.recv(0) == b""
    assert socket.recv(100) == b"llo"
    assert errno_of(socket.recv, 1) == errno.EAGAIN
    peer.send(ACK | FIN)
    assert socket.poll() == BOTH
    assert [socket.recv(1) for _ in range(3)] == [b""] * 3
    assert socket.send(b"bye") == 3
    assert bench.one().segment.data() == b"bye"


def test_writing_until_the_buffer_is_full() -> None:
    bench = Bench()
    socket, _ = bench.connected()
    socket.setsockopt(so.SOL_SOCKET, so.SO_SNDBUF, 5000)
    assert socket.send(b"x" * 20_000) == 10_000
    assert socket.poll() == 0
    assert errno_of(socket.send, b"x") == errno.EAGAIN
    assert socket.queues == (0, 10_000)


def test_the_peers_reset() -> None:
    bench = Bench()
    socket, peer = bench.connected()
    bench.give(peer.made(RST))
    assert socket.poll() == BOTH
    assert errno_of(socket.send, b"x") == errno.ECONNRESET
    assert errno_of(socket.send, b"x") == errno.EPIPE
    assert socket.recv(1) == b""
    assert errno_of(socket.shutdown, so.SHUT_WR) == errno.ENOTCONN
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    assert socket.getsockname()[0] == HOST
    assert bench.host.counters[Close.RESET_BY_PEER] == 1


def test_a_reset_after_the_peers_fin() -> None:
    """As Linux: EPIPE, and reading has ended anyway."""
    bench = Bench()
    socket, peer = bench.connected()
    peer.send(ACK | FIN)
    bench.give(peer.made(RST))
    assert [socket.recv(1) for _ in range(2)] == [b"", b""]
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == errno.EPIPE


def test_what_came_before_a_reset_can_still_be_read() -> None:
    bench = Bench()
    socket, peer = bench.connected()
    peer.send(ACK | PSH, b"hello")
    bench.give(peer.made(RST))
    assert socket.recv(100) == b"hello"
    assert errno_of(socket.recv, 100) == errno.ECONNRESET
    assert socket.recv(100) == b""


def test_reading_reopens_the_window() -> None:
    bench = Bench()
    socket = bench.tcp()
    socket.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 2000)
    syn = bench.connecting(socket)
    peer = Peer(bench, syn.sport, 80, 4, 1000)
    peer.rcv_nxt = syn.segment.end
    bench.give(peer.made(SYN | ACK, 1000))
    bench.take()
    peer.send(ACK | PSH, b"x" * 1400)
    peer.send(ACK | PSH, b"x" * 1400)
    last = bench.wait(SECOND) or peer.send(ACK | PSH, b"x" * 1400)
    assert len(socket.recv(10_000)) == 1400
    while errno_of(socket.recv, 10_000) == 0:
        pass
    update = bench.one().segment
    assert update.flags == ACK
    assert update.wnd > last[-1].segment.wnd


# -- half-close ------------------------------------------------------------------------------------------------------


def test_shutdown_of_the_sending_side() -> None:
    bench = Bench()
    socket, peer = bench.connected()
    socket.send(b"last")
    socket.shutdown(so.SHUT_WR)
    socket.shutdown(so.SHUT_WR)
    (seen,) = peer.heard()
    assert seen.segment.flags & FIN
    assert seen.segment.data() == b"last"
    assert errno_of(socket.send, b"x") == errno.EPIPE
    peer.send(ACK | PSH, b"more")
    assert socket.recv(100) == b"more"
    peer.send(ACK | FIN)
    assert socket.recv(100) == b""
    assert socket.state_name == "TIME-WAIT"
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    assert errno_of(socket.shutdown, so.SHUT_RDWR) == errno.ENOTCONN
    assert errno_of(socket.send, b"x") == errno.EPIPE
    assert socket.poll() == BOTH


def test_shutdown_of_the_receiving_side() -> None:
    """As Linux: what is here and what still comes can be read, then there is an end instead of EAGAIN."""
    bench = Bench()
    socket, peer = bench.connected()
    peer.send(ACK | PSH, b"abc")
    socket.shutdown(so.SHUT_RD)
    assert bench.take() == []
    assert socket.poll() & READABLE
    assert socket.recv(10) == b"abc"
    assert socket.recv(10) == b""
    peer.send(ACK | PSH, b"def")
    assert socket.recv(10) == b"def"
    assert socket.recv(10) == b""
    assert socket.send(b"x") == 1


def test_closed_on_both_sides() -> None:
    bench = Bench()
    socket, peer = accepted(bench)
    peer.send(ACK | FIN)
    socket.shutdown(so.SHUT_WR)
    peer.heard()
    peer.send(ACK)
    assert socket.state_name == "CLOSED"
    assert socket.recv(1) == b""
    assert errno_of(socket.send, b"x") == errno.EPIPE
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    assert errno_of(socket.shutdown, so.SHUT_WR) == errno.ENOTCONN
    assert errno_of(socket.connect, (PEER, 80)) == errno.EISCONN
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == 0
    assert bench.host.counters[Close.NORMAL] == 1


# -- close -----------------------------------------------------------------------------------------------------------


def test_close_sends_what_was_written_and_a_fin() -> None:
    bench = Bench()
    socket, peer = bench.connected()
    socket.send(b"x" * 3000)
    socket.close()
    out = peer.heard()
    assert b"".join(seen.segment.data() for seen in out) == b"x" * 3000
    assert out[-1].segment.flags & FIN
    peer.send(ACK)
    assert len(bench.host.table.sockets) == 1
    peer.send(ACK | FIN)
    assert not bench.host.table.sockets
    socket.close()  # twice is no error


def test_close_with_unread_data_resets() -> None:
    """T12, SHLD-3."""
    bench = Bench()
    socket, peer = bench.connected()
    peer.send(ACK | PSH, b"unread")
    socket.close()
    seen = bench.one()
    assert seen.segment.flags & RST
    assert seen.segment.seq == peer.rcv_nxt & 0xFFFFFFFF
    assert bench.host.counters[Reset.UNREAD_DATA] == 1
    assert not bench.host.table.sockets


@pytest.mark.parametrize("state", ["ESTABLISHED", "CLOSE-WAIT", "FIN-WAIT-1", "FIN-WAIT-2"])
def test_linger_zero_resets(state: str) -> None:
    """T12."""
    bench = Bench()
    socket, peer = bench.connected()
    if state == "CLOSE-WAIT":
        peer.send(ACK | FIN)
    elif state.startswith("FIN"):
        socket.shutdown(so.SHUT_WR)
        peer.heard()
        if state == "FIN-WAIT-2":
            peer.send(ACK)
    assert socket.state_name == state
    socket.setsockopt(so.SOL_SOCKET, so.SO_LINGER, 0)
    socket.close()
    assert bench.one().segment.flags & RST
    assert bench.host.counters[Reset.LINGER] == 1
    assert not bench.host.table.connections
    assert not bench.host.table.sockets


def test_a_closed_socket_takes_no_name_any_more() -> None:
    bench = Bench()
    stream, datagram = bench.tcp(), bench.udp()
    for socket in (stream, datagram):
        socket.close()
        assert errno_of(socket.bind, (HOST, 5000)) == errno.EBADF
        assert errno_of(socket.connect, (PEER, 80)) == errno.EBADF
        assert errno_of(socket.listen) in (errno.EBADF, errno.EOPNOTSUPP)
    assert errno_of(datagram.sendto, b"x", (PEER, 80)) == errno.EBADF
    assert not bench.host.table.bound
    assert not bench.host.udp.bound
    assert bench.take() == []


def test_linger_off_and_positive_do_not_reset() -> None:
    for value in (-1, 5):
        bench = Bench()
        socket, _ = bench.connected()
        socket.setsockopt(so.SOL_SOCKET, so.SO_LINGER, value)
        socket.close()
        assert bench.one().segment.flags == FIN | ACK


def test_abort_resets() -> None:
    bench = Bench()
    socket, _ = bench.connected()
    socket.abort()
    assert bench.one().segment.flags & RST
    assert bench.host.counters[Reset.ABORTED] == 1
    assert not bench.host.table.sockets


def test_data_for_a_closed_socket_resets() -> None:
    bench = Bench()
    socket, peer = bench.connected()
    socket.close()
    peer.heard()
    bench.give(peer.made(ACK | PSH, data=b"nobody reads this"))
    assert bench.one().segment.flags & RST
    assert bench.host.counters[Reset.DATA_AFTER_CLOSE] == 1


def test_the_host_goes_away() -> None:
    bench = Bench()
    listener = bench.listen()
    bench.handshake()
    bench.connected(81)
    bench.host.shutdown()
    out = bench.take()
    assert len(out) == 2
    assert all(seen.segment.flags & RST for seen in out)
    assert not bench.host.table.connections
    assert not bench.host.table.listeners
    assert listener.state_name == "CLOSED"


# -- options ---------------------------------------------------------------------------------------------------------


def test_option_values() -> None:
    bench = Bench()
    socket, six = bench.tcp(), bench.tcp(so.AF_INET6)
    for level, option in (
        (so.SOL_SOCKET, so.SO_REUSEADDR),
        (so.SOL_SOCKET, so.SO_REUSEPORT),
        (so.SOL_SOCKET, so.SO_KEEPALIVE),
        (so.IPPROTO_TCP, so.TCP_NODELAY),
    ):
        for value in (7, 0):
            socket.setsockopt(level, option, value)
            assert socket.getsockopt(level, option) == int(bool(value))
    assert errno_of(socket.setsockopt, so.SOL_SOCKET, 9999, 1) == errno.ENOPROTOOPT
    assert errno_of(socket.setsockopt, so.IPPROTO_TCP, 9999, 1) == errno.ENOPROTOOPT
    assert errno_of(socket.getsockopt, so.SOL_SOCKET, 9999) == errno.ENOPROTOOPT
    assert errno_of(socket.setsockopt, so.IPPROTO_IPV6, so.IPV6_UNICAST_HOPS, 3) == errno.ENOPROTOOPT
    assert errno_of(socket.setsockopt, so.IPPROTO_IPV6, so.IPV6_V6ONLY, 1) == errno.ENOPROTOOPT
    six.setsockopt(so.IPPROTO_IPV6, so.IPV6_V6ONLY, 1)
    assert six.getsockopt(so.IPPROTO_IPV6, so.IPV6_V6ONLY) == 1
    assert socket.getsockopt(so.IPPROTO_TCP, so.TCP_MAXSEG) == 536
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_LINGER) == -1
    assert socket.getsockopt(so.IPPROTO_IP, so.IP_TTL) == 64
    assert socket.getsockopt(so.IPPROTO_IP, so.IP_TOS) == 0


@pytest.mark.parametrize(
    ("value", "result"), [(0, errno.EINVAL), (256, errno.EINVAL), (-2, errno.EINVAL), (-1, 64), (9, 9)]
)
def test_ttl(value: int, result: int) -> None:
    socket = Bench().tcp()
    number = errno_of(socket.setsockopt, so.IPPROTO_IP, so.IP_TTL, value)
    assert (number or socket.getsockopt(so.IPPROTO_IP, so.IP_TTL)) == result


@pytest.mark.parametrize(
    ("option", "value", "result"),
    [
        (so.SO_RCVBUF, 1, 2304),
        (so.SO_RCVBUF, 5000, 10_000),
        (so.SO_RCVBUF, 10**9, 8388608),
        (so.SO_RCVBUF, -1, 8388608),  # as unsigned
        (so.SO_SNDBUF, 1, 4608),
        (so.SO_SNDBUF, 5000, 10_000),
        (so.SO_SNDBUF, 10**9, 8388608),
    ],
)
def test_buffer_sizes(option: int, value: int, result: int) -> None:
    socket = Bench().tcp()
    socket.setsockopt(so.SOL_SOCKET, option, value)
    assert socket.getsockopt(so.SOL_SOCKET, option) == result


@FAMILIES
def test_ttl_and_tos_reach_the_wire_and_may_change(version: int) -> None:
    """MUST-48, MUST-49, SHLD-21, SHLD-22."""
    bench = Bench()
    socket, _ = bench.connected(version=version)
    if version == 4:
        socket.setsockopt(so.IPPROTO_IP, so.IP_TTL, 9)
        socket.setsockopt(so.IPPROTO_IP, so.IP_TOS, 0xBB)
    else:
        socket.setsockopt(so.IPPROTO_IPV6, so.IPV6_UNICAST_HOPS, 9)
        socket.setsockopt(so.IPPROTO_IPV6, so.IPV6_TCLASS, 0xBB)
    socket.send(b"x")
    seen = bench.one()
    assert (seen.ip.hop_limit, seen.ip.tos) == (9, 0xB8)  # the ECN bits are TCP's own
    fresh = bench.tcp(so.AF_INET if version == 4 else so.AF_INET6)
    fresh.setsockopt(so.IPPROTO_IP, so.IP_TOS, 0x10)
    assert bench.connecting(fresh, 81, version=version).ip.tos == 0x10


def test_nodelay_lets_small_segments_go() -> None:
    """MUST-17."""
    bench = Bench()
    socket, _ = bench.connected()
    socket.send(b"a")
    assert len(bench.take()) == 1
    socket.send(b"b")
    assert bench.take() == []
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_NODELAY, 1)
    assert bench.one().segment.data() == b"b"


def test_keepalive_can_be_switched_on_and_off() -> None:
    """MUST-24, MUST-25."""
    bench = Bench()
    socket, peer = bench.connected()
    assert bench.wait(7300 * SECOND) == []
    socket.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, 1)
    probes = bench.wait(7201 * SECOND)
    assert len(probes) == 1
    peer.send(ACK)
    socket.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, 0)
    assert bench.wait(10_000 * SECOND) == []


def test_tcp_maxseg_is_what_a_segment_carries() -> None:
    pair = Pair()
    listener = StreamSocket(pair.b)
    listener.bind((HOST, 80))
    listener.listen()
    client = StreamSocket(pair.a)
    assert errno_of(client.connect, (HOST, 80)) == errno.EINPROGRESS
    pair.run()
    assert client.getsockopt(so.IPPROTO_TCP, so.TCP_MAXSEG) == 1448


# -- news ------------------------------------------------------------------------------------------------------------


def test_events_come_at_dispatch_and_once() -> None:
    bench = Bench()
    heard: list[tuple[str, int]] = []

    def listen_to(socket: Socket, name: str) -> None:
        socket.on_event = lambda _, events: heard.append((name, events))

    listener = bench.listen()
    listen_to(listener, "listener")
    peer = bench.handshake()
    assert heard == [("listener", READABLE)]
    child = listener.accept()[0]
    listen_to(child, "child")
    heard.clear()
    bench.host.receive(peer.made(ACK | PSH, data=b"one"), bench.now)
    peer.snd_nxt += 3
    bench.host.receive(peer.made(ACK | PSH, data=b"two"), bench.now)
    peer.snd_nxt += 3
    assert heard == []
    bench.host.dispatch()
    assert heard == [("child", READABLE)]
    bench.host.dispatch()
    assert len(heard) == 1
    bench.give(peer.made(RST))
    assert heard[-1][1] & ENDED


def test_a_socket_closed_while_its_news_wait_is_not_told() -> None:
    bench = Bench()
    listener = bench.listen()
    peer = bench.handshake()
    child = listener.accept()[0]
    bench.take()
    told: list[int] = []
    child.on_event = lambda _, events: told.append(events)
    bench.host.receive(peer.made(ACK | PSH, data=b"x"), bench.now)
    child.close()
    bench.host.dispatch()
    assert told == []


# -- the rows of ss --------------------------------------------------------------------------------------------------


def test_states_and_owners() -> None:
    bench = Bench()
    listener = bench.listen()
    bench.handshake()
    child = listener.accept()[0]
    half = bench.tcp()
    bench.connecting(half)
    assert [s.state_name for s in (listener, child, half)] == ["LISTEN", "ESTABLISHED", "SYN-SENT"]
    assert {s.app for s in bench.host.table.sockets.values()} == {"t"}
    assert sorted(bench.host.table.sockets) == [1, 2, 3]
    assert repr(child) == "<s2 t ESTABLISHED>"


# -- timers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keepalive", [0, 1])
def test_the_heap_of_timers_does_not_grow_with_traffic(keepalive: int) -> None:
    bench = Bench()
    socket, peer = bench.connected()
    socket.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, keepalive)
    for _ in range(200):
        peer.send(ACK | PSH, b"x")
        assert socket.recv(10) == b"x"
        bench.wait(50 * MS)  # the delayed ACK fires
        peer.heard()
    assert len(bench.host.tcp.timers) < 20
