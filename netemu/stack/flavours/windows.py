"""The rules of Windows (Server 2003 and later), with errno's EACCES for WSAEACCES.

Sources: Microsoft's "Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE", "SOL_SOCKET Socket Options", "IP Multicast",
KB263823, as facts F2 has them. There is no SO_REUSEPORT. Silent, therefore as Linux: old connections and TIME-WAIT
under sockets without SO_EXCLUSIVEADDRUSE (both sides need SO_REUSEADDR), privileged ports (there are none on Windows;
here as Linux has them), bind(0), whether a group must be joined. Who of several SO_REUSEADDR sockets gets a SYN or a
datagram is "indeterminate": here the last bound, since the documents warn of that one. listen() has no check of its
own: the documents know only bind's.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable
from typing import TYPE_CHECKING

from netemu.stack import constants as so
from netemu.stack.flavours.linux import Linux, Taker, is_wildcard
from netemu.stack.names import Name

if TYPE_CHECKING:
    from netemu.stack.holders import Holder
    from netemu.stack.ports import Port
    from netemu.stack.sockets import Socket

_TABLE = """
      Dw     Ds     Rw     Rs     Xw     Xs
Dw    INUSE  user   ACCESS user   INUSE  user
Ds    ok     INUSE  ok     ACCESS INUSE  INUSE
Rw    INUSE  user   ok     ok     INUSE  user
Rs    ok     INUSE  ok     ok     INUSE  INUSE
Xw    INUSE  ACCESS ACCESS ACCESS INUSE  ACCESS
Xs    ok     INUSE  ok     ACCESS INUSE  INUSE
"""
"""Rows: who is there; columns: the newcomer. D default, R SO_REUSEADDR, X SO_EXCLUSIVEADDRUSE; w wildcard, s specific;
'user': ok for the same user, else ACCESS."""
_ERRNO = {"ok": 0, "INUSE": errno.EADDRINUSE, "ACCESS": errno.EACCES}
_ROWS = [line.split() for line in _TABLE.strip().splitlines()]
CELLS = {(row[0], new): cell for row in _ROWS[1:] for new, cell in zip(_ROWS[0], row[1:], strict=True)}


class Windows(Linux):
    """SO_REUSEADDR takes a port by force, and SO_EXCLUSIVEADDRUSE keeps it."""

    name = "windows"
    options = frozenset({so.SO_REUSEADDR, so.SO_EXCLUSIVEADDRUSE})
    checks_at_listen = False
    connected_ipv6_meets_ipv4_wildcard = False
    loop_is_receivers = True
    unconnected_hears_icmp = True

    def trusts(self, port: Port, socket: Holder, name: Name) -> bool:
        return False

    def refuses(self, new: Holder, name: Name, other: Holder, listening: bool) -> int:
        assert other.name is not None
        if other.is_stream and other.is_connected:
            return 0 if new.reuseaddr and other.reuseaddr and not new.exclusive else errno.EADDRINUSE
        cell = CELLS[_kind(other, other.name), _kind(new, name)]
        return _ERRNO["ok" if new.uid == other.uid else "ACCESS"] if cell == "user" else _ERRNO[cell]

    def group_key(self, socket: Socket) -> Hashable:
        return None

    def taker(self, is_stream: bool, wildcard: bool) -> Taker:
        return "newest"


def _kind(socket: Holder, name: Name) -> str:
    return ("X" if socket.exclusive else "R" if socket.reuseaddr else "D") + ("w" if is_wildcard(name) else "s")
