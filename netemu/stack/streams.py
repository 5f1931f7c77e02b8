"""Apps of asyncio.Protocol's shape on a host's sockets; the same in real and in virtual time.

Backpressure: a protocol that pauses reading leaves the data in the receive buffer, so the window closes; one that writes more
than the send buffer takes is told to pause.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.sockets import Address, Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp import receiver
from netemu.tcp.connection import ENDED, READABLE, WRITABLE, Connection
from netemu.tcp.state import CAN_SEND, State
from netemu.wire.buffer import Buffer

if TYPE_CHECKING:
    from netemu.stack.host import Host

BACKLOG = 1024


class StreamProtocol(Protocol):
    """What is told to a service (netemu.apps.base.StreamProtocol says when)."""

    def connection_made(self, transport: Stream, /) -> None: ...
    def data_received(self, data: Buffer, /) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, error: OSError | None, /) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class DatagramProtocol(Protocol):
    def connection_made(self, transport: Datagrams, /) -> None: ...
    def datagram_received(self, data: bytes, address: Address, /) -> None: ...


class Stream:
    """The transport of one connection (asyncio.Transport's shape)."""

    __slots__ = (
        "_closing",
        "_connection",
        "_ended",
        "_eof_told",
        "_lost",
        "_protocol",
        "_reading",
        "_socket",
        "_writing_paused",
    )

    def __init__(self, socket: StreamSocket, protocol: StreamProtocol) -> None:
        assert socket.connection is not None
        self._socket = socket
        self._connection: Connection = socket.connection
        self._protocol = protocol
        self._reading = True
        self._writing_paused = self._closing = self._eof_told = self._ended = self._lost = False
        socket.on_event = self._on_event
        protocol.connection_made(self)
        if self._connection.received or self._connection.fin_received:
            socket.host.notify(socket, READABLE)

    # -- what happens -----------------------------------------------------------------------------------------------------

    def _on_event(self, socket: Socket, events: int) -> None:
        if events & ENDED:
            self._ended = True
        if events & READABLE and self._reading:
            self._read()
        if events & WRITABLE and self._writing_paused and not self._ended:
            self._consider_resuming()
        if self._ended and (self._closing or not self._connection.received):
            self._lose()  # not before all that was acknowledged has been read

    def _read(self) -> None:
        c = self._connection
        while c.received and self._reading and not self._closing:
            data = c.received.pop(0)  # a handful at most: the list is as long as a batch
            c.received_bytes -= len(data)
            self._protocol.data_received(data)
        if self._closing:
            return
        receiver.consider_window_update(c)
        if c.ack_now:
            self._socket.host.wake(c)
        if c.at_eof and not self._eof_told and self._reading:
            self._eof_told = True
            if not self._protocol.eof_received():
                self.close()

    def _consider_resuming(self) -> None:
        c = self._connection
        if len(c.sendbuf) <= c.sndbuf >> 1 and c.state in CAN_SEND and not self._closing:
            self._writing_paused = False
            self._protocol.resume_writing()

    def _lose(self) -> None:
        """Tell the protocol of the end, once."""
        if self._lost:
            return
        self._lost = self._closing = True
        number = self._connection.error if self._connection.state is State.CLOSED else 0
        self._socket.on_event = None
        if not self._connection.orphan:
            self._socket.close()
        protocol, self._protocol = self._protocol, _NOBODY
        reason = self._connection.close_reason
        protocol.connection_lost(OSError(number, reason.value if reason else "") if number else None)

    # -- asyncio.Transport ------------------------------------------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        """Queue ``data``, which the caller will not change; calls pause_writing when the buffer is full."""
        c = self._connection
        open_ = c.state in CAN_SEND and not self._closing
        if open_ and data:
            c.write(data)
            if not c.queued:
                self._socket.host.wake(c)
        if not self._writing_paused and (len(c.sendbuf) > c.sndbuf or not open_):
            # a connection that takes nothing any more counts as full, or an app that writes until it is told to pause never ends
            self._writing_paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """FIN behind what was written."""
        if not self._closing and self._connection.state in CAN_SEND:
            self._socket.shutdown(so.SHUT_WR)

    def close(self) -> None:
        """No more reading; all that was written still goes out, then the FIN."""
        if self._closing:
            return
        self._closing = True
        self._socket.close()
        # the protocol learns of the end at the next dispatch, not from inside its own call
        self._socket.on_event = self._on_event
        self._socket.host.notify(self._socket, ENDED)

    def abort(self) -> None:
        """RST, now."""
        if self._lost:
            return
        self._closing = True
        self._socket.abort()
        self._socket.on_event = self._on_event
        self._socket.host.notify(self._socket, ENDED)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            if not self._closing:
                self._socket.host.notify(self._socket, READABLE)

    def get_write_buffer_size(self) -> int:
        return len(self._connection.sendbuf)

    def get_extra_info(self, name: str) -> object:
        if name == "peername":
            return self._socket.getpeername()
        if name == "socket":
            return self._socket
        return self._socket.getsockname() if name == "sockname" else None


class _Nobody:
    """Whom a transport talks to after connection_lost, so that protocol and transport do not keep each other alive."""

    def connection_made(self, transport: Stream, /) -> None:
        pass

    def data_received(self, data: Buffer, /) -> None:
        pass

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, error: OSError | None, /) -> None:
        pass

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


_NOBODY = _Nobody()


class Datagrams:
    """The transport of one UDP socket. An answer leaves from the address that was asked (RFC 1123 2.3's wish)."""

    __slots__ = ("_asked", "_protocol", "_socket")

    def __init__(self, socket: DatagramSocket, protocol: DatagramProtocol) -> None:
        self._socket = socket
        self._protocol = protocol
        self._asked: bytes | None = None
        socket.on_event = self._on_event
        protocol.connection_made(self)

    def _on_event(self, socket: Socket, events: int) -> None:
        while self._socket.poll() & READABLE:
            try:
                data, address, self._asked = self._socket.recvfrom_to(65535)
            except OSError:
                continue  # a pending ICMP error, reported once
            self._protocol.datagram_received(data, address)
        self._asked = None

    def sendto(self, data: Buffer, address: Address) -> None:
        if address[0] in ("0.0.0.0", "::ffff:0.0.0.0"):
            return  # a host without an address asked everybody; as a destination that would be ourselves
        try:
            self._socket.sendto(data, address, self._asked)
        except OSError:
            return  # UDP promises nothing: too big, or no way there


def serve_stream(
    host: Host,
    make: Callable[[], StreamProtocol],
    port: int,
    *,
    app: str,
    family: int = so.AF_INET6,
    address: str = "",
    v6only: bool = False,
    backlog: int = BACKLOG,
    uid: int = 0,
    prepare: Callable[[StreamSocket], None] | None = None,
) -> StreamSocket:
    """Listen on ``port`` for an app and give every connection a protocol object of its own. OSError as bind and listen.

    By default at all addresses of both families, by one dual-stack socket. ``prepare`` may set options before it listens.
    """
    listening = StreamSocket(host, family, app, uid)

    def on_event(_: Socket, events: int) -> None:
        while listening.listener is not None and listening.listener.accepted:
            child = listening.accept()[0]
            connection = child.connection
            if connection is not None:
                connection.nodelay = child.nodelay = True
                Stream(child, make())

    try:
        listening.setsockopt(so.SOL_SOCKET, so.SO_REUSEADDR, 1)
        listening.v6only = v6only
        if prepare is not None:
            prepare(listening)
        listening.bind((address, port))
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    listening.on_event = on_event
    return listening


def serve_datagrams(
    host: Host,
    protocol: DatagramProtocol,
    port: int,
    *,
    app: str,
    family: int = so.AF_INET6,
    address: str = "",
    v6only: bool = False,
    uid: int = 0,
) -> DatagramSocket:
    """Bind ``port`` for an app's UDP side. OSError as bind."""
    socket = DatagramSocket(host, family, app, uid)
    socket.v6only = v6only
    try:
        socket.bind((address, port))
    except OSError:
        socket.close()
        raise
    Datagrams(socket, protocol)
    return socket
