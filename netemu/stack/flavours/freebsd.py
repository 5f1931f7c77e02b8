"""The rules of FreeBSD 14 and later.

Sources: its in_pcb.c, udp_usrreq.c and tcp_usrreq.c (main branch, snapshot 2d614aa) and getsockopt(2) of November
2024, as facts F1 has them. Silent, therefore as Linux: what bind(0) does when all ports are taken, SO_BINDTODEVICE
(which is not FreeBSD's at all), and what an IPv6 wildcard and an IPv4 one are to each other (taken as the same address,
where the IPv6 socket takes IPv4). Deduced from the source, not run: that the newest of equals takes all.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable
from typing import TYPE_CHECKING

from netemu.stack import constants as so
from netemu.stack.flavours.linux import Linux, Taker, is_wildcard, same_address
from netemu.stack.names import Name
from netemu.wire.ip import is_multicast

if TYPE_CHECKING:
    from netemu.stack.holders import Holder
    from netemu.stack.ports import Port
    from netemu.stack.sockets import Socket


class FreeBSD(Linux):
    """Only the newcomer's option counts; one socket takes all, unless it is SO_REUSEPORT_LB that spreads."""

    name = "freebsd"
    options = Linux.options | {so.SO_REUSEPORT_LB}
    checks_at_listen = False
    connected_ipv6_meets_ipv4_wildcard = False
    port_zero_errno = errno.EADDRNOTAVAIL
    any_is_loopback = False
    multicast_needs_join = True
    copies_stop_without_option = True
    udp_tuple_is_unique = True
    disconnect_forgets_address = True
    soft_icmp_is_told = True

    def trusts(self, port: Port, socket: Holder, name: Name) -> bool:
        return False

    def refuses(self, new: Holder, name: Name, other: Holder, listening: bool) -> int:
        assert other.name is not None
        if self._is_strangers(new, name, other, other.name):
            return errno.EADDRINUSE
        if not has_option(new):
            return errno.EADDRINUSE
        if other.is_connected or not same_address(name, other.name):
            return 0
        group = is_multicast(name.v4 or name.v6 or b"\0")
        shares = shares_port(new, group) and shares_port(other, group)
        return 0 if shares or (new.reuseport_lb and other.reuseport_lb) else errno.EADDRINUSE

    def _is_strangers(self, new: Holder, name: Name, other: Holder, held: Name) -> bool:
        """Another user's, whom only root may join."""
        if not new.uid or new.uid == other.uid or is_multicast(name.v4 or name.v6 or b"\0"):
            return False
        if other.is_stream and other.is_connected:
            return False
        lb_only = other.reuseport_lb and not other.reuseaddr and not other.reuseport
        return not (is_wildcard(name) and is_wildcard(held) and lb_only)

    def is_free(self, new: Holder, name: Name, other: Holder, relaxed: bool) -> bool:
        """With an option bind(0) avoids only sockets at exactly the same address that are not connected."""
        assert other.name is not None
        return has_option(new) and (other.is_connected or not same_address(name, other.name))

    def group_key(self, socket: Socket) -> Hashable:
        """SO_REUSEPORT_LB alone spreads; users are not compared."""
        return (socket.is_stream, socket.is_ipv6, socket.name) if socket.reuseport_lb else None

    def taker(self, is_stream: bool, wildcard: bool) -> Taker:
        return "newest"


def has_option(socket: Holder) -> bool:
    return socket.reuseaddr or socket.reuseport or socket.reuseport_lb


def shares_port(socket: Holder, group: bool) -> bool:
    """SO_REUSEPORT; SO_REUSEADDR counts as that for a multicast address."""
    return socket.reuseport or (group and socket.reuseaddr)
