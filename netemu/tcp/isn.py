"""Initial sequence numbers (RFC 6528): a clock of 4 us plus a keyed hash of the 4-tuple."""

from __future__ import annotations

from hashlib import blake2s

TICK = 4096  # ns; near enough to the 4 us of RFC 9293 3.4.1, and a shift


def initial_sequence(secret: bytes, flow: bytes, now: int) -> int:
    """ISN = M + F(4-tuple, secret), 32 bits. ``secret``: 16 bytes or more that nobody outside knows."""
    offset = int.from_bytes(blake2s(flow, key=secret, digest_size=4).digest(), "big")
    return (now // TICK + offset) & 0xFFFFFFFF


def timestamp_offset(secret: bytes, flow: bytes) -> int:
    """Where a connection's timestamp clock starts: a secret per 4-tuple, so that uptime stays private (RFC 7323 5.4)."""
    return int.from_bytes(blake2s(flow, key=secret, digest_size=4, person=b"ts").digest(), "big")
