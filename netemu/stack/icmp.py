"""ICMP and ICMPv6: echo, the errors that this host sends and the ones that it acts on (RFC 792, 1122, 4443)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from netemu.reasons import Close, Drop, Match, Reason
from netemu.stack import constants as so
from netemu.stack.demux import flow_key
from netemu.stack.errqueue import ORIGIN_ICMP, ORIGIN_ICMP6, QueuedError
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.arrives import set_mss
from netemu.tcp.connection import Connection
from netemu.tcp.state import State
from netemu.wire import icmp, ipv4, ipv6, udp
from netemu.wire.buffer import Buffer
from netemu.wire.icmp import Message
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, IpPacket, is_impossible_source, is_multicast
from netemu.wire.tcp import unwrap

if TYPE_CHECKING:
    from netemu.stack.host import Host

SECOND = 1_000_000_000
MIN_PMTU_V4 = 552  # as Linux: a smaller report is an attack or a mistake (RFC 5927 section 7)
PMTU_LIFETIME = 600 * SECOND  # RFC 1191 6.3, RFC 8201 5.3
MAX_PATHS = 4096

# Code of destination unreachable: (errno, does a connected UDP socket hear of it?) as Linux' icmp_err_convert (facts U5)
_UNREACHABLE_V4 = {
    0: (errno.ENETUNREACH, False), 1: (errno.EHOSTUNREACH, False), 2: (errno.ENOPROTOOPT, True),
    3: (errno.ECONNREFUSED, True), 5: (errno.EOPNOTSUPP, False), 6: (errno.ENETUNREACH, True),
    7: (errno.EHOSTDOWN, True), 8: (errno.ENONET, True), 9: (errno.ENETUNREACH, True), 10: (errno.EHOSTUNREACH, True),
    11: (errno.ENETUNREACH, False), 12: (errno.EHOSTUNREACH, False), 13: (errno.EHOSTUNREACH, True),
    14: (errno.EHOSTUNREACH, True), 15: (errno.EHOSTUNREACH, True),
}  # fmt: skip
_UNREACHABLE_V6 = {
    0: (errno.ENETUNREACH, False), 1: (errno.EACCES, True), 2: (errno.EHOSTUNREACH, False),
    3: (errno.EHOSTUNREACH, False), 4: (errno.ECONNREFUSED, True), 5: (errno.EACCES, True), 6: (errno.EACCES, True),
}  # fmt: skip


class Report(NamedTuple):
    """What an ICMP error says, in a socket's words."""

    number: int
    """errno."""
    udp_hears: bool
    """A connected UDP socket's next call fails with it."""
    unreachable: bool = False
    """Ends an attempt to connect."""
    mtu: int | None = None
    """Fragmentation needed, or packet too big: the MTU that is not."""
    kind: int = 0
    code: int = 0
    info: int = 0
    """Of the message itself, for an error queue: the MTU, or the byte that is the problem."""


class Icmp:
    """The ICMP side of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.allowance = icmp.Allowance()

    # -- what arrives -----------------------------------------------------------------------------------------------------

    def receive(self, ip: IpPacket, data: Buffer, checked: bool) -> Reason:
        """An ICMP or ICMPv6 message for this host."""
        message = icmp.parse(data, ip, checked)
        if isinstance(message, Drop):
            return message
        v6 = ip.version == 6
        if message.type == (icmp.V6_ECHO_REQUEST if v6 else icmp.ECHO_REQUEST):
            if message.code:
                return Drop.ICMP_IGNORED
            reply = icmp.V6_ECHO_REPLY if v6 else icmp.ECHO_REPLY
            out = icmp.emit(ip.dst, ip.src, reply, 0, message.rest, message.body)
            self._host.send_ip(ip.dst, ip.src, ICMPV6 if v6 else ICMP, out, tos=ip.tos, why=Match.ICMP_ECHO)
            return Match.ICMP_ECHO
        if v6:
            if message.type in icmp.NEIGHBOUR_TYPES:
                return self._host.reporting.receive(ip, data, checked)
            report = _report_v6(message)
        else:
            report = _report_v4(message)
        if report is None:
            return Drop.ICMP_IGNORED  # source quench too (MUST-55)
        report = report._replace(kind=message.type, code=message.code)
        return (self._error_v6 if v6 else self._error_v4)(message.body, report, ip.src)

    def _error_v4(self, quoted: bytes, report: Report, offender: bytes) -> Reason:
        start = (quoted[0] & 15) * 4 if quoted else 0
        if start < ipv4.SIZE or len(quoted) < start + 8 or quoted[0] >> 4 != 4:
            return Drop.BAD_ICMP
        if (quoted[6] << 8 | quoted[7]) & 0x1FFF:
            return Drop.ICMP_IGNORED  # not the first fragment: no ports in it
        return self._act(quoted[9], quoted[12:16], quoted[16:20], quoted[start:], report, offender)

    def _error_v6(self, quoted: bytes, report: Report, offender: bytes) -> Reason:
        if len(quoted) < ipv6.SIZE + 8 or quoted[0] >> 4 != 6:
            return Drop.BAD_ICMP
        protocol, start = ipv6.upper_layer(quoted)
        if len(quoted) < start + 8:
            return Drop.BAD_ICMP
        return self._act(protocol, quoted[8:24], quoted[24:40], quoted[start:], report, offender)

    def _act(self, protocol: int, src: bytes, dst: bytes, start: bytes, report: Report, offender: bytes) -> Reason:
        """Find whose packet is quoted (RFC 9293 MUST-54) and tell it."""
        host = self._host
        if not host.is_local(src):
            return Drop.ICMP_NO_SOCKET
        sport, dport = int.from_bytes(start[:2], "big"), int.from_bytes(start[2:4], "big")
        if protocol == TCP:
            return self._act_tcp(flow_key(dst, src, dport, sport), int.from_bytes(start[4:8], "big"), dst, report)
        if protocol == UDP:
            return self._act_udp(src, dst, start, report, offender)
        is_echo = protocol == (ICMPV6 if len(src) == 16 else ICMP) and start[0] in (icmp.ECHO_REPLY, icmp.V6_ECHO_REPLY)
        if not is_echo:
            return Drop.ICMP_NO_SOCKET
        if report.mtu is None:
            return Drop.ICMP_IGNORED
        self._path_mtu(dst, report.mtu)
        return Match.ICMP_ERROR

    def _act_tcp(self, flow: bytes, raw: int, dst: bytes, report: Report) -> Reason:
        host = self._host
        c = host.table.connections.get(flow)
        if not isinstance(c, Connection) or not c.snd_una <= unwrap(raw, c.snd_una) < c.snd_nxt:
            return Drop.ICMP_NO_SOCKET  # RFC 5927 4.1: a forger does not know what is in flight
        host.matched = c.owner
        if report.mtu is not None:
            self._path_mtu(dst, report.mtu)
            self.limit_mss(c, host.mtu_to(dst))
        elif report.unreachable and c.state is State.SYN_SENT:
            # SHLD-26. DEVIATION: MUST-56 has codes 0, 1 and 5 not abort; in SYN-SENT everyone does (RFC 5461), the user waits
            c.end(Close.UNREACHABLE)
            c.error = report.number
        elif isinstance(c.owner, StreamSocket) and c.owner.connection is c:
            c.owner.soft_error = report.number, c.last_received  # MUST-56: only news, should it time out (SHLD-25)
        host.wake(c)
        return Match.ICMP_ERROR

    def _act_udp(self, src: bytes, dst: bytes, start: bytes, report: Report, offender: bytes) -> Reason:
        """As facts U5 has it: without IP_RECVERR a connected socket hears of some errors, and any other of none."""
        host, flavour = self._host, self._host.flavour
        sport, dport = int.from_bytes(start[:2], "big"), int.from_bytes(start[2:4], "big")
        found = host.udp.find(src, sport, flow_key(dst, src, dport, sport), host.device_of(src), peek=True)
        if found is None:
            return Drop.ICMP_NO_SOCKET
        socket, match = found
        host.matched = socket
        number, is_heard = report.number, report.udp_hears
        if report.mtu is not None:
            self._path_mtu(dst, report.mtu)
            is_heard = socket.mtu_discover[len(dst)] != so.IP_PMTUDISC_DONT
            if not is_heard and len(dst) == 4:
                return Match.ICMP_ERROR
        if flavour.unconnected_hears_icmp and number == errno.ECONNREFUSED:
            socket.fail(errno.ECONNRESET)  # facts F2
        elif socket.hears_errors(len(dst)):
            origin = ORIGIN_ICMP if len(dst) == 4 else ORIGIN_ICMP6
            payload = start[udp.SIZE :]
            socket.queue_error(
                QueuedError(number, origin, report.kind, report.code, report.info, payload, dst, dport, offender)
            )
            socket.fail(number)
        elif match is Match.UDP_CONNECTED and (is_heard or flavour.soft_icmp_is_told):
            socket.fail(number)
        elif report.mtu is None:
            return Drop.ICMP_IGNORED
        return Match.ICMP_ERROR

    def _path_mtu(self, dst: bytes, mtu: int) -> None:
        """Remember a path's MTU. A report can only make it smaller: the way up is to forget (RFC 1191 6.3)."""
        host = self._host
        if len(dst) == 4:
            mtu = max(mtu, MIN_PMTU_V4)
        elif mtu < ipv6.MIN_MTU:
            return  # RFC 8201 section 4
        if mtu >= host.mtu_to(dst):
            return
        known = host.path_mtu
        known.pop(dst, None)
        if len(known) >= MAX_PATHS:
            del known[next(iter(known))]
        known[dst] = mtu, host.now + PMTU_LIFETIME

    def limit_mss(self, c: Connection, mtu: int) -> None:
        """Bring a connection down to a path's MTU and send again what was too big for it (RFC 1191 6.5)."""
        mss = mtu - (60 if len(c.flow) == 36 else 40)
        if mss < c.path_mss:
            c.path_mss = mss
            set_mss(c)
            if c.snd_una > c.iss:  # a SYN is never too big
                c.recovery.on_mtu(c)

    # -- what this host reports -------------------------------------------------------------------------------------------

    def error(
        self, why: Reason, ip: IpPacket, data: Buffer, kind: int, code: int, rest: int = 0, even_multicast: bool = False
    ) -> None:
        """Send an ICMP error about a packet, unless RFC 1122 3.2.2 or RFC 4443 2.4 forbid it or the limit is reached.

        ``even_multicast``: RFC 4443 2.4 e.3 allows this one about a packet to a group.
        """
        host = self._host
        ours, nobody = host.is_local(ip.dst), is_impossible_source(ip.src) and not host.is_local(ip.src)
        if nobody or ip.fragment or not (ours or (even_multicast and is_multicast(ip.dst))):
            return
        if icmp.is_error(ip, data):
            return
        try:
            src = ip.dst if ours else host.source_for(ip.src)
        except OSError:
            return  # the host does not speak this family
        if not self.allowance.take(host.now):
            host.counters[Drop.ICMP_RATE_LIMITED] += 1
            return
        out = icmp.emit(src, ip.src, kind, code, rest, icmp.quoted(data))
        host.send_ip(src, ip.src, ICMPV6 if ip.version == 6 else ICMP, out, why=why)

    def port_unreachable(self, ip: IpPacket, data: Buffer) -> None:
        whole = udp.finished(data, ip)
        if ip.version == 6:
            self.error(Drop.UDP_NO_SOCKET, ip, whole, icmp.V6_UNREACHABLE, icmp.V6_PORT)
        else:
            self.error(Drop.UDP_NO_SOCKET, ip, whole, icmp.UNREACHABLE, icmp.PORT)

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


def _report_v4(message: Message) -> Report | None:
    """What an ICMP message reports; None when it is no error that a host acts on."""
    if message.type == icmp.UNREACHABLE:
        if message.code == icmp.FRAGMENTATION_NEEDED:
            return Report(errno.EMSGSIZE, True, mtu=message.rest & 0xFFFF, info=message.rest & 0xFFFF)
        known = _UNREACHABLE_V4.get(message.code)
        return Report(*known, unreachable=True) if known else None
    if message.type == icmp.TIME_EXCEEDED:
        return Report(errno.EHOSTUNREACH, False)
    if message.type == icmp.PARAMETER_PROBLEM:
        return Report(errno.EPROTO, True, info=message.rest >> 24)
    return None


def _report_v6(message: Message) -> Report | None:
    """The same for ICMPv6 (Linux' icmpv6_err_convert)."""
    if message.type == icmp.V6_UNREACHABLE:
        return Report(*_UNREACHABLE_V6.get(message.code, (errno.EPROTO, True)), unreachable=True)
    if message.type == icmp.V6_TOO_BIG:
        return Report(errno.EMSGSIZE, True, mtu=message.rest, info=message.rest)
    if message.type == icmp.V6_TIME_EXCEEDED:
        return Report(errno.EHOSTUNREACH, False)
    if message.type == icmp.V6_PARAMETER_PROBLEM:
        return Report(errno.EPROTO, True, info=message.rest)
    return None
