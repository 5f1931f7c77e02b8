"""Rules before a link: the direction carries out what they decide."""

from __future__ import annotations

from link_bench import MS, asked, direction, drain
from link_packets import number_of, tcp, udp

from netemu.link.direction import Direction
from netemu.link.rules.parse import parse_rule
from netemu.reasons import LinkDrop
from netemu.wire.packet import Packet
from netemu.wire.slices import count, split


def ruled(words: str, *rules: str) -> tuple[Direction, list[str]]:
    """A direction with rules, and what is seen on it."""
    link = direction(words)
    for rule in rules:
        link.rules.add(parse_rule(rule))
    seen: list[str] = []
    link.watch = lambda packet, now, what, comment: seen.append(f"{what}: {comment}")
    return link, seen


def test_a_dropped_packet_is_counted_and_says_by_which_rule() -> None:
    link, seen = ruled("", "in: udp drop first 1")
    assert not link.is_clear
    for number in range(3):
        link.send(udp(number), 0)
    assert [number_of(packet) for _, packet in drain(link)] == [1, 2]
    assert link.stats.dropped == {LinkDrop.RULE: 1}
    assert seen[1] == "dropped: dropped: rule 1: drop"


def test_what_a_rule_delays_goes_through_the_link_then() -> None:
    link, seen = ruled("delay 5ms", "udp delay 20ms first 1")
    link.send(udp(1), 0)
    link.send(udp(2), MS)
    assert [(when, number_of(packet)) for when, packet in drain(link)] == [(6 * MS, 2), (25 * MS, 1)]
    assert seen[-1] == "left: delayed 5 ms; rule 1: delay 20ms"


def test_what_a_rule_held_until_before_a_change_goes_by_what_was_asked_then() -> None:
    link, _ = ruled("delay 5ms", "udp delay 20ms")
    link.send(udp(1), 0)
    link.change(asked("down"), 21 * MS)
    assert [(when, number_of(packet)) for when, packet in drain(link)] == [(25 * MS, 1)]


def test_answers_go_back_and_resets_to_the_far_end() -> None:
    link, seen = ruled("delay 5ms", "tcp reset both")
    back: list[Packet] = []
    far: list[Packet] = []
    link.on_answer = lambda packet, now: back.append(packet)
    link.on_pass = lambda packet, now: far.append(packet)
    link.send(tcp(10), 0)
    assert (len(back), len(far)) == (1, 1)
    assert (link.stats.answered, link.stats.passed) == (1, 1)
    assert any(each.startswith("answered: rule 1: reset") for each in seen)


def test_a_packet_is_steered_to_another_link() -> None:
    link, _ = ruled("delay 5ms", "udp steer backup")
    steered: list[tuple[int, str]] = []

    def steer(packet: Packet, now: int, name: str) -> bool:
        steered.append((number_of(packet), name))
        return len(steered) == 1

    link.on_steer = steer
    link.send(udp(3), 0)
    assert steered == [(3, "backup")]
    assert drain(link) == []
    assert link.stats.passed == 1
    link.send(udp(4), 0)  # which has no way to it
    assert link.stats.dropped == {LinkDrop.RULE: 1}


def test_a_super_packet_is_looked_at_by_slices_only_where_a_rule_may_act() -> None:
    packet = tcp(4000, 1000, seq=1000)
    link, _ = ruled("", "udp drop")
    link.send(packet, 0)
    assert drain(link) == [(0, packet)]
    link, _ = ruled("", "tcp.seq_raw == 3000 drop")
    link.watch = None  # who watches is told of each slice by itself
    link.send(packet, 0)
    out = [packet for _, packet in drain(link)]
    assert [count(packet) for packet in out] == [2, 1]
    expected = [bytes(piece) for index, piece in enumerate(split(packet)) if index != 2]
    assert [bytes(piece) for packet in out for piece in split(packet)] == expected
