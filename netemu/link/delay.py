"""Delay: what is drawn for each packet, and the line in which packets wait for their times."""

from __future__ import annotations

import heapq
from math import erf, sqrt
from random import Random
from typing import NamedTuple

from netemu.link.impairments import Delay
from netemu.wire.packet import Packet

MEMORY = 64 << 20
"""Bytes that may be under way in one direction: half a second at 1 Gbit/s."""


class Flying(NamedTuple):
    """A packet in the delay line; ordered by time, then as they were sent."""

    when: int
    """It comes out then, ns."""
    order: int
    packet: Packet
    slices: int
    entered: int
    """When it was sent into the direction."""
    left: int
    """When it was through the bottleneck."""
    note: str
    """What else was done to it, for a capture."""
    is_paced: bool
    """It had to wait for the packet before it."""


class DelayLine:
    """Packets on their way, by the time at which they come out."""

    __slots__ = ("_heap", "_order", "bytes", "last", "slices")

    def __init__(self) -> None:
        self._heap: list[Flying] = []
        self._order = 0
        self.bytes = 0
        self.slices = 0
        self.last = 0
        """The latest time at which any of them comes (or came) out."""

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def due(self) -> int:
        """When the first comes out; there must be one."""
        return self._heap[0].when

    def push(
        self, packet: Packet, slices: int, when: int, entered: int, left: int, note: str = "", is_paced: bool = False
    ) -> None:
        self._order += 1
        self.bytes += len(packet)
        self.slices += slices
        if when > self.last:
            self.last = when
        heapq.heappush(self._heap, Flying(when, self._order, packet, slices, entered, left, note, is_paced))

    def pop(self) -> Flying:
        """The first; there must be one."""
        flying = heapq.heappop(self._heap)
        self.bytes -= len(flying.packet)
        self.slices -= flying.slices
        return flying


class Jitter:
    """Draws the delay of one packet after the other.

    The distribution of the delays is what was asked, whatever the correlation: the normal variates behind them are an
    autoregressive series (z' = rho z + sqrt(1 - rho^2) e), of which each by itself is standard normal. tc-netem(8)
    mixes uniform numbers instead, which narrows the distribution; see netemu.link.loss.
    """

    def __init__(self, delay: Delay, random: Random) -> None:
        self._delay = delay
        self._random = random
        self._z = random.gauss(0, 1) if delay.correlation else 0.0
        table = delay.distribution.table if delay.distribution else ()
        self._table = [round(delay.jitter * value) for value in table]

    def draw(self) -> int:
        """ns, never less than 0."""
        delay = self._delay
        rho = delay.correlation
        if rho:
            self._z = rho * self._z + sqrt(1 - rho * rho) * self._random.gauss(0, 1)
            uniform = (1 + erf(self._z / sqrt(2))) / 2
        else:
            uniform = self._random.random()
        table = self._table
        if not table:
            return max(0, delay.time + round(delay.jitter * (2 * uniform - 1)))
        return max(0, delay.time + table[min(len(table) - 1, int(uniform * len(table)))])
