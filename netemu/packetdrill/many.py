"""Many scripts, side by side on all cores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter

from netemu.packetdrill.outcome import FAILED, NOT_RUN, PASSED, Failure, Outcome, Unsupported
from netemu.packetdrill.parse import parse, parser
from netemu.packetdrill.run import Run, Say
from netemu.packetdrill.script import Event, Script, ScriptError
from netemu.packetdrill.settings import Settings
from netemu.packetdrill.show import happened, pcapng


def run_script(path: str, settings: Settings, directory: str | None = None, say: Say | None = None) -> Outcome:
    """Run the script at ``path``. ``directory``: where its packets go if it fails. OSError where it cannot be read."""
    started = perf_counter()
    source = Path(path).read_text(errors="replace")
    outcome = run_text(source, path, settings, _capture_of(path, directory), say)
    outcome.seconds = perf_counter() - started
    return outcome


def run_text(source: str, path: str, settings: Settings, pcap: str | None = None, say: Say | None = None) -> Outcome:
    """The same for a text; ``path`` names it, and sourced files are looked for beside it."""
    script, run = Script(path, source), None
    try:
        script = parse(source, path)
        run = Run(script, settings, say)
        run.run()
        if run.machine.host.faults:
            raise Failure(None, "a bug in netemu")
        outcome = Outcome(path, PASSED, events=len(script.events))
    except (Unsupported, ScriptError) as problem:
        status = NOT_RUN if isinstance(problem, Unsupported) else FAILED
        line = problem.line or (run.current.line if run is not None and run.current is not None else 0)
        outcome = Outcome(path, status, line, str(problem), events=len(script.events))
    except Failure as failure:
        event = failure.event or (run.current if run is not None else None)
        outcome = _failed(script, run, failure, event, pcap)
    outcome.printed = run.code.printed if run is not None else []
    return outcome


def _failed(script: Script, run: Run | None, failure: Failure, event: Event | None, pcap: str | None) -> Outcome:
    outcome = Outcome(script.path, FAILED, event.line if event else 0, str(failure), events=len(script.events))
    if event is not None:
        outcome.details.append(f"  {script.text_of(event)}")
    outcome.details += failure.details
    if run is not None:
        outcome.details += happened(run.machine)
        if pcap is not None:
            Path(pcap).write_bytes(pcapng(run.machine, str(failure)))
            outcome.pcap = pcap
    return outcome


def run_many(paths: list[str], settings: Settings, directory: str | None, jobs: int | None = None) -> Iterator[Outcome]:
    """The outcomes in the order of ``paths``. ``directory``: where captures of failed scripts go, None for nowhere."""
    tasks = [(path, settings, directory) for path in paths]
    workers = min(jobs or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        yield from map(_task, tasks)
        return
    from multiprocessing import get_context

    parser()  # before the fork, so that each has it
    with get_context("fork").Pool(workers) as pool:
        yield from pool.imap(_task, tasks, chunksize=max(1, min(16, len(tasks) // (4 * workers))))


def _task(task: tuple[str, Settings, str | None]) -> Outcome:
    return run_script(*task)


def _capture_of(path: str, directory: str | None) -> str | None:
    """Named by the whole path: scripts of several directories may have one name."""
    name = path.removesuffix(".pkt").strip("./").replace("/", "_")
    return None if directory is None else str(Path(directory) / f"{name}.pcapng")


def scripts_in(paths: Iterable[str]) -> list[str]:
    """Scripts as they were named, and all of those below a directory."""
    found: list[str] = []
    for path in paths:
        found += sorted(map(str, Path(path).rglob("*.pkt"))) if Path(path).is_dir() else [path]
    return found
