"""Anchors of listeners and UDP sockets: messages, one at a time.

The next is put into the descriptor once the last was taken; until then it counts as waiting in the stack, so that backlog and
SO_RCVBUF mean what they say. Whoever shares the descriptor (after fork, or by SCM_RIGHTS) takes from the same mailbox, each
message once.
"""

from __future__ import annotations

import select
import socket
from abc import abstractmethod
from typing import TYPE_CHECKING

import msgspec

from netemu.runtime.broker.anchor import Anchor, is_taken
from netemu.runtime.broker.protocol import Accepted, Arrived, Poke
from netemu.runtime.broker.stream import StreamAnchor
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.names import shown
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.connection import ENDED, READABLE

if TYPE_CHECKING:
    from netemu.runtime.broker.broker import Broker

_HANGUP = select.EPOLLHUP | select.EPOLLERR
RETRY_NS = 50_000_000
"""When the kernel has too many descriptors under way (ETOOMANYREFS)."""

ANCILLARY_ROOM = 1024
"""Bytes; more than all that UDP has to tell beside a datagram."""


class Mailbox(Anchor):
    """One message may be under way."""

    __slots__ = ("_full",)

    def __init__(self, broker: Broker, sock: Socket) -> None:
        self._full = False
        super().__init__(broker, sock, socket.SOCK_SEQPACKET)

    def on_event(self, events: int) -> None:
        if events & READABLE and not self._full:
            self.fill()

    def ready(self, events: int) -> None:
        self.settle()
        if events & _HANGUP:
            self.hung_up()
        elif not self._full:
            self.fill()

    def settle(self) -> None:
        """Was the message that was in taken? Not if the descriptor was closed over it: the kernel tells by ECONNRESET."""
        if self._full and is_taken(self.end) and not self.end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._full = False
            self.taken()

    @abstractmethod
    def fill(self) -> None:
        """Put the next message in, if there is one."""

    @abstractmethod
    def taken(self) -> None:
        """The message that was in has been read."""

    def put(self, message: msgspec.Struct, descriptor: socket.socket | None = None) -> None:
        payload = msgspec.msgpack.encode(message)
        try:
            if descriptor is None:
                self.end.send(payload)
            else:
                socket.send_fds(self.end, [payload], [descriptor.fileno()])
            self._full = True
        except BrokenPipeError:
            pass  # nobody will read it; the hang-up is on its way
        except OSError:
            self.broker.call_later(RETRY_NS, self._retry)

    def _retry(self) -> None:
        if not self.app_gone:
            self.broker.guarded(self, self.ready, 0)

    def hung_up(self) -> None:
        self.app_gone = True
        self.broker.close(self)


class ListenerAnchor(Mailbox):
    """Of a TCP socket that listens, or may yet: accepted connections arrive as descriptors.

    A fresh socket has it too, so that processes that share one may all call listen, and all accept from it.
    """

    __slots__ = ("_offered",)
    sock: StreamSocket

    def __init__(self, broker: Broker, sock: StreamSocket) -> None:
        self._offered: StreamAnchor | None = None
        super().__init__(broker, sock)

    @property
    def state(self) -> str:  # type: ignore[override]  # a constant elsewhere
        return "listening" if self.sock.is_listening else "fresh"

    def fill(self) -> None:
        listener = self.sock.listener
        if listener is None or not listener.accepted:
            return
        child = listener.accepted[0]
        if self._offered is None or self._offered.sock is not child:
            self._offered = StreamAnchor(self.broker, child, child.connecting)
        assert child.peer is not None
        peer = shown(child.family, child.peer[0]), child.peer[1]
        self.put(Accepted(child.id, child.getsockname(), peer, self.pid, self._offered.state), self._offered.other)
        if self._full:
            self._offered.gave_away()

    def taken(self) -> None:
        if self.sock.listener is not None and self.sock.listener.accepted:
            self.sock.accept()
        anchor, self._offered = self._offered, None
        if anchor is not None:
            anchor.belong_to(self.pid, self.sock.program)  # until another who has it says who it is
            anchor.on_event(READABLE | anchor.has_ended * ENDED)


class DatagramAnchor(Mailbox):
    """Datagrams arrive as messages; one stays in the socket's queue, and in its SO_RCVBUF, until the app has taken it."""

    __slots__ = ("_offered",)
    sock: DatagramSocket
    state = "datagram"

    def __init__(self, broker: Broker, sock: DatagramSocket) -> None:
        self._offered = False
        """It is a datagram that is in."""
        super().__init__(broker, sock)

    def fill(self) -> None:
        sock = self.sock
        self._offered = not sock.error
        if sock.error:
            self.put(Poke())
        elif sock.poll() & READABLE:
            data, ancillary, flags, address = sock.recvmsg(65535, ANCILLARY_ROOM, socket.MSG_PEEK)
            self.put(Arrived(data, address, ancillary, flags))

    def taken(self) -> None:
        if self._offered:
            self.sock.drop_first()
