"""What a rule does with a packet that it matched. One class an action; ``str`` gives it as it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol

from netemu.link.rules import answers, edit
from netemu.link.rules.field import Field
from netemu.link.rules.fields import fields
from netemu.link.rules.outcomes import Answered, Delivered, Dropped, Goes, Outcome, Steered
from netemu.link.rules.view import View
from netemu.link.units import time_text
from netemu.wire.packet import Packet


class Hand:
    """A packet while rules work at it."""

    __slots__ = (
        "address",
        "came",
        "copies",
        "delay",
        "is_dropped",
        "is_over",
        "notes",
        "random",
        "sent",
        "steered",
        "view",
    )

    def __init__(self, view: View, address: dict[int, bytes]) -> None:
        self.came = view.packet
        self.view = view
        """The packet as it is now."""
        self.address = address
        self.random = Random(0)
        """That of the rule whose turn it is."""
        self.delay = 0
        self.copies: list[Packet] = []
        self.sent: list[tuple[type[Answered] | type[Delivered], Packet, str]] = []
        self.is_over = False
        """No further rule sees the packet."""
        self.is_dropped = False
        self.steered: str | None = None
        self.notes: list[str] = []

    def drop(self) -> None:
        self.is_over = self.is_dropped = True

    def replace(self, packet: Packet) -> None:
        """The packet is another one from here on; of its flow is known what was."""
        view = View(packet, self.view.now)
        view.flow = self.view.flow
        self.view = view

    def outcomes(self) -> list[Outcome]:
        comment = "; ".join(self.notes)
        out: list[Outcome] = [kind(packet, note) for kind, packet, note in self.sent]
        if self.steered is not None:
            link = self.steered
            return [*out, *(Steered(packet, comment, link) for packet in (self.view.packet, *self.copies))]
        if self.is_dropped:
            out.append(Dropped(self.came, comment))
        else:
            out.append(Goes(self.view.packet, comment, self.delay))
        out += [Goes(copy, comment) for copy in self.copies]
        return out


class Action(Protocol):
    """``act`` does it; False: it cannot be done to this packet, which goes on as it was."""

    def act(self, hand: Hand) -> bool: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """drop, pass (no further rule sees it) or count (nothing is done)."""

    word: str

    def act(self, hand: Hand) -> bool:
        if self.word == "drop":
            hand.drop()
        hand.is_over = self.word != "count"
        return True

    def __str__(self) -> str:
        return self.word


@dataclass(frozen=True, slots=True)
class Delay:
    """Enter the link so much later (ns); several add up."""

    time: int

    def act(self, hand: Hand) -> bool:
        hand.delay += self.time
        return True

    def __str__(self) -> str:
        return f"delay {time_text(self.time)}"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Send so many more of it as it is now; later actions and rules do nothing to those."""

    number: int = 1

    def act(self, hand: Hand) -> bool:
        packet = hand.view.packet
        for _ in range(self.number):  # each an object of its own: queues tell packets apart by that
            hand.copies.append(Packet(packet.head, packet.body, 0, packet.csum_start, packet.csum_offset))
        return True

    def __str__(self) -> str:
        return f"duplicate {self.number}" if self.number > 1 else "duplicate"


class _Edits:
    """The packet is exchanged for a changed one."""

    __slots__ = ()

    def act(self, hand: Hand) -> bool:
        changed = self.change(hand)
        if changed is not None:
            hand.replace(changed)
        return changed is not None

    def change(self, hand: Hand) -> Packet | None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Corrupt(_Edits):
    """Turn one bit; ``good``: with a checksum that agrees."""

    good: bool = False

    def change(self, hand: Hand) -> Packet | None:
        return edit.damaged(hand.view, hand.random, self.good)

    def __str__(self) -> str:
        return "corrupt good" if self.good else "corrupt"


@dataclass(frozen=True, slots=True)
class Set(_Edits):
    """Set a field, or add to it. Checksums follow, unless the field is one."""

    field: Field
    sign: str
    value: int
    shown: str

    def change(self, hand: Hand) -> Packet | None:
        assert self.field.place is not None
        return edit.with_field(
            hand.view, self.field.place, _CHANGES[self.sign](self.value), not self.field.name.endswith(".checksum")
        )

    def __str__(self) -> str:
        return f"set {self.field.name}{self.sign}{self.shown}"


_CHANGES: dict[str, Callable[[int], Callable[[int], int]]] = {
    "=": lambda value: lambda old: value,
    "+=": lambda value: lambda old: old + value,
    "-=": lambda value: lambda old: old - value,
}


@dataclass(frozen=True, slots=True)
class Truncate(_Edits):
    """Cut the payload to so many bytes; lengths and checksums follow."""

    keep: int

    def change(self, hand: Hand) -> Packet | None:
        return edit.truncated(hand.view, self.keep)

    def __str__(self) -> str:
        return f"truncate {self.keep}"


@dataclass(frozen=True, slots=True)
class Mark(_Edits):
    """Set Congestion Experienced, where the ends can understand it (RFC 3168 5); others are let be."""

    def change(self, hand: Hand) -> Packet | None:
        field = fields()["ip.dsfield.ecn" if hand.view.version == 4 else "ipv6.tclass.ecn"]
        return edit.with_field(hand.view, field.place, lambda old: 3) if field.place and field.get(hand.view) else None

    def __str__(self) -> str:
        return "mark"


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with a RST to one end or to both, in the packet's place.

    One that is out of the window is what a blind attacker sends: no good stack obeys it (RFC 5961 3.2), and the packet goes on.
    """

    towards: str = "sender"
    far: bool = False

    def act(self, hand: Hand) -> bool:
        sent: list[tuple[type[Answered] | type[Delivered], Packet | None]] = []
        if self.towards in ("sender", "both"):
            sent.append((Answered, answers.reset_to_sender(hand.view, self.far)))
        if self.towards in ("receiver", "both"):
            sent.append((Delivered, answers.reset_to_receiver(hand.view, self.far)))
        made = [(kind, packet, hand.notes[-1]) for kind, packet in sent if packet is not None]
        hand.sent += made
        if made and not self.far:
            hand.drop()
        return bool(made)

    def __str__(self) -> str:
        return f"reset {self.towards}{' out-of-window' if self.far else ''}"


class _Reports:
    """An ICMP error goes back, and the packet no further."""

    __slots__ = ()

    def act(self, hand: Hand) -> bool:
        packet = self.report(hand)
        if packet is not None:
            hand.sent.append((Answered, packet, hand.notes[-1]))
            hand.drop()
        return packet is not None

    def report(self, hand: Hand) -> Packet | None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Unreachable(_Reports):
    """Answer 'destination unreachable'."""

    code: str = "port"

    def report(self, hand: Hand) -> Packet | None:
        return answers.unreachable(hand.view, self.code, hand.address)

    def __str__(self) -> str:
        return f"unreachable {self.code}"


@dataclass(frozen=True, slots=True)
class FragNeeded(_Reports):
    """Answer what is longer than an MTU as a router before such a link does; what may be fragmented goes on."""

    mtu: int

    def report(self, hand: Hand) -> Packet | None:
        return answers.too_big(hand.view, self.mtu, hand.address)

    def __str__(self) -> str:
        return f"frag-needed {self.mtu}"


@dataclass(frozen=True, slots=True)
class Steer:
    """Send it over another link, in the same direction."""

    link: str

    def act(self, hand: Hand) -> bool:
        hand.steered, hand.is_over = self.link, True
        return True

    def __str__(self) -> str:
        return f"steer {self.link}"
