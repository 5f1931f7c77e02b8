"""What is asked of one direction of a link: data, without behaviour. `netemu.link.words` reads and writes it as words.

All times are nanoseconds, rates bits a second, sizes bytes, shares 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from netemu.link.traces import Trace


@dataclass(frozen=True, slots=True)
class Distribution:
    """How jitter is spread: a table of the inverse distribution function, in standard deviations from the mean."""

    name: str
    """normal, pareto, paretonormal, or the file that it came from."""
    table: tuple[float, ...]

    def __repr__(self) -> str:
        return f"Distribution({self.name!r}, {len(self.table)} values)"


@dataclass(frozen=True, slots=True)
class Delay:
    """``time`` for each packet, give or take ``jitter``: uniform within it, or spread as ``distribution`` says."""

    time: int
    jitter: int = 0
    correlation: float = 0.0
    distribution: Distribution | None = None


@dataclass(frozen=True, slots=True)
class Chance:
    """Something that happens to a share of the packets; ``correlation`` of one packet's fate with the next one's."""

    share: float
    correlation: float = 0.0


@dataclass(frozen=True, slots=True)
class StateLoss:
    """The four-state Markov model of tc-netem(8), GI: 1 received, 2 received within a burst, 3 lost in a burst, 4 lost alone."""

    p13: float
    p31: float
    p32: float = 0.0
    p23: float = 1.0
    p14: float = 0.0


@dataclass(frozen=True, slots=True)
class GemodelLoss:
    """Gilbert-Elliott: ``p`` from the good state to the bad one, ``r`` back; lost in the bad state ``h1``, in the good ``k1``."""

    p: float
    r: float
    h1: float = 1.0
    k1: float = 0.0


Loss = Chance | StateLoss | GemodelLoss


@dataclass(frozen=True, slots=True)
class Reorder:
    """Each ``gap``-th packet, with this chance, does not wait for the delay, so that it overtakes."""

    share: float
    correlation: float = 0.0
    gap: int = 1


@dataclass(frozen=True, slots=True)
class Rate:
    """Bits a second. A packet counts ``overhead`` bytes more, and is sent in cells of ``cell`` bytes plus ``cell_overhead``."""

    bits: int
    overhead: int = 0
    cell: int = 0
    cell_overhead: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """Packets gather and leave when the next slot opens, ``low`` to ``high`` after the last; at most so many at once."""

    low: int
    """Or the mean of ``distribution``."""
    high: int
    """Or its standard deviation."""
    distribution: Distribution | None = None
    packets: int = 0
    bytes: int = 0
    """0: any number."""


Value = int | float | bool


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """The queue before the bottleneck, and what its constructor is given; what is not among ``parameters`` is its default."""

    discipline: str = "droptail"
    parameters: tuple[tuple[str, Value], ...] = ()
    """(name as the discipline has it, value); ``limit`` in packets, ``memory_limit`` in bytes, ``ecn`` …"""


@dataclass(frozen=True, slots=True)
class Mtu:
    """Longer packets are fragmented where IPv4 allows it; else they are dropped, with an ICMP error or without."""

    bytes: int
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Flap:
    """The link is up for ``up``, then down for ``down``, and so on."""

    up: int
    down: int


@dataclass(frozen=True, slots=True)
class Impairments:
    """All that is asked of one direction; None (False) where nothing is."""

    delay: Delay | None = None
    keep_order: bool = False
    """Jitter does not have packets overtake each other."""
    loss: Loss | None = None
    ecn: bool = False
    """What would be lost is marked instead, where its flow knows ECN."""
    corrupt: Chance | None = None
    duplicate: Chance | None = None
    reorder: Reorder | None = None
    rate: Rate | None = None
    slot: Slot | None = None
    limit: int | None = None
    """Packets under way and waiting together."""
    queue: QueueSpec | None = None
    mtu: Mtu | None = None
    down: bool = False
    flap: Flap | None = None
    trace: Trace | None = None
    seed: int | None = None
    """Of this direction's decisions; None: what the link was given."""


CLEAR = Impairments()
"""Nothing is asked."""
