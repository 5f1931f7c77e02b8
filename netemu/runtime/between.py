"""What apps ask for between their host and its device: rules for the packets of a service, and Bends for its connections."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from netemu.apps.bend import Bend, Seg
from netemu.link.rules.outcomes import Answered, Delivered, Dropped, Goes, Outcome
from netemu.link.rules.parse import parse_rule
from netemu.link.rules.table import RuleTable
from netemu.reasons import Reason
from netemu.stack.host import Host
from netemu.tcp.config import NEVER
from netemu.wire import ipv6
from netemu.wire.ip import TCP, text
from netemu.wire.packet import Packet
from netemu.wire.slices import split
from netemu.wire.tcp import ACK, SYN

MOST_BENT = 4096
"""Connections that are bent at a time; then the one that was silent longest goes straight."""


class Sent(NamedTuple):
    """A packet that is past the rules, with what a capture says of it."""

    packet: Packet
    note: str
    """What was done to it; '' for nothing."""
    sent_for: Reason | None = None
    matched: object = None


class Bent(NamedTuple):
    bend: Bend
    syn: int
    """The sequence number of the SYN that it began with."""


class Place(NamedTuple):
    """What is done at a port, or at an address and port."""

    inward: RuleTable
    """The rules, towards the host"""
    outward: RuleTable
    """and from it."""
    make_bend: Callable[[], Bend] | None
    answers: tuple[str, ...]
    """The rules for what it sends, for people."""


class Between:
    """Put into an engine by its ``insert``; packets of ports that nobody asked anything for pass by it."""

    def __init__(self, host: Host, seed: int) -> None:
        self.note = ""
        """What was done to the packet that ``receive`` or ``transmit`` gave last."""
        self.on_drop: Callable[[Packet, bool, str], None] = lambda packet, inbound, why: None
        """Told of packets that go no further: (packet, inbound?, why)."""
        self._host = host
        self._seed = seed
        self._ports: dict[int, dict[bytes, Place]] = {}
        """By port, then by address; b"" is every other one."""
        self._bent: dict[bytes, Bent] = {}
        self._arriving: deque[Sent] = deque()
        self._leaving: deque[Sent] = deque()
        self._delayed: list[tuple[int, int, bool, Sent]] = []
        """A heap of (when, order, inbound?, what)."""
        self._order = 0

    def add(self, port: int, rules: Iterable[str], bend: Callable[[], Bend] | None, address: bytes = b"") -> None:
        """From now on packets of this port go through ``rules`` ('in: …', 'out: …'), its connections through a Bend.

        ``address``: only those of this address; others at the port do not see them then.
        """
        where = f"{text(address) if address else '*'}:{port}"
        inward, outward = (RuleTable(f"{self._seed}/{where}/{way}") for way in ("in", "out"))
        answers: list[str] = []
        for rule in map(parse_rule, rules):
            for direction, table in (("in", inward), ("out", outward)):
                if rule.direction in (direction, "both"):
                    number = table.add(rule)
                    if table is outward:
                        answers.append(f"rule {number}: {rule}")
        self._ports.setdefault(port, {})[address] = Place(inward, outward, bend, tuple(answers))

    def matching(self, packet: Packet, now: int) -> list[str]:
        """What would look twice at a packet for the host if it came now, and at its answers, for people. Nothing is done."""
        found = self._find(packet, True)
        if found is None:
            return []
        place = found[0]
        bends = [f"{getattr(place.make_bend, '__name__', 'a bend')}, both ways"] if place.make_bend is not None else []
        return [*bends, *place.inward.matching(packet, now), *(f"{rule} (for answers)" for rule in place.answers)]

    @property
    def deadline(self) -> int:
        """When it wants a turn (ns); NEVER for no time."""
        if self._arriving:
            return 0
        return self._delayed[0][0] if self._delayed else NEVER

    def receive(self, packets: Iterable[Packet], now: int) -> Iterator[Packet]:
        """What the host gets now, of ``packets`` from the device and of what came before."""
        if self._delayed:
            self._let_go(now)
        arriving = self._arriving
        while arriving:
            packet, self.note, _, _ = arriving.popleft()
            yield packet
        for packet in packets:
            found = self._find(packet, True)
            if found is None:
                self.note = ""
                yield packet
                continue
            self._pass(packet, *found, True, now)
            while arriving:
                packet, self.note, _, _ = arriving.popleft()
                yield packet

    def transmit(self, now: int) -> Packet | None:
        """As the host's, which it pulls from; ``host.sent_for`` and ``host.matched`` are about the packet that it gives."""
        if self._delayed:
            self._let_go(now)
        host, leaving = self._host, self._leaving
        while not leaving:
            packet = host.transmit(now)
            if packet is None:
                return None
            found = self._find(packet, False)
            if found is None:
                self.note = ""
                return packet
            self._pass(packet, *found, False, now)
        packet, self.note, host.sent_for, host.matched = leaving.popleft()
        return packet

    def _let_go(self, now: int) -> None:
        """What has been delayed for long enough."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, inbound, sent = heapq.heappop(self._delayed)
            (self._arriving if inbound else self._leaving).append(sent)

    # -- rules ------------------------------------------------------------------------------------------------------------

    def _pass(self, packet: Packet, place: Place, start: int, inbound: bool, now: int) -> None:
        """Through the Bend, then the rules."""
        table = place.inward if inbound else place.outward
        for piece, note in self._bend(packet, place.make_bend, start, inbound):
            whole = not piece.gso_size or table.lets_pass(piece, now)
            for one in [piece] if whole else split(piece):
                outcomes = () if whole and piece.gso_size else table.apply(one, now)
                for outcome in outcomes or (Goes(one, ""),):
                    self._carry_out(outcome, note, inbound, now)

    def _carry_out(self, outcome: Outcome, note: str, inbound: bool, now: int) -> None:
        note = "; ".join(filter(None, (note, outcome.comment)))
        if isinstance(outcome, Dropped):
            self.on_drop(outcome.packet, inbound, f"dropped by {note}")
            return
        if isinstance(outcome, Answered):  # it goes the other way
            inbound = not inbound
        sent = Sent(outcome.packet, note)
        if not inbound and not isinstance(outcome, Answered | Delivered):
            sent = sent._replace(sent_for=self._host.sent_for, matched=self._host.matched)
        if isinstance(outcome, Goes) and outcome.delay:
            self._order += 1
            heapq.heappush(self._delayed, (now + outcome.delay, self._order, inbound, sent))
        else:
            (self._arriving if inbound else self._leaving).append(sent)

    # -- bends ------------------------------------------------------------------------------------------------------------

    def _bend(
        self, packet: Packet, make: Callable[[], Bend] | None, start: int, inbound: bool
    ) -> Iterator[tuple[Packet, str]]:
        """What goes on in place of ``packet``, with what a capture says of it."""
        if make is None:
            yield packet, ""
            return
        flow = _flow(packet, start, inbound)
        for piece in split(packet):
            seg = Seg(piece, start)
            bend = self._bend_of(flow, seg, inbound, make)
            if bend is None:
                yield piece, ""
                continue
            name = type(bend).__name__
            pieces = bend.inward(seg) if inbound else bend.outward(seg)
            if not pieces:
                self.on_drop(piece, inbound, f"dropped by {name}")
            for other in pieces:
                yield other, "" if other is piece else f"made by {name}"

    def _bend_of(self, flow: bytes, seg: Seg, inbound: bool, make: Callable[[], Bend]) -> Bend | None:
        """That of the connection, made at its SYN; None for one that was there before, or is forgotten."""
        bent = self._bent.pop(flow, None)
        if inbound and seg.flags & (SYN | ACK) == SYN and (bent is None or bent.syn != seg.seq):
            bent = Bent(make(), seg.seq)
        if bent is None:
            return None
        self._bent[flow] = bent  # the end of the dictionary is the most recently seen
        if len(self._bent) > MOST_BENT:
            del self._bent[next(iter(self._bent))]
        return bent.bend

    # -- what is whose ----------------------------------------------------------------------------------------------------

    def _find(self, packet: Packet, inbound: bool) -> tuple[Place, int] | None:
        """What is done to a packet, and where its TCP header begins; None for packets of others, and what makes no sense."""
        head = packet.head
        if len(head) < 40:
            return None
        if head[0] >> 4 == 4:
            if head[9] != TCP or head[6] & 0x3F or head[7]:  # nor of fragments
                return None
            start = (head[0] & 15) * 4
        else:
            protocol, start = ipv6.upper_layer(head)
            if protocol != TCP:
                return None
        at = start + 2 * inbound  # our port
        if len(head) < start + 20 or (places := self._ports.get(head[at] << 8 | head[at + 1])) is None:
            return None
        size = (head[start + 12] >> 4) * 4
        place = places.get(_own_address(packet, inbound)) or places.get(b"")
        return (place, start) if place is not None and size >= 20 and len(head) >= start + size else None


def _own_address(packet: Packet, inbound: bool) -> bytes:
    first, size = (12, 4) if packet.head[0] >> 4 == 4 else (8, 16)
    return bytes(packet.head[first + size * inbound :][:size])


def _flow(packet: Packet, start: int, inbound: bool) -> bytes:
    """A connection's key, the same for both directions: addresses and ports, the client's first."""
    head = packet.head
    ends = bytes(head[12:20]) if head[0] >> 4 == 4 else bytes(head[8:40])
    ports, half = bytes(head[start : start + 4]), len(ends) // 2
    return ends + ports if inbound else ends[half:] + ends[:half] + ports[2:] + ports[:2]
