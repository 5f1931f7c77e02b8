"""Timestamps: TSval, TSecr, TS.Recent and PAWS (RFC 7323 3 to 5)."""

from __future__ import annotations

import pytest
from wire_end import MS, established, syn_received, syn_sent

from netemu.reasons import Drop, Match
from netemu.tcp.state import State
from netemu.wire.tcp import HALF, MASK

DAY = 86_400_000


def test_every_segment_has_them() -> None:
    """3.2: once agreed on, in every segment but RST; TSecr is 0 without ACK."""
    end = syn_sent(ts=True)
    end.send("S.")
    end.connection.write(b"data")
    end.connection.shutdown_write()
    for segment in end.expect_all():
        assert segment.ts_val is not None
        assert segment.ts_ecr == end.clock


def test_a_syn_echoes_nothing() -> None:
    """3.2: 'When the ACK bit is not set, the receiver MUST ignore' it, and it is sent as 0."""
    end = syn_sent()
    end.wait()
    assert end.expect("S").ts_ecr == 0


def test_our_clock() -> None:
    """5.4: 1 ms a tick; never back; the offset is the connection's own."""
    end = established(ts=True)
    end.connection.write(b"a")
    first = end.expect("P.").ts_val
    end.send(".")
    end.advance(1234)
    end.connection.write(b"b")
    second = end.expect("P.").ts_val
    assert first is not None
    assert second == (first + 1234) & MASK
    assert first == (end.iss + (end.now // MS - 1234)) & MASK


def test_a_segment_without_them_passes() -> None:
    """DEVIATION from 3.2 (SHOULD drop): gVisor SegmentNotDroppedWhenTimestampMissing."""
    end = established(ts=True)
    assert end.send(".", b"data", no_ts=True) is Match.CONNECTION
    assert end.read() == b"data"


def test_they_are_not_used_unasked() -> None:
    end = established()
    end.ts = True
    assert end.send(".", b"data") is Match.CONNECTION
    assert end.expect(".").ts_val is None
    assert end.send(".", b"data", ts=-100_000) is Match.CONNECTION  # and no PAWS


# -- TS.Recent --------------------------------------------------------------------------------------------------------------


def test_a_delayed_ack_echoes_the_first_segment() -> None:
    """4.3: 'the timestamp of the earliest unacknowledged segment', so that the delay is part of the RTT."""
    end = established(ts=True, quick_acks=0)
    end.advance(10)
    first = end.clock
    end.send(".", b"x" * 500)
    end.advance(10)
    end.send(".", b"x" * 500)
    end.advance(40)
    assert end.expect(".", ack=1001).ts_ecr == first
    end.send(".", b"x" * 500)
    end.advance(40)
    assert end.expect(".").ts_ecr == (end.clock - 40) & MASK


def test_beyond_a_hole_it_does_not_change() -> None:
    """4.3 (C): 'A filled hole': the echo is of the last segment that advanced the left edge."""
    end = established(ts=True)
    end.advance(10)
    end.send(".", b"a" * 100)
    before = end.clock
    end.expect(".", ack=101)
    end.advance(10)
    end.send(".", b"c" * 100, seq=201)
    assert end.expect(".", ack=101).ts_ecr == before
    end.advance(10)
    end.send(".", b"b" * 100, seq=101)
    assert end.expect(".", ack=301).ts_ecr == end.clock


def test_a_segment_that_spans_the_last_ack() -> None:
    """5.3 R3: SEG.SEQ <= Last.ACK.sent: a retransmission that brings old and new data."""
    end = established(ts=True)
    end.send(".", b"a" * 100)
    end.expect(".", ack=101)
    end.advance(10)
    end.send(".", b"a" * 100 + b"b" * 100, seq=1)
    assert end.expect(".", ack=201).ts_ecr == end.clock


@pytest.mark.parametrize("seq", [100_000, -50])
def test_a_segment_outside_the_window_does_not_change_it(seq: int) -> None:
    """5.3: R2, reject it, comes before R3, record it."""
    end = established(ts=True)
    before = end.clock
    end.advance(1000)
    end.send(".", b"x", seq=seq)
    assert end.expect(".", ack=1).ts_ecr == before


def test_header_prediction_obeys_the_same_rule() -> None:
    """The short way and the long way (another connection in FIN-WAIT-2) record alike."""
    for close in (False, True):
        end = established(ts=True, quick_acks=0)
        if close:
            end.connection.shutdown_write()
            end.expect("F.")
            end.send(".")
            end.must_be(State.FIN_WAIT_2)
        recent = []
        for step in (b"a", b"b", b"", b"c"):
            end.advance(7)
            end.send(".", step)
            recent.append((end.connection.ts_recent - end.clock) & MASK)
        assert recent == [0, -7 & MASK, -14 & MASK, -21 & MASK]


# -- PAWS -------------------------------------------------------------------------------------------------------------------


def test_paws() -> None:
    """5.3 R1: dropped, and acknowledged."""
    end = established(ts=True)
    end.advance(1000)
    end.send(".", b"new")
    end.expect(".", ack=4)
    assert end.send(".", b"old", ts=-1) is Drop.PAWS
    end.expect(".", ack=4)
    assert end.read() == b"new"


def test_paws_is_limited_for_mere_acks() -> None:
    end = established(ts=True)
    end.advance(1000)
    for expected in (1, 0, 0):
        assert end.send(".", ts=-5000) is Drop.PAWS
        assert len(end.expect_all()) == expected


def test_the_same_timestamp_is_not_old() -> None:
    end = established(ts=True)
    assert end.send(".", b"a") is Match.CONNECTION
    assert end.send(".", b"b") is Match.CONNECTION
    assert end.read() == b"ab"


def test_paws_wraps() -> None:
    """A timestamp is old if it is less than 2^31 behind."""
    end = established(ts=True)
    assert end.send(".", b"a", ts=HALF - 1) is Match.CONNECTION
    end.expect(".")
    assert end.send(".", b"b", ts=-2) is Match.CONNECTION  # which is 2^31 - 1 later again
    end.expect(".")
    assert end.send(".", b"c", ts=-3) is Drop.PAWS


def test_paws_gives_up_after_24_days() -> None:
    """5.5: by then a clock of 1 ms has gone half round."""
    end = established(ts=True)
    end.now += 24 * DAY * MS
    end.ts_offset -= 26 * DAY  # whatever it is, it looks older
    assert end.send(".", b"data") is Match.CONNECTION
    assert end.send(".", b"more", ts=-1) is Drop.PAWS


def test_paws_in_syn_received() -> None:
    end = syn_received(ts=True)
    assert end.send(".", ts=-10_000) is Drop.PAWS
    end.must_be(State.SYN_RECEIVED)
    end.expect(".", seq=1, ack=1)
    end.send(".")
    end.must_be(State.ESTABLISHED)
