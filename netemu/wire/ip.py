"""What IPv4 and IPv6 packets have in common once their headers are understood."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

TCP, UDP, ICMP, ICMPV6, IGMP = 6, 17, 1, 58, 2

MAPPED = bytes(10) + b"\xff\xff"
"""The prefix of IPv4-mapped IPv6 addresses (RFC 4291 2.5.5.2); they are never on the wire."""


LOOPBACK = {4: b"\x7f\0\0\1", 16: bytes(15) + b"\1"}
"""127.0.0.1 and ::1, by the length of the address that they stand for."""


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
    """'198.18.0.2', '2001:2::2', or '::ffff:198.18.0.2' for an IPv4-mapped one (RFC 5952 section 5)."""
    if len(address) == 4:
        return ".".join(map(str, address))
    if address[:12] == MAPPED:
        return "::ffff:" + ".".join(map(str, address[12:]))
    return str(ipaddress.IPv6Address(address))


def parse_address(address: str) -> bytes:
    """4 or 16 bytes; ValueError for what is no address."""
    return ipaddress.ip_address(address).packed


def text_port(address: bytes, port: int) -> str:
    """'198.18.0.2:80' or '[2001:2::2]:80'; port 0 prints as '*'."""
    host = text(address) if len(address) == 4 else f"[{text(address)}]"
    return f"{host}:{port or '*'}"


def is_multicast(address: bytes) -> bool:
    return address[0] == 0xFF if len(address) == 16 else 224 <= address[0] < 240


def is_link_local(address: bytes) -> bool:
    """fe80::/10 (RFC 4291 2.5.6)."""
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_forwardable(address: bytes) -> bool:
    """May a router pass on what comes from or goes to it? (RFC 1812 5.3.7, RFC 3927 7, RFC 4291 2.5.2-2.5.6)"""
    if len(address) == 16:
        return not (address[0] == 0xFF or is_link_local(address) or address[:15] == bytes(15) or address[:12] == MAPPED)
    return 0 < address[0] < 224 and address[0] != 127 and address[:2] != b"\xa9\xfe"


def is_loopback(address: bytes) -> bool:
    """127.0.0.0/8 or ::1 (RFC 1122 3.2.1.3 g, RFC 4291 2.5.3): every host's own, and never on the wire."""
    return address[0] == 127 if len(address) == 4 else address == LOOPBACK[16]


def is_impossible_source(address: bytes) -> bool:
    """Multicast, broadcast, unspecified, loopback, reserved: never a source on the wire (RFC 1122 3.2.1.3, RFC 4291)."""
    if len(address) == 16:
        # RFC 4291 2.5.2, 2.5.3, 2.7
        return address[0] == 0xFF or address[:15] == bytes(15) or address[:12] == MAPPED
    return address[0] >= 224 or address[0] in (0, 127)
