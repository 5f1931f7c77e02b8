"""What every queue discipline is: packets are pushed as they come and popped as the bottleneck has time for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Annotated

from netemu.link import ecn
from netemu.reasons import LinkDrop
from netemu.wire.packet import Packet
from netemu.wire.slices import split

MS = 1_000_000
LIMIT = 1000
"""Packets that may wait, where nothing else is asked: as tc-codel(8) and tc-pie(8) have it."""
MEMORY_LIMIT = 32 << 20
"""Bytes that may wait, where nothing else is asked: as tc-fq_codel(8) has it. No queue is without a bound in bytes."""


class Kind(Enum):
    """What the value of a parameter is: for the one who reads words, and for the one who writes them."""

    TIME = "a time"  # int, ns
    PACKETS = "a number of packets"  # int
    BYTES = "a size"  # int, bytes
    RATE = "a rate"  # int, bit/s
    CHANCE = "a probability"  # float, 0..1
    NUMBER = "a number"  # int
    FLAG = "no value"  # bool


Time = Annotated[int, Kind.TIME]
Packets = Annotated[int, Kind.PACKETS]
Bytes = Annotated[int, Kind.BYTES]
Rate = Annotated[int, Kind.RATE]
Chance = Annotated[float, Kind.CHANCE]
Number = Annotated[int, Kind.NUMBER]
Flag = Annotated[bool, Kind.FLAG]


class Fifo:
    """Packets in the order in which they came, each with the time (ns) when it did."""

    __slots__ = ("_waiting", "bytes")

    def __init__(self) -> None:
        self._waiting: deque[tuple[Packet, int, int]] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, packet: Packet, since: int, size: int) -> None:
        self._waiting.append((packet, since, size))
        self.bytes += size

    def take(self) -> tuple[Packet, int, int]:
        """(packet, since, size) of the head. There must be one."""
        entry = self._waiting.popleft()
        self.bytes -= entry[2]
        return entry

    @property
    def head(self) -> tuple[Packet, int, int] | None:
        return self._waiting[0] if self._waiting else None

    def drain(self) -> Iterator[tuple[Packet, int]]:
        """(packet, since) of all, which are gone then."""
        while self._waiting:
            yield self.take()[:2]


class Queue(ABC):
    """What waits before a bottleneck: packets of the wire. A super-packet comes in as its slices and is popped slice by slice.

    The keyword arguments of a discipline's constructor are its parameters; registry.parameters_of reads their kinds there.

    What is lost is told to ``on_drop(packet, now, reason)``; what is marked, to ``on_mark(packet, now)``, with its mark. Both
    happen during push or pop.
    """

    def __init__(self, limit: Packets, memory_limit: Bytes) -> None:
        """At most ``limit`` packets and ``memory_limit`` bytes wait. Raises ValueError, as all disciplines do."""
        at_least(1, limit=limit, memory_limit=memory_limit)
        self.limit, self.memory_limit = limit, memory_limit
        self.bytes = 0
        """Bytes that wait: of IP packets, headers and all."""
        self.waited = 0
        """The sojourn time (ns) of the packet that was popped last."""
        self.size = 0
        """Its bytes."""
        self.largest = 0
        """Bytes of the largest packet that ever waited."""
        self.on_drop: Callable[[Packet, int, LinkDrop], object] = _nobody_cares
        self.on_mark: Callable[[Packet, int], object] = _nobody_cares
        self._length = 0

    def __len__(self) -> int:
        """Packets that wait."""
        return self._length

    @property
    @abstractmethod
    def head_since(self) -> int | None:
        """When the packet that has waited longest came (ns); None when none waits."""

    def push(self, packet: Packet, now: int) -> None:
        """It comes now: it waits, or is dropped."""
        if packet.gso_size:
            for piece in split(packet):
                self._arrive(piece, now)
        else:
            self._arrive(packet, now)

    @abstractmethod
    def _arrive(self, packet: Packet, now: int) -> None:
        """A packet of the wire comes now."""

    @abstractmethod
    def pop(self, now: int) -> Packet | None:
        """The packet that is next; None when none waits. Some disciplines drop on the way to it."""

    @abstractmethod
    def adopt(self, packet: Packet, since: int) -> None:
        """It waits here, and has since then, whatever the limits: what is under way when a link changes is not lost."""

    @abstractmethod
    def drain(self) -> list[tuple[Packet, int]]:
        """(packet, since) of all that waits, in the order in which it came; nothing waits then. For the queue that follows."""

    def _is_full(self, size: int) -> bool:
        """Has it no room for a packet of so many bytes?"""
        return self._length >= self.limit or self.bytes + size > self.memory_limit

    # what disciplines are made of; ``fifo`` is one of this queue's
    def append(self, fifo: Fifo, packet: Packet, since: int, size: int) -> None:
        fifo.append(packet, since, size)
        self._length += 1
        self.bytes += size
        if size > self.largest:
            self.largest = size

    def take(self, fifo: Fifo, now: int) -> Packet:
        """The head of ``fifo``, which is not empty."""
        packet, since, size = fifo.take()
        self._length -= 1
        self.bytes -= size
        self.waited = now - since
        self.size = size
        return packet

    def drop_head(self, fifo: Fifo, now: int, reason: LinkDrop) -> None:
        self.on_drop(self.take(fifo, now), now, reason)

    def mark(self, packet: Packet, now: int) -> Packet:
        packet = ecn.marked(packet)
        self.on_mark(packet, now)
        return packet


class SingleQueue(Queue):
    """A discipline that keeps all packets in one FIFO."""

    def __init__(self, limit: Packets, memory_limit: Bytes) -> None:
        super().__init__(limit, memory_limit)
        self._fifo = Fifo()

    @property
    def head_since(self) -> int | None:
        head = self._fifo.head
        return head[1] if head else None

    def _arrive(self, packet: Packet, now: int) -> None:
        size = len(packet)
        if self._is_full(size):
            self.on_drop(packet, now, LinkDrop.QUEUE_FULL)
        else:
            self.append(self._fifo, packet, now, size)

    def pop(self, now: int) -> Packet | None:
        return self.take(self._fifo, now) if self._length else None

    def adopt(self, packet: Packet, since: int) -> None:
        self.append(self._fifo, packet, since, len(packet))

    def drain(self) -> list[tuple[Packet, int]]:
        self._length = self.bytes = 0
        return list(self._fifo.drain())


def at_least(lowest: float, **values: float) -> None:
    """ValueError, one line, for the first of the named values that is below."""
    for name, value in values.items():
        if value < lowest:
            raise ValueError(f"{name} must be at least {lowest}, not {value}")


def _nobody_cares(*_: object) -> None:
    pass
