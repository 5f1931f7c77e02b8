"""The interface that a congestion control algorithm fills in. Windows in bytes, times in nanoseconds."""

from __future__ import annotations

from abc import ABC, abstractmethod

INFINITE = 1 << 60


def initial_window(mss: int) -> int:
    """RFC 6928: ten segments, but not more than 14 600 bytes unless two segments are."""
    return min(10 * mss, max(2 * mss, 14600))


class CongestionControl(ABC):
    """Owns ``cwnd`` and ``ssthresh``; is told of acknowledgements and losses. What to retransmit is recovery's business."""

    __slots__ = ("cwnd", "mss", "ssthresh")
    name: str

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = initial_window(mss)
        self.ssthresh = INFINITE

    @abstractmethod
    def on_ack(self, acked: int, now: int) -> None:
        """``acked`` new bytes were acknowledged outside fast recovery, and cwnd had been used up when they were in flight."""

    @abstractmethod
    def on_loss(self, flight: int, now: int) -> None:
        """A loss was inferred from acknowledgements: set ssthresh (RFC 5681 equation 4 or the algorithm's own)."""

    def on_timeout(self, flight: int, now: int, first: bool) -> None:
        """The retransmission timer expired: one segment and slow start (RFC 5681 3.1); ssthresh only the first time."""
        if first:
            self.on_loss(flight, now)
        self.cwnd = self.mss

    def on_idle(self) -> None:
        """Nothing was sent for an RTO: back to the restart window (RFC 5681 4.1)."""
        self.cwnd = min(self.cwnd, initial_window(self.mss))

    def on_mss(self, mss: int) -> None:
        """The path's MTU changed: keep the number of segments."""
        self.cwnd = max(mss, self.cwnd * mss // self.mss)
        self.mss = mss
