"""RST, and what else ends a connection at once (RFC 9293 3.5.2, 3.5.3, 3.10.5, 3.10.7.4; RFC 5961 3)."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from wire_end import (
    SYNCHRONIZED,
    WireEnd,
    close_wait,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    last_ack,
    syn_received,
    syn_sent,
    time_wait,
)

from netemu.reasons import Close, Drop, Match, Reset
from netemu.tcp.connection import ENDED
from netemu.tcp.state import State

Factory = Callable[..., WireEnd]
every_synchronized_state = pytest.mark.parametrize("state", SYNCHRONIZED, ids=lambda f: f.__name__)


def rcv_nxt(end: WireEnd) -> int:
    return end.connection.rcv_nxt - end.connection.irs


@every_synchronized_state
@pytest.mark.parametrize("flags", ["R", "R."])
def test_at_rcv_nxt_it_ends_the_connection(state: Factory, flags: str) -> None:
    """RFC 5961 3.2 (1); ENDED is told once."""
    end = state()
    end.take_events()
    assert end.send(flags, seq=rcv_nxt(end)) is Match.CONNECTION
    end.must_be(State.CLOSED)
    assert end.take_events() & ENDED
    assert end.next_timer() == 1 << 62
    end.nothing()
    assert end.send("R", seq=rcv_nxt(end)) is Drop.CONNECTION_CLOSED
    assert end.take_events() == 0


@every_synchronized_state
@pytest.mark.parametrize("offset", [1, 1000])
def test_elsewhere_in_the_window_it_is_challenged(state: Factory, offset: int) -> None:
    """RFC 5961 3.2 (2), and the peer that meant it answers with the exact number. Limited, whatever it carries."""
    end = state()
    assert end.send("R", b"why", seq=rcv_nxt(end) + offset) is Drop.RST_CHALLENGED
    challenge = end.expect(".", length=0)
    assert end.send("R", b"why", seq=rcv_nxt(end) + offset) is Drop.RST_CHALLENGED
    end.nothing()
    end.send("R", seq=challenge.ack)
    end.must_be(State.CLOSED)


@every_synchronized_state
@pytest.mark.parametrize("offset", [-1, -1000, 100_000])
def test_outside_the_window_it_is_dropped(state: Factory, offset: int) -> None:
    """RFC 5961 3.2 (3): without an answer."""
    end = state()
    was = end.state
    assert end.send("R", seq=rcv_nxt(end) + offset) is Drop.RST_OUTSIDE_WINDOW
    end.nothing()
    end.must_be(was)


def test_it_may_carry_data() -> None:
    """SHLD-2."""
    end = established()
    assert end.send("R.", b"the reason why") is Match.CONNECTION
    end.must_be(State.CLOSED)


@pytest.mark.parametrize("data", [b"", b"why"])
def test_with_a_closed_window(data: bytes) -> None:
    """MUST-66: RSTs are processed even then."""
    end = established(rcvbuf=1000)
    end.send(".", b"x" * 1000)
    end.expect(".", wnd=0)
    assert end.send("R", seq=1002) is Drop.RST_OUTSIDE_WINDOW
    end.send("R", data)
    end.must_be(State.CLOSED)


def test_right_edge() -> None:
    """A RST is taken by the strict rule: the edge is outside."""
    end = established(rcvbuf=5000)
    assert end.send("R", seq=5001) is Drop.RST_OUTSIDE_WINDOW
    assert end.send("R", seq=5000) is Drop.RST_CHALLENGED


def test_what_came_before_a_reset_can_still_be_read() -> None:
    """As Linux: it was acknowledged. And MUST-12: the application learns that it was no normal close."""
    end = established()
    end.send("P.", b"unread")
    end.send("R")
    assert end.read() == b"unread"
    assert end.connection.error == errno.ECONNRESET
    with pytest.raises(ConnectionResetError):
        end.connection.write(b"more")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (established, Close.RESET_BY_PEER),
        (fin_wait_1, Close.RESET_BY_PEER),
        (fin_wait_2, Close.RESET_BY_PEER),
        (close_wait, Close.RESET_BY_PEER),
        (closing, Close.NORMAL),
        (last_ack, Close.NORMAL),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_which_end_it_is(state: Factory, reason: Close) -> None:
    """MUST-12; in CLOSING and LAST-ACK everything had arrived, so 3.10.7.4 only says 'enter the CLOSED state'."""
    end = state()
    end.send("R", seq=rcv_nxt(end))
    assert end.connection.close_reason is reason


def test_in_last_ack_with_data_outstanding_it_is_no_normal_end() -> None:
    end = close_wait()
    end.connection.write(b"lost")
    end.close()
    end.expect("F.", data=b"lost")
    end.send("R")
    assert end.connection.close_reason is Close.RESET_BY_PEER


def test_it_is_never_answered_by_a_reset() -> None:
    """gVisor ResetsDoNotGenerateResets."""
    for make in (syn_sent, syn_received, established, time_wait):
        end = make()
        for seq in (0, 1, 2, 100, 100_000):
            end.send("R.", seq=seq, ack=77)
            assert not any(s.flags & 4 for s in end.expect_all())


def test_paws_does_not_apply() -> None:
    """RFC 7323 5.3 R1: not to a RST, whose timestamp may be anything."""
    end = established(ts=True)
    end.send("R", ts=-100_000)
    end.must_be(State.CLOSED)


# -- abort ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [established, fin_wait_1, fin_wait_2, close_wait], ids=lambda f: f.__name__)
def test_abort_sends_a_reset(state: Factory) -> None:
    """3.10.5: <SEQ=SND.NXT><CTL=RST>; queued data is given up; ENDED once."""
    end = state()
    end.take_events()
    if end.state in (State.ESTABLISHED, State.CLOSE_WAIT):
        end.connection.write(b"never sent")
    seq = end.connection.snd_nxt - end.connection.iss
    end.connection.abort()
    end.expect("R.", seq=seq, ack=rcv_nxt(end), length=0)
    end.nothing()
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.ABORTED
    assert end.take_events() == ENDED
    assert len(end.connection.sendbuf) == 0
    end.connection.abort()
    end.nothing()
    assert end.take_events() == 0


@pytest.mark.parametrize("state", [closing, last_ack], ids=lambda f: f.__name__)
def test_abort_after_both_fins_is_quiet(state: Factory) -> None:
    """3.10.5, CLOSING and LAST-ACK: 'delete the TCB, enter the CLOSED state' and no RST."""
    end = state()
    end.connection.abort()
    end.must_be(State.CLOSED)
    end.nothing()


def test_abort_in_last_ack_before_the_fin_has_left() -> None:
    """The state counts from CLOSE on, the peer's knowledge from the FIN on."""
    end = close_wait(wnd=1000)
    end.connection.write(b"x" * 3000)
    end.connection.shutdown_write()
    end.expect(".", length=1000)
    end.nothing()
    end.connection.abort()
    end.expect("R.", seq=1001)


def test_abort_in_time_wait_changes_nothing() -> None:
    """DEVIATION from 3.10.5: the 2 MSL protect the next connection, not this one."""
    end = time_wait()
    end.take_events()
    end.connection.abort()
    end.close()
    end.must_be(State.TIME_WAIT)
    assert end.take_events() == 0


def test_a_reset_stands_inside_a_shrunk_window() -> None:
    end = established(wnd=5000)
    end.connection.write(b"x" * 5000)
    end.expect_all()
    end.send(".", ack=1, wnd=2000)
    end.connection.abort()
    end.expect("R.", seq=2001)


def test_a_keepalive_abort_names_its_reason() -> None:
    end = established()
    end.connection.abort(Reset.TIMEOUT, Close.KEEPALIVE)
    end.expect("R.")
    assert end.connection.error == errno.ETIMEDOUT
