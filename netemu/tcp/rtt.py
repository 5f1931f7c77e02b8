"""The retransmission timeout (RFC 6298)."""

from __future__ import annotations

from netemu.tcp.config import MS, NEVER, SECOND, Config


class RttEstimator:
    """Smoothed round-trip time and what follows from it. Nanoseconds."""

    __slots__ = ("_base", "backoff", "config", "min_rtt", "probes", "pto", "rto", "rttvar", "srtt")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.srtt = 0
        """0: nothing measured yet."""
        self.rttvar = 0
        self._base = config.initial_rto
        self.backoff = 0
        """How many times the timer has expired in a row."""
        self.rto = config.initial_rto
        """The timeout to arm now, doubled for each expiry (RFC 6298 5.5)."""

        self.min_rtt = NEVER
        self.probes = False
        """Tail loss probes are sent on this connection."""
        self.pto = self.rto
        """When to probe a tail of more than one segment (RFC 8985 7.2 and Linux' TCP_TIMEOUT_MIN); not later than ``rto``."""

    def expired(self) -> None:
        """Back the timer off (RFC 6298 5.5)."""
        if self.rto < self.config.max_rto:
            self.backoff += 1
            self.rto = min(self._base << self.backoff, self.config.max_rto)

    def answered(self) -> None:
        """The peer is there: no more back-off."""
        if self.backoff:
            self.backoff = 0
            self.rto = self._base

    def sample(self, rtt: int) -> None:
        """One measurement (RFC 6298 2.2, 2.3), of a segment that was sent once (Karn) or told apart by a timestamp."""
        if self.srtt:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) >> 2
            self.srtt = max(self.srtt + ((rtt - self.srtt) >> 3), 1)
        else:
            self.srtt, self.rttvar = max(rtt, 1), rtt >> 1
        if rtt < self.min_rtt:
            self.min_rtt = max(rtt, 1)
        config = self.config
        variance = self.rttvar << 2
        if variance < config.min_rto:
            variance = config.min_rto  # as Linux: the floor is on the variance, so a long path keeps its margin
        base = self.srtt + variance
        self._base = self.rto = base if base < config.max_rto else config.max_rto
        self.backoff = 0
        pto = (self.srtt << 1) + 2 * MS
        self.pto = pto if self.probes and pto < self.rto else self.rto

    def syn_was_lost(self) -> None:
        """Start with 3 s where the handshake needed a retransmission and nothing is measured (RFC 6298 5.7)."""
        if not self.srtt:
            self._base = max(self._base, 3 * SECOND)
        self.backoff = 0
        self.rto = self._base
