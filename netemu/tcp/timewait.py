"""A connection in TIME-WAIT, in a fraction of the memory: what it takes to answer what may still come (RFC 9293 3.10.7.4)."""

from __future__ import annotations

from netemu.reasons import Drop, Match, Reason
from netemu.tcp.config import Config
from netemu.tcp.connection import Connection
from netemu.tcp.state import State
from netemu.wire.tcp import ACK, FIN, HALF, MASK, RST, SYN, Segment, unwrap


class TimeWait:
    """Stands in the socket table for 2 MSL after the connection's end (MUST-13)."""

    __slots__ = (
        "ack_now",
        "config",
        "ended",
        "expires",
        "flow",
        "holds",
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
        "wnd",
    )
    state = State.TIME_WAIT

    def __init__(self, c: Connection, now: int) -> None:
        self.config: Config = c.config
        self.flow, self.owner, self.template = c.flow, c.owner, c.template
        self.snd_nxt, self.rcv_nxt = c.snd_nxt, c.rcv_nxt
        self.rcv_wnd = max(0, c.rcv_adv - c.rcv_nxt)
        self.wnd = min(self.rcv_wnd >> c.rcv_wscale, 0xFFFF)  # as on the wire
        self.ts_on, self.ts_offset, self.ts_recent = c.ts_on, c.ts_offset, c.ts_recent
        self.ack_now = c.ack_now  # of the FIN that brought us here
        self.last_challenge = -(1 << 60)
        self.expires = now + c.config.time_wait
        self.holds: object = None
        """What keeps its port for it (netemu.stack.holders)."""
        self.ended = False
        self.queued = False

    @property
    def next_iss(self) -> int:
        """The least initial sequence number of a connection that follows this one (RFC 9293 3.6.1, MAY-2; as far on as Linux)."""
        return (self.snd_nxt + 65535 + 2) & MASK

    def may_reopen(self, segment: Segment) -> bool:
        """A SYN that cannot be an old duplicate may begin a new connection (MAY-2, RFC 6191 section 2)."""
        if segment.flags & (SYN | ACK | RST | FIN) != SYN:
            return False
        if segment.ts_val is not None:
            if not self.ts_on:
                return self.config.timestamps  # the new connection's timestamps will keep old segments out of it
            newer = (segment.ts_val - self.ts_recent) & MASK
            if newer:
                return newer < HALF
        return unwrap(segment.seq, self.rcv_nxt) >= self.rcv_nxt

    def receive(self, segment: Segment, now: int) -> Reason:
        """Take a segment (numbers 32-bit) that ``may_reopen`` does not claim."""
        left, right = self.rcv_nxt, self.rcv_nxt + self.rcv_wnd
        seq, flags = unwrap(segment.seq, left), segment.flags
        end = seq + segment.end - segment.seq
        if flags & RST:  # RFC 5961 3.2
            if not left <= seq < max(right, left + 1):
                return Drop.RST_OUTSIDE_WINDOW
            if seq != left:
                self._challenge(now)
                return Drop.RST_CHALLENGED
            if self.config.rfc1337:
                return Drop.TIME_WAIT_IGNORED
            self.ended = True
            return Match.TIME_WAIT
        old = self.ts_on and segment.ts_val is not None and (segment.ts_val - self.ts_recent) & HALF
        if flags & FIN and end == left and not old:
            self.expires = now + self.config.time_wait  # its FIN again: our ACK was lost; restart the 2 MSL
            self.ack_now = True
            return Match.TIME_WAIT
        if old or end != seq or not left <= seq <= right or unwrap(segment.ack, self.snd_nxt) > self.snd_nxt:
            self._challenge(now)
        return Drop.PAWS if old else Drop.TIME_WAIT_IGNORED

    def _challenge(self, now: int) -> None:
        if now - self.last_challenge >= self.config.challenge_interval:
            self.last_challenge = now
            self.ack_now = True

    def transmit(self, now: int, limit: int = 0) -> Segment | None:
        """The ACK that is owed, if one is."""
        if not self.ack_now:
            return None
        self.ack_now = False
        ts_val = (now // 1_000_000 + self.ts_offset) & MASK if self.ts_on else None
        return Segment(self.snd_nxt, self.rcv_nxt, ACK, self.wnd, (), 0, ts_val, self.ts_recent)
