"""What a field is, and the makers of the usual ones: those that stand at a place in a header."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from netemu.link.rules.view import View
from netemu.wire.ip import TCP


class Kind(Enum):
    """What a field's values are, and an example of how to write one."""

    NUMBER = "a number such as 80 or 0x50"
    FLAG = "0 or 1"
    IPV4 = "an IPv4 address or prefix such as 192.0.2.0/24"
    IPV6 = "an IPv6 address or prefix such as 2001:db8::/32"
    BYTES = 'a text such as "GET" or bytes such as 47:45:54'
    TIME = "a time such as 250ms or 2s"


Value = int | bytes
Getter = Callable[[View], Value | None]
Span = Callable[[View], tuple[int, int] | None]
"""The least and the greatest value that the slices of a super-packet can have; None: they have none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field stands: ``size`` bytes at an offset that the packet decides, of them the bits of ``mask``."""

    at: Callable[[View], int]
    """-1: it is not there."""
    size: int
    mask: int

    @property
    def shift(self) -> int:
        return (self.mask & -self.mask).bit_length() - 1

    @property
    def highest(self) -> int:
        return self.mask >> self.shift


@dataclass(frozen=True, slots=True)
class Field:
    """One name. ``get`` gives the value, or all of them where there are ``many``."""

    name: str
    kind: Kind
    get: Getter
    many: Callable[[View], tuple[Value, ...]] | None = None
    place: Place | None = None
    """Of a field that can be set."""
    varies: bool = False
    """The slices of a super-packet differ in it."""
    span: Span | None = None
    """How far they can differ; None with ``varies``: no telling."""
    most: int = 0
    """The greatest number that it can be, where it has no place of its own; 0: no bound."""

    @property
    def highest(self) -> int:
        """The greatest number that it can be; 0: no bound."""
        return self.place.highest if self.place else 1 if self.kind is Kind.FLAG else self.most


# Makers


def at_ip(version: int, offset: int) -> Callable[[View], int]:
    return lambda view: offset if view.version == version else -1


def at_transport(protocol: int, offset: int) -> Callable[[View], int]:
    return lambda view: view.start + offset if view.transport == protocol else -1


def option(kind: int, length: int, offset: int) -> Callable[[View], int]:
    """Where the TCP option of that kind (and of that length, where it is not 0) stands, ``offset`` bytes into it."""

    def at(view: View) -> int:
        if view.transport != TCP:
            return -1
        head, here = view.head, view.start + 20
        while here < view.payload_at and head[here]:
            if head[here] == 1:
                here += 1
                continue
            size = head[here + 1] if here + 1 < view.payload_at else 0
            if size < 2 or here + size > view.payload_at:
                return -1
            if head[here] == kind:
                return here + offset if length in (0, size) else -1
            here += size
        return -1

    return at


def _read(place: Place, as_bytes: bool) -> Getter:
    at, size, mask, shift = place.at, place.size, place.mask, place.shift

    def byte(view: View) -> int | None:
        here = at(view)
        return view.head[here] if here >= 0 else None

    def number(view: View) -> int | None:
        here = at(view)
        if here < 0:
            return None
        return (int.from_bytes(view.head[here : here + size], "big") & mask) >> shift

    def raw(view: View) -> bytes | None:
        here = at(view)
        return bytes(view.head[here : here + size]) if here >= 0 else None

    return raw if as_bytes else byte if size == 1 and mask == 0xFF else number


def placed(
    name: str,
    at: Callable[[View], int],
    size: int,
    mask: int = 0,
    kind: Kind | None = None,
    varies: bool = False,
    span: Span | None = None,
) -> Field:
    place = Place(at, size, mask or (1 << size * 8) - 1)
    kind = kind or (Kind.FLAG if place.highest == 1 else Kind.NUMBER)
    get = _read(place, kind in (Kind.IPV4, Kind.IPV6))
    return Field(name, kind, get, None, place, varies or span is not None, span)


def either(name: str, kind: Kind, first: Field, second: Field) -> Field:
    def many(view: View) -> tuple[Value, ...]:
        left, right = first.get(view), second.get(view)
        return () if left is None or right is None else (left, right)

    return Field(name, kind, first.get, many, most=first.highest)


def lengths(header: Callable[[View], int]) -> Span:
    """The lengths of a super-packet's slices, by what stands before their payload."""

    def span(view: View) -> tuple[int, int] | None:
        least, before = view.last_slice, header(view)
        return before + least, before + max(least, min(view.length, view.packet.gso_size or view.length))

    return span


def exists(name: str, at: Callable[[View], int]) -> Field:
    """A field of which only the presence counts."""
    return Field(name, Kind.FLAG, lambda view: 1 if at(view) >= 0 else None)


def in_bytes(name: str, at: Callable[[View], int], size: int, mask: int, unit: int) -> Field:
    """A number that a header has in units of several bytes."""
    units = placed(name, at, size, mask)

    def get(view: View) -> int | None:
        value = units.get(view)
        return value * unit if isinstance(value, int) else None

    return Field(name, Kind.NUMBER, get, most=units.highest * unit)


def length(name: str, protocol: int) -> Field:
    """The payload's."""
    span = lengths(lambda view: 0)
    return Field(
        name,
        Kind.NUMBER,
        lambda view: view.length if view.transport == protocol else None,
        varies=True,
        span=lambda view: span(view) if view.transport == protocol else None,
        most=0xFFFF,
    )


def payload(name: str, protocol: int) -> Field:
    """The payload; of none, the field is not there."""

    def get(view: View) -> bytes | None:
        return view.payload() if view.transport == protocol and view.length else None

    return Field(name, Kind.BYTES, get, varies=True)
