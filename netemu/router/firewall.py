"""A stateful firewall: rules in order, the first that matches decides, else the policy.

A rule is one line: ``allow``, ``deny`` (silence) or ``reject`` (RST for TCP, else ICMP administratively prohibited), then any of

    in PORT, out PORT          the router's port that the packet came in by, or leaves by; ``out self``: for the router itself
    proto tcp|udp|icmp|icmpv6|NUMBER
    src PREFIX, dst PREFIX     an address, or a prefix such as 10.0.0.0/8
    sport PORTS, dport PORTS   80, 8000-8080 or a list of such: 22,80,8000-8080; with proto tcp or udp only
    state STATES               of new, established, related, invalid, as in iptables(8) -m conntrack: established,related

in any order, each once: ``allow state established,related``, ``reject in wan out lan proto tcp dport 22``. The line ``policy
allow|deny|reject`` says what becomes of packets that no rule matches; it is allow where it is missing. Packets for the router
itself are looked at by rules with ``out self`` only, and the policy lets them be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network

from netemu.router.conntrack import STATES
from netemu.router.routes import Network
from netemu.router.transit import Transit
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP

ACTIONS = ("allow", "deny", "reject")
PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMPV6}
SELF = "self"
WORDS = ("in", "out", "proto", "src", "dst", "sport", "dport", "state")
Ranges = tuple[tuple[int, int], ...]


class FirewallError(ValueError):
    """What is wrong with a rule, in one line."""


@dataclass(slots=True)
class FirewallRule:
    """One rule; None or empty is anything. ``packets`` and ``bytes`` count what it matched."""

    text: str
    action: str
    port_in: str = ""
    port_out: str = ""
    protocol: int | None = None
    src: Network | None = None
    dst: Network | None = None
    sport: Ranges = ()
    dport: Ranges = ()
    states: frozenset[str] = frozenset()
    packets: int = field(default=0, compare=False)
    bytes: int = field(default=0, compare=False)

    def matches(self, transit: Transit, port_in: str, port_out: str, state: str) -> bool:
        flow = transit.flow
        return (
            (not self.port_in or self.port_in == port_in)
            and (self.port_out == port_out or not (self.port_out or port_out == SELF))
            and (self.protocol is None or self.protocol == flow.protocol)
            and (not self.states or state in self.states)
            and (self.src is None or _holds(self.src, flow.src))
            and (self.dst is None or _holds(self.dst, flow.dst))
            and (not self.sport or (transit.has_ports and _among(self.sport, flow.sport)))
            and (not self.dport or (transit.has_ports and _among(self.dport, flow.dport)))
        )


def _holds(prefix: Network, address: bytes) -> bool:
    size = prefix.max_prefixlen
    shift = size - prefix.prefixlen
    return len(address) * 8 == size and int.from_bytes(address, "big") >> shift == int(prefix.network_address) >> shift


def _among(ranges: Ranges, port: int) -> bool:
    return any(low <= port <= high for low, high in ranges)


def parse_rule(text: str) -> FirewallRule:
    """See the module; FirewallError."""
    action, *words = text.split() or [""]
    if action not in ACTIONS:
        raise FirewallError(f"firewall rule {text!r}: begins with allow, deny or reject, not {action!r}")
    given: dict[str, str] = {}
    for at in range(0, len(words), 2):
        word = words[at]
        if word not in WORDS:
            raise FirewallError(f"firewall rule {text!r}: {word!r} is none of {', '.join(WORDS)}")
        if word in given:
            raise FirewallError(f"firewall rule {text!r}: {word} is there twice")
        if at + 1 == len(words):
            raise FirewallError(f"firewall rule {text!r}: something has to follow {word!r}")
        given[word] = words[at + 1]
    try:
        return FirewallRule(
            " ".join((action, *words)),
            action,
            given.get("in", ""),
            given.get("out", ""),
            _protocol(given["proto"]) if "proto" in given else None,
            ip_network(given["src"]) if "src" in given else None,
            ip_network(given["dst"]) if "dst" in given else None,
            _ports("sport", given),
            _ports("dport", given),
            _states(given["state"]) if "state" in given else frozenset(),
        )
    except ValueError as error:
        raise FirewallError(f"firewall rule {text!r}: {error}") from None


def _protocol(word: str) -> int:
    if word in PROTOCOLS:
        return PROTOCOLS[word]
    if word.isascii() and word.isdecimal() and int(word) <= 255:
        return int(word)
    raise ValueError(f"proto {word!r}: give tcp, udp, icmp, icmpv6 or a number up to 255")


def _ports(word: str, given: dict[str, str]) -> Ranges:
    if word not in given:
        return ()
    if given.get("proto") not in ("tcp", "udp"):
        raise ValueError(f"{word} needs 'proto tcp' or 'proto udp'")
    return tuple(parse_range(part, word) for part in given[word].split(","))


def parse_range(text: str, name: str) -> tuple[int, int]:
    """(80, 80) of '80', (8000, 8080) of '8000-8080'; ValueError."""
    low, dash, high = text.partition("-")
    numbers = [int(n) if n.isascii() and n.isdecimal() and len(n) < 6 else -1 for n in (low, high if dash else low)]
    if not 0 <= numbers[0] <= numbers[1] <= 65535:
        raise ValueError(f"{name} {text!r}: give ports from 0 to 65535, such as 80 or 8000-8080")
    return numbers[0], numbers[1]


def _states(text: str) -> frozenset[str]:
    for state in text.split(","):
        if state not in STATES:
            raise ValueError(f"state {state!r}: give one or more of {','.join(STATES)}")
    return frozenset(text.split(","))


class Firewall:
    """The rules of one router."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        """FirewallError for the first line that is wrong."""
        self.rules: list[FirewallRule] = []
        self.policy = FirewallRule("policy allow", "allow")
        is_given = False
        for line in lines:
            if line.split()[:1] != ["policy"]:
                self.rules.append(parse_rule(line))
                continue
            if is_given:
                raise FirewallError(f"firewall rule {line!r}: the policy is there twice")
            is_given = True
            words = line.split()
            if len(words) != 2 or words[1] not in ACTIONS:
                raise FirewallError(f"firewall rule {line!r}: give 'policy allow', 'policy deny' or 'policy reject'")
            self.policy = FirewallRule(" ".join(words), words[1])

    def ports(self) -> set[str]:
        """The names of ports that its rules speak of."""
        return {name for rule in self.rules for name in (rule.port_in, rule.port_out)} - {"", SELF}

    def judge(self, transit: Transit, port_in: str, port_out: str, state: str) -> str:
        """One of ACTIONS for a packet; it is counted."""
        for rule in self.rules:
            if rule.matches(transit, port_in, port_out, state):
                break
        else:
            if port_out == SELF:
                return "allow"
            rule = self.policy
        rule.packets += 1
        rule.bytes += transit.ip.end
        return rule.action
