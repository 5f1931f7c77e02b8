"""The interface that a congestion control algorithm fills in. Windows in bytes, times in nanoseconds, rates in bytes a second."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

INFINITE = 1 << 60
MAX_CWND = 1 << 30


def initial_window(mss: int) -> int:
    """RFC 6928: ten segments, but not more than 14 600 bytes unless two segments are."""
    return min(10 * mss, max(2 * mss, 14600))


@dataclass(slots=True)
class Sample:
    """What one acknowledgement tells of the path (draft-cheng-iccrg-delivery-rate-estimation)."""

    rtt: int
    """ns from sending to now of the newest segment acknowledged; 0 where it may have been sent twice (Karn)."""
    delivered: int
    """Bytes that arrived at the peer since that segment was sent."""
    interval: int
    """ns in which they did; 0 where nothing can be said."""
    acked: int
    """Bytes that this acknowledgement is for."""
    flight: int
    """Bytes outstanding now."""
    is_app_limited: bool
    """The application, not the path, held the sender back when that segment was sent."""
    starts_round: bool
    """It was sent after the last round began: one round trip has passed."""


class CongestionControl(ABC):
    """Owns ``cwnd`` and ``ssthresh``; is told of acknowledgements and losses. What to retransmit is recovery's business."""

    __slots__ = ("_undo_cwnd", "_undo_ssthresh", "cwnd", "mss", "pacing_rate", "samples_from", "srtt", "ssthresh")
    name: str
    paces = False
    """It sets ``pacing_rate``, from the beginning."""
    owns_cwnd = False
    """It sets cwnd in recovery too (Linux' cong_control): no PRR."""

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = initial_window(mss)
        self.ssthresh = INFINITE
        self.srtt = 0
        """Smoothed round-trip time, as ``on_rtt`` had them; 0: none measured."""
        self.pacing_rate = 0
        """Bytes a second at which segments are to leave; 0: as soon as the window has room."""
        self.samples_from = INFINITE
        """``on_sample`` is wanted of segments that leave when so many bytes are outstanding; INFINITE: of none."""
        self._undo_cwnd = self._undo_ssthresh = 0

    @abstractmethod
    def on_ack(self, acked: int, now: int) -> None:
        """``acked`` new bytes were acknowledged outside fast recovery, and cwnd had been used up when they were in flight."""

    def on_rtt(self, rtt: int, now: int) -> None:
        """A round-trip time was measured: once a round trip, and not of what was sent twice."""
        self.srtt = self.srtt + (rtt - self.srtt >> 3) if self.srtt else rtt

    def on_sample(self, sample: Sample, now: int) -> None:
        """An acknowledgement came for segments that ``samples_from`` asked for; before its on_ack, and in recovery too."""
        raise NotImplementedError(f"{self.name} sets samples_from and has no on_sample")

    def on_loss(self, flight: int, now: int) -> None:
        """A congestion event: a loss was inferred from acknowledgements, or a mark came back (RFC 3168).

        Sets ssthresh, remembers for ``undo``. What becomes of cwnd until the end of recovery is recovery's business.
        """
        self._undo_cwnd, self._undo_ssthresh = self.cwnd, self.ssthresh
        self.reduce(flight, now)

    @abstractmethod
    def reduce(self, flight: int, now: int) -> None:
        """Set ssthresh after a loss, at most once a window (RFC 5681 equation 4 or the algorithm's own)."""

    def undo(self) -> None:
        """The last ``on_loss`` or ``on_timeout`` was for nothing (RFC 4015, 5682): as it was before."""
        if self._undo_cwnd:
            self.cwnd = max(self.cwnd, self._undo_cwnd)
            self.ssthresh = max(self.ssthresh, self._undo_ssthresh)
            self._undo_cwnd = 0

    def on_timeout(self, flight: int, now: int, first: bool) -> None:
        """The retransmission timer expired: one segment and slow start (RFC 5681 3.1); ssthresh only the first time."""
        if first:
            self.on_loss(flight, now)
        self.cwnd = self.mss

    def on_idle(self, idle: int, rto: int) -> None:
        """Nothing was sent for ``idle``, more than an RTO: halve cwnd for each, down to the initial window (RFC 2861 3.2).

        DEVIATION: RFC 5681 4.1 says the initial window at once. Linux halves, and ssthresh remembers three quarters.
        """
        restart = min(self.cwnd, initial_window(self.mss))
        self.ssthresh = max(self.ssthresh, self.cwnd * 3 // 4)
        self.cwnd = max(self.cwnd >> min(idle // rto, 40), restart)

    def follow(self, before: CongestionControl) -> None:
        """Take over, in mid-connection."""
        self.cwnd, self.ssthresh, self.srtt = before.cwnd, before.ssthresh, before.srtt

    def on_mss(self, mss: int) -> None:
        """The path's MTU changed: keep the number of segments."""
        self.cwnd = max(mss, self.cwnd * mss // self.mss)
        self.mss = mss
