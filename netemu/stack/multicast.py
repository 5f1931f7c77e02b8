"""Multicast: what a socket joined and how it sends to groups, and which groups the host is in (facts U7).

An interface lets a group in as soon as one socket of the host is a member there; who then gets it is another question.
What the routers are told of it is membership.py's.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from netemu.wire.ip import is_multicast

if TYPE_CHECKING:
    from netemu.stack.datagram_socket import DatagramSocket

Place = tuple[bytes, str]
"""A group and the device that it is joined on."""
ALL_HOSTS = frozenset((b"\xe0\0\0\1", b"\xff\1" + bytes(13) + b"\1", b"\xff\2" + bytes(13) + b"\1"))
"""224.0.0.1, ff01::1 and ff02::1: every host is in them, on every interface (RFC 1112 4, RFC 4291 2.7.1)."""
MOST_GROUPS = {4: (20, errno.ENOBUFS), 16: (2340, errno.ENOMEM)}
"""A socket's: igmp_max_memberships, and what optmem_max holds of IPv6's; with the errno beyond."""
MOST_SOURCES = 10
"""igmp_max_msf."""


class Membership:
    """Of one socket in one group on one device: all sources but some, or some only (RFC 3376 3.1)."""

    __slots__ = ("excludes", "sources")

    def __init__(self, excludes: bool) -> None:
        self.excludes = excludes
        self.sources: set[bytes] = set()

    def takes(self, src: bytes) -> bool:
        return (src in self.sources) is not self.excludes


class Reception(NamedTuple):
    """What a device wants to hear of a group, for all sockets together."""

    excludes: bool
    sources: frozenset[bytes]

    def takes(self, src: bytes) -> bool:
        return (src in self.sources) is not self.excludes


NO_RECEPTION = Reception(False, frozenset())


def reception_of(memberships: Iterable[Membership]) -> Reception:
    """RFC 3376 3.2: what none of those that exclude wants and nobody names is excluded; else, what is named is included."""
    named: set[bytes] = set()
    unwanted: set[bytes] | None = None
    for membership in memberships:
        if not membership.excludes:
            named |= membership.sources
        elif not membership.sources:
            return Reception(True, frozenset())
        else:
            unwanted = membership.sources if unwanted is None else unwanted & membership.sources
    return Reception(False, frozenset(named)) if unwanted is None else Reception(True, frozenset(unwanted - named))


class Multicast:
    """What one socket has set for the groups of one family."""

    __slots__ = ("all", "device", "hops", "joined", "loop", "source")

    def __init__(self) -> None:
        self.device, self.source = "", b""
        """IP_MULTICAST_IF: what to send by, and the address to send from where the socket has none."""
        self.hops = 1
        self.loop = self.all = True
        self.joined: dict[Place, Membership] = {}

    def takes(self, group: bytes, src: bytes, device: str) -> bool:
        """A group that this socket did not join is heard too while IP_MULTICAST_ALL is set."""
        membership = self.joined.get((group, device))
        if membership is None and len(group) == 16:  # Linux' IPv6 does not ask on which device
            membership = next((self.joined[place] for place in self.joined if place[0] == group), None)
        return self.all if membership is None else membership.takes(src)


class Members:
    """All memberships of a host's sockets."""

    def __init__(self) -> None:
        self.at: dict[Place, list[Membership]] = {}

    def wants(self, group: bytes, device: str, src: bytes) -> bool:
        """Does ``device`` let the group's packets from ``src`` in?"""
        if group in ALL_HOSTS:
            return True
        return any(membership.takes(src) for membership in self.at.get((group, device), ()))

    def add(self, place: Place, membership: Membership) -> None:
        self.at.setdefault(place, []).append(membership)

    def remove(self, place: Place, membership: Membership) -> None:
        left = self.at[place]
        left.remove(membership)
        if not left:
            del self.at[place]


def join(socket: DatagramSocket, group: bytes, device: str, excludes: bool = True) -> Membership:
    """Become a member, of all sources unless not ``excludes``."""
    if not is_multicast(group):
        raise OSError(errno.EINVAL, "not a multicast address")
    joined = socket.multicast[len(group)].joined
    if (group, device) in joined:
        raise OSError(errno.EADDRINUSE, "the socket is in that group already")
    most, number = MOST_GROUPS[len(group)]
    if len(joined) >= most:
        raise OSError(number, f"a socket may be in {most} groups")
    membership = joined[group, device] = Membership(excludes)
    socket.host.udp.members.add((group, device), membership)
    socket.host.reporting.changed(group, device)
    return membership


def leave(socket: DatagramSocket, group: bytes, device: str) -> None:
    membership = socket.multicast[len(group)].joined.pop((group, device), None)
    if membership is None:
        raise OSError(errno.EADDRNOTAVAIL, "the socket is not in that group")
    socket.host.udp.members.remove((group, device), membership)
    socket.host.reporting.changed(group, device)


def leave_all(socket: DatagramSocket) -> None:
    for settings in socket.multicast.values():
        for group, device in list(settings.joined):
            leave(socket, group, device)


def add_source(socket: DatagramSocket, group: bytes, device: str, source: bytes) -> None:
    """IP_ADD_SOURCE_MEMBERSHIP: hear this one too, joining with the first."""
    membership = socket.multicast[len(group)].joined.get((group, device))
    _add(membership or join(socket, group, device, excludes=False), False, source)
    socket.host.reporting.changed(group, device)


def drop_source(socket: DatagramSocket, group: bytes, device: str, source: bytes) -> None:
    """IP_DROP_SOURCE_MEMBERSHIP: without any source a socket is no member."""
    membership = _member(socket, group, device)
    _drop(membership, False, source)
    socket.host.reporting.changed(group, device)
    if not membership.sources:
        leave(socket, group, device)


def block_source(socket: DatagramSocket, group: bytes, device: str, source: bytes) -> None:
    """IP_BLOCK_SOURCE, of a member that hears all."""
    _add(_member(socket, group, device), True, source)
    socket.host.reporting.changed(group, device)


def unblock_source(socket: DatagramSocket, group: bytes, device: str, source: bytes) -> None:
    _drop(_member(socket, group, device), True, source)
    socket.host.reporting.changed(group, device)


def _member(socket: DatagramSocket, group: bytes, device: str) -> Membership:
    membership = socket.multicast[len(group)].joined.get((group, device))
    if membership is None:
        raise OSError(errno.EINVAL, "the socket is not in that group")
    return membership


def _add(membership: Membership, excludes: bool, source: bytes) -> None:
    if membership.excludes is not excludes:
        if membership.sources:
            raise OSError(errno.EINVAL, "sources are either named or blocked")
        membership.excludes = excludes
    if source in membership.sources:
        raise OSError(errno.EADDRNOTAVAIL, "the source is named already")
    if len(membership.sources) >= MOST_SOURCES:
        raise OSError(errno.ENOBUFS, f"no more than {MOST_SOURCES} sources")
    membership.sources.add(source)


def _drop(membership: Membership, excludes: bool, source: bytes) -> None:
    if membership.sources and membership.excludes is not excludes:
        raise OSError(errno.EINVAL, "sources are either named or blocked")
    if source not in membership.sources:
        raise OSError(errno.EADDRNOTAVAIL, "no such source")
    membership.sources.remove(source)
