"""The knobs of a link, each measured alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import asin, ceil, pi, sqrt

import expected
from drive import MS, US, Run, drive
from expected import Theory
from row import MOST, Measure, Row

KS = 1.63
"""Of samples with the right distribution, 1 % are further away than so much / sqrt(n)."""
TABLE = 1 / 4096
"""A distribution is drawn from a table of so many values, so that its function has steps."""


def fates(words: str, hit: Sequence[bool], theory: Theory, what: str, *, bursts: bool = False) -> list[Row]:
    """Share, correlation and (asked for) bursts of what happens to some packets."""
    n = len(hit)
    share = sum(hit) / n
    rows = [Row(words, f"share {what}", theory.share, share, 3 * theory.spread / sqrt(n), "%")]
    both = sum(a and b for a, b in pairwise(hit)) / (n - 1)
    following = theory.share + theory.correlation * (1 - theory.share)
    if bursts:
        number = n * (theory.share - theory.share * following)
        rows.append(
            Row(words, f"mean burst {what}", theory.burst, share / (share - both), 3 * theory.burst / sqrt(number))
        )
    else:
        measured = (both - share**2) / (share * (1 - share))
        bound = 3 * sqrt(max(following * (1 - following), 1 / n) / (n * theory.share))
        rows.append(Row(words, "correlation", theory.correlation, measured, bound, "%"))
    return rows


def loss(share: float, correlation: float = 0.0) -> Measure:
    words = f"loss {share * 100:g}%" + (f" {correlation * 100:g}%" if correlation else "")
    return lambda n: fates(words, drive(words, n).lost, expected.chance(share, correlation), "lost")


def gemodel(p: float, r: float, h1: float = 1.0, k1: float = 0.0) -> Measure:
    words = f"loss gemodel {p * 100:g}% {r * 100:g}%" + (f" {h1 * 100:g}% {k1 * 100:g}%" if h1 < 1 or k1 else "")
    return lambda n: fates(words, drive(words, n).lost, expected.gemodel(p, r, h1, k1), "lost", bursts=True)


def four_states(*shares: float) -> Measure:
    words = "loss state " + " ".join(f"{share * 100:g}%" for share in shares)
    return lambda n: fates(words, drive(words, n).lost, expected.four_states(*shares), "lost", bursts=True)


def delay(jitter: int, distribution: str, correlation: float = 0.0) -> Measure:
    """100 ms and so many ms of jitter."""
    words = f"delay 100ms {jitter}ms" + (f" {correlation * 100:g}%" if correlation else "")
    words += f" distribution {distribution}" if distribution != "uniform" else ""
    quantile = expected.DISTRIBUTIONS[distribution]

    def measure(n: int) -> list[Row]:
        delays = drive(words, n).delays
        effective = n * (1 - correlation) / (1 + correlation)
        spread = [(delay - 100 * MS) / (jitter * MS) for delay in delays]
        rows = [
            Row(
                words,
                "distance (K-S)",
                KS / sqrt(effective) + TABLE / 2,
                expected.distance(spread, quantile),
                side=MOST,
            )
        ]
        if correlation:
            asked = 6 / pi * asin(correlation / 2) if distribution == "uniform" else correlation
            rows.append(Row(words, "correlation", asked, expected.correlation(spread), 5 / sqrt(n), "%"))
        return rows

    return measure


def in_order(n: int) -> list[Row]:
    words = "delay 20ms 5ms keep-order"
    run = drive(words, n, gap=MS)
    return [
        Row(words, "packets overtaken", 0, overtaken(run), side=MOST),
        Row(words, "packets lost", 0, sum(run.lost), side=MOST),
    ]


def overtaken(run: Run) -> int:
    """Packets that came after one that had been sent after them."""
    last = count = 0
    for _, number in run.arrivals:
        count += number < last
        last = max(last, number)
    return count


def rate(words: str, size: int, bits: float) -> Measure:
    """``bits``: what a packet of ``size`` bytes counts."""
    asked = float(words.split()[1].removesuffix("mbit"))

    def measure(n: int) -> list[Row]:
        every = int(bits / asked * US)  # as fast as the link; a queue of one packet more makes it busy all the time
        run = drive(f"{words} queue droptail limit 20p", n, gap=every * 9 // 10, size=size)
        times = [when for when, _ in run.arrivals]
        measured = (len(times) - 1) * bits * 1e3 / (times[-1] - times[0])
        return [Row(words, f"rate at {size} B", asked, measured, asked / 1000, "Mbit/s")]

    return measure


def cells(size: int, overhead: int, cell: int, cell_overhead: int) -> int:
    """Bits of a packet that is sent in cells."""
    return ceil((size + overhead) / cell) * (cell + cell_overhead) * 8


def duplicate(n: int) -> list[Row]:
    words = "duplicate 2% 20%"
    run = drive(words, n)
    copies = [0] * n
    for _, number in run.arrivals:
        copies[number] += 1
    rows = fates(words, [count == 2 for count in copies], expected.chance(0.02, 0.2), "twice")
    return [*rows, Row(words, "neither once nor twice", 0, sum(count not in (1, 2) for count in copies), side=MOST)]


def corrupt(n: int) -> list[Row]:
    words = "corrupt 0.5%"
    run = drive(words, n)
    theory = expected.chance(0.005, 0.0)
    return [
        Row(words, "share damaged", theory.share, run.damaged / n, 3 * theory.spread / sqrt(n), "%"),
        Row(words, "wrong bits of each", 1, run.bits / run.damaged),
    ]


def reorder(words: str, theory: Theory, gap: int = 1) -> Measure:
    """Who goes at once. With a gap, so many packets wait before it is anyone's turn again."""

    def measure(n: int) -> list[Row]:
        run = drive(f"delay 10ms {words}", n, gap=2 * MS)
        early = [delay == 0 for delay in run.delays]
        if gap == 1:
            return fates(f"delay 10ms {words}", early, theory, "at once")
        share = 1 / (gap - 1 + 1 / theory.share)
        deviation = sqrt(share * (1 - theory.share)) * share / theory.share  # of a renewal process
        rows = [Row(f"delay 10ms {words}", "share at once", share, sum(early) / n, 3 * deviation / sqrt(n), "%")]
        others = sum(delay not in (0, 10 * MS) for delay in run.delays)
        return [*rows, Row(f"delay 10ms {words}", "neither now nor late", 0, others, side=MOST)]

    return measure


def slot(n: int) -> list[Row]:
    words = "slot 10ms 30ms"
    run = drive(words, n)
    times = sorted({when for when, _ in run.arrivals})
    gaps = [after - before for before, after in pairwise(times)]
    outside = sum(not 10 * MS <= gap <= 31 * MS for gap in gaps)
    # a slot is opened by who finds none open: up to a packet's distance, half of it in the mean, after the last has closed
    return [
        Row(
            words, "between slots, mean", 20.5, sum(gaps) / len(gaps) / MS, 3 * (20 / sqrt(12)) / sqrt(len(gaps)), "ms"
        ),
        Row(words, "between slots, other", 0, outside, side=MOST),
        Row(words, "packets lost", 0, sum(run.lost), side=MOST),
    ]


def limit(n: int) -> list[Row]:
    words = "delay 100ms limit 50"
    run = drive(words, n)
    return [
        Row(words, "under way, at most", 50, run.most),
        Row(words, "share lost", 0.5, sum(run.lost) / n, 50 / n, "%"),
    ]


KNOBS: list[Measure] = [
    loss(0.01),
    loss(0.1),
    loss(0.02, 0.25),
    loss(0.1, 0.5),
    gemodel(0.01, 0.25),
    gemodel(0.02, 0.1, 0.5, 0.01),
    four_states(0.02, 0.3, 0.1, 0.4, 0.005),
    delay(20, "uniform"),
    delay(10, "normal"),
    delay(10, "pareto"),
    delay(10, "paretonormal"),
    delay(20, "uniform", 0.25),
    delay(10, "normal", 0.5),
    in_order,
    rate("rate 10mbit", 1500, 12_000),
    rate("rate 100mbit 20", 577, 597 * 8),
    rate("rate 2mbit 8 48 5", 500, cells(500, 8, 48, 5)),
    duplicate,
    corrupt,
    reorder("reorder 25% 50%", expected.chance(0.25, 0.5)),
    reorder("reorder 50% gap 5", expected.chance(0.5, 0.0), gap=5),
    slot,
    limit,
]
"""Each gives its rows for so many packets."""
