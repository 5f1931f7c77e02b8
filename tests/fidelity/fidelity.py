"""Measure every knob of a link and every queue discipline, and write table.txt anew: ``make fidelity``.

Exit status 1 when something is not what was asked.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

from aqms import AQMS
from knobs import KNOBS
from row import PACKETS, Row, table

TABLE = Path(__file__).with_name("table.txt")
MEASURES = [*KNOBS, *AQMS]


def measure(task: tuple[int, int]) -> list[Row]:
    """The number of a measure, and of packets."""
    number, packets = task
    return MEASURES[number](packets)


def rows(packets: int, jobs: int) -> Iterator[list[Row]]:
    """Of each measure, in order."""
    tasks = [(number, packets) for number in range(len(MEASURES))]
    with get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(measure, tasks)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--packets", type=int, default=PACKETS, help="for each knob; other than the default: print only"
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    found: list[Row] = []
    for number, more in enumerate(rows(options.packets, options.jobs), start=1):
        found += more
        print(f"{number}/{len(MEASURES)}: {more[0].words}", file=sys.stderr)
    text = table(found, options.packets)
    if options.packets == PACKETS:
        TABLE.write_text(text)
    print(text, end="")
    return 0 if all(row.is_met for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
