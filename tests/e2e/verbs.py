"""Verbs that run until they are ended, for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from emulated import NETEMU, Emulated, until
from netns import PATIENCE


def started(instance: Emulated, *argv: str) -> subprocess.Popen[str]:
    """`netemu …` on this instance; the namespace ends it if the test does not."""
    return instance.namespace.start("env", f"NETEMU_NAME={instance.name}", NETEMU, *argv)


@contextmanager
def running(instance: Emulated, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """One that says in a line on standard output that it is there: that is read. Ended by SIGTERM."""
    process = started(instance, *argv)
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line.endswith("^C ends it\n"), line + process.stderr.read()
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def listening(instance: Emulated, port: int) -> None:
    """Wait for a socket of the host that takes what comes to ``port``."""
    until(
        lambda: any(
            row["local"].endswith(f":{port}") and row["state"] in ("LISTEN", "UNCONN") for row in instance.sockets()
        )
    )


def ended(process: subprocess.Popen[str], text: str | None = None) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of one that ends by itself; ``text`` is its standard input."""
    out, err = process.communicate(text, timeout=PATIENCE)
    return process.returncode, out, err
