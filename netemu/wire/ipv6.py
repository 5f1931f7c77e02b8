"""IPv6 headers and extension headers (RFC 8200)."""

from __future__ import annotations

from struct import Struct

from netemu.reasons import Drop
from netemu.wire.buffer import Buffer
from netemu.wire.ip import ICMPV6, TCP, UDP, IpPacket

HEADER = Struct(">IHBB16s16s")
FRAGMENT = Struct(">BBHI")
SIZE = 40
MIN_MTU = 1280
MAX_TOTAL = 65535
"""Bytes behind the IPv6 header: what the payload length field can say (no jumbograms)."""
HOP_BY_HOP, ROUTING, FRAGMENT_HEADER, NO_NEXT, DESTINATION = 0, 43, 44, 59, 60
_EXTENSIONS = frozenset((HOP_BY_HOP, ROUTING, FRAGMENT_HEADER, DESTINATION))
MAX_EXTENSIONS = 8
"""More extension headers than this are hostile (RFC 8504 5.3 lets a host set such limits)."""
_LENGTH_AT, _NEXT_AT = 4, 6
_PAD1, _ROUTER_ALERT = 0, 5
ROUTER_ALERT = b"\5\2\0\0\1\0"
"""The hop-by-hop option that has every router look at an MLD message (RFC 2711), padded."""
_LEAST = {TCP: 20, UDP: 8, ICMPV6: 8}
"""Bytes of a transport header that a first fragment must hold."""


class OptionProblem(Exception):
    """Something that must be answered by ICMPv6 parameter problem with this code and pointer, and why the packet is dropped."""

    def __init__(
        self, code: int, pointer: int, even_multicast: bool = False, reason: Drop = Drop.BAD_IP_OPTION
    ) -> None:
        super().__init__(reason.name)
        self.code, self.pointer, self.even_multicast, self.reason = code, pointer, even_multicast, reason


def parse(data: Buffer) -> IpPacket | Drop:
    """The header of an IPv6 packet with its extension headers walked, or the reason why it is none.

    Raises OptionProblem for an unknown option, a routing header or an impossible fragment that must be answered.
    """
    if len(data) < SIZE:
        return Drop.TRUNCATED
    word, length, protocol, hop_limit, src, dst = HEADER.unpack_from(data)
    at, protocol_at, end = SIZE, _NEXT_AT, SIZE + length
    if end > len(data):
        return Drop.TRUNCATED
    fragment, more, ident = 0, False, 0
    walked = 0
    while protocol in _EXTENSIONS and not (fragment or more):  # in a fragment, what follows is the middle of something
        walked += 1
        if walked > MAX_EXTENSIONS:
            return Drop.BAD_IP_HEADER
        if at + 8 > end:
            return Drop.TRUNCATED
        kind, size = protocol, 8 if protocol == FRAGMENT_HEADER else data[at + 1] * 8 + 8
        if at + size > end:
            return Drop.TRUNCATED
        if kind == FRAGMENT_HEADER:
            fragment, more, ident = _fragment(data, at, end)
        elif kind == ROUTING:
            if data[at + 3]:  # RFC 8200 4.4: segments left, and a type that we do not know
                raise OptionProblem(0, at + 2, reason=Drop.SOURCE_ROUTED)
        elif kind == HOP_BY_HOP and at != SIZE:
            raise OptionProblem(1, protocol_at, reason=Drop.BAD_IP_HEADER)  # only right behind the IPv6 header (4, 4.1)
        elif _options_are_bad(data, at + 2, at + size):
            return Drop.BAD_IP_OPTION
        protocol, protocol_at = data[at], at
        at += size
    tos = word >> 20 & 0xFF
    return IpPacket(6, src, dst, protocol, hop_limit, tos, at, end, fragment, more, ident, protocol_at)


def passing(data: Buffer) -> IpPacket | Drop:
    """The header as who passes the packet on reads it: extension headers are walked, and judged by nobody but the destination.

    As with ``parse``, the payload of a fragment is what stands behind its fragment header.
    """
    if len(data) < SIZE:
        return Drop.TRUNCATED
    word, length, protocol, hop_limit, src, dst = HEADER.unpack_from(data)
    at, protocol_at, end = SIZE, _NEXT_AT, SIZE + length
    if end > len(data):
        return Drop.TRUNCATED
    fragment, more, ident = 0, False, 0
    while protocol in _EXTENSIONS and at + 8 <= end and not (fragment or more):
        size = 8
        if protocol == FRAGMENT_HEADER:
            _, _, place, ident = FRAGMENT.unpack_from(data, at)
            fragment, more = place & 0xFFF8, bool(place & 1)
        else:
            size = data[at + 1] * 8 + 8
        if at + size > end:
            break
        protocol, protocol_at, at = data[at], at, at + size
    return IpPacket(6, src, dst, protocol, hop_limit, word >> 20 & 0xFF, at, end, fragment, more, ident, protocol_at)


def _fragment(data: Buffer, at: int, end: int) -> tuple[int, bool, int]:
    """(offset in bytes, more to come?, identification) of the fragment header at ``at`` (RFC 8200 4.5)."""
    _, _, word, ident = FRAGMENT.unpack_from(data, at)
    offset, more = word & 0xFFF8, bool(word & 1)
    size = end - at - FRAGMENT.size
    if more and size % 8:
        raise OptionProblem(0, _LENGTH_AT, reason=Drop.FRAGMENT_BAD)
    if at - SIZE + offset + size > MAX_TOTAL:  # the whole packet would be too long
        raise OptionProblem(0, at + 2, reason=Drop.FRAGMENT_BAD)
    if more and not offset:
        protocol, start = upper_layer(data)
        if protocol in _EXTENSIONS or start + _LEAST.get(protocol, 0) > end:
            raise OptionProblem(3, 0, reason=Drop.FRAGMENT_BAD)  # the first fragment must hold all headers
    return offset, more, ident


def _options_are_bad(data: Buffer, at: int, end: int) -> bool:
    """Walk the options of a hop-by-hop or destination header (RFC 8200 4.2). True: malformed, or to be dropped in silence."""
    while at < end:
        kind = data[at]
        if kind == _PAD1:
            at += 1
            continue
        if at + 2 > end or at + 2 + data[at + 1] > end:
            return True
        action = kind >> 6  # the two high bits say what to do with an unknown option; all known ones have them zero
        if action == 1:
            return True
        if action >= 2:
            raise OptionProblem(2, at, action == 2)
        at += 2 + data[at + 1]
    return False


def has_router_alert(data: Buffer) -> bool:
    """In a valid packet: is it among the hop-by-hop options?"""
    if data[_NEXT_AT] != HOP_BY_HOP:
        return False
    at, end = SIZE + 2, SIZE + data[SIZE + 1] * 8 + 8
    while at < end:
        if data[at] == _ROUTER_ALERT:
            return True
        at += 1 if data[at] == _PAD1 else 2 + data[at + 1]
    return False


def upper_layer(data: Buffer) -> tuple[int, int]:
    """(protocol, offset) of what a packet of at least 40 bytes carries behind its extension headers; forgiving.

    For an ICMP error's quotation, and for the question whether a bad packet is an ICMP error itself. The fragment header's
    number and offset stand for the middle of a fragmented packet.
    """
    protocol, at = data[_NEXT_AT], SIZE
    while protocol in _EXTENSIONS and at + 8 <= len(data):
        if protocol == FRAGMENT_HEADER:
            if FRAGMENT.unpack_from(data, at)[2] & 0xFFF8:
                break
            size = FRAGMENT.size
        else:
            size = data[at + 1] * 8 + 8
        protocol, at = data[at], at + size
    return protocol, at


def unfragmentable(data: Buffer) -> tuple[int, int]:
    """(offset of the byte that names what comes next, size) of the headers that every fragment has (RFC 8200 4.5).

    They are those up to the last that a router on the way looks at: hop-by-hop options and a routing header.
    """
    next_at, at, found = _NEXT_AT, SIZE, (_NEXT_AT, SIZE)
    while data[next_at] in (HOP_BY_HOP, ROUTING, DESTINATION) and at + 8 <= len(data):
        kind, next_at, at = data[next_at], at, at + data[at + 1] * 8 + 8
        if kind != DESTINATION:
            found = next_at, at
    return found


def without_fragment_header(head: bytes, length: int) -> bytes:
    """The headers of a whole packet with ``length`` bytes behind them, from those of its first fragment (RFC 8200 4.5).

    ``head`` ends with the fragment header.
    """
    fragment_at = len(head) - FRAGMENT.size
    next_at, at = _NEXT_AT, SIZE
    while at < fragment_at:
        next_at, at = at, at + head[at + 1] * 8 + 8
    out = bytearray(head[:fragment_at])
    out[next_at] = head[fragment_at]
    out[_LENGTH_AT : _LENGTH_AT + 2] = (fragment_at - SIZE + length).to_bytes(2, "big")
    return bytes(out)


def hop_by_hop(protocol: int, options: bytes) -> bytes:
    """The extension header with ``options``, six bytes (and eight more, and so on) of them."""
    return bytes((protocol, len(options) // 8)) + options


def header(src: bytes, dst: bytes, protocol: int, length: int, *, ttl: int = 64, tos: int = 0, flow: int = 0) -> bytes:
    """A header without extensions for ``length`` bytes of payload."""
    return HEADER.pack(0x60000000 | tos << 20 | flow, length, protocol, ttl, src, dst)
