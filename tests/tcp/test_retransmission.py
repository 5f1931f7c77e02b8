"""The retransmission timer: what is sent again, when, and how it ends (RFC 6298 5, RFC 9293 3.8.1 to 3.8.3)."""

from __future__ import annotations

import errno

import pytest
from wire_end import established

from netemu.reasons import Close, Drop
from netemu.tcp.arrives import set_mss
from netemu.tcp.config import NEVER, Config
from netemu.tcp.state import State


def test_it_is_sent_again() -> None:
    end = established()
    end.connection.write(b"hello")
    end.expect("P.", seq=1, data=b"hello")
    assert end.wait() == 200
    end.expect("P.", seq=1, data=b"hello")
    end.send(".")
    assert end.next_timer() == NEVER


def test_the_intervals_double() -> None:
    """RFC 6298 5.5; MUST-19 (gVisor Retransmits, MaxRTO)."""
    end = established()
    end.connection.write(b"hello")
    end.expect("P.")
    waits = []
    for _ in range(12):
        waits.append(round(end.wait()))
        end.expect("P.", seq=1, data=b"hello")
    assert waits == [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 102400, 120000, 120000]


def test_it_ends() -> None:
    """MUST-20 (b), SHLD-11: R2 is at least 100 s; no RST, the peer is not there to hear it."""
    end = established()
    end.connection.write(b"hello")
    end.expect("P.")
    lasted = end.run()
    assert len(end.expect_all()) == 15
    assert lasted > 100_000
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.TIMED_OUT
    assert end.connection.error == errno.ETIMEDOUT
    with pytest.raises(TimeoutError):
        end.connection.write(b"more")


def test_r2_can_be_set() -> None:
    """MUST-21; SHLD-10: R1 is at least 3."""
    end = established(retries2=2)
    end.connection.write(b"hello")
    end.expect("P.")
    end.run()
    assert len(end.expect_all()) == 2
    assert Config().retries1 >= 3


def test_progress_begins_the_count_anew() -> None:
    end = established(retries2=2)
    end.connection.write(b"x" * 5000)
    end.expect_all()
    for number in range(1, 5):
        for _ in range(2):
            end.wait()
            end.expect_all()
        end.send(".", ack=1 + 1000 * number)
        end.expect_all()
    end.must_be(State.ESTABLISHED)


def test_only_the_first_segment_and_then_what_cwnd_allows() -> None:
    """RFC 5681 3.1: one segment, then slow start over what was outstanding (go back N)."""
    end = established()
    end.connection.write(b"x" * 8000)
    end.expect_all()
    end.wait()
    assert [(s.seq, s.length) for s in end.expect_all()] == [(1, 1000)]
    end.send(".", ack=1001)
    assert [(s.seq, s.length) for s in end.expect_all()] == [(1001, 1000), (2001, 1000)]
    end.send(".", ack=3001)
    assert [(s.seq, s.length) for s in end.expect_all()] == [(3001, 1000), (4001, 1000), (5001, 1000)]
    end.send(".", ack=6001)
    assert [(s.seq, s.length) for s in end.expect_all()] == [(6001, 1000), (7001, 1000)]
    end.send(".", ack=8001)
    end.nothing()
    assert end.next_timer() == NEVER


def test_an_ack_that_covers_what_was_not_lost() -> None:
    """Only the first one was lost, or none: nothing is sent twice more, and the window is as before (RFC 5682, as Linux)."""
    end = established()
    end.connection.write(b"x" * 30_000)
    end.expect_all()
    end.wait()
    end.expect(".", seq=1)
    end.send(".", ack=10_001)
    assert [s.seq for s in end.expect_all()][:10] == [10_001 + 1000 * i for i in range(10)]


def test_no_burst_without_f_rto() -> None:
    """RFC 3465 2.3: an ACK after a timeout counts as one segment."""
    end = established(frto=False)
    end.connection.write(b"x" * 30_000)
    end.expect_all()
    end.wait()
    end.expect(".", seq=1)
    end.send(".", ack=10_001)
    assert [s.seq for s in end.expect_all()] == [10_001, 11_001]


def test_the_second_loss_of_the_same_segment() -> None:
    """Go back N again, with one segment; ssthresh is kept (RFC 5681 3.1)."""
    end = established()
    end.connection.write(b"x" * 8000)
    end.expect_all()
    end.wait()
    end.expect_all()
    assert end.connection.cc.ssthresh == 4000
    assert end.wait() == 400
    assert [(s.seq, s.length) for s in end.expect_all()] == [(1, 1000)]
    assert end.connection.cc.ssthresh == 4000


def test_the_loss_of_a_later_segment_halves_again() -> None:
    end = established()
    end.connection.write(b"x" * 8000)
    end.expect_all()
    end.wait()
    end.expect_all()
    end.send(".", ack=1001)
    end.expect_all()
    end.wait()
    assert end.connection.cc.ssthresh == 3500


def test_a_segment_partly_acknowledged() -> None:
    """smoltcp 'half-ACK': what is missing goes again, as one segment."""
    end = established()
    end.connection.write(b"abcdefghij" * 100)
    end.expect("P.")
    end.send(".", ack=401)
    end.wait()
    end.expect("P.", seq=401, data=(b"abcdefghij" * 100)[400:])


def test_writes_are_joined_in_a_retransmission() -> None:
    """RFC 9293 3.8.1 lets us repacketize; several small segments become one."""
    end = established()
    end.connection.nodelay = True
    for word in (b"one", b"two", b"three"):
        end.connection.write(word)
        end.expect("P.", data=word)
    end.wait()
    end.expect("P.", seq=1, data=b"onetwothree")


def test_new_data_do_not_overtake() -> None:
    end = established()
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    end.wait()
    end.connection.write(b"y" * 1000)
    end.expect("P.", seq=1)
    end.nothing()
    end.send(".", ack=1001)
    end.expect("P.", seq=1001)


def test_super_segments_are_retransmitted_in_single_ones() -> None:
    end = established(limit=65415)
    end.connection.write(b"x" * 5000)
    end.expect("P.", length=5000)
    end.wait()
    end.expect(".", seq=1, length=1000)


def test_the_retransmission_carries_the_newest_ack() -> None:
    end = established()
    end.connection.write(b"hello")
    end.expect("P.", ack=1)
    end.send(".", b"meanwhile", ack=1)
    end.advance(40)
    end.expect(".", ack=10)
    end.wait()
    end.expect("P.", seq=1, ack=10, data=b"hello")


def test_a_late_ack_of_the_original() -> None:
    """Everything at once: the queue of retransmissions is dropped."""
    end = established()
    end.connection.write(b"x" * 8000)
    end.expect_all()
    end.now = end.next_timer()
    end.connection.on_timer(end.now)
    end.send(".", ack=8001)
    end.nothing()
    assert end.next_timer() == NEVER


def test_the_timer_does_not_run_without_a_reason() -> None:
    end = established()
    assert end.next_timer() == NEVER
    end.connection.write(b"x")
    end.expect("P.")
    end.send(".")
    assert end.next_timer() == NEVER
    end.connection.on_timer(end.now + 10**12)
    end.nothing()


def test_a_smaller_path_mtu() -> None:
    """RFC 1191 6.5: what is outstanding goes again in smaller pieces, at once and without a penalty."""
    end = established(mss=1460)
    end.connection.write(b"x" * 4000)
    assert [s.length for s in end.expect_all()] == [1460, 1460, 1080]
    end.connection.path_mss = 500
    set_mss(end.connection)
    end.connection.recovery.on_mtu(end.connection)
    sent = end.expect_all()
    assert [(s.seq, s.length) for s in sent[:3]] == [(1, 500), (501, 500), (1001, 460)]
    assert max(s.length for s in sent) == 500
    for _ in range(10):
        end.send(".")
        end.expect_all()
    assert end.connection.flight == 0


def test_a_write_of_nothing_changes_nothing() -> None:
    """gVisor ZeroSizedWriteRetransmit."""
    end = established()
    end.connection.write(b"")
    end.nothing()
    end.connection.write(b"x")
    end.expect("P.")
    end.connection.write(b"")
    end.wait()
    end.expect("P.", seq=1, data=b"x")


def test_an_ack_after_the_end() -> None:
    end = established(retries2=1)
    end.connection.write(b"x")
    end.run()
    end.expect_all()
    assert end.send(".", ack=2) is Drop.CONNECTION_CLOSED
    end.nothing()
