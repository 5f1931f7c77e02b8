"""Initial sequence numbers and timestamp offsets (RFC 6528, RFC 9293 3.4.1, RFC 7323 5.4). MUST-8, 9; SHLD-1."""

from __future__ import annotations

from netemu.tcp.isn import initial_sequence, timestamp_offset

SECRET, FLOW = b"s" * 16, bytes(12)


def test_a_clock_of_four_microseconds() -> None:
    """MUST-8: M advances by one each 4 us or so, and wraps after some 4.9 hours."""
    first = initial_sequence(SECRET, FLOW, 0)
    assert (initial_sequence(SECRET, FLOW, 4096) - first) & 0xFFFFFFFF == 1
    assert (initial_sequence(SECRET, FLOW, 10**9) - first) & 0xFFFFFFFF == 10**9 // 4096
    assert initial_sequence(SECRET, FLOW, 4096 << 32) == first


def test_a_keyed_hash_of_the_flow() -> None:
    """SHLD-1, MUST-9: another flow or another secret, another space; none of it to be had without the secret."""
    flows = [n.to_bytes(12, "big") for n in range(1000)]
    assert len({initial_sequence(SECRET, flow, 0) for flow in flows}) == 1000
    assert initial_sequence(b"t" * 16, FLOW, 0) != initial_sequence(SECRET, FLOW, 0)
    assert all(0 <= initial_sequence(SECRET, flow, 1 << 60) < 1 << 32 for flow in flows)


def test_timestamp_offsets_are_a_matter_of_their_own() -> None:
    """RFC 7323 5.4: from the timestamps nobody can tell the uptime, nor the ISN."""
    flows = [n.to_bytes(12, "big") for n in range(1000)]
    assert len({timestamp_offset(SECRET, flow) for flow in flows}) == 1000
    assert timestamp_offset(SECRET, FLOW) != initial_sequence(SECRET, FLOW, 0)
    assert all(0 <= timestamp_offset(SECRET, flow) < 1 << 32 for flow in flows)
