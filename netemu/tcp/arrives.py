"""A segment arrives (RFC 9293 3.10.7): one function per check, in the RFC's order.

``segment_arrives`` is one of the two hot functions, ``was_predicted`` its short cut. A check returns None to go on, else the
verdict: Match.CONNECTION when the segment was taken, or the Drop that says why not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.reasons import Close, Drop, Match, Reason, Reset
from netemu.tcp import ecn, receiver, timers
from netemu.tcp.config import MIN_MSS, NEVER
from netemu.tcp.state import CAN_RECEIVE, FIN_QUEUED, Event, State
from netemu.wire.tcp import ACK, CWR, ECE, FIN, HALF, MASK, RST, SYN, URG, unwrap

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection
    from netemu.wire.buffer import Buffer
    from netemu.wire.tcp import Segment

CONNECTED, WRITABLE = 4, 2

PAWS_IDLE_LIMIT = 24 * 86400 * 1_000_000_000
"""A timestamp older than 24 days may have wrapped (RFC 7323 5.5)."""

_ESTABLISHED = State.ESTABLISHED
_TAKEN = Match.CONNECTION


def was_predicted(
    c: Connection, seq: int, ack: int, wnd: int, ts_val: int | None, data: Buffer, length: int, now: int
) -> bool:
    """Header prediction (Van Jacobson): take what a healthy connection gets, in order and with nothing unusual about it.

    The fields are the header's own, 32-bit, of a segment with ACK and none of SYN, FIN, RST, URG, ECE, CWR, and with no CE mark;
    no Segment is made for them, which with the checks that would all pass saves a third of its time. False: not so; nothing was
    changed, and ``segment_arrives`` has to look at it. What both take, both take alike (a property test compares them).
    """
    rcv_nxt, una = c.rcv_nxt, c.snd_una
    ack = una + ((ack - una + HALF) & MASK) - HALF  # wire.tcp.unwrap
    if (
        (seq - rcv_nxt) & MASK
        or c.state is not _ESTABLISHED
        or not una <= ack <= c.snd_nxt
        or (ack == una and not length)  # perhaps a duplicate ACK
        or length > c.rcv_adv - rcv_nxt
        or c.reassembly is not None
        or c.snd_wl1 > rcv_nxt  # overtaken by a newer one: its window is old
        or not c.recovery.calm
        or (c.rtt.backoff and ack > una)  # its timestamp may be wanted
        or (c.ts_on and (ts_val is None or (ts_val - c.ts_recent) & HALF))
    ):
        return False
    if ts_val is not None and c.ts_on and rcv_nxt == c.last_ack_sent:  # as _record_timestamp
        c.ts_recent, c.ts_recent_at = ts_val, now
    c.last_received = now
    if ack > una:
        _advance(c, ack, now)
    c.snd_wl1 = rcv_nxt
    if wnd << c.snd_wscale != c.snd_wnd:
        _window_changed(c, wnd << c.snd_wscale, now)
    if c.keepalive:
        c.keepalive_probes_sent = 0
        c.deadline_keepalive = now + c.config.keepalive_time
    if length:
        receiver.deliver(c, data, length)
        receiver.schedule_ack(c, now)
    return True


def segment_arrives(c: Connection, seg: Segment, now: int) -> Reason:
    """Take a segment whose numbers are 32-bit: Match.CONNECTION, or why (some of) it was not taken."""
    seg.seq = unwrap(seg.seq, c.rcv_nxt)
    seg.ack = unwrap(seg.ack, c.snd_una)
    if c.state is State.SYN_SENT:
        return _in_syn_sent(c, seg, now)
    if c.state is State.CLOSED:
        return Drop.CONNECTION_CLOSED
    if c.state is State.TIME_WAIT:  # for a moment; then a TimeWait stands in for it
        c.ack_now = c.ack_now or bool(seg.flags & FIN)
        return Drop.TIME_WAIT_IGNORED
    return (
        _check_timestamp(c, seg, now)
        or _check_sequence(c, seg, now)
        or _check_reset(c, seg, now)
        or _check_syn(c, seg, now)
        or _check_ack(c, seg, now)
        or _take_text(c, seg, now)
    )


# -- SYN-SENT (3.10.7.3) ----------------------------------------------------------------------------------------------------


def _in_syn_sent(c: Connection, seg: Segment, now: int) -> Reason:
    flags = seg.flags
    if flags & ACK and not c.snd_una < seg.ack <= c.snd_nxt:
        if not flags & RST:
            _answer_with_reset(c, seg)
        return Drop.BAD_HANDSHAKE_ACK
    if flags & RST:
        if not flags & ACK:
            return Drop.RST_BAD_ACK
        c.end(Close.REFUSED)
        return _TAKEN
    if not flags & SYN:
        return Drop.NO_SYN
    offered = c.rcv_adv - c.rcv_nxt
    learn_from_syn(c, seg, now)
    c.rcv_adv = c.rcv_nxt + offered
    if not flags & ACK:  # simultaneous open: our SYN goes again, with an ACK
        c.move(Event.SYN)
        c.send_syn = True
        c.timed_end = 0  # Karn
        return _TAKEN
    _syn_acknowledged(c, seg, now)
    c.ack_now = True
    if seg.length or flags & FIN:  # data on the SYN-ACK
        seg.seq += 1
        return _take_text(c, seg, now)
    return _TAKEN


def learn_from_syn(c: Connection, seg: Segment, now: int) -> None:
    """Take the peer's initial sequence number and options (RFC 9293 3.7.1, RFC 7323 1.3, RFC 2018 section 2)."""
    options = seg.options
    ecn.learn_from_syn(c, seg)
    c.irs = seg.seq
    c.rcv_nxt = c.last_ack_sent = seg.seq + 1
    c.rcv_up = c.rcv_nxt
    c.peer_mss = max(MIN_MSS, options.mss) if options.mss else c.default_mss
    if options.wscale is not None and c.wscale_ok:
        c.snd_wscale = min(options.wscale, 14)  # RFC 7323 2.3: 14 is the most
    else:
        c.wscale_ok = False
        c.rcv_wscale = 0
    c.ts_on = c.ts_on and seg.ts_val is not None
    if seg.ts_val is not None:
        c.ts_recent, c.ts_recent_at = seg.ts_val, now
    c.sack_ok = c.sack_ok and options.sack_permitted
    c.snd_wnd = c.snd_max_wnd = seg.wnd
    set_mss(c)


def set_mss(c: Connection) -> None:
    """Eff.snd.MSS = min(what the peer takes, what the path takes), less the options of every segment (MUST-16)."""
    c.mss = min(c.peer_mss, c.path_mss) - (12 if c.ts_on else 0)
    if c.state in (State.CLOSED, State.SYN_SENT):
        c.cc = type(c.cc)(c.mss)
    else:
        c.cc.on_mss(c.mss)


def _syn_acknowledged(c: Connection, seg: Segment, now: int) -> None:
    """ESTABLISHED, at last."""
    c.rtt.probes = c.sack_ok and c.config.early_retrans
    if c.timed_end and not c.syn_retransmits:
        c.rtt.sample(now - c.timed_at)
    if c.syn_retransmits:
        c.rtt.syn_was_lost()
        c.cc.cwnd = min(c.cc.cwnd, c.mss)  # RFC 5681 3.1: a lost SYN or SYN-ACK means an initial window of one segment
    c.timed_end = 0
    c.snd_una = c.iss + 1
    c.sendbuf.acknowledge(c.snd_una)
    c.snd_up = max(c.snd_up, c.snd_una)
    c.recovery.recover = c.iss
    c.snd_wnd = seg.wnd << (0 if seg.flags & SYN else c.snd_wscale)
    c.snd_max_wnd = max(c.snd_max_wnd, c.snd_wnd)
    c.snd_wl1 = seg.seq
    c.send_syn = False
    c.retransmits = 0
    c.deadline_rtx = NEVER
    c.last_received = now
    if c.state is not State.FIN_WAIT_1:  # closed in SYN-RECEIVED: the FIN is queued already
        c.move(Event.SYN_ACKED)
    c.events |= CONNECTED | WRITABLE
    if c.keepalive:
        c.deadline_keepalive = now + c.config.keepalive_time


# -- all other states (3.10.7.4) --------------------------------------------------------------------------------------------


def _check_timestamp(c: Connection, seg: Segment, now: int) -> Drop | None:
    """PAWS (RFC 7323 5.3 R1).

    DEVIATION: a segment without the option that was agreed on passes, where RFC 7323 3.2 says SHOULD drop; middleboxes strip
    options, and Linux lets it pass too.
    """
    if not c.ts_on or seg.ts_val is None or seg.flags & RST or not (seg.ts_val - c.ts_recent) & HALF:
        return None
    if now - c.ts_recent_at >= PAWS_IDLE_LIMIT:
        return None
    _acknowledge_again(c, seg, now)
    return Drop.PAWS


def _record_timestamp(c: Connection, seg: Segment, now: int) -> None:
    """TS.Recent: the timestamp of the segment that begins where the last ACK ended, or before (RFC 7323 4.3, 5.3 R3)."""
    if seg.ts_val is not None and seg.seq <= c.last_ack_sent and not seg.flags & RST:
        c.ts_recent, c.ts_recent_at = seg.ts_val, now


def _check_sequence(c: Connection, seg: Segment, now: int) -> Reason | None:
    """First, check sequence number: some of the segment must lie in the receive window."""
    seq, end, left, right, flags = seg.seq, seg.end, c.rcv_nxt, c.rcv_adv, seg.flags
    if flags & SYN and seq == c.irs and c.snd_una == c.iss:
        return _syn_again(c, seg, now)
    if end == seq:
        # DEVIATION: the right edge counts, as everywhere but in RFC 9293's table 6: a peer that has filled the window sends its
        # ACKs from there. A RST is held to the letter (RFC 5961 3.2).
        acceptable = left <= seq < right or seq == left or (seq == right and not flags & RST)
    elif right > left:
        acceptable = seq < right and end > left
    elif seq == left and not flags & SYN and (flags & RST or not seg.length):
        # DEVIATION: a FIN alone is taken even if the window is closed. It needs no buffer, and as long as it is not taken the
        # peer's ACKs, whose numbers lie behind it, are not acceptable.
        acceptable = True
    elif seq <= left < end and not flags & (SYN | RST):
        return _into_closed_window(c, seg, now)
    else:
        acceptable = False
    if acceptable:
        c.last_received = now
        _record_timestamp(c, seg, now)
        return None
    if flags & RST:
        return Drop.RST_OUTSIDE_WINDOW
    if end <= left:  # old, e.g. a retransmission that crossed our ACK, or a probe: a sign of life
        c.last_received = now
        c.keepalive_probes_sent = 0
        receiver.came_twice(c, seq, seq + seg.length)
    _acknowledge_again(c, seg, now)
    return Drop.DUPLICATE if seq < end <= left else Drop.OUTSIDE_WINDOW


def _syn_again(c: Connection, seg: Segment, now: int) -> Reason | None:
    """The peer's SYN, once more, before ours is acknowledged."""
    c.last_received = now
    if seg.flags & ACK and seg.ack == c.iss + 1 and c.opened_by is Event.ACTIVE_OPEN:
        # simultaneous open, figure 7: the SYN is old, but the ACK with it completes the handshake
        seg.seq += 1
        seg.flags &= ~SYN
        c.ack_now = c.send_syn  # it overtook our SYN-ACK, which will not go now and would have carried the ACK
        seg.wnd >>= c.snd_wscale  # a SYN's window is not scaled (RFC 7323 2.2); what follows will scale it
        return None
    c.send_syn = True  # our SYN-ACK was lost
    c.timed_end = 0  # Karn
    return Drop.DUPLICATE


def _into_closed_window(c: Connection, seg: Segment, now: int) -> Reason:
    """Text that finds no room. 'Special allowance should be made to accept valid ACKs, URGs, and RSTs' (3.10.7.4, MUST-66)."""
    c.last_received = now
    c.ack_now = True
    verdict = _check_ack(c, seg, now)
    if verdict is None and seg.flags & URG and c.state in CAN_RECEIVE:
        receiver.urgent_arrives(c, seg)
    return verdict or Drop.WINDOW_FULL


def _check_reset(c: Connection, seg: Segment, now: int) -> Reason | None:
    """Second, check the RST bit: at RCV.NXT it ends the connection, elsewhere in the window it is asked about (RFC 5961 3.2)."""
    if not seg.flags & RST:
        return None
    if seg.seq != c.rcv_nxt:
        _challenge(c, now)
        return Drop.RST_CHALLENGED
    if c.state is State.SYN_RECEIVED and c.opened_by is Event.ACTIVE_OPEN:
        c.end(Close.REFUSED)
    elif c.state in (State.CLOSING, State.LAST_ACK) and c.snd_una == c.fin_seq:
        c.end(Close.NORMAL)  # both sides had all that was to come
    else:
        c.end(Close.RESET_BY_PEER)
    return _TAKEN


def _check_syn(c: Connection, seg: Segment, now: int) -> Drop | None:
    """Fourth, check the SYN bit: never believed on a synchronized connection (RFC 5961 4.2)."""
    if not seg.flags & SYN:
        return None
    if c.state is State.SYN_RECEIVED and c.opened_by is Event.PASSIVE_OPEN:
        c.end(Close.RESET_BY_PEER)  # "return to the LISTEN state": the listener is still there
    else:
        _challenge(c, now)
    return Drop.SYN_CHALLENGED


def _check_ack(c: Connection, seg: Segment, now: int) -> Reason | None:
    """Fifth, check the ACK field."""
    if not seg.flags & ACK:
        return Drop.NO_ACK
    ack = seg.ack
    if c.state is State.SYN_RECEIVED or (c.state is State.FIN_WAIT_1 and c.snd_una == c.iss):
        if not c.snd_una < ack <= c.snd_nxt:
            _answer_with_reset(c, seg)
            return Drop.BAD_HANDSHAKE_ACK
        if c.may_establish is not None and not c.may_establish():
            return Drop.ACCEPT_QUEUE_FULL  # as Linux: not heard; the SYN-ACK goes again later
        _syn_acknowledged(c, seg, now)
    elif ack > c.snd_nxt:
        _challenge(c, now)
        return Drop.BAD_ACK
    elif ack < c.snd_una - c.snd_max_wnd:
        _challenge(c, now)
        return Drop.OLD_ACK  # RFC 5961 5.2
    _take_ack(c, seg, now)
    if c.state in FIN_QUEUED and c.snd_una > c.fin_seq:
        c.move(Event.FIN_ACKED)
        if c.state is State.FIN_WAIT_2 and c.orphan:
            timers.start_fin_wait_2(c, now)
        if c.state is State.CLOSED:
            return _TAKEN
    return None


def _take_ack(c: Connection, seg: Segment, now: int) -> None:
    """SND.UNA, the send window and what follows from them (RFC 9293 3.10.7.4, ESTABLISHED). ``seg.ack`` <= SND.NXT."""
    ack, una = seg.ack, c.snd_una
    wnd = seg.wnd << c.snd_wscale
    if seg.flags & ECE and c.ect:
        ecn.echo_arrives(c, ack, now)
    if seg.options.sack and c.sack_ok:
        c.recovery.on_sack(c, seg.options.sack, ack, now)
    if c.ts_on and seg.ts_val is not None:
        c.recovery.echo = seg.ts_ecr
    if ack > una:
        if c.rtt.backoff and seg.ts_val is not None and c.ts_on:
            _time_by_echo(c, seg.ts_ecr, now)
        _advance(c, ack, now)
    elif ack == una and c.snd_nxt > una:
        is_duplicate = not seg.length and not seg.flags & FIN and wnd == c.snd_wnd
        c.recovery.on_duplicate(c, is_duplicate, now)
    # DEVIATION: by RFC 9293 an ACK that advances SND.UNA would not bring its window if it came with a lower sequence number than
    # SND.WL1, a retransmission that is; but SND.UNA + the old SND.WND is more than was ever offered. Linux has it so too. And
    # without SND.WL2, which only tells ACKs below SND.UNA from it.
    if ack > una or (ack == una and c.snd_wl1 <= seg.seq):
        c.snd_wl1 = seg.seq
        if wnd != c.snd_wnd:
            _window_changed(c, wnd, now)
    if c.keepalive:
        c.keepalive_probes_sent = 0
        c.deadline_keepalive = now + c.config.keepalive_time


def _time_by_echo(c: Connection, ts_ecr: int, now: int) -> None:
    """Karn forbids timing what was sent twice; a timestamp may tell which transmission this answers (RFC 7323 4.1).

    Only one that was made since the timer expired counts: where the ACK of an earlier one was lost, the next still has its echo.
    """
    if not (ts_ecr - c.timestamp(c.probed_at)) & HALF and not (c.timestamp(now) - ts_ecr) & HALF:
        c.rtt.sample((c.timestamp(now) - ts_ecr & MASK) * 1_000_000)


def _advance(c: Connection, ack: int, now: int) -> None:
    """New data is acknowledged."""
    acked, c.snd_una = ack - c.snd_una, ack
    if c.timed_end and ack >= c.timed_end:
        if c.recovery.calm:  # else the ACK may have waited for a retransmission (Karn)
            c.rtt.sample(now - c.timed_at)
            c.cc.on_rtt(now - c.timed_at, now)
        c.timed_end = 0
    c.retransmits = 0
    c.sendbuf.acknowledge(ack)
    if c.delivery is not None:
        c.delivery.on_ack(c, acked, now)
    c.recovery.on_advance(c, acked, now)
    if c.snd_up < ack:
        c.snd_up = ack
    if ack == c.snd_nxt:
        c.deadline_rtx = NEVER  # RFC 6298 5.2
    elif not c.recovery.calm:
        if not c.recovery.reo_timer:
            c.deadline_rtx = now + c.rtt.rto  # RFC 6298 5.3
    else:
        c.deadline_rtx = now + (c.rtt.pto if c.snd_nxt - ack > c.mss else c.rtt.rto)  # RFC 8985 7.2
    c.events |= WRITABLE


def _window_changed(c: Connection, wnd: int, now: int) -> None:
    was, c.snd_wnd = c.snd_wnd, wnd
    if wnd > c.snd_max_wnd:
        c.snd_max_wnd = wnd
    if was or not wnd:
        return
    # it opens: the time of probing is over
    c.send_probe = 0
    if c.persist:
        c.persist = False
        c.deadline_rtx = NEVER
        c.rtt.answered()
        c.retransmits = 0
    elif c.snd_nxt > c.snd_una:
        c.rtt.answered()  # it had shrunk to nothing over what is outstanding: do not sit out the backed-off timer
        c.deadline_rtx = min(c.deadline_rtx, now + c.rtt.rto)


def _take_text(c: Connection, seg: Segment, now: int) -> Reason:
    """Sixth to eighth: URG bit, segment text, FIN bit."""
    flags = seg.flags
    if not (seg.length or flags & (FIN | URG)):
        return _TAKEN
    if c.state not in CAN_RECEIVE:
        return Drop.DUPLICATE  # there is nothing behind the peer's FIN
    if c.orphan and seg.seq + seg.length > c.rcv_nxt:
        c.abort(Reset.DATA_AFTER_CLOSE)  # SHLD-3: nobody will ever read it
        return Drop.DATA_AFTER_CLOSE
    if c.ect and (flags & CWR or seg.ecn == ecn.CE):
        ecn.text_arrives(c, seg)
    if flags & URG:
        receiver.urgent_arrives(c, seg)
    return receiver.text_arrives(c, seg, now)


# -- answers ----------------------------------------------------------------------------------------------------------------


def _challenge(c: Connection, now: int) -> None:
    """Ask 'was that you?' with an ACK; rate limited, or two stacks could ask each other without end (RFC 5961 section 7)."""
    if now - c.last_challenge >= c.config.challenge_interval:
        c.last_challenge = now
        c.ack_now = True


def _acknowledge_again(c: Connection, seg: Segment, now: int) -> None:
    """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK> for a segment that is not acceptable.

    Text and FIN are always answered, as in Linux: they are no part of an ACK loop, and the peer may only have lost our ACK.
    """
    if seg.end != seg.seq and not seg.flags & SYN:
        c.ack_now = True
    else:
        _challenge(c, now)


def _answer_with_reset(c: Connection, seg: Segment) -> None:
    """<SEQ=SEG.ACK><CTL=RST> for a wrong ACK in the handshake; the connection itself stays (3.10.7.3, 3.10.7.4)."""
    c.handshake_reset = seg.ack
