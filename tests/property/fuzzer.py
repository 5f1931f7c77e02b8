"""A mutation fuzzer: an honest peer talks to a host, and mutated copies of all that passes are thrown at the host meanwhile.

All is a function of the seed. What must hold: no exception, no fault, no answer where RFC 1122, 4443 or 9293 forbid one,
bounded memory, and afterwards the host serves as before.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from random import Random

from netemu.reasons import Match, Reason
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.host import MAX_QUEUED_OUTPUT, Host
from netemu.stack.icmp import MAX_PATHS
from netemu.stack.membership import MOST_SOURCES
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.streams import Datagrams, Stream, serve_datagrams, serve_stream
from netemu.tcp.connection import Connection
from netemu.wire import icmp, igmp, ipv4, ipv6, mld
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import checksum
from netemu.wire.fragments import MAX_BYTES, MAX_PACKETS
from netemu.wire.ip import (
    ICMP,
    ICMPV6,
    IGMP,
    TCP,
    UDP,
    IpPacket,
    is_impossible_source,
    is_multicast,
    parse_address,
    pseudo_sum,
)
from netemu.wire.packet import Packet
from netemu.wire.tcp import RST

PEER4, PEER6 = "198.18.0.1", "2001:2::1"
HOST4, OTHER4, HOST6 = "198.18.0.2", "198.18.0.7", "2001:2::2"
MS, SECOND = 1_000_000, 1_000_000_000
ECHO, SINK, TALKER, DEAF, BOUND, GROUP = 7, 9, 19, 81, 82, 83
BACKLOG = 32
GROUPS = {4: ("239.1.1.1", "239.1.1.2", "224.0.0.251"), 6: ("ff05::1", "ff02::fb", "ff0e::3")}
TARGETS = (ECHO, SINK, TALKER, DEAF, BOUND, GROUP, 99)


# -- the apps of the host -------------------------------------------------------------------------------------------------


class App:
    """What all have in common: the transport, and how it is told to go slow."""

    def __init__(self) -> None:
        self.writable = True

    def connection_made(self, transport: Stream) -> None:
        self.transport = transport

    def data_received(self, data: Buffer) -> None:
        pass

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, error: OSError | None) -> None:
        pass

    def pause_writing(self) -> None:
        self.writable = False
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.writable = True
        self.transport.resume_reading()


class EchoApp(App):
    def data_received(self, data: Buffer) -> None:
        self.transport.write(bytes(data))


class TalkerApp(App):
    """Sends as much as the peer takes, up to a limit, and keeps its direction open after the peer's FIN."""

    def connection_made(self, transport: Stream) -> None:
        super().connection_made(transport)
        self.left = 200_000
        self.go_on()

    def go_on(self) -> None:
        while self.writable and self.left > 0:
            self.left -= 5000
            self.transport.write(b"t" * 5000)
        if self.left <= 0:
            self.transport.close()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.go_on()

    def eof_received(self) -> bool | None:
        return True


class EchoDatagrams:
    def connection_made(self, transport: Datagrams) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if address[1] != ECHO:  # two of them would never end
            self.transport.sendto(data, address)


# -- mutations --------------------------------------------------------------------------------------------------------------

Mutation = Callable[[Random, bytearray, bytes], None]
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def flip_bits(random: Random, data: bytearray, other: bytes) -> None:
    for _ in range(random.randrange(1, 5)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def set_bytes(random: Random, data: bytearray, other: bytes) -> None:
    for _ in range(random.randrange(1, 4)):
        data[random.randrange(len(data))] = random.choice(INTERESTING)


def set_header_byte(random: Random, data: bytearray, other: bytes) -> None:
    """Most of what a parser looks at stands in the first 60 bytes."""
    data[random.randrange(min(len(data), 60))] = random.getrandbits(8)


def set_word(random: Random, data: bytearray, other: bytes) -> None:
    """A length, an offset, a port, a window."""
    at = random.randrange(0, max(1, min(len(data) - 1, 60)))
    value = random.choice((0, 1, 7, 8, 0xFF, 0x100, 0x1FFF, 0x2000, 0x7FFF, 0x8000, 0xFFF8, 0xFFFF, len(data)))
    data[at : at + 2] = value.to_bytes(2, "big")


def move_number(random: Random, data: bytearray, other: bytes) -> None:
    """A sequence or acknowledgement number, a little or half the space off."""
    start = 20 if data[0] >> 4 == 4 else 40
    at = start + random.choice((4, 8))
    if len(data) >= at + 4:
        by = random.choice(
            (1, -1, 2, 1000, -1000, 0x7FFFFFFF, 0x80000000, random.getrandbits(16), -random.getrandbits(16))
        )
        number = int.from_bytes(data[at : at + 4], "big") + by & 0xFFFFFFFF
        data[at : at + 4] = number.to_bytes(4, "big")


def set_flags(random: Random, data: bytearray, other: bytes) -> None:
    at = (20 if data[0] >> 4 == 4 else 40) + 13
    if len(data) > at:
        data[at] = random.getrandbits(6)


def truncate(random: Random, data: bytearray, other: bytes) -> None:
    del data[random.randrange(1, len(data) + 1) :]


def extend(random: Random, data: bytearray, other: bytes) -> None:
    data += random.randbytes(random.randrange(1, 60))


def swap(random: Random, data: bytearray, other: bytes) -> None:
    size = random.randrange(1, 9)
    a, b = random.randrange(len(data)), random.randrange(len(data))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


def cut_out(random: Random, data: bytearray, other: bytes) -> None:
    at = random.randrange(len(data))
    del data[at : at + random.randrange(1, 20)]


def repeat(random: Random, data: bytearray, other: bytes) -> None:
    at = random.randrange(len(data))
    data[at:at] = data[at : at + random.randrange(1, 20)]


def splice(random: Random, data: bytearray, other: bytes) -> None:
    """The front of one packet, the back of another."""
    at = random.choice((20, 40, random.randrange(len(data) + 1)))
    data[at:] = other[at:]


def change_ends(random: Random, data: bytearray, other: bytes) -> None:
    """Impossible and wrong addresses; the wrong way round."""
    if data[0] >> 4 == 4 and len(data) >= 20:
        pool = (
            b"\0\0\0\0",
            b"\x7f\0\0\1",
            b"\xe0\0\0\1",
            b"\xff\xff\xff\xff",
            b"\xc6\x12\0\xff",
            bytes(data[12:16]),
            bytes(data[16:20]),
        )
        at = random.choice((12, 16))
        data[at : at + 4] = random.choice(pool)
    elif len(data) >= 40:
        group, mapped = b"\xff\x02" + bytes(13) + b"\1", bytes(10) + b"\xff\xff" + bytes(4)
        wide = (bytes(16), bytes(15) + b"\1", group, mapped, bytes(data[8:24]), bytes(data[24:40]))
        at = random.choice((8, 24))
        data[at : at + 16] = random.choice(wide)


def make_fragment(random: Random, data: bytearray, other: bytes) -> None:
    """A part of the packet, from a few packets at a time, so that some come together and some overlap."""
    ident = random.randrange(48)
    if data[0] >> 4 == 4 and len(data) > 28:
        body = bytes(data[20:])
        at = random.randrange(0, len(body), 8)
        end = min(len(body), at + 8 * random.randrange(1, 100))
        more = end < len(body)
        del data[20:]
        data += body[at:end]
        data[4:8] = ident.to_bytes(2, "big") + (at // 8 | (0x2000 if more else 0)).to_bytes(2, "big")
        data[2:4] = len(data).to_bytes(2, "big")
    elif data[0] >> 4 == 6 and len(data) > 48:
        body, protocol = bytes(data[40:]), data[6]
        at = random.randrange(0, len(body), 8)
        end = min(len(body), at + 8 * random.randrange(1, 100))
        del data[40:]
        data += ipv6.FRAGMENT.pack(protocol, 0, at | (end < len(body)), ident) + body[at:end]
        data[4:7] = (len(data) - 40).to_bytes(2, "big") + b"\x2c"


def add_headers(random: Random, data: bytearray, other: bytes) -> None:
    """IPv4 options, IPv6 extension headers, TCP options."""
    if data[0] == 0x45 and len(data) >= 20:
        options = random.choice(
            (b"\x94\x04\0\0", b"\x07\x07\x04\0\0\0\0\0", b"\x83\x07\x04\0\0\0\0\0", random.randbytes(8))
        )
        data[20:20] = options
        data[0] = 0x45 + len(options) // 4
        data[2:4] = min(len(data), 65535).to_bytes(2, "big")
    elif data[0] >> 4 == 6 and len(data) >= 40:
        kind = random.choice((0, 43, 44, 60, 59, 60))
        body = bytes([data[6], 0]) + random.choice(
            (b"\x01\x04\0\0\0\0", b"\x05\x02\0\0\x01\0", b"\x9e\x04\0\0\0\0", b"\0" * 6, random.randbytes(6))
        )
        data[40:40] = body
        data[6] = kind
        data[4:6] = min(len(data) - 40, 65535).to_bytes(2, "big")


def add_tcp_options(random: Random, data: bytearray, other: bytes) -> None:
    start = 20 if data[0] >> 4 == 4 else 40
    if len(data) >= start + 20:
        area = random.choice(
            (b"\x02\x04\0\0", b"\x02\x04\xff\xff", b"\x03\x03\xff\x01", b"\x05\x0a" + random.randbytes(8) + b"\x01\x01",
             b"\x01\x01\x08\x0a" + random.randbytes(8), b"\x02\x00\x01\x01", random.randbytes(12))
        )  # fmt: skip
        data[start + 20 : start + 20] = area
        data[start + 12] = min(15, 5 + len(area) // 4) << 4
        if start == 20:
            data[2:4] = min(len(data), 65535).to_bytes(2, "big")
        else:
            data[4:6] = min(len(data) - 40, 65535).to_bytes(2, "big")


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, flip_bits, set_bytes, set_header_byte, set_header_byte, set_word, set_word, move_number, move_number,
    set_flags, set_flags, truncate, extend, swap, cut_out, repeat, splice, change_ends, make_fragment, add_headers,
    add_tcp_options,
)  # fmt: skip


def repaired(data: bytearray, lengths: bool) -> bytes:
    """Checksums made right, where there is one to be made right; lengths first, if asked for."""
    if data[0] >> 4 == 4 and len(data) >= 20:
        if lengths:
            data[2:4] = min(len(data), 65535).to_bytes(2, "big")
        start, end = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
        if not 20 <= start <= len(data):
            return bytes(data)
        data[10:12] = bytes(2)
        data[10:12] = checksum(bytes(data[:start])).to_bytes(2, "big")
        if (data[6] << 8 | data[7]) & 0x3FFF:
            return bytes(data)
        protocol, ends = data[9], (bytes(data[12:16]), bytes(data[16:20]))
    elif data[0] >> 4 == 6 and len(data) >= 40:
        if lengths:
            data[4:6] = min(len(data) - 40, 65535).to_bytes(2, "big")
        end = 40 + int.from_bytes(data[4:6], "big")
        protocol, start = ipv6.upper_layer(bytes(data))
        ends = (bytes(data[8:24]), bytes(data[24:40]))
    else:
        return bytes(data)
    at = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}.get(protocol)
    if at is None or end > len(data) or end - start < at + 2:
        return bytes(data)
    if protocol == UDP:
        if lengths:
            data[start + 4 : start + 6] = (end - start & 0xFFFF).to_bytes(2, "big")
        end = min(end, start + int.from_bytes(data[start + 4 : start + 6], "big"))
    field = start + at
    data[field : field + 2] = bytes(2)
    covered = bytes(data[start:end])
    total = checksum(covered, 0 if protocol == ICMP else pseudo_sum(*ends, protocol, len(covered)))
    data[field : field + 2] = (total or 0xFFFF if protocol == UDP else total).to_bytes(2, "big")
    return bytes(data)


# -- the world ----------------------------------------------------------------------------------------------------------------


class Violation(AssertionError):
    """Something that must not happen; the text says how to see it again."""


def query(random: Random) -> bytes:
    """What a multicast router asks, in any version; or another member's report."""
    version = random.choice((4, 6))
    group = parse_address(random.choice(("0.0.0.0" if version == 4 else "::", *GROUPS[version])))
    sources = random.randrange(4) if any(group) else 0
    more = bytes((2, random.choice((0, 125, 255)), 0, sources)) + group * sources if random.random() < 0.5 else b""
    if version == 4:
        kind = random.choice((igmp.QUERY, igmp.QUERY, igmp.QUERY, igmp.V1_REPORT, igmp.V2_REPORT))
        message = igmp.emit(kind, group, more, random.choice((0, 1, 10, 100, 255)))
        dst = group if any(group) else igmp.ALL_SYSTEMS
        alert = ipv4.ROUTER_ALERT
        return ipv4.header_with_options(parse_address(PEER4), dst, IGMP, len(message), alert, ttl=1) + message
    src, dst = parse_address("fe80::1"), group if any(group) else mld.ALL_NODES
    kind, delay = random.choice((mld.QUERY, mld.QUERY, mld.V1_REPORT)), random.choice((0, 1000, 0xFFFF))
    message = ipv6.hop_by_hop(ICMPV6, ipv6.ROUTER_ALERT) + icmp.emit(src, dst, kind, 0, delay << 16, group + more)
    return ipv6.header(src, dst, ipv6.HOP_BY_HOP, len(message), ttl=1) + message


class World:
    """A host under fire and its honest peer."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        random = self.random
        self.now = SECOND
        self.count = 0
        self.hostile = False
        self.reasons: Counter[Reason] = Counter()
        self.answers = 0
        mtu = random.choice((1500, 1500, 1280, 9000))
        self.host = Host([HOST4, OTHER4, HOST6], mtu=mtu, seed=random.getrandbits(32), offload=random.random() < 0.5)
        self.peer = Host([PEER4, PEER6], mtu=mtu, seed=random.getrandbits(32))
        self.from_peer: deque[bytes] = deque(maxlen=300)
        self.from_host: deque[bytes] = deque(maxlen=100)
        self.open: list[StreamSocket] = []
        self._serve()
        for _ in range(80):
            self.live()

    def _serve(self) -> None:
        host = self.host
        serve_stream(host, EchoApp, ECHO, app="echo", backlog=BACKLOG)
        serve_stream(host, App, SINK, app="sink", backlog=BACKLOG)
        serve_stream(host, TalkerApp, TALKER, app="talker", backlog=BACKLOG)
        serve_datagrams(host, EchoDatagrams(), ECHO, app="echo")
        deaf = StreamSocket(host, so.AF_INET, "deaf")
        deaf.bind((HOST4, DEAF))
        deaf.listen(4)
        for n in range(4):
            socket = StreamSocket(host, so.AF_INET6, "group")
            socket.setsockopt(so.SOL_SOCKET, so.SO_REUSEPORT, 1)
            socket.bind(("::", BOUND if n == 3 else GROUP))
            if n < 2:
                socket.listen(BACKLOG)
        DatagramSocket(host, so.AF_INET, "full").bind((HOST4, SINK))
        connected = DatagramSocket(host, so.AF_INET6, "connected")
        connected.bind(("::", GROUP))
        connected.connect((f"::ffff:{PEER4}", ECHO))
        for level, option in ((so.IPPROTO_IP, so.IP_RECVERR), (so.IPPROTO_IP, so.IP_PKTINFO)):
            connected.setsockopt(level, option, 1)
        self.connected = connected
        self.member, self.member6 = (
            DatagramSocket(host, so.AF_INET, "member"),
            DatagramSocket(host, so.AF_INET6, "member"),
        )
        serve_stream(self.peer, EchoApp, ECHO, app="echo")
        serve_datagrams(self.peer, EchoDatagrams(), ECHO, app="echo")

    # -- honest life --------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """The peer, or the host itself, does something; then all packets are exchanged."""
        random = self.random
        what = random.randrange(14)
        if what < 3 and len(self.open) < 30:
            self._connect(self.peer, random.choice(((HOST4, so.AF_INET), (HOST6, so.AF_INET6))))
        elif what == 3 and len(self.open) < 30:
            self._connect(self.host, random.choice(((PEER4, so.AF_INET), (PEER6, so.AF_INET6))))
        elif what < 8 and self.open:
            self._use(random.choice(self.open))
        elif what == 8 and self.open:
            self._end(self.open.pop(random.randrange(len(self.open))))
        elif what == 9:
            self._ping()
        elif what == 11:
            self._change_groups()
        elif what == 12:
            self.peer.queue(Packet(query(random)), False, None)
        elif what == 10:
            with suppress(OSError):
                self.connected.send(b"d" * random.randrange(3000))
            for flags in (0, so.MSG_ERRQUEUE):
                with suppress(OSError):
                    self.connected.recvmsg(9999, 100, flags)
        else:
            socket = DatagramSocket(self.peer, so.AF_INET6)
            address = random.choice((f"::ffff:{HOST4}", HOST6))
            socket.sendto(b"u" * random.choice((0, 9, 4000)), (address, random.choice(TARGETS)))
            socket.close()
        self.exchange()

    def _change_groups(self) -> None:
        """A socket of the host joins, leaves or blocks a source."""
        random = self.random
        group = parse_address(random.choice(GROUPS[4]))
        with suppress(OSError):
            match random.randrange(4):
                case 0:
                    self.member.setsockopt(so.IPPROTO_IP, so.IP_ADD_MEMBERSHIP, group + bytes(4))
                case 1:
                    self.member.setsockopt(so.IPPROTO_IP, so.IP_DROP_MEMBERSHIP, group + bytes(4))
                case 2:
                    option = random.choice((so.IP_BLOCK_SOURCE, so.IP_UNBLOCK_SOURCE, so.IP_ADD_SOURCE_MEMBERSHIP))
                    source = bytes((192, 0, 2, random.randrange(3)))
                    self.member.setsockopt(so.IPPROTO_IP, option, group + parse_address(HOST4) + source)
                case 3:
                    option = random.choice((so.IPV6_JOIN_GROUP, so.IPV6_LEAVE_GROUP))
                    where = parse_address(random.choice(GROUPS[6])) + bytes(4)
                    self.member6.setsockopt(so.IPPROTO_IPV6, option, where)

    def _connect(self, host: Host, to: tuple[str, int]) -> None:
        socket = StreamSocket(host, to[1], "client")
        port = ECHO if host is self.host else self.random.choice(TARGETS)
        with suppress(OSError):
            socket.connect((to[0], port))
        if socket.connection is None:
            socket.close()
        else:
            self.open.append(socket)

    def _use(self, socket: StreamSocket) -> None:
        with suppress(OSError):
            socket.send(b"s" * self.random.choice((1, 100, 5000, 50_000)))
        with suppress(OSError):
            while socket.recv(1 << 16):
                pass

    def _end(self, socket: StreamSocket) -> None:
        with suppress(OSError):
            how = self.random.randrange(3)
            if how == 0:
                socket.shutdown(so.SHUT_WR)
                self.exchange()
            if how == 1:
                socket.abort()
        socket.close()

    def _ping(self) -> None:
        version = self.random.choice((4, 6))
        src, dst = (parse_address(a) for a in ((PEER4, HOST4) if version == 4 else (PEER6, HOST6)))
        kind, protocol = (icmp.ECHO_REQUEST, ICMP) if version == 4 else (icmp.V6_ECHO_REQUEST, ICMPV6)
        body = bytes(self.random.choice((0, 56, 4000)))
        self.peer.send_ip(src, dst, protocol, icmp.emit(src, dst, kind, 0, 1, body))

    def exchange(self, loss: float = 0.02) -> None:
        """Hand over packets until both have nothing to say; bounded, since an attacker may have set both talking."""
        random, now = self.random, self.now
        for _ in range(60):
            said = self.drain(self.peer)
            answers: list[bytes] = []
            for raw in said:
                self.from_peer.append(raw)
                if self.hostile and random.random() < 0.7:
                    answers += self.drain(self.host)  # or the answers could not be told apart
                    while random.random() < 0.6:
                        self.throw(self.mutated(raw))  # before the packet itself: its numbers are the ones expected now
                if random.random() >= loss:
                    self.host.receive(raw, now)
            answers += self.drain(self.host)
            for raw in answers:
                self.from_host.append(raw)
                if random.random() >= loss:
                    self.peer.receive(raw, now)
            if not said and not answers:
                return

    def drain(self, host: Host, limit: int = 200) -> list[bytes]:
        out: list[bytes] = []
        while len(out) < limit:
            if host.news:
                host.dispatch()
            packet = host.transmit(self.now)
            if packet is None:
                if not host.news:
                    break
            else:
                out.append(bytes(packet))
        return out

    def wait(self, ns: int) -> None:
        """Let time pass, timers included."""
        end = self.now + ns
        for _ in range(2000):
            due = min(when for when in (self.host.next_timer(), self.peer.next_timer(), end) if when is not None)
            if due >= end:
                break
            self.now = max(self.now, due)
            for host in (self.host, self.peer):
                host.on_timer(self.now)
            self.exchange()
        self.now = end
        for host in (self.host, self.peer):
            host.on_timer(end)
        self.exchange()

    # -- the attack -----------------------------------------------------------------------------------------------------

    def attack(self, packets: int) -> None:
        """Throw so many mutated packets at the host, or a few more."""
        random = self.random
        end, next_check = self.count + packets, self.count
        self.hostile = True
        while self.count < end:
            self.live()
            self.wait(random.choice((0, 0, MS, 10 * MS, 50 * MS, SECOND if random.random() < 0.1 else 0)))
            for _ in range(12):
                recent = (
                    self.from_peer[-random.randrange(1, 40)] if random.random() < 0.6 else random.choice(self.from_peer)
                )
                self.throw(self.mutated(recent))
            if self.count >= next_check:
                next_check += 10_000
                self.wait(70 * SECOND)
                self.check_bounds()
        self.hostile = False
        self.check_bounds()

    def mutated(self, raw: bytes) -> Packet:
        """A packet that passed, mutated; or an ICMP error about one that the host has sent."""
        random = self.random
        data = bytearray(self._icmp_error() if random.random() < 0.08 else raw)
        other = random.choice(self.from_peer)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            if data:
                random.choice(MUTATIONS)(random, data, other)
        if not data:
            return Packet(b"")
        chance = random.random()
        raw = bytes(data) if chance < 0.4 else repaired(data, chance > 0.7)
        if chance > 0.95:  # as the local kernel hands it over: a super-packet, a checksum that is not final
            start = 20 if raw[0] >> 4 == 4 else 40
            return Packet(memoryview(raw), (), random.choice((0, 536, 1448)), start, 16)
        return Packet(raw)

    def _icmp_error(self) -> bytes:
        random = self.random
        if not self.from_host:
            return self.from_peer[0]
        about = random.choice(self.from_host)
        quoted = about[: random.choice((28, 48, 100, 600))]
        if about[0] >> 4 == 4:
            src, dst = parse_address(random.choice((PEER4, "192.0.2.1"))), about[12:16]
            body = icmp.emit(
                src,
                dst,
                random.choice((3, 3, 4, 5, 11, 12)),
                random.randrange(16),
                random.choice((0, 300, 1300)),
                quoted,
            )
            return ipv4.header(src, dst, ICMP, len(body)) + body
        src, dst = parse_address(random.choice((PEER6, "2001:db8::1"))), about[8:24]
        body = icmp.emit(
            src, dst, random.randrange(1, 5), random.randrange(8), random.choice((0, 1279, 1280, 1400)), quoted
        )
        return ipv6.header(src, dst, ICMPV6, len(body)) + body

    def throw(self, packet: Packet) -> None:
        raw = bytes(packet.head)
        self.count += 1
        try:
            reason = self.host.receive(packet, self.now)
            out = self.drain(self.host)
        except Exception as error:
            raise Violation(f"{self._where(raw)}: {type(error).__name__}: {error}") from error
        self.reasons[reason] += 1
        if self.host.faults:
            raise Violation(f"{self._where(raw)}: {self.host.faults}")
        if out:
            self.answers += len(out)
            self._check_answers(raw, out, reason)
            for answer in out:
                self.from_host.append(answer)
                if self.random.random() < 0.5:
                    self.peer.receive(answer, self.now)

    # -- what must hold ---------------------------------------------------------------------------------------------------

    def _where(self, raw: bytes) -> str:
        return f"seed {self.seed}, packet {self.count}, {raw.hex()}"

    def _check_answers(self, raw: bytes, out: list[bytes], reason: Reason) -> None:
        version = raw[0] >> 4 if raw else 0
        src, dst = (raw[12:16], raw[16:20]) if version == 4 else (raw[8:24], raw[24:40])
        ours = self.host.addresses
        for_many = reason in (Match.UDP_MULTICAST, Match.UDP_BROADCAST)
        if dst not in ours and not for_many and not all(_is_option_problem(answer) for answer in out):
            raise Violation(f"{self._where(raw)}: an answer to what was not for us ({reason})")
        if src in ours or is_impossible_source(src):
            raise Violation(f"{self._where(raw)}: an answer to an impossible source ({reason})")
        about = _segment(raw)
        for answer in out:
            flow, flags = _segment(answer) or (b"", 0)
            if flags & RST and about is not None and about[1] & RST and about[0] == _reversed(flow):
                raise Violation(f"{self._where(raw)}: a RST for a RST ({reason})")
            self._check_answer(raw, answer)

    def _check_answer(self, raw: bytes, answer: bytes) -> None:
        """Well formed, to somebody who may be answered, and no error about an error."""
        found = ipv4.parse(answer) if answer[0] >> 4 == 4 else ipv6.parse(answer)
        if not isinstance(found, IpPacket) or found.end != len(answer):
            raise Violation(f"{self._where(raw)}: malformed answer {answer.hex()}")
        if found.src not in self.host.addresses or found.dst in self.host.addresses:
            raise Violation(f"{self._where(raw)}: addresses of the answer {answer.hex()}")
        if is_multicast(found.dst) or is_impossible_source(found.dst):
            raise Violation(f"{self._where(raw)}: an answer to many {answer.hex()}")
        if found.is_fragment:
            return
        payload = answer[found.start :]
        initial = 0 if found.protocol == ICMP else pseudo_sum(found.src, found.dst, found.protocol, len(payload))
        if checksum(payload, initial) not in (0, 0xFFFF):
            raise Violation(f"{self._where(raw)}: bad checksum in the answer {answer.hex()}")
        if found.protocol == ICMP and payload[0] in icmp.ERRORS:
            inner = payload[8:]
            start = (inner[0] & 15) * 4
            if inner[9] == ICMP and inner[start] in icmp.ERRORS:
                raise Violation(f"{self._where(raw)}: an ICMP error about an ICMP error")
        elif found.protocol == ICMPV6 and payload[0] < 128:
            inner = payload[8:]
            protocol, start = ipv6.upper_layer(inner)
            if protocol == ICMPV6 and start < len(inner) and inner[start] < 128:
                raise Violation(f"{self._where(raw)}: an ICMPv6 error about an ICMPv6 error")

    def check_bounds(self) -> None:
        """Memory: nothing grows with the number of packets."""
        host = self.host
        table = host.table
        connections = [c for c in table.connections.values() if isinstance(c, Connection)]
        held = {
            "connections": (len(connections), 7 * (BACKLOG + 2) * 2 + 200),
            "sockets": (len(table.sockets), 7 * (BACKLOG + 2) * 2 + 200),
            "TIME-WAIT": (len(table.connections) - len(connections), 2000),
            "fragments": (len(host.fragments.partial), MAX_PACKETS),
            "bytes of fragments": (host.fragments._cost, MAX_BYTES),
            "output": (len(host._output), MAX_QUEUED_OUTPUT),
            "path MTUs": (len(host.path_mtu), MAX_PATHS),
            "news": (len(host.news), 0),
            "timers": (len(host.tcp.timers), 3 * len(table.connections) + 200),
        }
        for size, reporter in host.reporting.reporters.items():
            asked = sum(len(answer.sources) for answer in reporter.answers.values())
            held[f"groups of {size}"] = len(reporter.groups), len(GROUPS[4])
            held[f"changes of {size}"] = len(reporter.changes), 2 * len(GROUPS[4])
            held[f"answers of {size}"] = len(reporter.answers), len(GROUPS[4])
            held[f"their timers of {size}"] = len(reporter._timers), 2 * len(GROUPS[4]) + 65
            held[f"their sources of {size}"] = asked, MOST_SOURCES * len(GROUPS[4])
        for listener in {id(x): x for group in table.listeners.values() for x in group}.values():
            held[f"half-open of {listener.socket}"] = len(listener.half_open), listener.backlog + 1
            held[f"queue of {listener.socket}"] = len(listener.accepted), listener.backlog + 1
        for c in connections:
            held[f"received by {c.flow.hex()}"] = c.received_bytes, c.rcvbuf + 65536
            waiting = c.reassembly.bytes if c.reassembly is not None else 0
            held[f"out of order at {c.flow.hex()}"] = waiting, c.rcvbuf + 65536
            held[f"to send by {c.flow.hex()}"] = len(c.sendbuf), 2 * c.sndbuf
        for what, (size, most) in held.items():
            if size > most:
                raise Violation(f"seed {self.seed}, packet {self.count}: {what}: {size} > {most}")
        if self.peer.faults:
            raise Violation(f"seed {self.seed}, packet {self.count}: the peer: {self.peer.faults}")

    def recover(self) -> None:
        """The attack is over: a new connection works, and what is left goes away in time."""
        self.wait(SECOND)
        for address, family in ((HOST4, so.AF_INET), (HOST6, so.AF_INET6)):
            self._fresh_connection(address, family)
        for socket in self.open:
            socket.close()
        self.host.shutdown()
        self.exchange(loss=0)
        for _ in range(40):
            self.wait(100 * SECOND)
        left = self.host.table.connections
        if left or self.host.fragments.partial or self.host.faults:
            raise Violation(f"seed {self.seed}: left behind: {left} {self.host.fragments.partial} {self.host.faults}")

    def _fresh_connection(self, address: str, family: int) -> None:
        # the attack may have told the host of a smaller path and filled the queue of half-open connections for a while
        for _ in range(5):
            self.wait(100 * SECOND)
        socket = StreamSocket(self.peer, family, "fresh")
        with suppress(BlockingIOError):
            socket.connect((address, ECHO))
        data = Random(self.seed).randbytes(100_000)
        sent, got = 0, b""
        for _ in range(3000):
            self.exchange(loss=0)
            with suppress(BlockingIOError):
                sent += socket.send(data[sent:])
            with suppress(BlockingIOError):
                got += socket.recv(1 << 20)
            if len(got) >= len(data):
                break
            self.wait(10 * MS)
        if got != data:
            raise Violation(f"seed {self.seed}: a fresh connection to {address} got {len(got)} of {len(data)} bytes")
        socket.close()
        self.exchange(loss=0)


def _is_option_problem(answer: bytes) -> bool:
    """RFC 4443 2.4 e.3: the one error that may be about a packet to a group."""
    return answer[0] >> 4 == 6 and answer[6] == ICMPV6 and answer[40:42] == b"\x04\x02"


def _segment(raw: bytes) -> tuple[bytes, int] | None:
    """(addresses and ports, flags) of a TCP segment."""
    if raw and raw[0] >> 4 == 4 and len(raw) >= 20 and raw[9] == TCP:
        start, ends = (raw[0] & 15) * 4, raw[12:20]
    elif raw and raw[0] >> 4 == 6 and len(raw) >= 40:
        protocol, start = ipv6.upper_layer(raw)
        if protocol != TCP:
            return None
        ends = raw[8:40]
    else:
        return None
    return (ends + raw[start : start + 4], raw[start + 13]) if len(raw) > start + 13 else None


def _reversed(flow: bytes) -> bytes:
    size = (len(flow) - 4) // 2
    return flow[size : 2 * size] + flow[:size] + flow[-2:] + flow[-4:-2]


def run(seed: int, packets: int) -> World:
    """One world, attacked with so many packets, and what must hold afterwards checked."""
    world = World(seed)
    world.attack(packets)
    world.recover()
    return world
