"""How jitter is spread: tables of inverse distribution functions, from formulas or from files of tc's form (\\*.dist).

A table has ``SIZE`` values, in standard deviations from the mean, at evenly spaced probabilities; a random index then draws from
the distribution.

- normal: the standard normal distribution.
- pareto: Pareto's with the exponent 3, moved and scaled to mean 0 and standard deviation 1.
- paretonormal: a quarter of the normal quantile and three quarters of Pareto's, the blend that NIST Net introduced.
"""

from __future__ import annotations

from functools import cache
from math import erf, exp, pi, sqrt

from netemu.link.impairments import Distribution

SIZE = 4096
FILE_SCALE = 8192
"""A file's integers are in 1/8192 of a standard deviation (NETEM_DIST_SCALE)."""
FILE_MOST = 16384
"""Values in a file (NETEM_DIST_MAX)."""
_LARGEST = 32767

_PARETO = 3.0
_MEAN = _PARETO / (_PARETO - 1)
_DEVIATION = sqrt(_PARETO / (_PARETO - 2)) / (_PARETO - 1)


def normal_quantile(p: float) -> float:
    """The value that a standard normal variable is below with probability ``p``, by Newton's method on its distribution."""
    if p > 0.5:
        return -normal_quantile(1 - p)
    x = 0.0
    for _ in range(100):
        step = ((1 + erf(x / sqrt(2))) / 2 - p) * sqrt(2 * pi) * exp(x * x / 2)
        x -= max(-0.5, min(0.5, step))  # far out the curve is so flat that a whole step would go beyond it
        if abs(step) < 1e-12:
            break
    return x


def pareto_quantile(p: float) -> float:
    """The same for Pareto's distribution, moved and scaled to mean 0 and standard deviation 1."""
    return float(((1 - p) ** (-1 / _PARETO) - _MEAN) / _DEVIATION)


def paretonormal_quantile(p: float) -> float:
    return normal_quantile(p) / 4 + pareto_quantile(p) * 3 / 4


_QUANTILES = {"normal": normal_quantile, "pareto": pareto_quantile, "paretonormal": paretonormal_quantile}
NAMES = ("uniform", *_QUANTILES)


@cache
def named(name: str) -> Distribution | None:
    """One of ``NAMES``; None for uniform, which needs no table."""
    if name == "uniform":
        return None
    quantile = _QUANTILES[name]
    return Distribution(name, tuple(quantile((index + 0.5) / SIZE) for index in range(SIZE)))


def from_file(text: str, source: str) -> Distribution:
    """The table in ``text``: integers, '#' before comments. ValueError, 'FILE:LINE: what to give'."""
    values: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.partition("#")[0].split():
            digits = word.removeprefix("-")
            if not (digits.isascii() and digits.isdecimal()) or len(digits) > 5 or int(digits) > _LARGEST + 1:
                wrong = repr(word if len(word) <= 40 else word[:37] + "...")
                raise ValueError(f"{source}:{number}: {wrong}; give whole numbers from -32768 to 32767")
            values.append(int(word))
    if not 1 <= len(values) <= FILE_MOST:
        raise ValueError(f"{source}: {len(values)} values; a distribution has 1 to {FILE_MOST}")
    return Distribution(source, tuple(value / FILE_SCALE for value in values))
