"""The bottleneck: a queue, and a wire that takes one packet after the other, each for as long as its bytes take."""

from __future__ import annotations

from collections.abc import Callable

from netemu.link.queues.base import Queue
from netemu.link.traces import Schedule
from netemu.reasons import LinkDrop
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet

Through = Callable[[Packet, int, int, int, int], None]
"""(packet, its bytes, when the last of them is through, when it came to the queue, how long it waited there)"""
Lost = Callable[[Packet, int, LinkDrop], object]


class Bottleneck:
    """Runs in virtual time: whenever it is asked, it does all that was due since, each at its own time.

    So what a queue discipline decides depends on when packets came, never on how late the machine is.
    """

    def __init__(self, queue: Queue, through: Through, lost: Lost) -> None:
        self.queue = queue
        self.schedule: Schedule | None = None
        """None where packets take no time."""
        self.free = 0
        """When the wire has sent the last byte of what it sends now, ns."""
        self._through = through
        self._lost = lost

    def push(self, packet: Packet, now: int) -> None:
        """It comes to the queue; ``advance(now)`` has been called."""
        self.queue.push(packet, now)
        if self.free <= now:
            self.free = now
            self.advance(now)

    def advance(self, now: int) -> None:
        """Send what the wire has had time for by ``now``."""
        queue, schedule, through = self.queue, self.schedule, self._through
        while self.free <= now:
            start = self.free
            packet = queue.pop(start)
            if packet is None:
                return
            waited, size = queue.waited, queue.size
            done = start if schedule is None else schedule.departure(size, start)
            if done >= NEVER:
                self._lost(packet, start, LinkDrop.DOWN)
                continue
            self.free = done
            through(packet, size, done, start - waited, waited)

    def replace(self, queue: Queue) -> None:
        """Have another queue; what waits goes over to it, and loses neither its place nor its time."""
        for packet, since in self.queue.drain():
            queue.adopt(packet, since)
        self.queue = queue

    @property
    def due(self) -> int:
        """When the next of those that wait can be sent; NEVER if none waits."""
        return self.free if len(self.queue) else NEVER
