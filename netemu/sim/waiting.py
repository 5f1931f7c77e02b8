"""Calls that may have to wait.

A call is tried; where its answer is not there yet it is parked, and tried again when something has happened at what it waits
for. So a wake-up too many does no harm, and nobody needs to know who made the call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from netemu.runtime.network import Item
from netemu.tcp.config import NEVER

if TYPE_CHECKING:
    from netemu.sim.runner import Runner

T = TypeVar("T")


class Deadlock(RuntimeError):
    """A call cannot return: nothing is left that could happen. The text names all who wait, and for what."""


class Source(ABC):
    """What calls wait for: a socket's news, a program's end, the time."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.waiting: list[Operation[Any]] = []

    @abstractmethod
    def __str__(self) -> str:
        """As Deadlock names it."""

    def wake(self) -> None:
        """Something happened: all who wait try again, in the order in which they came."""
        for operation in self.waiting:
            self.runner.make_ready(operation)


class Waiter(ABC):
    """Who calls: the one who steps the simulation, or a program that it runs."""

    name: str
    can_block = True
    """``perform`` returns the result itself, not something to be yielded."""

    @abstractmethod
    def perform(self, operation: Operation[T]) -> T:
        """Wait until it is done; its result."""

    @abstractmethod
    def go_on(self, operation: Operation[Any]) -> None:
        """What was waited for is done."""


class Operation(Generic[T]):
    """One call. ``attempt`` does it or raises BlockingIOError; after ``timeout`` ns, if any, TimeoutError is its end."""

    def __init__(self, source: Source, verb: str, attempt: Callable[[], T], timeout: int | None = None) -> None:
        self.source = source
        self.verb = verb
        self.timeout = timeout
        self.waiter: Waiter | None = None
        self.alarm: Alarm | None = None
        self.is_done = self.is_ready = self.is_expired = False
        self._attempt = attempt
        self._value: list[T] = []
        self._error: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.source}"

    def poll(self) -> bool:
        """Try; True when it is done, one way or the other."""
        try:
            self._value.append(self._attempt())
        except BlockingIOError as problem:
            if self.is_expired:
                self._error = TimeoutError("timed out")
            elif self.timeout == 0:
                self._error = problem
            else:
                return False
        except Exception as problem:
            self._error = problem
        self.is_done = True
        return True

    def result(self) -> T:
        """Once it is done: what it returns, or raises."""
        if self._error is not None:
            raise self._error
        return self._value[0]


class Alarm(Item):
    """The end of an operation's patience."""

    def __init__(self, runner: Runner, operation: Operation[Any]) -> None:
        self._runner = runner
        self._operation = operation

    def on_due(self, now: int) -> None:
        self._operation.is_expired = True
        self._runner.make_ready(self._operation)

    def cancel(self) -> None:
        self.scheduled = NEVER
