"""What a router says for itself: ICMP errors about what it drops, and the answers to what is sent to one of its addresses.

It has no sockets: echo requests are answered, UDP gets port unreachable, TCP a RST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.reasons import Drop, Match, Reason, Reset, RouterDrop
from netemu.router.transit import Transit, read
from netemu.wire import icmp, ipv6, tcp, udp
from netemu.wire.checksum import is_valid
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, IpPacket, is_link_local, pseudo_sum
from netemu.wire.output import Template

if TYPE_CHECKING:
    from netemu.router.router import Router

TTL = 64
CONTROL = 0xC0
"""TOS of an ICMP error: internetwork control (RFC 1812 4.3.2.5)."""


class Local:
    """See the module."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.allowance = icmp.Allowance()
        """How many ICMP errors a second, and at once (RFC 1812 4.3.2.8, RFC 4443 2.4 f)."""

    # -- to the router ----------------------------------------------------------------------------------------------------

    def receive(self, transit: Transit, now: int) -> Reason:
        """A packet to one of the router's addresses."""
        if transit.ip.version == 6:
            try:
                parsed = ipv6.parse(transit.data)  # the destination judges extension headers, routers on the way do not
            except ipv6.OptionProblem as problem:
                self.error(transit, icmp.V6_PARAMETER_PROBLEM, problem.code, problem.pointer, now=now)
                return problem.reason
            if isinstance(parsed, Drop):
                return parsed
            transit.take(parsed, transit.data)
        ip = transit.ip
        if ip.is_fragment:
            whole = self._router.fragments.add(ip, transit.data, now)
            if whole is None or isinstance(whole, Drop):
                return whole or Match.FRAGMENT
            ip, data = whole
            transit.take(ip, memoryview(bytearray(data)))
        if ip.protocol in (TCP, UDP) and not self._is_sound(transit):
            return Drop.BAD_TCP_CHECKSUM if ip.protocol == TCP else Drop.BAD_UDP_CHECKSUM
        if ip.protocol == TCP:
            return self._tcp(transit)
        if ip.protocol == UDP:
            return self._udp(transit, now)
        if ip.protocol == (ICMPV6 if ip.version == 6 else ICMP):
            return self._icmp(transit)
        if ip.version == 6:
            if ip.protocol != ipv6.NO_NEXT:
                self.error(transit, icmp.V6_PARAMETER_PROBLEM, 1, ip.protocol_at, now=now)
        else:
            self.error(transit, icmp.UNREACHABLE, icmp.PROTOCOL, now=now)
        return Drop.UNKNOWN_PROTOCOL

    def _is_sound(self, transit: Transit) -> bool:
        ip = transit.ip
        if transit.arrived.csum_start:
            return True  # partial: it has not been on a wire
        body = transit.data[ip.start : ip.end]
        if ip.protocol == UDP and ip.version == 4 and not any(body[6:8]):
            return True
        return is_valid(body, pseudo_sum(ip.src, ip.dst, ip.protocol, len(body)))

    def _icmp(self, transit: Transit) -> Reason:
        ip = transit.ip
        message = icmp.parse(transit.data, ip, bool(transit.arrived.csum_start))
        if isinstance(message, Drop):
            return message
        v6 = ip.version == 6
        if message.type != (icmp.V6_ECHO_REQUEST if v6 else icmp.ECHO_REQUEST) or message.code:
            return Drop.ICMP_IGNORED
        reply = icmp.V6_ECHO_REPLY if v6 else icmp.ECHO_REPLY
        out = icmp.emit(ip.dst, ip.src, reply, 0, message.rest, message.body)
        self._router.send(ip.dst, ip.src, ip.protocol, out, tos=ip.tos)
        return Match.ICMP_ECHO

    def _udp(self, transit: Transit, now: int) -> Reason:
        ip = transit.ip
        datagram = udp.parse(transit.data, ip, checked=True)
        if isinstance(datagram, Drop):
            return datagram
        if ip.version == 6:
            self.error(transit, icmp.V6_UNREACHABLE, icmp.V6_PORT, now=now)
        else:
            self.error(transit, icmp.UNREACHABLE, icmp.PORT, now=now)
        return Drop.UDP_NO_SOCKET

    def _tcp(self, transit: Transit) -> Reason:
        return self.reset(transit) or Drop.NO_SOCKET

    def reset(self, transit: Transit) -> Drop | None:
        """Answer a TCP segment with a RST (never a RST), as if its destination did; Drop for what is no segment."""
        ip = transit.ip
        segment = tcp.parse(transit.data, ip.start, ip.end)
        if isinstance(segment, Drop):
            return segment
        if not segment.flags & tcp.RST:
            self._router.counters[Reset.NO_SOCKET] += 1
            template = Template(ip.dst, ip.src, transit.flow.dport, transit.flow.sport, TTL, ip.tos)
            self._router.send_packet(template.packet(tcp.reset_for(segment), 0, False), ip.src)
        return None

    # -- about what is dropped --------------------------------------------------------------------------------------------

    def unreachable(self, transit: Transit, v4_code: int, v6_code: int, now: int) -> None:
        """Destination unreachable, by the code of the packet's family."""
        if transit.ip.version == 6:
            self.error(transit, icmp.V6_UNREACHABLE, v6_code, now=now)
        else:
            self.error(transit, icmp.UNREACHABLE, v4_code, now=now)

    def time_exceeded(self, transit: Transit, now: int, code: int = 0) -> None:
        self.error(transit, icmp.V6_TIME_EXCEEDED if transit.ip.version == 6 else icmp.TIME_EXCEEDED, code, now=now)

    def too_big(self, transit: Transit, mtu: int, now: int) -> None:
        if transit.ip.version == 6:
            self.error(transit, icmp.V6_TOO_BIG, 0, mtu, now=now)
        else:
            self.error(transit, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, min(mtu, 65535), now=now)

    def error(self, transit: Transit, kind: int, code: int, rest: int = 0, *, now: int) -> None:
        """An ICMP error to who sent the packet, which it quotes as it arrived.

        None is sent about an ICMP error, a later fragment or a source that is nobody's (RFC 1812 4.3.2.7, RFC 4443 2.4 e), and
        none beyond the allowance, which is counted.
        """
        router = self._router
        quote = transit.to_quote()
        ip = _arrived(quote)
        if ip is None or ip.fragment or icmp.is_error(ip, quote) or is_link_local(ip.src):
            return
        src = router.source_for(ip, transit.port)
        if src is None:
            router.counters[RouterDrop.NO_ADDRESS] += 1
            return
        if not self.allowance.take(now):
            router.counters[Drop.ICMP_RATE_LIMITED] += 1
            return
        out = icmp.emit(src, ip.src, kind, code, rest, icmp.quoted(quote))
        router.send(src, ip.src, ICMPV6 if ip.version == 6 else ICMP, out, tos=CONTROL if ip.version == 4 else 0)


def _arrived(quote: bytes) -> IpPacket | None:
    """The header of the packet that an error is about: NAT may have changed the one at hand since."""
    ip = read(quote)
    return ip if isinstance(ip, IpPacket) else None
