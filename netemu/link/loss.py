"""What happens to some packets and not to others: loss, duplication, damage, overtaking. Seeded chains of states.

A chain is asked about the next n packets at once and says to which of them it happens. It draws how long it stays in a state,
not each packet's fate: a super-packet of 45 slices of which none is lost costs a subtraction, and the decisions are the same
whether slices come one by one or as one super-packet.

Correlation. tc-netem(8) mixes each random number with the last one, x' = rho * x + (1 - rho) * new, and compares that with
the share. The mix is no longer uniform but gathers about one half, so that a share of 1 % with 50 % correlation makes a loss of
well under 0.1 % there. Here the share stays what was asked, and ``correlation`` is exactly that of one packet's fate with the
next one's: a packet whose predecessor was hit is hit with rho + (1 - rho) * share, another one with (1 - rho) * share.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, log1p
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from netemu.link.impairments import Chance, GemodelLoss, Loss, StateLoss
from netemu.reasons import LinkDrop

FOREVER = 1 << 62
NOBODY: Mapping[int, str] = MappingProxyType({})


class State(NamedTuple):
    """A state of a chain."""

    name: str
    hits: float
    """The share of the packets to which it happens in this state."""
    leaves: tuple[tuple[float, int], ...]
    """(probability after each packet, the next state)."""


class Chain:
    """A Markov chain, stepped once per packet."""

    def __init__(self, random: Random, states: tuple[State, ...], first: int = 0) -> None:
        self._random = random
        self._states = states
        self._state = states[first]
        self._left = self._stay()

    def hits(self, count: int) -> Mapping[int, str]:
        """Of the next ``count`` packets: the index of each to which it happens, and the name of the state that did it."""
        if self._left > count and not self._state.hits:
            self._left -= count
            return NOBODY
        hit: dict[int, str] = {}
        at = 0
        while at < count:
            steps = min(self._left, count - at)
            name, share, _ = self._state
            if share:
                draw = self._random.random
                hit.update((index, name) for index in range(at, at + steps) if share >= 1 or draw() < share)
            at += steps
            self._left -= steps
            if not self._left:
                self._move()
        return hit

    def _stay(self) -> int:
        """For how many packets it stays in the state that it has come to: geometric, at least one."""
        leave = sum(probability for probability, _ in self._state.leaves)
        if leave >= 1:
            return 1
        if leave <= 0:
            return FOREVER
        return min(FOREVER, 1 + int(log(1 - self._random.random()) / log1p(-leave)))

    def _move(self) -> None:
        leaves = self._state.leaves
        at = leaves[0][1]
        if len(leaves) > 1:
            draw = self._random.random() * sum(probability for probability, _ in leaves)
            for probability, following in leaves:
                if probability:
                    at = following
                    if draw < probability:
                        break
                draw -= probability
        self._state = self._states[at]
        self._left = self._stay()


def chance_chain(chance: Chance, random: Random, name: str) -> Chain:
    """Packets are hit with ``chance.share``, and one's fate is correlated with the next one's."""
    share, anew = chance.share, 1 - chance.correlation
    spared = State("", 0.0, ((anew * share, 1),))
    hit = State(name, 1.0, ((anew * (1 - share), 0),))
    return Chain(random, (spared, hit), int(random.random() < share))


def loss_chain(loss: Loss, random: Random) -> tuple[Chain, LinkDrop]:
    """Which packets are lost, and by which reason."""
    if isinstance(loss, Chance):
        return chance_chain(loss, random, "lost at random"), LinkDrop.LOSS
    if isinstance(loss, GemodelLoss):
        good = State("gemodel good state", loss.k1, ((loss.p, 1),))
        bad = State("gemodel bad state", loss.h1, ((loss.r, 0),))
        return Chain(random, (good, bad)), LinkDrop.LOSS_GEMODEL
    return _four_states(loss, random), LinkDrop.LOSS_STATE


def _four_states(loss: StateLoss, random: Random) -> Chain:
    gap = State("state 1", 0.0, ((loss.p13, 2), (loss.p14, 3)))
    burst = State("state 2", 0.0, ((loss.p23, 2),))
    lost = State("state 3, within a burst", 1.0, ((loss.p31, 0), (loss.p32, 1)))
    alone = State("state 4, a loss by itself", 1.0, ((1.0, 0),))
    return Chain(random, (gap, burst, lost, alone))
