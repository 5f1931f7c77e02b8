"""How a NAT behaves, in the words of RFC 4787, 5382 and 5508.

Keys of a ``nat`` table, as in a scenario file; only ``inside`` has to be there:

    inside = ["lan"]                      ports behind the NAT; all others are outside
    mapping = "endpoint-independent"      or "address-dependent", "address-and-port-dependent" (RFC 4787 4.1): for whom an
                                          inside endpoint keeps its outside endpoint
    filtering = "address-and-port-dependent"  the same three (RFC 4787 5): who outside may use an outside endpoint
    hairpinning = true                    inside hosts may meet at their outside endpoints (REQ-9)
    port_preservation = true              the outside port is the inside one where that is free (4.2.1)
    port_parity = false                   an even port gets an even one (4.2.2)
    port_range = "1024-65535"             outside ports to choose from
    inbound_refresh = false               packets from outside keep a mapping of UDP or ICMP alive as well (REQ-6)
    udp_timeout = "300s", tcp_established_timeout = "2h4min", tcp_transitory_timeout = "4min", icmp_timeout = "60s"
    unsolicited_syn = "6s"                until a SYN nobody asked for gets port unreachable; "drop": never (RFC 5382 REQ-4)
    forward = ["tcp:8080 -> 10.0.2.2:80"] outside ports that lead to an inside host (tcp or udp)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from netemu.router.conntrack import SECOND, Timeouts
from netemu.router.firewall import parse_range
from netemu.router.transit import Endpoint
from netemu.wire.ip import TCP, UDP, parse_address, text_port

ENDPOINT, ADDRESS, ADDRESS_AND_PORT = "endpoint-independent", "address-dependent", "address-and-port-dependent"
BEHAVIOURS = (ENDPOINT, ADDRESS, ADDRESS_AND_PORT)
NAMES = {TCP: "tcp", UDP: "udp"}
_UNITS = {"ms": SECOND // 1000, "s": SECOND, "min": 60 * SECOND, "h": 3600 * SECOND}
_TIME = re.compile(r"(?:\d+(?:ms|min|s|h))+")
_TIMEOUTS = {f"{name}_timeout": name for name in ("udp", "tcp_established", "tcp_transitory", "icmp")}


class NatError(ValueError):
    """What is wrong with a key, in one line."""


class Forward(NamedTuple):
    """An outside port that leads inside (DNAT)."""

    protocol: int
    port: int
    inside: Endpoint

    def __str__(self) -> str:
        return f"{NAMES[self.protocol]}:{self.port} -> {text_port(*self.inside)}"


@dataclass(frozen=True, slots=True)
class NatConfig:
    """See the module."""

    inside: frozenset[str]
    mapping: str = ENDPOINT
    filtering: str = ADDRESS_AND_PORT
    hairpinning: bool = True
    port_preservation: bool = True
    port_parity: bool = False
    port_range: tuple[int, int] = (1024, 65535)
    inbound_refresh: bool = False
    unsolicited_syn: int | None = 6 * SECOND
    """ns; None: never answered."""
    forward: tuple[Forward, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)


KEYS = (*(key.name for key in fields(NatConfig) if key.name != "timeouts"), *_TIMEOUTS)


def parse_nat(table: Mapping[str, object]) -> NatConfig:
    """See the module; NatError names the key."""
    for key in table:
        if key not in KEYS:
            raise NatError(f"nat: {key!r} is none of {', '.join(KEYS)}")
    if "inside" not in table:
        raise NatError('nat: say which ports are behind it, such as inside = ["lan"]')
    values: dict[str, object] = {}
    timeouts: dict[str, int] = {}
    for key, value in table.items():
        try:
            if key in _TIMEOUTS:
                timeouts[_TIMEOUTS[key]] = parse_time(value)
            else:
                values[key] = _value(key, value)
        except ValueError as error:
            raise NatError(f"nat: {key}: {error}") from None
    return NatConfig(**values, timeouts=Timeouts(**timeouts))  # type: ignore[arg-type]  # each has the type of its key by now


def _value(key: str, value: object) -> object:
    if key == "inside":
        if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
            raise ValueError('give a list of ports, such as ["lan"]')
        return frozenset(value)
    if key == "forward":
        if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
            raise ValueError('give a list, such as ["tcp:8080 -> 10.0.2.2:80"]')
        return _forwards(value)
    if key in ("mapping", "filtering"):
        if value not in BEHAVIOURS:
            raise ValueError(f"{value!r} is none of {', '.join(BEHAVIOURS)}")
        return value
    if key == "port_range":
        low, high = parse_range(str(value), "ports")
        if not low:
            raise ValueError("port 0 cannot be given out; begin with 1")
        return low, high
    if key == "unsolicited_syn":
        return None if value == "drop" else parse_time(value)
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def parse_time(text: object) -> int:
    """ns of '300s', '4min', '2h4min', '500ms'; ValueError."""
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is no time; give one with its unit (ms, s, min, h), such as 300s or 2h4min")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|min|s|h)", text))


def _forwards(lines: list[str]) -> tuple[Forward, ...]:
    forwards = tuple(parse_forward(line) for line in lines)
    for at, one in enumerate(forwards):
        for other in forwards[:at]:
            if one[:2] == other[:2]:
                raise ValueError(f"{one} and {other} are for one and the same port")
    return forwards


def parse_forward(text: str) -> Forward:
    """'tcp:8080 -> 10.0.2.2:80'; ValueError."""
    found = re.fullmatch(r"(tcp|udp):(\d{1,5})\s*->\s*([0-9.]+):(\d{1,5})", text.strip())
    try:
        if found is None:
            raise ValueError
        port, inside = int(found[2]), Endpoint(parse_address(found[3]), int(found[4]))
        if not (0 < port <= 65535 and 0 < inside.port <= 65535):
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is not PROTOCOL:PORT -> ADDRESS:PORT, such as tcp:8080 -> 10.0.2.2:80") from None
    return Forward(TCP if found[1] == "tcp" else UDP, port, inside)
