"""The receiving half: what arrived goes to the application, and the window says how much more may come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.reasons import Drop, Match, Reason
from netemu.tcp.config import NEVER
from netemu.tcp.reassembly import COLLAPSED, SMALL, Reassembly
from netemu.tcp.state import CAN_RECEIVE, Event
from netemu.wire.tcp import FIN

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection
    from netemu.wire.buffer import Buffer
    from netemu.wire.tcp import Segment

READABLE, URGENT = 1, 16
MAX_SCALE = 14


def scale_for(rcvbuf: int) -> int:
    """The window scale (RFC 7323 2.2) that lets 16 bits describe ``rcvbuf``."""
    return min(MAX_SCALE, max(0, (rcvbuf - 1).bit_length() - 16))


def text_arrives(c: Connection, seg: Segment, now: int) -> Reason:
    """Seventh, process the segment text (RFC 9293 3.10.7.4), and the FIN behind it. The window holds part of it at least."""
    data, seq, length = (seg.payload[0] if seg.payload else b""), seg.seq, seg.length
    fin = seg.flags & FIN
    if seq < c.rcv_nxt:  # the front is old
        came_twice(c, seq, c.rcv_nxt)
        data = data[c.rcv_nxt - seq :]
        length, seq = len(data), c.rcv_nxt
    room = c.rcv_adv - seq
    if length > room:  # the end lies beyond the window; with it goes the FIN
        data, length, fin = data[: max(room, 0)], max(room, 0), 0
    if seq == c.rcv_nxt and c.reassembly is None:
        if length:
            deliver(c, data, length)
            schedule_ack(c, now)
        if fin:
            _fin_reached(c)
        return Match.CONNECTION
    return _out_of_order(c, seq, data, fin)


def came_twice(c: Connection, seq: int, end: int) -> None:
    """Tell the peer with the next ACK (RFC 2883 section 4)."""
    if c.config.dsack and seq < end:
        c.dsack = seq, end


def sack_blocks(c: Connection) -> tuple[tuple[int, int], ...]:
    """What a segment sent now reports: a duplicate comes first, and only once (RFC 2883 4 (1), (2)), then RFC 2018's."""
    room = 3 if c.ts_on else 4
    twice, c.dsack = c.dsack, None
    if twice is None:
        return c.reassembly.blocks(room) if c.reassembly is not None else ()
    return (twice, *c.reassembly.blocks(room - 1)) if c.reassembly is not None else (twice,)


def _out_of_order(c: Connection, seq: int, data: Buffer, fin: int) -> Reason:
    """A gap before ``seq``, or one that it closes; either is acknowledged at once (RFC 5681 4.2)."""
    c.ack_now = True
    queue = c.reassembly
    if queue is None:
        queue = c.reassembly = Reassembly()
    if (twice := queue.known(seq, seq + len(data))) is not None:
        came_twice(c, *twice)
    if len(queue) >= c.config.max_out_of_order and seq != c.rcv_nxt:
        return Drop.REASSEMBLY_FULL
    added = queue.add(seq, data) if data else 0
    if fin:
        queue.fin = seq + len(data)
    for piece in queue.take(c.rcv_nxt):
        deliver(c, piece, len(piece))
    if queue.fin == c.rcv_nxt:
        _fin_reached(c)
        c.reassembly = None
    elif not queue and (queue.fin is None or queue.fin < c.rcv_nxt):
        c.reassembly = None
    return Match.CONNECTION if added or fin else Drop.DUPLICATE


def deliver(c: Connection, data: Buffer, length: int) -> None:
    """Hand ``data`` to the application."""
    c.rcv_nxt += length
    waiting = c.received
    if waiting and length < SMALL and len(waiting[-1]) < COLLAPSED:
        waiting[-1] = b"".join((waiting[-1], data))  # or a peer that sends single bytes would cost 60 times their size
    else:
        waiting.append(data)
    c.received_bytes += length
    c.events |= READABLE


def _fin_reached(c: Connection) -> None:
    """Eighth, check the FIN bit (RFC 9293 3.10.7.4)."""
    c.rcv_nxt += 1
    c.rcv_adv = max(c.rcv_adv, c.rcv_nxt)  # it may lie just behind a full window
    c.fin_received = True
    c.ack_now = True
    c.events |= READABLE
    c.move(Event.FIN)


def schedule_ack(c: Connection, now: int) -> None:
    """Delay the ACK (RFC 9293 3.8.6.3) unless two full segments wait for one or the connection is young."""
    if c.quick_acks or c.rcv_nxt - c.last_ack_sent >= 2 * c.mss:
        c.ack_now = True
    elif c.deadline_ack == NEVER:
        c.deadline_ack = now + c.config.delayed_ack


def window(c: Connection) -> int:
    """The window field of a segment sent now, unscaled as on the wire; moves the advertised edge.

    The edge never moves left (SHLD-14), and right only by steps worth telling (RFC 9293 3.8.6.2.2, MUST-39).
    """
    rcv_nxt, scale = c.rcv_nxt, c.rcv_wscale
    offered = c.rcv_adv - rcv_nxt
    free = c.rcvbuf - c.received_bytes
    if free - offered >= c.mss or free - offered >= c.rcvbuf >> 1:
        offered = free
    field = offered >> scale
    # RFC 7323 2.4: rounding down takes back a little of what was offered. Round up instead, where there is room.
    if field << scale < offered and (field + 1) << scale <= free:
        field += 1
    if field > 0xFFFF:
        field = 0xFFFF
    if (edge := rcv_nxt + (field << scale)) > c.rcv_adv:
        c.rcv_adv = edge
    return field


def syn_window(c: Connection) -> int:
    """The window of a SYN is never scaled (RFC 7323 2.2)."""
    field = min(c.rcvbuf - c.received_bytes, 0xFFFF)
    c.rcv_adv = max(c.rcv_adv, c.rcv_nxt + field)
    return field


def consider_window_update(c: Connection) -> None:
    """After the application has read: tell the peer once the window has grown by a segment or half the buffer."""
    offered = c.rcv_adv - c.rcv_nxt
    most = min(c.rcvbuf, 0xFFFF << c.rcv_wscale)
    # only when it matters, with less than half of it on offer: an ACK that is due anyway carries the rest
    if offered <= most >> 1 and c.state in CAN_RECEIVE:
        advance = min(c.rcvbuf - c.received_bytes, most) - offered
        if advance >= c.mss or advance > most >> 1:
            c.ack_now = True


def urgent_arrives(c: Connection, seg: Segment) -> None:
    """Sixth, check the URG bit: the urgent data stay in line (RFC 6093), the application is told how far they reach."""
    edge = seg.seq + seg.urg
    if edge > c.rcv_up and edge > c.rcv_nxt:
        c.rcv_up = edge
        c.events |= URGENT
