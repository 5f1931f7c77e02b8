"""IPv4 headers (RFC 791)."""

from __future__ import annotations

from struct import Struct

from netemu.reasons import Drop
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import checksum, fold
from netemu.wire.ip import IpPacket

HEADER = Struct(">BBHHHBBH4s4s")
SIZE = 20
DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000
MAX_TOTAL = 65535
ROUTER_ALERT = b"\x94\4\0\0"
"""The option that has every router look at a packet (RFC 2113)."""


def parse(data: Buffer) -> IpPacket | Drop:
    """The header of an IPv4 packet, or the reason why it is none."""
    if len(data) < SIZE:
        return Drop.TRUNCATED
    version_ihl, tos, total, ident, fragment, ttl, protocol, _, src, dst = HEADER.unpack_from(data)
    start = (version_ihl & 15) * 4
    if start < SIZE or total < start:
        return Drop.BAD_IP_HEADER
    if total > len(data):
        return Drop.TRUNCATED
    if fold(data[:start]):
        return Drop.BAD_IP_CHECKSUM
    if start > SIZE:
        problem = _check_options(bytes(data[SIZE:start]))
        if problem:
            return problem
    offset, more = (fragment & 0x1FFF) * 8, bool(fragment & MORE_FRAGMENTS)
    return IpPacket(4, src, dst, protocol, ttl, tos, start, total, offset, more, ident, 9)


def _check_options(options: bytes) -> Drop | None:
    """Unknown options are ignored (RFC 1122 3.2.1.8); source routes are refused (RFC 7126 4.3, 4.4)."""
    at = 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            return Drop.BAD_IP_OPTION
        if options[at] in (0x83, 0x89):  # loose and strict source route
            return Drop.SOURCE_ROUTED
        at += size
    return None


def header(
    src: bytes,
    dst: bytes,
    protocol: int,
    length: int,
    *,
    ident: int = 0,
    ttl: int = 64,
    tos: int = 0,
    fragment: int = DONT_FRAGMENT,
) -> bytes:
    """A header without options for ``length`` bytes of payload; ``fragment`` is the word of flags and offset / 8."""
    bare = HEADER.pack(0x45, tos, SIZE + length, ident, fragment, ttl, protocol, 0, src, dst)
    return bare[:10] + checksum(bare).to_bytes(2, "big") + bare[12:]


def header_with_options(
    src: bytes, dst: bytes, protocol: int, length: int, options: bytes, *, ttl: int = 64, tos: int = 0
) -> bytes:
    """The same with ``options``, a multiple of four bytes, and never to be fragmented."""
    start = SIZE + len(options)
    bare = HEADER.pack(0x40 | start // 4, tos, start + length, 0, DONT_FRAGMENT, ttl, protocol, 0, src, dst) + options
    return bare[:10] + checksum(bare).to_bytes(2, "big") + bare[12:]


def has_router_alert(data: Buffer, start: int) -> bool:
    """In a valid header of ``start`` bytes."""
    at = SIZE
    while at < start and data[at] != 0:
        if data[at] == ROUTER_ALERT[0]:
            return True
        at += 1 if data[at] == 1 else data[at + 1]
    return False


def as_fragment(head: bytes, length: int, word: int) -> bytes:
    """A valid header, options and all, for ``length`` bytes behind it and another word of flags and offset / 8."""
    bare = b"".join(
        (head[:2], (len(head) + length).to_bytes(2, "big"), head[4:6], word.to_bytes(2, "big"), head[8:10], b"\0\0")
    )
    bare += head[12:]
    return bare[:10] + checksum(bare).to_bytes(2, "big") + bare[12:]


def for_later_fragments(head: bytes) -> bytes:
    """A valid header, without the options that only the first fragment has (RFC 791 3.1: the copied flag)."""
    if len(head) == SIZE:
        return head
    kept, at = b"", SIZE
    while at < len(head) and head[at] != 0:
        size = 1 if head[at] == 1 else head[at + 1]
        if head[at] & 0x80:
            kept += head[at : at + size]
        at += size
    kept += bytes(-len(kept) % 4)
    return bytes((0x40 | (SIZE + len(kept)) // 4,)) + head[1:SIZE] + kept


def unfragmented(head: bytes, length: int) -> bytes:
    """The header, options and all, of a whole packet with ``length`` bytes behind it, from that of its first fragment."""
    return as_fragment(head, length, 0)
