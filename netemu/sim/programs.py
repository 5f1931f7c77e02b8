"""Programs that run side by side in virtual time: generators, and plain functions on stacks of their own.

A plain function blocks in its calls as it would on a real host. It runs in a greenlet: one at a time, and only from one call
that waits to the next, so there is nothing to lock, and the order is that of the events. (A thread that is handed the baton
does the same; that takes 14 us where a greenlet takes 1, and what is left of it has to be ended by hand.)

A generator yields what its calls return, and gets the answer: ``data = yield connection.recv(100)``. It yields a time to
sleep ('1s', or ns), and a Program to wait for its end.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from netemu.sim.runner import Runner
from netemu.sim.times import span
from netemu.sim.waiting import Operation, Source, Waiter

if TYPE_CHECKING:
    from greenlet import greenlet

T = TypeVar("T")


class Program(Waiter, Source):
    """Something that runs beside others. ``result()`` waits for its end."""

    def __init__(self, runner: Runner, name: str) -> None:
        super().__init__(runner)
        self.name = name
        self.is_done = False
        self._value: Any = None
        self._error: BaseException | None = None

    def __str__(self) -> str:
        return f"the end of {self.name}"

    def result(self) -> Any:
        """What it returned, once it has; or raises what it raised."""
        return self.runner.perform(self.ending())

    def ending(self) -> Operation[Any]:
        return Operation(self, "waits for", self._end)

    def _end(self) -> Any:
        if not self.is_done:
            raise BlockingIOError
        if self._error is not None:
            raise self._error
        return self._value

    def go_on(self, operation: Operation[Any]) -> None:
        """Run until it has to wait again. What it raises and nobody waits for is raised to whoever steps the simulation."""
        runner = self.runner
        stepping, runner.current = runner.current, self
        try:
            self._run(operation)
        except Exception as error:
            self._error = error
            error.add_note(f"in program {self.name}, at {runner.network.now / 1e9:.6f} s of virtual time")
        finally:
            runner.current = stepping
        if self._error is not None:
            self.is_done = True
            if not self.waiting:
                raise self._error
        if self.is_done:
            self.wake()

    @abstractmethod
    def _run(self, operation: Operation[Any]) -> None:
        """Go on with what ``operation`` brought; set ``is_done`` at the end."""

    def _finish(self, value: Any) -> None:
        self._value, self.is_done = value, True


class GeneratorProgram(Program):
    """Its calls return what it has to yield."""

    can_block = False

    def __init__(self, runner: Runner, name: str, generator: Generator[Any, Any, Any]) -> None:
        super().__init__(runner, name)
        self._generator = generator
        self._called: Operation[Any] | None = None
        """What was called and is not yielded yet."""

    def perform(self, operation: Operation[T]) -> T:
        self._check_yielded()
        self._called = operation
        return cast(T, operation)

    def _check_yielded(self) -> None:
        called, self._called = self._called, None
        if called is not None:
            raise RuntimeError(f"{self.name} called what has to wait, and did not yield it: {called}")

    def _run(self, operation: Operation[Any]) -> None:
        try:
            while operation.is_done or operation.poll():
                operation = self._next(operation)
        except StopIteration as end:
            self._check_yielded()
            self._finish(end.value)
        else:
            self.runner.park(operation, self)

    def _next(self, done: Operation[Any]) -> Operation[Any]:
        """Hand the generator its answer; what it waits for next."""
        try:
            value = done.result()
        except Exception as problem:
            yielded = self._generator.throw(problem)
        else:
            yielded = self._generator.send(value)
        return self._awaited(yielded)

    def _awaited(self, yielded: object) -> Operation[Any]:
        if self._called is yielded:
            self._called = None
        self._check_yielded()
        if isinstance(yielded, Operation):
            return yielded
        if isinstance(yielded, Program):
            return yielded.ending()
        if isinstance(yielded, str | int):
            return self.runner.time.sleep(span(yielded))
        raise TypeError(f"{self.name} yielded {yielded!r}; yield a call that waits, a time such as '1s', or a program")


class FunctionProgram(Program):
    """Its calls block."""

    def __init__(self, runner: Runner, name: str, call: Callable[[], Any]) -> None:
        from greenlet import greenlet  # who runs no programs needs none

        super().__init__(runner, name)
        self._greenlet: greenlet = greenlet(lambda: self._finish(call()))

    def perform(self, operation: Operation[T]) -> T:
        if not operation.poll():
            self.runner.park(operation, self)
            parent = self._greenlet.parent
            assert parent is not None
            parent.switch()
        return operation.result()

    def _run(self, operation: Operation[Any]) -> None:
        from greenlet import getcurrent

        self._greenlet.parent = getcurrent()
        self._greenlet.switch()


def program_of(runner: Runner, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Program:
    """``function`` as a program that has not started."""
    if inspect.isgeneratorfunction(function):
        return GeneratorProgram(runner, name, function(*arguments))
    return FunctionProgram(runner, name, lambda: function(*arguments))
