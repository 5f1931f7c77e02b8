"""The oldest idea of SO_REUSEPORT: one socket accepts at an address and port; the others that share it only connect out.

Sources: no system that was looked at does exactly this under that name. Nearest are lwIP's tcp.c (001e1f1), whose
SO_REUSEADDR lets any overlap bind, even over a listener, and refuses listen only where a listener has exactly the
same address and port; and the Unix socket FAQ 4.11 (several FTP daemons share one local port to connect out). Facts
F3 says what was taken from where and what is a suggestion; whatever it leaves open (users, SO_REUSEADDR alone,
multicast) is as Linux.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable
from typing import TYPE_CHECKING

from netemu.stack.flavours.linux import Linux, Taker, same_address
from netemu.stack.names import Name

if TYPE_CHECKING:
    from netemu.stack.holders import Holder
    from netemu.stack.ports import Port
    from netemu.stack.sockets import Socket


class Classic(Linux):
    """SO_REUSEPORT on both sides shares whatever there is, but listening is for one."""

    name = "classic"

    def trusts(self, port: Port, socket: Holder, name: Name) -> bool:
        return False

    def refuses(self, new: Holder, name: Name, other: Holder, listening: bool) -> int:
        assert other.name is not None
        if listening:
            taken = other.is_listening and same_address(name, other.name)
            return errno.EADDRINUSE if taken else 0
        return super().refuses(new, name, other, listening)

    def group_key(self, socket: Socket) -> Hashable:
        return None

    def taker(self, is_stream: bool, wildcard: bool) -> Taker:
        return "newest"
