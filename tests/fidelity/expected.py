"""What theory says of the knobs: chains of states that lose packets, distributions of delay. Nothing of netemu/link is in it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import NormalDist

Quantile = Callable[[float], float]


@dataclass(frozen=True)
class Theory:
    """Of a stationary sequence of hits: its share, and what it varies by in a sample."""

    share: float
    correlation: float
    """Of one packet's fate with the next one's."""
    burst: float
    """Mean number of hits in a row."""
    spread: float
    """The standard deviation of the share in a sample of n is spread / sqrt(n)."""


def chain(moves: Sequence[Sequence[float]], hits: Sequence[float], lags: int = 4000) -> Theory:
    """Of a Markov chain: the probabilities to move from state to state after each packet, and of a hit in each state."""
    states = range(len(hits))
    at = [1 / len(hits)] * len(hits)
    for _ in range(20_000):  # to where it settles; lazily, so that it does for a periodic chain too
        after = [sum(at[i] * moves[i][j] for i in states) for j in states]
        at = [(a + b) / 2 for a, b in zip(at, after, strict=True)]
    share = sum(at[i] * hits[i] for i in states)
    variance = share * (1 - share)
    joint = [at[i] * hits[i] for i in states]  # hit now, and where it is
    total, first = variance, 0.0
    for lag in range(lags):
        joint = [sum(joint[i] * moves[i][j] for i in states) for j in states]
        covariance = sum(joint[j] * hits[j] for j in states) - share**2
        total += 2 * covariance
        if not lag:
            first = covariance
    both = first + share**2
    return Theory(share, first / variance, share / (share - both), sqrt(max(total, variance * 1e-6)))


def chance(share: float, correlation: float) -> Theory:
    """A fate that is correlated with the one before."""
    hit, spared = share + correlation * (1 - share), share * (1 - correlation)
    return chain(((1 - spared, spared), (1 - hit, hit)), (0.0, 1.0))


def gemodel(p: float, r: float, h1: float, k1: float) -> Theory:
    """Gilbert and Elliott: good to bad with p, back with r; lost in the bad state with h1, in the good one with k1."""
    return chain(((1 - p, p), (r, 1 - r)), (k1, h1))


def four_states(p13: float, p31: float, p32: float, p23: float, p14: float) -> Theory:
    """Salsano, Ludovici, Ordine: Definition of a general and intuitive loss model (GI), 2009."""
    return chain(
        ((1 - p13 - p14, 0, p13, p14), (0, 1 - p23, p23, 0), (p31, p32, 1 - p31 - p32, 0), (1, 0, 0, 0)), (0, 0, 1, 1)
    )


def uniform(p: float) -> float:
    """Between -1 and 1 jitter."""
    return 2 * p - 1


normal = NormalDist().inv_cdf


def pareto(p: float) -> float:
    """The exponent 3, moved and scaled to mean 0 (it is 3/2) and standard deviation 1 (it is sqrt(3)/2)."""
    return float((1 - p) ** (-1 / 3) - 1.5) / (sqrt(3) / 2)


def paretonormal(p: float) -> float:
    """A quarter of the one and three quarters of the other."""
    return normal(p) / 4 + pareto(p) * 3 / 4


DISTRIBUTIONS: dict[str, Quantile] = {
    "uniform": uniform,
    "normal": normal,
    "pareto": pareto,
    "paretonormal": paretonormal,
}

_POINTS = 10_000


def distance(sample: Sequence[float], quantile: Quantile) -> float:
    """Kolmogorov's and Smirnov's: the largest difference between the sample's distribution function and that of ``quantile``."""
    ordered, n = sorted(sample), len(sample)
    worst = 0.0
    for point in range(1, _POINTS):
        p = point / _POINTS
        value = quantile(p)
        below, upto = bisect_left(ordered, value), bisect_right(ordered, value)
        worst = max(worst, p - upto / n, below / n - p)
    return worst


def correlation(values: Sequence[float]) -> float:
    """Of each value with the next one (Pearson's)."""
    n = len(values)
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / n
    return sum((a - mean) * (b - mean) for a, b in pairwise(values)) / (n - 1) / variance
