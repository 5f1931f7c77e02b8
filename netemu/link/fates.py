"""Loss, duplication and corruption: what becomes of each packet before it comes to the bottleneck."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

from netemu.link.impairments import Impairments
from netemu.link.loss import NOBODY, Chain, chance_chain, loss_chain
from netemu.link.traces import StepTrace
from netemu.reasons import LinkDrop
from netemu.wire import ipv6
from netemu.wire.packet import Packet


class Fate(NamedTuple):
    """What happens to one packet of the wire."""

    lost: str = ""
    """Why, for people; '' if it is not."""
    is_copied: bool = False
    is_damaged: bool = False


class Fates:
    """Draws what happens to one packet after the other."""

    def __init__(self) -> None:
        self.is_idle = True
        self.reason = LinkDrop.LOSS
        self._loss: Chain | None = None
        self._copies: Chain | None = None
        self._damages: Chain | None = None
        self._trace: StepTrace | None = None
        self._random = Random(0)

    def change(self, old: Impairments | None, asked: Impairments, random: Callable[[str], Random]) -> None:
        """Do as ``asked``, from what was asked before: what is the same goes on. None: all begins anew."""
        if old is None or old.loss != asked.loss:
            self._loss, self.reason = loss_chain(asked.loss, random("loss")) if asked.loss else (None, LinkDrop.LOSS)
        if old is None or old.duplicate != asked.duplicate:
            self._copies = chance_chain(asked.duplicate, random("duplicate"), "copied") if asked.duplicate else None
        if old is None or old.corrupt != asked.corrupt:
            self._damages = chance_chain(asked.corrupt, random("corrupt"), "damaged") if asked.corrupt else None
        steps = asked.trace
        self._trace = steps if isinstance(steps, StepTrace) and any(step.loss for step in steps.steps) else None
        self._random = random("trace loss")
        self.is_idle = not (self._loss or self._copies or self._damages or self._trace)

    def draw(self, slices: int, elapsed: int) -> Mapping[int, Fate]:
        """For the next ``slices`` packets: the fate of each that has one, by its index. ``elapsed``: ns since the trace began."""
        lost = self._loss.hits(slices) if self._loss else NOBODY
        copied = self._copies.hits(slices) if self._copies else NOBODY
        damaged = self._damages.hits(slices) if self._damages else NOBODY
        if self._trace:
            share = self._trace.at(elapsed).loss
            if share:
                draw = self._random.random
                lost = dict(lost) | {index: "lost by the trace" for index in range(slices) if draw() < share}
        if not (lost or copied or damaged):
            return {}
        return {
            index: Fate(lost.get(index, ""), index in copied, index in damaged)
            for index in sorted({*lost, *copied, *damaged})
        }


def damaged(packet: Packet, random: Random) -> Packet:
    """With one random bit of what the IP header carries flipped, all checksums as they were before: so that it shows."""
    data = bytearray(bytes(packet))
    if not data:
        return packet
    start = (data[0] & 15) * 4 if data[0] >> 4 == 4 else ipv6.SIZE
    if start >= len(data):
        start = 0
    bit = random.randrange((len(data) - start) * 8)
    data[start + bit // 8] ^= 1 << bit % 8
    return Packet(bytes(data))


def copy(packet: Packet) -> Packet:
    """Another object, since a queue tells packets apart by what they are, not by what they say."""
    return Packet(packet.head, packet.body, packet.gso_size, packet.csum_start, packet.csum_offset)
