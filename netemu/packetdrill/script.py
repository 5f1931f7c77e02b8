"""What a script says, line by line: the result of netemu.packetdrill.parse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from netemu.wire.tcp import ACK, SYN, flag_letters

SECOND = 1_000_000_000


class ScriptError(Exception):
    """The script cannot be understood, or asks for what makes no sense. ``line`` counts from 1; 0 for no line."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.line = line


class Time(NamedTuple):
    """When something happens. Times in ns; of a relative one, from the event before."""

    kind: str
    """'absolute', 'relative' or 'any'."""
    start: int = 0
    last: int | None = None
    """The end of a range a~b."""
    until: int | None = None
    """When a blocking call (a...b) returns; counted as ``start`` is."""


class IpWanted(NamedTuple):
    """What a packet's IP header shall say; None: anything (inbound: the default)."""

    ecn: int | None = None
    """The two bits; -1 for one of ect0 and ect1."""
    tos: int | None = None
    ttl: int | None = None
    flow_label: int | None = None


Option = tuple[object, ...]
"""('mss', 1460), ('nop',), ('TS', val, ecr), ('sack', ((left, right), …)), ('FO', cookie) … as netemu.packetdrill.options."""


class TcpLine(NamedTuple):
    inbound: bool
    ip: IpWanted
    flags: int
    seq: int
    end: int
    length: int
    ack: int | None = None
    win: int | None = None
    urg: int | None = None
    options: tuple[Option, ...] | None = ()
    """None for <...>: whatever there is."""

    @property
    def opens(self) -> bool:
        """A SYN without ACK."""
        return self.flags & (SYN | ACK) == SYN

    @property
    def letters(self) -> str:
        return flag_letters(self.flags & 0xFF)


class UdpLine(NamedTuple):
    inbound: bool
    ip: IpWanted
    length: int


class IcmpLine(NamedTuple):
    """An ICMP error, or ICMPv6 in a run over IPv6."""

    inbound: bool
    ip: IpWanted
    type: str
    code: str | None = None
    mtu: int | None = None
    quoted: tuple[int, int, int] | None = None
    """Sequence number, end and length of the TCP segment that it is about; None: the first byte of the flow."""
    udp: int | None = None
    """Length of the UDP datagram that it is about."""


# Expressions. Beside these: int, and str for a symbol.


class Ellipsis_(NamedTuple):
    """``...``: whatever is usual here."""


class Text(NamedTuple):
    """A string. ``more``: only the beginning is given."""

    value: bytes
    more: bool = False


class Or(NamedTuple):
    parts: tuple[object, ...]


class Array(NamedTuple):
    items: tuple[object, ...]


class Apply(NamedTuple):
    """``htons(8080)``."""

    name: str
    arguments: tuple[object, ...]


class Field(NamedTuple):
    """``name=value`` or ``name(count)=value`` of a struct; ``name`` is None for a bare value."""

    name: str | None
    value: object


class Struct(NamedTuple):
    fields: tuple[Field, ...]

    def get(self, name: str, default: object = None) -> object:
        for found in self.fields:
            if found.name == name:
                return found.value
        return default

    def at(self, index: int) -> object:
        """The value of the field at this place, whatever its name."""
        return self.fields[index].value if index < len(self.fields) else None


ELLIPSIS = Ellipsis_()


class Call(NamedTuple):
    name: str
    arguments: tuple[object, ...]
    result: object
    errno: str | None = None
    note: str = ""


class Code(NamedTuple):
    """``%{ python }%``."""

    source: str


class Command(NamedTuple):
    """What stands between backticks."""

    text: str


Action = TcpLine | UdpLine | IcmpLine | Call | Code | Command


@dataclass(slots=True)
class Event:
    line: int
    start: int
    """Offset in the source, for ``Script.text_of``."""
    time: Time | None
    """None: a command before or behind all events, which takes no time."""
    action: Action


@dataclass(slots=True)
class Script:
    path: str
    source: str
    options: list[tuple[str, str, int]] = field(default_factory=list)
    """(name without dashes, value, line)."""
    events: list[Event] = field(default_factory=list)

    def text_of(self, event: Event) -> str:
        """The event as it is written, in one line."""
        later = [e.start for e in self.events if e.start > event.start]
        text = self.source[event.start : min(later, default=len(self.source))]
        lines = (line.split("//")[0] if "`" not in line else line for line in text.splitlines())
        return " ".join(" ".join(lines).split())
