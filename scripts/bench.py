#!/usr/bin/env python3
"""Measure netemu beside the kernel's own TCP over a veth pair, on the same work, in the same run.

Each has network namespaces of its own; rounds are interleaved, and medians compared. The client is the same for both
(bench_load.py, kernel sockets); the kernel's server is bench_peer.c. A wire is `netemu wire` in place of the veth pair, with
the kernel's server at its other end; its rates and delays stand beside the kernel's own (tbf, netem), where it has those.
Nothing of it is left at the end. It needs root.

    make bench
    make bench ARGS="--rounds 5 --seconds 2 --json out.json"
    make bench ARGS="--workloads rr,rr-pinned"
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import bench_link
from bench_beds import HERE, MTU, Bed, Failed, attached, kernel, netemu, run, wire
from bench_table import HISTORY, Sample, Samples, machine, print_table, record, report, revision

SERVERS = ("kernel", "netemu")
EVERYBODY = (*SERVERS, "attached", "wire")
LINKS = ("kernel", "wire")


@dataclass(frozen=True)
class Work:
    """One workload: what the client does, over how many connections."""

    kind: str
    count: int = 1
    pinned: bool = False
    stacks: tuple[str, ...] = SERVERS
    """Who is asked for it."""
    words: str = ""
    """What the link is asked for."""


WORKLOADS = {
    "down1": Work("down", 1, stacks=EVERYBODY),
    "down4": Work("down", 4),
    "up1": Work("up", 1, stacks=EVERYBODY),
    "up4": Work("up", 4),
    "rr": Work("ping-pong", 1, stacks=EVERYBODY),
    "rr-pinned": Work("ping-pong", 1, pinned=True),
    "rr64": Work("ping-pong", 64),
    "connections": Work("connections", 16, stacks=EVERYBODY),
    "idle": Work("idle", 2000),
    "start": Work("start"),
    "lookup": Work("lookup"),
    "delay": Work("delay", stacks=LINKS),
    "rate10": Work("rate", stacks=LINKS, words="rate 10mbit"),
    "rate100": Work("rate", stacks=LINKS, words="rate 100mbit"),
    "rate1000": Work("rate", stacks=LINKS, words="rate 1gbit"),
    "rate100fq": Work("rate", stacks=LINKS, words="rate 100mbit queue fq_codel"),
}

Beds = dict[str, Callable[[], AbstractContextManager[Bed]]]


# -- what is measured -----------------------------------------------------------------------------------------------------


def measure(work: Work, bed: Bed, seconds: float) -> Sample:
    if work.kind == "start":
        return {"seconds": bed.started, **({"ss_seconds": time_of(*bed.ss)} if bed.ss else {})}
    if work.kind == "lookup":
        found: Sample = json.loads(run(sys.executable, str(HERE / "bench_lookup.py"))) if bed.ss else {}
        return found
    if work.kind == "rate":
        return bench_link.rate(bed, work.words, seconds)
    if work.kind == "delay":
        return bench_link.delay(bed, seconds)
    sample = bed.load(work.kind, work.count, seconds, pinned=work.pinned)
    if work.kind == "idle":
        # Of kernel connections both ends are in its slab, so one costs half of that; netemu's are in its own process.
        sample["bytes"] = sample["rss"] if bed.ss else sample["rss"] + sample["slab"] / 2
    return sample


def time_of(*argv: str) -> float:
    before = time.monotonic()
    run(*argv)
    return time.monotonic() - before


def measure_all(beds: Beds, workloads: list[str], rounds: int, seconds: float) -> tuple[Samples, list[str]]:
    """In each round each stack in turn, in an order that turns too. What idle connections cost is asked of a server that
    has done nothing else: memory that other work has freed would hide it."""
    groups = [[w for w in workloads if w != "idle"], [w for w in workloads if w == "idle"]]
    samples: Samples = defaultdict(list)
    problems = []
    for number in range(rounds):
        for stack in list(beds) if number % 2 else reversed(list(beds)):
            for group in filter(None, [[w for w in g if stack in WORKLOADS[w].stacks] for g in groups]):
                try:
                    with beds[stack]() as bed:
                        for name in group:
                            samples[stack, name].append(measure(WORKLOADS[name], bed, seconds))
                except Failed as problem:
                    problems.append(f"round {number + 1}, {stack}: {problem}")
        print(f"round {number + 1} of {rounds} done, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return samples, problems


# -- the command ----------------------------------------------------------------------------------------------------------


def kernel_peer(directory: str) -> tuple[list[str], str]:
    """The command of the kernel's server, and what to say about it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler:
        program = f"{directory}/bench_peer"
        run(compiler, "-O2", "-o", program, str(HERE / "bench_peer.c"))
        return [program], "an epoll server in C"
    return [sys.executable, str(HERE / "bench_peer.py")], "an epoll server in Python, for want of a C compiler (slow!)"


def names(text: str) -> list[str]:
    chosen = text.split(",")
    for name in chosen:
        if name not in WORKLOADS:
            raise argparse.ArgumentTypeError(f"no workload {name!r}; there are: {', '.join(WORKLOADS)}")
    return chosen


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each workload [default: %(default)s]")
    parser.add_argument("--workloads", type=names, default=list(WORKLOADS), help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--json", metavar="FILE", help="write every sample")
    parser.add_argument("--record", action="store_true", help=f"append the result to {HISTORY.name}")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a goal is missed")
    default = Path(sys.executable).with_name("netemu")
    parser.add_argument("--netemu", metavar="COMMAND", default=str(default), help="which one to measure")
    given = parser.parse_args()
    if os.geteuid():
        parser.error("network namespaces need root: sudo make bench")
    if given.rounds < 1 or given.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    return given


def main() -> int:
    given = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was made is removed
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody's machine compiles at every start
    with tempfile.TemporaryDirectory() as directory:
        peer, about_peer = kernel_peer(directory)
        print(f"machine: {machine()}")
        print(f"netemu:  {revision()}")
        print(f"kernel:  {about_peer}, over veth with MTU {MTU}")
        print(f"         medians of {given.rounds} interleaved rounds of {given.seconds:g} s\n", flush=True)
        beds: Beds = {
            "kernel": lambda: kernel(peer),
            "netemu": lambda: netemu(given.netemu),
            "attached": lambda: attached(given.netemu),
            "wire": lambda: wire(given.netemu, peer),
        }
        samples, problems = measure_all(beds, given.workloads, given.rounds, given.seconds)
    cells, missed = report(samples)
    print_table(cells)
    for problem in problems:
        print(f"bench: {problem}", file=sys.stderr)
    if given.json:
        flat = [{"stack": stack, "workload": name, **s} for (stack, name), found in samples.items() for s in found]
        about = {"machine": machine(), "revision": revision(), "rounds": given.rounds, "seconds": given.seconds}
        Path(given.json).write_text(json.dumps({**about, "problems": problems, "samples": flat}, indent=1) + "\n")
    if given.record:
        record(samples, given.rounds)
    if missed:
        print(f"\n{missed} goals missed")
    return int(bool(problems) or (given.strict and missed > 0))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except Failed as problem:
        sys.exit(f"bench: {problem}")
