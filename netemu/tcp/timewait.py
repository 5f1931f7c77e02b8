"""A connection in TIME-WAIT, in a fraction of the memory: what it takes to answer what may still come (RFC 9293 3.10.7.4)."""

from __future__ import annotations

from netemu.reasons import Drop, Match, Reason
from netemu.tcp.config import Config
from netemu.tcp.connection import Connection
from netemu.tcp.state import State
from netemu.wire.tcp import ACK, FIN, MASK, RST, SYN, Segment, unwrap


class TimeWait:
    """Stands in the socket table for 2 MSL after the connection's end (MUST-13)."""

    __slots__ = (
        "ack_now",
        "config",
        "ended",
        "expires",
        "flow",
        "last_challenge",
        "owner",
        "queued",
        "rcv_nxt",
        "rcv_wnd",
        "snd_nxt",
        "template",
        "ts_offset",
        "ts_on",
        "ts_recent",
    )
    state = State.TIME_WAIT

    def __init__(self, c: Connection, now: int) -> None:
        self.config: Config = c.config
        self.flow, self.owner, self.template = c.flow, c.owner, c.template
        self.snd_nxt, self.rcv_nxt = c.snd_nxt, c.rcv_nxt
        self.rcv_wnd = max(0, c.rcv_adv - c.rcv_nxt)
        self.ts_on, self.ts_offset, self.ts_recent = c.ts_on, c.ts_offset, c.ts_recent
        self.ack_now = c.ack_now  # of the FIN that brought us here
        self.last_challenge = -(1 << 60)
        self.expires = now + c.config.time_wait
        self.ended = False
        self.queued = False

    def may_reopen(self, segment: Segment) -> bool:
        """A SYN that cannot be an old duplicate may begin a new connection (MAY-2, RFC 6191)."""
        if segment.flags & (SYN | ACK | RST) != SYN:
            return False
        if self.ts_on and segment.ts_val is not None:
            newer = (segment.ts_val - self.ts_recent) & MASK
            if newer:
                return newer < 0x80000000
        return unwrap(segment.seq, self.rcv_nxt) >= self.rcv_nxt

    def receive(self, segment: Segment, now: int) -> Reason:
        """Take a segment (numbers 32-bit) that ``may_reopen`` does not claim."""
        seq = unwrap(segment.seq, self.rcv_nxt)
        flags = segment.flags
        old = self.ts_on and segment.ts_val is not None and (segment.ts_val - self.ts_recent) & 0x80000000
        if flags & RST:
            if seq == self.rcv_nxt and not old and not self.config.rfc1337:
                self.ended = True
                return Match.TIME_WAIT
            return Drop.RST_OUTSIDE_WINDOW
        length = segment.end - segment.seq
        inside = self.rcv_nxt <= seq <= self.rcv_nxt + self.rcv_wnd
        if old or not inside or flags & SYN or length:
            if flags & FIN and not old and seq + length == self.rcv_nxt:
                self.expires = now + self.config.time_wait  # its FIN again: our ACK was lost; restart the 2 MSL
                self.ack_now = True
                return Match.TIME_WAIT
            if now - self.last_challenge >= self.config.challenge_interval:
                self.last_challenge = now
                self.ack_now = True
            return Drop.PAWS if old else Drop.TIME_WAIT_IGNORED
        return Drop.TIME_WAIT_IGNORED

    def transmit(self, now: int, limit: int = 0) -> Segment | None:
        """The ACK that is owed, if one is."""
        if not self.ack_now:
            return None
        self.ack_now = False
        ts_val = (now // 1_000_000 + self.ts_offset) & MASK if self.ts_on else None
        return Segment(self.snd_nxt, self.rcv_nxt, ACK, min(self.rcv_wnd, 0xFFFF), (), 0, ts_val, self.ts_recent)
