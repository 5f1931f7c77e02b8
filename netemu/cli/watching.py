"""One loop on epoll for verbs that serve many at once, and how signals end it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable

IN, OUT = select.EPOLLIN, select.EPOLLOUT
ENDED = select.EPOLLHUP | select.EPOLLERR
"""Told of a descriptor whether asked for or not."""


class Loop:
    """Calls back when descriptors are ready. SIGINT and SIGTERM end it: its status is 128 + the signal, as a shell has it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[int], None]] = {}
        self._status: int | None = None

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """``call(events)`` whenever one of ``events`` is there; again for a descriptor: other events, another call."""
        if fd in self._calls:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._calls[fd] = call

    def forget(self, fd: int) -> None:
        """Before the descriptor is closed."""
        if self._calls.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def end(self, status: int) -> None:
        """``run`` returns this."""
        if self._status is None:
            self._status = status

    def run(self) -> int:
        hear, tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        self.watch(hear, IN, lambda _: self.end(128 + os.read(hear, 1)[0]))
        try:
            while self._status is None:
                for fd, events in self._epoll.poll():
                    if self._status is None and (call := self._calls.get(fd)) is not None:
                        call(events)
            return self._status
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                with contextlib.suppress(TypeError):  # None: it was not set from Python
                    signal.signal(number, handler)
            self._epoll.close()
            os.close(hear)
            os.close(tell)
