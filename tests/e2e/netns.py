"""A network namespace of one test's own: what the test starts in it ends with it."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

from tun.netns import call_in

ROOT = Path(__file__).resolve().parents[2]

PATIENCE = 30
"""Seconds that anything may take on a slow and busy machine. No test that passes waits that long."""

_numbers = itertools.count()


class Namespace:
    """``ip netns add`` under a unique name, with lo up; ``close`` kills what was started here and removes it."""

    def __init__(self) -> None:
        self.name = f"netemu-test-{os.getpid()}-{next(_numbers)}"
        self._started: list[subprocess.Popen[str]] = []
        subprocess.run(["ip", "netns", "add", self.name], check=True, timeout=PATIENCE)
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, timeout: float = PATIENCE, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in here to its end; an exit status other than 0 fails the test and shows what it said."""
        done = subprocess.run(self.command(*argv), capture_output=True, text=True, timeout=timeout, cwd=ROOT)
        assert not check or done.returncode == 0, f"{argv}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def start(self, *argv: str, stderr: int | IO[str] | None = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command in here (a process group of its own), with pipes; ``close`` kills it."""
        process = subprocess.Popen(
            self.command(*argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def python(self, code: str, *args: str) -> subprocess.Popen[str]:
        """Start this interpreter in here on a piece of code, which may import netemu and tun."""
        return self.start(sys.executable, "-c", code, *args)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this process that lives in here."""
        return call_in(self.name, lambda: socket.socket(family, kind, protocol))

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            with process:  # closes the pipes and reaps
                pass
        subprocess.run(["ip", "netns", "delete", self.name], check=True, timeout=PATIENCE)


class Entered(Namespace):
    """Without the mounts of its own that `ip netns exec` has: namespaces that are made in there are seen out here."""

    def command(self, *argv: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.name}", *argv]
