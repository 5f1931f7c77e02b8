"""One direction of a link: packets go in at one end and come out at the other, late, damaged, twice or not at all.

The way of a packet: rules, then loss, duplication and corruption (tc-netem's order), then the bottleneck (its queue and its
rate; here MTU and the link's being down count too), then the delay line, out. All decisions are taken per packet of the wire,
from random numbers of which each knob has its own: the same seed and the same packets have the same fate, super-packets or not,
and a knob that is turned does not disturb what another one decides.

tc-netem(8) lets one of the two go on when a packet is both lost and duplicated; here what is lost is lost, so that each share is
what was asked.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

from netemu.link import ecn, mtu
from netemu.link.bottleneck import Bottleneck
from netemu.link.fates import Fate, Fates, copy, damaged
from netemu.link.flight import DelayLine, Flying
from netemu.link.impairments import CLEAR, Impairments, QueueSpec
from netemu.link.pacing import RateSchedule
from netemu.link.queues.registry import make_queue
from netemu.link.rules.outcomes import Answered, Delivered, Dropped, Goes, Outcome, Steered
from netemu.link.rules.table import RuleTable
from netemu.link.stats import LATE, DirectionStats
from netemu.link.traces import Schedule
from netemu.reasons import LinkDrop
from netemu.tcp.config import NEVER
from netemu.wire import fragments, icmp
from netemu.wire.packet import Packet
from netemu.wire.slices import count, join, largest, part, split, wire_bytes

Answer = Callable[[Packet, int], None]
Watch = Callable[[Packet, int, str, str], None]


class Direction:
    """Whoever drives it sends packets in, and takes out what has come through at ``deadline``; all times are ns."""

    def __init__(self, name: str, seed: int, impairments: Impairments = CLEAR) -> None:
        self.name = name
        self.impairments = impairments if impairments != CLEAR else CLEAR
        self.stats = DirectionStats()
        self.grain = 0
        """What comes out less than so much (ns) after the last may wait, where more is on its way: fewer turns in real time."""
        self.on_answer: Answer | None = None
        """A packet that goes back to who sent this one, at once."""
        self.on_pass: Answer | None = None
        """A packet that goes to the far end at once, past the impairments."""
        self.on_steer: Callable[[Packet, int, str], bool] | None = None
        """A packet that is to travel the link of that name instead, in the same direction. False: it cannot."""
        self.watch: Watch | None = None
        """(packet, now, "entered" | "left" | "dropped" | "answered", comment)"""
        self.address: dict[int, bytes] = {}
        """IP version: who signs ICMP errors of this link; by default, the destination of the packet that they are about."""
        self.deadline = NEVER
        """When ``take`` has something to do; NEVER if nothing is on its way."""
        self.rules = RuleTable(f"{seed}/{name}", self.address)
        """What is done to packets before the link gets them."""
        self._seed = seed
        self._held: list[tuple[int, int, Packet, str]] = []
        """(when, order, packet, comment) of those that rules delay."""
        self._holds = 0
        self._randoms: dict[str, Random] = {}
        self._fates = Fates()
        self._line = DelayLine(self.stats, self._drop)
        self._bottleneck: Bottleneck | None = None
        self._schedule: Schedule | None = None
        self._began = self._flapping = -1
        """When the trace began, and the flapping; -1: nothing was heard of the time yet."""
        self._took = 0
        self._paced_at = -1
        self._notes: dict[int, tuple[Packet, str]] = {}
        self._allowance = icmp.Allowance()

    # -- what is asked ------------------------------------------------------------------------------------------------------

    @property
    def is_clear(self) -> bool:
        """Nothing is asked, no rule is there and nothing is on its way: packets may pass by this direction."""
        return self.impairments is CLEAR and self.deadline == NEVER and not self.rules

    def change(self, impairments: Impairments, now: int) -> None:
        """Ask for something else from ``now`` on; what is under way goes on as it was told, and is not overtaken."""
        before = self.impairments
        self._advance(now)  # what was due goes by what was asked
        self.impairments = impairments if impairments != CLEAR else CLEAR
        if before != impairments:
            self.stats.measure_anew()
            self._paced_at = -1
        if self._began >= 0:
            if before.trace != impairments.trace:
                self._began = now
            if before.flap != impairments.flap:
                self._flapping = now
            self._build(before if before.seed == impairments.seed else None)
        else:
            self._start(now)
        self._plan()

    def reset(self, now: int) -> None:
        """Ask for nothing, count from 0, and have what is asked next decided as by a link that is new; rules stay."""
        self.change(CLEAR, now)
        self._randoms.clear()
        self.stats.reset()

    def _start(self, now: int) -> None:
        """The first that is heard of the time."""
        self._began = self._flapping = now
        self._build(None)

    def _random(self, knob: str) -> Random:
        """Each knob has a Random of its own, which goes on while the seed is the same."""
        seed = self._seed if self.impairments.seed is None else self.impairments.seed
        if knob not in self._randoms:
            self._randoms[knob] = Random(f"{seed}/{self.name}/{knob}")
        return self._randoms[knob]

    def _build(self, before: Impairments | None) -> None:
        """What carries out the impairments. What was asked before and still is goes on; None: all begins anew, with the seed."""
        asked = self.impairments
        if before is None:
            self._randoms.clear()
        self._fates.change(before, asked, self._random)
        if before is None or (before.rate, before.trace) != (asked.rate, asked.trace):
            self._schedule = asked.trace.schedule(self._began) if asked.trace else None
            if self._schedule is None and asked.rate:
                self._schedule = RateSchedule(asked.rate)
        self._line.change(before, asked, self._random, self._began)
        self._build_queue(before)

    def _build_queue(self, before: Impairments | None) -> None:
        asked, bottleneck = self.impairments, self._bottleneck
        if bottleneck is None and self._schedule is None and not asked.queue:
            return
        if bottleneck is None or before is None or before.queue != asked.queue:
            spec = asked.queue or QueueSpec()
            queue = make_queue(spec.discipline, dict(spec.parameters), self._random("queue"))
            queue.on_drop = self._drop
            queue.on_mark = self._on_mark
            if bottleneck is None:
                self._bottleneck = bottleneck = Bottleneck(queue, self._through, self._drop)
            else:
                bottleneck.replace(queue)
        bottleneck.schedule = self._schedule

    # -- in -----------------------------------------------------------------------------------------------------------------

    def send(self, packet: Packet, now: int) -> None:
        """Take a packet (or a super-packet) in."""
        if self._began < 0:
            self._start(now)
        slices = count(packet) if packet.gso_size else 1
        stats = self.stats
        stats.packets_in += slices
        stats.bytes_in += wire_bytes(packet)
        if self.watch is not None:
            self.watch(packet, now, "entered", "")
        self._advance(now)
        if self.rules and (slices == 1 or not self.rules.lets_pass(packet, now)):
            for piece in split(packet):
                self._obey(piece, now)
        else:
            self._meet(packet, slices, now)
        self._plan()

    def _obey(self, packet: Packet, now: int) -> None:
        """Have the rules decide about one packet of the wire."""
        outcomes = self.rules.apply(packet, now)
        if not outcomes:
            self._meet(packet, 1, now)
        for outcome in outcomes:
            self._carry_out(outcome, now)

    def _carry_out(self, outcome: Outcome, now: int) -> None:
        packet, comment = outcome.packet, outcome.comment
        if isinstance(outcome, Goes):
            if outcome.delay:
                self._holds += 1
                heapq.heappush(self._held, (now + outcome.delay, self._holds, packet, comment))
            else:
                self._meet(packet, count(packet), now, comment)
        elif isinstance(outcome, Dropped):
            self._drop(packet, now, LinkDrop.RULE, comment)
        elif isinstance(outcome, Answered):
            self._answer(packet, now, comment)
        elif isinstance(outcome, Steered) and (self.on_steer is None or not self.on_steer(packet, now, outcome.link)):
            self._drop(packet, now, LinkDrop.RULE, f"{comment}: there is no way to it")
        else:
            self.stats.passed += 1
            if self.watch is not None:
                self.watch(packet, now, "left", comment)
            if isinstance(outcome, Delivered) and self.on_pass is not None:
                self.on_pass(packet, now)

    def _meet(self, packet: Packet, slices: int, now: int, note: str = "") -> None:
        """Loss, duplication and corruption: cut a super-packet where slices have fates of their own."""
        fates = {} if self._fates.is_idle else self._fates.draw(slices, now - self._began)
        if not fates:
            self._carry(packet, now, note)
            return
        first = 0
        for index, fate in fates.items():
            if index > first:
                self._carry(part(packet, first, index - first), now, note)
            self._befall(part(packet, index, 1), fate, now, note)
            first = index + 1
        if first < slices:
            self._carry(part(packet, first, slices - first), now, note)

    def _befall(self, packet: Packet, fate: Fate, now: int, note: str) -> None:
        """Carry out the fate of one packet of the wire."""
        notes = [note] if note else []
        if fate.lost:
            if not (self.impairments.ecn and ecn.is_capable(packet)):
                self._drop(packet, now, self._fates.reason, fate.lost)
                return
            packet = ecn.marked(packet)
            self.stats.marked += 1
            notes.append(f"marked CE: {fate.lost}")
        second = copy(packet) if fate.is_copied else None
        if fate.is_damaged:
            packet = damaged(packet, self._random("corrupt bit"))
            self.stats.corrupted += 1
        self._carry(packet, now, "; ".join([*notes, "corrupted"] if fate.is_damaged else notes))
        if second is not None:
            self.stats.duplicated += 1
            self._carry(second, now, "; ".join([*notes, "duplicated"]))

    def _carry(self, packet: Packet, now: int, note: str = "") -> None:
        """Past the dice: is there a link, and does the packet fit through it?"""
        asked = self.impairments
        if asked.down or (asked.flap and (now - self._flapping) % (asked.flap.up + asked.flap.down) >= asked.flap.up):
            self._drop(packet, now, LinkDrop.DOWN)
        elif asked.mtu and largest(packet) > asked.mtu.bytes:
            self._squeeze(packet, asked.mtu.bytes, now)
        elif asked.limit is not None and self.in_flight + self.queued + count(packet) > asked.limit:
            room = max(0, asked.limit - self.in_flight - self.queued)
            if room:
                self._enter(part(packet, 0, room), now, note)
            self._drop(part(packet, room, count(packet) - room), now, LinkDrop.LIMIT)
        else:
            self._enter(packet, now, note)

    def _squeeze(self, packet: Packet, most: int, now: int) -> None:
        """What is longer than the MTU is cut, answered with an ICMP error, or gone."""
        answered = False
        for index in range(count(packet)):
            piece = part(packet, index, 1)
            if len(piece) <= most:
                self._carry(piece, now)
            elif mtu.may_fragment(piece):
                self.stats.fragmented += 1
                for fragment in fragments.cut(bytes(piece), most):
                    self._carry(fragment, now, f"fragment of {len(piece)} bytes")
            else:
                self._drop(piece, now, LinkDrop.TOO_BIG)
                if not answered:
                    self._answer_too_big(piece, most, now)
                answered = True

    def _answer_too_big(self, packet: Packet, most: int, now: int) -> None:
        if self.impairments.mtu is None or self.impairments.mtu.silent or self.on_answer is None:
            return
        answer = mtu.too_big(packet, most, self.address)
        if answer is not None and self._allowance.take(now):
            self._answer(answer, now, f"ICMP: the link's MTU is {most} bytes")

    def _answer(self, packet: Packet, now: int, why: str) -> None:
        """Send a packet back to who sent the one that came."""
        self.stats.answered += 1
        if self.watch is not None:
            self.watch(packet, now, "answered", why)
        if self.on_answer is not None:
            self.on_answer(packet, now)

    def _enter(self, packet: Packet, now: int, note: str) -> None:
        if self._bottleneck is None:
            self._line.push(packet, count(packet), wire_bytes(packet), now, now, note, False)
            return
        if note and self.watch is not None:
            self._notes[id(packet)] = packet, note
        self._bottleneck.push(packet, now)

    def _through(self, packet: Packet, size: int, now: int, came: int, waited: int) -> None:
        """A packet of the wire is past the bottleneck at ``now``."""
        self.stats.sojourn.add(waited)
        note = self._notes.pop(id(packet), (None, ""))[1] if self._notes else ""
        self._line.push(packet, 1, size, now, came, note, waited > 0)

    def _drop(self, packet: Packet, now: int, reason: LinkDrop, why: str = "") -> None:
        self._notes.pop(id(packet), None)
        self.stats.dropped[reason] += count(packet)
        if self.watch is not None:
            self.watch(packet, now, "dropped", f"dropped: {why or reason.value}")

    def _on_mark(self, packet: Packet, now: int) -> None:
        self.stats.marked += 1
        if self.watch is not None:
            self._notes[id(packet)] = packet, "marked CE by the queue"

    # -- out ----------------------------------------------------------------------------------------------------------------

    def take(self, now: int) -> list[Packet]:
        """What has come out by ``now``, in the order of its times; slices that come out together as one super-packet.

        Not while somebody watches: then each is told of by itself.
        """
        self._advance(now)
        out: list[Packet] = []
        flying = self._line.pop(now)
        while flying is not None:
            out.append(flying.packet)
            self._leave(flying, now)
            flying = self._line.pop(now)
        if out:
            self._took = now
        self._plan()
        return join(out) if len(out) > 1 and self.watch is None else out

    def _leave(self, flying: Flying, now: int) -> None:
        stats = self.stats
        when, _, packet, slices, size, entered, left, note, is_paced = flying
        stats.packets_out += slices
        stats.bytes_out += size
        stats.asked += (when - left) * slices
        stats.lateness.add(now - when, slices)
        if now - when > LATE:
            stats.late += slices
        if is_paced and self._paced_at >= 0:
            stats.paced_bits += size * 8
            stats.paced_time += now - self._paced_at
        self._paced_at = now
        if self.watch is not None:
            delayed = f"delayed {(now - entered) / 1e6:.6g} ms"
            self.watch(packet, now, "left", f"{delayed}; {note}" if note else delayed)

    def _advance(self, now: int) -> None:
        """Do what was due, each at its time: what rules held goes on, and the bottleneck sends."""
        while self._held and self._held[0][0] <= now:
            when, _, packet, note = heapq.heappop(self._held)
            if self._bottleneck is not None:
                self._bottleneck.advance(when)
            self._meet(packet, count(packet), when, note)
        if self._bottleneck is not None:
            self._bottleneck.advance(now)

    def _plan(self) -> None:
        """When to be called again."""
        due = self._line.due
        if self._bottleneck is not None and (due == NEVER or not self._line.keeps_order):
            due = min(due, self._bottleneck.due)
        if self._held:
            due = min(due, self._held[0][0])
        if self.grain and due < self._took + self.grain and self.in_flight + self.queued > 1:
            due = self._took + self.grain
        self.deadline = due

    @property
    def queued(self) -> int:
        """Packets that wait before the bottleneck."""
        return len(self._bottleneck.queue) if self._bottleneck is not None else 0

    @property
    def queued_bytes(self) -> int:
        return self._bottleneck.queue.bytes if self._bottleneck is not None else 0

    @property
    def rate_asked(self) -> int | None:
        """Bits a second; of a trace, its mean."""
        asked = self.impairments
        mean = asked.trace.mean_rate if asked.trace else None
        return asked.rate.bits if asked.rate and mean is None else mean

    @property
    def in_flight(self) -> int:
        """Packets that have not come out and do not wait before the bottleneck."""
        return self._line.slices + len(self._held)
