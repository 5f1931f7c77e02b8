"""The long run of the mutation fuzzer: ``python tests/property/soak.py --packets 1000000``, or ``make soak``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context

from fuzzer import Violation, run

from netemu.reasons import Match

PER_WORLD = 25_000
"""Packets for one seed: a fresh host, and what must hold afterwards checked, that often."""

Outcome = tuple[int, int, Counter[str], int, str]
"""(seed, packets, how many by which reason, answers, what went wrong)"""


def attack(task: tuple[int, int]) -> Outcome:
    """One seed."""
    seed, packets = task
    try:
        world = run(seed, packets)
    except Violation as violation:
        return seed, packets, Counter(), 0, str(violation)
    reasons = Counter({reason.name: count for reason, count in world.reasons.items()})
    return seed, world.count, reasons, world.answers, ""


def soak(packets: int, seed: int, jobs: int) -> Iterator[Outcome]:
    """Attack with ``packets`` or a few more, in worlds of PER_WORLD, from ``seed`` on."""
    sizes = [min(PER_WORLD, packets - at) for at in range(0, packets, PER_WORLD)]
    tasks = [(seed + n, size) for n, size in enumerate(sizes)]
    if jobs == 1:
        yield from map(attack, tasks)
        return
    with get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(attack, tasks)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    began, done, answers = time.monotonic(), 0, 0
    reasons: Counter[str] = Counter()
    for seed, packets, counted, answered, wrong in soak(options.packets, options.seed, options.jobs):
        if wrong:
            print(f"VIOLATION with seed {seed} ({packets} packets): {wrong}", file=sys.stderr)
            return 1
        done, answers = done + packets, answers + answered
        reasons += counted
        seconds = time.monotonic() - began
        print(
            f"\r{done} of {options.packets} packets, {done / seconds:.0f} a second", end="", file=sys.stderr, flush=True
        )
    print(file=sys.stderr)
    taken = sum(count for name, count in reasons.items() if name in Match.__members__)
    print(
        f"{done} mutated packets in {time.monotonic() - began:.0f} s: nothing raised, no forbidden answer, memory bounded; "
        f"{taken} delivered, {done - taken} dropped for {len(reasons)} reasons in all, {answers} answered"
    )
    for name, count in reasons.most_common():
        print(f"{count:9} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
