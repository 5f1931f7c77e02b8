"""An asyncio loop that serves a device first.

A turn of asyncio's own loop costs every packet several us of Python. So the device's descriptor and its deadline are served
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

from netemu.tcp.config import NEVER

_Ts = TypeVarTuple("_Ts")
Serve = Callable[[], int]
"""Serves the device; returns the next deadline (time.monotonic_ns) or NEVER."""

IN_A_ROW = 16
"""Turns of the device before asyncio gets its own."""


class DeviceSelector(selectors.EpollSelector):
    """Sleeps for asyncio, and serves one device meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._poll = select.epoll()
        self._poll.register(super().fileno(), select.EPOLLIN)
        self._device = -1
        self._serve: Serve | None = None
        self._others: dict[int, Serve] = {}
        self.deadline = NEVER
        """When the device is served even if it stays silent."""
        self.interrupted = False
        """asyncio has got something to do meanwhile: do not sleep."""

    def watch(self, fd: int, serve: Serve) -> None:
        self._poll.register(fd, select.EPOLLIN)
        self._device, self._serve = fd, serve

    def watch_beside(self, fd: int, serve: Serve) -> None:
        """Serve another descriptor, when it is readable, before asyncio gets its turn."""
        self._poll.register(fd, select.EPOLLIN)
        self._others[fd] = serve

    def unwatch_beside(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._others[fd]

    def want_write(self, wanted: bool) -> None:
        """Also serve the device when it takes packets again."""
        self._poll.modify(self._device, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def unwatch(self) -> None:
        if self._serve is not None:
            self._poll.unregister(self._device)
        self._device, self._serve, self.deadline = -1, None, NEVER

    def close(self) -> None:
        self._poll.close()
        super().close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As EpollSelector's; returns with nothing when asyncio should look after its own ready list."""
        if self._serve is None:
            return super().select(timeout)
        end = NEVER if timeout is None else time.monotonic_ns() + max(0, int(timeout * 1e9))
        self.interrupted = False
        poll, device = self._poll.poll, self._device
        for _ in range(IN_A_ROW):
            due = self.deadline if self.deadline < end else end
            ready = poll(None if due == NEVER else max(0, due - time.monotonic_ns()) / 1e9)
            if len(ready) == 1 and ready[0][0] == device:
                self.deadline = self._serve()
            elif self._serve_all([fd for fd, _ in ready]) or time.monotonic_ns() >= end:
                break
            if self.interrupted or self._device < 0:
                break
        return super().select(0)

    def _serve_all(self, ready: list[int]) -> bool:
        """Serve what is ours among ``ready``, and the device if its deadline has come; is anything asyncio's?"""
        theirs = False
        for fd in ready:
            serve = self._serve if fd == self._device else self._others.get(fd)
            if serve is None:
                theirs = True
            else:
                self.deadline = serve()
        if self._serve is not None and time.monotonic_ns() >= self.deadline:
            self.deadline = self._serve()
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
