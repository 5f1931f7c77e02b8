"""CUBIC (RFC 9438), with HyStart++ (RFC 9406) in its first slow start. Windows are bytes; the formulas' are segments."""

from __future__ import annotations

from netemu.tcp.congestion.base import INFINITE, MAX_CWND, CongestionControl, Sample
from netemu.tcp.congestion.hystart import N_RTT_SAMPLE, HyStart

SECOND = 1_000_000_000
BETA, C = 0.7, 0.4
ALPHA = 3 * (1 - BETA) / (1 + BETA)
"""Segments a round trip by which a Reno flow with this BETA has the throughput of the standard one (RFC 9438 4.3)."""
NO_EPOCH = -1


class Cubic(CongestionControl):
    """The window is a cubic function of the time since the last reduction, whatever the round-trip time."""

    __slots__ = ("_before", "_epoch", "_hystart", "_k", "_last", "_rest", "_w_est", "_w_max")
    name = "cubic"

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self._epoch = NO_EPOCH
        """When this congestion avoidance began; NO_EPOCH before its first acknowledgement."""
        self._k = 0.0  # seconds from then until the window is at W_max
        self._w_max = 0.0  # segments
        self._w_est = 0.0  # segments that Reno would have now
        self._before = 0.0  # cwnd_prior: segments before the last reduction
        self._rest = 0.0  # of a byte
        self._last = 0  # when on_ack was last called
        self._hystart: HyStart | None = HyStart()
        self.samples_from = N_RTT_SAMPLE * mss

    # -- acknowledgements -------------------------------------------------------------------------------------------------

    def on_sample(self, sample: Sample, now: int) -> None:
        if self._hystart is not None and self._hystart.is_over(sample):
            self.ssthresh = self.cwnd
            self._end_hystart()

    def _end_hystart(self) -> None:
        self._hystart = None
        self.samples_from = INFINITE

    def on_ack(self, acked: int, now: int) -> None:
        cwnd = self.cwnd
        if cwnd >= MAX_CWND:
            return
        if cwnd < self.ssthresh:
            # DEVIATION: no limit L for one ACK (RFC 9406 4.2), as in NewReno and in Linux: receivers with GRO acknowledge
            # 64 KiB at a time
            grown = cwnd + (acked // self._hystart.divisor if self._hystart is not None else acked)
            self.cwnd = min(grown, max(self.ssthresh, cwnd + self.mss))
            if self._hystart is not None:
                # of a window that is full: what the application holds back would only cost (2.5 us a segment), and tells little
                self.samples_from = max(self.cwnd * 3 >> 2, N_RTT_SAMPLE * self.mss)
            return
        self._avoid(acked, now)

    def _avoid(self, acked: int, now: int) -> None:
        """Congestion avoidance (RFC 9438 4.2 to 4.5)."""
        cwnd = self.cwnd / self.mss
        if self._epoch == NO_EPOCH:
            self._begin(cwnd, now)
        elif now - self._last > 2 * self.srtt:
            # it was not the window that held the sender back meanwhile: that time does not count (4.2)
            self._epoch += now - self._last - self.srtt
        self._last = now
        segments = acked / self.mss
        self._w_est += (ALPHA if self._w_est < self._before else 1.0) * segments / cwnd
        if self._w_cubic(now) < self._w_est:  # the Reno-friendly region (4.3)
            grown = max(self._w_est, cwnd)
        else:
            target = min(max(self._w_cubic(now + self.srtt), cwnd), 1.5 * cwnd)
            grown = cwnd + (target - cwnd) * segments / cwnd
        exact = grown * self.mss + self._rest
        self.cwnd = int(exact)
        self._rest = exact - self.cwnd

    def _w_cubic(self, now: int) -> float:
        """Figure 1: W_cubic(t) = C (t - K)^3 + W_max."""
        since: float = (now - self._epoch) / SECOND - self._k
        return C * since * since * since + self._w_max

    def _begin(self, cwnd: float, now: int) -> None:
        """An epoch begins at ``cwnd`` (4.2): K is when the function reaches W_max, where there is one above."""
        self._epoch, self._rest = now, 0.0
        self._w_est = cwnd
        if cwnd < self._w_max:
            self._k = ((self._w_max - cwnd) / C) ** (1 / 3)
        else:
            self._k, self._w_max = 0.0, cwnd

    # -- congestion -------------------------------------------------------------------------------------------------------

    def reduce(self, flight: int, now: int) -> None:
        """4.6, with fast convergence (4.7): a flow that loses before it has reached W_max again leaves room for a new one.

        Of cwnd, not of the flight, as 4.6 permits where an unused window does not grow; as Linux.
        """
        self._before = self.cwnd / self.mss
        self._w_max = self._before * (1 + BETA) / 2 if self._before < self._w_max else self._before
        self._epoch = NO_EPOCH
        self.ssthresh = max(int(self.cwnd * BETA), 2 * self.mss)
        self._end_hystart()

    def on_timeout(self, flight: int, now: int, first: bool) -> None:
        """4.8: the next epoch begins where slow start ends."""
        super().on_timeout(flight, now, first)
        self._epoch = NO_EPOCH

    def undo(self) -> None:
        """4.9: W_max goes back too."""
        if self._undo_cwnd:
            self._w_max = max(self._w_max, self._before)
            self._epoch = NO_EPOCH
        super().undo()

    def follow(self, before: CongestionControl) -> None:
        super().follow(before)
        if self.ssthresh < INFINITE:
            self._end_hystart()

    def on_mss(self, mss: int) -> None:
        super().on_mss(mss)
        if self._hystart is not None:
            self.samples_from = N_RTT_SAMPLE * mss
