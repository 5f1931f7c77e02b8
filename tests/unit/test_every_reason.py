"""Every reason in netemu.reasons is reached: one small scenario each, on a host, and the counter says so.

A reason without a scenario fails here. What the reasons mean in full is tested where their code is.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from membership_bench import join, query, report, to_link
from stack_bench import (
    HOST,
    HOST6,
    MS,
    MSS,
    PEER,
    PEER6,
    SECOND,
    Bench,
    Peer,
    echo,
    icmp_message,
    ip,
    options_of,
    tcp,
    udp,
)

from netemu.reasons import Close, Drop, Match, Reason, Reset
from netemu.stack import constants as so
from netemu.stack.host import MAX_QUEUED_OUTPUT
from netemu.tcp.config import Config
from netemu.tcp.connection import Connection
from netemu.tcp.state import InvariantError
from netemu.tcp.timewait import TimeWait
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire.checksum import checksum
from netemu.wire.fragments import MAX_PACKETS
from netemu.wire.ip import TCP, UDP, parse_address, pseudo_sum
from netemu.wire.tcp import ACK, FIN, PSH, RST, SYN

Scenario = Callable[[Bench], object]
SCENARIOS: dict[Reason, Scenario] = {}


def reaches(*reasons: Reason) -> Callable[[Scenario], Scenario]:
    """The decorated scenario makes the counters of these rise."""

    def file(scenario: Scenario) -> Scenario:
        for reason in reasons:
            assert reason not in SCENARIOS
            SCENARIOS[reason] = scenario
        return scenario

    return file


@pytest.mark.parametrize("reason", [*Match, *Drop, *Reset, *Close], ids=str)
def test_it_is_reached(reason: Reason) -> None:
    assert reason in SCENARIOS, "give this reason a scenario here"
    bench = Bench()
    assert bench.host.counters[reason] == 0
    SCENARIOS[reason](bench)
    assert bench.host.counters[reason] >= 1


def broken(packet: bytes, at: int = -1) -> bytes:
    """One bit of it is wrong."""
    damaged = bytearray(packet)
    damaged[at] ^= 1
    return bytes(damaged)


def time_wait(bench: Bench) -> Peer:
    socket, peer = bench.connected()
    socket.close()
    peer.heard()
    peer.send(ACK | FIN)
    (remains,) = bench.host.table.connections.values()
    assert isinstance(remains, TimeWait)
    return peer


# -- IP --------------------------------------------------------------------------------------------------------------

reaches(Drop.TRUNCATED)(lambda bench: bench.give(echo()[:19]))
reaches(Drop.BAD_IP_VERSION)(lambda bench: bench.give(b"\x50" + bytes(39)))
reaches(Drop.BAD_IP_HEADER)(lambda bench: bench.give(b"\x44" + echo()[1:]))
reaches(Drop.BAD_IP_CHECKSUM)(lambda bench: bench.give(broken(echo(), 8)))
reaches(Drop.BAD_IP_OPTION)(lambda bench: bench.give(extended("5e020000")))
reaches(Drop.SOURCE_ROUTED)(lambda bench: bench.give(with_option(b"\x83\x07\x04\xc6\x12\0\1\0")))
reaches(Drop.BAD_SOURCE)(lambda bench: bench.give(echo(src="224.0.0.1")))
reaches(Drop.NOT_FOR_US)(lambda bench: bench.give(echo(dst="198.18.0.99")))
reaches(Drop.HOP_LIMIT_ZERO)(lambda bench: bench.give(udp(ttl=0)))
reaches(Drop.UNKNOWN_PROTOCOL)(lambda bench: bench.ask(ip(PEER, HOST, 99, b"x")))
reaches(Drop.NEIGHBOUR_CHATTER)(lambda bench: bench.give(icmp_message(133, src="fe80::1", dst="ff02::2")))


def extended(option: str) -> bytes:
    """An IPv6 packet with a destination option."""
    body = bytes([UDP, 0]) + bytes.fromhex(option).ljust(6, b"\0") + udp(src=PEER6, dst=HOST6)[40:]
    return ip(PEER6, HOST6, ipv6.DESTINATION, body)


def with_option(option: bytes) -> bytes:
    """An IPv4 packet with eight bytes of options."""
    plain = echo()
    head = (
        bytes([0x47]) + plain[1:2] + (len(plain) + 8).to_bytes(2, "big") + plain[4:10] + b"\0\0" + plain[12:20] + option
    )
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + plain[20:]


@reaches(Drop.OUTPUT_FULL)
def output_full(bench: Bench) -> None:
    for _ in range(MAX_QUEUED_OUTPUT + 1):
        bench.give(echo())


# -- fragments -------------------------------------------------------------------------------------------------------


def piece(offset: int, data: bytes, more: bool, ident: int = 7) -> bytes:
    return ip(PEER, HOST, UDP, data, ident=ident, fragment=offset // 8 | (ipv4.MORE_FRAGMENTS if more else 0))


reaches(Match.FRAGMENT)(lambda bench: bench.give(piece(0, bytes(8), True)))
reaches(Drop.FRAGMENT_BAD)(lambda bench: bench.give(piece(8, b"", True)))


@reaches(Drop.FRAGMENT_OVERLAP)
def overlap(bench: Bench) -> None:
    bench.give(piece(0, bytes(16), True))
    bench.give(piece(8, bytes(16), True))


@reaches(Drop.FRAGMENT_LIMIT)
def too_many_fragments(bench: Bench) -> None:
    for ident in range(MAX_PACKETS + 1):
        bench.give(piece(8, bytes(8), True, ident))


@reaches(Drop.FRAGMENT_TIMEOUT)
def fragment_timeout(bench: Bench) -> None:
    bench.give(piece(0, bytes(8), True))
    bench.wait(31 * SECOND)


# -- ICMP and UDP ----------------------------------------------------------------------------------------------------

reaches(Match.ICMP_ECHO)(lambda bench: bench.ask(echo()))
reaches(Drop.BAD_ICMP)(lambda bench: bench.give(broken(echo(b"data"))))
reaches(Drop.ICMP_IGNORED)(lambda bench: bench.give(icmp_message(13)))
reaches(Drop.ICMP_NO_SOCKET)(lambda bench: bench.give(port_unreachable(udp(src=HOST, dst=PEER))))
reaches(Drop.BAD_UDP)(lambda bench: bench.give(ip(PEER, HOST, UDP, bytes(7))))
reaches(Drop.BAD_UDP_CHECKSUM)(lambda bench: bench.give(broken(udp(b"data"))))
reaches(Drop.UDP_NO_SOCKET)(lambda bench: bench.ask(udp()))
reaches(Drop.UDP_NOBODY)(lambda bench: bench.give(udp(dst="255.255.255.255")))
reaches(Drop.NOT_JOINED)(lambda bench: bench.give(udp(dst="239.1.1.1")))


def port_unreachable(about: bytes) -> bytes:
    return icmp_message(icmp.UNREACHABLE, icmp.PORT, body=about)


@reaches(Match.ICMP_ERROR)
def icmp_error(bench: Bench) -> None:
    socket = bench.udp()
    socket.connect((PEER, 9))
    socket.send(b"x")
    bench.give(port_unreachable(bench.one().raw))


@reaches(Drop.ICMP_RATE_LIMITED)
def rate_limited(bench: Bench) -> None:
    for _ in range(icmp.ERROR_BURST + 1):
        bench.give(udp())


@reaches(Match.UDP_CONNECTED)
def udp_connected(bench: Bench) -> None:
    socket = bench.udp()
    socket.bind((HOST, 7))
    socket.connect((PEER, 40000))
    bench.quiet(udp())


@reaches(Match.UDP_MULTICAST, Match.UDP_BROADCAST)
def udp_to_many(bench: Bench) -> None:
    bench.udp().bind(("0.0.0.0", 7))
    bench.give(udp(dst="224.0.0.1"))
    bench.give(udp(dst="255.255.255.255"))


@reaches(Match.UDP_SPECIFIC, Drop.UDP_BUFFER_FULL)
def udp_full(bench: Bench) -> None:
    socket = bench.udp()
    socket.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 1)
    socket.bind((HOST, 7))
    for _ in range(3):
        bench.quiet(udp(bytes(1000)))


@reaches(Match.UDP_WILDCARD)
def udp_wildcard(bench: Bench) -> None:
    bench.udp().bind(("", 7))
    bench.quiet(udp())


@reaches(Match.UDP_DUAL_STACK)
def udp_dual_stack(bench: Bench) -> None:
    bench.udp(so.AF_INET6).bind(("::", 7))
    bench.quiet(udp())


# -- groups ----------------------------------------------------------------------------------------------------------

reaches(Drop.BAD_IGMP)(lambda bench: bench.give(to_link(PEER, "224.0.0.1", bytes(8))))
reaches(Drop.BAD_QUERY)(lambda bench: bench.give(query(6, src=PEER6)))
reaches(Match.MEMBERSHIP_QUERY)(lambda bench: bench.give(query(4)))
reaches(Match.MEMBERSHIP_CHANGE)(lambda bench: join(bench.udp(), "239.1.1.1"))


@reaches(Match.MEMBERSHIP_REPORT)
def spared(bench: Bench) -> None:
    join(bench.udp(), "239.1.1.1")
    bench.give(query(4, version=2, code=100))
    bench.give(report(4, "239.1.1.1"))


# -- TCP: whose is it? -----------------------------------------------------------------------------------------------

reaches(Match.LISTEN_SPECIFIC)(lambda bench: (bench.listen(), bench.give(tcp(SYN))))
reaches(Match.LISTEN_WILDCARD)(lambda bench: (bench.listen(""), bench.give(tcp(SYN))))
reaches(Match.LISTEN_DUAL_STACK)(lambda bench: (bench.listen("::"), bench.give(tcp(SYN))))
reaches(Match.CONNECTION)(lambda bench: bench.connected())
reaches(Drop.BAD_TCP_CHECKSUM)(lambda bench: bench.give(broken(tcp(SYN))))
reaches(Drop.NO_SOCKET, Reset.NO_SOCKET)(lambda bench: bench.ask(tcp(SYN)))
reaches(Drop.LISTEN_NOT_SYN, Reset.LISTEN_ACK)(lambda bench: (bench.listen(), bench.ask(tcp(ACK))))
reaches(Drop.LISTEN_RST)(lambda bench: (bench.listen(), bench.quiet(tcp(RST))))
reaches(Match.TIME_WAIT)(lambda bench: bench.give((peer := time_wait(bench)).made(ACK | FIN, peer.snd_nxt - 1)))
reaches(Drop.TIME_WAIT_IGNORED, Close.NORMAL)(lambda bench: bench.give(time_wait(bench).made(ACK)))


@reaches(Drop.BAD_TCP_HEADER)
def bad_header(bench: Bench) -> None:
    packet = bytearray(tcp(SYN))
    packet[32] = 0x40  # four words: less than a header
    packet[36:38] = b"\0\0"
    pseudo = pseudo_sum(parse_address(PEER), parse_address(HOST), TCP, 20)
    packet[36:38] = checksum(bytes(packet[20:]), pseudo).to_bytes(2, "big")
    bench.give(bytes(packet))


@reaches(Drop.ONLY_BOUND)
def only_bound(bench: Bench) -> None:
    bench.tcp().bind((HOST, 80))
    bench.ask(tcp(SYN))


@reaches(Drop.ACCEPT_QUEUE_FULL)
def accept_queue_full(bench: Bench) -> None:
    bench.listen(backlog=0)
    bench.handshake()
    bench.quiet(tcp(SYN, sport=40001))


@reaches(Drop.OTHER_DEVICE)
def other_device(bench: Bench) -> None:
    socket = bench.tcp()
    socket.setsockopt(so.SOL_SOCKET, so.SO_BINDTODEVICE, b"lo")
    socket.bind(("", 80))
    socket.listen()
    bench.ask(tcp(SYN))


@reaches(Drop.SYN_QUEUE_FULL)
def syn_queue(bench: Bench) -> None:
    bench.listen(backlog=0)
    for sport in (40000, 40001):
        bench.give(tcp(SYN, sport=sport))


# -- TCP: by a connection --------------------------------------------------------------------------------------------


def connected(answers: Callable[[Peer], object]) -> Scenario:
    """What a segment does to an established connection."""
    return lambda bench: answers(bench.connected()[1])


def gives(*arguments: int, data: bytes = b"", ahead: int = 0, acks: int = 0) -> Scenario:
    def give(peer: Peer) -> None:
        peer.bench.give(peer.made(arguments[0], peer.snd_nxt + ahead, peer.rcv_nxt + acks, data))

    return connected(give)


reaches(Drop.OUTSIDE_WINDOW)(gives(ACK, data=b"x", ahead=1 << 22))
reaches(Drop.RST_OUTSIDE_WINDOW)(gives(RST, ahead=-5))
reaches(Drop.RST_CHALLENGED)(gives(RST, ahead=5))
reaches(Drop.SYN_CHALLENGED)(gives(SYN, ahead=5))
reaches(Drop.NO_ACK)(gives(PSH, data=b"x"))
reaches(Drop.BAD_ACK)(gives(ACK, acks=5))
reaches(Drop.OLD_ACK)(gives(ACK, acks=-(1 << 20)))
reaches(Drop.DUPLICATE)(gives(ACK, data=b"x", ahead=-1))
reaches(Close.RESET_BY_PEER)(gives(RST))


@reaches(Drop.PAWS)
def paws(bench: Bench) -> None:
    bench.listen()
    answer = bench.ask(tcp(SYN, 1000, options=options_of(mss=1460, ts_val=500)))
    bench.give(tcp(ACK, 1001, answer.segment.seq + 1, options=options_of(ts_val=400)))


def syn_sent(flags: int, acks: int) -> Scenario:
    def scenario(bench: Bench) -> None:
        syn = bench.connecting(bench.tcp())
        bench.give(tcp(flags, 5, syn.segment.seq + acks, sport=80, dport=syn.sport))
        bench.take()

    return scenario


reaches(Drop.BAD_HANDSHAKE_ACK, Reset.BAD_ACK)(syn_sent(SYN | ACK, 9))
reaches(Drop.NO_SYN)(syn_sent(ACK, 1))
reaches(Drop.RST_BAD_ACK)(syn_sent(RST, 0))
reaches(Close.REFUSED)(syn_sent(RST | ACK, 1))


@reaches(Drop.WINDOW_FULL)
def window_full(bench: Bench) -> None:
    socket = bench.tcp()
    socket.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 1)
    syn = bench.connecting(socket)
    peer = Peer(bench, syn.sport, 80, 4, 1000)
    peer.rcv_nxt = syn.segment.seq + 1
    bench.give(peer.made(SYN | ACK, 1000, options=MSS))
    bench.take()
    start = peer.snd_nxt
    for offset in (0, 1460, 2304):
        bench.give(peer.made(ACK | PSH, start + offset, data=bytes(1460)))


@reaches(Drop.REASSEMBLY_FULL)
def reassembly_full(bench: Bench) -> None:
    _, peer = bench.connected()
    for number in range(Config().max_out_of_order + 1):
        bench.give(peer.made(ACK, peer.snd_nxt + 2 + 2 * number, data=b"x"))


@reaches(Drop.DATA_AFTER_CLOSE, Reset.DATA_AFTER_CLOSE)
def data_after_close(bench: Bench) -> None:
    socket, peer = bench.connected()
    socket.close()
    peer.heard()
    bench.give(peer.made(ACK | PSH, data=b"too late"))


@reaches(Drop.CONNECTION_CLOSED)
def just_closed(bench: Bench) -> None:
    """Ended by somebody who has not yet told the host (StreamSocket.abort does both)."""
    socket, peer = bench.connected()
    assert socket.connection is not None
    socket.connection.abort()
    bench.give(peer.made(ACK))


class Buggy(Connection):
    __slots__ = ()

    def receive(self, segment: object, now: int) -> Reason:
        raise InvariantError("planted")


@reaches(Drop.INVARIANT, Reset.INVARIANT, Close.INVARIANT)
def a_bug(bench: Bench) -> None:
    socket, peer = bench.connected()
    assert socket.connection is not None
    socket.connection.__class__ = Buggy
    bench.host.receive(peer.made(ACK | FIN), bench.now)
    while bench.host.transmit(bench.now) is not None:
        pass
    assert len(bench.host.faults) == 1
    assert bench.host.faults[0].endswith(": planted")


# -- resets and ends -------------------------------------------------------------------------------------------------


@reaches(Reset.ABORTED, Close.ABORTED)
def aborted(bench: Bench) -> None:
    bench.connected()[0].abort()
    bench.one()


@reaches(Reset.UNREAD_DATA)
def unread(bench: Bench) -> None:
    socket, peer = bench.connected()
    peer.send(ACK | PSH, b"never read")
    socket.close()
    bench.one()


@reaches(Reset.LISTENER_CLOSED, Close.LISTENER_CLOSED)
def listener_closed(bench: Bench) -> None:
    socket = bench.listen()
    bench.handshake()
    socket.close()
    bench.one()


@reaches(Reset.LINGER)
def linger(bench: Bench) -> None:
    socket, _ = bench.connected()
    socket.setsockopt(so.SOL_SOCKET, so.SO_LINGER, 0)
    socket.close()
    bench.one()


@reaches(Reset.REFUSED, Reset.UNDECIDED)
def held(bench: Bench) -> None:
    """One is refused, and nobody decides about the other."""
    listener = bench.listen()
    listener.setsockopt(so.SOL_NETEMU, so.HOLD_SYNACK, 1)
    for sport in (40000, 40001):
        bench.quiet(tcp(SYN, sport=sport))
    listener.accept()[0].close()
    bench.one()
    bench.wait(300 * SECOND)


@reaches(Reset.TIMEOUT, Close.KEEPALIVE)
def keepalive(bench: Bench) -> None:
    socket, _ = bench.connected()
    socket.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, 1)
    for option in (so.TCP_KEEPIDLE, so.TCP_KEEPINTVL, so.TCP_KEEPCNT):
        socket.setsockopt(so.IPPROTO_TCP, option, 1)
    bench.wait(3 * SECOND)


@reaches(Reset.SHUTDOWN, Close.SHUTDOWN)
def shutdown(bench: Bench) -> None:
    bench.connected()
    bench.host.shutdown()
    bench.one()


@reaches(Close.TIMED_OUT)
def timed_out(bench: Bench) -> None:
    socket, _ = bench.connected()
    socket.setsockopt(so.IPPROTO_TCP, so.TCP_USER_TIMEOUT, 500)
    socket.send(b"into the void")
    bench.wait(600 * MS)


@reaches(Close.UNREACHABLE)
def unreachable(bench: Bench) -> None:
    syn = bench.connecting(bench.tcp())
    bench.give(icmp_message(icmp.UNREACHABLE, icmp.HOST, body=syn.raw))


@reaches(Close.FIN_WAIT_2_TIMEOUT)
def fin_wait_2(bench: Bench) -> None:
    socket, peer = bench.connected()
    socket.close()
    peer.heard()
    peer.send(ACK)
    bench.wait(61 * SECOND)
