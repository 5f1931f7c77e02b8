"""One direction of a link: packets go in at one end and come out at the other, late, damaged, twice or not at all.

The way of a packet: rules, then loss, duplication and corruption (tc-netem's order), then the bottleneck (its queue and its
rate; here MTU and the link's being down count too), then the delay line, out. All decisions are taken per packet of the wire,
from random numbers of which each knob has its own: the same seed and the same packets have the same fate, super-packets or not,
and a knob that is turned does not disturb what another one decides.

tc-netem(8) lets one of the two go on when a packet is both lost and duplicated; here what is lost is lost, so that each share is
what was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from netemu.link.bottleneck import Bottleneck
from netemu.link.delay import MEMORY, DelayLine, Flying, Jitter
from netemu.link.impairments import CLEAR, Impairments, QueueSpec
from netemu.link.loss import NOBODY, Chain, loss_chain
from netemu.link.pacing import RateSchedule
from netemu.link.queues.registry import make_queue
from netemu.link.stats import LATE, DirectionStats
from netemu.reasons import LinkDrop
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet
from netemu.wire.slices import count, join, part, wire_bytes

Answer = Callable[[Packet, int], None]
Watch = Callable[[Packet, int, str, str], None]


class Direction:
    """Whoever drives it sends packets in, and takes out what has come through at ``deadline``; all times are ns."""

    def __init__(self, name: str, seed: int, impairments: Impairments = CLEAR) -> None:
        self.name = name
        self.impairments = impairments
        self.stats = DirectionStats()
        self.grain = 0
        """What comes out less than so much (ns) after the last may wait, where more is on its way: fewer turns in real time."""
        self.on_answer: Answer | None = None
        """A packet that goes back to who sent this one, at once."""
        self.on_pass: Answer | None = None
        """A packet that goes to the far end at once, past the impairments."""
        self.watch: Watch | None = None
        """(packet, now, "entered" | "left" | "dropped" | "answered", comment)"""
        self.address: dict[int, bytes] = {}
        """IP version: who signs ICMP errors of this link; by default, the destination of the packet that they are about."""
        self.deadline = NEVER
        """When ``take`` has something to do; NEVER if nothing is on its way."""
        self._seed = seed
        self._line = DelayLine()
        self._bottleneck: Bottleneck | None = None
        self._floor = 0
        self._took = 0
        self._paced_at = -1
        self._build()

    def _random(self, knob: str) -> Random:
        return Random(f"{self._seed}/{self.name}/{knob}")

    def _build(self) -> None:
        """What carries out the impairments."""
        asked = self.impairments
        self._loss: Chain | None = None
        if asked.loss:
            self._loss, self._loss_reason = loss_chain(asked.loss, self._random("loss"))
        if self._bottleneck is None and (asked.rate or asked.queue):
            spec = asked.queue or QueueSpec()
            queue = make_queue(spec.discipline, dict(spec.parameters), self._random("queue"))
            queue.on_drop = self._drop
            queue.on_mark = self._on_mark
            self._bottleneck = Bottleneck(queue, self._through, self._drop)
        if self._bottleneck is not None:
            self._bottleneck.schedule = RateSchedule(asked.rate) if asked.rate else None
        self._jitter = Jitter(asked.delay, self._random("delay")) if asked.delay and asked.delay.jitter else None
        self._delay = asked.delay.time if asked.delay else 0

    # -- in ---------------------------------------------------------------------------------------------------------------

    @property
    def is_clear(self) -> bool:
        """Nothing is asked and nothing is on its way: packets may pass by this direction."""
        return self.impairments is CLEAR and self.deadline == NEVER

    def send(self, packet: Packet, now: int) -> None:
        """Take a packet (or a super-packet) in."""
        slices = count(packet) if packet.gso_size else 1
        stats = self.stats
        stats.packets_in += slices
        stats.bytes_in += wire_bytes(packet)
        if self.watch is not None:
            self.watch(packet, now, "entered", "")
        if self._bottleneck is not None:
            self._bottleneck.advance(now)
        lost = self._loss.hits(slices) if self._loss is not None else NOBODY
        if lost:
            self._lose(packet, slices, lost, now)
        else:
            self._carry(packet, now)
        self._plan()

    def _lose(self, packet: Packet, slices: int, lost: Mapping[int, str], now: int) -> None:
        """Cut a packet where slices of it are lost."""
        first = 0
        for index in sorted(lost):
            if index > first:
                self._carry(part(packet, first, index - first), now)
            self._drop(part(packet, index, 1), now, self._loss_reason, lost[index])
            first = index + 1
        if first < slices:
            self._carry(part(packet, first, slices - first), now)

    def _carry(self, packet: Packet, now: int) -> None:
        if self._bottleneck is not None:
            self._bottleneck.push(packet, now)
        else:
            self._through(packet, now, now, False)

    def _through(self, packet: Packet, now: int, came: int, is_paced: bool) -> None:
        """Past the bottleneck at ``now``: into the delay line."""
        if is_paced or came < now:
            self.stats.sojourn.add(now - came)
        line = self._line
        if line.bytes + len(packet) > MEMORY:
            self._drop(packet, now, LinkDrop.LIMIT)
            return
        line.push(packet, count(packet), max(now + self._delay, self._floor), came, now, is_paced=is_paced)

    def _drop(self, packet: Packet, now: int, reason: LinkDrop, why: str = "") -> None:
        self.stats.dropped[reason] += count(packet)
        if self.watch is not None:
            self.watch(packet, now, "dropped", f"dropped: {why or reason.value}")

    def _on_mark(self, packet: Packet, now: int) -> None:
        self.stats.marked += count(packet)

    # -- out --------------------------------------------------------------------------------------------------------------

    def take(self, now: int) -> list[Packet]:
        """What has come out by ``now``, in the order of its times; slices that come out together as one super-packet."""
        if self._bottleneck is not None:
            self._bottleneck.advance(now)
        line = self._line
        out: list[Packet] = []
        while len(line) and line.due <= now:
            flying = line.pop()
            out.append(flying.packet)
            self._leave(flying, now)
        if out:
            self._took = now
        self._plan()
        return join(out) if len(out) > 1 else out

    def _leave(self, flying: Flying, now: int) -> None:
        stats, slices = self.stats, flying.slices
        stats.packets_out += slices
        size = wire_bytes(flying.packet)
        stats.bytes_out += size
        late = now - flying.when
        stats.lateness.add(late, slices)
        stats.asked.add(flying.when - flying.left, slices)
        if late > LATE:
            stats.late += slices
        if flying.is_paced and self._paced_at >= 0:
            stats.paced_bits += size * 8
            stats.paced_time += now - self._paced_at
        self._paced_at = now
        if self.watch is not None:
            delayed = f"delayed {(now - flying.entered) / 1e6:.6g} ms"
            self.watch(flying.packet, now, "left", f"{delayed}; {flying.note}" if flying.note else delayed)

    def _plan(self) -> None:
        """When to be called again."""
        due = NEVER if self._bottleneck is None else self._bottleneck.due
        line = self._line
        if len(line) and line.due < due:
            due = line.due
        if self.grain and due < self._took + self.grain and self.in_flight + self.queued > 1:
            due = self._took + self.grain
        self.deadline = due

    @property
    def queued(self) -> int:
        """Packets that wait before the bottleneck."""
        return len(self._bottleneck.queue) if self._bottleneck is not None else 0

    @property
    def in_flight(self) -> int:
        """Packets past the bottleneck that have not come out."""
        return self._line.slices

    # -- live -------------------------------------------------------------------------------------------------------------

    def change(self, impairments: Impairments, now: int) -> None:
        """Ask for something else from ``now`` on; what is under way goes on as it was told, and is not overtaken."""
        if self._bottleneck is not None:
            self._bottleneck.advance(now)
        self.impairments = impairments if impairments != CLEAR else CLEAR
        self._floor = self._line.last
        self._build()
        self._plan()
