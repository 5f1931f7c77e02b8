"""What a network shall consist of: data, checked by whoever made it (the options of `netemu up`, or a scenario's file).

``netemu.runtime.assemble`` makes it real, on TUN devices or in virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from netemu.apps.registry import AppSpec
from netemu.link.impairments import CLEAR, Impairments
from netemu.link.rules.rule import Rule
from netemu.runtime.network import Network, Router


@dataclass(frozen=True)
class HostPlan:
    """An emulated host; it has one link."""

    name: str
    addresses: tuple[str, ...]
    """With prefix where it is known: 198.18.0.2/24."""
    mtu: int = 1500
    flavour: str = "linux"
    sysctl: Mapping[str, str] = field(default_factory=dict)
    apps: tuple[AppSpec, ...] = ()


@dataclass(frozen=True)
class TunPlan:
    """A TUN device, behind which real programs are; it has one link."""

    name: str
    """Of the node."""
    device: str
    addresses: tuple[str, ...] = ()
    """Of the kernel's end, with prefix."""
    routes: tuple[str, ...] = ()
    """Prefixes that the kernel sends here, beside those of its addresses."""
    mtu: int = 1500
    offload: bool = True
    netns: str | None = None
    """A named network namespace; None: the one we are in."""
    makes_netns: bool = False
    """It is made when it is not there, and removed in the end; without a name it is for our own commands."""


@dataclass(frozen=True)
class RouterPlan:
    name: str
    ports: int
    make: Callable[[int], Router]
    """Given a seed, makes a router whose ports are numbered as its links come in the plan."""


@dataclass(frozen=True)
class LinkPlan:
    name: str
    ends: tuple[str, str]
    """Names of nodes; a router's next free port is taken."""
    inward: Impairments = CLEAR
    """Towards the second end."""
    outward: Impairments = CLEAR
    rules: tuple[Rule, ...] = ()
    """Before the link, in this order; each says for which direction it is."""


@dataclass(frozen=True)
class Step:
    """Something that happens at ``at``, ns after the start."""

    at: int
    text: str
    """For people."""
    do: Callable[[Network], None]


@dataclass(frozen=True)
class Plan:
    """``seed``: all chance follows from it."""

    hosts: tuple[HostPlan, ...] = ()
    tuns: tuple[TunPlan, ...] = ()
    routers: tuple[RouterPlan, ...] = ()
    links: tuple[LinkPlan, ...] = ()
    steps: tuple[Step, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class InstanceConfig:
    """What `netemu up` asks for, every value checked."""

    name: str
    plan: Plan
    pcap: str | None = None
    user: str | None = None
    """Who to be once the TUN is set up; None: whoever started it."""
    shared: bool = False
    """Every user of the machine may attach apps, not only its own and root."""
