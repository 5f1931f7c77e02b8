"""What the story is played on: the running instance, the processes, the packets of each scene, and what is checked."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from netemu.capture.pcapng import Record, read_blocks
from netemu.runtime.client import Client
from netemu.runtime.messages import SocketRow
from netemu.runtime.paths import find
from netemu.wire.describe import describe

PATIENCE = 30.0
"""Seconds that anything may take before the story counts as gone wrong."""
SETTLE = 0.12
"""Seconds after a scene for the last acknowledgements that we owe: they may be delayed by 40 ms."""


class Stage:
    """Tells, and keeps count of what was not as it should be."""

    def __init__(self) -> None:
        self._client = Client(find())
        self._styled = sys.stdout.isatty()
        self.failures = 0
        self._scene = 0
        self._processes: list[subprocess.Popen[str]] = []

    # -- telling --------------------------------------------------------------------------------------------------------------

    def scene(self, title: str) -> None:
        self._scene += 1
        print(f"\n{self._style(f'{self._scene}. {title}', '1;36')}")

    def tell(self, text: str) -> None:
        print(text, flush=True)

    def expect(self, met: bool, text: str) -> None:
        """What the scene shows; a failure fails the story."""
        self.failures += not met
        print(f"   {self._style('ok', '32') if met else self._style('WRONG', '1;31')}  {text}", flush=True)

    def _style(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._styled else text

    # -- the table ------------------------------------------------------------------------------------------------------------

    def sockets(self, app: str | None = None) -> list[SocketRow]:
        return [row for row in self._client.sockets() if app in (None, row.app)]

    def id_of(self, app: str, state: str | None = None) -> str:
        """s1, say; '?' when there is none."""
        return next((row.id for row in self.sockets(app) if state in (None, row.state)), "?")

    def table(self) -> None:
        for row in self.sockets():
            pid = f"pid {row.pid}" if row.pid else ""
            print(f"      {row.id:<4} {row.app:<3} {pid:<11} {row.state:<12} {row.local:<20} {row.peer}")

    def until(self, met: Callable[[], object]) -> bool:
        end = time.monotonic() + PATIENCE
        while not met():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    # -- packets --------------------------------------------------------------------------------------------------------------

    @contextmanager
    def watching(self, expression: str) -> Iterator[list[Record]]:
        """The packets of the ``with`` block that match, told at its end; the list is filled by then."""
        seen: list[Record] = []
        with self._client.capture(expression) as capture:
            yield seen
            self.until(lambda: not any(row.send_q for row in self.sockets() if row.state == "ESTABLISHED"))
            time.sleep(SETTLE)
            capture.end()
            seen.extend(record for record in read_blocks(capture.read) if record.data is not None)
        for record in seen:
            assert record.data is not None
            print(f"      {'in ' if record.inbound else 'out'} {short(describe(record.data))}")
            print(f"          {self._style(record.comment, '33')}")

    # -- processes ------------------------------------------------------------------------------------------------------------

    def actor(self, app: str) -> ActorProcess:
        process = self.start(sys.executable, "-m", "netemu.story.actor", app)
        return ActorProcess(self, app, process)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        self._processes.append(process)
        return process

    def run(self, *argv: str) -> int:
        """A command to its end; its exit status."""
        print(f"   $ {' '.join(argv)}", flush=True)
        try:
            return subprocess.run(argv, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL).returncode
        except subprocess.TimeoutExpired:
            return -1

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            with contextlib.suppress(OSError):
                process.communicate()


class ActorProcess:
    """An app, from the narrator's side."""

    def __init__(self, stage: Stage, app: str, process: subprocess.Popen[str]) -> None:
        self.app = app
        self.process = process
        self._stage = stage

    def does(self, verb: str, *arguments: str) -> str:
        """Tell it to do something, and wait until it has; its answer."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, and will not answer
            write(self.process, json.dumps([verb, *arguments]))
        line = line_of(self.process)
        answer = json.loads(line) if line else self._last_words()
        self._stage.tell(f"   {self.app}: {verb}({', '.join(arguments)})  ->  {answer}")
        return str(answer)

    def _last_words(self) -> str:
        self.process.kill()
        assert self.process.stderr is not None
        words = self.process.stderr.read().strip().splitlines()
        return f"no answer: {words[-1] if words else 'it was silent'}"


def write(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that it says; '' when it says nothing in time."""
    assert process.stdout is not None
    ready = select.select([process.stdout], [], [], PATIENCE)[0]
    return process.stdout.readline().strip() if ready else ""


def send_raw(packet: bytes) -> None:
    """Put an IPv4 packet of our own making on the wire, as somebody out there might."""
    destination = socket.inet_ntoa(packet[16:20])
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (destination, 0))


def send_datagram(data: bytes, address: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, (address, port))


def short(line: str) -> str:
    """A packet's line without its options: the story is not about them."""
    before, bracket, after = line.partition(", options [")
    return before + after.partition("]")[2] if bracket else line
