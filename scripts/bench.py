#!/usr/bin/env python3
"""Measure netemu beside the kernel's own TCP over a veth pair, on the same work, in the same run.

Each has network namespaces of its own; rounds are interleaved, and medians compared. The client is the same for both
(bench_load.py, kernel sockets); the kernel's server is bench_peer.c. Nothing of it is left at the end. It needs root.

    make bench
    make bench ARGS="--rounds 5 --seconds 2 --json out.json"
    make bench ARGS="--workloads rr,rr-pinned"
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HISTORY = HERE / "bench-history.md"
CLIENT, SERVER = "198.18.0.1", "198.18.0.2"
MTU = 1500
CORE = 0
"""Where both ends run when they are pinned: then no scheduler's choice is in the figures."""

Sample = dict[str, float]
Samples = dict[tuple[str, str], list[Sample]]
"""By stack and workload."""


@dataclass(frozen=True)
class Work:
    """One workload: what the client does, over how many connections."""

    kind: str
    count: int = 1
    pinned: bool = False


WORKLOADS = {
    "down1": Work("down", 1),
    "down4": Work("down", 4),
    "up1": Work("up", 1),
    "up4": Work("up", 4),
    "rr": Work("ping-pong", 1),
    "rr-pinned": Work("ping-pong", 1, pinned=True),
    "rr64": Work("ping-pong", 64),
    "connections": Work("connections", 16),
    "idle": Work("idle", 2000),
    "start": Work("start"),
    "lookup": Work("lookup"),
}


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
    Row("start-up to the first answer", "start", "seconds", "s", most=1.5, is_kernels=False),
    Row("look-up, 10 connections", "lookup", "known_few_ns", "ns", is_kernels=False),
    Row("  100 000", "lookup", "known_many_ns", "ns", is_kernels=False),
    Row("  ratio", "lookup", "known_ratio", "", most=1.5, is_kernels=False),
    Row("look-up of a SYN, 10 listeners", "lookup", "syn_few_ns", "ns", is_kernels=False),
    Row("  1 000", "lookup", "syn_many_ns", "ns", is_kernels=False),
    Row("  ratio", "lookup", "syn_ratio", "", most=1.5, is_kernels=False),
    Row("`netemu ss`", "start", "ss_seconds", "s", most=0.3, is_kernels=False),
]


class Failed(Exception):
    """A workload that could not be measured; one line."""


# -- where it runs --------------------------------------------------------------------------------------------------------


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Failed(f"{' '.join(argv[:6])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextmanager
def namespace(name: str) -> Iterator[str]:
    """With its loopback up, and ports enough for a client that opens thousands of connections a second."""
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        settings = "echo '1024 65535' >/proc/sys/net/ipv4/ip_local_port_range; echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse"
        run("ip", "netns", "exec", name, "sh", "-c", settings)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], timeout=10)


@contextmanager
def server(netns: str, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the namespace, ended in good order."""
    with tempfile.TemporaryFile("w+") as log:
        command = ["ip", "netns", "exec", netns, *argv]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True)
        try:
            yield process
            if process.poll() is not None:
                log.seek(0)
                raise Failed(f"{argv[0]} ended: {log.read().strip()}")
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Bed:
    """A server that is up, and the namespace of its clients."""

    clients: str
    process: subprocess.Popen[str]
    started: float
    """Seconds from its being typed to its first answer."""
    ss: tuple[str, ...] = ()
    """The command that lists its sockets, if it is netemu."""

    def load(self, work: Work, seconds: float) -> Sample:
        argv = ["--count", str(work.count), "--seconds", str(seconds), "--pid", str(self.process.pid)]
        everywhere = os.sched_getaffinity(0)
        if work.pinned:
            os.sched_setaffinity(self.process.pid, {CORE})
            argv += ["--cpu", str(CORE)]
        try:
            sample: Sample = json.loads(run(*load_command(self.clients, work.kind, *argv)))
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{work.kind}: no end after {error.timeout:g} s") from None
        finally:
            if work.pinned:
                os.sched_setaffinity(self.process.pid, everywhere)
        return sample


def load_command(netns: str, kind: str, *options: str) -> list[str]:
    return ["ip", "netns", "exec", netns, sys.executable, str(HERE / "bench_load.py"), kind, SERVER, *options]


@contextmanager
def started(clients: str, servers: str, *argv: str) -> Iterator[Bed]:
    """Start a server with a client before its door, who takes the time of the first answer."""
    knock = subprocess.Popen(
        load_command(clients, "first-answer", "--seconds", "20"), stdout=subprocess.PIPE, text=True
    )
    with knock, ExitStack() as stack:
        assert knock.stdout is not None
        knock.stdout.readline()
        typed = time.monotonic()
        process = stack.enter_context(server(servers, *argv))
        answer = knock.stdout.read()
        if not answer:
            raise Failed(f"{argv[0]} does not answer")
        yield Bed(clients, process, json.loads(answer)["at"] - typed)


@contextmanager
def kernel(peer: list[str]) -> Iterator[Bed]:
    """Two namespaces and a veth pair between them."""
    with namespace(f"bench{os.getpid()}c") as near, namespace(f"bench{os.getpid()}s") as far:
        pair = ["type", "veth", "peer", "name", "v1", "mtu", str(MTU), "netns", far]
        run("ip", "-n", near, "link", "add", "v0", "mtu", str(MTU), *pair)
        for netns, device, address in ((near, "v0", CLIENT), (far, "v1", SERVER)):
            run("ip", "-n", netns, "address", "add", f"{address}/24", "dev", device)
            run("ip", "-n", netns, "link", "set", device, "up")
        with started(near, far, *peer, SERVER) as bed:
            yield bed


@contextmanager
def netemu(command: str) -> Iterator[Bed]:
    name = f"bench{os.getpid()}"
    with (
        namespace(f"{name}c") as near,
        started(near, near, command, "up", "--name", name, "--mtu", str(MTU), "--user", "root") as bed,
    ):
        bed.ss = (command, "ss", "--name", name)
        yield bed


@contextmanager
def attached(command: str) -> Iterator[Bed]:
    """The same services from a process of its own."""
    name = f"bench{os.getpid()}"
    app = [sys.executable, str(HERE / "bench_app.py"), name]
    options = ["up", "--name", name, "--mtu", str(MTU), "--user", "root", "--no-apps"]
    with namespace(f"{name}c") as near, server(near, command, *options):
        deadline = time.monotonic() + 10
        while subprocess.run([command, "ss", "--name", name], capture_output=True).returncode:
            if time.monotonic() > deadline:
                raise Failed("netemu up does not answer")
        with started(near, near, *app) as bed:
            yield bed


ATTACHED = ("down1", "up1", "rr", "connections")
"""The workloads that an attached app is asked for."""

Beds = dict[str, Callable[[], AbstractContextManager[Bed]]]


# -- what is measured -----------------------------------------------------------------------------------------------------


def measure(work: Work, bed: Bed, seconds: float) -> Sample:
    if work.kind == "start":
        return {"seconds": bed.started, **({"ss_seconds": time_of(*bed.ss)} if bed.ss else {})}
    if work.kind == "lookup":
        found: Sample = json.loads(run(sys.executable, str(HERE / "bench_lookup.py"))) if bed.ss else {}
        return found
    sample = bed.load(work, seconds)
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
            for group in filter(None, [[w for w in g if stack != "attached" or w in ATTACHED] for g in groups]):
                try:
                    with beds[stack]() as bed:
                        for name in group:
                            samples[stack, name].append(measure(WORKLOADS[name], bed, seconds))
                except Failed as problem:
                    problems.append(f"round {number + 1}, {stack}: {problem}")
        print(f"round {number + 1} of {rounds} done, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return samples, problems


def median(samples: Samples, stack: str, row: Row) -> float | None:
    values = [sample[row.key] for sample in samples[stack, row.workload] if row.key in sample]
    return statistics.median(values) if values else None


# -- what is printed ------------------------------------------------------------------------------------------------------


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
        if mine is None and (theirs is None or row.stack == "attached"):
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


HISTORY_ROWS = ["down1", "down4", "up1", "up4", "rr", "rr-pinned", "rr64", "connections", "idle", "start"]
HISTORY_HEADER = """\
# Results over time

One line for each `make bench ARGS=--record`: netemu's median, and in brackets its ratio to the kernel over veth in the
same run. Bulk is in Gbit/s; rr, rr64 and connections are per second; idle is bytes per connection; start is in seconds.

"""


def record(samples: Samples, rounds: int) -> None:
    """Append this run to the history."""
    if not HISTORY.exists():
        columns = ["date", "revision", "machine", "rounds", *HISTORY_ROWS]
        HISTORY.write_text(f"{HISTORY_HEADER}| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    cells = [time.strftime("%Y-%m-%d"), revision(), machine(), str(rounds)]
    for name in HISTORY_ROWS:
        row = next(row for row in ROWS if row.workload == name)
        mine, theirs = median(samples, "netemu", row), median(samples, "kernel", row) if row.is_kernels else None
        cells.append(shown(mine) + (f" ({mine / theirs:.2f})" if mine is not None and theirs else ""))
    with HISTORY.open("a") as file:
        file.write(f"| {' | '.join(cells)} |\n")


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
        beds: Beds = {"kernel": lambda: kernel(peer), "netemu": lambda: netemu(given.netemu)}
        if set(given.workloads) & set(ATTACHED):
            beds["attached"] = lambda: attached(given.netemu)
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
