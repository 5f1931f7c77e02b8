"""ICMP (RFC 792) and ICMPv6 (RFC 4443) messages: eight bytes of header, then data."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from netemu.reasons import Drop
from netemu.wire import ipv4, ipv6
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import checksum, is_valid
from netemu.wire.ip import ICMP, ICMPV6, IpPacket, pseudo_sum

HEADER = Struct(">BBHI")
SIZE = 8

# ICMP types
ECHO_REPLY, UNREACHABLE, SOURCE_QUENCH, REDIRECT, ECHO_REQUEST, TIME_EXCEEDED, PARAMETER_PROBLEM = 0, 3, 4, 5, 8, 11, 12
# codes of UNREACHABLE
NET, HOST, PROTOCOL, PORT, FRAGMENTATION_NEEDED, PROHIBITED = 0, 1, 2, 3, 4, 13
# ICMPv6 types
V6_UNREACHABLE, V6_TOO_BIG, V6_TIME_EXCEEDED, V6_PARAMETER_PROBLEM, V6_ECHO_REQUEST, V6_ECHO_REPLY = (
    1,
    2,
    3,
    4,
    128,
    129,
)
# codes of V6_UNREACHABLE
V6_NO_ROUTE, V6_PROHIBITED, V6_BEYOND_SCOPE, V6_ADDRESS, V6_PORT = 0, 1, 2, 3, 4
V6_REDIRECT = 137
NEIGHBOUR_TYPES = frozenset((130, 131, 132, 133, 134, 135, 136, 137, 143))
"""MLD, router and neighbour discovery: what a kernel says on a fresh interface."""
ERRORS = frozenset((UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM))
TIME_EXCEEDED_REASSEMBLY = 1

QUOTE_V4 = 576 - ipv4.SIZE - SIZE  # as much as 576 bytes hold (RFC 1812 4.3.2.3)
QUOTE_V6 = ipv6.MIN_MTU - ipv6.SIZE - SIZE  # as much as the minimum MTU holds (RFC 4443 2.4 c)

SECOND = 1_000_000_000
ERRORS_PER_SECOND, ERROR_BURST = 1000, 50  # as Linux' icmp_msgs_per_sec and icmp_msgs_burst


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


def is_error(ip: IpPacket, data: Buffer) -> bool:
    """Is a packet itself an ICMP error, or a redirect? Extension headers that could not be parsed are passed over."""
    if ip.version == 4:
        return ip.protocol == ICMP and ip.start < ip.end and data[ip.start] in ERRORS
    data = data[: ipv6.SIZE + int.from_bytes(data[4:6], "big")]
    protocol, start = ipv6.upper_layer(data)
    return protocol == ICMPV6 and start < len(data) and (data[start] < V6_ECHO_REQUEST or data[start] == V6_REDIRECT)


def quoted(data: Buffer) -> bytes:
    """As much of a packet as an ICMP error about it quotes; padding behind it is left out."""
    if data[0] >> 4 == 6:
        return bytes(data[: min(ipv6.SIZE + int.from_bytes(data[4:6], "big"), QUOTE_V6)])
    return bytes(data[: min(int.from_bytes(data[2:4], "big"), QUOTE_V4)])


class Allowance:
    """A token bucket over all ICMP errors of a node (RFC 1812 4.3.2.8, RFC 4443 2.4 f): ``rate`` a second, ``burst`` at once."""

    __slots__ = ("_filled", "_tokens", "burst", "rate")

    def __init__(self, rate: int = ERRORS_PER_SECOND, burst: int = ERROR_BURST) -> None:
        self.rate, self.burst = rate, burst
        self._tokens, self._filled = burst * SECOND, 0

    def take(self, now: int) -> bool:
        """One more at ``now``, ns? False when it would be one too many."""
        self._tokens = min(self.burst * SECOND, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        if self._tokens < SECOND:
            return False
        self._tokens -= SECOND
        return True
