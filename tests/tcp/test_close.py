"""Closing (RFC 9293 3.6, 3.10.4, figures 12 and 13) and the states from FIN-WAIT-1 to LAST-ACK."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from wire_end import (
    WireEnd,
    close_wait,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    syn_received,
    time_wait,
)

from netemu.reasons import Close, Drop, Match
from netemu.tcp.config import NEVER
from netemu.tcp.connection import ENDED, READABLE
from netemu.tcp.state import State

Factory = Callable[..., WireEnd]


def test_we_close_first() -> None:
    """Figure 12, left: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT."""
    end = established()
    end.close()
    end.expect("F.", seq=1, ack=1)
    end.must_be(State.FIN_WAIT_1)
    end.send(".", ack=2)
    end.must_be(State.FIN_WAIT_2)
    end.send("F.", ack=2)
    end.expect(".", seq=2, ack=2)
    end.must_be(State.TIME_WAIT)
    end.nothing()


def test_the_peer_closes_first() -> None:
    """Figure 12, right: CLOSE-WAIT, LAST-ACK, CLOSED."""
    end = established()
    end.send("F.")
    end.expect(".", seq=1, ack=2)
    end.must_be(State.CLOSE_WAIT)
    assert end.take_events() & READABLE
    assert end.connection.at_eof
    end.close()
    end.expect("F.", seq=1, ack=2)
    end.must_be(State.LAST_ACK)
    end.send(".", ack=2)
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.NORMAL
    assert end.take_events() & ENDED
    assert end.connection.error == 0
    end.nothing()


def test_simultaneous_close() -> None:
    """Figure 13: FIN and FIN cross, then ACK and ACK."""
    end = fin_wait_1()
    end.send("F.", ack=1)
    end.expect(".", seq=2, ack=2)
    end.must_be(State.CLOSING)
    end.send(".", ack=2)
    end.nothing()
    end.must_be(State.TIME_WAIT)


def test_simultaneous_close_with_the_ack_in_the_fin() -> None:
    """FIN-WAIT-1 straight to TIME-WAIT: the peer's FIN acknowledges ours."""
    end = fin_wait_1()
    end.send("F.", ack=2)
    end.expect(".", seq=2, ack=2)
    end.must_be(State.TIME_WAIT)


def test_simultaneous_close_before_our_fin_has_left() -> None:
    """The peer's FIN arrives in the same batch as our CLOSE: CLOSING, and our FIN carries the ACK."""
    end = established()
    end.connection.shutdown_write()
    end.send("F.", ack=1)
    end.must_be(State.CLOSING)
    end.expect("F.", seq=1, ack=2)
    end.nothing()
    end.send(".", ack=2)
    end.nothing()
    end.must_be(State.TIME_WAIT)


def test_simultaneous_close_with_data_both_ways() -> None:
    end = established()
    end.connection.write(b"last words")
    end.connection.shutdown_write()
    end.expect("F.", seq=1, data=b"last words")
    end.send("F.", b"mine too", ack=1)
    end.expect(".", seq=12, ack=10)
    end.must_be(State.CLOSING)
    assert end.read() == b"mine too"
    end.send(".", ack=12)
    end.nothing()
    end.must_be(State.TIME_WAIT)


def test_simultaneous_close_our_fin_was_lost() -> None:
    """CLOSING goes on to retransmit (gVisor TCPClosingFinRetransmission)."""
    end = closing()
    assert end.wait() == 200
    end.expect("F.", seq=1, ack=2)
    end.send(".", ack=2)
    end.nothing()
    end.must_be(State.TIME_WAIT)


@pytest.mark.parametrize("state", [fin_wait_1, closing, last_ack], ids=lambda f: f.__name__)
def test_the_fin_is_retransmitted(state: Factory) -> None:
    """In every state that has one outstanding, with doubling intervals (RFC 6298 5.5), until R2."""
    end = state(retries2=4)
    was = end.state
    ack = end.connection.rcv_nxt - end.connection.irs
    assert [(end.wait(), end.expect("F.", seq=1, ack=ack).length) for _ in range(4)] == [
        (200, 0),
        (400, 0),
        (800, 0),
        (1600, 0),
    ]
    end.must_be(was)
    end.run()
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.TIMED_OUT
    assert end.take_events() & ENDED


def test_fin_with_data() -> None:
    end = established()
    end.connection.write(b"x" * 2500)
    end.close()
    end.expect(".", seq=1, length=1000)
    end.expect(".", seq=1001, length=1000)
    end.expect("FP.", seq=2001, length=500)
    end.send(".", ack=2502)
    end.must_be(State.FIN_WAIT_2)


def test_fin_waits_for_the_data_before_it() -> None:
    """gVisor FinWithPendingDataCwndFull: neither window holds everything."""
    end = established()
    end.connection.write(b"x" * 12_000)
    end.close()
    assert sum(s.length for s in end.expect_all()) == 10_000
    end.send(".")
    assert [(s.length, s.flags & 1) for s in end.expect_all()] == [(1000, 0), (1000, 1)]


def test_a_partial_ack_is_not_the_fins() -> None:
    """FIN-WAIT-1 and LAST-ACK stay until the FIN itself is acknowledged (smoltcp's 'partial ack')."""
    for state in (established, close_wait):
        end = state()
        end.connection.write(b"hello")
        end.connection.shutdown_write()
        end.expect("F.", data=b"hello")
        was = end.state
        end.send(".", ack=6)
        end.must_be(was)
        end.send(".", ack=7)
        assert end.state in (State.FIN_WAIT_2, State.CLOSED)


def test_data_and_fin_are_retransmitted_together() -> None:
    end = established()
    end.connection.write(b"hello")
    end.connection.shutdown_write()
    end.expect("F.", data=b"hello")
    end.wait()
    end.expect("FP.", seq=1, data=b"hello")
    end.send(".", ack=6)
    assert end.wait() == 400  # the FIN alone; RTO is backed off until something is measured (Karn)
    end.expect("F.", seq=6, length=0)


def test_half_close() -> None:
    """We are done, the peer is not: FIN-WAIT-2 receives and acknowledges."""
    end = fin_wait_2()
    for i in range(5):
        end.send("P.", b"x" * 1000, ack=2)
        end.expect(".", seq=2, ack=1001 + i * 1000)
    assert end.read() == b"x" * 5000
    with pytest.raises(BrokenPipeError):
        end.connection.write(b"no more")
    end.send("F.", ack=2)
    end.expect(".", ack=5002)
    end.must_be(State.TIME_WAIT)


def test_half_close_by_the_peer() -> None:
    """The peer is done, we are not: CLOSE-WAIT sends."""
    end = close_wait()
    end.connection.write(b"x" * 3000)
    assert [s.length for s in end.expect_all()] == [1000] * 3
    end.send(".")
    end.connection.shutdown_write()
    end.expect("F.", seq=3001, ack=2)


def test_fin_wait_2_waits_for_ever_while_somebody_holds_it() -> None:
    end = fin_wait_2()
    assert end.next_timer() == NEVER


def test_fin_wait_2_of_an_orphan_ends() -> None:
    """tcp_fin_timeout; a late segment finds CLOSED and gets a RST from the host (gVisor FinWait2Timeout)."""
    end = fin_wait_2(orphan=True)
    assert end.run() == 60_000
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.FIN_WAIT_2_TIMEOUT
    assert end.take_events() & ENDED
    end.nothing()


def test_fin_wait_2_that_becomes_an_orphan_ends() -> None:
    end = fin_wait_2()
    end.advance(100_000)
    end.close()
    assert end.run() == 60_000
    assert end.connection.close_reason is Close.FIN_WAIT_2_TIMEOUT


def test_closing_twice_does_not_restart_the_timer() -> None:
    end = fin_wait_2(orphan=True)
    end.advance(30_000)
    end.close()
    assert end.run() == 30_000


def test_fin_wait_2_timer_ends_with_the_state() -> None:
    end = fin_wait_2(orphan=True)
    end.send("F.", ack=2)
    end.expect(".", ack=2)
    end.must_be(State.TIME_WAIT)
    assert end.connection.next_timer() == NEVER


def test_close_with_unread_data() -> None:
    """SHLD-3: a RST, so that the peer learns that its data was lost (gVisor RstOnCloseWithUnreadData)."""
    for state in (established, fin_wait_2):
        end = state()
        end.send("P.", b"unread")
        end.expect(".")
        end.close()
        end.expect("R.", ack=7)
        end.nothing()
        end.must_be(State.CLOSED)


def test_close_with_unread_data_behind_the_peers_fin() -> None:
    """gVisor RstOnCloseWithUnreadDataFinConvertRst; whatever the state, the peer must know."""
    end = established()
    end.send("F.", b"unread")
    end.expect(".", ack=8)
    end.connection.shutdown_write()
    end.expect("F.", seq=1)
    end.must_be(State.LAST_ACK)
    end.close()
    end.expect("R.", seq=2, ack=8)
    end.must_be(State.CLOSED)


def test_close_with_read_data_is_normal() -> None:
    end = established()
    end.send("P.", b"read")
    end.expect(".")
    end.read()
    end.close()
    end.expect("F.", seq=1)


def test_data_after_close() -> None:
    """SHLD-3: nobody will ever read it."""
    for state in (fin_wait_1, fin_wait_2):
        end = state(orphan=True)
        ack = end.connection.snd_una - end.connection.iss
        assert end.send("P.", b"too late", ack=ack) is Drop.DATA_AFTER_CLOSE
        end.expect("R.")
        end.nothing()
        end.must_be(State.CLOSED)


def test_old_data_after_close_is_only_a_duplicate() -> None:
    end = established()
    end.send("P.", b"data")
    end.expect(".", ack=5)
    end.read()
    end.close()
    end.expect("F.", seq=1, ack=5)
    assert end.send("P.", b"data", seq=1, ack=1) is Drop.DUPLICATE
    end.expect(".", seq=2, ack=5)
    end.must_be(State.FIN_WAIT_1)


def test_shutdown_reads_on() -> None:
    """Only CLOSE makes later data an error (MAY-1), not the end of sending."""
    end = fin_wait_1()
    assert end.send("P.", b"still welcome", ack=1) is Match.CONNECTION
    end.expect(".", ack=14)


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (syn_received, State.FIN_WAIT_1),
        (established, State.FIN_WAIT_1),
        (fin_wait_1, State.FIN_WAIT_1),
        (fin_wait_2, State.FIN_WAIT_2),
        (closing, State.CLOSING),
        (close_wait, State.LAST_ACK),
        (last_ack, State.LAST_ACK),
        (time_wait, State.TIME_WAIT),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_close_in_every_state(state: Factory, after: State) -> None:
    """3.10.4; a second CLOSE changes nothing and raises nothing."""
    end = state()
    end.take_events()
    end.close()
    end.must_be(after)
    end.close()
    end.must_be(after)
    assert not end.take_events() & ENDED


def test_close_in_time_wait_leaves_unread_data_alone() -> None:
    """Everything was exchanged: no RST, and TIME-WAIT goes on."""
    end = fin_wait_2()
    end.send("F.", b"unread", ack=2)
    end.expect(".", ack=8)
    end.nothing()
    end.close()
    end.nothing()
    end.must_be(State.TIME_WAIT)
    assert end.time_wait is not None


def test_unread_data_survives_a_normal_end() -> None:
    end = established()
    end.send("F.", b"unread")
    end.expect(".", ack=8)
    end.connection.shutdown_write()
    end.expect("F.")
    end.send(".", ack=2)
    end.must_be(State.CLOSED)
    assert end.read() == b"unread"
    assert end.connection.at_eof


def test_write_after_close() -> None:
    for state in (fin_wait_1, fin_wait_2, closing, last_ack, time_wait):
        end = state()
        with pytest.raises(OSError, match="closed") as error:
            end.connection.write(b"x")
        assert error.value.errno == errno.EPIPE


def test_an_orphan_gives_up_sooner() -> None:
    """tcp_orphan_retries: R2 of a connection that nobody holds any more."""
    end = fin_wait_1(orphan=True, orphan_retries=3)
    for _ in range(3):
        end.wait()
        end.expect("F.", seq=1)
    end.run()
    assert end.connection.close_reason is Close.TIMED_OUT


def test_fin_needs_room_in_the_window() -> None:
    """It takes a sequence number: into a closed window it goes no sooner than data would; it is probed for."""
    end = established(wnd=1000)
    end.connection.write(b"x" * 1000)
    end.close()
    end.expect("P.", seq=1, length=1000)
    end.nothing()
    end.send(".", wnd=0)
    assert end.wait() == 200
    end.expect(".", seq=1000, length=0)
    end.send(".", wnd=0)
    assert end.wait() == 400
    end.expect(".", seq=1000, length=0)
    end.send(".", wnd=500)
    end.expect("F.", seq=1001, length=0)
    end.send(".", ack=1002)
    end.must_be(State.FIN_WAIT_2)


def test_fin_into_a_window_that_its_data_fills() -> None:
    end = established(wnd=1000)
    end.connection.write(b"x" * 1000)
    end.connection.shutdown_write()
    assert not end.expect("P.", length=1000).flags & 1
    end.send(".", ack=1001, wnd=1000)
    end.expect("F.", seq=1001)


def test_a_bare_fin_is_taken_with_a_closed_window() -> None:
    """It needs no buffer; and until it is taken the peer's ACKs, numbered behind it, lie outside the window."""
    end = established(rcvbuf=1000)
    end.connection.write(b"y" * 100)
    end.expect("P.")
    end.send(".", b"x" * 1000, ack=1)
    end.advance(40)
    end.expect(".", ack=1001, wnd=0)
    assert end.send("F.", ack=1) is Match.CONNECTION
    end.expect(".", ack=1002, wnd=0)
    end.must_be(State.CLOSE_WAIT)
    assert end.send(".", ack=101) is Match.CONNECTION
    assert end.connection.flight == 0
    assert end.read() == b"x" * 1000


def test_a_fin_just_behind_the_window() -> None:
    """Data that fills the window, and the FIN with it."""
    end = established(rcvbuf=1000)
    end.send("F.", b"x" * 1000)
    end.expect(".", ack=1002, wnd=0)
    end.must_be(State.CLOSE_WAIT)
    end.connection.write(b"answer")
    end.expect("P.", ack=1002, wnd=0)
