"""The broker's end of the pair of sockets whose other end is a descriptor in an app.

A connection's pair is a unix stream. Everything passes truly through it, with one trick: the kernel lets a unix socket see
ECONNRESET exactly when its peer closes with something unread. So one byte that was taken long ago always stays unread in
the anchor's queue: closing the anchor is a reset for the app, and taking that byte first makes it an end in good order.
The other way round the kernel does it by itself: an app that closes with data unread resets the anchor.

The descriptor's last close, in whatever process, hangs up on the anchor: that is what closes the socket.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
from abc import ABC, abstractmethod
from struct import Struct
from typing import TYPE_CHECKING

from netemu.stack.sockets import Socket

if TYPE_CHECKING:
    from netemu.runtime.broker.broker import Broker

EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
"""Each piece of news once: the queue of an anchor is never empty, so its level says nothing."""
BUFFER = 512 << 10
"""SO_SNDBUF of both ends, bytes (the kernel doubles it, within net.core.wmem_max): what the descriptor holds beside the
connection's own buffers. With 128 kB a download through an app reached 12 Gbit/s, with 512 kB 16.

Not less: the last message taken stays charged to the app until the next one comes, up to 37 kB, and the kernel calls a socket
writable only while three quarters of its buffer are free.
"""
_SIOCINQ, _SIOCOUTQ = 0x541B, 0x5411  # linux/sockios.h
_INT = Struct("i")


class Anchor(ABC):
    """What all kinds have in common."""

    __slots__ = ("app_gone", "broker", "deliberate", "end", "inode", "other", "pid", "sock")
    state = ""
    rank = 1
    """Of two pieces of news at once the one of lower rank is looked at first."""

    def __init__(self, broker: Broker, sock: Socket, kind: int) -> None:
        """Make the pair."""
        self.broker = broker
        self.sock = sock
        self.end, other = socket.socketpair(socket.AF_UNIX, kind)
        self.end.setblocking(False)
        self.other: socket.socket | None = other
        """The app's end, until it is sent away: nobody can hang up before."""
        self.inode = os.fstat(other.fileno()).st_ino
        """Of the app's end: by it a descriptor that was passed on is known again."""
        self.pid = 0
        """Of the process that made or accepted the socket."""
        self.deliberate = False
        """The app said that it closes."""
        self.app_gone = False
        self.prepare(other)
        broker.watch(self)
        sock.on_event = self._told

    def prepare(self, other: socket.socket) -> None:
        """Before the app's end leaves this process."""
        for one in (self.end, other):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)

    @abstractmethod
    def ready(self, events: int) -> None:
        """News (bits of epoll) from the app's side."""

    @abstractmethod
    def on_event(self, events: int) -> None:
        """News (bits of netemu.tcp.connection) from the stack's side."""

    def _told(self, sock: Socket, events: int) -> None:
        if not self.app_gone:
            self.broker.guarded(self, self.on_event, events)

    def condemn(self) -> None:
        """Something is wrong with this very socket: away with it."""
        self.detach()
        self.sock.close()

    @abstractmethod
    def hung_up(self) -> None:
        """The app's descriptor is closed for good."""

    def belong_to(self, pid: int, program: str) -> None:
        self.pid = self.sock.pid = pid
        self.sock.program = program

    def gave_away(self) -> None:
        """The app has its end, or it is on its way."""
        if self.other is not None:
            self.other.close()
            self.other = None

    def detach(self) -> None:
        """Give up the pair; the socket lives on."""
        self.app_gone = True
        self.broker.unwatch(self)
        self.gave_away()
        self.end.close()


def waiting(end: socket.socket) -> int:
    """Bytes that the other end has written and we have not read."""
    return int(_INT.unpack(fcntl.ioctl(end, _SIOCINQ, bytes(4)))[0])


def is_hung_up(end: socket.socket) -> bool:
    """The other end is closed, or both directions are shut."""
    poll = select.poll()
    poll.register(end, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def is_taken(end: socket.socket) -> bool:
    """The other end has read all that we wrote.

    A message is charged with some hundred bytes; the kernel gives back all but one before it tells of the event that brings
    us here, and that one when it likes (sock_wfree).
    """
    return int(_INT.unpack(fcntl.ioctl(end, _SIOCOUTQ, bytes(4)))[0]) <= 1
