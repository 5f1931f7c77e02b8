"""Paths for tests: what a bad network does to packets, seeded."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from netemu.wire.packet import Packet

MS = 1_000_000


class Lossy:
    """Delay with jitter (so packets overtake each other), loss, duplication and single-bit damage.

    A super-packet is lost or delayed as one; a device would hand it over so.
    """

    def __init__(
        self,
        random: Random,
        delay_ms: float,
        jitter_ms: float = 0.0,
        loss: float = 0.0,
        duplicate: float = 0.0,
        damage: float = 0.0,
    ) -> None:
        self.random = random
        self.delay_ms, self.jitter_ms = delay_ms, jitter_ms
        self.loss, self.duplicate, self.damage = loss, duplicate, damage

    def __call__(self, packet: Packet, now: int) -> Iterable[tuple[int, Packet]]:
        if self.random.random() < self.loss:
            return
        yield self._when(now), self._maybe_damaged(packet)
        if self.random.random() < self.duplicate:
            yield self._when(now), Packet(bytes(packet))

    def _when(self, now: int) -> int:
        return now + int((self.delay_ms + self.random.random() * self.jitter_ms) * MS)

    def _maybe_damaged(self, packet: Packet) -> Packet:
        data = bytes(packet)
        if self.random.random() < self.damage:
            at = self.random.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1 << self.random.randrange(8)]) + data[at + 1 :]
        return Packet(data)


class Bottleneck:
    """A link of so many bits per second with a queue of so many packets before it; random loss, then a delay."""

    def __init__(self, random: Random, rate: float, queue: int, delay_ms: float, loss: float = 0.0) -> None:
        self.random, self.rate, self.queue = random, rate, queue
        self.delay_ms, self.loss = delay_ms, loss
        self._free_at = 0

    def __call__(self, packet: Packet, now: int) -> Iterable[tuple[int, Packet]]:
        busy = max(0, self._free_at - now)
        transmission = int(len(packet) * 8 / self.rate * 1e9)
        if busy > self.queue * 1500 * 8 / self.rate * 1e9 or self.random.random() < self.loss:
            return ()
        self._free_at = now + busy + transmission
        return ((self._free_at + int(self.delay_ms * MS), Packet(bytes(packet))),)
