"""Values as they are written in an expression, read by the kind of the field that they are compared with."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network

from netemu.link import units
from netemu.link.rules.field import Kind, Value
from netemu.link.rules.nodes import Range, RuleError, Text, Word

Element = tuple[Value, Value]
"""First and last; a prefix is one, too: addresses are compared as their bytes."""

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[bB][01]+|0|[1-9][0-9]*")
_BYTES = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2})*|[0-9a-fA-F]{2}(\.[0-9a-fA-F]{2})+")
_BOOLEANS = {"true": 1, "false": 0}


def number_of(word: Word | Text, what: str, least: int = 0, most: int | None = None) -> int:
    """A whole number, in decimal, 0x or 0b; RuleError."""
    match = _NUMBER.fullmatch(word.text) if isinstance(word, Word) else None
    if not match:
        raise RuleError(f"{what} takes a number, not {word}", word.column)
    value = int(match[0], 0)
    if value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise RuleError(f"{what} is {bounds}, not {word}", word.column)
    return value


def time_of(word: Word | Text, what: str) -> int:
    """ns; RuleError. Unlike in tc(8), there must be a unit: 'flow.age > 2' would mean microseconds."""
    text = word.text if isinstance(word, Word) else ""
    if text[-1:].isalpha():
        with suppress(ValueError):
            return units.time(text)
    raise RuleError(f"{what} takes {Kind.TIME.value}, not {word}", word.column)


def network_of(kind: Kind, name: str, word: Word | Text) -> IPv4Network | IPv6Network:
    """Host bits are as good as none, as in Wireshark."""
    try:
        network = ip_network(word.text if isinstance(word, Word) else "", strict=False)
    except ValueError:
        network = None
    if network is None or network.version != (4 if kind is Kind.IPV4 else 6):
        raise RuleError(f"{name} takes {kind.value}, not {word}", word.column)
    return network


def _bytes_of(name: str, word: Word | Text) -> bytes:
    if isinstance(word, Text):
        return word.data
    if not _BYTES.fullmatch(word.text):
        raise RuleError(f"{name} takes {Kind.BYTES.value}, not {word}", word.column)
    return bytes.fromhex(re.sub("[:.-]", "", word.text))


Constant = Value | IPv4Network | IPv6Network


def constant_of(kind: Kind, name: str, word: Word | Text, highest: int = 0, ordered: bool = False) -> Constant:
    """The value for a field of that kind; a network for a prefix, unless the comparison is of order. RuleError."""
    if kind is Kind.NUMBER or kind is Kind.FLAG:
        if kind is Kind.FLAG and isinstance(word, Word) and word.text.lower() in _BOOLEANS:
            return _BOOLEANS[word.text.lower()]
        return number_of(word, name, 0, highest or None)
    if kind is Kind.TIME:
        return time_of(word, name)
    if kind is Kind.BYTES:
        return _bytes_of(name, word)
    network = network_of(kind, name, word)
    if network.prefixlen == network.max_prefixlen:
        return network.network_address.packed
    if ordered:
        raise RuleError(f"{word} is a prefix: of it can only be asked == or !=", word.column)
    return network


def check_of(compare: Callable[[Value, Value], bool], sign: str, constant: Constant) -> Callable[[Value], bool]:
    """Does a field's value compare so with the constant?"""
    if isinstance(constant, IPv4Network | IPv6Network):
        first, last = constant[0].packed, constant[-1].packed
        if sign == "!=":
            return lambda value: not first <= value <= last  # type: ignore[operator]
        return lambda value: first <= value <= last  # type: ignore[operator]
    known = constant
    return lambda value: compare(value, known)


def range_of(kind: Kind, name: str, range_: Range, highest: int = 0) -> Element:
    """First and last value of an element of a set; RuleError."""
    first = constant_of(kind, name, range_.first, highest)
    if range_.first is range_.last:
        return (first[0].packed, first[-1].packed) if isinstance(first, IPv4Network | IPv6Network) else (first, first)
    last = constant_of(kind, name, range_.last, highest)
    if isinstance(first, IPv4Network | IPv6Network) or isinstance(last, IPv4Network | IPv6Network):
        raise RuleError(f"{range_}: a range goes from one address to another", range_.first.column)
    if first > last:  # type: ignore[operator]  # both are of the field's kind
        raise RuleError(f"{range_}: the first is greater than the last", range_.first.column)
    return first, last


def share_of(word: Word | Text, what: str) -> float:
    """0 to 1 of '1%'; RuleError. There must be a percent sign: is 0.01 one in a hundred, or one in ten thousand as in tc(8)?"""
    text = word.text if isinstance(word, Word) else ""
    if text.endswith("%"):
        with suppress(ValueError):
            return units.share(text)
    raise RuleError(f"{what} takes a share such as 1%, not {word}", word.column)
