"""What happens when nothing arrives: retransmission, persist, delayed ACK, keep-alive, FIN-WAIT-2 (RFC 9293 3.8).

A deadline is a plain attribute; the host keeps one lazy heap entry per connection, so moving a deadline later costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.reasons import Close
from netemu.tcp.config import NEVER
from netemu.tcp.state import State

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection


def expire(c: Connection, now: int) -> None:
    """Run every timer of ``c`` that is due."""
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


def _syn_unanswered(c: Connection, now: int) -> None:
    limit = c.config.syn_retries if c.state is State.SYN_SENT else c.config.synack_retries
    if c.syn_retransmits >= limit:
        c.end(Close.TIMED_OUT)
        return
    c.syn_retransmits += 1
    c.rtt.expired()
    c.timed_end = 0
    c.send_syn = True


def _unacknowledged(c: Connection, now: int) -> None:
    """RFC 6298 5.4 to 5.7, and R2 of RFC 9293 3.8.3."""
    if c.snd_una == c.snd_nxt:
        return
    if c.snd_wnd == 0 and c.retransmits and now - c.last_received < c.config.max_rto:
        # the window shrank over what is outstanding: probe, and do not time out while the peer answers (SHLD-17, MUST-35)
        c.send_probe = True
        c.rtt.expired()
        c.deadline_rtx = now + c.rtt.rto
        return
    c.retransmits += 1
    if c.retransmits > (c.config.orphan_retries if c.orphan else c.config.retries2):
        c.end(Close.TIMED_OUT)
        return
    c.recovery.on_timeout(c, now)
    c.rtt.expired()
    c.timed_end = 0
    c.deadline_rtx = now + c.rtt.rto


def _window_still_closed(c: Connection, now: int) -> None:
    """Zero-window probing (RFC 9293 3.8.6.1): the intervals double; it goes on as long as the peer answers (MUST-37)."""
    c.persist = False
    unsent = c.sendbuf.end - c.snd_nxt
    if c.snd_nxt != c.snd_una or (not unsent and c.state not in (State.FIN_WAIT_1, State.LAST_ACK, State.CLOSING)):
        return
    c.retransmits += 1
    answered = now - c.last_received < c.config.max_rto
    if c.retransmits > (c.config.orphan_retries if c.orphan else c.config.retries2) and not (answered and not c.orphan):
        c.end(Close.TIMED_OUT)
        return
    c.rtt.expired()  # SHLD-30
    c.send_probe = c.snd_wnd == 0
    c.override = not c.send_probe
    c.persist = True
    c.deadline_rtx = now + c.rtt.rto


def _idle(c: Connection, now: int) -> None:
    """Keep-alive (RFC 9293 3.8.4): only on an idle connection, and never dead by one unanswered probe (MUST-29)."""
    c.deadline_keepalive = NEVER
    if not c.keepalive or c.state is State.CLOSED:
        return
    idle_since = max(c.last_received, 0)
    if not c.keepalive_probes_sent and now - idle_since < c.config.keepalive_time:
        c.deadline_keepalive = idle_since + c.config.keepalive_time
        return
    if c.flight:  # MUST-26: the retransmission timer watches
        c.deadline_keepalive = now + c.config.keepalive_time
        return
    if c.keepalive_probes_sent >= c.config.keepalive_probes:
        c.abort(close=Close.KEEPALIVE)
        return
    c.keepalive_probes_sent += 1
    c.send_keepalive = True
    c.deadline_keepalive = now + c.config.keepalive_interval


def start_fin_wait_2(c: Connection, now: int) -> None:
    """Nobody reads any more, so the peer's FIN is not waited for without end (tcp_fin_timeout)."""
    c.deadline_user = now + c.config.fin_timeout
