"""What may be sent now: the other hot function.

``transmit`` is pulled. It offers, in this order: a RST, the SYN, what must be retransmitted, new data or the FIN, a probe, and
an ACK when nothing else has carried it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.tcp import ecn, receiver, timers
from netemu.tcp.config import NEVER, SECOND
from netemu.tcp.scoreboard import Sent
from netemu.tcp.state import FIN_QUEUED, State
from netemu.wire.tcp import ACK, CWR, FIN, NO_OPTIONS, PSH, RST, SYN, URG, Options, Segment

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection

SAMPLE_INTERVAL = 1_000_000
"""ns between two measurements of a round trip: one each is what RFC 6298 section 3 asks for, but on paths of a few microseconds
so many of them would only cost (1.5 us a request and response) and tell nothing new."""

_DATA_STATES = frozenset((State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK))


def transmit(c: Connection, now: int, limit: int = 0) -> Segment | None:
    """The next segment to send, or None. ``limit``: the most payload of a super-segment, 0 for none."""
    if c.reset_with is not None or c.handshake_reset is not None:
        return _reset(c)
    if c.send_syn:
        return _syn(c, now)
    if c.state in _DATA_STATES and c.snd_una > c.iss and (c.pacer is None or c.pacer.may_send(c, now)):
        if c.board.waiting:
            again = c.recovery.next_retransmission(c)
            if again is not None:
                return _retransmission(c, *again, now)
        if c.snd_nxt <= c.sendbuf.end:
            if c.pacer is not None and limit:
                limit = c.pacer.limit(c, limit)
            length = _sendable(c, limit or c.mss, now)
            if length >= 0:
                return _new(c, length, now)
    if c.send_probe:
        kind, c.send_probe = c.send_probe, 0
        if kind == timers.WINDOW_PROBE:
            # one before SND.UNA: never acceptable, so it is always answered, and with the window (as Linux; RFC 9293 3.8.4)
            return _segment(c, c.snd_una - 1, c.ack_flags, (), 0, now)
        if c.board.sent:  # else all was acknowledged since the timer went off
            return _tail_probe(c, now)
    if c.ack_now:
        seq = c.snd_nxt
        return _segment(c, seq if seq - c.snd_una <= c.snd_wnd else c.acceptable_seq, c.ack_flags, (), 0, now)
    return None


def _sendable(c: Connection, limit: int, now: int) -> int:
    """Bytes of new data to send now; 0 for a FIN alone, -1 for nothing.

    Window, congestion window, Nagle and the avoidance of silly windows (RFC 9293 3.7.4, 3.8.6.2.1).
    """
    unsent = c.sendbuf.end - c.snd_nxt
    fin = c.state in FIN_QUEUED
    if not unsent:
        return _fin_alone(c, now) if fin else -1
    usable = c.snd_una + c.snd_wnd - c.snd_nxt
    allowed = c.recovery.allowance(c)
    room = usable if usable < allowed else allowed
    mss = c.mss
    if c.snd_up > c.snd_nxt or c.reassembly is not None:
        limit = mss  # each segment carries an urgent pointer or SACK blocks of its own
    if room > limit:
        room = limit
    length = unsent if unsent < room else room
    if length == unsent and _may_send_small(c, fin):
        return length
    if length >= mss:
        return length - length % mss  # the rest waits for more data, more window or an ACK
    if length <= 0:
        return _blocked(c, allowed < usable, now)
    if length < unsent:
        if c.override or (room == usable and usable >= c.snd_max_wnd >> 1):
            c.override = False
            return length  # SWS rule 4, or rule 3: the peer's buffer is small, and half of it is worth a segment
        return _blocked(c, allowed < usable, now)
    return -1


def _fin_alone(c: Connection, now: int) -> int:
    """0 when the window has room for the one number that a FIN takes, else -1."""
    return 0 if c.snd_nxt < c.snd_una + c.snd_wnd else _blocked(c, False, now)


def _may_send_small(c: Connection, fin: bool) -> bool:
    """Nagle, as Minshall amended it and Linux does it: only one small segment may be outstanding.

    DEVIATION: RFC 9293 3.7.4 also holds back the small tail of a large write until all before it is acknowledged, and meets the
    peer's delayed ACK there.
    """
    return c.nodelay or fin or c.small_end <= c.snd_una


def _blocked(c: Connection, by_congestion: bool, now: int) -> int:
    """-1: something waits and has no room. Where nothing in flight will bring an ACK, a timer must bring the next attempt.

    It is the persist timer (3.8.6.1, SHLD-29), or the override timeout of SWS rule 4, at most 1 s.
    """
    if by_congestion:
        c.recovery.full_until = c.snd_nxt
    if c.snd_nxt == c.snd_una and c.deadline_rtx == NEVER:
        c.persist = True
        c.deadline_rtx = now + (min(c.rtt.rto, SECOND) if c.snd_wnd else c.rtt.rto)
    return -1


def _new(c: Connection, length: int, now: int) -> Segment:
    """Send ``length`` bytes at SND.NXT, with the FIN if it comes next."""
    seq, end = c.snd_nxt, c.snd_nxt + length
    if (
        seq == c.snd_una
        and now - c.last_sent > c.config.min_rto
        and now - c.last_sent > c.rtt.rto
        and c.config.slow_start_after_idle
    ):
        c.cc.on_idle(now - c.last_sent, c.rtt.rto)
    c.last_sent = now
    flags = c.ack_flags
    if end == c.sendbuf.end:
        if length:
            flags |= PSH  # MUST-61
        if c.state in FIN_QUEUED and end < c.snd_una + c.snd_wnd:  # it takes a number of the window too
            flags |= FIN
            end += 1
    c.snd_nxt = end
    c.board.sent.append(Sent(seq, end, now))
    if not c.recovery.calm:
        c.recovery.sent_new(end - seq)
    if length % c.mss:
        c.small_end = end
    if not c.timed_end and now - c.timed_at >= SAMPLE_INTERVAL:
        c.timed_end, c.timed_at = end, now
    if end - c.snd_una >= c.cc.samples_from:
        c.sample(end, now)
    if c.pacer is not None:
        c.pacer.sent(c, length, now)
    if c.deadline_rtx == NEVER or c.persist:
        c.persist = c.override = False
        c.deadline_rtx = now + (c.rtt.pto if length > c.mss else c.rtt.rto)  # RFC 6298 5.1
    elif (due := now + c.rtt.pto) < c.deadline_rtx and c.recovery.calm:
        c.deadline_rtx = due  # RFC 8985 7.2
    payload = c.sendbuf.slice(seq, length) if length else ()
    segment = _segment(c, seq, flags, payload, length, now)
    if c.ect and length:  # what is new, that is; no retransmission and no ACK alone (RFC 3168 6.1.4, 6.1.5)
        segment.ecn = c.ect
        if c.cwr_due:
            c.cwr_due = False
            segment.flags |= CWR
    return segment


def _retransmission(c: Connection, seq: int, length: int, now: int) -> Segment:
    """Send again what lies at ``seq``; ``length`` may count the FIN."""
    end = seq + length
    flags = c.ack_flags
    data_end = c.sendbuf.end
    if end > data_end:  # SND.NXT covers the FIN
        flags |= FIN
        length = data_end - seq
    if length and end >= data_end:
        flags |= PSH
    if seq == c.snd_una and not c.recovery.reo_timer:
        c.deadline_rtx = timers.not_after_user_timeout(c, now + c.rtt.rto)
    c.recovery.retransmitted(c, seq, end, now)
    if c.pacer is not None:
        c.pacer.sent(c, length, now)
    c.total_retransmits += 1
    c.timed_end = 0  # Karn
    c.last_sent = now
    return _segment(c, seq, flags, c.sendbuf.slice(seq, length) if length else (), length, now)


def _tail_probe(c: Connection, now: int) -> Segment:
    """TLP (RFC 8985 7.3): a new segment if there is one and the window has room, whatever cwnd says, else the last one again."""
    unsent, usable = c.sendbuf.end - c.snd_nxt, c.snd_una + c.snd_wnd - c.snd_nxt
    length = min(unsent, c.mss)
    if 0 < length <= usable:
        segment = _new(c, length, now)
    else:
        seq, end = c.board.tail(c.mss, c.sendbuf.end)
        segment = _retransmission(c, seq, end - seq, now)
    c.recovery.tlp_sent(c, length <= 0 or length > usable)
    c.deadline_rtx = now + c.rtt.rto
    return segment


def _segment(
    c: Connection, seq: int, flags: int, payload: tuple[bytes | memoryview, ...], length: int, now: int
) -> Segment:
    """A segment of a synchronized connection; it carries the ACK, so none is owed afterwards."""
    options = NO_OPTIONS
    mss = c.mss
    if (c.reassembly is not None or c.dsack is not None) and c.sack_ok:
        blocks = receiver.sack_blocks(c)
        if length + 4 + 8 * len(blocks) > mss:
            blocks = blocks[: max(0, (mss - length - 4) // 8)]  # MUST-16: options shrink the payload; data goes first
        if blocks:
            options = Options(sack=blocks)
    urg = 0
    if c.snd_up > seq and c.snd_up > c.snd_una:
        flags |= URG
        urg = min(c.snd_up - seq, 0xFFFF)  # MUST-62: points behind the urgent data
    if c.quick_acks:
        c.quick_acks -= 1
        if length:
            c.quick_acks = 0  # it answers: from now on our ACKs find data to ride on
    wnd = receiver.window(c)
    c.ack_now = False
    c.deadline_ack = NEVER
    c.last_ack_sent = c.rcv_nxt
    ts_val = c.timestamp(now) if c.ts_on else None
    gso_size = mss if length > mss else 0
    return Segment(seq, c.rcv_nxt, flags, wnd, payload, length, ts_val, c.ts_recent, options, gso_size, urg)


def _syn(c: Connection, now: int) -> Segment | None:
    """SYN or SYN-ACK, with the options that we offer or that both sides know; None while it is held back."""
    if c.held:
        return None
    c.send_syn = False
    passive = c.state is not State.SYN_SENT
    options = Options(c.path_mss, c.rcv_wscale if c.wscale_ok else None, c.sack_ok)
    if c.deadline_rtx == NEVER and not c.syn_retransmits:  # for the first time
        c.timed_end, c.timed_at = c.snd_nxt, now
    c.deadline_rtx = timers.not_after_user_timeout(c, now + c.rtt.rto)
    c.ack_now = False
    c.last_ack_sent = c.rcv_nxt
    c.last_sent = now
    ts_val = c.timestamp(now) if c.ts_on else None
    flags = (SYN | ACK if passive else SYN) | ecn.flags_of_syn(c)
    wnd = receiver.syn_window(c)
    return Segment(
        c.iss, c.rcv_nxt if passive else 0, flags, wnd, (), 0, ts_val, c.ts_recent if passive else 0, options
    )


def _reset(c: Connection) -> Segment:
    """The RST that ``abort`` owes the peer, or the one for a wrong ACK in the handshake."""
    if c.handshake_reset is not None:
        seq, c.handshake_reset = c.handshake_reset, None
        return Segment(seq, 0, RST, 0)
    c.reset_with = None
    return c.make_reset()
