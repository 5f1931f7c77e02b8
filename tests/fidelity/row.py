"""A line of the table: what was asked, what was measured, and how far the two may be apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

PACKETS = 1_000_000
EITHER, MOST, LEAST = "±", "≤", "≥"


@dataclass(frozen=True)
class Row:
    """``asked`` and ``measured`` in ``unit``; '%': shares of 1. What is at most or at least asked has no bound."""

    words: str
    """Those of the link."""
    what: str
    asked: float
    measured: float
    bound: float = 0.0
    """The largest difference that is right."""
    unit: str = ""
    side: str = EITHER

    @property
    def is_met(self) -> bool:
        if self.side == MOST:
            return self.measured <= self.asked
        if self.side == LEAST:
            return self.measured >= self.asked
        return abs(self.measured - self.asked) <= self.bound

    def cells(self) -> tuple[str, ...]:
        asked, bound = self._text(self.asked), ""
        if self.side == EITHER:
            bound = f"± {self._text(self.bound)}"
        else:
            asked = f"{self.side} {asked}"
        return self.what, asked, self._text(self.measured), bound, "ok" if self.is_met else "NOT MET"

    def _text(self, value: float) -> str:
        value = round(value, 12) + 0.0  # no rounding errors, and no -0
        if self.unit == "%":
            return f"{value * 100:.4g} %"
        return f"{value:.5g} {self.unit}".rstrip()


Measure = Callable[[int], list[Row]]
"""Measures one thing over so many packets."""

HEAD = """\
# What a link does, against what was asked of it: {packets:,} packets for each knob, and long TCP flows of netemu's own stack for
# the queues; in virtual time, seeded. A bound is three standard deviations of the statistic, or what is promised; what 1 % of the
# right samples exceed, for the distance of Kolmogorov and Smirnov. Written by `make fidelity`; a diff is a change of behaviour.
"""
TITLES = ("", "asked", "measured", "bound", "")


def table(rows: Iterable[Row], packets: int = PACKETS) -> str:
    """The whole text: what the rows of some words have measured stands below these."""
    grouped = [(words, [row.cells() for row in same]) for words, same in groupby(rows, key=lambda row: row.words)]
    lines = [TITLES, *(cells for _, same in grouped for cells in same)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(TITLES))]
    text = HEAD.format(packets=packets) + _line(TITLES, widths)
    for words, same in grouped:
        text += f"{words}\n" + "".join(_line(cells, widths) for cells in same)
    return text


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    what, *numbers, verdict = cells
    columns = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=False)]
    return "  ".join(["   ", what.ljust(widths[0]), *columns, verdict]).rstrip() + "\n"
