"""A scenario: hosts, TUNs and routers, the links between them, and what happens when. Data only, checked by the reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from netemu.apps.base import Network
from netemu.apps.registry import AppSpec
from netemu.link.impairments import CLEAR, Impairments
from netemu.link.rules.rule import Rule
from netemu.scenario.files import Files

Interface = IPv4Interface | IPv6Interface

DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True)
class Host:
    """An emulated host: netemu's own TCP/IP, its addresses, apps and socket table."""

    name: str
    addresses: tuple[Interface, ...]
    apps: tuple[AppSpec, ...] = ()
    flavour: str = "linux"
    sysctl: Mapping[str, str] = field(default_factory=dict)
    mtu: int = DEFAULT_MTU

    @property
    def prefixes(self) -> tuple[Network, ...]:
        """Out of which its apps have addresses for themselves."""
        return tuple(prefix for app in self.apps for prefix in app.prefixes)


@dataclass(frozen=True, slots=True)
class Tun:
    """A TUN device of the machine; whoever is behind it is real."""

    name: str
    """Of the device too."""
    addresses: tuple[Interface, ...]
    """The kernel's."""
    namespace: str | None = None
    """A named network namespace, made if it is not there; None: the one that netemu runs in."""
    mtu: int = DEFAULT_MTU


@dataclass(frozen=True, slots=True)
class Router:
    """Forwards between its links; its ports' addresses stand at the ends of those."""

    name: str
    routes: tuple[str, ...] = ()
    """Those that are written (netemu.router.routes), over those of the graph. Each port is called as its link."""
    nat: Mapping[str, object] | None = None
    firewall: tuple[str, ...] = ()


Node = Host | Tun | Router


@dataclass(frozen=True, slots=True)
class End:
    """Where a link meets a node, with the addresses that the node has there."""

    node: str
    addresses: tuple[Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    name: str
    first: End
    second: End
    inward: Impairments = CLEAR
    """To the second end."""
    outward: Impairments = CLEAR
    """To the first end."""
    rules: tuple[Rule, ...] = ()
    """What they `call` is only known to be there; whoever builds the network finds it."""
    cost_in: int = 1
    """Of a path that goes to the second end."""
    cost_out: int = 1

    @property
    def ends(self) -> tuple[End, End]:
        return self.first, self.second


@dataclass(frozen=True, slots=True)
class Change:
    """Something happens to a link."""

    time: int
    """ns after the start."""
    link: str
    action: str
    """'set', 'add', 'down', 'up', 'reset' or 'rule'."""
    text: str
    """The words of 'set' and 'add' ('[in|out|both] WORDS', as `netemu link` takes them), the rule, or the direction that is
    put down, up, or back to how it was at the start: 'in', 'out' or 'both'."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """All of a file."""

    source: str
    """The file, as it was named."""
    title: str = ""
    seed: int | None = None
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """In the order of the file: hosts, TUNs, routers."""
    links: Mapping[str, Link] = field(default_factory=dict)
    timeline: tuple[Change, ...] = ()
    """In the order of time."""
    script: str | None = None
    """FILE:FUNCTION that is given the network once it is built."""
    files: Files = field(default_factory=lambda: Files(Path()), compare=False, repr=False)
    """What it names."""

    def hosts(self) -> list[Host]:
        return [node for node in self.nodes.values() if isinstance(node, Host)]

    def tuns(self) -> list[Tun]:
        return [node for node in self.nodes.values() if isinstance(node, Tun)]

    def routers(self) -> list[Router]:
        return [node for node in self.nodes.values() if isinstance(node, Router)]

    def links_of(self, node: str) -> list[Link]:
        return [link for link in self.links.values() if node in (link.first.node, link.second.node)]
