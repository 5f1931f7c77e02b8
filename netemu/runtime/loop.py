"""An asyncio loop that serves devices first.

A turn of asyncio's own loop costs every packet several us of Python. So the devices' descriptors and the deadline are served
inside the selector: asyncio sleeps there, and is woken only for what is its own (control API, signals, subprocesses).
"""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple, Unpack

from netemu.runtime.timerfd import TimerFd
from netemu.tcp.config import NEVER

_Ts = TypeVarTuple("_Ts")
Serve = Callable[[], int]
"""Serves what is readable; returns the next deadline (time.monotonic_ns) or NEVER."""

LEAD_NS = 40_000
"""We wake up so long before a deadline and look at the clock until it is there: a sleeper wakes up to 50 us late, which would
be the error of each delay of a link."""
IN_A_ROW = 16
"""Turns of the device before asyncio gets its own."""


class DeviceSelector(selectors.EpollSelector):
    """Sleeps for asyncio, and serves devices meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._poll = select.epoll()
        self._poll.register(super().fileno(), select.EPOLLIN)
        self._clock = TimerFd()
        self._poll.register(self._clock.fileno(), select.EPOLLIN | select.EPOLLET)
        self._served: dict[int, Serve] = {}
        self.deadline = NEVER
        """When ``at_deadline`` is called even if all stay silent."""
        self.at_deadline: Serve = lambda: NEVER
        self.interrupted = False
        """asyncio has got something to do meanwhile: do not sleep."""

    def watch(self, fd: int, serve: Serve) -> None:
        """Call ``serve`` whenever ``fd`` is readable, before asyncio gets its turn."""
        self._poll.register(fd, select.EPOLLIN)
        self._served[fd] = serve

    def want(self, fd: int, *, read: bool, write: bool) -> None:
        """What to wait for at a descriptor that is watched."""
        self._poll.modify(fd, (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0))

    def unwatch(self) -> None:
        """Watch nothing any more."""
        for fd in self._served:
            self._poll.unregister(fd)
        self._served.clear()
        self.deadline = NEVER

    def close(self) -> None:
        self._poll.close()
        self._clock.close()
        super().close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As EpollSelector's; returns with nothing when asyncio should look after its own ready list."""
        served = self._served
        if not served:
            return super().select(timeout)
        end = NEVER if timeout is None else time.monotonic_ns() + max(0, int(timeout * 1e9))
        self.interrupted = False
        poll, clock = self._poll.poll, self._clock
        for _ in range(IN_A_ROW):
            due = self.deadline if self.deadline < end else end
            ready = poll(None) if clock.rings_at(due - LEAD_NS if due < NEVER else NEVER) else poll(0)
            if len(ready) == 1 and (serve := served.get(ready[0][0])) is not None:
                self.deadline = serve()
            elif self._serve_all([fd for fd, _ in ready]) or time.monotonic_ns() >= end:
                break
            if self.interrupted or not served:
                break
        return super().select(0)

    def _serve_all(self, ready: list[int]) -> bool:
        """Serve what is ours among ``ready``, and the deadline if it has come; is anything asyncio's?"""
        theirs = False
        for fd in ready:
            serve = self._served.get(fd)
            if serve is not None:
                self.deadline = serve()
            elif fd != self._clock.fileno():
                theirs = True
        if self._served and time.monotonic_ns() >= self.deadline:
            self.deadline = self.at_deadline()
        return theirs


class DeviceLoop(asyncio.SelectorEventLoop):
    """A loop on a DeviceSelector: what is scheduled from within a serving wakes it."""

    def __init__(self) -> None:
        self.device = DeviceSelector()
        super().__init__(self.device)

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self.device.interrupted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.device.interrupted = True
        return super().call_at(when, callback, *args, context=context)
