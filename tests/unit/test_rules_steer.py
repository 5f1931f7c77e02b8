"""Packets that a rule steers: over another link between the same nodes."""

from __future__ import annotations

from collections import deque

from stack_bench import tcp, udp

from netemu.link.impairments import Impairments
from netemu.link.link import Link
from netemu.link.rules.parse import parse_rule
from netemu.link.words import parse_words
from netemu.reasons import LinkDrop, Match, Reason
from netemu.runtime.network import Network
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet

MS = 1_000_000


class Knot:
    """A router of two ports that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[int, int]] = []
        """(time in ms, port)"""
        self.to_send: deque[tuple[int, Packet]] = deque()

    def receive(self, port: int, packet: Packet, now: int) -> Reason:
        self.got.append((now // MS, port))
        return Match.FRAGMENT

    def transmit(self, now: int) -> tuple[int, Packet] | None:
        return self.to_send.popleft() if self.to_send else None

    def on_timer(self, now: int) -> None: ...

    def deadline(self) -> int:
        return NEVER


class World:
    """Two nodes, and 1 ms between them by way of ``main``, 50 ms by way of ``backup``, whose ends are the other way round."""

    def __init__(self) -> None:
        self.network = Network()
        self.left, self.right = Knot(), Knot()
        left = self.network.add_router("left", self.left, 2)
        right = self.network.add_router("right", self.right, 2)
        self.main = Link("main", ("left", "right"), 1, _after("1ms"), _after("1ms"))
        self.backup = Link("backup", ("right", "left"), 1, _after("50ms"), _after("50ms"))
        self.network.connect(left.ends[0], right.ends[0], self.main)
        self.network.connect(right.ends[1], left.ends[1], self.backup)

    def rule(self, link: Link, text: str) -> None:
        link.add_rule(parse_rule(text))
        self.network.rewire()

    def send(self, packet: bytes) -> None:
        """From left to right over main, and see it through."""
        self.left.to_send.append((0, Packet(packet)))
        self.network.wake(self.network.routers["left"])
        due = self.network.turn(self.network.now)
        while due < NEVER:
            due = self.network.turn(due)


def _after(delay: str) -> Impairments:
    return parse_words(["delay", delay])


def test_a_packet_is_steered_from_the_same_node() -> None:
    world = World()
    world.rule(world.main, "in: udp steer backup")
    world.send(udp())
    assert world.right.got == [(50, 1)]
    world.send(tcp())
    assert world.right.got[1:] == [(51, 0)]
    assert world.main.inward.stats.passed == 1
    assert (world.backup.outward.stats.packets_in, world.backup.inward.stats.packets_in) == (1, 0)


def test_packets_do_not_go_round_in_circles() -> None:
    world = World()
    world.rule(world.main, "udp steer backup")
    world.rule(world.backup, "udp steer main")
    world.send(udp())
    assert (world.left.got, world.right.got) == ([], [])
    assert world.backup.outward.stats.dropped == {LinkDrop.RULE: 1}


def test_a_link_that_is_gone_drops() -> None:
    world = World()
    world.rule(world.main, "in: udp steer nowhere")
    world.send(udp())
    assert world.right.got == []
    assert world.main.inward.stats.dropped == {LinkDrop.RULE: 1}
