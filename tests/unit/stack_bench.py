"""A host on a bench: packets made by hand go in, what comes out is taken apart; two hosts side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import pytest

from netemu.reasons import Drop, Reason
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.config import NEVER
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire import tcp as tcp_wire
from netemu.wire import udp as udp_wire
from netemu.wire.checksum import checksum
from netemu.wire.icmp import Message
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, IpPacket, parse_address, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, SYN, Segment, emit_options
from netemu.wire.udp import Datagram

PEER, HOST = "198.18.0.1", "198.18.0.2"
PEER6, HOST6 = "2001:2::1", "2001:2::2"
OF_PEER = {4: PEER, 6: PEER6}
OF_HOST = {4: HOST, 6: HOST6}
MS, SECOND = 1_000_000, 1_000_000_000
MSS = b"\x02\x04\x05\xb4"
"""The option: 1460."""

S = TypeVar("S", StreamSocket, DatagramSocket)

FAMILIES = pytest.mark.parametrize("version", [4, 6])


# -- packets by hand -------------------------------------------------------------------------------------------------


def ip(src: str, dst: str, protocol: int, payload: bytes, *, ttl: int = 64, tos: int = 0, **v4: int) -> bytes:
    a, b = parse_address(src), parse_address(dst)
    if len(a) == 4:
        return ipv4.header(a, b, protocol, len(payload), ttl=ttl, tos=tos, **v4) + payload
    return ipv6.header(a, b, protocol, len(payload), ttl=ttl, tos=tos) + payload


def tcp(
    flags: int = SYN,
    seq: int = 0,
    ack: int = 0,
    data: bytes = b"",
    *,
    sport: int = 40000,
    dport: int = 80,
    wnd: int = 65535,
    options: bytes = b"",
    src: str = PEER,
    dst: str = HOST,
    urg: int = 0,
) -> bytes:
    """An IP packet with a TCP segment."""
    a, b = parse_address(src), parse_address(dst)
    words = (5 + len(options) // 4) << 12
    head = tcp_wire.FIXED.pack(sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, words | flags, wnd, 0, urg)
    whole = head + options + data
    total = checksum(whole, pseudo_sum(a, b, TCP, len(whole)))
    return ip(src, dst, TCP, whole[:16] + total.to_bytes(2, "big") + whole[18:])


def udp(
    data: bytes = b"", *, sport: int = 40000, dport: int = 7, src: str = PEER, dst: str = HOST, ttl: int = 64
) -> bytes:
    return ip(src, dst, UDP, udp_wire.emit(parse_address(src), parse_address(dst), sport, dport, data), ttl=ttl)


def icmp_message(
    kind: int, code: int = 0, rest: int = 0, body: bytes = b"", *, src: str = PEER, dst: str = HOST
) -> bytes:
    a, b = parse_address(src), parse_address(dst)
    return ip(src, dst, ICMP if len(a) == 4 else ICMPV6, icmp.emit(a, b, kind, code, rest, body))


def echo(body: bytes = b"", *, version: int = 4, src: str = "", dst: str = "", rest: int = 0x00010001) -> bytes:
    kind = icmp.ECHO_REQUEST if version == 4 else icmp.V6_ECHO_REQUEST
    return icmp_message(kind, 0, rest, body, src=src or OF_PEER[version], dst=dst or OF_HOST[version])


# -- packets taken apart ---------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """A packet that the host sent, checksums verified."""

    ip: IpPacket
    raw: bytes
    payload: bytes
    tcp: Segment | None
    udp: Datagram | None
    icmp: Message | None

    @property
    def sport(self) -> int:
        return int.from_bytes(self.payload[:2], "big")

    @property
    def dport(self) -> int:
        return int.from_bytes(self.payload[2:4], "big")

    @property
    def segment(self) -> Segment:
        assert self.tcp is not None
        return self.tcp

    @property
    def message(self) -> Message:
        assert self.icmp is not None
        return self.icmp

    @property
    def datagram(self) -> Datagram:
        assert self.udp is not None
        return self.udp


def take_apart(packet: Packet | bytes) -> Seen:
    raw = bytes(packet)
    parsed = ipv4.parse(raw) if raw[0] >> 4 == 4 else ipv6.parse(raw)
    assert isinstance(parsed, IpPacket), parsed
    assert parsed.end == len(raw)
    payload = raw[parsed.start : parsed.end]
    segment: Segment | Drop | None = None
    datagram: Datagram | Drop | None = None
    message: Message | Drop | None = None
    if not parsed.is_fragment:
        if parsed.protocol == TCP:
            total = pseudo_sum(parsed.src, parsed.dst, TCP, len(payload))
            assert checksum(payload, total) == 0
            segment = tcp_wire.parse(raw, parsed.start, parsed.end)
        elif parsed.protocol == UDP:
            datagram = udp_wire.parse(raw, parsed)
        elif parsed.protocol in (ICMP, ICMPV6):
            message = icmp.parse(raw, parsed)
    assert not isinstance(segment, Drop), segment
    assert not isinstance(datagram, Drop), datagram
    assert not isinstance(message, Drop), message
    return Seen(parsed, raw, payload, segment, datagram, message)


def due(host: Host) -> int:
    when = host.next_timer()
    return NEVER if when is None else when


# -- one host --------------------------------------------------------------------------------------------------------


class Bench:
    """A host, the wire in our hands, and the clock too. Every packet and socket call of the tests goes through here."""

    def __init__(self, *addresses: str, **options: object) -> None:
        self.host = Host(addresses or (HOST, HOST6), seed=1, **options)  # type: ignore[arg-type]
        self.now = SECOND
        self.host.now = self.now

    def give(self, packet: Packet | bytes) -> Reason:
        """A packet arrives."""
        reason = self.host.receive(packet, self.now)
        self.host.dispatch()
        assert not self.host.faults
        return reason

    def take(self) -> list[Seen]:
        """All that the host sends now."""
        out = []
        while True:
            packet = self.host.transmit(self.now)
            if packet is None:
                if not self.host.news:
                    break
                self.host.dispatch()
                continue
            out.append(take_apart(packet))
        assert not self.host.faults
        return out

    def one(self) -> Seen:
        """The only packet that the host sends now."""
        out = self.take()
        assert len(out) == 1, out
        return out[0]

    def ask(self, packet: Packet | bytes) -> Seen:
        """What the host answers."""
        self.give(packet)
        return self.one()

    def quiet(self, packet: Packet | bytes) -> Reason:
        """A packet arrives and nothing is sent; the reason."""
        reason = self.give(packet)
        assert self.take() == []
        return reason

    def wait(self, ns: int) -> list[Seen]:
        """Let time pass; what the host sends on the way."""
        end, out = self.now + ns, self.take()
        while due(self.host) <= end:
            self.now = max(self.now, due(self.host))
            self.host.on_timer(self.now)
            self.host.dispatch()
            out += self.take()
        self.now = end
        return out + self.take()

    def tcp(self, family: int = so.AF_INET, *, uid: int = 0, app: str = "t", **options: bool) -> StreamSocket:
        return with_options(StreamSocket(self.host, family, app, uid), **options)

    def udp(self, family: int = so.AF_INET, *, uid: int = 0, app: str = "t", **options: bool) -> DatagramSocket:
        return with_options(DatagramSocket(self.host, family, app, uid), **options)

    def listen(self, address: str = HOST, port: int = 80, backlog: int = 16, **options: bool) -> StreamSocket:
        socket = with_options(StreamSocket(self.host, so.AF_INET6 if ":" in address else so.AF_INET, "t", 0), **options)
        socket.bind((address, port))
        socket.listen(backlog)
        return socket

    def handshake(self, dport: int = 80, sport: int = 40000, *, version: int = 4, iss: int = 1000) -> Peer:
        """Connect to a listener of the host."""
        peer = Peer(self, dport, sport, version, iss)
        answer = self.ask(peer.made(SYN, iss, options=MSS))
        assert answer.segment.flags == SYN | ACK
        peer.rcv_nxt = answer.segment.seq + 1
        peer.send(ACK)
        return peer

    def connected(self, dport: int = 80, sport: int = 40000, *, version: int = 4) -> tuple[StreamSocket, Peer]:
        """A socket of the host that connected to us."""
        socket = self.tcp(so.AF_INET if version == 4 else so.AF_INET6)
        syn = self.connecting(socket, dport, version=version)
        peer = Peer(self, syn.sport, dport, version, 1000)
        peer.rcv_nxt = syn.segment.seq + 1
        self.give(peer.made(SYN | ACK, 1000, options=MSS))
        ack = self.one().segment
        assert ack.flags == ACK
        return socket, peer

    def connecting(self, socket: StreamSocket, dport: int = 80, *, version: int = 4) -> Seen:
        """The SYN of a socket that starts to connect to us."""
        with pytest.raises(BlockingIOError):
            socket.connect((OF_PEER[version], dport))
        syn = self.one()
        assert syn.segment.flags == SYN
        return syn


class Peer:
    """The other end of one connection, by hand: it keeps the numbers."""

    def __init__(self, bench: Bench, dport: int, sport: int, version: int, iss: int) -> None:
        self.bench, self.dport, self.sport, self.version = bench, dport, sport, version
        self.snd_nxt = iss + 1
        self.rcv_nxt = 0

    def made(
        self,
        flags: int,
        seq: int | None = None,
        ack: int | None = None,
        data: bytes = b"",
        *,
        wnd: int = 65535,
        options: bytes = b"",
    ) -> bytes:
        """A segment, not sent."""
        return tcp(
            flags,
            self.snd_nxt if seq is None else seq,
            self.rcv_nxt if ack is None else ack,
            data,
            sport=self.sport,
            dport=self.dport,
            src=OF_PEER[self.version],
            dst=OF_HOST[self.version],
            wnd=wnd,
            options=options,
        )

    def send(self, flags: int = ACK, data: bytes = b"") -> list[Seen]:
        """Send a segment in sequence; the host's answers."""
        self.bench.give(self.made(flags, data=data))
        self.snd_nxt += len(data) + (1 if flags & FIN else 0)
        return self.heard()

    def heard(self) -> list[Seen]:
        """What the host sent on this connection, acknowledged in our numbers."""
        out = self.bench.take()
        for seen in out:
            if seen.tcp is not None and seen.dport == self.sport:
                self.rcv_nxt = max(self.rcv_nxt, seen.tcp.end)
        return out


# -- two hosts -------------------------------------------------------------------------------------------------------


class Pair:
    """Two hosts on a wire without delay."""

    def __init__(self, **options: object) -> None:
        self.a = Host((PEER, PEER6), seed=1, **options)  # type: ignore[arg-type]
        self.b = Host((HOST, HOST6), seed=2, **options)  # type: ignore[arg-type]
        self.now = SECOND
        self.a.now = self.b.now = self.now
        self.seen: list[Seen] = []

    def run(self, drop: Callable[[Seen], bool] | None = None) -> None:
        """Exchange packets until nobody has more to say."""
        busy = True
        while busy:
            busy = False
            for here, there in ((self.a, self.b), (self.b, self.a)):
                here.dispatch()
                while (packet := here.transmit(self.now)) is not None or here.news:
                    busy = True
                    if packet is not None:
                        seen = take_apart(packet)
                        self.seen.append(seen)
                        if drop is None or not drop(seen):
                            there.receive(bytes(packet), self.now)
                    here.dispatch()
        assert not self.a.faults
        assert not self.b.faults

    def wait(self, ns: int) -> None:
        end = self.now + ns
        while (next_due := min(due(self.a), due(self.b))) <= end:
            self.now = max(self.now, next_due)
            for host in (self.a, self.b):
                if due(host) <= self.now:
                    host.on_timer(self.now)
            self.run()
        self.now = self.a.now = self.b.now = end


# -- sockets ---------------------------------------------------------------------------------------------------------


def with_options(socket: S, *, reuseaddr: bool = False, reuseport: bool = False, v6only: bool = False) -> S:
    if reuseaddr:
        socket.setsockopt(so.SOL_SOCKET, so.SO_REUSEADDR, 1)
    if reuseport:
        socket.setsockopt(so.SOL_SOCKET, so.SO_REUSEPORT, 1)
    if v6only:
        socket.setsockopt(so.IPPROTO_IPV6, so.IPV6_V6ONLY, 1)
    return socket


def errno_of(call: Callable[..., object], *arguments: object) -> int:
    """The errno that a call fails with; 0 when it works."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or -1
    return 0


def options_of(**fields: object) -> bytes:
    """TCP options as our own emitter writes them: mss, wscale, sack_permitted, sack, ts_val, ts_ecr."""
    ts_val, ts_ecr = fields.pop("ts_val", None), fields.pop("ts_ecr", 0)
    made = Segment(0, 0, 0, 0, options=tcp_wire.Options(**fields), ts_val=ts_val, ts_ecr=ts_ecr)  # type: ignore[arg-type]
    return emit_options(made)
