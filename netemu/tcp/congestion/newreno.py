"""Slow start and congestion avoidance of RFC 5681, counted in bytes (RFC 3465)."""

from __future__ import annotations

from netemu.tcp.congestion.base import MAX_CWND, CongestionControl


class NewReno(CongestionControl):
    """The standard algorithm."""

    __slots__ = ("_counted",)
    name = "newreno"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._counted = 0

    def on_ack(self, acked: int, now: int) -> None:
        cwnd = self.cwnd
        if cwnd >= MAX_CWND:
            return
        if cwnd < self.ssthresh:
            # DEVIATION: RFC 3465 2.2 caps the growth per ACK at 2 SMSS. Receivers with GRO acknowledge 64 KiB at a time, so
            # a cap would stop slow start; Linux has none either.
            self.cwnd = min(cwnd + acked, max(self.ssthresh, cwnd + self.mss))
            return
        self._counted += acked
        if self._counted >= cwnd:
            self._counted -= cwnd
            self.cwnd = cwnd + self.mss

    def reduce(self, flight: int, now: int) -> None:
        self.ssthresh = max(flight >> 1, 2 * self.mss)
        self._counted = 0
