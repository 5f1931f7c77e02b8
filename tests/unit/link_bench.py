"""A direction of a link in virtual time, driven by its own deadlines."""

from __future__ import annotations

from collections.abc import Iterable

from link_packets import number_of, udp

from netemu.link.direction import Direction
from netemu.link.impairments import Impairments
from netemu.link.words import parse_words
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet

MS, SECOND = 1_000_000, 1_000_000_000


def asked(words: str) -> Impairments:
    return parse_words(words.split())


def direction(words: str, seed: int = 7) -> Direction:
    return Direction("lan/in", seed, asked(words))


def drain(direction: Direction, until: int = NEVER) -> list[tuple[int, Packet]]:
    """All that comes out by ``until``, each with the time at which it does."""
    out: list[tuple[int, Packet]] = []
    while direction.deadline < min(until + 1, NEVER):
        when = direction.deadline
        out += ((when, packet) for packet in direction.take(when))
    return out


def exchange(direction: Direction, times: Iterable[int], size: int = 100) -> list[tuple[int, int]]:
    """Numbered datagrams are sent at ``times``; (when, number) of each that comes out."""
    out: list[tuple[int, Packet]] = []
    for number, now in enumerate(times):
        out += drain(direction, now)
        direction.send(udp(number, size), now)
    out += drain(direction)
    return [(when, number_of(packet)) for when, packet in out]
