"""The queue disciplines before a bottleneck of 10 Mbit/s, under TCP: do they do what was published of them?"""

from __future__ import annotations

from collections.abc import Sequence

from flows import MS, SECOND, World
from row import LEAST, MOST, Measure, Row

from netemu.link.words import parse_words

SECONDS, WARM_UP = 40, 10
RATE = 10_000_000
ONE_WAY = 10 * MS
FULL = 1500 * 8 * SECOND / RATE / MS
"""ms that a full packet takes."""


class Watched:
    """What the packets of a run have seen, warm-up aside; all in ms."""

    def __init__(self, queue: str, flows: int, *, sparse: bool = False) -> None:
        forth = parse_words(f"rate 10mbit delay 10ms {queue}".split())
        world = World(forth, parse_words(["delay", "10ms"]), seed=flows)
        for _ in range(flows):
            world.bulk()
        if sparse:
            world.datagrams(100, 20 * MS)
        world.run(SECONDS, lambda: float(world.forth.queued))
        seen = [packet for packet in world.seen if packet.sent >= WARM_UP * SECOND]
        self.bulk = [_wait(packet.delay, packet.size) for packet in seen if packet.is_tcp]
        self.sparse = [_wait(packet.delay, packet.size) for packet in seen if not packet.is_tcp]
        self.queued = world.samples[WARM_UP * 1000 :]
        self.used = sum(packet.size for packet in seen) * 8 / (SECONDS - WARM_UP) / RATE
        times = [packet.sent for packet in seen if packet.is_tcp]
        least: dict[int, float] = {}
        for sent, wait in zip(times, self.bulk, strict=True):
            window = sent // (100 * MS)
            least[window] = min(least.get(window, wait), wait)
        self.standing = list(least.values())
        """The shortest wait of each 100 ms: of the queue that stands."""


def _wait(delay: int, size: int) -> float:
    return (delay - ONE_WAY - size * 8 * SECOND / RATE) / MS


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def share_below(values: Sequence[float], share: float) -> float:
    """The value that so many of them are not above."""
    return sorted(values)[int(share * (len(values) - 1))]


def full(discipline: str) -> Measure:
    """A queue without a mind of its own: it fills."""

    def measure(_: int) -> list[Row]:
        queue = f"queue {discipline} limit 100p"
        seen = Watched(queue, flows=4, sparse=True)
        words = f"rate 10mbit {queue}: 4 flows, 1 sparse"
        return [
            Row(words, "packets queued, at most", 100, max(seen.queued)),
            Row(words, "wait of the bulk, mean", 80, mean(seen.bulk), unit="ms", side=LEAST),
            Row(words, "wait of the sparse, median", 80, share_below(seen.sparse, 0.5), unit="ms", side=LEAST),
            Row(words, "capacity used", 0.97, seen.used, unit="%", side=LEAST),
        ]

    return measure


def codel(_: int) -> list[Row]:
    """Its target of 5 ms is met without starving the link (RFC 8289 1, 4.3)."""
    words = "rate 10mbit queue codel: 1 flow"
    seen = Watched("queue codel", flows=1)
    return [
        Row(words, "wait, mean", 5, mean(seen.bulk), unit="ms", side=MOST),
        Row(words, "standing queue, 95 %", 5 + FULL, share_below(seen.standing, 0.95), unit="ms", side=MOST),
        Row(words, "capacity used", 0.85, seen.used, unit="%", side=LEAST),
    ]


def fq_codel(_: int) -> list[Row]:
    """A sparse flow waits for about one packet of each of the others, however long their queues are (RFC 8290 1.3)."""
    words = "rate 10mbit queue fq_codel: 4 flows, 1 sparse"
    seen = Watched("queue fq_codel", flows=4, sparse=True)
    return [
        Row(words, "wait of the sparse, median", FULL, share_below(seen.sparse, 0.5), unit="ms", side=MOST),
        Row(words, "wait of the sparse, 99 %", 4 * FULL, share_below(seen.sparse, 0.99), unit="ms", side=MOST),
        Row(words, "wait of the bulk, mean", 10, mean(seen.bulk), 5, "ms"),
        Row(words, "capacity used", 0.95, seen.used, unit="%", side=LEAST),
    ]


def pie(option: str = "") -> Measure:
    """Its target is 15 ms (RFC 8033 4)."""

    def measure(_: int) -> list[Row]:
        queue = f"queue pie {option}".rstrip()
        seen = Watched(queue, flows=5)
        words = f"rate 10mbit {queue}: 5 flows"
        return [
            Row(words, "wait, mean", 15, mean(seen.bulk), 2, "ms"),
            Row(words, "capacity used", 0.95, seen.used, unit="%", side=LEAST),
        ]

    return measure


def red(option: str = "") -> Measure:
    """The average stays between the thresholds: 10 and 30 packets."""

    def measure(_: int) -> list[Row]:
        queue = f"queue red limit 200kb min 15000 max 45000 burst 20 probability 10% {option}".rstrip()
        seen = Watched(queue, flows=5)
        words = f"rate 10mbit {queue}: 5 flows"
        return [
            Row(words, "packets queued, mean", 20, mean(seen.queued), 10),
            Row(words, "capacity used", 0.95, seen.used, unit="%", side=LEAST),
        ]

    return measure


AQMS: list[Measure] = [
    full("droptail"),
    full("drophead"),
    codel,
    fq_codel,
    pie(),
    pie("dq_rate_estimator"),
    red(),
    red("gentle"),
    red("adaptive"),
]
"""The number of packets is not theirs to choose: they run for a given time."""
