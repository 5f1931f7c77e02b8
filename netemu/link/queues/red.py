"""Random Early Detection: drops at random before the queue is full, by an average of its length.

S. Floyd, V. Jacobson: Random Early Detection Gateways for Congestion Avoidance, 1993. ``gentle`` and ``adaptive`` are Floyd's
later advice (2000 and 2001).
"""

from __future__ import annotations

from random import Random

from netemu.link.ecn import is_capable
from netemu.link.queues.base import MEMORY_LIMIT, MS, Bytes, Chance, Flag, Packets, Rate, SingleQueue, at_least
from netemu.reasons import LinkDrop
from netemu.wire.packet import Packet

SECOND = 1_000_000_000
ADAPT_EVERY = 500 * MS


class Red(SingleQueue):
    """Parameters of tc-red(8): ``limit``, ``min`` and ``max`` are bytes; with ``packets``, they and the average count packets.

    ``probability`` is that of a mark or drop where the average reaches ``max``. Between ``max`` and twice of that it goes on to 1
    when it is ``gentle``; else all are marked or dropped above ``max``. With ``bytemode``, a packet's is scaled by its size.
    """

    def __init__(
        self,
        random: Random,
        *,
        limit: Bytes = 400_000,
        min: Bytes | None = None,
        max: Bytes | None = None,
        avpkt: Bytes = 1000,
        burst: Packets | None = None,
        probability: Chance = 0.02,
        bandwidth: Rate = 10_000_000,
        packets: Flag = False,
        ecn: Flag = False,
        harddrop: Flag = False,
        nodrop: Flag = False,
        adaptive: Flag = False,
        gentle: Flag = False,
        bytemode: Flag = False,
    ) -> None:
        super().__init__(limit if packets else 1 << 32, MEMORY_LIMIT if packets else limit)
        at_least(1, avpkt=avpkt, bandwidth=bandwidth)
        self.max = limit // 4 if max is None else max
        self.min = self.max // 3 if min is None else min
        if not 0 < self.min < self.max <= limit:
            raise ValueError(f"min < max <= limit is wanted, not {self.min}, {self.max}, {limit}")
        if not 0 < probability <= 1:
            raise ValueError(f"probability must be above 0 and at most 1, not {probability}")
        if nodrop and not ecn:
            raise ValueError("nodrop goes with ecn: who cannot be marked waits")
        self._random = random
        self.packets, self.ecn, self.harddrop, self.nodrop = packets, ecn, harddrop, nodrop
        self.adaptive, self.gentle, self.bytemode = adaptive, gentle, bytemode
        self.avpkt, self.probability = avpkt, probability
        unit = 1 if packets else avpkt
        self.weight = _weight(self.min / unit, (2 * self.min + self.max) // (3 * unit) if burst is None else burst)
        self._typical = avpkt * 8 * SECOND // bandwidth  # ns that a typical packet takes
        self.average = 0.0
        """Of what waited when packets came; bytes or packets."""
        self._passed = -1  # since the last mark; -1: the average is below min
        self._idle_since: int | None = 0
        self._adapted = 0

    def _arrive(self, packet: Packet, now: int) -> None:
        self._measure(now)
        if self.adaptive and now - self._adapted >= ADAPT_EVERY:
            self._adapt(now)
        hard = self.average >= self.max * (2 if self.gentle else 1)
        if hard or self._strikes(packet):
            self._passed = 0
            if self.ecn and is_capable(packet) and not (hard and self.harddrop):
                packet = self.mark(packet, now)
            elif not self.nodrop or (hard and self.harddrop):
                self.on_drop(packet, now, LinkDrop.RED)
                return
        super()._arrive(packet, now)

    def pop(self, now: int) -> Packet | None:
        packet = super().pop(now)
        if not self._length and self._idle_since is None:
            self._idle_since = now
        return packet

    def _measure(self, now: int) -> None:
        """The moving average, as if small packets had come all the time that nothing waited (section 4 of the paper)."""
        if self._idle_since is not None:
            self.average *= (1 - self.weight) ** ((now - self._idle_since) / self._typical)
        self._idle_since = None
        self.average += self.weight * ((self._length if self.packets else self.bytes) - self.average)

    def _strikes(self, packet: Packet) -> bool:
        """Early drop: spread evenly, so that 1 / chance packets lie between two (section 7)."""
        if self.average < self.min:
            self._passed = -1
            return False
        self._passed += 1
        if self.average < self.max:
            chance = self.probability * (self.average - self.min) / (self.max - self.min)
        else:
            chance = self.probability + (1 - self.probability) * (self.average - self.max) / self.max
        if self.bytemode:
            chance *= len(packet) / self.avpkt
        spread = 1 - self._passed * chance
        return spread <= 0 or self._random.random() < chance / spread

    def _adapt(self, now: int) -> None:
        """Keep the average in the middle between min and max (Floyd, Gummadi, Shenker: Adaptive RED, 2001, section 4)."""
        self._adapted = now
        fifth = (self.max - self.min) / 5
        if self.average > self.min + 3 * fifth and self.probability <= 0.5:
            self.probability += min(0.01, self.probability / 4)
        elif self.average < self.min + 2 * fifth and self.probability >= 0.01:
            self.probability *= 0.9


def _weight(least: float, burst: float) -> float:
    """The largest 1/2**n with which a burst of so many packets into an empty queue leaves the average below ``least`` packets.

    Equation 3 of the paper; as tc-red(8), by powers of two.
    """
    if burst + 1 < least:
        raise ValueError(f"burst must be at least min / avpkt ({least:.0f}), not {burst:.0f}")
    for exponent in range(1, 32):
        weight = 0.5**exponent
        if burst + 1 - least <= (1 - (1 - weight) ** (burst + 1)) / weight:
            return weight
    raise ValueError(f"burst is too large, {burst:.0f}")
