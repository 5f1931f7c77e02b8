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
    from netemu.stack.datagram_socket import DatagramSocket
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


class SocketTable:
    """All sockets of a host, by what finds them."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.connections: dict[bytes, Connection | TimeWait] = {}
        """Established, half-open, connecting and TIME-WAIT, by flow key."""
        self.listeners: dict[Slot, list[Listener]] = {}
        self.bound: dict[int, dict[Socket, None]] = {}
        """TCP sockets that bind or listen gave a port, by port."""
        self.udp_connected: dict[bytes, list[DatagramSocket]] = {}
        """By flow key, the last to connect last."""
        self.udp: dict[Slot, list[DatagramSocket]] = {}
        self.sockets: dict[int, Socket] = {}
        """Every open socket by its number, the 3 of s3."""

    # -- TCP ----------------------------------------------------------------------------------------------------------

    def find_listener(self, address: bytes, port: int, flow: bytes) -> tuple[Listener, Match] | None:
        """The listener that a SYN to ``address`` goes to."""
        for slot in probes(address, port):
            group = self.listeners.get(slot)
            if group:
                chosen = group[0] if len(group) == 1 else group[self._spread(flow, len(group))]
                return chosen, _match(slot, Match.LISTEN_SPECIFIC, Match.LISTEN_WILDCARD, Match.LISTEN_DUAL_STACK)
        return None

    def why_nobody(self, address: bytes, port: int) -> Drop:
        """The reason why a segment found neither connection nor listener."""
        for socket in self.bound.get(port, ()):
            if socket.name is not None and socket.name.covers(address):
                return Drop.ONLY_BOUND
        return Drop.NO_SOCKET

    def _spread(self, flow: bytes, count: int) -> int:
        """An index that is even over flows, stable for one flow, and not to be guessed from outside."""
        digest = blake2s(flow, key=self._secret, digest_size=4).digest()
        return int.from_bytes(digest, "big") * count >> 32

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

    # -- UDP ----------------------------------------------------------------------------------------------------------

    def find_udp(self, address: bytes, port: int, flow: bytes) -> tuple[DatagramSocket, Match] | None:
        """The socket that a unicast datagram to ``address`` goes to: connected, then specific, then wildcard (facts U2)."""
        connected = self.udp_connected.get(flow)
        if connected:
            return connected[-1], Match.UDP_CONNECTED
        for slot in probes(address, port):
            group = [s for s in self.udp.get(slot, ()) if s.peer is None]
            if group:
                chosen = group[-1]  # the last bound; with SO_REUSEPORT one of its group
                if chosen.reuseport and len(group) > 1:
                    shared = [s for s in group if s.reuseport and s.uid == chosen.uid]
                    chosen = shared[self._spread(flow, len(shared))]
                return chosen, _match(slot, Match.UDP_SPECIFIC, Match.UDP_WILDCARD, Match.UDP_DUAL_STACK)
        return None

    def add_udp(self, socket: DatagramSocket, name: Name) -> None:
        for slot in slots_of(name, socket.is_ipv6):
            self.udp.setdefault(slot, []).append(socket)

    def remove_udp(self, socket: DatagramSocket, name: Name) -> None:
        for slot in slots_of(name, socket.is_ipv6):
            group = self.udp[slot]
            group.remove(socket)
            if not group:
                del self.udp[slot]

    def add_udp_connected(self, socket: DatagramSocket, flow: bytes) -> None:
        self.udp_connected.setdefault(flow, []).append(socket)

    def remove_udp_connected(self, socket: DatagramSocket, flow: bytes) -> None:
        group = self.udp_connected[flow]
        group.remove(socket)
        if not group:
            del self.udp_connected[flow]


def _match(slot: Slot, specific: Match, wildcard: Match, dual: Match) -> Match:
    if slot[1] != ANY:
        return specific
    return dual if slot[0] == _DUAL else wildcard
