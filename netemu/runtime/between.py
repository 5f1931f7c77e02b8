"""What apps ask for between their host and its device: rules for the packets of a port, and Bends for its connections."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from netemu.apps.bend import Bend, Seg
from netemu.link.link import Link
from netemu.reasons import Reason
from netemu.stack.host import Host
from netemu.wire import ipv6
from netemu.wire.ip import TCP
from netemu.wire.packet import Packet
from netemu.wire.slices import split
from netemu.wire.tcp import ACK, SYN

MOST_BENT = 4096
"""Connections that are bent at a time; then the one that was silent longest goes straight."""


class Bent(NamedTuple):
    bend: Bend
    syn: int
    """The sequence number of the SYN that it began with."""


class Between:
    """Put into an engine by its ``insert``; packets of ports that nobody asked anything for pass by it."""

    def __init__(self, host: Host, seed: int) -> None:
        self.link = Link("apps", ("device", "host"), seed)
        """Its directions have the rules: they also delay, and keep the counts."""
        self.on_drop: Callable[[Packet, bool, str], None] = lambda packet, inbound, why: None
        """Told of packets that go no further: (packet, inbound?, why)."""
        self._host = host
        self._ports: dict[int, Callable[[], Bend] | None] = {}
        self._bent: dict[bytes, Bent] = {}
        self._arriving: deque[Packet] = deque()
        """For the host, past the rules."""
        self._leaving: deque[tuple[Packet, Reason | None, object]] = deque()
        """For the device, past the rules, with whose they are."""
        inward, outward = self.link.inward, self.link.outward
        inward.on_answer = outward.on_pass = lambda packet, now: self._leaving.append((packet, None, None))
        outward.on_answer = inward.on_pass = lambda packet, now: self._arriving.append(packet)
        inward.watch, outward.watch = partial(self._watch, True), partial(self._watch, False)

    def add(self, port: int, rules: Iterable[str], bend: Callable[[], Bend] | None) -> None:
        """From now on packets of this port go through ``rules`` ('in: …', 'out: …'), its connections through a Bend."""
        self._ports[port] = bend

    @property
    def deadline(self) -> int:
        """When it wants a turn (ns); NEVER for no time."""
        if self._arriving:
            return 0
        return min(self.link.inward.deadline, self.link.outward.deadline)

    def receive(self, packets: Iterable[Packet], now: int) -> Iterator[Packet]:
        """What the host gets now, of ``packets`` from the device and of what came before."""
        inward = self.link.inward
        for packet in packets:
            start = self._start(packet, 2)
            if start:
                for piece in self._bend(packet, start, True):
                    inward.send(piece, now)
                yield from inward.take(now)
            else:
                yield packet
        if inward.deadline <= now:
            yield from inward.take(now)
        while self._arriving:
            yield self._arriving.popleft()

    def transmit(self, now: int) -> Packet | None:
        """As the host's, which it pulls from; ``host.sent_for`` and ``host.matched`` are about the packet that it gives."""
        host, outward, leaving = self._host, self.link.outward, self._leaving
        if outward.deadline <= now:
            leaving.extend((packet, None, None) for packet in outward.take(now))
        while not leaving:
            packet = host.transmit(now)
            if packet is None:
                return None
            start = self._start(packet, 0)
            if not start:
                return packet
            for piece in self._bend(packet, start, False):
                outward.send(piece, now)
            leaving.extend((piece, host.sent_for, host.matched) for piece in outward.take(now))
        packet, host.sent_for, host.matched = leaving.popleft()
        return packet

    # -- what is whose ----------------------------------------------------------------------------------------------------

    def _start(self, packet: Packet, offset: int) -> int:
        """Where the TCP header begins of a packet of one of our ports; 0 for all others. ``offset``: of the port in it."""
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
        return start

    def _bend(self, packet: Packet, start: int, inbound: bool) -> Iterator[Packet]:
        """What goes on in place of ``packet``."""
        head = packet.head
        ends, ports = (bytes(head[12:20]) if start == 20 else bytes(head[8:40])), bytes(head[start : start + 4])
        half = len(ends) // 2
        flow = ends + ports if inbound else ends[half:] + ends[:half] + ports[2:] + ports[:2]
        make = self._ports[int.from_bytes(flow[-2:], "big")]
        if make is None:
            yield packet
            return
        for piece in split(packet):
            seg = Seg(piece, start)
            bent = self._bent.pop(flow, None)
            if inbound and seg.flags & (SYN | ACK) == SYN and (bent is None or bent.syn != seg.seq):
                bent = Bent(make(), seg.seq)
            if bent is None:
                yield piece
                continue
            self._bent[flow] = bent  # the end of the dictionary is the most recently seen
            if len(self._bent) > MOST_BENT:
                del self._bent[next(iter(self._bent))]
            pieces = bent.bend.inward(seg) if inbound else bent.bend.outward(seg)
            if not pieces:
                self.on_drop(piece, inbound, f"dropped by {type(bent.bend).__name__}")
            yield from pieces

    def _watch(self, inbound: bool, packet: Packet, now: int, what: str, comment: str) -> None:
        if what == "dropped":
            self.on_drop(packet, inbound, comment)
