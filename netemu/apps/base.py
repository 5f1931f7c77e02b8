"""What a built-in service sees of the world.

An app is written against asyncio's Protocol and Transport shapes, so the very same class runs on the real TUN and in virtual
time. Times are integers in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, NamedTuple, Protocol

from netemu.wire.buffer import Buffer

if TYPE_CHECKING:
    from netemu.apps.bend import Bend
    from netemu.stack.stream_socket import StreamSocket

Address = tuple[str, int]
"""(address, port), as socket.getsockname() has it for IPv4; IPv6 addresses are plain strings too."""
Network = IPv4Network | IPv6Network


class Transport(Protocol):
    """A connection as its app sees it (asyncio.Transport's words)."""

    def write(self, data: Buffer) -> None:
        """Queue bytes that the caller will not change any more. Never blocks; mind pause_writing."""

    def write_eof(self) -> None:
        """Send a FIN once all that was written is sent; reading goes on."""

    def close(self) -> None:
        """Close in good order: all that was written arrives, then a FIN."""

    def abort(self) -> None:
        """Close at once with a RST."""

    def is_closing(self) -> bool: ...

    def pause_reading(self) -> None:
        """No more data_received until resume_reading; the receive window closes when the buffer is full."""

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        """Bytes written that the peer has not acknowledged."""

    def get_extra_info(self, name: str) -> object:
        """'peername' and 'sockname': (address, port). 'socket': the stack's own (netemu.stack.stream_socket)."""


class StreamProtocol(Protocol):
    """A service's side of one TCP connection."""

    def connection_made(self, transport: Transport) -> None: ...

    def data_received(self, data: Buffer) -> None:
        """Some bytes arrived. ``data`` may be a memoryview: copy it to keep it."""

    def eof_received(self) -> bool | None:
        """The peer sent its FIN. Return true to keep our direction open, else the transport closes."""

    def connection_lost(self, error: OSError | None) -> None:
        """The end, called once: None after a close in good order, else what a socket call would raise."""

    def pause_writing(self) -> None:
        """The write buffer is full: stop writing until resume_writing."""

    def resume_writing(self) -> None: ...


class DatagramTransport(Protocol):
    """A UDP socket as its app sees it."""

    def sendto(self, data: Buffer, address: Address) -> None: ...


class DatagramProtocol(Protocol):
    """A service's side of one UDP socket."""

    def connection_made(self, transport: DatagramTransport) -> None: ...

    def datagram_received(self, data: bytes, address: Address) -> None: ...


class Clock(Protocol):
    """The time an app lives in: real, or virtual in a simulation."""

    def time(self) -> float:
        """Seconds since the epoch, for people (a Date header, the daytime service)."""

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> None:
        """Run ``call`` after ``delay_ns`` nanoseconds."""


class Service(NamedTuple):
    """What an app does at one port."""

    port: int
    stream: Callable[[], StreamProtocol] | None
    """Makes the protocol object of a connection; None: nothing listens there."""
    datagram: Callable[[], DatagramProtocol] | None = None
    prepare: Callable[[StreamSocket], None] | None = None
    """Sets what is special about the listening socket, before it listens; connections inherit it."""
    accepts: bool = True
    """False: the accept queue is full from the start, and nobody takes anything from it."""
    rules: tuple[str, ...] = ()
    """What is done to the packets of this port between host and device: 'in: …' (towards the host) or 'out: …', and a rule as
    `netemu rule add` takes it."""
    bend: Callable[[], Bend] | None = None
    """Makes what bends the packets of a connection."""
    address: str = ""
    """One that the host gets for this alone, out of its app's ``prefixes``; '': all others that it has."""


class App:
    """One configured service: makes a protocol object per connection and, where it speaks UDP, one for its datagram socket.

    Subclasses set ``kind``, ``port`` and ``summary``, take their options from ``options`` in ``__init__`` and raise UsageError
    for one that they do not know or cannot take.
    """

    kind: str
    """The word after NAME= in --app."""
    port: int
    """The default port."""
    span = 1
    """How many ports it takes: this one and those that follow."""
    summary: str
    """One line for people."""
    udp = False
    """Serves UDP on the same port too."""

    @classmethod
    def prefixes(cls, options: Mapping[str, str]) -> tuple[Network, ...]:
        """Out of which its host gets addresses for it alone. UsageError."""
        return ()

    def __init__(self, options: Mapping[str, str], clock: Clock) -> None:
        self.clock = clock

    def services(self, port: int) -> Iterable[Service]:
        """What it does at each of its ports, of which ``port`` is the first."""
        return [Service(port, self.stream, self.datagram if self.udp else None)]

    def stream(self) -> StreamProtocol:
        """A fresh protocol object for one connection."""
        raise TypeError(f"{self.kind} does not serve TCP")

    def datagram(self) -> DatagramProtocol:
        """The protocol object for the UDP socket; only asked for where ``udp`` is true."""
        raise TypeError(f"{self.kind} does not serve UDP")


class UsageError(Exception):
    """A wrong option or value; its text is one line that says what to do (the command exits with status 2)."""
