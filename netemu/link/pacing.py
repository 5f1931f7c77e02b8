"""How long packets take on the wire: the rate of a bottleneck, exact to the nanosecond and without drift."""

from __future__ import annotations

from netemu.link.impairments import Rate
from netemu.link.units import SECOND


class RateSchedule:
    """As netemu.link.traces.Schedule, for a constant rate."""

    def __init__(self, rate: Rate) -> None:
        self._rate, self._bits = rate, rate.bits
        self._size = self._cost = -1
        """What the last packet's size was, and what that takes: most are of one size."""
        self._rest = 0
        """Of the last division: what is carried on, in 1/rate of a nanosecond."""

    def departure(self, size: int, now: int) -> int:
        """When the last of an IP packet's ``size`` bytes is through, if its turn comes at ``now`` (ns)."""
        if size != self._size:
            self._size, self._cost = size, self._cost_of(size)
        taken, self._rest = divmod(self._cost + self._rest, self._bits)
        return now + taken

    def _cost_of(self, size: int) -> int:
        rate = self._rate
        size += rate.overhead
        if rate.cell:
            size = -(-size // rate.cell) * (rate.cell + rate.cell_overhead)
        return max(0, size) * 8 * SECOND
