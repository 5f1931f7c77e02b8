"""Who may bind where: Linux' rules for SO_REUSEADDR and SO_REUSEPORT, and ephemeral ports (RFC 6056)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from netemu.stack.names import Name, name_for

if TYPE_CHECKING:
    from netemu.stack.sockets import Socket

EPHEMERAL = (32768, 60999)  # net.ipv4.ip_local_port_range
UNPRIVILEGED = 1024  # net.ipv4.ip_unprivileged_port_start


class Ports:
    """The bound ports of one protocol and the sockets that hold them, those that a listener accepted included."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._holders: dict[int, dict[Socket, None]] = {}

    def bind(self, socket: Socket, address: bytes, port: int) -> None:
        """Give ``socket`` the name (address, port), port 0 for one that is free; EADDRINUSE."""
        if not port:
            wanted = name_for(socket, address, 0)
            port = self.ephemeral(lambda p: not any(_overlap(s, wanted) for s in self._holders.get(p, ())))
        name = name_for(socket, address, port)
        other = self.conflict(socket, name)
        if other is not None:
            raise OSError(errno.EADDRINUSE, f"port {port} is held by s{other.id} of app {other.app or '-'}")
        self.hold(socket, port)
        socket.take_name(address, name)

    def hold(self, socket: Socket, port: int) -> None:
        self._holders.setdefault(port, {})[socket] = None

    def release(self, socket: Socket, port: int) -> None:
        holders = self._holders.get(port)
        if holders is not None:
            holders.pop(socket, None)
            if not holders:
                del self._holders[port]

    def conflict(self, socket: Socket, name: Name) -> Socket | None:
        """A socket that keeps ``socket`` from holding ``name`` (or from listening there), or None.

        Two sockets on overlapping names get along when both have SO_REUSEPORT and one owner, or both have SO_REUSEADDR and
        the other one does not listen (facts T1 to T5).
        """
        for other in self._holders.get(name.port, ()):
            if other is socket or not _overlap(other, name):
                continue
            if socket.reuseport and other.reuseport and socket.uid == other.uid:
                continue
            if socket.reuseaddr and other.reuseaddr and not other.is_listening:
                continue
            return other
        return None

    def ephemeral(self, usable: Callable[[int], bool]) -> int:
        """A port for which ``usable`` holds, from a random start (RFC 6056 3.3.1); EADDRINUSE when there is none."""
        low, high = EPHEMERAL
        count = high - low + 1
        start = self._random.randrange(count)
        for step in range(count):
            port = low + (start + step) % count
            if usable(port):
                return port
        raise OSError(errno.EADDRINUSE, "all ephemeral ports are taken")

    def is_free(self, port: int) -> bool:
        """May a socket that connects have this port? It may share it with others that got it by connecting (facts T10)."""
        return all(s.port_by_connect for s in self._holders.get(port, ()))


def _overlap(socket: Socket, name: Name) -> bool:
    return socket.name is not None and socket.name.overlaps(name)
