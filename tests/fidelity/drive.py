"""Numbered packets through one direction of a link, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field

from netemu.link.direction import Direction
from netemu.link.words import parse_words
from netemu.wire import ipv4
from netemu.wire.ip import UDP, parse_address
from netemu.wire.packet import Packet

US, MS, SECOND = 1_000, 1_000_000, 1_000_000_000
SEED = 20
SIZE = 100
_AT = 28  # where the number stands, twice so that it shows when it is damaged: behind the IPv4 and the UDP header


@dataclass
class Run:
    """What became of packets 0 … ``sent`` - 1, one each ``gap`` ns from ``gap`` on."""

    sent: int
    gap: int
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    """(when, number), in the order of arrival."""
    damaged: int = 0
    bits: int = 0
    """Bits of all the damaged ones that are wrong."""
    most: int = 0
    """Packets that were under way or waiting together, at most."""

    def delay(self, arrival: tuple[int, int]) -> int:
        when, number = arrival
        return when - (number + 1) * self.gap

    @property
    def delays(self) -> list[int]:
        """In the order in which the packets were sent, ns; each once."""
        first: dict[int, int] = {}
        for when, number in self.arrivals:
            first.setdefault(number, when)
        return [first[number] - (number + 1) * self.gap for number in sorted(first)]

    @property
    def lost(self) -> list[bool]:
        """Of each packet."""
        arrived = {number for _, number in self.arrivals}
        return [number not in arrived for number in range(self.sent)]


def drive(words: str, packets: int, gap: int = MS, size: int = SIZE) -> Run:
    """Send ``packets`` of ``size`` bytes through a direction with these words; take them at the times at which they come out."""
    direction = Direction(words, SEED, parse_words(words.split()))  # named so: each knob has random numbers of its own
    run = Run(packets, gap)
    source, destination = parse_address("192.0.2.1"), parse_address("192.0.2.2")
    head = ipv4.header(source, destination, UDP, size - 20) + b"\0\7\0\7" + (size - 20).to_bytes(2, "big") + b"\0\0"
    rest = bytes(size - _AT - 8)
    now = 0
    for number in range(packets):
        now += gap
        _take(direction, now, run, head, rest)
        direction.send(Packet(head + number.to_bytes(4, "big") * 2 + rest), now)
        run.most = max(run.most, direction.in_flight + direction.queued)
    _take(direction, now + 3600 * SECOND, run, head, rest)
    return run


def _take(direction: Direction, until: int, run: Run, head: bytes, rest: bytes) -> None:
    while (due := direction.deadline) <= until:
        for packet in direction.take(due):
            data = bytes(packet)
            number = int.from_bytes(data[_AT : _AT + 4], "big")
            sent = head + number.to_bytes(4, "big") * 2 + rest
            if data != sent:
                run.damaged += 1
                run.bits += (int.from_bytes(data, "big") ^ int.from_bytes(sent, "big")).bit_count()
            run.arrivals.append((due, number))
