"""The plain queues, tc-pfifo(8) and its kin with drops at the head: full is full."""

from __future__ import annotations

from random import Random

from netemu.link.queues.base import LIMIT, MEMORY_LIMIT, Bytes, Packets, SingleQueue
from netemu.reasons import LinkDrop
from netemu.wire.packet import Packet


class DropTail(SingleQueue):
    """Who comes when it is full is lost."""

    def __init__(self, random: Random, *, limit: Packets = LIMIT, memory_limit: Bytes = MEMORY_LIMIT) -> None:
        super().__init__(limit, memory_limit)


class DropHead(DropTail):
    """Who has waited longest makes room: what is sent is fresh, and the sender learns of the loss a queue's length earlier."""

    def _arrive(self, packet: Packet, now: int) -> None:
        self.append(self._fifo, packet, now, len(packet))
        while self._length > self.limit or self.bytes > self.memory_limit:
            self.drop_head(self._fifo, now, LinkDrop.QUEUE_FULL)
