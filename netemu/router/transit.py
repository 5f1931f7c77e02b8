"""A packet while it is in a router: read once, changed in place, checksums brought up to date and never summed anew.

So what was damaged on its way stays damaged (RFC 1624), and partial checksums of offload stay partial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netemu.reasons import Drop
from netemu.wire import icmp, ipv4, ipv6, slices
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import checksum, updated
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, IpPacket
from netemu.wire.packet import Packet
from netemu.wire.tcp import RST

if TYPE_CHECKING:
    from netemu.router.nat import Mapping

COPY_BELOW = 4096
"""Bytes; a larger packet leaves as the view of it that was changed."""
_V4_TTL, _V4_CHECKSUM, _V4_ADDRESSES, _V4_PROTOCOL, _V6_HOP_LIMIT = 8, 10, 12, 9, 7
_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2}
_ECHO = {ICMP: (icmp.ECHO_REQUEST, icmp.ECHO_REPLY), ICMPV6: (icmp.V6_ECHO_REQUEST, icmp.V6_ECHO_REPLY)}


class Flow(NamedTuple):
    """Whose a packet is, as it stands in it. Ports are 0 where there are none; an echo's identifier is the port of who asks."""

    protocol: int
    src: bytes
    sport: int
    dst: bytes
    dport: int

    @property
    def reversed(self) -> Flow:
        """The answers' flow."""
        return Flow(self.protocol, self.dst, self.dport, self.src, self.sport)


class Endpoint(NamedTuple):
    """An address with its port, or an echo's identifier."""

    address: bytes
    port: int


def read(data: Buffer) -> IpPacket | Drop:
    """The header of what is to be passed on, or the reason why it is dropped."""
    if not data:
        return Drop.TRUNCATED
    version = data[0] >> 4
    if version == 4:
        return ipv4.parse(data)
    return ipv6.passing(data) if version == 6 else Drop.BAD_IP_VERSION


class Transit:
    """See the module. ``arrived`` is the packet as it came, for an ICMP error to quote; ``port`` is where it came in."""

    __slots__ = (
        "arrived",
        "data",
        "entered",
        "flow",
        "has_ports",
        "ident",
        "ip",
        "is_error",
        "is_hairpinned",
        "port",
        "quoted",
    )

    def __init__(self, packet: Packet, ip: IpPacket, data: memoryview, port: int) -> None:
        """``data``: all bytes of the packet, writable."""
        self.arrived = packet
        self.port = port
        self.ident: int | None = None
        """Of the fragments of IPv6 that it was put together from."""
        self.entered: Mapping | None = None
        """The mapping of NAT by which its destination is an inside host now."""
        self.is_hairpinned = False
        """It came from an inside host."""
        self.take(ip, data)

    def take(self, ip: IpPacket, data: memoryview) -> None:
        """Be this packet."""
        self.ip, self.data = ip, data
        self.quoted: Flow | None = None
        """Of the packet that an ICMP error is about."""
        end = ip.start if ip.fragment else ip.end  # a later fragment has no ports
        self.flow, self.has_ports = _flow_at(data, ip.protocol, ip.src, ip.dst, ip.start, end)
        self.is_error = not self.has_ports and ip.protocol in _ECHO and not ip.fragment and icmp.is_error(ip, data)
        """An ICMP error or a redirect."""
        if self.is_error and ip.version == 4:
            self.quoted = _quoted_v4(data[ip.start + icmp.SIZE : ip.end])
        elif self.is_error:
            self.quoted = _quoted_v6(data[ip.start + icmp.SIZE : ip.end])

    @property
    def tcp_flags(self) -> int:
        """0 for what is no TCP segment."""
        at = self.ip.start + 13
        return self.data[at] if self.flow.protocol == TCP and self.has_ports and at < self.ip.end else 0

    @property
    def can_open(self) -> bool:
        """May it be the first packet of a connection? A RST, an echo reply or any other ICMP message may not."""
        protocol = self.flow.protocol
        if protocol in _ECHO:
            return self.has_ports and self.data[self.ip.start] == _ECHO[protocol][0]
        return not self.tcp_flags & RST

    # -- changes ----------------------------------------------------------------------------------------------------------

    def decrement(self) -> None:
        """One hop less to go (RFC 1812 5.3.1)."""
        data = self.data
        if self.ip.version == 6:
            data[_V6_HOP_LIMIT] -= 1
            return
        data[_V4_TTL] -= 1
        total = (data[_V4_CHECKSUM] << 8 | data[_V4_CHECKSUM + 1]) + 0x100
        data[_V4_CHECKSUM : _V4_CHECKSUM + 2] = (total % 65535).to_bytes(2, "big")

    def translate(self, src: Endpoint | None = None, dst: Endpoint | None = None) -> None:
        """Another source or destination for a packet of IPv4."""
        _translate(self.data, 0, self.ip.end, src, dst, bool(self.arrived.csum_start))
        self._reread()

    def translate_error(
        self, src: bytes | None, dst: bytes | None, quoted_src: Endpoint | None, quoted_dst: Endpoint | None
    ) -> None:
        """Other addresses for an ICMP error, and in the packet that it quotes the same as there (RFC 5508 4)."""
        start, end = self.ip.start, self.ip.end
        before = bytes(self.data[start + icmp.SIZE : end])
        _translate(self.data, start + icmp.SIZE, end, quoted_src, quoted_dst)
        field = self.data[start + 2 : start + 4]
        total = updated(int.from_bytes(field, "big"), before, self.data[start + icmp.SIZE : end])
        field[:] = total.to_bytes(2, "big")  # never a sum over zeros only: its type is not 0
        _addresses(self.data, 0, src, dst)
        self._reread()

    def _reread(self) -> None:
        ip = self.ip
        self.take(ip._replace(src=bytes(self.data[12:16]), dst=bytes(self.data[16:20])), self.data)

    # -- what leaves ------------------------------------------------------------------------------------------------------

    def packet(self) -> Packet:
        """As it is now."""
        was = self.arrived
        data: Buffer = bytes(self.data) if len(self.data) < COPY_BELOW else self.data.toreadonly()
        return Packet(data, (), was.gso_size, was.csum_start, was.csum_offset)

    def as_arrived(self) -> Transit:
        """As it was before NAT, alone: what a RST answers."""
        data = memoryview(bytearray(self.to_quote()))
        ip = read(data)
        assert isinstance(ip, IpPacket)
        return Transit(self.arrived, ip, data, self.port)

    def to_quote(self) -> bytes:
        """What an ICMP error says that it is about: the packet as it came, or the first that it stood for, checksums final."""
        return bytes(slices.split(self.arrived)[0])


def _flow_at(data: Buffer, protocol: int, src: bytes, dst: bytes, start: int, end: int) -> tuple[Flow, bool]:
    """(flow, has it ports or an identifier?) of what stands at ``start``."""
    if protocol in (TCP, UDP) and start + 4 <= end:
        return Flow(
            protocol, src, data[start] << 8 | data[start + 1], dst, data[start + 2] << 8 | data[start + 3]
        ), True
    if protocol in _ECHO and start + 6 <= end and data[start] in _ECHO[protocol]:
        ident = data[start + 4] << 8 | data[start + 5]
        asks = data[start] == _ECHO[protocol][0]
        return Flow(protocol, src, ident if asks else 0, dst, 0 if asks else ident), True
    return Flow(protocol, src, 0, dst, 0), False


def _quoted_v4(data: Buffer) -> Flow | None:
    """The flow of the packet of which an ICMP error quotes these bytes; None where they do not tell."""
    if len(data) < ipv4.SIZE or data[0] >> 4 != 4 or (data[6] << 8 | data[7]) & 0x1FFF:
        return None
    start = (data[0] & 15) * 4
    if start < ipv4.SIZE:
        return None
    src, dst = bytes(data[12:16]), bytes(data[16:20])
    flow, has_ports = _flow_at(data, data[_V4_PROTOCOL], src, dst, start, len(data))
    return flow if has_ports else None


def _quoted_v6(data: Buffer) -> Flow | None:
    if len(data) < ipv6.SIZE or data[0] >> 4 != 6:
        return None
    protocol, start = ipv6.upper_layer(data)
    flow, has_ports = _flow_at(data, protocol, bytes(data[8:24]), bytes(data[24:40]), start, len(data))
    return flow if has_ports else None


def _addresses(data: memoryview, at: int, src: bytes | None, dst: bytes | None) -> tuple[bytes, bytes]:
    """Set the addresses of the IPv4 header at ``at``; what they were and what they are."""
    place, field = data[at + _V4_ADDRESSES : at + 20], data[at + _V4_CHECKSUM : at + _V4_CHECKSUM + 2]
    before = bytes(place)
    place[:] = after = (src or before[:4]) + (dst or before[4:])
    field[:] = updated(int.from_bytes(field, "big"), before, after).to_bytes(2, "big")
    return before, after


def _translate(
    data: memoryview, at: int, end: int, src: Endpoint | None, dst: Endpoint | None, is_partial: bool = False
) -> None:
    """Set addresses and ports of the IPv4 packet at ``at``, of which there may be less than its header says (a quotation).

    ``is_partial``: its checksum field holds the pseudo header's sum and nothing else.
    """
    start, protocol = at + (data[at] & 15) * 4, data[at + _V4_PROTOCOL]
    before, after = _addresses(data, at, src and src.address, dst and dst.address)
    if protocol == ICMP:
        before = after = b""  # it has no pseudo header
        ports = data[start + 4 : start + 6]
        new = (src or dst or Endpoint(b"", 0)).port.to_bytes(2, "big")
    else:
        ports = data[start : start + 4]
        new = (src.port.to_bytes(2, "big") if src else bytes(ports[:2])) + (
            dst.port.to_bytes(2, "big") if dst else bytes(ports[2:])
        )
    old = bytes(ports)
    ports[:] = new
    field_at = start + _CHECKSUM_AT[protocol]
    if field_at + 2 > end:
        return
    field = data[field_at : field_at + 2]
    value = int.from_bytes(field, "big")
    if is_partial:
        field[:] = updated(value, after, before).to_bytes(2, "big")
    elif value or protocol != UDP:  # a datagram without a checksum goes on without
        value = updated(value, before + old, after + new)
        if not value and protocol == ICMP and end > start and not at:
            field[:] = b"\0\0"  # two names of zero: only the sum tells which (the sum over nothing but zeros is 0xFFFF)
            value = checksum(data[start:end])
        field[:] = (value or (0xFFFF if protocol == UDP else 0)).to_bytes(2, "big")
