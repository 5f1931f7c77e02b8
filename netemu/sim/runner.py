"""Steps a network in virtual time, and lets those go on who waited for what has happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from netemu.runtime.network import Item, Network, Node
from netemu.sim.waiting import Alarm, Deadlock, Operation, Source, Waiter
from netemu.tcp.config import NEVER

T = TypeVar("T")


class Runner:
    """The network's turns, and between them the programs: in one order, that of the events."""

    def __init__(self, network: Network, patience: int) -> None:
        """``patience``: how long, ns, a call may take that has no timeout."""
        self.network = network
        self.patience = patience
        self.time = Time(self)
        self.steps = 0
        """Turns of the network so far."""
        self.before_step: Callable[[], None] | None = None
        """Called once, before the next step."""
        self.current: Waiter | None = Main(self)
        """Who runs; None: nobody who could wait, as within a turn."""
        self._ready: deque[Operation[Any]] = deque()
        self._parked: dict[Operation[Any], None] = {}
        self.due = 0
        """When the network has its next turn; NEVER: nothing is left to happen."""

    # -- what is done to hosts and links outside of a turn ----------------------------------------------------------------

    def touch(self, node: Node) -> None:
        """Something is done to ``node`` now: it has a turn, at this time, before anything else happens."""
        self.network.wake(node)
        self.due = self.network.now

    def rewire(self) -> None:
        """Something was done to links."""
        self.network.rewire()
        self.due = self.network.now

    # -- who waits --------------------------------------------------------------------------------------------------------

    def perform(self, operation: Operation[T]) -> T:
        """Do it now or when it can be done, while whoever called waits."""
        if self.current is None:
            raise RuntimeError(f"{operation}: nobody can wait within a turn; spawn a program that does")
        return self.current.perform(operation)

    def park(self, operation: Operation[Any], waiter: Waiter) -> None:
        """Try ``operation`` again whenever its source wakes it; ``waiter`` goes on when it is done."""
        operation.waiter = waiter
        operation.source.waiting.append(operation)
        self._parked[operation] = None
        if operation.timeout is not None:
            operation.alarm = Alarm(self, operation)
            self.schedule(operation.alarm, self.network.now + operation.timeout)

    def unpark(self, operation: Operation[Any]) -> None:
        if operation in self._parked:
            del self._parked[operation]
            operation.source.waiting.remove(operation)
            if operation.alarm is not None:
                operation.alarm.cancel()

    def schedule(self, item: Item, when: int) -> None:
        self.network.schedule(item, when)
        self.due = min(self.due, when)

    def start(self, program: Waiter, delay: int) -> None:
        """Have it run in ``delay`` ns."""
        operation = self.time.sleep(delay)
        self.park(operation, program)
        if not delay:
            self.make_ready(operation)

    def make_ready(self, operation: Operation[Any]) -> None:
        """Try it before the next turn."""
        if not operation.is_ready:
            operation.is_ready = True
            self._ready.append(operation)

    def _try_those_ready(self) -> None:
        for _ in range(len(self._ready)):
            operation = self._ready.popleft()
            operation.is_ready = False
            if operation in self._parked and operation.poll():
                self.unpark(operation)
                assert operation.waiter is not None
                operation.waiter.go_on(operation)

    # -- time -------------------------------------------------------------------------------------------------------------

    def step(self, limit: int) -> bool:
        """Let those who are ready go on; else go to the next time at which something happens. False: none until ``limit``."""
        if self.before_step is not None:
            before, self.before_step = self.before_step, None
            before()
        stepping, self.current = self.current, None
        try:
            if self._ready:
                self.due = self.network.now
                self._try_those_ready()
                return True
            if self.due > limit or self.due == NEVER:
                return False
            self.steps += 1
            self.due = self.network.turn(self.due)
            return True
        finally:
            self.current = stepping

    def go_to(self, when: int) -> None:
        """Nothing happens until ``when``: be there."""
        self.network.set_time(when)

    def stuck(self, operation: Operation[Any]) -> Deadlock:
        """``operation`` will not return."""
        others = [f"{other.waiter.name}: {other}" for other in self._parked if other.waiter and other is not operation]
        why = "nothing is left to happen" if self.due == NEVER else f"{self.patience / 1e9:g} s have passed"
        return Deadlock(f"{why}, and there wait {'; '.join([f'main: {operation}', *others])}")


class Main(Waiter):
    """Whoever steps the simulation by calling what has to wait."""

    name = "main"

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def perform(self, operation: Operation[T]) -> T:
        runner = self._runner
        if not operation.poll():
            limit = runner.network.now + runner.patience
            runner.park(operation, self)
            try:
                while not operation.is_done:
                    if not runner.step(limit):
                        raise runner.stuck(operation)
            finally:
                runner.unpark(operation)
        return operation.result()

    def go_on(self, operation: Operation[Any]) -> None:
        """``perform`` sees it."""


class Time(Source):
    """What a sleep waits for."""

    def __str__(self) -> str:
        return "for its time"

    def sleep(self, duration: int) -> Operation[None]:
        """``duration``: ns."""
        end = self.runner.network.now + duration

        def attempt() -> None:
            if self.runner.network.now < end:
                raise BlockingIOError

        return Operation(self, "sleep", attempt, duration)
