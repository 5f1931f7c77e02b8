"""Which packets to keep: the everyday part of tcpdump's language (pcap-filter(7)), compiled to a predicate.

    expression = term { ("and" | "or") term }        as in pcap-filter: equal precedence, from left to right
    term       = "not" term | "(" expression ")" | primitive
    primitive  = [protocol] [src | dst] [host ADDRESS | net PREFIX | port NUMBER | portrange FIRST-LAST]
    protocol   = ip | ip6 | tcp | udp | icmp | icmp6 | igmp

A bare value takes up the words before it: "port 80 or 443" is "port 80 or port 443". ``&&``, ``||`` and ``!`` work too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from netemu.wire.buffer import Buffer

Predicate = Callable[[Buffer], bool]
"""True for a packet to keep. Its headers are enough: what stands after them is never read."""

HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
TCP, UDP = 6, 17
PROTOCOLS = {
    "ip": (4, None),
    "ip6": (6, None),
    "tcp": (None, TCP),
    "udp": (None, UDP),
    "icmp": (4, 1),
    "icmp6": (6, 58),
    "igmp": (4, 2),
}
"""Keyword: (IP version, protocol number); None is any."""
LONGEST = 200
"""Words in an expression; it bounds how deep the parser and the predicate nest."""
KINDS = ("host", "net", "port", "portrange")
SYNONYMS = {"&&": "and", "||": "or", "!": "not"}
TOKEN = re.compile(r"\s*(&&|\|\||!|\(|\)|[^\s()!&|]+|\S)")


class FilterError(ValueError):
    """A wrong expression; the text is one line that says what was expected."""


class Flow(NamedTuple):
    """What primitives look at. Ports are -1 where the packet has none (a later fragment, ICMP, garbage)."""

    version: int
    protocol: int
    source: int
    destination: int
    source_port: int
    destination_port: int


Test = Callable[[Flow], bool]


def compile_filter(expression: str) -> Predicate:
    """The predicate for an expression; an empty one keeps everything. Raises FilterError."""
    if not expression.strip():
        return lambda packet: True
    test = _Parser(expression).parse()
    return lambda packet: test(dissect(packet))


# Packets


def dissect(packet: Buffer) -> Flow:
    """The fields of a packet; zeros and -1 for those that are not there. Never raises."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        at, protocol, later = (packet[0] & 15) * 4, packet[9], _number(packet, 6, 2) & 0x1FFF
        source, destination = _number(packet, 12, 4), _number(packet, 16, 4)
    elif version == 6 and len(packet) >= 40:
        at, protocol, later = _skip_extensions(packet)
        source, destination = _number(packet, 8, 16), _number(packet, 24, 16)
    else:
        return Flow(0, -1, -1, -1, -1, -1)
    if later or protocol not in (TCP, UDP) or len(packet) < at + 4:
        return Flow(version, protocol, source, destination, -1, -1)
    return Flow(version, protocol, source, destination, _number(packet, at, 2), _number(packet, at + 2, 2))


def _skip_extensions(packet: Buffer) -> tuple[int, int, int]:
    """(offset of the transport header, its protocol, offset of the fragment) of an IPv6 packet."""
    at, protocol, later = 40, packet[6], 0
    while (
        protocol in (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION) and len(packet) >= at + 8 and not later
    ):
        following, size = packet[at], packet[at + 1]
        if protocol == FRAGMENT:
            later = _number(packet, at + 2, 2) & 0xFFF8
            at += 8
        else:
            at += (size + 2) * 4 if protocol == AUTHENTICATION else (size + 1) * 8
        protocol = following
    return at, protocol, later


def _number(packet: Buffer, at: int, size: int) -> int:
    return int.from_bytes(packet[at : at + size], "big")


# Expressions


class _Parser:
    def __init__(self, expression: str) -> None:
        self._tokens = [SYNONYMS.get(token, token) for token in TOKEN.findall(expression)]
        if len(self._tokens) > LONGEST:
            raise FilterError(f"filter: {len(self._tokens)} words are too many, {LONGEST} are the most")
        self._at = 0
        self._last: tuple[str, str, str] | None = None  # (protocol, direction, kind) for a bare value that follows

    def parse(self) -> Test:
        test = self._expression()
        if self._peek():
            raise FilterError(f"filter: expected 'and' or 'or' before {self._peek()!r}")
        return test

    def _expression(self) -> Test:
        test = self._term()
        while self._peek() in ("and", "or"):
            combine = _both if self._next() == "and" else _either
            test = combine(test, self._term())
        return test

    def _term(self) -> Test:
        if self._peek() == "not":
            self._next()
            return _negation(self._term())
        if self._peek() == "(":
            self._next()
            test = self._expression()
            if self._next() != ")":
                raise FilterError("filter: a '(' without its ')'")
            return test
        return self._primitive()

    def _primitive(self) -> Test:
        protocol = self._next() if self._peek() in PROTOCOLS else ""
        direction = self._next() if self._peek() in ("src", "dst") else ""
        kind = self._next() if self._peek() in KINDS else ""
        if protocol and not direction and not kind:
            self._last = None
            return _protocol_test(protocol)
        if not direction and not kind:
            if self._last is None or self._peek() in ("", "and", "or", ")"):
                raise FilterError(
                    f"filter: expected tcp, udp, icmp, host, net, port … but found {self._peek() or 'the end'!r}"
                )
            protocol, direction, kind = self._last
        self._last = (protocol, direction, kind or "host")
        if self._peek() in ("", "and", "or", "not", "(", ")"):
            raise FilterError(f"filter: {' '.join(filter(None, (protocol, direction, kind)))!r} needs a value")
        test = _value_test(kind or "host", direction, self._next())
        return _both(_protocol_test(protocol), test) if protocol else test

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token


def _both(left: Test, right: Test) -> Test:
    return lambda flow: left(flow) and right(flow)


def _either(left: Test, right: Test) -> Test:
    return lambda flow: left(flow) or right(flow)


def _negation(test: Test) -> Test:
    return lambda flow: not test(flow)


def _protocol_test(word: str) -> Test:
    version, protocol = PROTOCOLS[word]
    return lambda flow: version in (None, flow.version) and protocol in (None, flow.protocol)


def _value_test(kind: str, direction: str, value: str) -> Test:
    if kind.startswith("port"):
        ports = _ports(kind, value)
        return _ends(direction, lambda flow: flow.source_port in ports, lambda flow: flow.destination_port in ports)
    network = _network(kind, value)
    first, last = int(network[0]), int(network[-1])
    version = network.version
    return _both(
        lambda flow: flow.version == version,
        _ends(direction, lambda flow: first <= flow.source <= last, lambda flow: first <= flow.destination <= last),
    )


def _ends(direction: str, source: Test, destination: Test) -> Test:
    return {"src": source, "dst": destination}.get(direction) or _either(source, destination)


def _ports(kind: str, value: str) -> range:
    first, _, last = value.partition("-") if kind == "portrange" else (value, "", value)
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) <= 65535):
        expected = "two numbers such as 8000-8010" if kind == "portrange" else "a number from 0 to 65535"
        raise FilterError(f"filter: {kind} needs {expected}, not {value!r}")
    return range(int(first), int(last) + 1)


def _network(kind: str, value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value) if kind == "net" else ip_network(ip_address(value))
    except ValueError:
        expected = "a prefix such as 198.18.0.0/24 (no host bits set)" if kind == "net" else "an IPv4 or IPv6 address"
        raise FilterError(f"filter: {kind} needs {expected}, not {value!r}") from None
