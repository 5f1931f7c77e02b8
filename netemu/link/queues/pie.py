"""Proportional Integral controller Enhanced (RFC 8033): drops at random who comes, so that the wait stays near ``target``."""

from __future__ import annotations

from random import Random

from netemu.link.ecn import is_capable
from netemu.link.queues.base import LIMIT, MEMORY_LIMIT, MS, Bytes, Flag, Number, Packets, SingleQueue, Time, at_least
from netemu.reasons import LinkDrop
from netemu.wire.packet import Packet

SECOND = 1_000_000_000
MAX_BURST = 150 * MS
"""So long a queue may build up before the first drop (RFC 8033 4.4)."""
MARK_BELOW = 0.1
"""Above this drop probability ECN-capable packets are dropped too: their senders do not react (RFC 8033 5.1)."""
MEAN_SIZE, FULL_SIZE = 1024, 1500
"""A queue of two mean packets is left alone (RFC 8033 4.1); in byte mode a full-sized one has the whole probability."""
DQ_THRESHOLD = 1 << 14
DQ_WEIGHT = DQ_THRESHOLD / (1 << 16)
"""Bytes over which the departure rate is measured, and the weight of a new one in its average (RFC 8033 5.2)."""
SCALE = ((1e-6, 2048), (1e-5, 512), (1e-4, 128), (1e-3, 32), (1e-2, 8), (1e-1, 2))
"""(drop probability, divisor of a change below it): auto-tuning, RFC 8033 4.2."""


class Pie(SingleQueue):
    """Parameters and defaults of tc-pie(8); ``alpha`` and ``beta`` count sixteenths of a hertz there."""

    def __init__(
        self,
        random: Random,
        *,
        limit: Packets = LIMIT,
        memory_limit: Bytes = MEMORY_LIMIT,
        target: Time = 15 * MS,
        tupdate: Time = 15 * MS,
        alpha: Number = 2,
        beta: Number = 20,
        ecn: Flag = False,
        bytemode: Flag = False,
        dq_rate_estimator: Flag = False,
    ) -> None:
        super().__init__(limit, memory_limit)
        at_least(1, target=target, tupdate=tupdate)
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not 0 <= value <= 32:
                raise ValueError(f"{name} must be between 0 and 32, not {value}")
        self._random = random
        self.target, self.tupdate = target, tupdate
        self.alpha, self.beta = alpha / 16 / SECOND, beta / 16 / SECOND  # of a probability, per ns
        self.ecn, self.bytemode = ecn, bytemode
        self._rate = _DepartureRate() if dq_rate_estimator else None
        self.probability = 0.0
        self._accumulated = 0.0
        self._delay = self._old_delay = 0.0  # ns
        self._burst = MAX_BURST
        self._updated = 0

    def _arrive(self, packet: Packet, now: int) -> None:
        self._update(now)
        if self._is_full(len(packet)):
            self.on_drop(packet, now, LinkDrop.QUEUE_FULL)
            return
        if self._strikes(packet):
            if not (self.ecn and self.probability <= MARK_BELOW and is_capable(packet)):
                self.on_drop(packet, now, LinkDrop.PIE)
                return
            packet = self.mark(packet, now)
        self.append(self._fifo, packet, now, len(packet))

    def pop(self, now: int) -> Packet | None:
        self._update(now)
        if not self._length:
            return None
        waiting = self.bytes
        packet = self.take(self._fifo, now)
        if self._rate:
            self._rate.departs(self.size, waiting, now)
        else:
            self._delay = self.waited if self._length else 0  # by the time stamp (RFC 8033 4.3)
        return packet

    def _strikes(self, packet: Packet) -> bool:
        """Is this one to be dropped or marked? (drop_early, RFC 8033 4.1, with the derandomization of 5.4)"""
        if self._burst > 0:
            return False
        if (self._old_delay < self.target / 2 and self.probability < 0.2) or self.bytes <= 2 * MEAN_SIZE:
            return False
        if not self.probability:
            self._accumulated = 0.0
        probability = self.probability
        if self.bytemode:
            probability *= min(1.0, len(packet) / FULL_SIZE)
        self._accumulated += probability
        if self._accumulated < 0.85:
            return False
        if self._accumulated < 8.5 and self._random.random() >= probability:
            return False
        self._accumulated = 0.0
        return True

    def _update(self, now: int) -> None:
        """Make up for the updates that were due by now. Nothing moved since, so they end where they change nothing more."""
        if not self._updated:
            self._updated = now
        while now - self._updated >= self.tupdate:
            before = (self.probability, self._old_delay, self._burst)
            self._update_once()
            self._updated += self.tupdate
            if before == (self.probability, self._old_delay, self._burst):
                self._updated += (now - self._updated) // self.tupdate * self.tupdate

    def _update_once(self) -> None:
        """The controller's step (RFC 8033 4.2, 4.4, 5.5)."""
        if self._rate:
            self._delay = self._rate.delay_of(self.bytes)
        change = self.alpha * (self._delay - self.target) + self.beta * (self._delay - self._old_delay)
        change /= next((divisor for bound, divisor in SCALE if self.probability < bound), 1)
        if self.probability >= 0.1 and change > 0.02:  # RFC 8033 5.5
            change = 0.02
        self.probability += change
        if not self._delay and not self._old_delay:  # no congestion any more
            self.probability *= 0.98
        self.probability = min(1.0, max(0.0, self.probability))
        self._burst = max(0, self._burst - self.tupdate)
        half = self.target / 2
        if not self.probability and self._delay < half and self._old_delay < half:
            self._burst = MAX_BURST
        self._old_delay = self._delay


class _DepartureRate:
    """How fast a queue that holds at least DQ_THRESHOLD bytes is drained (RFC 8033 5.2)."""

    __slots__ = ("_count", "_since", "per_byte")

    def __init__(self) -> None:
        self.per_byte = 0.0
        """ns; 0 until it was measured."""
        self._since: int | None = None
        self._count = 0

    def departs(self, size: int, waiting: int, now: int) -> None:
        """A packet leaves a queue of ``waiting`` bytes, its own among them.

        It leaves as its transmission begins; so up to now those before it were transmitted.
        """
        if self._since is not None and self._count >= DQ_THRESHOLD:
            taken = (now - self._since) / self._count
            self.per_byte = taken if not self.per_byte else self.per_byte * (1 - DQ_WEIGHT) + taken * DQ_WEIGHT
            self._since = None
        if self._since is None and waiting >= DQ_THRESHOLD:
            self._since, self._count = now, 0
        self._count += size

    def delay_of(self, waiting: int) -> float:
        """Little's law (RFC 8033 4.3), ns."""
        return waiting * self.per_byte
