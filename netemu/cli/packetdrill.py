"""`netemu packetdrill`: run scripts in packetdrill's language against the host, in virtual time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Json, print_json, printable

if TYPE_CHECKING:
    from netemu.packetdrill.outcome import Outcome
    from netemu.packetdrill.settings import Settings

FLAGS = ("strict_segments", "send_omit_free", "persistent_tun_dev", "udp_encaps", "tcp_ts_ecr_scaled", "debug")
"""packetdrill's options that take no value."""


def packetdrill(
    scripts: Annotated[
        list[str], typer.Argument(metavar="SCRIPT...", help="Scripts, or directories with *.pkt below them.")
    ],
    define: Annotated[
        list[str] | None,
        typer.Option("-D", "--define", metavar="NAME=VALUE", help="A symbol for scripts; repeat for more."),
    ] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print each event as it happens.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry_run", help="Read the scripts, run nothing.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option("-j", "--jobs", metavar="N", min=1, help="Run so many at a time [default: one a core]."),
    ] = None,
    pcap_dir: Annotated[
        str | None,
        typer.Option(
            "--pcap-dir", metavar="DIR", help="Where the packets of failed scripts go [default: below the temporary]."
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Run packetdrill scripts in virtual time.

    No root, no TUN, no waiting: the host of this program gets the packets and the calls of a script, and every packet that
    it sends is compared with what the script says. packetdrill's own options are taken too, for all scripts:
    --ip_version=ipv4 (or ipv6, ipv4-mapped-ipv6), --local_ip, --remote_ip, --mtu, --mss, --tolerance_usecs,
    --tolerance_percent, --tcp_ts_tick_usecs, --strict_segments, --bind_port, --connect_port.

    The exit status is 0 when all scripts passed, else 1; 2 for wrong usage.

    \b
    Examples:
      netemu packetdrill handshake.pkt
      netemu packetdrill --ip_version=ipv6 --mtu=1520 tests/packetdrill
      netemu packetdrill --verbose --tolerance_usecs=10000 handshake.pkt
    """
    from netemu.packetdrill.many import scripts_in

    paths, settings = split(scripts, define or [])
    found = scripts_in(paths)
    if not found:
        raise UsageError("give a script, as in `netemu packetdrill handshake.pkt`: there is none")
    if dry_run:
        return read_only(found)
    started = perf_counter()
    outcomes = run(found, settings, jobs, pcap_dir, verbose, quiet=json)
    if json:
        print_json({"scripts": outcomes, "summary": summary(outcomes)})
    elif len(outcomes) > 1:
        counts = summary(outcomes)
        text = ", ".join(f"{count} {status}" for status, count in counts.items())
        print(f"{len(outcomes)} scripts: {text}, in {perf_counter() - started:.2f} s")
    return 0 if all(outcome.status == "passed" for outcome in outcomes) else 1


def split(words: list[str], defines: list[str]) -> tuple[list[str], Settings]:
    """Scripts, and what packetdrill's options among the words set. UsageError for one that makes no sense."""
    from netemu.packetdrill.script import ScriptError
    from netemu.packetdrill.settings import Settings

    settings, paths, rest = Settings(), list[str](), iter(words)
    try:
        for word in rest:
            if not word.startswith("-") or word == "-":
                paths.append(word)
                continue
            name, equals, value = word.strip().removeprefix("--").partition("=")
            if not equals and name not in FLAGS:
                value = next(rest, "")
            settings = settings.with_option(name, value)
        for definition in defines:
            settings = settings.with_option("define", definition.strip())
        settings.addresses  # noqa: B018  # raises where they are of the wrong family
    except ScriptError as error:
        raise UsageError(str(error)) from None
    return paths, settings


def read_only(paths: list[str]) -> int:
    from netemu.packetdrill.parse import parse
    from netemu.packetdrill.script import ScriptError

    status = 0
    for path in paths:
        try:
            parse(Path(path).read_text(errors="replace"), path)
        except ScriptError as error:
            print(printable(f"{path}:{error.line}: {error}"))
            status = 1
    return status


def run(
    paths: list[str], settings: Settings, jobs: int | None, pcap_dir: str | None, verbose: bool, quiet: bool
) -> list[Outcome]:
    """All of them, and a report on each that did not pass as soon as it is there."""
    from netemu.packetdrill.many import run_many, run_script

    directory = pcap_dir or str(Path(tempfile.gettempdir()) / "netemu-packetdrill")
    Path(directory).mkdir(parents=True, exist_ok=True)
    results: Iterable[Outcome] = run_many(paths, settings, directory, jobs)
    if verbose and not quiet:
        results = (run_script(path, settings, directory, lambda line: print(printable(line))) for path in paths)
    outcomes = []
    for outcome in results:
        outcomes.append(outcome)
        if not quiet:
            report(outcome)
    return outcomes


def report(outcome: Outcome) -> None:
    for line in outcome.printed:
        print(printable(line))
    if outcome.status == "passed":
        return
    where = f"{outcome.path}:{outcome.line}" if outcome.line else outcome.path
    print(printable(f"{where}: {'not run: ' if outcome.status == 'not run' else ''}{outcome.problem}"))
    for line in outcome.details:
        print(printable(line))
    if outcome.pcap:
        print(printable(f"  packets: {outcome.pcap}"))


def summary(outcomes: list[Outcome]) -> dict[str, int]:
    return {status: sum(o.status == status for o in outcomes) for status in ("passed", "failed", "not run")}
