"""What apps ask for between their host and its device: rules for the packets of a port, and Bends for its connections."""

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
from netemu.wire.ip import TCP
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


class Between:
    """Put into an engine by its ``insert``; packets of ports that nobody asked anything for pass by it."""

    def __init__(self, host: Host, seed: int) -> None:
        self.inward, self.outward = RuleTable(f"{seed}/in"), RuleTable(f"{seed}/out")
        """The rules, towards the host and from it."""
        self.note = ""
        """What was done to the packet that ``receive`` or ``transmit`` gave last."""
        self.on_drop: Callable[[Packet, bool, str], None] = lambda packet, inbound, why: None
        """Told of packets that go no further: (packet, inbound?, why)."""
        self._host = host
        self._ports: dict[int, Callable[[], Bend] | None] = {}
        self._answers: dict[int, list[str]] = {}
        """The rules for what a port sends, for people."""
        self._bent: dict[bytes, Bent] = {}
        self._arriving: deque[Sent] = deque()
        self._leaving: deque[Sent] = deque()
        self._delayed: list[tuple[int, int, bool, Sent]] = []
        """A heap of (when, order, inbound?, what)."""
        self._order = 0

    def add(self, port: int, rules: Iterable[str], bend: Callable[[], Bend] | None) -> None:
        """From now on packets of this port go through ``rules`` ('in: …', 'out: …'), its connections through a Bend."""
        self._ports[port], self._answers[port] = bend, []
        for rule in map(parse_rule, rules):
            for direction, table in (("in", self.inward), ("out", self.outward)):
                if rule.direction in (direction, "both"):
                    number = table.add(rule)
                    if table is self.outward:
                        self._answers[port].append(f"rule {number}: {rule}")

    def matching(self, packet: Packet, now: int) -> list[str]:
        """What would look twice at a packet for the host if it came now, and at its answers, for people. Nothing is done."""
        start = self._start(packet, 2)
        if not start:
            return []
        port = int.from_bytes(packet.head[start + 2 : start + 4], "big")
        make = self._ports[port]
        bends = [f"{getattr(make, '__name__', 'a bend')}, both ways"] if make is not None else []
        return [*bends, *self.inward.matching(packet, now), *(f"{rule} (for answers)" for rule in self._answers[port])]

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
            start = self._start(packet, 2)
            if not start:
                self.note = ""
                yield packet
                continue
            self._pass(packet, start, True, now)
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
            start = self._start(packet, 0)
            if not start:
                self.note = ""
                return packet
            self._pass(packet, start, False, now)
        packet, self.note, host.sent_for, host.matched = leaving.popleft()
        return packet

    def _let_go(self, now: int) -> None:
        """What has been delayed for long enough."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, inbound, sent = heapq.heappop(self._delayed)
            (self._arriving if inbound else self._leaving).append(sent)

    # -- rules ------------------------------------------------------------------------------------------------------------

    def _pass(self, packet: Packet, start: int, inbound: bool, now: int) -> None:
        """Through the Bend, then the rules."""
        table = self.inward if inbound else self.outward
        for piece, note in self._bend(packet, start, inbound):
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

    def _bend(self, packet: Packet, start: int, inbound: bool) -> Iterator[tuple[Packet, str]]:
        """What goes on in place of ``packet``, with what a capture says of it."""
        flow = _flow(packet, start, inbound)
        make = self._ports[int.from_bytes(flow[-2:], "big")]
        if make is None:
            yield packet, ""
            return
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

    def _start(self, packet: Packet, offset: int) -> int:
        """Where the TCP header begins of a packet of one of our ports; 0 for all others, and for what makes no sense.

        ``offset``: of the port in it.
        """
        head = packet.head
        if len(head) < 40:
            return 0
        if head[0] >> 4 == 4:
            if head[9] != TCP or head[6] & 0x3F or head[7]:  # nor of fragments
                return 0
            start = (head[0] & 15) * 4
        else:
            protocol, start = ipv6.upper_layer(head)
            if protocol != TCP:
                return 0
        if len(head) < start + 20 or head[start + offset] << 8 | head[start + offset + 1] not in self._ports:
            return 0
        size = (head[start + 12] >> 4) * 4
        return start if size >= 20 and len(head) >= start + size else 0


def _flow(packet: Packet, start: int, inbound: bool) -> bytes:
    """A connection's key, the same for both directions: addresses and ports, the client's first."""
    head = packet.head
    ends = bytes(head[12:20]) if head[0] >> 4 == 4 else bytes(head[8:40])
    ports, half = bytes(head[start : start + 4]), len(ends) // 2
    return ends + ports if inbound else ends[half:] + ends[:half] + ports[2:] + ports[:2]
