"""Passive and simultaneous opening: SYN-RECEIVED (RFC 9293 3.5, 3.10.7.2, 3.10.7.4; figures 6, 7 and 8)."""

from __future__ import annotations

import errno

import pytest
from wire_end import WireEnd, established, simultaneous, syn_received

from netemu.reasons import Close, Drop, Match, Reset
from netemu.tcp.connection import CONNECTED, ENDED, READABLE, WRITABLE
from netemu.tcp.state import State
from netemu.wire.tcp import ACK, RST, SYN, Segment, reset_for


def test_passive_open() -> None:
    """Figure 6, seen from the listener."""
    end = WireEnd()
    end.send("S")
    end.expect("S.", seq=0, ack=1, length=0)
    end.must_be(State.SYN_RECEIVED)
    end.nothing()
    assert end.send(".", ack=1) is Match.CONNECTION
    end.must_be(State.ESTABLISHED)
    assert end.take_events() & (CONNECTED | WRITABLE) == CONNECTED | WRITABLE
    end.nothing()
    assert end.next_timer() == 1 << 62


def test_the_ack_may_bring_data() -> None:
    end = syn_received()
    end.send("P.", b"hello")
    end.must_be(State.ESTABLISHED)
    assert end.take_events() & (CONNECTED | READABLE) == CONNECTED | READABLE
    end.expect(".", ack=6)
    assert end.read() == b"hello"


def test_the_ack_may_bring_data_and_fin() -> None:
    end = syn_received()
    end.send("F.", b"hello")
    end.must_be(State.CLOSE_WAIT)
    end.expect(".", ack=7)
    assert end.read() == b"hello"
    assert end.connection.at_eof


def test_fin_in_syn_received() -> None:
    """Data and FIN with the handshake's ACK, out of order: the FIN first."""
    end = syn_received()
    end.send("F.", seq=6)
    end.must_be(State.ESTABLISHED)
    end.expect(".", ack=1)
    end.send(".", b"hello")
    end.must_be(State.CLOSE_WAIT)
    end.expect(".", ack=7)


@pytest.mark.parametrize("ack", [-100, 0, 2, 3, 1 << 20])
def test_a_wrong_ack_is_answered_with_a_reset(ack: int) -> None:
    """3.10.7.4, fifth, SYN-RECEIVED: <SEQ=SEG.ACK><CTL=RST>; the connection waits on."""
    end = syn_received()
    assert end.send(".", ack=ack) is Drop.BAD_HANDSHAKE_ACK
    end.expect("R", seq=ack)
    end.must_be(State.SYN_RECEIVED)
    assert end.send(".", ack=1) is Match.CONNECTION
    end.must_be(State.ESTABLISHED)


def test_no_ack_no_connection() -> None:
    end = syn_received()
    assert end.send("", b"data", seq=1) is Drop.NO_ACK
    end.must_be(State.SYN_RECEIVED)
    end.nothing()


def test_reset_returns_to_listen() -> None:
    """3.10.7.4, second: MUST-11, it came from a passive open, so nobody is told 'refused'."""
    end = syn_received()
    assert end.send("R") is Match.CONNECTION
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.RESET_BY_PEER
    end.nothing()


def test_reset_elsewhere_in_the_window_is_challenged() -> None:
    """RFC 5961 3.2 holds in SYN-RECEIVED too."""
    end = syn_received()
    assert end.send("R", seq=100) is Drop.RST_CHALLENGED
    end.expect(".", seq=1, ack=1)
    assert end.send("R", seq=100_000) is Drop.RST_OUTSIDE_WINDOW
    end.nothing()
    end.must_be(State.SYN_RECEIVED)


def test_the_same_syn_again_gets_the_same_answer() -> None:
    """Our SYN-ACK was lost."""
    end = syn_received()
    end.advance(700)
    assert end.send("S", seq=0) is Drop.DUPLICATE
    end.expect("S.", seq=0, ack=1)
    end.nothing()
    end.send(".")
    end.must_be(State.ESTABLISHED)


def test_the_same_syn_again_is_not_timed() -> None:
    """Karn: the ACK may be for either SYN-ACK (RFC 6298 section 3)."""
    end = syn_received()
    end.advance(700)
    end.send("S", seq=0)
    end.expect("S.")
    end.advance(1)
    end.send(".")
    assert end.connection.rtt.srtt == 0


def test_the_same_syn_with_data_again() -> None:
    """A SYN may carry data, which is not taken until the handshake is done; again it is a duplicate all the same."""
    end = WireEnd()
    end.send("S", b"early")
    end.expect("S.", ack=1)
    assert end.send("S", b"early", seq=0) is Drop.DUPLICATE
    end.expect("S.", ack=1)
    end.send(".", b"early", seq=1)
    end.expect(".", ack=6)
    assert end.read() == b"early"


def test_another_syn_in_the_window_returns_to_listen() -> None:
    """3.10.7.4, fourth: SYN-RECEIVED of a passive open."""
    end = syn_received()
    assert end.send("S", seq=500) is Drop.SYN_CHALLENGED
    end.must_be(State.CLOSED)
    end.nothing()


def test_another_syn_in_the_window_of_an_active_open_is_challenged() -> None:
    end = simultaneous()
    assert end.send("S", seq=500) is Drop.SYN_CHALLENGED
    end.expect(".", seq=1, ack=1)
    end.must_be(State.SYN_RECEIVED)


def test_a_segment_outside_the_window_is_answered_with_an_ack() -> None:
    """3.10.7.4, first: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>; the handshake is not disturbed (gVisor SynRcvdBadSeqNumber)."""
    end = syn_received()
    assert end.send(".", b"x", seq=200_000) is Drop.OUTSIDE_WINDOW
    end.expect(".", seq=1, ack=1)
    end.must_be(State.SYN_RECEIVED)


def test_syn_ack_is_retransmitted_and_given_up() -> None:
    """MUST-22, MUST-19: exponential intervals; tcp_synack_retries of them, then CLOSED without a RST."""
    end = WireEnd()
    end.send("S")
    end.expect("S.")
    for wait in (1000, 2000, 4000, 8000, 16000):
        assert end.wait() == wait
        end.expect("S.", seq=0, ack=1)
    assert end.run() == 32000
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.TIMED_OUT
    assert end.connection.error == errno.ETIMEDOUT
    end.nothing()


def test_a_full_accept_queue_does_not_hear_the_ack() -> None:
    """As Linux: SYN-RECEIVED goes on, the SYN-ACK goes again, a later ACK finds room. Data waits with it."""
    end = syn_received()
    room = False
    end.connection.may_establish = lambda: room
    assert end.send(".") is Drop.ACCEPT_QUEUE_FULL
    assert end.send("P.", b"data", seq=1) is Drop.ACCEPT_QUEUE_FULL
    end.nothing()
    end.must_be(State.SYN_RECEIVED)
    assert end.wait() == 1000
    end.expect("S.", seq=0, ack=1)
    room = True
    assert end.send("P.", b"data") is Match.CONNECTION
    end.must_be(State.ESTABLISHED)
    end.expect(".", ack=5)
    assert end.read() == b"data"


def test_close_in_syn_received() -> None:
    """3.10.4: the FIN waits for the handshake's end and for what was written."""
    end = syn_received()
    end.connection.write(b"bye")
    end.connection.shutdown_write()
    end.must_be(State.FIN_WAIT_1)
    end.nothing()
    end.send(".", ack=1)
    end.expect("F.", seq=1, ack=1, data=b"bye")
    end.send(".", ack=5)
    end.must_be(State.FIN_WAIT_2)


def test_close_in_syn_received_still_retransmits_the_syn_ack() -> None:
    end = syn_received()
    end.connection.shutdown_write()
    assert end.wait() == 1000
    end.expect("S.", seq=0, ack=1)
    assert end.send("S", seq=0) is Drop.DUPLICATE  # and answers the SYN that comes again
    end.expect("S.", seq=0, ack=1)
    end.send(".", ack=1)
    end.expect("F.", seq=1)


def test_abort_in_syn_received() -> None:
    """3.10.5: <SEQ=SND.NXT><CTL=RST>."""
    end = syn_received()
    end.connection.abort(Reset.LISTENER_CLOSED, Close.LISTENER_CLOSED)
    end.expect("R.", seq=1, ack=1)
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.LISTENER_CLOSED
    assert end.take_events() == ENDED
    end.nothing()
    assert end.send(".") is Drop.CONNECTION_CLOSED


def test_nothing_is_sent_before_the_handshake_is_done() -> None:
    end = syn_received()
    end.connection.write(b"x" * 5000)
    end.nothing()
    end.send(".", ack=1)
    end.expect(".", seq=1, length=1000)


# -- both at once -----------------------------------------------------------------------------------------------------------


def test_simultaneous_open() -> None:
    """MUST-10, figure 7: SYN and SYN cross, then SYN-ACK and SYN-ACK."""
    end = simultaneous()
    end.must_be(State.SYN_RECEIVED)
    assert end.send("S.", seq=0) is Match.CONNECTION
    end.must_be(State.ESTABLISHED)
    end.nothing()
    end.send("P.", b"data")
    end.expect(".", seq=1, ack=5)


def test_simultaneous_open_ended_by_a_plain_ack() -> None:
    end = simultaneous()
    end.send(".", ack=1)
    end.must_be(State.ESTABLISHED)


def test_simultaneous_open_with_data_in_the_syn_ack() -> None:
    end = simultaneous()
    end.nxt = 0
    end.send("S.", b"early")
    end.must_be(State.ESTABLISHED)
    end.expect(".", seq=1, ack=6)


def test_simultaneous_open_does_not_scale_the_window_of_a_syn() -> None:
    """RFC 7323 2.2: the window in a SYN is never scaled, the crossed SYN-ACK's is none either."""
    end = simultaneous(wscale=7, wnd=2000)
    end.send("S.", seq=0, wnd=2000)
    end.must_be(State.ESTABLISHED)
    assert 1800 < end.connection.snd_wnd <= 2000


def test_simultaneous_open_is_not_timed() -> None:
    """Our SYN went twice: Karn."""
    end = simultaneous()
    end.advance(50)
    end.send("S.", seq=0)
    assert end.connection.rtt.srtt == 0


def test_simultaneous_open_reset() -> None:
    """MUST-11: it came from an active open, so it was refused (gVisor TCPSynSentRcvdReset)."""
    end = simultaneous()
    end.send("R", seq=1)
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.REFUSED
    assert end.connection.error == errno.ECONNREFUSED


def test_simultaneous_open_has_the_retries_of_an_active_one() -> None:
    end = WireEnd(syn_retries=6, synack_retries=1)
    end.connection.open_active(end.now)
    end.expect("S")
    for _ in range(3):
        end.wait()
        end.expect("S")
    end.send("S")
    end.expect("S.", seq=0, ack=1)
    for _ in range(3):
        end.wait()
        end.expect("S.", seq=0, ack=1)
    end.must_be(State.SYN_RECEIVED)
    end.run()
    assert end.connection.close_reason is Close.TIMED_OUT


def test_closing_during_a_simultaneous_open() -> None:
    end = simultaneous()
    end.connection.shutdown_write()
    assert end.send("S.", seq=0) is Match.CONNECTION
    end.expect("F.", seq=1, ack=1)
    end.must_be(State.FIN_WAIT_1)


# -- recovery from old duplicates ---------------------------------------------------------------------------------------


def test_old_duplicate_syn() -> None:
    """Figure 8: the listener answers an old SYN, the peer resets, and the true SYN gets a connection of its own."""
    end = syn_received()
    assert end.send("R", seq=1) is Match.CONNECTION
    end.must_be(State.CLOSED)


def test_half_open_discovered_by_a_syn() -> None:
    """Figure 9: the peer has crashed and comes again; our ACK makes it send the RST that ends the old connection."""
    end = established()
    assert end.send("S", seq=20_000_000) is Drop.OUTSIDE_WINDOW
    challenge = end.expect(".", seq=1, ack=1)
    end.send("R", seq=challenge.ack)
    assert end.connection.close_reason is Close.RESET_BY_PEER


@pytest.mark.parametrize(
    ("segment", "reset"),
    [
        (Segment(7, 99, ACK, 0), (99, 0, RST)),
        (Segment(7, 99, SYN | ACK, 0), (99, 0, RST)),
        (Segment(7, 0, SYN, 0), (0, 8, RST | ACK)),
        (Segment(7, 0, 0, 0, (b"abc",), 3), (0, 10, RST | ACK)),
    ],
)
def test_reset_for_what_belongs_to_nobody(segment: Segment, reset: tuple[int, int, int]) -> None:
    """3.10.7.1: with an ACK <SEQ=SEG.ACK><CTL=RST>, without <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>."""
    answer = reset_for(segment)
    assert (answer.seq, answer.ack, answer.flags) == reset
