"""BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00): model the path, send at its rate, whatever is lost.

The model is the bottleneck's bandwidth, the most that was delivered in the last ten rounds, and the round-trip propagation time,
the least of the last ten seconds. Names are the draft's, without the prefix.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from netemu.tcp.congestion.base import CongestionControl, Sample, initial_window

MS, SECOND = 1_000_000, 1_000_000_000
HIGH_GAIN = 2.885
"""2/ln 2: the least that lets the rate double each round (4.3.2.1)."""
CYCLE = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""pacing_gain of ProbeBW's phases (4.3.4.3)."""
BTL_BW_ROUNDS = 10
RT_PROP_LIFE = 10 * SECOND
PROBE_RTT_TIME = 200 * MS
MIN_PIPE_SEGMENTS = 4
FULL_GROWTH, FULL_ROUNDS = 1.25, 3


class Mode(Enum):
    STARTUP = "Startup"
    DRAIN = "Drain"
    PROBE_BW = "ProbeBW"
    PROBE_RTT = "ProbeRTT"


class Bbr(CongestionControl):
    """See the module."""

    __slots__ = (
        "_best",
        "_cycle",
        "_cycle_at",
        "_delivered",
        "_full_bw",
        "_full_count",
        "_limited",
        "_prior_cwnd",
        "_probe_done_at",
        "_probe_rounds",
        "_restarts",
        "_round",
        "_rt_prop_at",
        "filled",
        "mode",
        "rt_prop",
    )
    name = "bbr"
    paces = True
    owns_cwnd = True

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self.samples_from = 0
        self.mode = Mode.STARTUP
        self.rt_prop = 0
        """ns; 0: not known."""
        self._rt_prop_at = 0
        self._best: deque[tuple[int, int]] = deque()
        """(round, bytes a second): the most of the last rounds first, behind it what will be the most when that is too old."""
        self._round = 0
        self._delivered = 0
        self.filled = False
        """filled_pipe: Startup has found the bandwidth."""
        self._full_bw = self._full_count = 0
        self._cycle = self._cycle_at = 0
        self._prior_cwnd = 0
        self._limited = 0
        """Rounds in which ProbeRTT is to blame for little being delivered: they tell nothing of the bandwidth."""
        self._probe_done_at = 0
        """When ProbeRTT may end; 0: the queue has not drained yet."""
        self._probe_rounds = 0
        self._restarts = False
        self.pacing_rate = int(HIGH_GAIN * self.cwnd * SECOND / MS)  # 4.2.1: a round trip of 1 ms, until one is known

    @property
    def btl_bw(self) -> int:
        """Bytes a second; 0: not known."""
        return self._best[0][1] if self._best else 0

    # -- the model (4.1) --------------------------------------------------------------------------------------------------

    def on_sample(self, sample: Sample, now: int) -> None:
        self._delivered += sample.acked
        if sample.starts_round:
            self._probe_rounds += 1
            self._limited = 2 if self.mode is Mode.PROBE_RTT else max(0, self._limited - 1)
            self._round += not self._limited
        self._update_btl_bw(sample)
        self._check_full_pipe(sample)
        self._check_drain(sample, now)
        self._check_cycle(sample, now)
        self._update_rt_prop(sample, now)
        self._check_probe_rtt(sample, now)
        self._set_pacing_rate()
        self._set_cwnd(sample)

    def _update_btl_bw(self, sample: Sample) -> None:
        if sample.interval <= 0 or sample.interval < self.rt_prop:
            return  # what came in less than a round trip was compressed on its way
        bandwidth = sample.delivered * SECOND // sample.interval
        if (sample.is_app_limited or self._limited) and bandwidth < self.btl_bw:
            return
        best = self._best
        while best and best[-1][1] <= bandwidth:
            best.pop()
        best.append((self._round, bandwidth))
        while best[0][0] <= self._round - BTL_BW_ROUNDS:
            best.popleft()

    def _update_rt_prop(self, sample: Sample, now: int) -> None:
        expired = now > self._rt_prop_at + RT_PROP_LIFE and self.rt_prop > 0
        if sample.rtt and (not self.rt_prop or sample.rtt <= self.rt_prop or expired):
            self.rt_prop, self._rt_prop_at = sample.rtt, now
        if expired and not self._restarts and self.mode is not Mode.PROBE_RTT:
            self.mode = Mode.PROBE_RTT
            self._prior_cwnd = self.cwnd
            self._probe_done_at = 0
        self._restarts = False

    def _inflight(self, gain: float) -> int:
        """Bytes in flight that are ``gain`` times the bandwidth-delay product (4.2.3.2)."""
        if not self.rt_prop or not self._best:
            return initial_window(self.mss)
        return max(int(gain * self.btl_bw * self.rt_prop / SECOND), 0)

    # -- the states (4.3) -------------------------------------------------------------------------------------------------

    @property
    def pacing_gain(self) -> float:
        if self.mode is Mode.STARTUP:
            return HIGH_GAIN
        if self.mode is Mode.DRAIN:
            return 1 / HIGH_GAIN
        return CYCLE[self._cycle] if self.mode is Mode.PROBE_BW else 1.0

    @property
    def cwnd_gain(self) -> float:
        return HIGH_GAIN if self.mode in (Mode.STARTUP, Mode.DRAIN) else 2.0

    def _check_full_pipe(self, sample: Sample) -> None:
        """4.3.2.2: three rounds without a quarter more."""
        if self.filled or not sample.starts_round or sample.is_app_limited:
            return
        if self.btl_bw >= self._full_bw * FULL_GROWTH:
            self._full_bw, self._full_count = self.btl_bw, 0
            return
        self._full_count += 1
        self.filled = self._full_count >= FULL_ROUNDS

    def _check_drain(self, sample: Sample, now: int) -> None:
        """4.3.3."""
        if self.mode is Mode.STARTUP and self.filled:
            self.mode = Mode.DRAIN
        if self.mode is Mode.DRAIN and sample.flight <= self._inflight(1.0):
            self._enter_probe_bw(now)

    def _enter_probe_bw(self, now: int) -> None:
        """In any phase but the one that drains, so that flows do not probe together: the clock chooses."""
        self.mode = Mode.PROBE_BW
        self._cycle = (0, *range(2, len(CYCLE)))[now // 1000 % (len(CYCLE) - 1)]
        self._cycle_at = now

    def _check_cycle(self, sample: Sample, now: int) -> None:
        """4.3.4.3: a phase lasts a round-trip time; that which drains ends once the queue is gone."""
        if self.mode is not Mode.PROBE_BW:
            return
        is_full_length = now - self._cycle_at > self.rt_prop
        gain = self.pacing_gain
        if gain > 1:
            ends = is_full_length and sample.flight >= self._inflight(gain)
            ends = ends or now - self._cycle_at > 4 * self.rt_prop  # nothing was there to send, or it was lost
        elif gain < 1:
            ends = is_full_length or sample.flight <= self._inflight(1.0)
        else:
            ends = is_full_length
        if ends:
            self._cycle = (self._cycle + 1) % len(CYCLE)
            self._cycle_at = now

    def _check_probe_rtt(self, sample: Sample, now: int) -> None:
        """4.3.5: four segments in flight for 200 ms and a round, so that the queue drains and shows how long the path is."""
        if self.mode is not Mode.PROBE_RTT:
            return
        if not self._probe_done_at:
            if sample.flight <= MIN_PIPE_SEGMENTS * self.mss:
                self._probe_done_at, self._probe_rounds = now + PROBE_RTT_TIME, 0
        elif now >= self._probe_done_at and self._probe_rounds:
            self._rt_prop_at = now
            self.cwnd = max(self.cwnd, self._prior_cwnd)
            if self.filled:
                self._enter_probe_bw(now)
            else:
                self.mode = Mode.STARTUP

    # -- what follows from it (4.2) ---------------------------------------------------------------------------------------

    def _set_pacing_rate(self) -> None:
        rate = int(self.pacing_gain * self.btl_bw)
        if rate and (self.filled or rate > self.pacing_rate or self._round <= 1):
            self.pacing_rate = max(rate, self.mss)

    def _set_cwnd(self, sample: Sample) -> None:
        least = MIN_PIPE_SEGMENTS * self.mss
        # 4.2.3.2: three bursts more, so that one on its way here, one in the making and one there do not stop the flow
        target = self._inflight(self.cwnd_gain) + 3 * max(2 * self.mss, min(self.pacing_rate // 1000, 65536))
        if self.filled:
            self.cwnd = min(self.cwnd + sample.acked, target)
        elif self.cwnd < target or self._delivered < initial_window(self.mss):
            self.cwnd += sample.acked
        self.cwnd = max(self.cwnd, least)
        if self.mode is Mode.PROBE_RTT:
            self.cwnd = min(self.cwnd, least)

    # -- what others would take for congestion ----------------------------------------------------------------------------

    def on_ack(self, acked: int, now: int) -> None:
        """``on_sample`` has seen to it."""

    def reduce(self, flight: int, now: int) -> None:
        """4.2.3.4: a loss does not change the model; recovery goes back to the window there was."""
        self.ssthresh = max(self.cwnd, MIN_PIPE_SEGMENTS * self.mss)

    def on_idle(self, idle: int, rto: int) -> None:
        """4.3.4.4: begin again at the bandwidth that was found; and the pause has been a look at the bare path already."""
        self._restarts = True
        if self.mode is Mode.PROBE_BW and self._best:
            self.pacing_rate = self.btl_bw
