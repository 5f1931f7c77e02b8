"""What rules decide about a packet, as data; the link carries it out."""

from __future__ import annotations

from dataclasses import dataclass

from netemu.wire.packet import Packet


@dataclass(frozen=True, slots=True)
class Goes:
    """``packet`` enters the link ``delay`` ns from now; it may be another one than came, or one of several."""

    packet: Packet
    comment: str
    delay: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """``packet``, as it came, goes nowhere (LinkDrop.RULE)."""

    packet: Packet
    comment: str


@dataclass(frozen=True, slots=True)
class Answered:
    """``packet`` is new, and goes back to who sent the one that came, at once."""

    packet: Packet
    comment: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """``packet`` is new, and goes to the far end at once, past all that the link does."""

    packet: Packet
    comment: str


@dataclass(frozen=True, slots=True)
class Steered:
    """``packet`` travels the link of that name instead, in the same direction."""

    packet: Packet
    comment: str
    link: str


Outcome = Goes | Dropped | Answered | Delivered | Steered
