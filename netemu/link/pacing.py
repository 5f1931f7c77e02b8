"""How long packets take on the wire: the rate of a bottleneck, exact to the nanosecond and without drift."""

from __future__ import annotations

from netemu.link.impairments import Rate
from netemu.link.units import SECOND


class RateSchedule:
    """As netemu.link.traces.Schedule, for a constant rate."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._rest = 0
        """Of the last division: what is carried on, in 1/rate of a nanosecond."""

    def departure(self, size: int, now: int) -> int:
        """When the last of an IP packet's ``size`` bytes is through, if its turn comes at ``now`` (ns)."""
        rate = self._rate
        size += rate.overhead
        if rate.cell:
            size = -(-size // rate.cell) * (rate.cell + rate.cell_overhead)
        taken, self._rest = divmod(max(0, size) * 8 * SECOND + self._rest, rate.bits)
        return now + taken
