"""What an instance is told when it starts, and what it tells while it runs.

The control API sends these structs as JSON; the command line prints the very same fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from netemu.stack.row import Info, SocketRow
from netemu.stack.verdict import Answer, Candidate, Verdict
from netemu.wire.packet import Packet

if TYPE_CHECKING:  # `netemu ss` must not wait for the apps to be imported
    from netemu.apps.registry import AppSpec

__all__ = [
    "Answer", "AppRow", "Candidate", "Counters", "Info", "InstanceConfig", "InstanceView", "Question", "SocketRow", "Status",
    "Tap", "Verdict",
]  # fmt: skip

Tap = Callable[[Packet, int, bool, str], None]
"""Sees a packet with its wall clock time (ns since the epoch), whether it is inbound, and what was decided about it."""


class InstanceConfig(msgspec.Struct, frozen=True):
    """What `netemu up` asks for, every value checked."""

    name: str
    tun: str
    mtu: int
    addresses: tuple[str, ...]
    """Of the emulated host, without prefix."""
    host_addresses: tuple[str, ...]
    """Of the kernel's end of the TUN, with prefix: 198.18.0.1/24."""
    apps: tuple[AppSpec, ...]
    pcap: str | None = None
    seed: int | None = None
    user: str | None = None
    """Who to be once the TUN is set up; None: whoever started it."""
    offload: bool = True
    shared: bool = False
    """Every user of the machine may attach apps, not only its own and root."""
    netns: str | None = None
    """A named network namespace for the TUN; None: the one we are in."""
    flavour: str = "linux"
    sysctl: dict[str, str] = {}


class AppRow(msgspec.Struct, frozen=True):
    name: str
    kind: str
    port: int
    protocols: list[str]
    span: int = 1
    """Ports that it takes, from ``port`` on."""


class Status(msgspec.Struct, frozen=True):
    name: str
    pid: int
    version: str
    tun: str
    mtu: int
    offload: bool
    user: str
    addresses: list[str]
    host_addresses: list[str]
    started: float
    """Seconds since the epoch."""
    apps: list[AppRow]
    flavour: str = "linux"
    """Whose rules of bind, listen and delivery."""
    directory: str = ""
    """Where its control socket is, and its log when it was started with --detach."""


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

    def add_tap(self, tap: Tap) -> None: ...

    def remove_tap(self, tap: Tap) -> None: ...

    def stop(self) -> None:
        """Ask for an orderly end."""
