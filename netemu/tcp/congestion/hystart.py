"""HyStart++ (RFC 9406): leave slow start when the round-trip time begins to grow, before the queue overflows."""

from __future__ import annotations

from netemu.tcp.congestion.base import Sample

MS = 1_000_000
MIN_RTT_THRESH, MAX_RTT_THRESH, MIN_RTT_DIVISOR = 4 * MS, 16 * MS, 8
N_RTT_SAMPLE = 8
CSS_GROWTH_DIVISOR, CSS_ROUNDS = 4, 5
NONE_YET = 1 << 60


class HyStart:
    """Of one connection's first slow start (RFC 9406 4.3: only there)."""

    __slots__ = ("_baseline", "_current", "_last", "_rounds", "_samples", "divisor")

    def __init__(self) -> None:
        self._last = self._current = NONE_YET  # the least RTT of the last round, and of this one
        self._samples = 0
        self._baseline = 0
        """RTT at which Conservative Slow Start was entered; 0: not in it."""
        self._rounds = 0
        self.divisor = 1
        """Slow start grows by the bytes acknowledged, divided by this."""

    def is_over(self, sample: Sample) -> bool:
        """Take a sample: has Conservative Slow Start lasted long enough?"""
        if sample.starts_round:
            self._last, self._current, self._samples = self._current, NONE_YET, 0
            if self._baseline:
                self._rounds += 1
                if self._rounds >= CSS_ROUNDS:  # the one in which it was entered counts too (4.2)
                    return True
        if sample.rtt:
            self._current = min(self._current, sample.rtt)
            self._samples += 1
        if self._samples >= N_RTT_SAMPLE:
            self._judge()
        return False

    def _judge(self) -> None:
        if self._baseline:
            if self._current < self._baseline:  # it was only a burst: back to slow start
                self._baseline, self.divisor = 0, 1
        elif self._last != NONE_YET:
            threshold = max(MIN_RTT_THRESH, min(self._last // MIN_RTT_DIVISOR, MAX_RTT_THRESH))
            if self._current >= self._last + threshold:
                self._baseline, self._rounds, self.divisor = self._current, 0, CSS_GROWTH_DIVISOR
