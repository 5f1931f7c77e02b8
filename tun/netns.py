"""Running a call in a named network namespace."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import TypeVar

from tun.errors import TunError

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_NAMED = "/run/netns"  # where ip-netns(8) keeps names

T = TypeVar("T")


def call_in(netns: str | None, call: Callable[[], T]) -> T:
    """The result of ``call()`` in a fresh thread that has entered the namespace (None: the caller's own).

    setns(2) moves one thread. A thread that enters and then ends cannot leave its caller in the wrong namespace,
    whatever goes wrong on the way; with a switch there and back, a failure to switch back would.
    """
    from concurrent.futures import ThreadPoolExecutor  # brings logging along, 8 ms: only for who needs it

    def enter_and_call() -> T:
        if netns is not None:
            _enter(netns)
        return call()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter_and_call).result()


def _enter(netns: str) -> None:
    try:
        fd = os.open(os.path.join(_NAMED, netns), os.O_RDONLY)
    except OSError as error:
        code = error.errno or errno.ENOENT
        raise TunError(code, f"no network namespace {netns!r}: make it with 'ip netns add {netns}'") from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)  # os.setns() comes with Python 3.12
        if libc.setns(fd, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise TunError(code, f"cannot enter the network namespace {netns!r}: {os.strerror(code)}; run as root")
    finally:
        os.close(fd)
