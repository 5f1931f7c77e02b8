"""The rows of scripts/bench.py's table, their goals, and how they are printed and kept."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HISTORY = HERE / "bench-history.md"

Sample = dict[str, float]
Samples = dict[tuple[str, str], list[Sample]]
"""By stack and workload."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure of a workload, and the issue's goal for it."""

    title: str
    workload: str
    key: str
    unit: str
    ratio: float | None = None
    """At least this part of the kernel's."""
    least: float | None = None
    most: float | None = None
    is_kernels: bool = True
    """There is such a figure of the kernel's, too."""
    stack: str = "netemu"
    base: str = "kernel"
    """What it is compared with."""

    def goal(self) -> str:
        words = [
            f">= {self.ratio:g} of {BASES[self.base]}" if self.ratio is not None else "",
            f">= {self.least:g}" if self.least is not None else "",
            f"<= {self.most:g}" if self.most is not None else "",
        ]
        return ", ".join(filter(None, words))

    def is_met(self, netemu: float, kernel: float | None) -> bool:
        return not (
            (self.ratio is not None and kernel is not None and netemu < self.ratio * kernel)
            or (self.least is not None and netemu < self.least)
            or (self.most is not None and netemu > self.most)
        )


BASES = {"kernel": "the kernel", "netemu": "a built-in app"}
ROWS = [
    Row("bulk down, 1 connection", "down1", "gbps", "Gbit/s", ratio=0.15, least=2),
    Row("bulk down, 4 connections", "down4", "gbps", "Gbit/s", ratio=0.15, least=2),
    Row("bulk up, 1 connection", "up1", "gbps", "Gbit/s", ratio=0.15, least=2),
    Row("bulk up, 4 connections", "up4", "gbps", "Gbit/s", ratio=0.15, least=2),
    Row("request-response", "rr", "per_second", "per s", ratio=0.3),
    Row("  median", "rr", "p50_us", "us"),
    Row("  99th percentile", "rr", "p99_us", "us"),
    Row("request-response, one core", "rr-pinned", "per_second", "per s", ratio=0.3),
    Row("  median", "rr-pinned", "p50_us", "us"),
    Row("  99th percentile", "rr-pinned", "p99_us", "us"),
    Row("64 ping-pongs at once", "rr64", "per_second", "per s"),
    Row("  median", "rr64", "p50_us", "us"),
    Row("  99th percentile", "rr64", "p99_us", "us"),
    Row("connections, 16 at once", "connections", "per_second", "per s", ratio=0.1),
    Row("memory per idle connection", "idle", "bytes", "bytes", most=16 << 10),
    Row("bulk down, attached app", "down1", "gbps", "Gbit/s", ratio=0.5, stack="attached", base="netemu"),
    Row("bulk up, attached app", "up1", "gbps", "Gbit/s", ratio=0.5, stack="attached", base="netemu"),
    Row("request-response, attached app", "rr", "per_second", "per s", stack="attached", base="netemu"),
    Row("connections, attached app", "connections", "per_second", "per s", stack="attached", base="netemu"),
    Row("bulk down, wire", "down1", "gbps", "Gbit/s", least=4, stack="wire"),
    Row("bulk up, wire", "up1", "gbps", "Gbit/s", least=4, stack="wire"),
    Row("request-response, wire", "rr", "per_second", "per s", stack="wire"),
    Row("connections, wire", "connections", "per_second", "per s", stack="wire"),
    *(
        Row(
            f"wire, rate {rate}mbit{queue}",
            name,
            "mbps",
            "Mbit/s of IP",
            least=0.98 * rate,
            most=1.02 * rate,
            stack="wire",
        )
        for name, rate, queue in (
            ("rate10", 10, ""),
            ("rate100", 100, ""),
            ("rate1000", 1000, ""),
            ("rate100fq", 100, " queue fq_codel"),
        )
    ),
    Row("wire, delay 20ms: error", "delay", "p50_us", "us", most=100, stack="wire"),
    Row("  99th percentile", "delay", "p99_us", "us", most=1000, stack="wire"),
    Row("start-up to the first answer", "start", "seconds", "s", most=1.5, is_kernels=False),
    Row("look-up, 10 connections", "lookup", "known_few_ns", "ns", is_kernels=False),
    Row("  100 000", "lookup", "known_many_ns", "ns", is_kernels=False),
    Row("  ratio", "lookup", "known_ratio", "", most=1.5, is_kernels=False),
    Row("look-up of a SYN, 10 listeners", "lookup", "syn_few_ns", "ns", is_kernels=False),
    Row("  1 000", "lookup", "syn_many_ns", "ns", is_kernels=False),
    Row("  ratio", "lookup", "syn_ratio", "", most=1.5, is_kernels=False),
    Row("`netemu ss`", "start", "ss_seconds", "s", most=0.3, is_kernels=False),
]


def median(samples: Samples, stack: str, row: Row) -> float | None:
    values = [sample[row.key] for sample in samples[stack, row.workload] if row.key in sample]
    return statistics.median(values) if values else None


def machine() -> str:
    with open("/proc/cpuinfo") as lines:
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return (
        f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def revision() -> str:
    if not shutil.which("git"):
        return "unknown"
    done = subprocess.run(["git", "-C", str(HERE), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def report(samples: Samples) -> tuple[list[list[str]], int]:
    """The cells of the table, and how many goals were missed."""
    cells, missed = [], 0
    for row in ROWS:
        mine = median(samples, row.stack, row)
        theirs = median(samples, row.base, row) if row.is_kernels else None
        if mine is None and (theirs is None or row.stack != "netemu"):
            continue
        values = [sample[row.key] for sample in samples[row.stack, row.workload] if row.key in sample]
        spread = f"{shown(min(values))} .. {shown(max(values))}" if len(values) > 1 else ""
        ratio = f"{mine / theirs:.2f}" if mine is not None and theirs else ""
        mark = ""
        if row.goal() and mine is not None and (theirs is not None or row.ratio is None):
            is_met = row.is_met(mine, theirs)
            missed += not is_met
            mark = f"{'ok' if is_met else 'MISSED'}: {row.goal()}"
        cells.append([row.title, row.unit, shown(theirs), shown(mine), spread, ratio, mark])
    return cells, missed


def print_table(cells: list[list[str]]) -> None:
    header = ["", "unit", "compared", "netemu", "(min .. max)", "ratio", "goal"]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for line in [header, *cells]:
        aligned = (
            cell.rjust(width) if number in (2, 3, 5) else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(aligned).rstrip())


HISTORY_HEADER = """\
# Results over time

One line for each `make bench ARGS=--record`: netemu's median, and in brackets its ratio to the kernel over veth in the
same run. Bulk and wire (bulk up through `netemu wire`) are in Gbit/s; rr, rr64 and connections are per second; idle is bytes
per connection; start is in seconds; rate10, rate100 and rate1000 are Mbit/s of IP packets through a wire with that rate;
delay is the median error, in us, of 20 ms on a wire.

"""
HISTORY_COLUMNS = {
    **{
        name: ("netemu", name)
        for name in ("down1", "down4", "up1", "up4", "rr", "rr-pinned", "rr64", "connections", "idle", "start")
    },
    "wire": ("wire", "up1"),
    **{name: ("wire", name) for name in ("rate10", "rate100", "rate1000", "delay")},
}
"""Of which stack and workload."""


def record(samples: Samples, rounds: int) -> None:
    """Append this run to the history."""
    if not HISTORY.exists():
        columns = ["date", "revision", "machine", "rounds", *HISTORY_COLUMNS]
        HISTORY.write_text(f"{HISTORY_HEADER}| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    cells = [time.strftime("%Y-%m-%d"), revision(), machine(), str(rounds)]
    for stack, workload in HISTORY_COLUMNS.values():
        row = next(row for row in ROWS if (row.stack, row.workload) == (stack, workload))
        mine, theirs = median(samples, stack, row), median(samples, "kernel", row) if row.is_kernels else None
        cells.append(shown(mine) + (f" ({mine / theirs:.2f})" if mine is not None and theirs else ""))
    with HISTORY.open("a") as file:
        file.write(f"| {' | '.join(cells)} |\n")
