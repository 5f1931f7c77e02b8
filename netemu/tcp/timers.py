"""What happens when nothing arrives: retransmission, persist, delayed ACK, keep-alive, FIN-WAIT-2 (RFC 9293 3.8).

A deadline is a plain attribute; the host keeps one lazy heap entry per connection, so moving a deadline later costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.reasons import Close, Reset
from netemu.tcp.config import NEVER
from netemu.tcp.state import Event, State

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection

WINDOW_PROBE, TAIL_PROBE = 1, 2
"""Kinds of ``send_probe``."""


def expire(c: Connection, now: int) -> None:
    """Run every timer of ``c`` that is due."""
    if now >= c.deadline_pace:
        c.deadline_pace = NEVER  # transmit is asked after any timer
    if now >= c.deadline_ack:
        c.deadline_ack = NEVER
        c.ack_now = True
    if now >= c.deadline_rtx:
        c.deadline_rtx = NEVER
        if c.state in (State.SYN_SENT, State.SYN_RECEIVED) or c.snd_una == c.iss:
            _syn_unanswered(c, now)
        elif c.persist:
            _window_still_closed(c, now)
        else:
            _unacknowledged(c, now)
    if now >= c.deadline_keepalive:
        _idle(c, now)
    if now >= c.deadline_user:
        c.deadline_user = NEVER
        if c.state is State.FIN_WAIT_2:
            c.end(Close.FIN_WAIT_2_TIMEOUT)
        elif c.held:
            c.abort(Reset.UNDECIDED, Close.TIMED_OUT)


def _syn_unanswered(c: Connection, now: int) -> None:
    config = c.config
    if c.syn_retransmits >= (config.syn_retries if c.opened_by is Event.ACTIVE_OPEN else config.synack_retries):
        c.end(Close.TIMED_OUT)
        return
    if _stalled_too_long(c, now):
        return
    c.syn_retransmits += 1
    c.total_retransmits += 1
    c.rtt.expired()
    c.timed_end = 0
    c.send_syn = True


def _unacknowledged(c: Connection, now: int) -> None:
    """RFC 6298 5.4 to 5.7, and R2 of RFC 9293 3.8.3."""
    if c.snd_una == c.snd_nxt:
        return
    if c.recovery.reo_timer:
        c.recovery.on_reo_timeout(c, now)
        return
    due = c.board.sent[0].sent_at + c.rtt.rto
    probing = c.recovery.may_probe(c)
    if probing and c.flight > c.mss:
        due = min(due, c.board.sent[-1].sent_at + c.rtt.pto)
    if now < due and (c.stalled is None or c.stalled[0] != c.snd_una):
        c.deadline_rtx = due  # more was sent since, or it was armed for a probe that would make no sense now
        return
    if probing:
        c.send_probe = TAIL_PROBE
        c.deadline_rtx = now + c.rtt.rto
        return
    # The window shrank over what is outstanding: after one retransmission, probe, and do not time out while the peer answers
    # (SHLD-17, MUST-35).
    closed = not c.snd_wnd and c.retransmits and _is_answered(c)
    if _stalled_too_long(c, now) or ((not closed or c.orphan) and _gives_up(c)):
        return
    if closed:
        c.send_probe = WINDOW_PROBE
    else:
        c.recovery.on_timeout(c, now)
        c.timed_end = 0
    c.probed_at = now
    c.rtt.expired()
    c.deadline_rtx = not_after_user_timeout(c, now + c.rtt.rto)


def _window_still_closed(c: Connection, now: int) -> None:
    """Zero-window probing (RFC 9293 3.8.6.1): the intervals double; it goes on as long as the peer answers (MUST-37).

    DEVIATION: not for ever where no application holds the connection any more, as RFC 6429 section 4 permits.
    """
    c.persist = False
    if c.snd_nxt != c.snd_una or c.snd_nxt > c.sendbuf.end:
        return
    if c.snd_wnd:
        c.override = True  # a silly window, but nothing better has come
        return
    if not c.orphan and _is_answered(c):
        c.retransmits = 0
    if _stalled_too_long(c, now) or _gives_up(c):
        return
    c.send_probe = WINDOW_PROBE
    c.probed_at = now
    c.rtt.expired()  # SHLD-30
    c.persist = True
    c.deadline_rtx = not_after_user_timeout(c, now + c.rtt.rto)


def _is_answered(c: Connection) -> bool:
    """Something came since this timer last expired."""
    return c.last_received >= c.probed_at


def _gives_up(c: Connection) -> bool:
    """Count an expiry; at R2 (RFC 9293 3.8.3) the connection ends.

    R1, where the IP layer is to look for another gateway (MUST-20 a), means nothing on a point-to-point device.
    """
    c.retransmits += 1
    if c.retransmits <= (c.config.orphan_retries if c.orphan else c.config.retries2):
        return False
    c.end(Close.TIMED_OUT)
    return True


def _stalled_too_long(c: Connection, now: int) -> bool:
    """The user timeout (RFC 9293 3.8.3, RFC 5482): no progress for so long ends the connection.

    As in Linux it goes on counting while a peer with a closed window answers the probes.
    """
    if not c.config.user_timeout:
        return False
    if c.stalled is None or c.stalled[0] != c.snd_una:
        c.stalled = c.snd_una, now - c.rtt.rto  # the timer that has just expired was started then
    if now - c.stalled[1] < c.config.user_timeout:
        return False
    c.end(Close.TIMED_OUT)
    return True


def not_after_user_timeout(c: Connection, due: int) -> int:
    """So that the connection ends in time, and not when a backed-off timer expires at last (as Linux)."""
    if c.stalled is None or c.stalled[0] != c.snd_una or not c.config.user_timeout:
        return due
    return min(due, c.stalled[1] + c.config.user_timeout)


def _idle(c: Connection, now: int) -> None:
    """Keep-alive (RFC 9293 3.8.4): only on an idle connection, and never dead by one unanswered probe (MUST-29)."""
    c.deadline_keepalive = NEVER
    if not c.keepalive or c.state in (State.CLOSED, State.TIME_WAIT):
        return
    idle_until = c.last_received + c.config.keepalive_time
    if not c.keepalive_probes_sent and now < idle_until:
        c.deadline_keepalive = idle_until
    elif c.flight or len(c.sendbuf):  # MUST-26: the retransmission or the persist timer watches
        c.deadline_keepalive = now + c.config.keepalive_time
    elif _is_given_up(c, now):
        c.abort(Reset.TIMEOUT, Close.KEEPALIVE)
    else:
        c.keepalive_probes_sent += 1
        c.send_probe = WINDOW_PROBE
        c.deadline_keepalive = now + c.config.keepalive_interval


def _is_given_up(c: Connection, now: int) -> bool:
    """Probes went unanswered: so many, or with a user timeout for so long (as Linux)."""
    timeout = c.config.user_timeout
    if timeout:
        return c.keepalive_probes_sent > 0 and now - c.last_received >= timeout
    return c.keepalive_probes_sent >= c.config.keepalive_probes


def start_fin_wait_2(c: Connection, now: int) -> None:
    """Nobody reads any more, so the peer's FIN is not waited for without end (tcp_fin_timeout)."""
    c.deadline_user = now + c.config.fin_timeout
