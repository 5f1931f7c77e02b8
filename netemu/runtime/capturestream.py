"""One `netemu capture`: packets go in at the stack's pace and come out at the reader's.

Between the two is a queue of bounded size. A reader that is too slow misses packets, and is told how many; the stack
never waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from netemu.capture.filter import Predicate
from netemu.capture.pcapng import PcapngWriter
from netemu.wire.packet import Packet

QUEUE_LIMIT = 8 << 20
"""Bytes that may wait for the reader."""
CHUNK = 256 << 10
"""Bytes to send at a time, about."""


class CaptureStream:
    """``tap`` fills it, ``chunks`` empties it, ``end`` ends it after what is in it."""

    def __init__(self, name: str, keep: Predicate, count: int, snaplen: int, limit: int = QUEUE_LIMIT) -> None:
        self.dropped = 0
        self._keep = keep
        self._count = count
        self._limit = limit
        self._blocks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._something = asyncio.Event()
        self._writer = PcapngWriter(self, name, snaplen)

    def tap(self, packet: Packet, wall_ns: int, inbound: bool, comment: str, point: str) -> None:
        """See one packet."""
        if self._ended or not self._keep(packet.head):
            return
        if self._size + len(packet) > self._limit:
            self.dropped += 1
            return
        self._writer.packet(bytes(packet), wall_ns, inbound, comment, point)
        if self._writer.packets == self._count:
            self.end()

    def write(self, block: bytes) -> None:
        """Queue one block (for PcapngWriter)."""
        self._blocks.append(block)
        self._size += len(block)
        self._something.set()

    def end(self) -> None:
        """No more packets: the statistics are the last block."""
        if not self._ended:
            self._ended = True
            says = f"{self.dropped} packets were dropped because the reader was too slow" if self.dropped else ""
            self._writer.close(self.dropped, says)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What there is, as it comes, until the end."""
        while True:
            if self._blocks:
                chunk = bytearray()
                while self._blocks and len(chunk) < CHUNK:
                    chunk += self._blocks.popleft()
                yield bytes(chunk)  # what is under way counts as queued until it is taken
                self._size -= len(chunk)
            elif self._ended:
                return
            else:
                self._something.clear()
                await self._something.wait()
