"""What a direction of a link counts and measures, and the rows of `netemu link show`."""

from __future__ import annotations

from collections import Counter

import msgspec

from netemu.reasons import LinkDrop

SETTLED = 50_000_000
"""ns that packets must have waited in a row, or in several, before their rate says anything: a packet may leave 1 ms late."""
LATE = 1_000_000
"""ns behind its time with which a packet counts as late: the link was asked for more than the machine can do in time."""
_STEPS = 8
"""Buckets per power of two: a percentile is off by 6 % at most."""


class Histogram:
    """Of times (ns), in buckets that grow by 1/8 of a power of two: 512 of them, whatever comes."""

    __slots__ = ("_buckets", "count", "total")

    def __init__(self) -> None:
        self._buckets = [0] * 512
        self.count = 0
        self.total = 0

    def add(self, value: int, times: int = 1) -> None:
        self.count += times
        if value:  # in virtual time nothing is late
            self.total += value * times
        shift = value.bit_length() - 4
        self._buckets[(shift << 3) + (value >> shift) if shift > 0 else value] += times

    def percentile(self, percent: float) -> int | None:
        """The time (ns) that ``percent`` of all are not above; None when nothing came."""
        wanted = self.count * percent / 100
        for bucket, times in enumerate(self._buckets):
            wanted -= times
            if times and wanted <= 0:
                return _middle(bucket)
        return None

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


def _middle(bucket: int) -> int:
    if bucket < 2 * _STEPS:
        return bucket
    shift, top = bucket // _STEPS - 1, bucket % _STEPS + _STEPS
    return (top << shift) + (1 << shift >> 1)


class Percentiles(msgspec.Struct, frozen=True):
    """Of times in ns; None when nothing was measured."""

    p50: int | None
    p95: int | None
    p99: int | None

    @classmethod
    def of(cls, histogram: Histogram) -> Percentiles:
        return cls(*(histogram.percentile(percent) for percent in (50, 95, 99)))


class DirectionStats:
    """Counted since the link is there (or since ``reset``), measured since the last change of what is asked.

    Packets and bytes are as the wire has them: a super-packet's slices.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.packets_in = self.bytes_in = 0
        self.packets_out = self.bytes_out = 0
        self.dropped: Counter[LinkDrop] = Counter()
        self.duplicated = self.corrupted = self.reordered = self.marked = self.answered = self.fragmented = 0
        self.passed = 0
        """Packets that rules sent past the impairments, or along another link."""
        self.late = 0
        """Packets that left more than LATE behind their time."""
        self.measure_anew()

    def measure_anew(self) -> None:
        """What is measured is compared with what is asked now: something else was asked before."""
        self.lateness = Histogram()
        """How far behind their time (ns) packets left: the error of the delay, and 0 in virtual time."""
        self.sojourn = Histogram()
        """How long (ns) packets had waited in the queue before the bottleneck when their turn came."""
        self.asked = 0
        """The sum of the delays (ns) that were drawn for those."""
        self.paced_bits = self.paced_time = 0
        """What left while others waited, and how long (ns) that took: the rate as it was."""

    @property
    def rate(self) -> float | None:
        """Bits a second at which packets left while others waited; None when that was not for long."""
        return self.paced_bits * 1e9 / self.paced_time if self.paced_time >= SETTLED else None


class DirectionRow(msgspec.Struct, frozen=True):
    """A direction of a link in `netemu link show --json`. Times in ns, rates in bits a second."""

    link: str
    direction: str
    """in or out."""
    source: str
    """The ends of the link."""
    destination: str
    words: str
    """What is asked, as `netemu link set` takes it; '' for nothing."""
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    dropped: dict[str, int]
    """By the name of the reason."""
    duplicated: int
    corrupted: int
    reordered: int
    marked: int
    fragmented: int
    answered: int
    """ICMP errors and resets that went back to the sender."""
    passed: int
    """Resets that rules sent to the far end, and packets that they steered to another link."""
    queued_packets: int
    """Waiting before the bottleneck now."""
    queued_bytes: int
    in_flight: int
    """Packets on their way that do not wait there."""
    sojourn: Percentiles
    """In the queue before the bottleneck."""
    delay_asked: float | None
    """The mean of the delays drawn."""
    delay_measured: float | None
    """The mean of what they became."""
    delay_error: Percentiles
    rate_asked: int | None
    rate_measured: float | None
    """While packets waited."""
    late: int
    """Packets that left more than 1 ms behind their time."""
    rules: int = 0
    """Rules that packets meet first (`netemu rule show`)."""
    unread: int = 0
    """Packets that never came to the link: the kernel threw them away, because the device at its end was not read in time."""
