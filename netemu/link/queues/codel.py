"""Controlled Delay (RFC 8289): while none of an ``interval`` waits less than ``target``, the head is dropped now and then."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from random import Random

from netemu.link.ecn import is_capable
from netemu.link.queues.base import (
    LIMIT,
    MEMORY_LIMIT,
    MS,
    Bytes,
    Fifo,
    Flag,
    Packets,
    Queue,
    SingleQueue,
    Time,
    at_least,
)
from netemu.reasons import LinkDrop
from netemu.wire.packet import Packet

TARGET = 5 * MS
INTERVAL = 100 * MS
_REMEMBERED = 16
"""Intervals for which the drop rate of the last dropping state is a good start of the next one."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in ns. ``ecn``: who can be is marked instead of dropped. Who waited longer than ``ce_threshold`` is marked anyway."""

    target: int
    interval: int
    ecn: bool
    ce_threshold: int | None

    def __post_init__(self) -> None:
        at_least(1, target=self.target, interval=self.interval)
        if self.ce_threshold is not None:
            at_least(0, ce_threshold=self.ce_threshold)


class Control:
    """The control law over one FIFO: drops (or marks) at its head, ever faster while it stands (RFC 8289 5)."""

    __slots__ = ("_count", "_drop_next", "_dropping", "_fifo", "_first_above", "_last_count", "_queue", "_settings")

    def __init__(self, queue: Queue, fifo: Fifo, settings: Settings) -> None:
        """``fifo`` is one of those of ``queue``."""
        self._queue, self._fifo, self._settings = queue, fifo, settings
        self._first_above = 0  # when the sojourn time will have been above target for an interval; 0: it is not
        self._dropping = False
        self._drop_next = 0
        self._count = self._last_count = 0

    def next(self, now: int) -> Packet | None:
        """The next packet that may be sent; None when none is left."""
        must_mark = self._strike(now)
        if not self._fifo:
            return None
        packet = self._queue.take(self._fifo, now)
        late = self._settings.ce_threshold
        if late is not None and self._queue.waited > late:
            must_mark = must_mark or is_capable(packet)
        return self._queue.mark(packet, now) if must_mark else packet

    def _strike(self, now: int) -> bool:
        """Drop at the head what must be dropped; True: mark what then stands there (dequeue, RFC 8289 5.5)."""
        stands = self._stands(now)
        if self._dropping:
            self._dropping = stands
            while self._dropping and now >= self._drop_next:
                self._count += 1
                if self._marks_or_drops(now):
                    self._drop_next = self._law(self._drop_next)
                    return True
                self._dropping = self._stands(now)
                if self._dropping:
                    self._drop_next = self._law(self._drop_next)
            return False
        return stands and self._begin_dropping(now)

    def _begin_dropping(self, now: int) -> bool:
        marks = self._marks_or_drops(now)
        if not marks:
            self._stands(now)  # for what follows
        self._dropping = True
        # when it stands again so soon, the rate that had controlled it is a better start than one drop per interval
        recent = self._count - self._last_count
        again = recent > 1 and now - self._drop_next < _REMEMBERED * self._settings.interval
        self._count = self._last_count = recent if again else 1
        self._drop_next = self._law(now)
        return marks

    def _marks_or_drops(self, now: int) -> bool:
        """True: the head is to be marked. False: it was dropped."""
        head = self._fifo.head
        if self._settings.ecn and head is not None and is_capable(head[0]):
            return True
        self._queue.drop_head(self._fifo, now, LinkDrop.CODEL)
        return False

    def _stands(self, now: int) -> bool:
        """Has every packet of the last interval waited for target or more? (dodequeue, RFC 8289 5.6)"""
        head = self._fifo.head
        # a queue of no more than a packet behind its head does not stand, however slow the link is
        if head is None or now - head[1] < self._settings.target or self._fifo.bytes - head[2] <= self._queue.largest:
            self._first_above = 0
            return False
        if not self._first_above:
            self._first_above = now + self._settings.interval
            return False
        return now >= self._first_above

    def _law(self, when: int) -> int:
        """The next drop: so much sooner each time that TCP's throughput falls linearly (RFC 8289 5.3)."""
        return when + int(self._settings.interval / sqrt(self._count))


class Codel(SingleQueue):
    """One FIFO; parameters and defaults of tc-codel(8)."""

    def __init__(
        self,
        random: Random,
        *,
        limit: Packets = LIMIT,
        memory_limit: Bytes = MEMORY_LIMIT,
        target: Time = TARGET,
        interval: Time = INTERVAL,
        ecn: Flag = False,
        ce_threshold: Time | None = None,
    ) -> None:
        super().__init__(limit, memory_limit)
        self._control = Control(self, self._fifo, Settings(target, interval, ecn, ce_threshold))

    def pop(self, now: int) -> Packet | None:
        return self._control.next(now)
