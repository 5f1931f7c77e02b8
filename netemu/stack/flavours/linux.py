"""The rules of Linux, and what a flavour decides: the other flavours say only where they differ.

Sources: all of it was measured on Linux 6.18 (facts T1 to T13, U1 to U8), and the kernel's answers are compared with these in
the tests.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable
from typing import TYPE_CHECKING, Literal

from netemu.stack import constants as so
from netemu.stack.names import Name

if TYPE_CHECKING:
    from netemu.stack.holders import Holder
    from netemu.stack.ports import Port
    from netemu.stack.sockets import Socket

Taker = Literal["group", "newest", "oldest"]
"""Of sockets that are equally good for a packet: a SO_REUSEPORT group spreads by hash, or the last or first bound has all."""


class Linux:
    """Who may bind, listen and hear what. Without state: one object serves all hosts."""

    name = "linux"
    options: frozenset[int] = frozenset({so.SO_REUSEADDR, so.SO_REUSEPORT})
    """The options of level SOL_SOCKET about sharing a port that exist; others are ENOPROTOOPT."""
    checks_at_listen = True
    """listen() looks for conflicts once more."""
    connected_ipv6_meets_ipv4_wildcard = True
    """A connected IPv6 socket that is not IPV6_V6ONLY stands in the way of 0.0.0.0 (found by comparison)."""
    port_zero_errno = 0
    """What connecting to port 0 gives; 0: it is tried."""
    any_is_loopback = True
    """The destination 0.0.0.0 or :: is the loopback; else the first address of the wire."""

    # -- UDP --------------------------------------------------------------------------------------------------------------

    multicast_needs_join = False
    """A datagram to a group goes only to sockets that joined it on that interface; else IP_MULTICAST_ALL decides (facts U7)."""
    heard_without_join: frozenset[bytes] = frozenset()
    """Groups that need no joining where others do."""
    copies_stop_without_option = False
    """The walk that hands out copies of a broadcast or multicast ends after a socket with no option to share."""
    udp_tuple_is_unique = False
    """A second UDP socket on the same local name cannot connect to the same peer: EADDRINUSE."""
    disconnect_forgets_address = False
    """Dissolving a UDP association resets the local address even where bind gave it."""
    loop_is_receivers = False
    """IP_MULTICAST_LOOP says whether a receiver hears its own host, not whether a sender is heard there."""
    unconnected_hears_icmp = False
    """A UDP socket's recv fails with ECONNRESET for a port unreachable after a sendto, connected or not; send never does."""
    soft_icmp_is_told = False
    """A connected UDP socket is told of soft errors too (net and host unreachable), without IP_RECVERR."""

    # -- who may have a name ----------------------------------------------------------------------------------------------

    def is_privileged(self, name: Name, port: int, first_unprivileged: int) -> bool:
        """Is root needed to bind this?"""
        return 0 < port < first_unprivileged

    def trusts(self, port: Port, socket: Holder, name: Name) -> bool:
        """Linux remembers who joined last by SO_REUSEPORT, and lets in others like him without a look at the rest (facts T6).

        For UDP it asks the holders, the newest first, and the first one that shares by SO_REUSEPORT ends that.
        """
        if not socket.is_stream:
            return self._is_let_in(port, socket, name)
        known = port.trusted
        if known is None or not socket.reuseport or socket.has_own_group:
            return False
        return socket.uid == known.uid and known.includes(name)

    def _is_let_in(self, port: Port, socket: Holder, name: Name) -> bool:
        for other in reversed(port.holders):
            if other is socket or other.name is None or not other.name.overlaps(name):
                continue
            if not (socket.reuseaddr and other.reuseaddr):
                return not self.refuses(socket, name, other, False)
        return True

    def refuses(self, new: Holder, name: Name, other: Holder, listening: bool) -> int:
        """The errno with which ``other``, which covers part of ``name``, keeps ``new`` from binding (listening) there; or 0.

        They get along when both have SO_REUSEADDR and the other one does not listen, or both have SO_REUSEPORT and one owner
        (TIME-WAIT has none): facts T1 to T5, U1.
        """
        if new.reuseaddr and other.reuseaddr and not other.is_listening:
            return 0
        if new.reuseport and other.reuseport and (other.in_time_wait or new.uid == other.uid) and not new.has_own_group:
            return 0
        return errno.EADDRINUSE

    def is_free(self, new: Holder, name: Name, other: Holder, relaxed: bool) -> bool:
        """May bind(0) give ``new`` a port that ``other`` holds, overlapping? ``relaxed``: ip_autobind_reuse, no port left."""
        if not new.is_stream:
            return not self.refuses(new, name, other, False)  # facts U3
        one_group = new.reuseport and other.reuseport and (other.in_time_wait or new.uid == other.uid)
        return relaxed and new.reuseaddr and other.reuseaddr and not other.is_listening and not one_group

    def group_key(self, socket: Socket) -> Hashable:
        """What the members of a group that spreads by hash have in common; None for a socket that is in none (facts T9)."""
        key = socket.is_stream, socket.is_ipv6, socket.v6only, socket.name, socket.uid
        return key if socket.reuseport else None

    # -- who gets what comes ----------------------------------------------------------------------------------------------

    def taker(self, is_stream: bool, wildcard: bool) -> Taker:
        """Who of several listeners (UDP sockets), all equally good for a SYN (unicast datagram), gets it."""
        return "group"


def same_address(a: Name, b: Name) -> bool:
    """Two names that overlap: is it at exactly the same address, not a wildcard with a specific one?"""
    return (a.v4 == b.v4 or None in (a.v4, b.v4)) and (a.v6 == b.v6 or None in (a.v6, b.v6))


def is_wildcard(name: Name) -> bool:
    return b"" in (name.v4, name.v6)
