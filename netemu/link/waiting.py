"""What a bottleneck needs of the queue before it, and the plainest one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from netemu.link.slices import count, part, wire_bytes
from netemu.reasons import LinkDrop
from netemu.wire.packet import Packet

PACKETS = 1000
MEMORY = 32 << 20


class Queue(Protocol):
    """Packets are pushed as they come and popped as the bottleneck has time for them; a super-packet pops slice by slice."""

    bytes: int
    """Bytes that wait."""
    waited: int
    """How long (ns) what was popped last had waited."""
    on_drop: Callable[[Packet, int, LinkDrop], object]
    on_mark: Callable[[Packet, int], object]

    def __len__(self) -> int:
        """Packets that wait; a super-packet's slices."""

    def push(self, packet: Packet, now: int) -> None: ...

    def pop(self, now: int, most: int = 1) -> Packet | None:
        """The next packet of the wire; None when there is none (any more)."""


class DropTail:
    """Who comes when it is full is lost."""

    def __init__(self, limit: int = PACKETS, memory_limit: int = MEMORY) -> None:
        self.limit, self.memory_limit = limit, memory_limit
        self.bytes = self.waited = 0
        self.on_drop: Callable[[Packet, int, LinkDrop], object] = lambda *_: None
        self.on_mark: Callable[[Packet, int], object] = lambda *_: None
        self._waiting: deque[tuple[int, Packet]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, packet: Packet, now: int) -> None:
        for index in range(count(packet)):
            piece = part(packet, index, 1)
            size = wire_bytes(piece)
            if len(self._waiting) >= self.limit or self.bytes + size > self.memory_limit:
                self.on_drop(piece, now, LinkDrop.QUEUE_FULL)
            else:
                self.bytes += size
                self._waiting.append((now, piece))

    def pop(self, now: int, most: int = 1) -> Packet | None:
        if not self._waiting:
            return None
        came, packet = self._waiting.popleft()
        self.bytes -= len(packet)
        self.waited = now - came
        return packet
