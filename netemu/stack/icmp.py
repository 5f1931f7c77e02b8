"""ICMP and ICMPv6: echo, the errors that this host sends and the ones that it acts on (RFC 792, 1122, 4443)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from netemu.reasons import Close, Drop, Match, Reason
from netemu.stack.demux import flow_key
from netemu.tcp.arrives import set_mss
from netemu.tcp.connection import WRITABLE, Connection
from netemu.tcp.state import State
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire.buffer import Buffer
from netemu.wire.icmp import Message
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, IpPacket, is_impossible_source, is_multicast
from netemu.wire.tcp import unwrap

if TYPE_CHECKING:
    from netemu.stack.host import Host

SECOND = 1_000_000_000
ERRORS_PER_SECOND, ERROR_BURST = 1000, 50  # as Linux' icmp_msgs_per_sec and icmp_msgs_burst
MIN_PMTU_V4 = 552  # as Linux: a smaller report is an attack or a mistake (RFC 5927 section 7)

# errno for ICMP errors that end a connection attempt, by code of destination unreachable
_V4_ERRNO = {
    0: errno.ENETUNREACH, 1: errno.EHOSTUNREACH, 2: errno.ENOPROTOOPT, 3: errno.ECONNREFUSED, 5: errno.EOPNOTSUPP,
    6: errno.ENETUNREACH, 7: errno.EHOSTDOWN, 9: errno.ENETUNREACH, 10: errno.EHOSTUNREACH, 11: errno.ENETUNREACH,
    12: errno.EHOSTUNREACH, 13: errno.EHOSTUNREACH,
}  # fmt: skip
_V6_ERRNO = {0: errno.ENETUNREACH, 1: errno.EACCES, 3: errno.EHOSTUNREACH, 4: errno.ECONNREFUSED}
_UDP_HARD_V4 = (2, 3, 9, 10, 13)  # what a connected UDP socket hears of (facts U5)


class Icmp:
    """The ICMP side of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._tokens = ERROR_BURST * SECOND
        self._filled = 0

    # -- what arrives -----------------------------------------------------------------------------------------------------

    def receive(self, ip: IpPacket, data: Buffer, checked: bool) -> Reason:
        """An ICMP or ICMPv6 message for this host."""
        message = icmp.parse(data, ip, checked)
        if isinstance(message, Drop):
            return message
        v6 = ip.version == 6
        if message.type == (icmp.V6_ECHO_REQUEST if v6 else icmp.ECHO_REQUEST):
            if message.code or is_multicast(ip.dst):
                return Drop.ICMP_IGNORED  # RFC 1122 3.2.2.6 lets a host ignore echo to groups
            reply = icmp.V6_ECHO_REPLY if v6 else icmp.ECHO_REPLY
            out = icmp.emit(ip.dst, ip.src, reply, 0, message.rest, message.body)
            self._host.send_ip(ip.dst, ip.src, ICMPV6 if v6 else ICMP, out, tos=ip.tos, why=Match.ICMP_ECHO)
            return Match.ICMP_ECHO
        if v6:
            if message.type in icmp.NEIGHBOUR_TYPES:
                return Drop.NEIGHBOUR_CHATTER
            if message.type < 128:
                return self._error_v6(ip, message)
        elif message.type in (icmp.UNREACHABLE, icmp.TIME_EXCEEDED, icmp.PARAMETER_PROBLEM):
            return self._error_v4(ip, message)
        return Drop.ICMP_IGNORED  # source quench too (MUST-55)

    def _error_v4(self, ip: IpPacket, message: Message) -> Reason:
        quoted = message.body
        start = (quoted[0] & 15) * 4 if quoted else 0
        if start < ipv4.SIZE or len(quoted) < start + 8 or quoted[0] >> 4 != 4:
            return Drop.BAD_ICMP
        protocol, src, dst = quoted[9], quoted[12:16], quoted[16:20]
        mtu = message.rest & 0xFFFF if message.type == 3 and message.code == icmp.FRAGMENTATION_NEEDED else None
        number = _V4_ERRNO.get(message.code) if message.type == icmp.UNREACHABLE else None
        udp_hears = message.type == icmp.UNREACHABLE and message.code in _UDP_HARD_V4
        return self._act(protocol, src, dst, quoted[start : start + 8], number, udp_hears, mtu)

    def _error_v6(self, ip: IpPacket, message: Message) -> Reason:
        quoted = message.body
        if len(quoted) < ipv6.SIZE + 8 or quoted[0] >> 4 != 6:
            return Drop.BAD_ICMP
        protocol, src, dst = quoted[6], quoted[8:24], quoted[24:40]
        mtu = message.rest if message.type == icmp.V6_TOO_BIG else None
        number = _V6_ERRNO.get(message.code) if message.type == icmp.V6_UNREACHABLE else None
        udp_hears = message.type == icmp.V6_UNREACHABLE and message.code in (1, 4)
        return self._act(protocol, src, dst, quoted[ipv6.SIZE : ipv6.SIZE + 8], number, udp_hears, mtu)

    def _act(
        self, protocol: int, src: bytes, dst: bytes, start: bytes, number: int | None, udp_hears: bool, mtu: int | None
    ) -> Reason:
        """Find whose packet is quoted (RFC 9293 MUST-54) and tell it."""
        host = self._host
        sport, dport = int.from_bytes(start[:2], "big"), int.from_bytes(start[2:4], "big")
        flow = flow_key(dst, src, dport, sport)
        if protocol == TCP:
            c = host.table.connections.get(flow)
            if not isinstance(c, Connection):
                return Drop.ICMP_NO_SOCKET
            seq = unwrap(int.from_bytes(start[4:8], "big"), c.snd_una)
            if not c.snd_una <= seq < max(c.snd_nxt, c.snd_una + 1):
                return Drop.ICMP_NO_SOCKET  # RFC 5927 4.1: a forger does not know what is in flight
            if mtu is not None:
                self._path_mtu(dst, mtu)
                self.limit_mss(c, host.mtu_to(dst))
            elif number is not None:
                self._unreachable(c, number)
            host.matched = c.owner
            host.wake(c)
            return Match.ICMP_ERROR
        if protocol == UDP:
            if mtu is not None:
                self._path_mtu(dst, mtu)
            socket = host.table.udp_connected.get(flow)
            if socket is None:
                return Match.ICMP_ERROR if mtu is not None else Drop.ICMP_NO_SOCKET
            if udp_hears and number is not None:
                socket.error = number
                host.notify(socket, WRITABLE | 1)
            host.matched = socket
            return Match.ICMP_ERROR
        if mtu is not None and protocol in (ICMP, ICMPV6):
            self._path_mtu(dst, mtu)
            return Match.ICMP_ERROR
        return Drop.ICMP_NO_SOCKET

    def _unreachable(self, c: Connection, number: int) -> None:
        """Ends an attempt to connect (SHLD-26); for a synchronized connection it is only news (MUST-56)."""
        if c.state is State.SYN_SENT:
            c.end(Close.UNREACHABLE)
        c.error = number if c.state is State.CLOSED else c.error

    def _path_mtu(self, dst: bytes, mtu: int) -> None:
        host = self._host
        floor = MIN_PMTU_V4 if len(dst) == 4 else ipv6.MIN_MTU
        if mtu < host.mtu:
            host.path_mtu[dst] = (
                max(mtu, floor),
                host.now + 600 * SECOND,
            )  # forgotten after 10 min, as RFC 1191 6.3 has it

    def limit_mss(self, c: Connection, mtu: int) -> None:
        """Bring a connection down to a path's MTU and send again what was too big for it (RFC 1191 6.5)."""
        mss = mtu - (60 if len(c.flow) == 36 else 40)
        if mss < c.path_mss:
            c.path_mss = mss
            set_mss(c)
            c.recovery.on_mtu(c)

    # -- what this host reports -------------------------------------------------------------------------------------------

    def error(
        self, why: Reason, ip: IpPacket, data: Buffer, kind: int, code: int, rest: int = 0, even_multicast: bool = False
    ) -> None:
        """Send an ICMP error about a packet, unless RFC 1122 3.2.2 or RFC 4443 2.4 forbid it or the limit is reached."""
        host = self._host
        if is_impossible_source(ip.src) or ip.fragment or not self._allowed():
            return
        if not even_multicast and (is_multicast(ip.dst) or ip.dst not in host.addresses):
            return
        v6 = ip.version == 6
        if ip.protocol == (ICMPV6 if v6 else ICMP) and ip.start < len(data):
            about = data[ip.start]
            if about < 128 if v6 else about in icmp.ERRORS:
                return  # never an error about an error
        # as much as fits 576 bytes (RFC 1812 4.3.2.3), or IPv6's minimum MTU
        room = ipv6.MIN_MTU - ipv6.SIZE - icmp.SIZE if v6 else 576 - ipv4.SIZE - icmp.SIZE
        src = ip.dst if ip.dst in host.addresses else host.source_for(ip.src)
        out = icmp.emit(src, ip.src, kind, code, rest, bytes(data[:room]))
        host.send_ip(src, ip.src, ICMPV6 if v6 else ICMP, out, why=why)

    def port_unreachable(self, ip: IpPacket, data: Buffer) -> None:
        if ip.version == 6:
            self.error(Drop.UDP_NO_SOCKET, ip, data, icmp.V6_UNREACHABLE, icmp.V6_PORT)
        else:
            self.error(Drop.UDP_NO_SOCKET, ip, data, icmp.UNREACHABLE, icmp.PORT)

    def unknown_protocol(self, ip: IpPacket, data: Buffer) -> None:
        if ip.version == 6:  # RFC 4443 3.4: unrecognized next header
            self.error(Drop.UNKNOWN_PROTOCOL, ip, data, icmp.V6_PARAMETER_PROBLEM, 1, ip.protocol_at)
        else:
            self.error(Drop.UNKNOWN_PROTOCOL, ip, data, icmp.UNREACHABLE, icmp.PROTOCOL)

    def reassembly_timeout(self, version: int, first: bytes) -> None:
        """Time exceeded, code 1: only when the first fragment had come (RFC 792, RFC 8200 4.5)."""
        parsed = ipv6.parse(first) if version == 6 else ipv4.parse(first)
        if isinstance(parsed, Drop):
            return
        kind = icmp.V6_TIME_EXCEEDED if version == 6 else icmp.TIME_EXCEEDED
        self.error(Drop.FRAGMENT_TIMEOUT, parsed, first, kind, icmp.TIME_EXCEEDED_REASSEMBLY)

    def _allowed(self) -> bool:
        """A token bucket over all errors (RFC 1812 4.3.2.8, RFC 4443 2.4 f)."""
        now = self._host.now
        self._tokens = min(ERROR_BURST * SECOND, self._tokens + (now - self._filled) * ERRORS_PER_SECOND)
        self._filled = now
        if self._tokens < SECOND:
            return False
        self._tokens -= SECOND
        return True
