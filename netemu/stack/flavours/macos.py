"""The rules of macOS.

Sources: xnu's in_pcb.c (776661b) and udp_usrreq.c (0f4c859) and its getsockopt(2), as facts F1 has them. Silent,
therefore as Linux: a second UDP connect to the same peer, the local address after a disconnect, SO_BINDTODEVICE.
Deduced from the source, not run: that the newest of equals on an address, but the oldest of wildcards, takes all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.stack.flavours.freebsd import FreeBSD
from netemu.stack.flavours.linux import Linux, Taker, is_wildcard
from netemu.stack.names import Name
from netemu.wire.ip import is_multicast

if TYPE_CHECKING:
    from netemu.stack.holders import Holder


class MacOS(FreeBSD):
    """As FreeBSD without SO_REUSEPORT_LB, and with other ideas of privilege."""

    name = "macos"
    options = Linux.options
    heard_without_join = frozenset({b"\xe0\0\0\1"})
    udp_tuple_is_unique = False
    disconnect_forgets_address = False

    def is_privileged(self, name: Name, port: int, first_unprivileged: int) -> bool:
        """Only a specific address needs root."""
        return 0 < port < first_unprivileged and not is_wildcard(name)

    def _is_strangers(self, new: Holder, name: Name, other: Holder, held: Name) -> bool:
        if not new.uid or new.uid == other.uid or is_multicast(name.v4 or name.v6 or b"\0"):
            return False
        return not (is_wildcard(name) and is_wildcard(held))

    def is_free(self, new: Holder, name: Name, other: Holder, relaxed: bool) -> bool:
        return False

    def taker(self, is_stream: bool, wildcard: bool) -> Taker:
        return "oldest" if wildcard else "newest"
