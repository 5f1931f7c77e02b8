"""Anchors of connections: the two ways between one and its descriptor."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from typing import TYPE_CHECKING

from netemu.reasons import Close, Reset
from netemu.runtime.broker.anchor import Anchor, is_hung_up, waiting
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp import receiver
from netemu.tcp.connection import CONNECTED, ENDED, READABLE, WRITABLE, Connection
from netemu.tcp.state import CAN_SEND, State

if TYPE_CHECKING:
    from netemu.runtime.broker.broker import Broker

AT_ONCE = 512 << 10
"""Bytes taken from one app before the others get their turn. With 64 kB a download cost half as much time again."""
SNDBUF = 1 << 20
"""Of a connection whose app has not set SO_SNDBUF, bytes. Twice the host's: the app is woken less often. A download gained a
third by it (14.5 to 19.5 Gbit/s)."""
PIECES = 64
"""Received chunks handed to the kernel in one call."""
_HANGUP = select.EPOLLHUP | select.EPOLLERR


class StreamAnchor(Anchor):
    """A connection, from connect or accept to its end."""

    __slots__ = ("_connection", "_eof_told", "_fill", "_half_closed", "_hung_up", "_is_reset", "_paused", "_shut_both")
    sock: StreamSocket
    rank = 2

    def __init__(self, broker: Broker, sock: StreamSocket, is_connecting: bool) -> None:
        assert sock.connection is not None
        self._connection: Connection = sock.connection
        self._fill = 2 if is_connecting else 1
        """Bytes at the front of our queue that are no data; one of them once the connection is there."""
        self._half_closed = self._hung_up = self._is_reset = self._paused = self._eof_told = self._shut_both = False
        super().__init__(broker, sock, socket.SOCK_STREAM)
        self.end.setsockopt(
            socket.SOL_SOCKET, socket.SO_OOBINLINE, 1
        )  # MSG_OOB is data like all other (RFC 6093 section 4)
        if not sock.sndbuf:
            self._connection.sndbuf = SNDBUF

    def prepare(self, other: socket.socket) -> None:
        """A connection's end is unwritable until the handshake is done: more than a quarter of its buffer is full."""
        super().prepare(other)
        if self._fill > 1:
            self._fill = other.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) * 5 // 16
        other.sendall(bytes(self._fill))

    @property
    def state(self) -> str:  # type: ignore[override]  # a constant elsewhere
        return "connecting" if self._fill > 1 else "connected"

    @property
    def has_ended(self) -> bool:
        return self._connection.state is State.CLOSED

    # -- from the stack -------------------------------------------------------------------------------------------------------

    def on_event(self, events: int) -> None:
        if self._fill > 1:
            if events & CONNECTED:
                self.opened()
            elif events & ENDED:
                self.opened()  # writable, and SO_ERROR tells that it failed
                return
        if events & (READABLE | ENDED):
            self._to_app()
        if events & WRITABLE and self._paused and self._connection.writable_bytes >= self._connection.sndbuf >> 1:
            self._paused = False
            self._from_app()
        if events & ENDED:
            self._consider_end()

    def opened(self) -> None:
        """The handshake is over: the descriptor becomes writable."""
        while self._fill > 1:
            self._fill -= len(self.end.recv(self._fill - 1))

    def _to_app(self) -> None:
        """Hand received bytes to the kernel, as many as it takes; what it does not keeps the window closed."""
        c = self._connection
        try:
            while c.received and not self.app_gone:
                c.consume(self.end.sendmsg(c.received[:PIECES]))
        except BlockingIOError:
            pass
        except OSError:
            if not is_hung_up(self.end):  # it reads no more (SHUT_RD): nobody will; closed, it was not read (SHLD-3)
                c.consume(c.received_bytes)
        receiver.consider_window_update(c)
        if c.ack_now:
            self.sock.host.wake(c)
        if c.at_eof and not self._eof_told and not self.app_gone:
            self._eof_told = True
            self.end.shutdown(socket.SHUT_WR)

    # -- from the app ---------------------------------------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        if events & _HANGUP and self._fill > 1:
            self.broker.close(self)  # nobody waits for the handshake any more
            return
        if events & _HANGUP and not self._hung_up:
            self._hung_up = self._half_closed = True
            self.broker.hear_out(self.pid)
            if self.end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET:
                self._unread()
                return
        elif events & select.EPOLLRDHUP:
            self._half_closed = True
        if events & select.EPOLLOUT and self._connection.received:
            self._to_app()
            self._consider_end()
        self._from_app()

    def _from_app(self) -> None:
        """Take what the app wrote into the send buffer, as far as there is room; then its end, if it has shut or closed."""
        c = self._connection
        if self._fill > 1 or self.app_gone or (self._paused and c.state in CAN_SEND):
            return
        available = waiting(self.end) - 1
        room = c.writable_bytes if c.state in CAN_SEND else 0
        size = min(available, room, AT_ONCE)
        if size > 0:
            try:
                size = self._take(size)
            except BlockingIOError:  # less is there than the kernel said
                return
        elif available > 0 and c.state not in CAN_SEND:
            self._discard(available)
            available = size = 0
        if available > size:
            if room > size:
                self.broker.again(self)  # others first
            else:
                self._paused = True
        elif self._half_closed:
            self._app_is_done()

    def _take(self, limit: int) -> int:
        """The byte that lay there is of no use; the last one of ours stays, and is known by a look. The number of new ones."""
        c = self._connection
        taken = self.end.recv(limit)
        if len(taken) > 1:
            c.write(memoryview(taken)[1:])
        c.write(self.end.recv(1, socket.MSG_PEEK))
        self.sock.host.wake(c)
        return len(taken)

    def _discard(self, size: int) -> None:
        """The connection takes no more: as the kernel does with what is written after a reset."""
        while size > 0:
            size -= len(self.end.recv(min(size, AT_ONCE)))

    def _app_is_done(self) -> None:
        if self._hung_up:
            self.hung_up()
        elif self._connection.state in CAN_SEND:
            self.sock.shutdown(socket.SHUT_WR)

    @property
    def is_closing(self) -> bool:
        """The app has closed it, and not all that it wrote is taken."""
        return self._hung_up

    # -- the end --------------------------------------------------------------------------------------------------------------

    def shut_both(self) -> None:
        """The app is about to shut both directions down; what it has not read is no reason for a reset then."""
        self._shut_both = True

    def _unread(self) -> None:
        """The app closed with data unread: so did the socket (RFC 9293 SHLD-3)."""
        c = self._connection
        self.app_gone = True
        if self._shut_both:
            self._close()
        else:
            c.orphan = True
            c.abort(Reset.UNREAD_DATA)
            self.sock.host.wake(c)
            self.broker.close(self)

    def hung_up(self) -> None:
        """The descriptor is gone and all that was written is taken. A process that died loses its connections.

        Or both directions are shut, which looks the same: then nothing is left to be done through it either.
        """
        self.app_gone = True
        if not self.deliberate and self.broker.is_dying(self.pid) and self._connection.state in CAN_SEND:
            self.sock.abort()
            self.broker.close(self)
        else:
            self._close()

    def _close(self) -> None:
        if self._shut_both:
            self._connection.consume(self._connection.received_bytes)
        self.broker.close(self)

    def _consider_end(self) -> None:
        """The connection has ended, and the app has got all that came: tell it how."""
        c = self._connection
        if self.app_gone or c.received or c.state not in (State.CLOSED, State.TIME_WAIT):
            return
        if c.state is State.CLOSED and c.close_reason is not Close.NORMAL:
            self._is_reset = True
            self.broker.remember(self, c.error)
            self.broker.close(self)
        elif not self._eof_told:
            self._eof_told = True
            self.end.shutdown(socket.SHUT_WR)

    def condemn(self) -> None:
        self._is_reset = True
        self.detach()
        self.sock.abort()

    def detach(self) -> None:
        """With a byte unread the app is told of a reset; else it reads what there is, and then the end."""
        if not self._is_reset:
            with contextlib.suppress(OSError):
                self.end.recv(self._fill)
        super().detach()
