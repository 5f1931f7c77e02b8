"""Packets for tests of links: plain ones, and super-packets as a kernel or a host hands them over."""

from __future__ import annotations

from netemu.wire import ipv4, ipv6
from netemu.wire.checksum import checksum
from netemu.wire.ip import TCP, UDP, parse_address, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIXED

MS = 1_000_000
SECOND = 1_000_000_000
ENDS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}


def udp(
    number: int = 0, size: int = 100, version: int = 4, tos: int = 0, dont_fragment: bool = False, sport: int = 5000
) -> Packet:
    """A UDP datagram of ``size`` bytes, IP header included, that carries ``number``; without a checksum over IPv4."""
    src, dst = map(parse_address, ENDS[version])
    overhead = (20 if version == 4 else 40) + 8
    payload = number.to_bytes(4, "big").ljust(size - overhead, b"\0")[: size - overhead]
    length = 8 + len(payload)
    bare = sport.to_bytes(2, "big") + b"\x13\x89" + length.to_bytes(2, "big") + b"\0\0" + payload
    total = checksum(bare, pseudo_sum(src, dst, UDP, length)) or 0xFFFF
    body = bare[:6] + total.to_bytes(2, "big") + bare[8:]
    if version == 6:
        return Packet(ipv6.header(src, dst, UDP, length, tos=tos) + body)
    flags = ipv4.DONT_FRAGMENT if dont_fragment else 0
    return Packet(ipv4.header(src, dst, UDP, length, ident=number & 0xFFFF, tos=tos, fragment=flags) + body)


def number_of(packet: Packet) -> int:
    """What ``udp`` was told."""
    data = bytes(packet)
    start = 28 if data[0] >> 4 == 4 else 48
    return int.from_bytes(data[start : start + 4], "big")


def tcp(
    size: int,
    gso_size: int = 0,
    version: int = 4,
    flags: int = ACK,
    options: bytes = b"",
    seq: int = 1000,
    ident: int = 7,
    partial: bool = True,
    in_body: bool = False,
    tos: int = 0,
) -> Packet:
    """A TCP segment with ``size`` bytes of payload; ``partial``: its checksum is the pseudo header's, as a kernel leaves it."""
    src, dst = map(parse_address, ENDS[version])
    payload = bytes(index * 7 & 0xFF for index in range(size))
    length = 20 + len(options) + size
    words = 5 + len(options) // 4
    pseudo = pseudo_sum(src, dst, TCP, length)
    segment = FIXED.pack(40000, 80, seq, 5, words << 12 | flags, 500, 0, 0) + options
    total = pseudo % 65535 if partial else checksum(segment + payload, pseudo)
    segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
    if version == 4:
        head = ipv4.header(src, dst, TCP, length, ident=ident, tos=tos)
    else:
        head = ipv6.header(src, dst, TCP, length, tos=tos)
    start, offset = (len(head), 16) if partial else (0, 0)
    if in_body:
        middle = size // 2 + 1
        return Packet(head + segment, (payload[:middle], payload[middle:]), gso_size, start, offset)
    return Packet(head + segment + payload, (), gso_size, start, offset)
