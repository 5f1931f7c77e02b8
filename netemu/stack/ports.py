"""Who may bind where: Linux' rules for SO_REUSEADDR and SO_REUSEPORT, and ephemeral ports (RFC 6056)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from netemu.stack.names import Name, name_of

if TYPE_CHECKING:
    from netemu.stack.sockets import Socket

EPHEMERAL = (32768, 60999)  # net.ipv4.ip_local_port_range
UNPRIVILEGED = 1024  # net.ipv4.ip_unprivileged_port_start


class Ports:
    """The bound ports of one protocol and the sockets that hold them, those that a listener accepted included."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._holders: dict[int, set[Socket]] = {}

    def bind(self, socket: Socket, address: bytes, port: int) -> None:
        """Give ``socket`` the name (address, port); EADDRINUSE, or EACCES for a privileged port."""
        if not 0 <= port <= 65535:
            raise OverflowError("port must be 0-65535.")
        if 0 < port < UNPRIVILEGED and socket.uid:
            raise OSError(errno.EACCES, f"port {port} is for root (below {UNPRIVILEGED})")
        if not port:
            port = self.ephemeral(self.is_free)
        name = name_of(socket.family, address, port, socket.v6only)
        other = self.conflict(socket, name)
        if other is not None:
            raise OSError(errno.EADDRINUSE, f"port {port} is held by s{other.id} of app {other.app or '-'}")
        self.hold(socket, port)
        socket.take_name(address, name)

    def hold(self, socket: Socket, port: int) -> None:
        self._holders.setdefault(port, set()).add(socket)

    def release(self, socket: Socket, port: int) -> None:
        holders = self._holders.get(port)
        if holders is not None:
            holders.discard(socket)
            if not holders:
                del self._holders[port]

    def conflict(self, socket: Socket, name: Name) -> Socket | None:
        """A socket that keeps ``socket`` from holding ``name``, or None.

        Two sockets on overlapping names get along when both have SO_REUSEPORT and one owner, or both have SO_REUSEADDR and
        neither listens.
        """
        for other in self._holders.get(name.port, ()):
            if other is socket or other.name is None or not other.name.overlaps(name):
                continue
            if socket.reuseport and other.reuseport and socket.uid == other.uid:
                continue
            if socket.reuseaddr and other.reuseaddr and not other.is_listening and not socket.is_listening:
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
        return port not in self._holders
