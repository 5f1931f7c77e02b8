"""Commands that run beside an instance."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess

GRACE = 2.0
"""Seconds that a command gets to end once it is told to."""
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end an instance in good order."""
_LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp prints it


async def status_of(child: subprocess.Popen[bytes]) -> int:
    """Its exit status, once it ends, as a shell gives it. When we are cancelled it is ended."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(
        child.pid
    )  # asyncio's own watcher is a thread, which would fight the stack for the interpreter
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        await _terminate(child, ended)
        raise
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    status = child.wait()
    return status if status >= 0 else 128 - status


async def _terminate(child: subprocess.Popen[bytes], ended: asyncio.Event) -> None:
    """End a command, by force if need be, while the stack still answers it."""
    child.terminate()
    try:
        async with asyncio.timeout(GRACE):
            await ended.wait()
    except TimeoutError:
        child.kill()
    child.wait()


def listens(child: subprocess.Popen[bytes], netns: str) -> bool:
    """Does anything listen at a TCP port in the network namespace at the path ``netns``, that ``child`` is to enter?"""
    with contextlib.suppress(OSError):
        if not os.path.samestat(os.stat(netns), os.stat(f"/proc/{child.pid}/ns/net")):
            return False  # nsenter(1) has not got there yet
        for table in ("tcp", "tcp6"):
            with open(f"/proc/{child.pid}/net/{table}") as lines:
                if any(line.split()[3] == _LISTEN for line in lines if not line.lstrip().startswith("sl")):
                    return True
    return False
