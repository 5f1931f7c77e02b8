"""timerfd_create(2): a descriptor that is readable at a time given in nanoseconds.

epoll's own timeout is in milliseconds, and rounded up: a link's delays would be late by half a millisecond on average.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time

from netemu.tcp.config import NEVER

TFD_TIMER_ABSTIME = 1
SECOND = 1_000_000_000


class Itimerspec(ctypes.Structure):
    """struct itimerspec of a 64-bit time_t: interval, then value."""

    _fields_ = (
        ("interval_s", ctypes.c_int64),
        ("interval_ns", ctypes.c_int64),
        ("value_s", ctypes.c_int64),
        ("value_ns", ctypes.c_int64),
    )


class TimerFd:
    """One timer on CLOCK_MONOTONIC. Register it edge-triggered: it is never read."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._spec = Itimerspec()
        self._pointer = ctypes.byref(self._spec)
        self._set = self._libc.timerfd_settime
        self._armed = NEVER

    def fileno(self) -> int:
        return self._fd

    def rings_at(self, when: int) -> bool:
        """Ring at ``when``, ns of time.monotonic_ns, or not at all if that is NEVER. False: it is past already."""
        if when != self._armed:
            spec = self._spec
            spec.value_s, spec.value_ns = divmod(when, SECOND) if when < NEVER else (0, 0)
            if when <= 0 or self._set(self._fd, TFD_TIMER_ABSTIME, self._pointer, None):
                raise OSError(errno.EINVAL, f"timerfd_settime: {when}")
            self._armed = when
        return when > time.monotonic_ns()

    def close(self) -> None:
        os.close(self._fd)
