"""TIME-WAIT (RFC 9293 3.6.1, 3.10.7.4; RFC 6191, 1337, 5961). MUST-13."""

from __future__ import annotations

import pytest
from wire_end import MS, WireEnd, flags_of, over_the_wire, time_wait

from netemu.reasons import Drop, Match
from netemu.tcp.timewait import TimeWait
from netemu.wire.tcp import HALF, MASK, Options, Segment

TWO_MSL = 60_000 * MS


def waiting(end: WireEnd) -> TimeWait:
    assert end.time_wait is not None
    return end.time_wait


def syn(end: WireEnd, seq: int, ts: int | None = None, flags: str = "S") -> Segment:
    """A SYN at ``seq`` (relative), with TSval ``ts`` ms after the peer's clock."""
    segment = Segment((end.peer_iss + seq) & MASK, 0, flags_of(flags), 30_000, options=Options(1000))
    if ts is not None:
        segment.ts_val = (end.clock + ts) & MASK
    return over_the_wire(segment)


def test_it_lasts_two_msl() -> None:
    """MUST-13."""
    end = time_wait()
    assert waiting(end).expires == end.now + TWO_MSL


def test_the_fin_again_restarts_it() -> None:
    """'The only thing that can arrive in this state is a retransmission of the remote FIN. Acknowledge it, and restart the 2 MSL
    timeout.' Each time, however often."""
    end = time_wait()
    for _ in range(3):
        end.advance(100)
        assert end.send("F.", seq=1, ack=2) is Match.TIME_WAIT
        end.expect(".", seq=2, ack=2)
        assert waiting(end).expires == end.now + TWO_MSL


def test_the_fin_again_with_its_data() -> None:
    end = time_wait()
    assert end.send("F.", b"last", seq=-3, ack=2) is Match.TIME_WAIT
    end.expect(".", ack=2)


def test_an_old_fin_does_not() -> None:
    """Only the last one is the retransmission."""
    end = time_wait()
    expires = waiting(end).expires
    end.advance(100)
    end.send("F.", seq=-100, ack=2)
    assert waiting(end).expires == expires


def test_a_reset_ends_it() -> None:
    """3.10.7.4, second (gVisor TCPTimeWaitReset)."""
    end = time_wait()
    assert end.send("R", seq=2) is Match.TIME_WAIT
    assert waiting(end).ended
    end.nothing()


def test_a_reset_is_ignored_with_rfc1337() -> None:
    """TIME-WAIT assassination (gVisor TimeWaitRSTIgnored)."""
    end = time_wait(rfc1337=True)
    assert end.send("R", seq=2) is Drop.TIME_WAIT_IGNORED
    assert not waiting(end).ended
    end.nothing()


def test_resets_elsewhere() -> None:
    """RFC 5961 3.2."""
    end = time_wait()
    assert end.send("R", seq=1) is Drop.RST_OUTSIDE_WINDOW
    assert end.send("R", seq=2 + end.config.rcvbuf) is Drop.RST_OUTSIDE_WINDOW
    end.nothing()
    assert end.send("R", seq=3) is Drop.RST_CHALLENGED
    end.expect(".", seq=2, ack=2)
    assert not waiting(end).ended


def test_out_of_window_segments_are_answered_at_a_limited_rate() -> None:
    """gVisor TimeWaitOutOfOrder, RFC 5961 7."""
    end = time_wait()
    assert end.send(".", b"data", seq=200_000) is Drop.TIME_WAIT_IGNORED
    end.expect(".", seq=2, ack=2, length=0)
    end.send(".", b"data", seq=200_000)
    end.nothing()
    end.now += 500 * MS
    end.send(".", b"data", seq=-50)
    end.expect(".", seq=2, ack=2)


def test_ack_of_what_was_never_sent() -> None:
    end = time_wait()
    end.send(".", seq=2, ack=3)
    end.expect(".", seq=2, ack=2)


def test_an_ack_is_ignored() -> None:
    end = time_wait()
    assert end.send(".", ack=2) is Drop.TIME_WAIT_IGNORED
    end.nothing()


def test_a_syn_that_may_not_reopen_is_challenged() -> None:
    """RFC 5961 4.2."""
    end = time_wait()
    old = syn(end, -1000)
    assert not waiting(end).may_reopen(old)
    assert end.deliver(old) is Drop.TIME_WAIT_IGNORED
    end.expect(".", seq=2, ack=2)


@pytest.mark.parametrize(
    ("seq", "reopens"), [(2, True), (3, True), (1_000_000, True), (1, False), (0, False), (-1_000_000, False)]
)
def test_a_new_syn_by_its_sequence_number(seq: int, reopens: bool) -> None:
    """MAY-2, RFC 6191: without timestamps on both sides, a number above the last one seen."""
    end = time_wait()
    assert waiting(end).may_reopen(syn(end, seq)) is reopens


@pytest.mark.parametrize(
    ("seq", "ts", "reopens"),
    [
        (2, 1, True),
        (-1_000_000, 1, True),  # a newer timestamp is enough
        (-1_000_000, HALF - 1, True),
        (2, 0, True),  # the same one: the sequence number decides
        (1, 0, False),
        (1_000_000, -1, False),  # older: never
        (1_000_000, -HALF, False),
    ],
)
def test_a_new_syn_by_its_timestamp(seq: int, ts: int, reopens: bool) -> None:
    """SHLD-4, RFC 6191 section 2."""
    end = time_wait(ts=True)
    assert waiting(end).may_reopen(syn(end, seq, ts)) is reopens


def test_a_new_syn_when_only_one_of_the_connections_has_timestamps() -> None:
    """RFC 6191 section 2: a SYN with timestamps after a connection without is honoured; the other way the number decides."""
    end = time_wait()
    assert waiting(end).may_reopen(syn(end, -1000, 5))
    end = time_wait(timestamps=False)
    assert not waiting(end).may_reopen(syn(end, -1000, 5))
    end = time_wait(ts=True)
    assert waiting(end).may_reopen(syn(end, 2))
    assert not waiting(end).may_reopen(syn(end, 1))


@pytest.mark.parametrize("flags", ["S.", "SR", "SF", ".", "R"])
def test_only_a_plain_syn_reopens(flags: str) -> None:
    end = time_wait()
    assert not waiting(end).may_reopen(syn(end, 1000, flags=flags))


def test_the_next_connection_begins_beyond_this_one() -> None:
    """RFC 9293 3.6.1, MAY-2 (1): a larger ISN than any number of the previous incarnation."""
    end = time_wait()
    assert waiting(end).next_iss == (end.iss + 2 + 65537) & MASK


def test_paws() -> None:
    """RFC 7323 5.3, and no PAWS for RSTs."""
    end = time_wait(ts=True)
    expires = waiting(end).expires
    end.advance(10)
    assert end.send("F.", seq=1, ack=2, ts=-1000) is Drop.PAWS
    assert waiting(end).expires == expires
    end.expect(".", seq=2, ack=2)
    assert end.send("R", seq=2, ts=-1000) is Match.TIME_WAIT


def test_it_goes_on_with_timestamps_and_window() -> None:
    """RFC 7323 3.2: once agreed on, they are in every segment; the window is in the connection's scale."""
    end = time_wait(ts=True, wscale=3, rcvbuf=1 << 20)
    end.advance(500)
    end.send("F.", seq=1, ack=2)
    segment = end.expect(".", wnd=65535)
    assert segment.ts_val is not None
    assert segment.ts_ecr == (end.clock - 500) & MASK


def test_it_is_small() -> None:
    """It stands for 60 s in the table where the connection stood for less than one."""
    assert not hasattr(waiting(time_wait()), "__dict__")
    assert len(TimeWait.__slots__) < 20
