"""A link with a smaller MTU than its packets: fragments, ICMP errors (RFC 791, 1191, 4443), or a black hole (RFC 2923)."""

from __future__ import annotations

from netemu.reasons import Drop
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire.buffer import Buffer
from netemu.wire.ip import ICMP, ICMPV6, IpPacket, is_impossible_source, is_multicast
from netemu.wire.packet import Packet


def may_fragment(packet: Packet) -> bool:
    """A sound IPv4 packet without DF; IPv6 is never cut on its way (RFC 8200 5)."""
    head = packet.head
    if len(head) < ipv4.SIZE or head[0] >> 4 != 4 or head[6] & 0x40:
        return False
    ip = ipv4.parse(bytes(packet))
    return isinstance(ip, IpPacket) and ip.end == len(packet)


def too_big(packet: Packet, mtu: int, address: dict[int, bytes]) -> Packet | None:
    """The ICMP error for who sent a packet of the wire; None where there must be none (RFC 1122 3.2.2, RFC 4443 2.4).

    ``address``: who signs it, by IP version; by default, the packet's destination.
    """
    data = bytes(packet)
    ip = _parse(data) if data else None
    if ip is None or ip.fragment or icmp.is_error(ip, data) or is_impossible_source(ip.src):
        return None
    if is_multicast(ip.dst) and ip.version == 4:  # RFC 4443 2.4 e.3 has packet too big be told of multicast too
        return None
    src = address.get(ip.version) or ip.dst
    if ip.version == 4:
        kind, code = icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED
    else:
        kind, code = icmp.V6_TOO_BIG, 0
    if is_multicast(src):
        return None
    out = icmp.emit(src, ip.src, kind, code, mtu, icmp.quoted(data))
    header = ipv4.header(src, ip.src, ICMP, len(out)) if ip.version == 4 else ipv6.header(src, ip.src, ICMPV6, len(out))
    return Packet(header + out)


def _parse(data: Buffer) -> IpPacket | None:
    try:
        parsed = ipv6.parse(data) if data[0] >> 4 == 6 else ipv4.parse(data)
    except ipv6.OptionProblem:
        return None
    return None if isinstance(parsed, Drop) else parsed
