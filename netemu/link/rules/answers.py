"""What a middlebox sends in place of a packet: resets and ICMP errors."""

from __future__ import annotations

from netemu.link.rules.view import View
from netemu.reasons import Drop
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire.ip import ICMP, ICMPV6, TCP, IpPacket, is_impossible_source, is_multicast
from netemu.wire.output import Template
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, MASK, RST, SYN, Segment

FAR = 1 << 30
"""Beyond any window: the largest has 65535 << 14 bytes (RFC 7323 2.3), and half the number space is still ahead."""
CODES = {
    "net": (icmp.NET, icmp.V6_NO_ROUTE),
    "host": (icmp.HOST, icmp.V6_ADDRESS),
    "port": (icmp.PORT, icmp.V6_PORT),
    "admin": (icmp.PROHIBITED, icmp.V6_PROHIBITED),
}
"""Name: code of an ICMP and of an ICMPv6 'destination unreachable'."""
_TTL = 64


def reset_to_sender(view: View, far: bool) -> Packet | None:
    """The RST that a host without that connection sends (RFC 9293 3.10.7.1), or one ``far`` outside the window.

    None for what is no TCP, and for a RST.
    """
    fields = _tcp(view)
    if fields is None:
        return None
    sport, dport, seq, ack, flags = fields
    if flags & ACK:
        segment = Segment((ack + FAR * far) & MASK, 0, RST, 0)
    else:  # in SYN-SENT it is the acknowledgement that must fit
        end = seq + view.length + (flags & SYN and 1) + (flags & FIN)
        segment = Segment(0, (end + FAR * far) & MASK, RST | ACK, 0)
    return Template(view.destination, view.source, dport, sport, _TTL, 0).packet(segment, 0, False)


def reset_to_receiver(view: View, far: bool) -> Packet | None:
    """The same in the packet's own direction: it takes the packet's sequence number, as if the sender had reset."""
    fields = _tcp(view)
    if fields is None:
        return None
    sport, dport, seq, ack, flags = fields
    segment = Segment((seq + FAR * far) & MASK, ack if flags & ACK else 0, RST | flags & ACK, 0)
    return Template(view.source, view.destination, sport, dport, _TTL, 0).packet(segment, 0, False)


def _tcp(view: View) -> tuple[int, int, int, int, int] | None:
    """(source port, destination port, sequence number, acknowledgement, flags)."""
    if view.transport != TCP:
        return None
    head, at = view.head, view.start
    flags = head[at + 13]
    if flags & RST:  # a RST is never answered by one
        return None
    number = [int.from_bytes(head[at + first : at + last], "big") for first, last in ((0, 2), (2, 4), (4, 8), (8, 12))]
    return number[0], number[1], number[2], number[3], flags


def unreachable(view: View, code: str, address: dict[int, bytes]) -> Packet | None:
    """'Destination unreachable' with a code of CODES; None where no ICMP error may be sent (RFC 1122 3.2.2, RFC 4443 2.4)."""
    v4, v6 = CODES[code]
    if view.version == 4:
        return _error(view, icmp.UNREACHABLE, v4, 0, address)
    return _error(view, icmp.V6_UNREACHABLE, v6, 0, address)


def too_big(view: View, mtu: int, address: dict[int, bytes]) -> Packet | None:
    """'Fragmentation needed' (RFC 1191) or 'packet too big' (RFC 8201); None for what fits, or may be fragmented."""
    if view.end <= mtu:
        return None
    if view.version == 4:
        may_cut = not view.head[6] & 0x40
        return None if may_cut else _error(view, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, mtu, address)
    return _error(view, icmp.V6_TOO_BIG, 0, mtu, address)


def _error(view: View, kind: int, code: int, rest: int, address: dict[int, bytes]) -> Packet | None:
    """``address``: by IP version, who signs; by default the one who was addressed."""
    data = bytes(view.packet)
    ip = _parsed(data)
    if ip is None or ip.fragment or is_multicast(ip.dst) or is_impossible_source(ip.src) or icmp.is_error(ip, data):
        return None
    src, dst = address.get(ip.version, ip.dst), ip.src
    message = icmp.emit(src, dst, kind, code, rest, icmp.quoted(data))
    header, protocol = (ipv4.header, ICMP) if ip.version == 4 else (ipv6.header, ICMPV6)
    return Packet(header(src, dst, protocol, len(message), ttl=_TTL) + message)


def _parsed(data: bytes) -> IpPacket | None:
    try:
        ip = ipv6.parse(data) if data and data[0] >> 4 == 6 else ipv4.parse(data)
    except ipv6.OptionProblem:
        return None
    return None if isinstance(ip, Drop) else ip
