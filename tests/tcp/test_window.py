"""Both ends' windows: what is offered, what is used, silly windows, windows that shrink (RFC 9293 3.8.6, 3.10.7.4)."""

from __future__ import annotations

import pytest
from wire_end import close_wait, established, fin_wait_2

from netemu.reasons import Close, Drop
from netemu.tcp.config import NEVER

# -- ours -------------------------------------------------------------------------------------------------------------------


def test_it_is_what_the_buffer_has_left() -> None:
    end = established(rcvbuf=10_000)
    for number in range(1, 5):
        end.send(".", b"x" * 2000)
        end.expect(".", ack=1 + 2000 * number, wnd=10_000 - 2000 * number)
    end.send(".", b"x" * 2000)
    end.expect(".", ack=10_001, wnd=0)


def test_it_opens_when_the_application_reads() -> None:
    """gVisor ZeroToNonZeroWindowUpdate, smoltcp 'announce after read'."""
    end = established(rcvbuf=10_000)
    for _ in range(5):
        end.send(".", b"x" * 2000)
    end.expect(".", ack=10_001, wnd=0)
    assert len(end.read()) == 10_000
    end.expect(".", ack=10_001, wnd=10_000)
    end.nothing()


def test_it_opens_in_steps_worth_telling() -> None:
    """MUST-39, receiver SWS avoidance: by min(half the buffer, a full segment) or not at all."""
    end = established(rcvbuf=10_000)
    end.send(".", b"x" * 10_000)
    end.expect(".", wnd=0)
    end.connection.read(999)
    end.nothing()
    end.send(".", seq=10_001)
    end.nothing()
    end.connection.read(1)
    end.expect(".", wnd=1000)


def test_a_small_step_is_not_told_in_passing_either() -> None:
    end = established(rcvbuf=10_000)
    end.send(".", b"x" * 10_000)
    end.expect(".", wnd=0)
    end.connection.read(999)
    end.connection.write(b"data")
    end.expect("P.", wnd=0)


@pytest.mark.parametrize("rcvbuf", [1, 2, 3, 100])
def test_tiny_buffers_open_again(rcvbuf: int) -> None:
    end = established(rcvbuf=rcvbuf)
    for i in range(5):
        end.send(".", b"x" * rcvbuf, seq=1 + i * rcvbuf)
        end.advance(40)
        end.expect(".", ack=1 + (i + 1) * rcvbuf, wnd=0)
        end.read()
        end.expect(".", wnd=rcvbuf)


def test_a_reader_that_keeps_up_costs_no_updates() -> None:
    """Each ACK that is due anyway tells of the room; no other segment does."""
    end = established(rcvbuf=10_000)
    for number in range(1, 8):
        end.send(".", b"x" * 2000)
        end.read()
        end.expect(".", ack=1 + 2000 * number, wnd=10_000)
        end.nothing()


def test_a_large_buffer_without_scaling_costs_no_updates() -> None:
    """65535 is all that can be told: reading more must not make ACKs that say nothing new – the peer would count duplicates."""
    end = established(rcvbuf=1 << 20, quick_acks=0)
    for i in range(30):
        end.send(".", b"x" * 1000)
        end.read()
        sent = end.expect_all()
        assert len(sent) == i % 2
    assert end.connection.rcv_adv - end.connection.rcv_nxt == 65535


def test_it_never_shrinks() -> None:
    """SHLD-14, though the buffer does (gVisor NoWindowShrinking); what was offered is accepted."""
    end = established(rcvbuf=20_000)
    end.connection.rcvbuf = 5000
    end.send(".", b"x" * 2000)
    end.expect(".", ack=2001, wnd=18_000)
    for _ in range(9):
        end.send(".", b"x" * 2000)
    end.expect(".", ack=20_001, wnd=0)
    assert len(end.read()) == 20_000
    end.expect(".", wnd=5000)


def test_rounding_to_the_scale() -> None:
    """RFC 7323 2.4: the edge that is told moves left by less than a unit, the one that is kept not at all."""
    end = established(rcvbuf=1 << 20, wscale=0)
    told = 0
    for size in (1, 1000, 3, 17, 1448, 5000):
        end.send(".", b"x" * size)
        for segment in end.expect_all():
            edge = segment.ack + (segment.wnd << 4)
            assert edge > told - 16
            assert edge <= end.connection.rcv_adv - end.connection.irs
            told = max(told, edge)


def test_out_of_order_data_does_not_close_it() -> None:
    """What waits lies inside what was offered."""
    end = established(rcvbuf=10_000)
    end.send(".", b"x" * 5000, seq=5001)
    end.expect(".", ack=1, wnd=10_000)
    end.send(".", b"x" * 5000, seq=1)
    end.expect(".", ack=10_001, wnd=0)


def test_no_updates_after_the_peers_fin() -> None:
    """smoltcp: nothing more will come."""
    end = established(rcvbuf=4000)
    end.send("F.", b"x" * 4000)
    end.expect(".", ack=4002)
    end.read()
    end.nothing()
    end = fin_wait_2(rcvbuf=4000)
    end.send("F.", b"x" * 4000, ack=2)
    end.expect(".", ack=4002)
    end.read()
    end.nothing()


def test_updates_after_our_fin() -> None:
    end = fin_wait_2(rcvbuf=4000)
    end.send(".", b"x" * 4000, ack=2)
    end.expect(".", ack=4001, wnd=0)
    end.read()
    end.expect(".", ack=4001, wnd=4000)


def test_a_full_window_and_more_of_it() -> None:
    """What does not fit is not acknowledged and not kept."""
    end = established(rcvbuf=3000)
    end.send(".", b"x" * 3000)
    end.expect(".", ack=3001, wnd=0)
    assert end.send(".", b"y" * 1000) is Drop.WINDOW_FULL
    end.expect(".", ack=3001, wnd=0)
    assert end.read() == b"x" * 3000


# -- the peer's -------------------------------------------------------------------------------------------------------------


def test_it_is_not_exceeded() -> None:
    """gVisor SendWindowSizesPiggyback."""
    end = established(wnd=3500)
    end.connection.write(b"x" * 10_000)
    assert [s.length for s in end.expect_all()] == [1000, 1000, 1000]
    end.send(".", ack=1001)
    assert [s.length for s in end.expect_all()] == [1000]


def test_the_window_field_is_unsigned() -> None:
    """MUST-1, REC-1: 65535 is 65535."""
    end = established(wnd=65535)
    assert end.connection.snd_wnd == 65535
    end = established(wnd=65535, wscale=14)
    end.send(".")
    assert end.connection.snd_wnd == 65535 << 14


def test_only_newer_segments_update_it() -> None:
    """SND.WL1 <= SEG.SEQ, or a higher ACK: 'prevent using old segments to update the window'."""
    end = established(wnd=5000)
    end.connection.write(b"x" * 3000)
    end.expect_all()
    end.send(".", b"a", seq=2, ack=2001, wnd=7000)  # out of order, but newer
    assert end.connection.snd_wnd == 7000
    end.send(".", b"a", seq=1, ack=2001, wnd=4000)
    assert end.connection.snd_wnd == 7000
    end.send(".", seq=3, ack=3001, wnd=6000)
    end.send(".", seq=3, ack=2001, wnd=4000)
    assert end.connection.snd_wnd == 6000


def test_a_retransmission_with_a_newer_ack_brings_its_window() -> None:
    """Found by the two connections of test_state_machine: SND.UNA moves on, so the window must shrink with it."""
    end = established(wnd=3000)
    end.connection.write(b"x" * 6000)
    assert len(end.expect_all()) == 3
    end.send(".", seq=2, ack=1)
    end.send(".", b"a", seq=1, ack=3001, wnd=0)
    assert end.connection.snd_wnd == 0
    assert [s.length for s in end.expect_all()] in ([], [0])


def test_a_window_update_that_overtakes_data() -> None:
    """The data come later and tell of an older window: it is not taken back, by the short way neither."""
    end = established(wnd=5000)
    end.connection.write(b"x" * 3000)
    end.expect_all()
    end.send(".", seq=5, ack=3001, wnd=6000)
    end.send(".", b"data", seq=1, ack=3001, wnd=0)
    assert end.read() == b"data"
    assert end.connection.snd_wnd == 6000


def test_a_window_update_lets_more_out() -> None:
    end = established(wnd=1000)
    end.connection.write(b"x" * 5000)
    end.expect(".", length=1000)
    end.nothing()
    end.send(".", ack=1, wnd=3000)
    assert [s.length for s in end.expect_all()] == [1000, 1000]


def test_sender_silly_window_avoidance() -> None:
    """MUST-38: no small piece of a large write because the window happens to end there."""
    end = established(wnd=10_000)
    end.connection.write(b"x" * 10_000)
    end.expect_all()
    end.connection.write(b"y" * 5000)
    end.send(".", ack=10_001, wnd=1400)
    assert [s.length for s in end.expect_all()] == [1000]
    end.nothing()


def test_half_the_largest_window_is_worth_a_segment() -> None:
    """Rule 3: the peer's buffer is smaller than our MSS."""
    end = established(wnd=600)
    end.connection.write(b"x" * 2000)
    end.expect(".", length=600)
    end.send(".", wnd=299)
    end.nothing()
    end.send(".", wnd=300)
    end.expect(".", length=300)


def test_the_override_timeout() -> None:
    """Rule 4: between 0.1 and 1 s, then what fits is sent – or a window that never grows would be a deadlock."""
    end = established(wnd=10_000)
    end.connection.write(b"x" * 10_000)
    end.expect_all()
    end.connection.write(b"y" * 5000)
    end.send(".", ack=10_001, wnd=400)
    assert end.wait() == 200
    end.expect(".", seq=10_001, length=400)
    end.nothing()
    end.send(".", wnd=400)
    assert 100 <= end.wait() <= 1000
    end.expect(".", seq=10_401, length=400)


def test_the_override_timeout_of_a_long_path() -> None:
    end = established(wnd=10_000)
    for _ in range(20):
        end.connection.rtt.sample(3 * 10**9)
    end.connection.write(b"x" * 10_000)
    end.expect_all()
    end.send(".", ack=10_001, wnd=400)
    end.connection.write(b"y" * 5000)
    assert end.wait() == 1000
    end.expect(".", length=400)


def test_a_window_that_creeps_does_not_put_off_the_override() -> None:
    end = established(wnd=10_000)
    end.connection.write(b"x" * 10_000)
    end.expect_all()
    end.connection.write(b"y" * 5000)
    end.send(".", ack=10_001, wnd=100)
    for step in range(19):
        end.silence(10)
        end.send(".", wnd=101 + step)
    assert end.wait() == 10
    end.expect(".", length=119)


def test_the_override_is_used_once() -> None:
    """A window that opens in time makes it needless, and it must not excuse a silly segment later."""
    end = established(wnd=10_000)
    end.connection.write(b"x" * 10_000)
    end.expect_all()
    end.connection.write(b"y" * 5000)
    end.send(".", ack=10_001, wnd=400)
    end.nothing()
    end.now = end.next_timer()
    end.connection.on_timer(end.now)
    end.send(".", ack=10_001, wnd=2000)
    assert [s.length for s in end.expect_all()] == [1000, 1000]
    end.send(".", wnd=1400)
    assert [s.length for s in end.expect_all()] == [1000]


# -- that shrinks -----------------------------------------------------------------------------------------------------------


def test_no_new_data_into_a_shrunk_window() -> None:
    """MUST-34, SHLD-15: the usable window is negative."""
    end = established(wnd=10_000)
    end.connection.write(b"x" * 20_000)
    end.expect_all()
    end.send(".", ack=1001, wnd=2000)
    end.nothing()
    end.send(".", ack=2001, wnd=2000)
    end.nothing()
    end.send(".", ack=9001, wnd=2000)
    assert [(s.seq, s.length) for s in end.expect_all()] == [(10_001, 1000)]


def test_retransmission_stays_inside_a_shrunk_window() -> None:
    """SHLD-16: old data inside SND.UNA + SND.WND is retransmitted, the rest is not (MAY-7 would allow it); SHLD-17: nor does the
    connection time out for it."""
    end = established(wnd=10_000)
    end.connection.write(b"x" * 10_000)
    end.expect_all()
    end.send(".", ack=1, wnd=2500)
    end.connection.cc.cwnd = 10_000
    end.wait()
    end.connection.cc.cwnd = 10_000
    assert [(s.seq, s.length) for s in end.expect_all()] == [(1, 1000), (1001, 1000), (2001, 500)]


def test_a_retransmission_is_cut_to_a_window_below_one_segment() -> None:
    """A receiver may drop all of a segment that ends beyond its window (Linux since 6.16)."""
    end = established(wnd=5000)
    end.connection.write(b"x" * 3000)
    end.expect_all()
    end.send(".", ack=1, wnd=300)
    end.wait()
    end.expect(".", seq=1, length=300)
    end.send(".", ack=301, wnd=300)
    end.expect(".", seq=301, length=300)


def test_acks_while_the_window_is_shrunk() -> None:
    """DEVIATION: with SEQ=SND.NXT they would lie outside the peer's window and it could not take the ACK."""
    end = established(wnd=10_000)
    end.connection.write(b"x" * 5000)
    end.expect_all()
    end.send(".", b"data", ack=1, wnd=2000)
    end.advance(40)
    end.expect(".", seq=2001, ack=5)
    end.send(".", b"data", ack=1, wnd=0)
    end.advance(40)
    end.expect(".", seq=1, ack=9)


def test_shrunk_to_nothing() -> None:
    """MUST-35: normal probing; MUST-37: for as long as it is answered; SHLD-17: without a timeout."""
    end = established(wnd=5000, retries2=3)
    end.connection.write(b"x" * 5000)
    end.expect_all()
    end.send(".", ack=1, wnd=0)
    end.wait()
    end.expect(".", seq=1, length=1000)
    end.send(".", ack=1, wnd=0)
    for _ in range(30):
        end.wait()
        end.expect(".", seq=0, length=0)
        end.nothing()
        end.advance(20)
        end.send(".", ack=1, wnd=0)
    end.send(".", ack=1, wnd=5000)
    assert end.wait() <= 250  # soon, not with the backed-off timer
    end.expect(".", seq=1, length=1000)


def test_shrunk_to_nothing_by_a_peer_that_vanishes() -> None:
    end = established(wnd=5000, retries2=5)
    end.connection.write(b"x" * 5000)
    end.expect_all()
    end.send(".", ack=1, wnd=0)
    end.run(limit_s=100)
    assert end.connection.close_reason is Close.TIMED_OUT


def test_shrunk_to_nothing_over_an_orphan() -> None:
    """Nobody waits for it: it ends, though the peer answers."""
    end = established(wnd=5000, orphan_retries=4)
    end.connection.write(b"x" * 5000)
    end.close()
    end.expect_all()
    end.send(".", ack=1, wnd=0)
    for _ in range(6):
        if end.next_timer() == NEVER:
            break
        end.now = end.next_timer()
        end.connection.on_timer(end.now)
        end.expect_all()
        end.send(".", ack=1, wnd=0)
    assert end.connection.close_reason is Close.TIMED_OUT


def test_close_wait_is_told_no_window() -> None:
    """The field is there in every state; after the FIN it means nothing but must be valid."""
    end = close_wait(rcvbuf=1000)
    end.connection.write(b"x")
    assert end.expect("P.").wnd <= 1000
