"""Recovery where the peer does not know SACK: fast retransmit, NewReno, PRR (RFC 5681 3.2, RFC 6582, RFC 6937)."""

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


def test_limited_transmit() -> None:
    """RFC 3042: each of the first two duplicates lets a new segment go, and is not counted in ssthresh (RFC 5681 3.2 step 2)."""
    end = flying()
    assert duplicates(end, 1) == [20_001]
    assert duplicates(end, 1) == [21_001]
    duplicates(end, 1)
    assert end.connection.cc.ssthresh == 10_000


def test_limited_transmit_keeps_to_the_window() -> None:
    """RFC 3042 section 2: the receiver's advertised window allows it."""
    end = established(wnd=10_000)
    end.connection.write(b"x" * 20_000)
    assert len(end.expect_all()) == 10
    assert duplicates(end, 2) == []


def test_three_duplicates() -> None:
    """RFC 5681 3.2 step 2, 3: the first unacknowledged segment goes again; ssthresh = FlightSize/2."""
    end = flying()
    assert duplicates(end, 3) == [20_001, 21_001, 1]
    c = end.connection
    assert c.cc.ssthresh == 10_000
    assert c.recovery.phase is Phase.FAST


def test_one_for_two_while_pipe_is_above_ssthresh() -> None:
    """RFC 6937 section 3.1: sndcnt = CEIL(prr_delivered * ssthresh / RecoverFS) - prr_out."""
    end = flying()
    duplicates(end, 3)
    assert duplicates(end, 6) == [22_001, 23_001, 24_001]


def test_full_acknowledgement() -> None:
    """RFC 6582 3.2 step 3 and RFC 6937: cwnd = ssthresh, recovery is over."""
    end = flying()
    duplicates(end, 3)
    end.send(".", ack=22_001)
    c = end.connection
    assert c.recovery.phase is Phase.OPEN
    assert 10_000 <= c.cc.cwnd <= 11_000
    assert c.board.left_out == 0


def test_partial_acknowledgement() -> None:
    """RFC 6582 3.2 step 3: the next hole at once."""
    end = flying()
    duplicates(end, 12)
    end.send(".", ack=5001)
    assert end.connection.recovery.phase is Phase.FAST
    assert end.expect_all()[0].seq == 5001


def test_several_losses_in_one_window() -> None:
    """One hole each round trip, no timeout, ssthresh only once."""
    end = flying()
    duplicates(end, 17)
    for hole in (5001, 9001, 13_001):
        end.send(".", ack=hole)
        assert hole in [s.seq for s in end.expect_all()] + duplicates(end, 1, ack=hole)
        assert end.connection.cc.ssthresh == 10_000
    end.send(".", ack=end.ack)
    assert end.connection.recovery.phase is Phase.OPEN


def test_each_partial_ack_restarts_the_timer() -> None:
    """RFC 6582 section 4: the 'slow but steady' variant, as Linux."""
    end = flying()
    for _ in range(2):
        end.connection.rtt.sample(100 * 10**6)
    duplicates(end, 3)
    for number in range(2, 6):
        end.advance(50)
        end.send(".", ack=1 + number * 1000)
        end.expect_all()
        assert end.next_timer() == end.now + end.connection.rtt.rto


def test_below_recover_there_is_no_second_time() -> None:
    """RFC 6582 3.2 step 1: duplicates that cover no more than 'recover' come from what was sent before; after a timeout too."""
    end = flying()
    end.wait()
    end.expect(".", seq=1)
    assert 1 not in duplicates(end, 5)
    top = end.connection.recovery.recover - end.connection.iss
    end.send(".", ack=top)
    end.expect_all()
    assert top not in duplicates(end, 5, ack=top)
    assert end.connection.recovery.phase is Phase.OPEN
    end.send(".", ack=top + 1000)
    end.expect_all()
    assert top + 1000 in duplicates(end, 3, ack=top + 1000)  # beyond it there is


def test_a_timeout_ends_it() -> None:
    """Back to one segment, whatever the duplicates had allowed; ssthresh is not reduced twice for one window (Linux)."""
    end = flying()
    duplicates(end, 8)
    end.wait()
    assert [s.seq for s in end.expect_all()] == [1]
    c = end.connection
    assert (c.recovery.phase, c.cc.cwnd, c.cc.ssthresh) == (Phase.LOSS, 1000, 10_000)


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
    assert 1001 not in duplicates(end, 2, ack=1001)
    assert 1001 in duplicates(end, 1, ack=1001)


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


def test_congestion_avoidance_after_recovery() -> None:
    """cwnd is ssthresh after a full acknowledgement, and grows by a segment each round."""
    end = flying()
    duplicates(end, 3)
    end.send(".", ack=22_001)
    for _ in range(3):
        for segment in end.expect_all():
            end.send(".", ack=segment.end)
    assert 12_000 <= end.connection.cc.cwnd <= 14_000
