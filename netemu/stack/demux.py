"""The socket table: whose packet is this?

Exact 4-tuple first, then listeners: a specific address beats a wildcard, an IPv4 socket beats a dual-stack IPv6 one. Only
sockets in LISTEN get SYNs. A flow's key is its bytes as they stand in an arriving packet: source and destination address,
source and destination port; 12 bytes for IPv4, 36 for IPv6.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING

from netemu.reasons import Drop, Match
from netemu.stack.names import ANY, Name

if TYPE_CHECKING:
    from netemu.stack.listener import Listener
    from netemu.stack.sockets import Socket
    from netemu.tcp.connection import Connection
    from netemu.tcp.timewait import TimeWait

_V4, _V6, _DUAL = 4, 6, 46
Slot = tuple[int, bytes, int]
"""(which kind of socket, local address or ANY, port): where listeners and UDP sockets are found."""


def flow_key(src: bytes, dst: bytes, sport: int, dport: int) -> bytes:
    """The key of what arrives from ``src``: for a socket's own connection that is (peer, local)."""
    return src + dst + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")


def slots_of(name: Name, ipv6_socket: bool) -> list[Slot]:
    """Where a socket bound to ``name`` is filed."""
    slots: list[Slot] = []
    if name.v4 is not None:
        slots.append((_DUAL if ipv6_socket else _V4, name.v4, name.port))
    if name.v6 is not None:
        slots.append((_V6, name.v6, name.port))
    return slots


def probes(address: bytes, port: int) -> tuple[Slot, ...]:
    """The slots to look in for a packet to ``address``, best first."""
    if len(address) == 4:
        return (_V4, address, port), (_DUAL, address, port), (_V4, ANY, port), (_DUAL, ANY, port)
    return (_V6, address, port), (_V6, ANY, port)


def flow_hash(secret: bytes, flow: bytes) -> int:
    """32 bits, even over flows, the same for one flow, and not to be guessed from outside."""
    return int.from_bytes(blake2s(flow, key=secret, digest_size=4).digest(), "big")


def index_in_group(hash_: int, count: int) -> int:
    """The hash scaled to a group's size (as Linux' reciprocal_scale)."""
    return hash_ * count >> 32


class SocketTable:
    """The TCP sockets and connections of a host by what finds them, and every open socket by its number."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        """Keys the hash that spreads flows over a group."""
        self.connections: dict[bytes, Connection | TimeWait] = {}
        """Established, half-open, connecting and TIME-WAIT, by flow key."""
        self.listeners: dict[Slot, list[Listener]] = {}
        self.bound: dict[int, dict[Socket, None]] = {}
        """TCP sockets that bind or listen gave a port, by port."""
        self.sockets: dict[int, Socket] = {}
        """Every open socket by its number, the 3 of s3."""

    # -- TCP ----------------------------------------------------------------------------------------------------------

    def find_listener(self, address: bytes, port: int, flow: bytes, device: str) -> tuple[Listener, Match] | None:
        """The listener that a SYN to ``address``, arriving by ``device``, goes to."""
        for slot in probes(address, port):
            group = [li for li in self.listeners.get(slot, ()) if hears(li.socket, device)]
            if group:
                chosen = (
                    group[0] if len(group) == 1 else group[index_in_group(flow_hash(self.secret, flow), len(group))]
                )
                return chosen, match_of(slot, Match.LISTEN_SPECIFIC, Match.LISTEN_WILDCARD, Match.LISTEN_DUAL_STACK)
        return None

    def why_nobody(self, address: bytes, port: int, device: str) -> Drop:
        """The reason why a segment found neither connection nor listener."""
        reason = Drop.NO_SOCKET
        for socket in self.bound.get(port, ()):
            if socket.name is not None and socket.name.covers(address):
                if hears(socket, device):
                    return Drop.ONLY_BOUND
                reason = Drop.OTHER_DEVICE
        return reason

    def add_bound(self, socket: Socket) -> None:
        self.bound.setdefault(socket.lport, {})[socket] = None

    def remove_bound(self, socket: Socket) -> None:
        sockets = self.bound.get(socket.lport)
        if sockets is not None:
            sockets.pop(socket, None)
            if not sockets:
                del self.bound[socket.lport]

    def add_listener(self, listener: Listener) -> None:
        for slot in slots_of(listener.name, listener.socket.is_ipv6):
            self.listeners.setdefault(slot, []).append(listener)

    def remove_listener(self, listener: Listener) -> None:
        for slot in slots_of(listener.name, listener.socket.is_ipv6):
            group = self.listeners[slot]
            group.remove(listener)
            if not group:
                del self.listeners[slot]


def hears(socket: Socket, device: str) -> bool:
    """Does ``socket`` take what arrives by ``device``?"""
    return not socket.device or socket.device == device


def match_of(slot: Slot, specific: Match, wildcard: Match, dual: Match) -> Match:
    """Which of three rules found something in ``slot``."""
    if slot[1] != ANY:
        return specific
    return dual if slot[0] == _DUAL else wildcard
