"""Sockets that share a name and spread what comes to it (SO_REUSEPORT, FreeBSD's SO_REUSEPORT_LB): whose is a flow? (facts T9)"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING

from netemu.stack.selectors import Arrival, Selector
from netemu.wire.buffer import Buffer

if TYPE_CHECKING:
    from netemu.stack.sockets import Socket


@dataclass(slots=True)
class Choice:
    """The member that gets a flow, and how that came about."""

    member: Socket
    by: str
    """alone, hash, or the name of a selector."""
    hash: int | None = None
    index: int | None = None


def flow_hash(secret: bytes, flow: bytes) -> int:
    """32 bits, even over flows, the same for one flow, and not to be guessed from outside."""
    return int.from_bytes(blake2s(flow, key=secret, digest_size=4).digest(), "big")


def index_in_group(hash_: int, count: int) -> int:
    """The hash scaled to a group's size (as Linux' reciprocal_scale)."""
    return hash_ * count >> 32


class Group:
    """The members, in the order in which they began to listen (UDP: bound), and a selector if one was attached."""

    __slots__ = ("key", "members", "selector")

    def __init__(self) -> None:
        self.key: Hashable = None
        self.members: list[Socket] = []
        self.selector: Selector | None = None

    def leave(self, socket: Socket) -> None:
        """The last takes the place of one who leaves, as in Linux."""
        last = self.members.pop()
        if last is not socket:
            self.members[self.members.index(socket)] = last

    def choose(self, secret: bytes, flow: bytes, data: Buffer = b"", payload: int = 0, peek: bool = False) -> Choice:
        """Whose a flow is that has no socket yet. ``data`` is the packet from its IP header on, ``payload`` the offset of what
        TCP or UDP carry. ``peek``: only a question, nothing is counted."""
        count = len(self.members)
        if count == 1:
            return Choice(self.members[0], "alone")
        if self.selector is not None:
            index = self.selector.select(Arrival(flow, data, payload), count, peek)
            if 0 <= index < count:
                return Choice(self.members[index], self.selector.name, None, index)
        return self.by_hash(secret, flow)

    def by_hash(self, secret: bytes, flow: bytes) -> Choice:
        """A UDP socket that has a peer gets nothing from others: then the next one (facts U2)."""
        hash_, count = flow_hash(secret, flow), len(self.members)
        index = self._index(hash_, count)
        for _ in range(count):
            if not self.members[index].is_connected:
                break
            index = (index + 1) % count
        return Choice(self.members[index], "hash", hash_, index)

    def _index(self, hash_: int, count: int) -> int:
        return index_in_group(hash_, count)


class BalancedGroup(Group):
    """FreeBSD's: the rest of a division by the size, and who leaves moves all behind him (facts F1)."""

    __slots__ = ()

    def leave(self, socket: Socket) -> None:
        self.members.remove(socket)

    def by_hash(self, secret: bytes, flow: bytes) -> Choice:
        size = 4 if len(flow) == 12 else 16
        return super().by_hash(secret, flow[:size] + flow[2 * size :])  # the local address takes no part

    def _index(self, hash_: int, count: int) -> int:
        return hash_ % count


class Groups:
    """All groups of a host, by what their members have in common (the flavour says what)."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, Group] = {}

    def join(self, socket: Socket) -> None:
        """``socket`` begins to listen (UDP: has bound)."""
        key = socket.host.flavour.group_key(socket)
        if key is None:
            return
        group = self._groups.get(key)
        if group is None:
            group = socket.group or (BalancedGroup() if socket.reuseport_lb else Group())
            group.key = key
            self._groups[key] = group
        group.members.append(socket)
        socket.group = group

    def leave(self, socket: Socket) -> None:
        """``socket`` no longer listens (UDP: closes)."""
        group = socket.group
        if group is not None and group.key is not None:
            group.leave(socket)
            socket.group = None
            if not group.members:
                del self._groups[group.key]
