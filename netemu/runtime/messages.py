"""What an instance is told when it starts, and what it tells while it runs.

The control API sends these structs as JSON; the command line prints the very same fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from netemu.link.rules.row import RuleRow
from netemu.link.stats import DirectionRow
from netemu.router.row import RouterRow
from netemu.stack.row import Info, SocketRow
from netemu.stack.verdict import Answer, Candidate, Verdict

if TYPE_CHECKING:  # `netemu ss` must not wait for the stack to be imported
    from netemu.runtime.observer import Tap

__all__ = [
    "Answer",
    "AppRow",
    "Candidate",
    "Counters",
    "DirectionRow",
    "HostRow",
    "Info",
    "InstanceView",
    "LinkChange",
    "Question",
    "RouterRow",
    "RuleChange",
    "RuleRow",
    "SocketRow",
    "Status",
    "TunRow",
    "Verdict",
]  # fmt: skip


class AppRow(msgspec.Struct, frozen=True):
    name: str
    kind: str
    port: int
    protocols: list[str]
    span: int = 1
    """Ports that it takes, from ``port`` on."""
    prefixes: list[str] = []
    """Out of which it has addresses for itself, beside those of the host."""


class HostRow(msgspec.Struct, frozen=True):
    """An emulated host of the instance."""

    name: str
    addresses: list[str]
    mtu: int
    flavour: str
    apps: list[AppRow]


class TunRow(msgspec.Struct, frozen=True):
    """A TUN device of the instance."""

    name: str
    """Of the node, as links have it."""
    device: str
    addresses: list[str]
    """Of the kernel's end, with prefix."""
    mtu: int
    offload: bool
    netns: str | None


class Status(msgspec.Struct, frozen=True):
    name: str
    pid: int
    version: str
    tun: str
    """The first device, with its MTU and what follows from it; ``tuns`` has them all."""
    mtu: int
    offload: bool
    user: str
    addresses: list[str]
    """Of all emulated hosts, without prefix."""
    host_addresses: list[str]
    """Of the kernel's ends of all devices, with prefix."""
    started: float
    """Seconds since the epoch."""
    apps: list[AppRow]
    flavour: str = "linux"
    """Whose rules of bind, listen and delivery."""
    directory: str = ""
    """Where its control socket is, and its log when it was started with --detach."""
    seed: int = 0
    """All chance in it follows from this."""
    hosts: list[HostRow] = []
    tuns: list[TunRow] = []
    routers: list[str] = []
    links: list[str] = []


Counters = dict[str, dict[str, int]]
"""Group (match, drop, reset, close, ip …) to name to count."""


class Question(msgspec.Struct, frozen=True):
    """A packet that `netemu why` asks about, in words; what is None is as an existing connection's peer would have it now."""

    protocol: str
    src: str
    dst: str
    flags: str = ""
    seq: int | None = None
    ack: int | None = None
    length: int = 0


class LinkChange(msgspec.Struct, frozen=True):
    """What `netemu link set|add|reset` asks for."""

    action: str
    """set, add or reset"""
    words: list[str]
    """Of a link, as netemu.link.ways has them; of reset the directions."""
    link: str | None = None
    """None: the only one there is."""
    files: dict[str, str] = {}
    """The texts of files that words name."""


class RuleChange(msgspec.Struct, frozen=True):
    """What `netemu rule add|del` asks for."""

    rule: str = ""
    """The text of one that is added; '' for deletion."""
    before: int | None = None
    """The number of the rule that it comes before; None: last."""
    numbers: list[int] = []
    """Of those that are deleted; none: all."""
    link: str | None = None
    """None: the only one there is."""


class InstanceView(Protocol):
    """What the control API needs of a running instance; all of it answers at once."""

    name: str

    def status(self) -> Status: ...

    def sockets(self) -> list[SocketRow]: ...

    def counters(self) -> Counters: ...

    def why(self, question: Question) -> Verdict:
        """ValueError for a question that makes no sense."""

    def why_packet(self, data: bytes, length: int, sent: bool) -> Verdict:
        """``data``: from the IP header on, of ``length`` bytes on the wire. ``sent``: by the host."""

    def links(self) -> list[DirectionRow]: ...

    def change_link(self, change: LinkChange) -> list[DirectionRow]:
        """The link's rows after it; ValueError for what makes no sense."""

    def rules(self) -> list[RuleRow]: ...

    def routers(self) -> list[RouterRow]: ...

    def change_rules(self, change: RuleChange) -> list[RuleRow]:
        """The link's rules after it; ValueError for what makes no sense."""

    def add_tap(self, tap: Tap) -> None: ...

    def remove_tap(self, tap: Tap) -> None: ...

    def stop(self) -> None:
        """Ask for an orderly end."""
