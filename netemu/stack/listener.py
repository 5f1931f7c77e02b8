"""A socket in LISTEN: its SYN queue and its accept queue, counted as Linux does (listen(2))."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from netemu.stack.names import Name
from netemu.tcp.connection import READABLE

if TYPE_CHECKING:
    from netemu.stack.groups import Group
    from netemu.stack.stream_socket import StreamSocket
    from netemu.tcp.connection import Connection

SOMAXCONN = 4096


class Listener:
    """The queues of one listening socket."""

    __slots__ = ("accepted", "backlog", "half_open", "name", "socket")

    def __init__(self, socket: StreamSocket, name: Name, backlog: int) -> None:
        self.socket = socket
        self.name = name
        self.set_backlog(backlog)
        self.half_open: set[Connection] = set()
        """In SYN-RECEIVED: the SYN queue."""
        self.accepted: deque[StreamSocket] = deque()
        """Established and waiting for accept()."""

    def set_backlog(self, backlog: int) -> None:
        self.backlog = min(max(backlog, 0), SOMAXCONN)

    @property
    def accept_queue_full(self) -> bool:
        """Linux lets backlog + 1 connections wait (sk_acceptq_is_full: 'greater than')."""
        return len(self.accepted) > self.backlog

    @property
    def syn_queue_full(self) -> bool:
        return len(self.half_open) > self.backlog

    def migrate(self, group: Group) -> None:
        """Hand all that waits to the members of ``group``, each by its hash, as tcp_migrate_req has it (facts T9)."""
        secret = self.socket.host.table.secret
        for c in sorted(self.half_open, key=lambda c: c.flow):
            heir = _heir(group, secret, c.flow)
            heir.half_open.add(c)
            c.owner, c.may_establish = heir.socket, heir.may_establish
        self.half_open.clear()
        while self.accepted:
            child = self.accepted.popleft()
            flow = child.connection.flow if child.connection is not None else b""
            heir = _heir(group, secret, flow)
            child.app, child.pid, child.program = heir.socket.app, heir.socket.pid, heir.socket.program
            heir.accepted.append(child)
            child.host.notify(heir.socket, READABLE)

    def may_establish(self) -> bool:
        return not self.accept_queue_full


def _heir(group: Group, secret: bytes, flow: bytes) -> Listener:
    listener = cast("StreamSocket", group.by_hash(secret, flow).member).listener
    assert listener is not None
    return listener
