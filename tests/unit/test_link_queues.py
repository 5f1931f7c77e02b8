"""Queue disciplines: what they have in common, the plain ones, and the formulas of RED, CoDel, FQ-CoDel and PIE by hand.

What they do to real flows is measured by tests/fidelity.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_packets import number_of as mark_of
from link_packets import tcp, udp

from netemu.link import ecn
from netemu.link.queues.base import MS
from netemu.link.queues.codel import Codel
from netemu.link.queues.fq_codel import FqCodel, flow_key
from netemu.link.queues.pie import MAX_BURST, Pie
from netemu.link.queues.red import Red
from netemu.link.queues.registry import DISCIPLINES, make_queue, parameters_of
from netemu.reasons import LinkDrop
from netemu.wire import ipv4, ipv6
from netemu.wire.ip import UDP
from netemu.wire.packet import Packet

ALL = pytest.mark.parametrize("name", DISCIPLINES)
SECOND = 1000 * MS
GSO = 1400


def datagram(size: int = 1500, *, mark: int = 0, version: int = 4, tos: int = 0, sport: int = 5000) -> Packet:
    """So many bytes, IP header and all."""
    return udp(mark, size, version, tos, sport=sport)


def bulk(slices: int, *, version: int = 4, seq: int = 1) -> Packet:
    """A super-packet of a TCP flow that stands for so many full packets."""
    return tcp(slices * GSO, GSO, version, seq=seq)


class Watched:
    """A queue, and what it said of drops and marks."""

    def __init__(self, name: str, seed: int = 1, **parameters: Any) -> None:
        self.queue: Any = make_queue(name, parameters, Random(seed))
        self.drops: list[tuple[int, int, LinkDrop]] = []  # (mark, when, reason)
        self.marks: list[tuple[Packet, int]] = []
        self.queue.on_drop = lambda packet, now, reason: self.drops.append((mark_of(packet), now, reason))
        self.queue.on_mark = lambda packet, now: self.marks.append((packet, now))

    def push(self, *packets: Packet, now: int = 1) -> None:
        for packet in packets:
            self.queue.push(packet, now)

    def popped(self, now: int = 1) -> list[int]:
        """The marks of all that comes out now."""
        out = []
        while (packet := self.queue.pop(now)) is not None:
            out.append(mark_of(packet))
        return out

    @property
    def reasons(self) -> Counter[LinkDrop]:
        return Counter(reason for _, _, reason in self.drops)


# -- what all have in common ------------------------------------------------------------------------------------------


@ALL
def test_first_in_first_out_with_the_time_that_each_waited(name: str) -> None:
    queue = make_queue(name, {}, Random(1))
    assert (len(queue), queue.bytes, queue.head_since, queue.pop(0)) == (0, 0, None, None)
    for number in range(3):
        queue.push(datagram(100 + number, mark=number), now=10 + number)
    assert (len(queue), queue.bytes, queue.head_since) == (3, 303, 10)
    for number in range(3):
        packet = queue.pop(20)
        assert packet is not None
        assert (mark_of(packet), queue.waited) == (number, 10 - number)
    assert (len(queue), queue.bytes, queue.head_since, queue.pop(20)) == (0, 0, None, None)


@ALL
def test_a_super_packet_waits_as_its_slices(name: str) -> None:
    whole = bulk(3)
    queue = make_queue(name, {}, Random(1))
    queue.push(whole, 1)
    assert (len(queue), queue.bytes) == (3, 3 * (GSO + 40))
    out = [queue.pop(2) for _ in range(3)]
    assert [len(bytes(packet)) for packet in out if packet] == [GSO + 40] * 3
    assert [int.from_bytes(bytes(packet)[24:28], "big") for packet in out if packet] == [1, 1 + GSO, 1 + 2 * GSO]


@ALL
@given(st.data())
def test_nothing_appears_and_nothing_is_forgotten(name: str, data: st.DataObject) -> None:
    """Whatever comes and goes: what went in came out, was dropped or waits; in order within a flow; counts are right."""
    limits = {"limit": 8, "memory_limit": 4000} if name != "red" else {"limit": 4000, "avpkt": 500}
    watched = Watched(name, **limits)
    now, pushed, out = 1, 0, []
    for step in data.draw(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(40, 1500)), max_size=80)):
        is_push, wait, size = step
        now += wait * MS
        if is_push:
            watched.push(datagram(size, tos=size & 3, sport=1 + size % 3, mark=pushed), now=now)
            pushed += 1
        elif (packet := watched.queue.pop(now)) is not None:
            out.append((int.from_bytes(bytes(packet)[20:22], "big"), mark_of(packet)))
        assert len(watched.queue) <= 8
        assert watched.queue.bytes <= 4000
    waiting = watched.queue.drain()
    assert (len(watched.queue), watched.queue.bytes) == (0, 0)
    seen = [mark for _, mark in out] + [mark for mark, _, _ in watched.drops] + [mark_of(p) for p, _ in waiting]
    assert sorted(seen) == list(range(pushed))
    for flow in (1, 2, 3):
        marks = [mark for port, mark in out if port == flow]
        assert marks == sorted(marks)


@ALL
def test_what_waits_can_move_to_another_queue(name: str) -> None:
    """Also to one that is too small for it, and it has waited since it came to the first."""
    old = make_queue("fq_codel", {}, Random(1))
    for number in range(6):
        old.push(datagram(1000, sport=1 + number % 2, mark=number), now=number)
    small = {"limit": 2} if name != "red" else {"limit": 3000, "min": 500, "max": 1000}
    new = make_queue(name, small, Random(1))
    new.on_drop = lambda *_: pytest.fail("nothing that is under way is lost")
    for packet, since in old.drain():
        new.adopt(packet, since)
    assert (len(old), len(new), new.bytes, new.head_since) == (0, 6, 6000, 0)
    assert sorted(mark_of(packet) for packet in iter(lambda: new.pop(10), None)) == list(range(6))
    assert old.pop(1) is None


def test_make_queue_says_what_is_wrong() -> None:
    for name, parameters, words in (
        ("sfq", {}, "no queue discipline 'sfq': give one of droptail, drophead, red, codel, fq_codel, pie"),
        ("pie", {"quantum": 1}, "queue pie has no 'quantum': give one of limit"),
        ("pie", {"alpha": 40}, "queue pie: alpha must be between 0 and 32, not 40"),
        ("codel", {"target": 0}, "queue codel: target must be at least 1, not 0"),
        ("codel", {"ce_threshold": -1}, "queue codel: ce_threshold must be at least 0, not -1"),
        ("droptail", {"limit": 0}, "queue droptail: limit must be at least 1, not 0"),
        ("fq_codel", {"flows": 0}, "queue fq_codel: flows must be at least 1, not 0"),
        ("red", {"min": 90_000, "max": 30_000}, "queue red: min < max <= limit is wanted, not 90000, 30000, 400000"),
        ("red", {"probability": 1.5}, "queue red: probability must be above 0 and at most 1, not 1.5"),
        ("red", {"nodrop": True}, "queue red: nodrop goes with ecn"),
        (
            "red",
            {"min": 30_000, "max": 90_000, "burst": 5},
            "queue red: burst must be at least min / avpkt (30), not 5",
        ),
    ):
        with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
            make_queue(name, parameters, Random(1))
        assert str(caught.value).startswith(words)


def test_parameters_have_the_names_of_tc() -> None:
    assert {name: kind.name for name, kind in parameters_of("codel").items()} == {
        "limit": "PACKETS",
        "memory_limit": "BYTES",
        "target": "TIME",
        "interval": "TIME",
        "ecn": "FLAG",
        "ce_threshold": "TIME",
    }
    assert set(parameters_of("fq_codel")) == {
        "limit", "memory_limit", "flows", "target", "interval", "quantum", "ecn", "ce_threshold", "drop_batch",
    }  # fmt: skip
    assert set(parameters_of("pie")) == {
        "limit", "memory_limit", "target", "tupdate", "alpha", "beta", "ecn", "bytemode", "dq_rate_estimator",
    }  # fmt: skip
    assert {"limit", "min", "max", "avpkt", "burst", "probability", "bandwidth", "ecn", "harddrop", "nodrop"} < set(
        parameters_of("red")
    )


# -- the plain ones ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"limit": 3}, {"memory_limit": 3999}])
def test_drop_tail_and_drop_head(limits: dict[str, int]) -> None:
    tail, head = Watched("droptail", **limits), Watched("drophead", **limits)
    for watched in (tail, head):
        watched.push(*(datagram(1000, mark=number) for number in range(5)))
    assert (tail.popped(), [mark for mark, _, _ in tail.drops]) == ([0, 1, 2], [3, 4])
    assert (head.popped(), [mark for mark, _, _ in head.drops]) == ([2, 3, 4], [0, 1])
    assert tail.reasons == head.reasons == {LinkDrop.QUEUE_FULL: 2}


def test_drop_tail_takes_what_fits_of_a_super_packet() -> None:
    queue = make_queue("droptail", {"limit": 5}, Random(1))
    lost: list[Packet] = []
    queue.on_drop = lambda packet, now, reason: lost.append(packet)
    queue.push(bulk(3), 1)
    queue.push(bulk(3), 1)
    assert (len(queue), len(lost), len(lost[0])) == (5, 1, GSO + 40)


# -- CoDel ------------------------------------------------------------------------------------------------------------


def standing(watched: Watched, until: int, tos: int = 0, depth: int = 20) -> None:
    """A packet leaves each millisecond and one comes, so that each waits ``depth`` ms unless something is dropped."""
    for number in range(until):
        while len(watched.queue) < depth:
            watched.push(datagram(1000, tos=tos, mark=number), now=number * MS)
        watched.queue.pop(number * MS)


def test_codel_drops_at_the_pace_of_its_control_law() -> None:
    """First when target was exceeded for an interval, then interval / sqrt(n) after the n-th (RFC 8289 5.3)."""
    watched = Watched("codel")
    standing(watched, 400)
    times = [when // MS for _, when, _ in watched.drops]
    first = times[0]
    assert 104 <= first <= 107, "after the 5 ms of target and the 100 ms of an interval"
    law = [100, 100 / 2**0.5, 100 / 3**0.5, 100 / 4**0.5]
    expected = [first + sum(law[:n]) for n in range(len(law) + 1)]
    assert times[:5] == pytest.approx(expected, abs=2)
    assert watched.reasons == {LinkDrop.CODEL: len(times)}


def test_codel_lets_a_burst_pass() -> None:
    """90 ms of queue that is gone within an interval is what queues are for."""
    watched = Watched("codel")
    watched.push(*(datagram(1000, mark=number) for number in range(90)), now=0)
    assert [watched.queue.pop(number * MS) is not None for number in range(90)] == [True] * 90
    assert not watched.drops


def test_codel_leaves_the_last_packet_alone() -> None:
    """On a link that needs longer than target for one packet, a queue of one more does not stand (RFC 8289 5.2)."""
    watched = Watched("codel")
    watched.push(datagram(1500), now=0)
    for number in range(1, 60):
        watched.push(datagram(1500), now=number * 12 * MS - 1)
        assert watched.queue.pop(number * 12 * MS) is not None
    assert not watched.drops


def test_codel_marks_who_can_be_marked() -> None:
    can, cannot = Watched("codel", ecn=True), Watched("codel", ecn=True)
    standing(can, 400, tos=ecn.ECT_0)
    standing(cannot, 400)
    assert not can.drops
    assert len(can.marks) >= 5
    assert all(ecn.codepoint(packet) == ecn.CE for packet, _ in can.marks)
    assert not cannot.marks
    assert abs(len(cannot.drops) - len(can.marks)) <= 1


def test_codel_marks_above_ce_threshold_from_the_first_on() -> None:
    watched = Watched("codel", ce_threshold=1 * MS)
    for number in range(4):
        watched.push(datagram(tos=ecn.ECT_1 if number else 0, mark=number), now=number * MS)
    assert watched.popped(now=3 * MS) == [0, 1, 2, 3]
    assert [mark_of(packet) for packet, _ in watched.marks] == [1], "0 cannot be, 2 and 3 did not wait longer"


def test_codel_goes_on_near_the_rate_that_helped_last_time() -> None:
    queue = Codel(Random(1))
    drops: list[int] = []
    queue.on_drop = lambda packet, now, reason: drops.append(now // MS)

    def stand(start: int, end: int) -> None:
        for number in range(start, end):
            while len(queue) < 20:
                queue.push(datagram(1000), number * MS)
            queue.pop(number * MS)

    stand(0, 900)
    before = len(drops)
    assert before > 15
    while queue.pop(900 * MS):
        pass
    stand(901, 1200)
    again = drops[before:]
    assert again[1] - again[0] < 50, "not a whole interval"


# -- FQ-CoDel ---------------------------------------------------------------------------------------------------------


def test_a_new_flow_goes_before_the_old_ones() -> None:
    watched = Watched("fq_codel")
    watched.push(*(datagram(sport=1, mark=number) for number in range(10)))
    assert [mark_of(watched.queue.pop(1)) for _ in range(3)] == [0, 1, 2]
    watched.push(datagram(100, sport=2, mark=100))
    order = [mark_of(watched.queue.pop(1)) for _ in range(3)]
    assert order.index(100) <= 1, "at most the quantum that is begun goes before it"


def test_a_flow_that_comes_and_goes_gains_nothing() -> None:
    """One packet, and the next one as soon as it has left: it is not new again, or the bulk flow would starve (RFC 8290 4.2)."""
    watched = Watched("fq_codel")
    watched.push(*(datagram(sport=1, mark=number) for number in range(100)))
    served = 0
    for _ in range(40):
        if not any(packet for packet in watched.queue._new if len(packet)):
            watched.push(datagram(sport=2, mark=1000))
        served += mark_of(watched.queue.pop(1)) < 1000
    assert served >= 15


def test_flows_share_by_bytes() -> None:
    watched = Watched("fq_codel", limit=100_000)
    sent: Counter[int] = Counter()
    for _ in range(400):
        watched.push(datagram(1500, sport=1, mark=1), datagram(1500, sport=2, mark=2))
        watched.push(*(datagram(300, sport=3, mark=3) for _ in range(5)))
    for _ in range(1000):
        packet = watched.queue.pop(1)
        sent[mark_of(packet)] += len(packet)
    assert max(sent.values()) - min(sent.values()) <= 2 * 1514
    assert set(sent) == {1, 2, 3}


@pytest.mark.parametrize("limits", [{"limit": 50}, {"memory_limit": 50_000}])
def test_the_fattest_flow_pays_for_a_full_queue(limits: dict[str, int]) -> None:
    watched = Watched("fq_codel", **limits)
    watched.push(*(datagram(1000, sport=2, mark=1000 + number) for number in range(10)))
    watched.push(*(datagram(1000, sport=1, mark=number) for number in range(100)))
    assert watched.reasons == {LinkDrop.QUEUE_FULL: len(watched.drops)}
    assert all(mark < 1000 for mark, _, _ in watched.drops)
    dropped = [mark for mark, _, _ in watched.drops]
    assert dropped == list(range(len(dropped))), "from its head"
    assert [mark for mark in watched.popped() if mark >= 1000] == list(range(1000, 1010))


def test_the_hash_has_a_key() -> None:
    """Which flows collide depends on the seed, and a seed always has the same."""

    def numbers(seed: int) -> list[int]:
        queue = FqCodel(Random(seed), flows=4)
        for sport in range(1, 40):
            queue.push(datagram(100, sport=sport), 1)
        return [len(flow) for flow in queue._flows.values()]

    assert numbers(1) == numbers(1) != numbers(2)


@pytest.mark.parametrize("version", [4, 6])
def test_what_makes_a_flow(version: int) -> None:
    one = flow_key(datagram(version=version))
    assert one == flow_key(datagram(200, version=version, tos=3, mark=9))
    assert one != flow_key(datagram(version=version, sport=40001))
    assert flow_key(bulk(2, version=version)) != one
    whole = bulk(3, version=version)
    queue = FqCodel(Random(1))
    queue.push(whole, 1)
    queue.push(bulk(2, version=version, seq=9), 1)
    assert len(queue._flows) == 1


def test_fragments_and_extension_headers() -> None:
    src, dst = bytes(range(16)), bytes(16)
    ports = b"\x9c\x40\0\7" + bytes(60)

    def v6(chain: bytes, first: int) -> bytes:
        return flow_key(Packet(ipv6.header(src, dst, first, len(chain) + 64) + chain + ports))

    options = bytes((UDP, 0)) + bytes(6)
    assert v6(options, ipv6.HOP_BY_HOP) == v6(b"", UDP)
    fragments = {v6(ipv6.FRAGMENT.pack(UDP, 0, word, 7), ipv6.FRAGMENT_HEADER) for word in (1, 64 | 1, 128)}
    assert len(fragments) == 1
    v4 = {
        flow_key(Packet(ipv4.header(src[:4], dst[:4], UDP, 64, fragment=word) + ports[shift:] + bytes(shift)))
        for shift, word in enumerate((ipv4.MORE_FRAGMENTS, ipv4.MORE_FRAGMENTS | 8, 16))
    }
    assert len(v4) == 1
    assert flow_key(Packet(b"")) == flow_key(Packet(b"\x60" + bytes(20))) == b""


# -- PIE --------------------------------------------------------------------------------------------------------------


def overload(watched: Watched, until: int, tos: int = 0) -> None:
    """Each millisecond one packet leaves and two come."""
    for number in range(until):
        watched.push(datagram(1000, tos=tos), datagram(1000, tos=tos), now=1 + number * MS)
        watched.queue.pop(1 + number * MS)


def test_pie_allows_a_burst() -> None:
    watched = Watched("pie")
    overload(watched, 150)
    assert not watched.drops
    overload(watched, 400)
    assert set(watched.reasons) == {LinkDrop.PIE}


def test_pie_computes_its_probability_as_the_rfc_does() -> None:
    """RFC 8033 4.2, with the auto-tuning: the change that is due, divided by what the probability so far demands."""
    queue = Pie(Random(1))
    queue._updated = 1
    target, step = 15 * MS, 15 * MS
    alpha, beta = 0.125 / SECOND, 1.25 / SECOND
    expected, old = 0.0, 0
    for number, delay in enumerate((10, 40, 60, 80, 80, 90, 100, 100, 20, 10), start=1):
        queue._delay = delay * MS
        queue._update(1 + number * step)
        change = alpha * (delay * MS - target) + beta * (delay - old) * MS
        for bound, divisor in ((1e-6, 2048), (1e-5, 512), (1e-4, 128), (1e-3, 32), (1e-2, 8), (1e-1, 2), (2.0, 1)):
            if expected < bound:
                change /= divisor
                break
        expected = max(0.0, expected + change)
        old = delay
        assert queue.probability == pytest.approx(expected)


def test_pie_forgets_when_nothing_waits() -> None:
    queue = Pie(Random(1))
    queue.probability, queue._burst, queue._updated = 0.5, 0, 1
    queue.push(datagram(), 1 + 16 * MS)
    assert 0.48 < queue.probability < 0.5
    queue.pop(1 + 17 * MS)
    queue.push(datagram(), 3600 * SECOND)
    assert (queue.probability, queue._burst) == (0.0, MAX_BURST)


def test_pie_marks_up_to_a_tenth_and_drops_above() -> None:
    watched = Watched("pie", ecn=True)
    overload(watched, 1000, tos=ecn.ECT_0)
    assert watched.marks
    assert watched.drops
    assert watched.reasons.keys() == {LinkDrop.PIE, LinkDrop.QUEUE_FULL} or watched.reasons.keys() == {LinkDrop.PIE}
    assert watched.marks[0][1] < watched.drops[0][1]
    cannot = Watched("pie", ecn=True)
    overload(cannot, 1000)
    assert not cannot.marks


def test_pie_drops_evenly() -> None:
    """Derandomized (RFC 8033 5.4): no two within 0.85 / p packets."""
    queue = Pie(Random(1))
    queue.probability, queue._burst, queue._updated, queue._old_delay = 0.05, 0, 1, 20 * MS
    for _ in range(10):
        queue.adopt(datagram(1000), 1)
    hits = [number for number in range(20_000) if queue._strikes(datagram(1500))]
    gaps = [after - before for before, after in pairwise(hits)]
    assert min(gaps) >= 17
    assert max(gaps) <= 170
    queue.bytemode = True
    small = [number for number in range(20_000) if queue._strikes(datagram(300))]
    assert len(hits) / len(small) == pytest.approx(5, rel=0.2)


def test_pie_estimates_the_departure_rate() -> None:
    """10 packets of 1000 bytes a second and 100 of them waiting: 10 s to go, by Little's law."""
    queue = Pie(Random(1), dq_rate_estimator=True)
    for _ in range(200):
        queue.adopt(datagram(1000), 1)
    for number in range(100):
        queue.pop(1 + number * 100 * MS)
    assert queue._rate is not None
    assert queue._rate.delay_of(queue.bytes) == pytest.approx(10 * SECOND, rel=0.001)


# -- RED --------------------------------------------------------------------------------------------------------------


def test_red_lets_a_burst_pass_that_is_as_long_as_asked() -> None:
    """So is its weight: after ``burst`` packets into an empty queue the average is below min still (equation 3), just so."""

    def average(weight: float, burst: int) -> float:
        value = 0.0
        for length in range(1, burst + 1):
            value += weight * (length - value)
        return value

    for burst, least in ((50, 5), (55, 30), (15, 5)):
        queue = Red(Random(1), limit=400_000, min=least * 1000, max=least * 3000, avpkt=1000, burst=burst)
        assert average(queue.weight, burst) < least <= average(2 * queue.weight, burst)


def red_at(average: float, **parameters: Any) -> Watched:
    """RED whose average is held there."""
    watched = Watched("red", limit=400_000, min=30_000, max=90_000, avpkt=1000, burst=55, **parameters)
    queue = watched.queue
    queue.weight = 0.0
    queue.average = average
    queue._idle_since = None
    return watched


def share(watched: Watched, number: int = 4000, tos: int = 0, size: int = 1000) -> float:
    """Of so many packets, those that were not dropped waited a moment only."""
    for mark in range(number):
        watched.push(datagram(size, tos=tos, mark=mark))
        watched.queue.pop(1)
        watched.queue._idle_since = None
    return (len(watched.drops) + len(watched.marks)) / number


def test_red_drops_between_min_and_max_and_evenly() -> None:
    """A gap is uniform between 1 and 1 / p (section 7 of the paper), so that its mean is half that."""
    assert share(red_at(29_999.0)) == 0
    middle = red_at(60_000.0, probability=0.02)
    assert share(middle, 40_000) == pytest.approx(0.02, rel=0.1)  # p is 0.01; the mean gap 50
    marks = [mark for mark, _, _ in middle.drops]
    gaps = [after - before for before, after in pairwise(marks)]
    assert max(gaps) <= 101
    assert middle.reasons == {LinkDrop.RED: len(marks)}
    assert share(red_at(90_001.0)) == 1


def test_red_gentle_goes_on_to_twice_max() -> None:
    assert 0.3 < share(red_at(120_000.0, gentle=True, probability=0.1)) < 0.9
    assert share(red_at(180_000.0, gentle=True)) == 1


def test_red_marks_and_its_exceptions() -> None:
    marks = red_at(100_000.0, ecn=True)
    assert share(marks, 10, tos=ecn.ECT_0) == 1
    assert not marks.drops
    assert len(red_at(100_000.0, ecn=True).drops) == 0
    cannot = red_at(100_000.0, ecn=True)
    assert share(cannot, 10) == 1
    assert len(cannot.drops) == 10
    hard = red_at(100_000.0, ecn=True, harddrop=True)
    assert share(hard, 10, tos=ecn.ECT_0) == 1
    assert len(hard.drops) == 10
    assert share(red_at(100_000.0, ecn=True, nodrop=True), 10) == 0


def test_red_counts_packets_or_bytes() -> None:
    small = [datagram(100, mark=number) for number in range(30)]
    by_bytes = Watched("red", limit=60_000, min=5000, max=15_000, burst=8)
    by_packets = Watched("red", limit=60, min=5, max=15, burst=8, packets=True)
    for watched in (by_bytes, by_packets):
        watched.push(*small)
    assert not by_bytes.drops
    assert by_packets.drops
    chances = [share(red_at(60_000.0, bytemode=True), 20_000, size=size) for size in (1000, 250)]
    assert chances[0] / chances[1] == pytest.approx(4, rel=0.25)


def test_red_forgets_while_idle() -> None:
    """As if packets of avpkt had passed at the bandwidth: 10 ms at 10 Mbit/s are 12.5 of 1000 bytes."""
    watched = red_at(60_000.0)
    queue = watched.queue
    queue.weight = 0.01
    queue._idle_since = 0
    watched.push(datagram(), now=10 * MS)
    assert queue.average == pytest.approx(60_000 * 0.99**12.5 * 0.99)


def test_red_has_a_hard_limit() -> None:
    watched = Watched("red", limit=10_000, min=5000, max=9000, burst=20)
    watched.push(*(datagram(1000, mark=number) for number in range(15)))
    assert watched.reasons[LinkDrop.QUEUE_FULL] == 5


def test_red_adapts_its_probability() -> None:
    """Adaptive RED: up by 0.01 (or a quarter) each half second while the average is high, down by a tenth while it is low."""
    high, low = red_at(80_000.0, adaptive=True), red_at(35_000.0, adaptive=True)
    for watched in (high, low):
        for number in range(1, 5):
            watched.push(datagram(), now=number * 500 * MS)
    assert high.queue.probability == pytest.approx(0.02 * 1.25**3 + 0.02 * 1.25**3 / 4, rel=0.05)
    assert low.queue.probability == pytest.approx(0.02 * 0.9**4)
