"""What IPv4 and IPv6 packets have in common once their headers are understood."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

TCP, UDP, ICMP, ICMPV6, IGMP = 6, 17, 1, 58, 2


class IpPacket(NamedTuple):
    """The validated header of an IP packet. Addresses are 4 or 16 bytes."""

    version: int
    src: bytes
    dst: bytes
    protocol: int
    hop_limit: int
    tos: int
    start: int
    """Offset of the payload: behind all options and extension headers."""
    end: int
    """Offset after the payload; what follows is padding."""
    fragment: int = 0
    """Offset of this fragment's payload in the whole packet's, bytes."""
    more: bool = False
    ident: int = 0
    protocol_at: int = 0
    """Offset of the byte that names ``protocol`` (ICMPv6 parameter problem points at it)."""

    @property
    def is_fragment(self) -> bool:
        return self.more or self.fragment > 0


def pseudo_sum(src: bytes, dst: bytes, protocol: int, length: int) -> int:
    """The sum of the pseudo header (RFC 9293 3.1, RFC 8200 8.1), not folded: for checksum's ``initial``."""
    total = int.from_bytes(src + dst, "little") % 65535
    return ((total >> 8) | (total & 0xFF) << 8) + protocol + length


def text(address: bytes) -> str:
    """'198.18.0.2' or '2001:2::2'."""
    if len(address) == 4:
        return ".".join(map(str, address))
    return str(ipaddress.IPv6Address(address))


def parse_address(address: str) -> bytes:
    """4 or 16 bytes; ValueError for what is no address."""
    return ipaddress.ip_address(address).packed


def text_port(address: bytes, port: int) -> str:
    """'198.18.0.2:80' or '[2001:2::2]:80'; a wildcard address or port prints as '*' does not: 0.0.0.0 and [::] do."""
    host = text(address) if len(address) == 4 else f"[{text(address)}]"
    return f"{host}:{port or '*'}"


def is_multicast(address: bytes) -> bool:
    return address[0] == 0xFF if len(address) == 16 else 224 <= address[0] < 240


def is_impossible_source(address: bytes) -> bool:
    """Multicast, broadcast, unspecified, loopback, reserved: never a source on the wire (RFC 1122 3.2.1.3, RFC 4291)."""
    if len(address) == 16:
        # RFC 4291 2.5.2, 2.5.3, 2.7, and v4-mapped ones, which are never on the wire
        return address[0] == 0xFF or address[:15] == bytes(15) or address[:12] == bytes(10) + b"\xff\xff"
    return address[0] >= 224 or address[0] in (0, 127)
