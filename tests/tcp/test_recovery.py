"""Fast retransmit and NewReno's fast recovery (RFC 5681 3.2, RFC 6582)."""

from __future__ import annotations

import pytest
from wire_end import WireEnd, established

from netemu.tcp.recovery import Phase


def flying(segments: int = 20) -> WireEnd:
    """``segments`` of 1000 bytes are in flight, more wait; cwnd is full."""
    end = established(wnd=60_000)
    end.connection.cc.cwnd = segments * 1000
    end.connection.write(b"x" * 200_000)
    assert len(end.expect_all()) == segments
    return end


def duplicates(end: WireEnd, count: int, ack: int = 1) -> list[int]:
    """Sequence numbers of what ``count`` duplicate ACKs bring out."""
    sent = []
    for _ in range(count):
        end.send(".", ack=ack)
        sent += [s.seq for s in end.expect_all()]
    return sent


def test_three_duplicates() -> None:
    """RFC 5681 3.2 step 2, 3: the first unacknowledged segment goes again, ssthresh = FlightSize/2, cwnd = ssthresh + 3 SMSS."""
    end = flying()
    assert duplicates(end, 2) == []
    assert duplicates(end, 1) == [1]
    c = end.connection
    assert (c.cc.ssthresh, c.cc.cwnd + c.recovery.inflation) == (10_000, 13_000)
    assert c.recovery.phase is Phase.FAST


def test_each_more_inflates() -> None:
    """Step 4: by SMSS, and new data leave when the window allows it."""
    end = flying()
    duplicates(end, 3)
    assert duplicates(end, 7) == []
    assert duplicates(end, 3) == [20_001, 21_001, 22_001]


def test_full_acknowledgement() -> None:
    """RFC 6582 3.2 step 3: cwnd = min(ssthresh, max(FlightSize, SMSS) + SMSS), recovery is over."""
    end = flying()
    duplicates(end, 3)
    end.send(".", ack=20_001)
    c = end.connection
    assert c.recovery.phase is Phase.OPEN
    assert c.cc.cwnd == 2000
    assert c.recovery.inflation == 0
    assert [s.seq for s in end.expect_all()] == [20_001, 21_001]


def test_full_acknowledgement_with_more_in_flight() -> None:
    end = flying()
    duplicates(end, 19)
    assert end.connection.flight == 29_000
    end.send(".", ack=20_001)
    assert end.connection.cc.cwnd == 10_000  # ssthresh; 9000 are in flight
    assert [s.seq for s in end.expect_all()] == [29_001]


def test_partial_acknowledgement() -> None:
    """Step 3: the next hole at once; cwnd deflated by what was acknowledged, and one SMSS added back."""
    end = flying()
    duplicates(end, 12)
    c = end.connection
    before = c.cc.cwnd + c.recovery.inflation
    end.send(".", ack=5001)
    assert c.cc.cwnd + c.recovery.inflation == before - 5000 + 1000
    assert c.recovery.phase is Phase.FAST
    assert end.expect_all()[0].seq == 5001


def test_partial_acknowledgement_of_less_than_a_segment() -> None:
    end = flying()
    duplicates(end, 4)
    c = end.connection
    before = c.cc.cwnd + c.recovery.inflation
    end.send(".", ack=501)
    assert c.cc.cwnd + c.recovery.inflation == before - 500


def test_deflation_leaves_one_segment() -> None:
    end = flying(40)
    duplicates(end, 3)
    end.send(".", ack=35_001)
    c = end.connection
    assert c.cc.cwnd + c.recovery.inflation == 1000


def test_several_losses_in_one_window() -> None:
    """One hole each round trip, no timeout, ssthresh only once."""
    end = flying()
    duplicates(end, 17)
    for hole in (5001, 9001, 13_001):
        end.send(".", ack=hole)
        assert hole in [s.seq for s in end.expect_all()]
        assert end.connection.cc.ssthresh == 10_000
    end.send(".", ack=20_001)
    assert end.connection.recovery.phase is Phase.OPEN


def test_only_the_first_partial_ack_restarts_the_timer() -> None:
    """RFC 6582 3.2 step 3 and section 4: the 'impatient' variant; many holes are left to slow start."""
    end = flying()
    end.connection.rtt.sample(100 * 10**6)
    end.connection.rtt.sample(100 * 10**6)
    duplicates(end, 3)
    end.advance(100)
    end.send(".", ack=2001)
    end.expect_all()
    deadline = end.next_timer()
    assert deadline == end.now + end.connection.rtt.rto
    for number in range(3, 6):
        end.advance(50)
        end.send(".", ack=1 + number * 1000)
        end.expect_all()
        assert end.next_timer() == deadline


def test_below_recover_there_is_no_second_time() -> None:
    """RFC 6582 3.2 step 1: duplicates that cover no more than 'recover' come from what was sent before; after a timeout too."""
    end = flying()
    end.wait()
    end.expect(".", seq=1)
    assert duplicates(end, 5) == []
    end.send(".", ack=20_001)
    sent = end.expect_all()
    assert sent[0].seq == 20_001
    assert duplicates(end, 5, ack=20_001) == []
    assert end.connection.recovery.phase is Phase.OPEN
    end.send(".", ack=21_001)
    end.expect_all()
    assert duplicates(end, 3, ack=21_001)[0] == 21_001  # beyond it there is


def test_a_timeout_ends_it() -> None:
    """Back to one segment, whatever the duplicates had allowed."""
    end = flying()
    duplicates(end, 8)
    end.wait()
    assert [s.seq for s in end.expect_all()] == [1]
    c = end.connection
    assert (c.recovery.phase, c.cc.cwnd, c.recovery.inflation) == (Phase.LOSS, 1000, 0)


# -- what a duplicate ACK is (RFC 5681 section 2) ---------------------------------------------------------------------------


def test_data_are_no_duplicates() -> None:
    """(b): they carry no data."""
    end = flying()
    for _ in range(6):
        end.send(".", b"data", ack=1)
    assert 1 not in [s.seq for s in end.expect_all() if s.length]


def test_window_updates_are_no_duplicates() -> None:
    """(e): the window is the same."""
    end = flying()
    for step in range(6):
        end.send(".", ack=1, wnd=50_000 + step)
    assert 1 not in [s.seq for s in end.expect_all()]


def test_fins_are_no_duplicates() -> None:
    """(c)."""
    end = flying()
    duplicates(end, 2)
    end.send("F.", ack=1)
    assert 1 not in [s.seq for s in end.expect_all() if s.length]


def test_with_nothing_in_flight_they_mean_nothing() -> None:
    """(a): outstanding data."""
    end = established()
    duplicates(end, 6, ack=1)
    end.connection.write(b"x" * 5000)
    assert len(end.expect_all()) == 5
    assert duplicates(end, 2) == []
    assert duplicates(end, 1) == [1]


def test_old_acks_are_no_duplicates() -> None:
    """(d): equal to the greatest."""
    end = flying()
    end.send(".", ack=5001)
    end.expect_all()
    assert duplicates(end, 6, ack=4001) == []


def test_progress_begins_the_count_anew() -> None:
    end = flying()
    duplicates(end, 2)
    end.send(".", ack=1001)
    end.expect_all()
    assert duplicates(end, 2, ack=1001) == []
    assert duplicates(end, 1, ack=1001)[0] == 1001


@pytest.mark.parametrize("close", [False, True])
def test_in_the_other_states(close: bool) -> None:
    """FIN-WAIT-1 with data in flight; CLOSE-WAIT."""
    end = established()
    end.connection.write(b"x" * 8000)
    if close:
        end.connection.shutdown_write()
        end.expect_all()
    else:
        end.send("F.", ack=1)
        end.expect_all()
    assert duplicates(end, 3) == [1]


def test_fast_retransmit_with_a_closed_window() -> None:
    """smoltcp: what is at SND.UNA may always be sent again."""
    end = established(wnd=5000)
    end.connection.write(b"x" * 5000)
    end.expect_all()
    end.send(".", ack=1, wnd=0)
    for _ in range(3):
        end.send(".", ack=1, wnd=0)
    end.expect(".", seq=1)
    end.nothing()


def test_slow_start_again_after_recovery() -> None:
    """cwnd below ssthresh after a full acknowledgement: slow start, then congestion avoidance."""
    end = flying()
    duplicates(end, 3)
    end.send(".", ack=20_001)
    for _ in range(12):
        sent = end.expect_all()
        for segment in sent:
            end.send(".", ack=segment.end)
    assert 10_000 <= end.connection.cc.cwnd < 20_000
