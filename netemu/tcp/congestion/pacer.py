"""Pacing, as Linux' internal one: segments leave when their time has come, not in bursts when the window opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netemu.tcp.connection import Connection

SECOND = 1_000_000_000
QUANTUM = 1_000_000
"""ns: what is due within it leaves together (Linux' sk_pacing_shift of 10), so that a fast flow needs no timer a segment."""


def rate_of(c: Connection) -> int:
    """sk_pacing_rate, bytes a second: what the algorithm says, else cwnd a round trip and some, so that cwnd still decides."""
    cc, config = c.cc, c.config
    rate = cc.pacing_rate
    if not rate:
        ratio = config.pacing_ss_ratio if cc.cwnd < cc.ssthresh >> 1 else config.pacing_ca_ratio
        rate = max(cc.cwnd, c.snd_nxt - c.snd_una) * SECOND * ratio // (100 * (c.rtt.srtt or QUANTUM))
    most = config.max_pacing_rate
    return max(1, min(rate, most) if most else rate)


class Pacer:
    """One connection's, where it is paced at all: by BBR, or because of SO_MAX_PACING_RATE."""

    __slots__ = ("due",)

    def __init__(self) -> None:
        self.due = 0
        """When the next segment may leave."""

    def may_send(self, c: Connection, now: int) -> bool:
        """Is it time? Otherwise the connection's timer says when."""
        if self.due <= now:
            return True
        c.deadline_pace = max(self.due, now + QUANTUM)
        return False

    def limit(self, c: Connection, limit: int) -> int:
        """Payload bytes of a super-segment: a quantum's worth, but two segments at least (tcp_min_tso_segs)."""
        return min(limit, max(2 * c.mss, rate_of(c) // 1000))

    def sent(self, c: Connection, length: int, now: int) -> None:
        """``length`` bytes left. A timer that came late is made up for, a quantum of it at most."""
        self.due = max(self.due, now - QUANTUM) + length * SECOND // rate_of(c)
