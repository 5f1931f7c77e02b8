"""A direction of a link: delay, loss, rate, queue, in virtual time to the nanosecond."""

from __future__ import annotations

from link_packets import MS, SECOND, number_of, tcp, udp

from netemu.link.direction import Direction
from netemu.link.impairments import CLEAR, Chance, Delay, Impairments, QueueSpec, Rate
from netemu.link.link import Link
from netemu.reasons import LinkDrop
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet
from netemu.wire.slices import count, split


def drain(direction: Direction) -> list[tuple[int, Packet]]:
    """All that is on its way, each with the time at which it comes out."""
    out: list[tuple[int, Packet]] = []
    while direction.deadline < NEVER:
        when = direction.deadline
        out += ((when, packet) for packet in direction.take(when))
    return out


def test_a_clear_link_may_be_passed_by_and_hands_over_at_once() -> None:
    direction = Direction("lan/in", 1)
    assert direction.is_clear
    packet = udp()
    direction.send(packet, 5)
    assert not direction.is_clear
    assert direction.deadline == 5
    assert direction.take(5) == [packet]
    assert direction.is_clear


def test_delay_is_exact() -> None:
    direction = Direction("lan/in", 1, Impairments(delay=Delay(20 * MS)))
    direction.send(udp(1), 7)
    direction.send(udp(2), 9)
    assert direction.take(20 * MS + 6) == []
    assert [(when, number_of(packet)) for when, packet in drain(direction)] == [(20 * MS + 7, 1), (20 * MS + 9, 2)]


def test_loss_hits_the_share_and_is_counted() -> None:
    direction = Direction("lan/in", 3, Impairments(loss=Chance(0.1)))
    for number in range(10_000):
        direction.send(udp(number), number)
    lost = direction.stats.dropped[LinkDrop.LOSS]
    assert abs(lost - 1000) < 3 * 30
    assert len(drain(direction)) == 10_000 - lost


def test_a_super_packet_is_lost_by_slices_and_as_its_slices_would_be() -> None:
    asked = Impairments(loss=Chance(0.02))
    whole, single = Direction("lan/in", 3, asked), Direction("lan/in", 3, asked)
    came_whole: list[bytes] = []
    came_single: list[bytes] = []
    for number in range(60):
        packet = tcp(44_000, 1000, seq=number * 44_000)
        whole.send(packet, number)
        came_whole += (bytes(piece) for packet in whole.take(number) for piece in split(packet))
        for piece in split(packet):
            single.send(piece, number)
        came_single += (bytes(piece) for packet in single.take(number) for piece in split(packet))
    assert came_whole == came_single
    assert whole.stats.dropped == single.stats.dropped
    assert 20 < whole.stats.dropped[LinkDrop.LOSS] < 90


def test_a_super_packet_without_a_fate_of_its_own_stays_whole() -> None:
    direction = Direction("lan/in", 3, Impairments(delay=Delay(MS), loss=Chance(1e-9)))
    packet = tcp(60_000, 1448)
    direction.send(packet, 0)
    assert direction.take(MS) == [packet]


def test_rate_has_no_drift() -> None:
    direction = Direction("lan/in", 1, Impairments(rate=Rate(7_000_003)))
    for number in range(900):
        direction.send(udp(number, size=1001), 0)
    last, _ = drain(direction)[-1]
    assert last == 900 * 1001 * 8 * SECOND // 7_000_003


def test_slices_leave_one_by_one_at_the_rate_or_together_when_late() -> None:
    packet = tcp(10_000, 1000)
    direction = Direction("lan/in", 1, Impairments(rate=Rate(8_000_000)))
    direction.send(packet, 0)
    assert [when for when, _ in drain(direction)] == [1040_000 * (i + 1) for i in range(10)]
    direction.send(packet, SECOND)
    assert direction.deadline == SECOND + 1040_000
    (late,) = direction.take(SECOND + 4 * 1040_000)
    assert count(late) == 4
    (rest,) = direction.take(2 * SECOND)
    assert count(rest) == 6


def test_the_queue_is_bounded_in_packets() -> None:
    direction = Direction("lan/in", 1, Impairments(rate=Rate(1_000_000)))
    for number in range(1500):
        direction.send(udp(number), 0)
    assert direction.queued == 1000
    assert direction.stats.dropped == {LinkDrop.QUEUE_FULL: 499}


def test_the_delay_line_is_bounded_in_memory() -> None:
    direction = Direction("lan/in", 1, Impairments(delay=Delay(SECOND)))
    packet = tcp(64_000, 1000)
    for _ in range(1200):
        direction.send(packet, 0)
    assert direction.stats.dropped[LinkDrop.LIMIT] > 0
    assert direction.in_flight * 1000 < 64 << 20


def test_a_change_neither_loses_nor_reorders() -> None:
    direction = Direction("lan/in", 1, Impairments(delay=Delay(100 * MS), rate=Rate(1_000_000)))
    for number in range(50):
        direction.send(udp(number, size=1250), number)
    direction.change(Impairments(delay=Delay(MS)), 25 * MS)
    for number in range(50, 60):
        direction.send(udp(number), 25 * MS)
    direction.change(CLEAR, 26 * MS)
    direction.send(udp(60), 26 * MS)
    out = drain(direction)
    assert [number_of(packet) for _, packet in out] == list(range(61))
    assert direction.is_clear


def test_watch_tells_what_became_of_each_packet() -> None:
    seen: list[tuple[str, str]] = []
    direction = Direction("lan/in", 1, Impairments(delay=Delay(51_200_000), loss=Chance(1.0)))
    direction.watch = lambda packet, now, what, comment: seen.append((what, comment))
    direction.send(udp(), 0)
    direction.change(Impairments(delay=Delay(51_200_000)), 0)
    direction.send(udp(), 0)
    drain(direction)
    assert seen == [
        ("entered", ""), ("dropped", "dropped: lost at random"), ("entered", ""), ("left", "delayed 51.2 ms"),
    ]  # fmt: skip


def test_grain_lets_a_lone_packet_leave_on_time_and_gathers_the_others() -> None:
    direction = Direction("lan/in", 1, Impairments(delay=Delay(MS)))
    direction.grain = 50_000
    for at in (0, 10_000, 20_000, 30_000):
        direction.send(udp(), at)
    assert direction.deadline == MS
    assert len(direction.take(MS)) == 1
    assert direction.deadline == MS + 50_000
    assert len(direction.take(MS + 50_000)) == 3
    direction.send(udp(), MS + 60_000)
    assert direction.deadline == 2 * MS + 60_000


def test_a_link_has_two_directions() -> None:
    link = Link("lan", ("a", "b"), 1)
    assert link.directions("in") == [link.inward]
    assert link.directions("out") == [link.outward]
    assert link.directions() == [link.inward, link.outward]
    assert QueueSpec() == QueueSpec("droptail", ())
