"""Random hosts, in random states, and random packets for them: what `netemu why` is tried on. All is a function of the seed."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import count
from random import Random
from types import FunctionType, MethodType

from fuzzer import query

from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.connection import Connection
from netemu.tcp.timewait import TimeWait
from netemu.wire import icmp, ipv4, ipv6, udp
from netemu.wire import tcp as tcp_wire
from netemu.wire.checksum import checksum
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, parse_address, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, PSH, RST, SYN, URG, Options, Segment, emit_options

PEERS = {4: [parse_address("198.18.0.1"), parse_address("198.18.0.9")], 6: [parse_address("2001:2::1")]}
HOSTS = {4: [parse_address("198.18.0.2"), parse_address("198.18.0.3")], 6: [parse_address("2001:2::2")]}
TO_MANY = {4: [bytes((224, 1, 2, 3)), bytes((198, 18, 0, 255)), b"\xff" * 4], 6: [parse_address("ff02::123")]}
NAMES = ("", "198.18.0.2", "198.18.0.3", "::", "2001:2::2", "::ffff:198.18.0.2", "127.0.0.1")
IP_ADD_MEMBERSHIP = 35
PORTS = (80, 81, 5353, 12345)
PEER_PORTS = (40000, 40001, 40002)
MS, SECOND = 1_000_000, 1_000_000_000
SEGMENT_FLAGS = (SYN, ACK, ACK | PSH, ACK | FIN, RST, RST | ACK, SYN | ACK, FIN, 0, URG | ACK, SYN | FIN, 0x3F)


class World:
    """A host with sockets of all kinds, most of them on the same few ports."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.now = SECOND * random.randrange(1, 1000)
        flavour = random.choice(("linux", "linux", "linux", "freebsd", "macos", "windows", "classic"))
        timestamps = random.choice((0, 1))
        self.host = Host(
            ["198.18.0.2/24", "198.18.0.3", "2001:2::2"],
            seed=seed,
            flavour=flavour,
            offload=random.random() < 0.3,
            sysctl={"net.ipv4.tcp_timestamps": timestamps},
        )
        self.host.now = self.now
        self.streams: list[StreamSocket] = []
        self.datagrams: list[DatagramSocket] = []

    # -- what changes it ----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Do something to some socket, or let time pass."""
        pick = self.random.choices(
            (
                self._open_stream,
                self._open_datagram,
                self._use_stream,
                self._use_datagram,
                self._wait,
                self._advance,
                self._syn,
            ),
            (4 if len(self.streams) < 40 else 0, 3 if len(self.datagrams) < 16 else 0, 4, 2, 1, 8, 4),
        )[0]
        with suppress(OSError, IndexError):  # refused, or there is no socket yet
            pick()
        self.drain()

    def _open_stream(self) -> None:
        random = self.random
        name = random.choice(NAMES)
        family = so.AF_INET6 if ":" in name else so.AF_INET
        socket = self.host.socket(family, app=random.choice("ABC"), uid=random.choice((0, 0, 1000)))
        assert isinstance(socket, StreamSocket)
        self.streams.append(socket)
        self._options(socket)
        socket.bind((name, random.choice(PORTS) if not socket.uid else 12345))
        if random.random() < 0.8:
            socket.listen(random.choice((0, 1, 5)))
        if random.random() < 0.3 and socket.reuseport:
            socket.set_selector(random.choice(("hash", "round-robin", "cpu")))

    def _open_datagram(self) -> None:
        random = self.random
        name = random.choice(NAMES)
        family = so.AF_INET6 if ":" in name else so.AF_INET
        socket = self.host.socket(family, so.SOCK_DGRAM, app=random.choice("ABC"))
        assert isinstance(socket, DatagramSocket)
        self.datagrams.append(socket)
        self._options(socket)
        if random.random() < 0.2:
            socket.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 2304)
        socket.bind((name, random.choice(PORTS)))
        if random.random() < 0.5:
            socket.setsockopt(so.IPPROTO_IP, IP_ADD_MEMBERSHIP, TO_MANY[4][0] + bytes(4))

    def _options(self, socket: StreamSocket | DatagramSocket) -> None:
        random = self.random
        for option in (so.SO_REUSEADDR, so.SO_REUSEPORT):
            if random.random() < 0.8:
                with suppress(OSError):
                    socket.setsockopt(so.SOL_SOCKET, option, 1)
        if socket.is_ipv6 and random.random() < 0.4:
            socket.setsockopt(so.IPPROTO_IPV6, so.IPV6_V6ONLY, 1)
        if random.random() < 0.05:
            socket.setsockopt(so.SOL_SOCKET, so.SO_BINDTODEVICE, random.choice((b"lo", b"netemu0")))
        if socket.is_stream and random.random() < 0.1:
            socket.setsockopt(so.SOL_NETEMU, so.HOLD_SYNACK, 1)
        if socket.is_stream and random.random() < 0.3:
            socket.setsockopt(so.IPPROTO_TCP, so.TCP_NODELAY, 1)

    def _use_stream(self) -> None:
        random = self.random
        waiting = [s for s in self.streams if s.listener is not None and s.listener.accepted]
        connected = [s for s in self.streams if s.connection is not None]
        socket = random.choice(random.choice((waiting or self.streams, connected or self.streams, self.streams)))
        if socket.listener is not None and socket.listener.accepted and random.random() < 0.7:
            self.streams.append(socket.accept()[0])
            return
        match random.randrange(7):
            case 0:
                version = 6 if socket.is_ipv6 else 4
                peer = random.choice(PEERS[version])
                socket.connect((".".join(map(str, peer)) if version == 4 else "2001:2::1", random.choice(PEER_PORTS)))
            case 1 | 2:
                socket.send(bytes(random.choice((1, 100, 1460, 20_000))))
            case 3:
                socket.recv(random.choice((1, 100_000)))
            case 4:
                socket.shutdown(so.SHUT_WR)
            case 5 if random.random() < 0.3:
                self.streams.remove(socket)
                socket.close()

    def _use_datagram(self) -> None:
        random = self.random
        socket = random.choice(self.datagrams)
        match random.randrange(4):
            case 0:
                peer = "2001:2::1" if socket.is_ipv6 else "198.18.0.1"
                socket.connect((peer, random.choice(PEER_PORTS)))
            case 1:
                socket.recv(65535)
            case 2:
                socket.sendto(b"to the peer", ("2001:2::1" if socket.is_ipv6 else "198.18.0.1", PEER_PORTS[0]))
            case 3 if random.random() < 0.4:
                self.datagrams.remove(socket)
                socket.close()

    def _wait(self) -> None:
        self.now += self.random.choice((1, 1, 30 * MS, 30 * MS, 300 * MS, 3 * SECOND, 40 * SECOND))
        self.host.on_timer(self.now)

    def _syn(self) -> None:
        """A SYN for one of the listeners, most likely."""
        random = self.random
        version = random.choice((4, 4, 6))
        ports = random.randrange(1024, 65536).to_bytes(2, "big") + random.choice(PORTS).to_bytes(2, "big")
        segment = Segment(random.getrandbits(32), 0, SYN, 65535, options=Options(mss=1460))
        self.give(self._tcp(random.choice(PEERS[version]), random.choice(HOSTS[version]), ports, segment))

    def _advance(self) -> None:
        """A segment of an honest peer moves one of the connections on: it acknowledges all, may bring data, or its FIN."""
        random = self.random
        c = random.choice(list(self.host.table.connections.values()))
        if not isinstance(c, Connection):
            return
        size = 4 if len(c.flow) == 12 else 16
        length, flags, seq = 0, ACK, c.rcv_nxt
        if c.state.value == "SYN-SENT":
            flags, seq = SYN | ACK, random.getrandbits(32)
        elif c.state.value != "SYN-RECEIVED":
            length, flags = random.choice(((0, ACK), (10, ACK | PSH), (1460, ACK), (0, ACK | FIN)))
        ts_val = c.ts_recent if c.ts_on else None
        segment = Segment(seq, c.snd_nxt, flags, 65535, (bytes(length),) if length else (), length, ts_val)
        self.give(self._tcp(c.flow[:size], c.flow[size : 2 * size], c.flow[2 * size :], segment))

    def give(self, packet: Packet) -> None:
        self.host.receive(packet, self.now)
        self.drain()

    def drain(self) -> list[Packet]:
        """What the host sends now. The apps are told their news, and do nothing about it."""
        sent = []
        while (packet := self.host.transmit(self.now)) is not None:
            sent.append(packet)
        self.host.dispatch()
        return sent

    # -- packets ------------------------------------------------------------------------------------------------------

    def packet(self) -> Packet:
        random = self.random
        kind = random.choices(("known", "tcp", "udp", "icmp", "query", "junk"), (12, 4, 3, 2, 1, 0.5))[0]
        if kind == "known" and self.host.table.connections:
            return self._for_connection(random.choice(list(self.host.table.connections.values())))
        if kind == "query":
            return Packet(query(random))
        raw = {"udp": self._datagram, "icmp": self._message, "junk": self._junk}.get(kind, self._stranger)()
        if random.random() < 0.02:
            at = random.randrange(len(raw))
            raw = raw[:at] + bytes([raw[at] ^ 1 << random.randrange(8)]) + raw[at + 1 :]
        return Packet(raw)

    def _for_connection(self, c: Connection | TimeWait) -> Packet:
        """A segment near its windows, often exactly in order."""
        random = self.random
        size = 4 if len(c.flow) == 12 else 16
        near = (0, 0, 0, 0, 1, -1, -100, 100, 1460, 40_000, -40_000, 1 << 21, random.getrandbits(32))
        unacked = getattr(c, "snd_una", c.snd_nxt)
        length = random.choice((0, 0, 0, 1, 100, 1460))
        seq = c.rcv_nxt + random.choice(near)
        ack = random.choice(
            (c.snd_nxt, c.snd_nxt, unacked, random.randint(unacked, c.snd_nxt), c.snd_nxt + random.choice(near))
        )
        flags = random.choice((ACK, ACK, ACK, ACK | PSH, *SEGMENT_FLAGS))
        if (
            getattr(c, "snd_nxt", 0) == getattr(c, "iss", -9) + 1
            and c.state.value == "SYN-SENT"
            and random.random() < 0.6
        ):
            flags, seq = random.choice((SYN | ACK, SYN, RST | ACK)), random.getrandbits(32)
        ts_val = (
            (c.ts_recent + random.choice((0, 0, 1, 5, -5))) & 0xFFFFFFFF if c.ts_on or random.random() < 0.1 else None
        )
        segment = Segment(
            seq, ack, flags, random.choice((0, 1, 1000, 65535)), (bytes(length),) if length else (), length, ts_val, 0,
            Options(mss=random.choice((None, 0, 536, 1460)), wscale=random.choice((None, 3))) if flags & SYN else Options(),
            urg=random.choice((0, 1, 500)),
        )  # fmt: skip
        return self._tcp(c.flow[:size], c.flow[size : 2 * size], c.flow[2 * size :], segment)

    def _stranger(self) -> bytes:
        random = self.random
        version = random.choice((4, 4, 6))
        ports = random.choice((*PEER_PORTS, 0)).to_bytes(2, "big") + random.choice((*PORTS, *PORTS, 9)).to_bytes(
            2, "big"
        )
        length = random.choice((0, 0, 0, 10))
        segment = Segment(
            random.getrandbits(32), random.getrandbits(32), random.choice((SYN, SYN, SYN, *SEGMENT_FLAGS)), 65535,
            (bytes(length),) if length else (), length, random.choice((None, random.getrandbits(32))), 0,
            Options(mss=1460, wscale=7, sack_permitted=True),
        )  # fmt: skip
        return bytes(self._tcp(random.choice(PEERS[version]), random.choice(HOSTS[version]), ports, segment))

    def _tcp(self, src: bytes, dst: bytes, ports: bytes, segment: Segment) -> Packet:
        options = emit_options(segment)
        words = 5 + len(options) // 4
        head = tcp_wire.FIXED.pack(
            int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big"), segment.seq & 0xFFFFFFFF,
            segment.ack & 0xFFFFFFFF, words << 12 | segment.flags, segment.wnd, 0, segment.urg,
        )  # fmt: skip
        whole = head + options + segment.data()
        total = checksum(whole, pseudo_sum(src, dst, TCP, len(whole)))
        return Packet(self._ip(src, dst, TCP, whole[:16] + total.to_bytes(2, "big") + whole[18:]))

    def _datagram(self) -> bytes:
        random = self.random
        version = random.choice((4, 4, 6))
        src = random.choice(PEERS[version])
        dst = random.choice(HOSTS[version] if random.random() < 0.7 else TO_MANY[version])
        data = bytes(random.choice((0, 1, 100, 1400)))
        return self._ip(src, dst, UDP, udp.emit(src, dst, random.choice(PEER_PORTS), random.choice((*PORTS, 9)), data))

    def _message(self) -> bytes:
        """An echo request, or an error about a segment of a connection or a datagram of ours."""
        random = self.random
        version = random.choice((4, 6))
        src, dst = random.choice(PEERS[version]), random.choice(HOSTS[version])
        protocol = ICMP if version == 4 else ICMPV6
        if random.random() < 0.3:
            kind = icmp.ECHO_REQUEST if version == 4 else icmp.V6_ECHO_REQUEST
            return self._ip(src, dst, protocol, icmp.emit(src, dst, kind, 0, 7, b"echo"))
        known = [c for c in self.host.table.connections.values() if len(c.flow) == (12 if version == 4 else 36)]
        if known and random.random() < 0.7:
            c = random.choice(known)
            size = len(src)
            seq = (getattr(c, "snd_una", 0) & 0xFFFFFFFF).to_bytes(4, "big")
            quoted = self._ip(
                c.flow[size : 2 * size], c.flow[:size], TCP, c.flow[-2:] + c.flow[-4:-2] + seq + bytes(12)
            )
        else:
            ports = random.choice(PORTS).to_bytes(2, "big") + random.choice(PEER_PORTS).to_bytes(2, "big")
            quoted = self._ip(dst, src, UDP, ports + b"\0\x08\0\0")
        types = ((3, 1), (3, 3), (3, 4), (11, 0), (12, 0)) if version == 4 else ((1, 3), (1, 4), (2, 0), (3, 0), (4, 0))
        kind, code = random.choice(types)
        return self._ip(src, dst, protocol, icmp.emit(src, dst, kind, code, random.choice((0, 600, 1300)), quoted))

    def _junk(self) -> bytes:
        random = self.random
        match random.randrange(4):
            case 0:
                return random.randbytes(random.choice((1, 19, 60)))
            case 1:
                return self._ip(PEERS[4][0], HOSTS[4][0], 99, b"no such protocol")
            case 2:
                return self._ip(HOSTS[4][0], HOSTS[4][0], TCP, bytes(20))
            case _:
                whole = self._datagram()
                if whole[0] >> 4 == 6:
                    return whole
                return ipv4.header(PEERS[4][0], HOSTS[4][0], UDP, 8, ident=7, fragment=0x2000) + whole[20:28]

    def _ip(self, src: bytes, dst: bytes, protocol: int, payload: bytes) -> bytes:
        if len(src) == 4:
            return ipv4.header(src, dst, protocol, len(payload), fragment=0x4000) + payload
        return ipv6.header(src, dst, protocol, len(payload)) + payload


# -- the state of a host -----------------------------------------------------------------------------------------------


def digest(host: Host) -> bytes:
    """All of a host's state, sockets and connections too, written down: equal exactly when nothing has changed."""
    file = BytesIO()
    _Writer(file, pickle.HIGHEST_PROTOCOL).dump(host)
    return file.getvalue()


class _Writer(pickle.Pickler):
    def persistent_id(self, thing: object) -> object:
        if isinstance(thing, memoryview):
            return bytes(thing)
        if isinstance(thing, FunctionType):
            return thing.__qualname__
        if isinstance(thing, count):
            return repr(thing)
        if isinstance(thing, MethodType) and not type(thing.__self__).__module__.startswith(
            ("netemu.stack", "netemu.tcp")
        ):
            return thing.__qualname__
        return None


def worlds(seed: int) -> Iterator[World]:
    """One after the other, for ever."""
    for number in count():
        yield World(seed * 1000 + number)
