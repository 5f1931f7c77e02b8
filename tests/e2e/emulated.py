"""`netemu up` in a namespace of a test's own, and what the tests ask of it from outside."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from netns import PATIENCE, Namespace

from netemu.apps.builtin_site import PERIOD
from tun.netns import call_in

NETEMU = str(Path(sys.executable).with_name("netemu"))
ADDRESS4, ADDRESS6 = "198.18.0.2", "2001:2::2"
FULL = os.environ.get("NETEMU_FULL") == "1"
"""The sizes that the issue asks for (1 GiB, 10 000 connections), rather than those that a quick run can afford."""
MIB = 1 << 20
READY = "^C ends it."
"""The last line of what `netemu up` says once it serves."""

T = TypeVar("T")
_numbers = itertools.count()


def unique_name() -> str:
    """Of an instance; it is the TUN's name too, so at most 15 letters."""
    return f"t{os.getpid()}n{next(_numbers)}"


class Emulated:
    """A running instance. ``close`` ends it as ^C does, and fails the test if it had anything to complain about."""

    def __init__(
        self,
        namespace: Namespace,
        *options: str,
        wrap: Sequence[str] = (),
        env: dict[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        """``wrap`` is a command that runs the one behind it, such as unshare(1)."""
        self.namespace = namespace
        self.name = name or unique_name()
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (close() closes it)
        variables = [f"{key}={value}" for key, value in (env or {}).items()]
        argv = [*wrap, "env", *variables, NETEMU, "up", "--name", self.name, *options]
        self.process = namespace.start(*argv, stderr=self.log)
        self.welcome = self._wait_until_ready()
        self.pid = self.status()["pid"]

    def _wait_until_ready(self, seconds: float = PATIENCE) -> str:
        assert self.process.stdout is not None
        text, deadline = "", time.monotonic() + seconds
        while READY not in text:
            left = deadline - time.monotonic()
            ready = select.select([self.process.stdout], [], [], max(0, left))[0]
            chunk = os.read(self.process.stdout.fileno(), 65536).decode() if ready else ""
            assert chunk, f"netemu up did not start:\n{text}{self.complaints()}"
            text += chunk
        return text

    def complaints(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def netemu(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Another verb on this instance, `ss` for one."""
        return self.namespace.run("env", f"NETEMU_NAME={self.name}", NETEMU, *argv, check=check)

    def status(self) -> dict[str, Any]:
        return next(row for row in json.loads(self.netemu("ls", "--json").stdout) if row["name"] == self.name)

    def sockets(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.netemu("ss", "-a", "--json").stdout)
        return rows

    def connections(self) -> list[dict[str, Any]]:
        """The sockets that are neither listeners nor in TIME-WAIT: what a test that has ended must not leave."""
        return [row for row in self.sockets() if row["state"] not in ("LISTEN", "UNCONN", "TIME-WAIT")]

    def counters(self) -> dict[str, dict[str, int]]:
        counters: dict[str, dict[str, int]] = json.loads(self.netemu("nstat", "--json").stdout)
        return counters

    def rss(self) -> int:
        return status_bytes(self.pid, "VmRSS")

    def reset_peak(self) -> None:
        """From now on ``peak`` starts anew (proc(5), clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """The largest RSS that there was, told by the kernel: no sample can miss it."""
        return status_bytes(self.pid, "VmHWM")

    def end(self, signal_number: int = signal.SIGINT, seconds: float = PATIENCE) -> int:
        """Send it a signal and wait; its exit status."""
        if self.process.poll() is None:
            os.kill(self.pid, signal_number)
        return self.process.wait(seconds)

    def close(self) -> None:
        status = self.end()
        assert (status, self.complaints()) == (0, "")
        self.log.close()


def status_bytes(pid: int, key: str) -> int:
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:"))


@contextmanager
def emulated(namespace: Namespace, *options: str, wrap: Sequence[str] = ()) -> Iterator[Emulated]:
    """An instance; that it ended well is checked only where the test did (its own failure tells more)."""
    instance = Emulated(namespace, *options, wrap=wrap)
    try:
        yield instance
    except BaseException:
        try:
            instance.end()  # so that it removes what it made
        except subprocess.TimeoutExpired:
            instance.end(signal.SIGKILL)
        sys.stderr.write(instance.complaints())
        raise
    instance.close()


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that everybody may enter, whatever user netemu runs as; pytest's own is for its owner only."""
    path = Path(tempfile.mkdtemp(prefix="netemu-e2e-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def until(met: Callable[[], T], seconds: float = PATIENCE, step: float = 0.05) -> T:
    """Wait for something true; fails with the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := met()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds:g} s"
        time.sleep(step)
    return answer


def inside(namespace: Namespace, call: Callable[[], T]) -> T:
    """``call`` in a thread that is in the namespace: sockets it makes are sockets there."""
    return call_in(namespace.name, call)


def pattern(size: int, start: int = 0) -> bytes:
    """What /bytes/N sends, from ``start`` on."""
    first = start % len(PERIOD)
    return (PERIOD * ((first + size) // len(PERIOD) + 1))[first : first + size]


def pattern_sha256(size: int) -> str:
    digest = hashlib.sha256()
    whole, rest = divmod(size, len(PERIOD))
    for _ in range(whole):
        digest.update(PERIOD)
    digest.update(PERIOD[:rest])
    return digest.hexdigest()


def write_pattern(path: Path, size: int) -> str:
    """A file with the pattern of /bytes/N, a block at a time; its SHA-256."""
    digest = hashlib.sha256()
    block = PERIOD * 16
    with path.open("wb") as file:
        while size:
            piece = block[:size]
            digest.update(piece)
            file.write(piece)
            size -= len(piece)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
