"""Segments on a synchronized connection: acceptability, ACKs, text (RFC 9293 3.10.7.4; RFC 5961 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wire_end import SYNCHRONIZED, WINDOW, WireEnd, close_wait, closing, established, fin_wait_2, last_ack

from netemu.reasons import Drop, Match
from netemu.tcp.connection import READABLE, URGENT
from netemu.tcp.state import State

Factory = Callable[..., WireEnd]
every_synchronized_state = pytest.mark.parametrize("state", SYNCHRONIZED, ids=lambda f: f.__name__)
in_receiving_states = pytest.mark.parametrize("state", [established, fin_wait_2], ids=lambda f: f.__name__)


def numbers(end: WireEnd) -> tuple[int, int]:
    """(SND.NXT, RCV.NXT), relative."""
    c = end.connection
    return c.snd_nxt - c.iss, c.rcv_nxt - c.irs


# -- data -----------------------------------------------------------------------------------------------------------------


def test_data_both_ways() -> None:
    end = established()
    end.send("P.", b"question")
    end.expect(".", seq=1, ack=9)
    assert end.read() == b"question"
    end.connection.write(b"answer")
    end.expect("P.", seq=1, ack=9, data=b"answer")
    end.send(".", ack=7)
    end.nothing()
    assert end.connection.flight == 0


def test_an_answer_carries_the_ack() -> None:
    """MUST-58: one segment for both."""
    end = established()
    end.send("P.", b"question")
    end.connection.write(b"answer")
    end.expect("P.", seq=1, ack=9, data=b"answer")
    end.nothing()


def test_one_ack_for_a_batch() -> None:
    """MUST-58, MUST-59: all queued segments are processed before the ACK is sent."""
    end = established()
    for _ in range(8):
        end.send(".", b"x" * 1000)
    end.expect(".", ack=8001)
    end.nothing()


def test_write_as_large_segments() -> None:
    """SHLD-28: maximum-size segments; MUST-61: PSH on the last one; SHLD-27: and only there."""
    end = established()
    for _ in range(5):
        end.connection.write(b"x" * 500)
    first, second, third = end.expect_all()
    assert [s.length for s in (first, second, third)] == [1000, 1000, 500]
    assert not first.flags & 8
    assert not second.flags & 8
    assert third.flags & 8


def test_sequence_numbers_wrap() -> None:
    """Some 10 000 bytes each way across 2^32 (the ISNs of this test or another lie just below it)."""
    end = established()
    for i in range(10):
        end.send(".", bytes([i]) * 1000)
        end.connection.write(bytes([i]) * 1000)
        end.expect("P.", seq=1 + 1000 * i, ack=1001 + 1000 * i, data=bytes([i]) * 1000)
        end.send(".")
    assert end.read() == b"".join(bytes([i]) * 1000 for i in range(10))


# -- first: the sequence number ---------------------------------------------------------------------------------------------


@every_synchronized_state
@pytest.mark.parametrize("flags", ["S", "S.", ".", "F.", "P."])
@pytest.mark.parametrize("offset", [WINDOW * 3, -100_000])
def test_outside_the_window(state: Factory, flags: str, offset: int) -> None:
    """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, and dropped (gVisor TCPOutsideTheWindow, ...UnaccSeqAck, AckOTWSeqInClosing)."""
    end = state()
    seq, ack = numbers(end)
    was = end.state
    reason = end.send(flags, b"data" if flags == "P." else b"", seq=ack + offset)
    assert reason in (Drop.OUTSIDE_WINDOW, Drop.DUPLICATE)
    end.expect(".", seq=seq, ack=ack, length=0)
    end.must_be(was)
    end.nothing()


def test_answers_to_segments_outside_the_window_are_limited() -> None:
    """RFC 5961 7: else two stacks could answer each other without end. Data is no part of such a loop and is answered."""
    end = established()
    for _ in range(5):
        end.send(".", seq=100_000)
    end.expect(".")
    end.nothing()
    end.advance(499)
    end.send(".", seq=100_000)
    end.nothing()
    end.advance(1)
    end.send(".", seq=100_000)
    end.expect(".")
    for _ in range(3):
        end.send(".", b"data", seq=-1000)
        end.expect(".", ack=1)


def test_partly_outside_the_window_is_trimmed() -> None:
    """'Segments are trimmed to the window': only the front arrives, the FIN behind it neither."""
    end = established(rcvbuf=2500)
    end.send("F.", b"x" * 3000)
    end.must_be(State.ESTABLISHED)
    end.expect(".", ack=2501, wnd=0)
    assert end.read() == b"x" * 2500


def test_partly_old_is_trimmed() -> None:
    end = established()
    end.send(".", b"abcdef")
    end.send(".", b"defghi", seq=4)
    assert end.read() == b"abcdefghi"
    end.expect(".", ack=10)


def test_an_old_duplicate_is_answered() -> None:
    """A retransmission that crossed our ACK: the peer must learn again where we are. Its ACK field is not taken."""
    end = established()
    end.send(".", b"abcdef")
    end.expect(".", ack=7)
    end.connection.write(b"x" * 10)
    end.expect("P.", seq=1)
    for _ in range(3):
        assert end.send(".", b"abcdef", seq=1, ack=11) is Drop.DUPLICATE
        end.expect(".", seq=11, ack=7)
    assert end.connection.flight == 10
    assert end.read() == b"abcdef"


def test_an_old_fin_is_always_answered() -> None:
    """It takes a sequence number, so it is no ACK; the peer waits for ours."""
    end = close_wait()
    for _ in range(3):
        end.send("F.", seq=1)
        end.expect(".", seq=1, ack=2)
    end.must_be(State.CLOSE_WAIT)


@pytest.mark.parametrize("wnd", [1000, 2500])
def test_an_ack_at_the_right_edge(wnd: int) -> None:
    """The peer has filled our window, and the front of it is lost: its ACKs bear the edge's number and must count."""
    end = established(rcvbuf=wnd)
    end.connection.write(b"x" * 1000)
    end.expect("P.", seq=1)
    end.send(".", b"y" * (wnd - 1), seq=2)
    end.expect(".", ack=1)
    assert end.send(".", seq=wnd + 1, ack=1001) is Match.CONNECTION
    assert end.connection.flight == 0
    assert end.send(".", seq=wnd + 2, ack=1001) is Drop.OUTSIDE_WINDOW


@pytest.mark.parametrize("flags", ["", "U", "F", "P"])
def test_no_ack_bit(flags: str) -> None:
    """Fifth: if the ACK bit is off, drop the segment and return."""
    end = established()
    assert end.send(flags, b"data", seq=1) is Drop.NO_ACK
    end.nothing()
    assert end.read() == b""
    end.must_be(State.ESTABLISHED)


# -- fourth: SYN ----------------------------------------------------------------------------------------------------------


@every_synchronized_state
@pytest.mark.parametrize("flags", ["S", "S.", "SF."])
@pytest.mark.parametrize("offset", [-1, 0, 1000])
def test_syn_is_challenged(state: Factory, flags: str, offset: int) -> None:
    """RFC 5961 4.2: whatever its sequence number, a SYN only brings a challenge ACK; once in 500 ms."""
    end = state()
    seq, ack = numbers(end)
    was = end.state
    end.send(flags, seq=ack + offset)
    end.expect(".", seq=seq, ack=ack, length=0)
    end.send(flags, seq=ack + offset)
    end.nothing()
    end.must_be(was)


# -- fifth: ACK -----------------------------------------------------------------------------------------------------------


@every_synchronized_state
def test_ack_of_what_was_never_sent(state: Factory) -> None:
    """'If the ACK acks something not yet sent, then send an ACK, drop the segment'."""
    end = state()
    seq, ack = numbers(end)
    assert end.send(".", ack=seq + 1) is Drop.BAD_ACK
    end.expect(".", seq=seq, ack=ack, length=0)
    assert end.connection.snd_una - end.connection.iss <= seq


def test_data_with_a_bad_ack_is_not_taken_and_the_answer_is_limited() -> None:
    """RFC 5961 5.2 and 7: the challenge is limited whatever the segment carries."""
    end = established()
    assert end.send(".", b"evil", seq=1, ack=1000) is Drop.BAD_ACK
    end.expect(".", ack=1)
    assert end.send(".", b"evil", seq=1, ack=1000) is Drop.BAD_ACK
    end.nothing()
    assert end.read() == b""


def test_very_old_acks_are_challenged() -> None:
    """MAY-12, RFC 5961 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT."""
    end = established(wnd=2000)
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    end.send(".", ack=1001)
    assert end.send(".", b"evil", seq=1, ack=-1000) is Drop.OLD_ACK
    end.expect(".", ack=1)
    assert end.read() == b""


def test_old_acks_bring_data() -> None:
    """'If the ACK is a duplicate it can be ignored' – the rest of the segment counts."""
    end = established()
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    end.send(".", ack=1001)
    end.send(".", b"data", ack=500)
    assert end.read() == b"data"
    assert end.connection.snd_una - end.connection.iss == 1001


def test_an_ack_frees_the_send_buffer() -> None:
    end = established()
    end.connection.write(b"x" * 3000)
    end.expect_all()
    end.send(".", ack=1501)
    assert len(end.connection.sendbuf) == 1500
    end.send(".", ack=3001)
    assert len(end.connection.sendbuf) == 0
    assert end.next_timer() == 1 << 62


# -- sixth to eighth: URG, text, FIN -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [close_wait, closing, last_ack], ids=lambda f: f.__name__)
def test_text_after_the_fin_is_ignored(state: Factory) -> None:
    """Seventh: 'This should not occur since a FIN has been received from the remote side. Ignore the segment text.'"""
    end = state()
    was = end.state
    end.take_events()
    assert end.send("PU.", b"more", ack=1, urg=4) is Drop.DUPLICATE
    end.nothing()
    assert end.read() == b""
    assert not end.take_events() & (READABLE | URGENT)
    end.must_be(was)


@in_receiving_states
def test_out_of_order_is_kept(state: Factory) -> None:
    """SHLD-31; MAY-13: acknowledged at once."""
    end = state()
    end.send(".", b"world", seq=7)
    end.expect(".", ack=1)
    assert end.read() == b""
    end.send(".", b"hello ", seq=1)
    end.expect(".", ack=12)
    assert end.read() == b"hello world"


@in_receiving_states
def test_fin_ahead_of_its_data(state: Factory) -> None:
    """'FIN after a hole': processed when its turn comes."""
    end = state()
    was = end.state
    end.send("F.", b"world", seq=7)
    end.expect(".", ack=1)
    end.must_be(was)
    end.send(".", b"hello ", seq=1)
    end.expect(".", ack=13)
    assert end.state in (State.CLOSE_WAIT, State.TIME_WAIT)
    assert end.read() == b"hello world"


def test_fin_ahead_of_its_data_alone() -> None:
    end = established()
    end.send("F.", seq=7)
    end.expect(".", ack=1)
    end.send(".", b"hello ", seq=1)
    end.expect(".", ack=8)
    end.must_be(State.CLOSE_WAIT)
    assert end.connection.reassembly is None


def test_a_fin_that_data_overtakes_is_forgotten() -> None:
    """Only a confused peer has data beyond its FIN; nothing may hang on it."""
    end = established()
    end.send("F.", seq=4)
    end.send(".", b"abcdef")
    assert end.read() == b"abcdef"
    assert end.connection.reassembly is None
    end.must_be(State.ESTABLISHED)
    end.send("F.")
    end.must_be(State.CLOSE_WAIT)


def test_data_before_accept() -> None:
    """gVisor TCPAckBeforeAccept: what nobody has accepted yet is kept and acknowledged all the same."""
    end = established()
    end.send("P.", b"early")
    end.expect(".", ack=6)
    end.send("F.")
    end.expect(".", ack=7)
    assert end.read() == b"early"
    assert end.connection.at_eof


# -- super-segments -------------------------------------------------------------------------------------------------------


def test_a_super_segment_arrives() -> None:
    """64 KiB in one, as the kernel hands it over; acknowledged at once."""
    end = established(rcvbuf=1 << 20, wscale=7)
    end.send(".")
    data = bytes(range(256)) * 255
    end.send("P.", data, gso=1000)
    end.expect(".", ack=len(data) + 1)
    assert end.read() == data


def test_a_super_segment_that_overlaps_and_exceeds() -> None:
    end = established(rcvbuf=20_000)
    end.send(".", b"a" * 5000)
    end.send("P.", b"a" * 3000 + b"b" * 30_000, seq=2001, gso=1000)
    assert end.read() == b"a" * 5000 + b"b" * 15_000
    end.expect(".", ack=20_001)


def test_super_segments_leave() -> None:
    """Up to ``limit`` bytes of payload, in multiples of the MSS but for the last."""
    end = established(limit=65415, wscale=7, wnd=2000)
    end.connection.cc.cwnd = 1 << 20
    end.connection.write(b"x" * 150_000)
    first, second, third = end.expect_all()
    assert [(s.length, s.gso_size) for s in (first, second, third)] == [(65000, 1000), (65000, 1000), (20000, 1000)]
    assert third.flags & 8
    assert not first.flags & 8


def test_a_super_segment_obeys_the_windows() -> None:
    end = established(limit=65415, wnd=5500)
    end.connection.write(b"x" * 50_000)
    sent = end.expect_all()
    assert [s.length for s in sent] == [5000]  # sender SWS avoidance: 500 bytes are not worth a segment
    end.send(".", wnd=30_000)
    sent = end.expect_all()
    assert [(s.seq, s.length) for s in sent] == [(5001, 10_000)]  # cwnd had not been in the way, so it has not grown


def test_a_super_segment_that_is_no_more_than_one() -> None:
    end = established(limit=65415)
    end.connection.write(b"x" * 1000)
    assert end.expect("P.", length=1000).gso_size == 0
