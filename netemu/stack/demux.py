"""The socket table: whose packet is this?

Exact 4-tuple first, then listeners: a specific address beats a wildcard, an IPv4 socket beats a dual-stack IPv6 one. Only
sockets in LISTEN get SYNs. A flow's key is its bytes as they stand in an arriving packet: source and destination address,
source and destination port; 12 bytes for IPv4, 36 for IPv6.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from netemu.reasons import Drop, Match
from netemu.stack import constants as so
from netemu.stack.groups import Choice, Groups
from netemu.stack.groups import flow_hash as flow_hash
from netemu.stack.groups import index_in_group as index_in_group
from netemu.stack.names import ANY, Name
from netemu.wire.buffer import Buffer

if TYPE_CHECKING:
    from netemu.stack.flavours import Flavour
    from netemu.stack.listener import Listener
    from netemu.stack.sockets import Socket
    from netemu.tcp.connection import Connection
    from netemu.tcp.timewait import TimeWait

_V4, _V6, _DUAL, _LB_V4, _LB_V6 = 4, 6, 46, 104, 106
Slot = tuple[int, bytes, int]
"""(which kind of socket, local address or ANY, port): where listeners and UDP sockets are found."""


def flow_key(src: bytes, dst: bytes, sport: int, dport: int) -> bytes:
    """The key of what arrives from ``src``: for a socket's own connection that is (peer, local)."""
    return src + dst + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")


def slots_of(name: Name, ipv6_socket: bool, reuseport_lb: bool = False) -> list[Slot]:
    """Where a socket bound to ``name`` is filed. SO_REUSEPORT_LB has places of its own; a dual-stack one takes no IPv4 there."""
    slots: list[Slot] = []
    if name.v4 is not None and not (reuseport_lb and name.v6 is not None):
        v4 = _LB_V4 if reuseport_lb else _DUAL if ipv6_socket else _V4
        slots.append((v4, name.v4, name.port))
    if name.v6 is not None:
        slots.append((_LB_V6 if reuseport_lb else _V6, name.v6, name.port))
    return slots


def probes(address: bytes, port: int, reuseport_lb: bool = False) -> tuple[Slot, ...]:
    """The slots to look in for a packet to ``address``, best first; those of SO_REUSEPORT_LB before all others (facts F1)."""
    if len(address) == 4:
        plain: tuple[Slot, ...] = (_V4, address, port), (_DUAL, address, port), (_V4, ANY, port), (_DUAL, ANY, port)
        return ((_LB_V4, address, port), (_LB_V4, ANY, port), *plain) if reuseport_lb else plain
    plain = (_V6, address, port), (_V6, ANY, port)
    return ((_LB_V6, address, port), (_LB_V6, ANY, port), *plain) if reuseport_lb else plain


class SocketTable:
    """The TCP sockets and connections of a host by what finds them, and every open socket by its number."""

    def __init__(self, secret: bytes, flavour: Flavour) -> None:
        self.secret = secret
        """Keys the hash that spreads flows over a group."""
        self.flavour = flavour
        self._has_lb = so.SO_REUSEPORT_LB in flavour.options
        self.connections: dict[bytes, Connection | TimeWait] = {}
        """Established, half-open, connecting and TIME-WAIT, by flow key."""
        self.listeners: dict[Slot, list[Listener]] = {}
        """The first that hears a packet's device is the one to take (or, its group is)."""
        self.bound: dict[Slot, dict[Socket, None]] = {}
        """TCP sockets that bind or listen gave a port, listening or not."""
        self.groups = Groups()
        self.sockets: dict[int, Socket] = {}
        """Every open socket by its number, the 3 of s3."""

    # -- TCP ----------------------------------------------------------------------------------------------------------

    def choose_listener(
        self,
        address: bytes,
        port: int,
        flow: bytes,
        device: str,
        data: Buffer = b"",
        payload: int = 0,
        peek: bool = False,
    ) -> tuple[Choice, Match] | None:
        """The listener that a SYN to ``address``, arriving by ``device``, goes to, and how it was chosen.

        ``data`` and ``payload``: as Group.choose has them, for a selector. ``peek``: only a question, nothing is counted.
        """
        for slot in probes(address, port, self._has_lb):
            for listener in self.listeners.get(slot, ()):
                if hears(listener.socket, device):
                    group = listener.socket.group
                    choice = (
                        Choice(listener.socket, "alone")
                        if group is None or not group.members  # a selector, but for a group that it never joined
                        else group.choose(self.secret, flow, data, payload, peek)
                    )
                    return choice, match_of(slot, Match.LISTEN_SPECIFIC, Match.LISTEN_WILDCARD, Match.LISTEN_DUAL_STACK)
        return None

    def why_nobody(self, address: bytes, port: int, device: str) -> Drop:
        """The reason why a segment found neither connection nor listener."""
        reason = Drop.NO_SOCKET
        for slot in probes(address, port, self._has_lb):
            for socket in self.bound.get(slot, ()):
                if hears(socket, device):
                    return Drop.ONLY_BOUND
                reason = Drop.OTHER_DEVICE
        return reason

    def add_bound(self, socket: Socket) -> None:
        for slot in _slots(socket):
            self.bound.setdefault(slot, {})[socket] = None

    def remove_bound(self, socket: Socket) -> None:
        for slot in _slots(socket):
            sockets = self.bound.get(slot, {})
            sockets.pop(socket, None)
            if not sockets:
                self.bound.pop(slot, None)

    def add_listener(self, listener: Listener) -> None:
        socket = listener.socket
        for slot in _slots(socket):
            walk = self.listeners.setdefault(slot, [])
            taker = self.flavour.taker(True, slot[1] == ANY)
            if taker == "oldest":
                insort(walk, listener, key=_bind_order)
            elif taker == "newest":
                insort(walk, listener, key=_newest_first)
            elif socket.is_ipv6 and socket.reuseport:
                walk.append(
                    listener
                )  # as Linux; it matters where some are bound to a device and some are not (facts U2)
            else:
                walk.insert(0, listener)
        self.groups.join(socket)

    def remove_listener(self, listener: Listener) -> None:
        self.groups.leave(listener.socket)
        for slot in _slots(listener.socket):
            walk = self.listeners[slot]
            walk.remove(listener)
            if not walk:
                del self.listeners[slot]


def _slots(socket: Socket) -> list[Slot]:
    return slots_of(socket.name, socket.is_ipv6, socket.reuseport_lb) if socket.name is not None else []


def _bind_order(listener: Listener) -> int:
    return listener.socket.bind_order


def _newest_first(listener: Listener) -> int:
    return -listener.socket.bind_order


def hears(socket: Socket, device: str) -> bool:
    """Does ``socket`` take what arrives by ``device``?"""
    return not socket.device or socket.device == device


def match_of(slot: Slot, specific: Match, wildcard: Match, dual: Match) -> Match:
    """Which of three rules found something in ``slot``."""
    if slot[1] != ANY:
        return specific
    return dual if slot[0] == _DUAL else wildcard
