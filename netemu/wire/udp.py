"""UDP headers (RFC 768)."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from netemu.reasons import Drop
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import checksum, is_valid
from netemu.wire.ip import UDP, IpPacket, pseudo_sum

HEADER = Struct(">HHHH")
SIZE = 8


class Datagram(NamedTuple):
    """A valid UDP datagram."""

    sport: int
    dport: int
    payload: bytes


def parse(data: Buffer, ip: IpPacket, checked: bool = False) -> Datagram | Drop:
    """The datagram in an IP packet; ``checked`` when its checksum is known to be good."""
    if ip.end - ip.start < SIZE:
        return Drop.BAD_UDP
    sport, dport, length, total = HEADER.unpack_from(data, ip.start)
    if length < SIZE or length > ip.end - ip.start:
        return Drop.BAD_UDP  # a shorter length than IP's is cut to (as Linux does), a longer one is a lie
    body = bytes(data[ip.start : ip.start + length])
    if not checked:
        if total == 0:
            if ip.version == 6:
                return Drop.BAD_UDP_CHECKSUM  # RFC 8200 8.1
        elif not is_valid(body, pseudo_sum(ip.src, ip.dst, UDP, length)):
            return Drop.BAD_UDP_CHECKSUM
    return Datagram(sport, dport, body[SIZE:])


def without_checksum(data: Buffer, ip: IpPacket) -> Datagram | None:
    """An IPv6 datagram that has no checksum, which only a socket that wants it so takes (RFC 6935, UDP_NO_CHECK6_RX)."""
    if ip.version == 4 or ip.end - ip.start < SIZE or any(data[ip.start + 6 : ip.start + SIZE]):
        return None
    datagram = parse(data, ip, checked=True)
    return None if isinstance(datagram, Drop) else datagram


def emit(src: bytes, dst: bytes, sport: int, dport: int, payload: Buffer) -> bytes:
    """Header and payload, checksum final."""
    length = SIZE + len(payload)
    bare = HEADER.pack(sport, dport, length, 0) + payload
    total = checksum(bare, pseudo_sum(src, dst, UDP, length)) or 0xFFFF
    return bare[:6] + total.to_bytes(2, "big") + bare[8:]


def finished(data: Buffer, ip: IpPacket) -> bytes:
    """An IP packet whose UDP checksum may be partial (it came from the local kernel), as the wire would have it."""
    sport, dport, length, total = HEADER.unpack_from(data, ip.start)
    if not total:
        return bytes(data)
    end = ip.start + length
    whole = emit(ip.src, ip.dst, sport, dport, data[ip.start + SIZE : end])
    return b"".join((data[: ip.start], whole, data[end:]))
