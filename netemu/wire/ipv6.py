"""IPv6 headers and extension headers (RFC 8200)."""

from __future__ import annotations

from struct import Struct

from netemu.reasons import Drop
from netemu.wire.buffer import Buffer
from netemu.wire.ip import IpPacket

HEADER = Struct(">IHBB16s16s")
FRAGMENT = Struct(">BBHI")
SIZE = 40
MIN_MTU = 1280
HOP_BY_HOP, ROUTING, FRAGMENT_HEADER, NO_NEXT, DESTINATION = 0, 43, 44, 59, 60
MAX_EXTENSIONS = 8
"""More extension headers than this are hostile (RFC 8504 5.3 lets a host set such limits)."""


class OptionProblem(Exception):
    """An option that RFC 8200 4.2 wants answered by ICMPv6 parameter problem."""

    def __init__(self, code: int, pointer: int, even_multicast: bool) -> None:
        self.code, self.pointer, self.even_multicast = code, pointer, even_multicast


def parse(data: Buffer) -> IpPacket | Drop:
    """The header of an IPv6 packet with its extension headers walked, or the reason why it is none.

    Raises OptionProblem for an unknown option or routing header that must be answered.
    """
    if len(data) < SIZE:
        return Drop.TRUNCATED
    word, length, protocol, hop_limit, src, dst = HEADER.unpack_from(data)
    end = SIZE + length
    if end > len(data):
        return Drop.TRUNCATED
    at, protocol_at = SIZE, 6
    fragment, more, ident = 0, False, 0
    for _ in range(MAX_EXTENSIONS):
        if protocol not in (HOP_BY_HOP, ROUTING, FRAGMENT_HEADER, DESTINATION):
            return IpPacket(
                6, src, dst, protocol, hop_limit, word >> 20 & 0xFF, at, end, fragment, more, ident, protocol_at
            )
        if at + 8 > end:
            return Drop.TRUNCATED
        kind, size = protocol, 8 if protocol == FRAGMENT_HEADER else data[at + 1] * 8 + 8
        if at + size > end:
            return Drop.TRUNCATED
        if kind == HOP_BY_HOP and at != SIZE:
            return Drop.BAD_IP_HEADER  # RFC 8200 4.1: only right behind the IPv6 header
        if kind == ROUTING and data[at + 3]:
            raise OptionProblem(0, at + 2, False)  # RFC 8200 4.4: segments left and a type we do not know
        if kind in (HOP_BY_HOP, DESTINATION):
            problem = _check_options(data, at + 2, at + size)
            if problem:
                return problem
        protocol, protocol_at = data[at], at
        if kind == FRAGMENT_HEADER:
            _, _, word16, ident = FRAGMENT.unpack_from(data, at)
            fragment, more = word16 & 0xFFF8, bool(word16 & 1)
            if fragment:  # what follows is the middle of something: not ours to walk
                at += size
                return IpPacket(
                    6, src, dst, protocol, hop_limit, word >> 20 & 0xFF, at, end, fragment, more, ident, protocol_at
                )
            if more:
                at += size
                return IpPacket(
                    6, src, dst, protocol, hop_limit, word >> 20 & 0xFF, at, end, 0, True, ident, protocol_at
                )
        at += size
    return Drop.BAD_IP_HEADER


def _check_options(data: Buffer, at: int, end: int) -> Drop | None:
    while at < end:
        kind = data[at]
        if kind == 0:  # Pad1
            at += 1
            continue
        if at + 2 > end or at + 2 + data[at + 1] > end:
            return Drop.BAD_IP_OPTION
        if kind not in (1, 5):  # PadN, router alert; the two high bits say what to do with the unknown (RFC 8200 4.2)
            action = kind >> 6
            if action == 1:
                return Drop.BAD_IP_OPTION
            if action >= 2:
                raise OptionProblem(2, at, action == 2)
        at += 2 + data[at + 1]
    return None


def header(src: bytes, dst: bytes, protocol: int, length: int, *, ttl: int = 64, tos: int = 0, flow: int = 0) -> bytes:
    """A header without extensions for ``length`` bytes of payload."""
    return HEADER.pack(0x60000000 | tos << 20 | flow, length, protocol, ttl, src, dst)
