"""Recovery by SACK: the scoreboard and pipe (RFC 6675), PRR (RFC 6937), RACK-TLP (RFC 8985), undo (RFC 4015, 5682, 3708)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_end import MS, WireEnd, established

from netemu.tcp.config import NEVER
from netemu.tcp.recovery import Phase
from netemu.tcp.scoreboard import LOST, RETRANS, SACKED, Scoreboard, Sent
from netemu.wire.tcp import MASK, Options


def measured(end: WireEnd, rtt: int) -> None:
    """The first round trip that is measured takes ``rtt`` ms."""
    end.connection.rtt.srtt, end.connection.rtt.min_rtt = 0, NEVER
    end.connection.rtt.sample(rtt * MS)


def flying(segments: int = 20, rtt: int = 100, **kinds: Any) -> WireEnd:
    """``segments`` of 1000 bytes left ``rtt`` ms ago, the round trip; more wait; cwnd is full."""
    end = established(wnd=60_000, sack=True, **kinds)
    measured(end, rtt)
    end.connection.cc.cwnd = segments * 1000
    end.connection.write(b"x" * 200_000)
    assert len(end.expect_all()) == segments
    end.now += rtt * MS
    return end


def sack(end: WireEnd, ack: int, *blocks: tuple[int, int], **fields: Any) -> list[int]:
    """Sequence numbers of what an ACK with ``blocks`` brings out. Blocks count from 1, in segments: (2, 4) is 1001 to 3001."""
    edges = tuple(tuple((end.iss + 1 + 1000 * (edge - 1)) & MASK for edge in block) for block in blocks)
    end.send(".", ack=1 + 1000 * (ack - 1), options=Options(sack=edges), **fields)  # type: ignore[arg-type]  # pairs
    return [1 + (s.seq - 1) // 1000 for s in end.expect_all()]


# -- the scoreboard ---------------------------------------------------------------------------------------------------------


def test_rfc_6675_only_what_is_missing_goes_again() -> None:
    """Section 5: holes, lowest first; nothing that was SACKed."""
    end = flying()
    sent = sack(end, 1, (2, 5), (6, 9), (10, 14))
    assert sent[0] == 1
    for top in range(15, 22):
        sent += sack(end, 1, (2, 5), (6, 9), (10, top))
    assert [n for n in sent if n <= 20] == [1, 5, 9]


@pytest.mark.parametrize("rack", [True, False])
def test_rfc_6675_the_third_segment_above_begins_recovery(rack: bool) -> None:
    """DupThresh segments above a hole; also for RACK as long as nothing was ever reordered (RFC 8985 6.2 step 4)."""
    end = flying(rack=rack)
    assert sack(end, 1, (2, 3)) == [21]  # RFC 3042
    assert sack(end, 1, (2, 4)) == [22]
    assert sack(end, 1, (2, 5)) == [1]
    assert end.connection.recovery.phase is Phase.FAST


def test_rfc_6675_blocks_above_a_hole_count_in_bytes_not_acks() -> None:
    """One ACK may SACK three segments, where the others were lost."""
    end = flying(rack=False)
    assert sack(end, 1, (2, 5))[0] == 1


def test_rfc_6675_pipe() -> None:
    """SetPipe(): neither what was SACKed nor what is lost, but what was sent again."""
    end = flying()
    sack(end, 1, (2, 5), (7, 9))
    board = end.connection.board
    assert (board.sacked, board.lost) == (5000, 3000)
    assert 0 < board.retrans <= 3000
    assert board.left_out == 5000 + 3000 - board.retrans


def test_rfc_6675_a_timeout_keeps_the_scoreboard() -> None:
    """Section 5.1: what was SACKed is not sent again."""
    end = flying(early_retrans=False)
    sack(end, 1, (2, 4), (6, 10))
    end.wait()
    again = end.expect_all()
    assert [s.seq for s in again] == [1]
    assert end.connection.recovery.phase is Phase.LOSS
    sent: list[int] = []
    for _ in range(30):
        sent += sack(end, 2, (2, 4), (6, 10)) if not sent else sack(end, 6 if 5 in sent else 4, (6, 10))
        if 10 in sent:
            break
        if 4 in sent and 5 in sent:
            sent += sack(end, 10)
    assert not {2, 3, 6, 7, 8, 9} & set(sent)


def test_rfc_2018_a_peer_may_renege() -> None:
    """Section 8: after a timeout with the first segment SACKed nothing that it said is believed."""
    end = flying(early_retrans=False)
    sack(end, 1, (3, 5))
    end.send(".", ack=2001)  # which leaves the SACKed ones first: the peer had them, and says it has not
    end.expect_all()
    end.wait()
    assert [s.seq for s in end.expect_all()] == [2001]
    assert end.connection.board.sacked == 0


def test_hostile_blocks_change_nothing() -> None:
    """Beyond SND.NXT, reversed, empty, below SND.UNA."""
    end = flying()
    for block in ((30, 40), (5, 2), (4, 4), (-5, 3), (2, 22)):
        assert sack(end, 1, block) == []
    assert end.connection.board.sacked == 0


def test_bytes_do_not_shred_a_super_segment() -> None:
    """As in Linux only whole segments of one count as SACKed."""
    end = established(limit=65_000, wnd=60_000, sack=True)
    end.connection.write(b"x" * 10_000)
    end.expect("P.", length=10_000)
    for start in range(10, 9_000, 150):
        left, right = (end.iss + 1 + start) & MASK, (end.iss + 1 + start + 100) & MASK
        end.send(".", ack=1, options=Options(sack=((left, right),)))
    board = end.connection.board
    assert len(board.sent) == 1
    left, right = (end.iss + 1 + 2500) & MASK, (end.iss + 1 + 5500) & MASK
    end.send(".", ack=1, options=Options(sack=((left, right),)))
    assert board.sacked == 2000
    assert [(r.seq - end.iss, r.end - end.iss) for r in board.sent] == [(1, 3001), (3001, 5001), (5001, 10_001)]


@given(st.integers(0, 1 << 32), st.lists(st.sampled_from("ssssaltru"), min_size=1, max_size=60))
def test_the_scoreboard_agrees_with_one_that_keeps_a_mark_for_each_byte(seed: int, steps: list[str]) -> None:
    """SACK, acknowledge, lose, time out, retransmit, unmark: the counters and the marks are what a naive one says."""
    random, board, mss = Random(seed), Scoreboard(), 10
    board.sent = [Sent(at, at + 40, at) for at in range(0, 400, 40)]
    marks = dict.fromkeys(range(0, 400, mss), 0)  # for each segment
    una = 0
    for step in steps:
        left = random.randrange(una, 401)
        right = random.randrange(left, 401)
        if step == "s" and right > left:
            board.sack(left, right, mss)
            marks |= {at: SACKED for at in marks if left <= at and at + mss <= right}
        elif step == "a":
            una = left - left % mss
            board.acknowledge(una)
            marks = {at: mark for at, mark in marks.items() if at >= una}
        elif step == "l" and marks and not marks[una] & (SACKED | LOST):
            board.mark_head(mss)
            marks[una] = LOST
        elif step == "t":
            if marks and marks[una] & SACKED:
                marks = dict.fromkeys(marks, 0)
            board.mark_all(1 << 62)
            marks = {at: mark if mark & SACKED else LOST for at, mark in marks.items()}
        elif step == "r" and (found := board.next_waiting(mss, 400)) is not None:
            first = min(at for at, mark in marks.items() if mark & (LOST | RETRANS) == LOST)
            assert found == (first, first + mss)
            board.resent(*found, now=1000)
            marks[first] |= RETRANS
        elif step == "u":
            board.unmark_lost()
            marks = {at: mark & ~LOST for at, mark in marks.items()}
        known = (SACKED, LOST, RETRANS)
        assert [board.sacked, board.lost, board.retrans] == [
            sum(mss for mark in marks.values() if mark & kind) for kind in known
        ]
        assert board.waiting == sum(mss for mark in marks.values() if mark & (LOST | RETRANS) == LOST)
        assert sum(r.end - r.seq for r in board.sent) == 400 - una


# -- PRR --------------------------------------------------------------------------------------------------------------------


def test_rfc_6937_proportional_reduction() -> None:
    """Section 3.1: while pipe is above ssthresh, ssthresh/RecoverFS of what arrives leaves."""
    end = flying()
    sent = []
    for top in range(3, 22):
        sent += sack(end, 1, (2, top))
    assert end.connection.cc.ssthresh == 10_000
    assert sent[:3] == [21, 22, 1]
    assert 2 + 8 <= len(sent) <= 2 + 9  # limited transmit of two; then one for two of the 17
    assert end.connection.flight - end.connection.board.left_out <= 11_000


def test_rfc_6937_slow_start_up_to_ssthresh() -> None:
    """PRR-SSRB: after a burst of losses, pipe grows to ssthresh by at most one segment more than arrives; no burst."""
    end = flying()
    assert 1 <= len(sack(end, 1, (18, 21))) <= 3
    c = end.connection
    assert c.flight - c.board.left_out < c.cc.ssthresh
    for ack in range(2, 12):
        before = c.board.retrans + c.snd_nxt
        sack(end, ack, (18, 21))
        assert c.board.retrans + c.snd_nxt - before <= 2000
        assert c.flight - c.board.left_out <= c.cc.ssthresh
    assert c.recovery.phase is Phase.FAST


def test_cwnd_is_ssthresh_afterwards() -> None:
    """RFC 6937 section 3: at the end of recovery."""
    end = flying()
    for top in range(3, 22):
        sack(end, 1, (2, top))
    end.send(".")
    assert end.connection.recovery.phase is Phase.OPEN
    assert 10_000 <= end.connection.cc.cwnd <= 11_000


# -- RACK -------------------------------------------------------------------------------------------------------------------


def test_rfc_8985_losses_are_found_by_time() -> None:
    """6.2 step 5: two SACKed segments are not three, but after a reordering window (min_RTT/4) the hole is lost."""
    end = flying()
    sack(end, 1, (2, 3))
    assert end.wait() == 25 + 2
    assert [s.seq for s in end.expect_all()] == [1]
    assert end.connection.recovery.phase is Phase.FAST


def test_rfc_8985_reordering_is_not_loss() -> None:
    """The segment comes late, within the window: nothing is sent twice, cwnd is kept."""
    end = flying()
    assert sack(end, 1, (2, 4)) == [21, 22]
    end.advance(10)
    end.send(".", ack=3001)
    c = end.connection
    assert c.recovery.phase is Phase.OPEN
    assert c.total_retransmits == 0
    assert c.recovery.rack.reordering_seen == 1


def test_rfc_8985_once_reordering_was_seen_three_are_not_enough() -> None:
    """6.2 step 4: then the window always counts."""
    end = flying()
    sack(end, 1, (2, 4))
    end.advance(10)
    end.send(".", ack=3001)
    end.expect_all()
    assert 4 not in sack(end, 4, (5, 12))
    assert end.connection.recovery.phase is Phase.OPEN
    end.wait()
    assert 3001 in [s.seq for s in end.expect_all()]


def test_rfc_8985_a_lost_retransmission() -> None:
    """5.1: what was sent after it has arrived: it goes a third time, and no timeout is needed."""
    end = flying(40)
    assert sack(end, 1, (2, 5))[0] == 1
    fresh = [n for top in range(6, 15) for n in sack(end, 1, (2, top)) if n > 40]
    assert fresh
    end.advance(100)
    sent = sack(end, 1, (2, fresh[-1] + 1))
    assert sent[0] == 1
    assert end.connection.recovery.phase is Phase.FAST


def test_rfc_8985_the_window_widens_by_dsack() -> None:
    """6.2 step 4: a DSACK says that a retransmission was for nothing; once a round trip."""
    end = flying()
    sack(end, 1, (2, 4))
    end.advance(1)
    sack(end, 4)  # reordering was seen
    rack = end.connection.recovery.rack
    sack(end, 4, (5, 8))
    end.wait()
    assert 3001 in [s.seq for s in end.expect_all()]
    sack(end, 9, (4, 5))
    assert rack.reo_wnd_mult == 2
    sack(end, 9, (4, 5))
    assert rack.reo_wnd_mult == 2


# -- TLP --------------------------------------------------------------------------------------------------------------------


def tail(segments: int, **kinds: Any) -> WireEnd:
    """The last ``segments`` of a stream have left; the round trip is 10 ms."""
    end = established(wnd=60_000, sack=True, **kinds)
    measured(end, 10)
    end.connection.write(b"x" * 1000 * segments)
    assert len(end.expect_all()) == segments
    return end


def test_rfc_8985_7_2_a_probe_after_two_round_trips() -> None:
    """The last segment again, long before the retransmission timeout."""
    end = tail(5)
    assert end.wait() == 22
    end.expect("P.", seq=4001, length=1000)
    assert end.connection.cc.cwnd == 10_000
    assert end.connection.recovery.phase is Phase.OPEN


def test_rfc_8985_7_3_a_new_segment_where_there_is_one() -> None:
    """Whatever cwnd says."""
    end = flying(10, rtt=10)
    assert end.wait() == 12
    end.expect(".", seq=10_001, length=1000)


def test_rfc_8985_7_3_one_probe_then_the_timeout() -> None:
    end = tail(5)
    end.wait()
    end.expect("P.", seq=4001)
    assert end.wait() == 210
    end.expect(".", seq=1)
    assert end.connection.recovery.phase is Phase.LOSS


def test_rfc_8985_7_4_a_tail_that_was_lost() -> None:
    """All but the first: the SACK of the probe brings the rest, and no timeout."""
    end = tail(5)
    end.wait()
    end.expect("P.", seq=4001)
    end.advance(10)
    assert sack(end, 2, (5, 6)) == []
    assert end.wait() == 2.5 + 2  # RACK's reordering window
    assert [s.seq for s in end.expect_all()] == [1001]
    assert sack(end, 3, (5, 6)) == [3, 4]


def test_rfc_8985_7_4_the_probe_mended_a_loss() -> None:
    """Nothing else shows that the last one was lost: it was congestion, so cwnd is reduced, once more data are acknowledged."""
    end = tail(5)
    end.wait()
    end.expect("P.", seq=4001)
    end.send(".", ack=5001)
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    end.send(".", ack=6001)
    c = end.connection
    assert c.cc.cwnd == c.cc.ssthresh < 10_000
    assert c.recovery.phase is Phase.OPEN


def test_rfc_8985_7_4_the_probe_was_for_nothing() -> None:
    """Its DSACK says so."""
    end = tail(5)
    end.wait()
    end.expect("P.", seq=4001)
    sack(end, 6)
    sack(end, 6, (5, 6))
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    end.send(".", ack=6001)
    assert end.connection.cc.cwnd == 10_000


def test_rfc_8985_7_2_none_without_sack_or_when_holes_are_known() -> None:
    end = established(wnd=60_000)
    end.connection.rtt.sample(10 * MS)
    end.connection.write(b"x" * 5000)
    end.expect_all()
    assert end.wait() >= 200
    end = tail(5)
    sack(end, 1, (3, 4))
    sack(end, 1, (3, 4))
    end.wait()
    assert 1 in [s.seq for s in end.expect_all()]  # RACK's doing, and not a probe
    assert end.connection.recovery.tlp_end_seq == 0


# -- was it for nothing? ----------------------------------------------------------------------------------------------------


def test_rfc_4015_an_echo_older_than_the_retransmission() -> None:
    """Eifel: the segment had only been late. cwnd and ssthresh are as before, nothing else is sent again."""
    end = flying(ts=True, mss=1012)
    c = end.connection
    before = c.cc.ssthresh
    echo = end.ts_seen
    sent = [n for top in (3, 4, 5) for n in sack(end, 1, (2, top), ecr=echo)]
    assert 1 in sent
    end.advance(20)
    assert not [n for n in sack(end, 5, ecr=echo) if n < 20]
    assert c.recovery.phase is Phase.OPEN
    assert c.cc.cwnd >= 20_000
    assert c.cc.ssthresh == before


def test_rfc_4015_a_newer_echo_changes_nothing() -> None:
    """It answers the retransmission."""
    end = flying(ts=True, mss=1012)
    c = end.connection
    for top in (3, 4, 5):
        sack(end, 1, (2, top))
    end.advance(100)
    sack(end, 21)
    assert c.cc.ssthresh == 10_000
    assert c.recovery.phase is Phase.FAST or c.cc.cwnd <= 11_000


def test_rfc_3708_dsacks_for_all_that_was_sent_again() -> None:
    """Then it had all arrived."""
    end = flying()
    c = end.connection
    assert 1 in [n for top in (3, 4, 5) for n in sack(end, 1, (2, top))]
    end.advance(20)
    sack(end, end.ack // 1000 + 1)
    assert c.cc.cwnd < 12_000
    sack(end, (c.snd_una - c.iss) // 1000 + 1, (1, 2))
    assert c.cc.cwnd >= 20_000


def test_rfc_5682_the_timeout_was_spurious() -> None:
    """F-RTO: what was sent once, and nothing after the timeout, is acknowledged: a delay, not a loss."""
    end = flying(early_retrans=False)
    c = end.connection
    end.wait()
    assert [s.seq for s in end.expect_all()] == [1]
    assert c.cc.cwnd == 1000
    assert sack(end, 2) == [21, 22]  # step 2b: new data, not retransmissions
    sack(end, 3)  # step 3b
    assert c.recovery.phase is Phase.OPEN
    assert c.cc.cwnd >= 20_000
    assert c.board.lost == 0
    assert c.total_retransmits == 1


def test_rfc_5682_the_timeout_was_right() -> None:
    """Step 3a: a duplicate ACK after the new data: retransmit what is missing."""
    end = flying(early_retrans=False)
    end.wait()
    end.expect(".", seq=1)
    assert sack(end, 2) == [21, 22]
    assert sack(end, 2, (21, 22))[0] == 2
    assert end.connection.recovery.phase is Phase.LOSS


def test_rfc_5682_can_be_switched_off() -> None:
    end = flying(early_retrans=False, frto=False)
    end.wait()
    end.expect(".", seq=1)
    assert sack(end, 2) == [2, 3]


# -- the receiver's side: DSACK (RFC 2883 section 4) ------------------------------------------------------------------------


def blocks(end: WireEnd, start: int, length: int = 100) -> tuple[tuple[int, int], ...]:
    """What the ACK of so many bytes at ``start`` reports."""
    end.send(".", b"x" * length, seq=start)
    return end.expect(".").options.sack


def test_rfc_2883_4_1_1_a_duplicate_of_what_is_acknowledged() -> None:
    end = established(sack=True)
    assert blocks(end, 1) == ()
    assert blocks(end, 1) == ((1, 101),)
    assert blocks(end, 101) == ()  # (2): each duplicate once


def test_rfc_2883_4_1_2_a_duplicate_and_a_hole() -> None:
    end = established(sack=True)
    blocks(end, 1)
    blocks(end, 201)
    assert blocks(end, 1) == ((1, 101), (201, 301))


def test_rfc_2883_4_1_3_a_duplicate_above_the_hole() -> None:
    """The block that contains it follows."""
    end = established(sack=True)
    blocks(end, 201)
    blocks(end, 301)
    assert blocks(end, 201) == ((201, 301), (201, 401))


def test_rfc_2883_4_2_a_part_came_twice() -> None:
    end = established(sack=True)
    blocks(end, 1)
    assert blocks(end, 51) == ((51, 101),)
    blocks(end, 301)
    assert blocks(end, 251) == ((301, 351), (251, 401))


def test_rfc_2883_can_be_switched_off() -> None:
    """net.ipv4.tcp_dsack."""
    end = established(sack=True, dsack=False)
    blocks(end, 1)
    assert blocks(end, 1) == ()
    end = established()
    blocks(end, 1)
    assert blocks(end, 1) == ()
