"""ICMP (RFC 792) and ICMPv6 (RFC 4443) messages: eight bytes of header, then data."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from netemu.reasons import Drop
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import checksum, is_valid
from netemu.wire.ip import ICMPV6, IpPacket, pseudo_sum

HEADER = Struct(">BBHI")
SIZE = 8

# ICMP types
ECHO_REPLY, UNREACHABLE, SOURCE_QUENCH, REDIRECT, ECHO_REQUEST, TIME_EXCEEDED, PARAMETER_PROBLEM = 0, 3, 4, 5, 8, 11, 12
# codes of UNREACHABLE
NET, HOST, PROTOCOL, PORT, FRAGMENTATION_NEEDED = 0, 1, 2, 3, 4
# ICMPv6 types
V6_UNREACHABLE, V6_TOO_BIG, V6_TIME_EXCEEDED, V6_PARAMETER_PROBLEM, V6_ECHO_REQUEST, V6_ECHO_REPLY = (
    1,
    2,
    3,
    4,
    128,
    129,
)
V6_PORT = 4
V6_REDIRECT = 137
NEIGHBOUR_TYPES = frozenset((130, 131, 132, 133, 134, 135, 136, 137, 143))
"""MLD, router and neighbour discovery: what a kernel says on a fresh interface."""
ERRORS = frozenset((UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM))
TIME_EXCEEDED_REASSEMBLY = 1


class Message(NamedTuple):
    """A valid ICMP or ICMPv6 message."""

    type: int
    code: int
    rest: int
    """The second word: identifier and sequence, MTU, pointer …"""
    body: bytes


def parse(data: Buffer, ip: IpPacket, checked: bool = False) -> Message | Drop:
    """The message in an IP packet, its checksum verified."""
    whole = bytes(data[ip.start : ip.end])
    if len(whole) < SIZE:
        return Drop.BAD_ICMP
    initial = pseudo_sum(ip.src, ip.dst, ICMPV6, len(whole)) if ip.version == 6 else 0
    if not checked and not is_valid(whole, initial):
        return Drop.BAD_ICMP
    kind, code, _, rest = HEADER.unpack_from(whole)
    return Message(kind, code, rest, whole[SIZE:])


def emit(src: bytes, dst: bytes, kind: int, code: int, rest: int, body: Buffer) -> bytes:
    """A message, checksum final; ICMPv6 where the addresses are 16 bytes."""
    bare = HEADER.pack(kind, code, 0, rest) + body
    initial = pseudo_sum(src, dst, ICMPV6, len(bare)) if len(src) == 16 else 0
    return bare[:2] + checksum(bare, initial).to_bytes(2, "big") + bare[4:]
