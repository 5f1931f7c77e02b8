"""Delay: what is drawn for each packet; who overtakes, and who waits for a slot."""

from __future__ import annotations

from collections.abc import Collection
from math import erf, sqrt
from random import Random

from netemu.link.impairments import Chance, Delay, Distribution, Reorder, Slot
from netemu.link.loss import chance_chain


class Jitter:
    """Draws the delay of one packet after the other.

    The distribution of the delays is what was asked, whatever the correlation: the normal variates behind them are an
    autoregressive series (z' = rho z + sqrt(1 - rho^2) e), of which each by itself is standard normal. tc-netem(8)
    mixes uniform numbers instead, which narrows the distribution; see netemu.link.loss.
    """

    def __init__(self, jitter: int, correlation: float, distribution: Distribution | None, random: Random) -> None:
        self._jitter, self._rho = jitter, correlation
        self._random = random
        self._z = random.gauss(0, 1) if correlation else 0.0
        self._table = [round(jitter * value) for value in distribution.table] if distribution else []

    @classmethod
    def of(cls, delay: Delay, random: Random) -> Jitter:
        return cls(delay.jitter, delay.correlation, delay.distribution, random)

    def draw(self, mean: int) -> int:
        """ns, never less than 0."""
        rho = self._rho
        if rho:
            self._z = rho * self._z + sqrt(1 - rho * rho) * self._random.gauss(0, 1)
            uniform = (1 + erf(self._z / sqrt(2))) / 2
        else:
            uniform = self._random.random()
        table = self._table
        if table:
            return max(0, mean + table[min(len(table) - 1, int(uniform * len(table)))])
        return max(0, mean + round(self._jitter * (2 * uniform - 1)))


class Overtaking:
    """Which packets go at once: each ``gap``-th, with a chance (tc-netem's counter: only who waits is counted)."""

    def __init__(self, reorder: Reorder, random: Random) -> None:
        self._gap = reorder.gap
        self._waited = 0
        self._chain = chance_chain(Chance(reorder.share, reorder.correlation), random, "reordered")

    def early(self, slices: int) -> Collection[int]:
        """The indices of those that do, of the next ``slices`` packets."""
        if self._gap == 1:
            return self._chain.hits(slices)
        early = []
        for index in range(slices):
            if self._waited >= self._gap - 1 and self._chain.hits(1):
                early.append(index)
                self._waited = 0
            else:
                self._waited += 1
        return early


class Slots:
    """When packets may leave that leave in slots only; they come in the order of their times.

    A packet that finds no slot open has one opened for it, some time later; whoever comes until then shares it, as far as its
    packets and bytes reach. What is left over waits for the next (tc-netem(8)).
    """

    def __init__(self, slot: Slot, random: Random) -> None:
        self._slot = slot
        self._random = random
        self._spread = Jitter(slot.high, 0.0, slot.distribution, random) if slot.distribution else None
        self._opens = -1
        self._packets = self._bytes = 0

    @property
    def is_counted(self) -> bool:
        """Not every number of packets fits into a slot."""
        return bool(self._slot.packets or self._slot.bytes)

    def leaves(self, when: int, size: int) -> int:
        """When a packet of ``size`` bytes leaves that could leave at ``when``."""
        if self._opens < when:
            self._open(when)
        leaves = self._opens
        self._packets += 1
        self._bytes += size
        slot = self._slot
        if (slot.packets and self._packets >= slot.packets) or (slot.bytes and self._bytes >= slot.bytes):
            self._open(leaves)
        return leaves

    def _open(self, after: int) -> None:
        slot = self._slot
        wait = self._spread.draw(slot.low) if self._spread else round(self._random.uniform(slot.low, slot.high))
        self._opens = after + wait
        self._packets = self._bytes = 0
