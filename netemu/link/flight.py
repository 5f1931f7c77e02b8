"""The delay line: packets that are past the bottleneck, each until its time has come."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection
from random import Random
from typing import NamedTuple

from netemu.link.delay import Jitter, Overtaking, Slots
from netemu.link.impairments import Impairments
from netemu.link.stats import DirectionStats
from netemu.link.traces import StepTrace
from netemu.reasons import LinkDrop
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet
from netemu.wire.slices import part

MEMORY = 64 << 20
"""Bytes that may be under way in one direction: half a second at 1 Gbit/s."""
_NOBODY: Collection[int] = ()


class Flying(NamedTuple):
    """A packet in the delay line; ordered by time, then as they were sent."""

    when: int
    """It comes out then, ns."""
    order: int
    packet: Packet
    slices: int
    size: int
    """Bytes on the wire."""
    entered: int
    """When it was sent into the direction."""
    left: int
    """When it was through the bottleneck."""
    note: str
    """What else was done to it, for a capture."""
    is_paced: bool
    """It had to wait for the packet before it."""


class DelayLine:
    """Delay, jitter, reordering and slots of one direction."""

    def __init__(self, stats: DirectionStats, lost: Callable[[Packet, int, LinkDrop], object]) -> None:
        self.slices = self.bytes = 0
        """What is under way, as the wire counts it."""
        self.keeps_order = True
        """Who comes later leaves later."""
        self._stats, self._lost = stats, lost
        self._heap: list[Flying] = []
        self._slotted: deque[Flying] = deque()
        """In their order, each with the time of its slot."""
        self._order = 0
        self._last = 0
        """The latest time at which any comes out."""
        self._floor = 0
        """Nobody comes out before: those that were there when the link was changed go first."""
        self._delay = 0
        self._is_plain = True
        self._in_order = False
        self._jitter: Jitter | None = None
        self._overtaking: Overtaking | None = None
        self._slots: Slots | None = None
        self._steps: StepTrace | None = None
        self._began = 0

    def change(self, old: Impairments | None, asked: Impairments, random: Callable[[str], Random], began: int) -> None:
        """Do as ``asked``, from what was asked before (None: all begins anew); ``began``: when a trace began."""
        self._floor = self._last
        self._delay = asked.delay.time if asked.delay else 0
        self._in_order = asked.keep_order
        if old is None or old.delay != asked.delay:
            self._jitter = Jitter.of(asked.delay, random("delay")) if asked.delay and asked.delay.jitter else None
        if old is None or old.reorder != asked.reorder:
            self._overtaking = Overtaking(asked.reorder, random("reorder")) if asked.reorder else None
        if old is None or old.slot != asked.slot:
            self._slots = Slots(asked.slot, random("slot")) if asked.slot else None
        self._steps = asked.trace if isinstance(asked.trace, StepTrace) else None
        self._began = began
        self.keeps_order = not (self._jitter or self._overtaking or self._steps)
        self._is_plain = self.keeps_order and not self._slots

    def push(self, packet: Packet, slices: int, size: int, now: int, entered: int, note: str, is_paced: bool) -> None:
        """It is through the bottleneck at ``now``; a super-packet is cut where its slices take times of their own.

        ``size``: its bytes on the wire. ``entered``: when it came, for who watches.
        """
        if self._is_plain:
            self._launch(packet, slices, size, now + self._delay, now, entered, note, is_paced)
            return
        delay = self._delay
        if self._steps is not None:
            step = self._steps.at(now - self._began)
            delay = delay if step.delay is None else step.delay
        early = self._overtaking.early(slices) if self._overtaking else _NOBODY
        if slices == 1 or not (early or self._jitter or (self._slots and self._slots.is_counted)):
            self._launch(packet, slices, size, self._when(delay, bool(early), now), now, entered, note, is_paced)
            return
        for index in range(slices):
            piece = part(packet, index, 1)
            self._launch(piece, 1, len(piece), self._when(delay, index in early, now), now, entered, note, is_paced)

    def _when(self, delay: int, early: bool, now: int) -> int:
        """When one that is now past the bottleneck comes out."""
        if early:
            return now
        when = now + (self._jitter.draw(delay) if self._jitter is not None else delay)
        return max(when, self._last) if self._in_order else when

    def _launch(
        self, packet: Packet, slices: int, size: int, when: int, now: int, entered: int, note: str, is_paced: bool
    ) -> None:
        if self.bytes + size > MEMORY:
            self._lost(packet, now, LinkDrop.LIMIT)
            return
        if when < self._floor:
            when = self._floor
        if when >= self._last:
            self._last = when
        elif when == now and self._overtaking is not None:
            self._stats.reordered += slices
            note = f"{note}; reordered" if note else "reordered"
        self._order += 1
        self.bytes += size
        self.slices += slices
        flying = (when, self._order, packet, slices, size, entered, now, note, is_paced)
        heapq.heappush(self._heap, tuple.__new__(Flying, flying))  # a third of the time of Flying(...)

    def pop(self, now: int) -> Flying | None:
        """The next that has come out by ``now``; None when there is none (yet)."""
        heap, slots = self._heap, self._slots
        if slots is not None or self._slotted:
            while heap and heap[0].when <= now:
                flying = heapq.heappop(heap)
                when = slots.leaves(flying.when, flying.size) if slots is not None else flying.when
                if self._slotted:
                    when = max(when, self._slotted[-1].when)
                self._last = max(self._last, when)
                self._slotted.append(flying._replace(when=when))
            if not self._slotted or self._slotted[0].when > now:
                return None
            flying = self._slotted.popleft()
        elif heap and heap[0].when <= now:
            flying = heapq.heappop(heap)
        else:
            return None
        self.bytes -= flying.size
        self.slices -= flying.slices
        return flying

    @property
    def due(self) -> int:
        """When ``pop`` has something to do; NEVER when nothing is under way."""
        due = self._heap[0].when if self._heap else NEVER
        return min(due, self._slotted[0].when) if self._slotted else due
