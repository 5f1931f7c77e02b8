"""Packets changed on purpose: fields set, payloads cut or damaged. Lengths and checksums follow, unless they are what is changed.

A checksum is brought up to date by the difference (RFC 1624): one that was right stays right, one that was wrong stays wrong, and
a fragment's is right although most of what it covers is elsewhere. Only packets as the wire has them are changed, never
super-packets.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from netemu.link.rules.field import Place
from netemu.link.rules.view import View
from netemu.wire.checksum import updated
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP
from netemu.wire.packet import Packet

_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}
_IP_CHECKSUM_AT = 10


def with_field(view: View, place: Place, change: Callable[[int], int], repair: bool = True) -> Packet | None:
    """The packet with the number at ``place`` changed, modulo its size; None where it has no such field."""
    at = place.at(view)
    if at < 0:
        return None
    data = bytes(view.packet)
    word = int.from_bytes(data[at : at + place.size], "big")
    value = change((word & place.mask) >> place.shift) & place.highest
    new = bytearray(data)
    new[at : at + place.size] = (word & ~place.mask | value << place.shift).to_bytes(place.size, "big")
    if repair:
        _repair(view, data, new, view.end)
    return Packet(bytes(new))


def truncated(view: View, keep: int) -> Packet | None:
    """The packet with ``keep`` bytes of its payload; None where it has no more than that."""
    if not view.version or view.length <= keep:
        return None
    data, end = bytes(view.packet), view.payload_at + keep
    new = bytearray(data[:end])
    if view.version == 4:
        new[2:4] = end.to_bytes(2, "big")
    else:
        new[4:6] = (end - 40).to_bytes(2, "big")
    if view.transport == UDP:
        new[view.start + 4 : view.start + 6] = (end - view.start).to_bytes(2, "big")
    _repair(view, data, new, end)
    return Packet(bytes(new))


def damaged(view: View, random: Random, good: bool) -> Packet | None:
    """The packet with one bit turned, of its payload where there is one. None where there is nothing to damage.

    ``good``: the checksum is made to agree, so that nobody but the application can notice; only payload is damaged so.
    """
    first = view.payload_at if view.length or good else view.start
    if first >= view.end or (good and view.transport < 0):  # a later fragment, or a checksum that we do not know
        return None
    data = bytes(view.packet)
    bit = random.randrange((view.end - first) * 8)
    new = bytearray(data)
    new[first + bit // 8] ^= 1 << bit % 8
    if good:
        _repair(view, data, new, view.end)
    return Packet(bytes(new))


def _repair(view: View, old: bytes, new: bytearray, end: int) -> None:
    """Bring the checksums of ``new`` up to date; it ends at ``end``, and ``view`` is of ``old``."""
    start = view.start
    if view.version == 4:
        _update(new, _IP_CHECKSUM_AT, old[:start], bytes(new[:start]))
    offset = _CHECKSUM_AT.get(view.transport)
    if offset is None:
        return
    at, is_udp = start + offset, view.transport == UDP
    if is_udp and not any(old[at : at + 2]):
        return  # it has none (RFC 768)
    _update(new, at, _covered(view, old, view.end), _covered(view, bytes(new), end))
    if is_udp and not any(new[at : at + 2]):
        new[at : at + 2] = b"\xff\xff"


def _covered(view: View, data: bytes, end: int) -> bytes:
    """What the transport's checksum is over: the addresses and the length of the pseudo header, and what follows."""
    if view.transport == ICMP:
        return data[view.start : end]
    addresses = data[12:20] if view.version == 4 else data[8:40]
    return addresses + (end - view.start).to_bytes(4, "big") + data[view.start : end]


def _update(data: bytearray, at: int, old: bytes, new: bytes) -> None:
    if old != new:
        data[at : at + 2] = updated(int.from_bytes(data[at : at + 2], "big"), old, new).to_bytes(2, "big")
