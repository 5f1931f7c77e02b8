"""`netemu capture`: watch the packets of a running instance, with what becomes of each."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Instance, client, printable
from netemu.runtime.blockfile import BlockFile
from netemu.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from netemu.capture.pcapng import Record
    from netemu.runtime.client import Capture

PROGRESS_INTERVAL = 0.2
"""Seconds between two updates of the count on the terminal."""


def capture(
    expression: Annotated[
        list[str] | None, typer.Argument(metavar="[FILTER]...", help="Which packets, in tcpdump's words.")
    ] = None,
    write: Annotated[
        str | None, typer.Option("-w", "--write", metavar="FILE", help="Write pcapng to FILE; - is standard output.")
    ] = None,
    count: Annotated[int | None, typer.Option("-c", "--count", metavar="N", min=1, help="End after N packets.")] = None,
    snaplen: Annotated[
        int | None, typer.Option("-s", "--snaplen", metavar="BYTES", min=1, help="Keep so many bytes of a packet.")
    ] = None,
    numeric: Annotated[bool, typer.Option("-n", help="As in tcpdump(8); it is always so.", hidden=True)] = False,
    name: Instance = None,
) -> None:
    """Watch packets, and what becomes of each.

    ^C ends it. With -w they go to a file that Wireshark opens. There each packet has its direction (inbound: to the
    emulated host), its time in nanoseconds, and the decision as its comment.

    A link that does something is seen at both of its ends, each an interface of its own (with `netemu wire`, netemu0 is
    the client's and netemu1 the server's). What it drops is there once more, where it came in, with the reason. So
    Wireshark's display filter for what the client sent and got, each once, is:

    \b
      frame.interface_name == "netemu0" and not frame.comment contains "dropped"

    \b
    Filters: tcp udp icmp icmp6 igmp ip ip6, [src|dst] host A, net A/N, port N, portrange N-M, and or not ( ).
    Examples:
      netemu capture
      netemu capture -c 10 'tcp port 80 and not host 198.18.0.3'
      netemu capture -w out.pcapng
      netemu capture -w - | wireshark -k -i -
    """
    text = " ".join(expression or [])
    check(text, write)
    instance = client(name)
    if write is None:
        with ended_by_signals() as watch, instance.capture(text, count or 0, snaplen) as stream:
            watch(stream)
            consume(stream, Printer().line)
        return
    with (
        ended_by_signals() as watch,
        opened(write) as write_block,
        instance.capture(text, count or 0, snaplen) as stream,
    ):
        watch(stream)
        copy(stream, write_block)


def check(expression: str, write: str | None) -> None:
    from netemu.capture.filter import FilterError, compile_filter

    try:
        compile_filter(expression)
    except FilterError as error:
        raise UsageError(str(error)) from None
    if write == "-" and sys.stdout.isatty():
        raise UsageError(
            "-w -: standard output is a terminal; pipe it, as in `netemu capture -w - | wireshark -k -i -`"
        )


@contextmanager
def opened(path: str) -> Iterator[Callable[[bytes], None]]:
    """Gives what writes one block."""
    if path == "-":
        yield write_to_stdout
        return
    try:
        file = BlockFile(path)
        try:
            yield file.write
        finally:
            file.close()
    except OSError as error:
        raise RuntimeFailure(f"-w {path}: {error.strerror}") from None


def write_to_stdout(block: bytes) -> None:
    sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


@contextmanager
def ended_by_signals() -> Iterator[Callable[[Capture], None]]:
    """The first ^C asks the instance to end the capture, and all that it saw still arrives; the second interrupts.

    Gives what takes the capture once it runs; a ^C before that ends it at once.
    """
    running: list[Capture] = []
    asked = False

    def end(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream in running:
            stream.end()

    def watch(stream: Capture) -> None:
        running.append(stream)
        if asked:
            stream.end()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield watch
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def consume(stream: Capture, use: Callable[[Record], None]) -> None:
    from netemu.capture.pcapng import read_blocks

    for record in read_blocks(stream.read):
        use(record)


class Printer:
    """A line for each packet."""

    def __init__(self) -> None:
        self._points: dict[str, None] = {}

    def line(self, record: Record) -> None:
        from netemu.wire.describe import describe

        if record.data is None:
            if record.comment:
                print(f"netemu: {printable(record.comment)}", file=sys.stderr)
            return
        self._points[record.point] = None
        seconds, nanoseconds = divmod(record.wall_ns, 10**9)
        clock = time.strftime("%H:%M:%S", time.localtime(seconds))
        direction = "in " if record.inbound else "out"
        point = f"{printable(record.point)}: " if len(self._points) > 1 else ""
        decision = f"  [{printable(record.comment)}]" if record.comment else ""
        print(f"{clock}.{nanoseconds:09} {direction} {point}{describe(record.data)}{decision}", flush=True)


def copy(stream: Capture, write_block: Callable[[bytes], None]) -> None:
    """The stream as it is, with a count of packets on the terminal and a summary at the end."""
    progress = Progress()

    def write(record: Record) -> None:
        write_block(record.block)
        progress.see(record)

    try:
        consume(stream, write)
    finally:
        progress.summarize()


class Progress:
    """How many packets were written, on stderr."""

    def __init__(self) -> None:
        self._packets = self._dropped = 0
        self._shown = 0.0
        self._is_terminal = sys.stderr.isatty()

    def see(self, record: Record) -> None:
        self._packets += record.data is not None
        self._dropped += record.dropped
        if self._is_terminal and time.monotonic() > self._shown + PROGRESS_INTERVAL:
            self._shown = time.monotonic()
            print(f"\r{self._packets} packets ", end="", file=sys.stderr, flush=True)

    def summarize(self) -> None:
        start = "\r" if self._is_terminal else ""
        print(f"{start}{self._packets} packets captured, {self._dropped} dropped", file=sys.stderr)
