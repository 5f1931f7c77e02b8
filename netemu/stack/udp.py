"""The UDP side of a host: datagrams to sockets and back, and the table that says whose a datagram is.

One to an address of the host has one taker: a connected socket, then one on exactly this address, then a wildcard (facts U2).
One to a group or a broadcast address goes to every socket that hears it, each its own copy (facts U6, U7).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from netemu.reasons import Drop, Match, Reason
from netemu.stack import constants as so
from netemu.stack.ancillary import Outgoing
from netemu.stack.demux import flow_key, hears
from netemu.stack.groups import Choice, Groups
from netemu.stack.multicast import Members
from netemu.stack.names import ANY, Name
from netemu.stack.ports import Ports
from netemu.tcp.connection import READABLE
from netemu.wire import udp
from netemu.wire.buffer import Buffer
from netemu.wire.ip import UDP, IpPacket, is_multicast

if TYPE_CHECKING:
    from netemu.stack.datagram_socket import DatagramSocket
    from netemu.stack.host import Host

Walk = list["DatagramSocket"]
Table = dict[tuple[bytes, int], Walk]
"""(local address or ANY, port) to the sockets there, of both families, in the order in which they are asked."""


class Udp:
    """All of a host's UDP sockets, and what arrives for them."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.ports = Ports(host)
        self.connected: dict[bytes, Walk] = {}
        """By flow key, the last to connect last."""
        self.bound: Table = {}
        self.balanced: Table = {}
        """Those with SO_REUSEPORT_LB, who are asked first (facts F1)."""
        self.groups = Groups()
        self.members = Members()

    # -- in ---------------------------------------------------------------------------------------------------------------

    def receive(self, ip: IpPacket, data: Buffer, checked: bool) -> Reason:
        """A UDP datagram in a valid IP packet for an address of this host."""
        parsed = _parsed(ip, data, checked)
        if isinstance(parsed, Drop):
            return parsed
        datagram, unchecked = parsed
        device = self._host.device_of(ip.dst)
        flow = flow_key(ip.src, ip.dst, datagram.sport, datagram.dport)
        found = self.find(ip.dst, datagram.dport, flow, device, data, ip.start + udp.SIZE)
        if found is None:
            if unchecked:
                return Drop.BAD_UDP_CHECKSUM
            self._host.icmp.port_unreachable(ip, data)
            return Drop.UDP_NO_SOCKET
        socket, match = found
        self._host.matched = socket
        if unchecked and not socket.no_check6:
            return Drop.BAD_UDP_CHECKSUM
        if not socket.receive(datagram.payload, datagram.sport, ip, device):
            return Drop.UDP_BUFFER_FULL
        self._host.notify(socket, READABLE)
        return match

    def receive_for_many(self, ip: IpPacket, data: Buffer, checked: bool, device: str, local: bool) -> Reason:
        """One to a group that ``device`` lets in, or to a broadcast address there; ``local``: from this host."""
        parsed = _parsed(ip, data, checked)
        if isinstance(parsed, Drop):
            return parsed
        datagram, unchecked = parsed
        reason: Reason = Drop.UDP_NOBODY
        for socket in self.takers(ip, datagram.sport, datagram.dport, device, local):
            if unchecked and not socket.no_check6:
                continue
            self._host.matched = self._host.matched or socket
            if socket.receive(datagram.payload, datagram.sport, ip, device):
                self._host.notify(socket, READABLE)
                reason = Match.UDP_MULTICAST if is_multicast(ip.dst) else Match.UDP_BROADCAST
            elif reason is Drop.UDP_NOBODY:
                reason = Drop.UDP_BUFFER_FULL
        return reason

    def takers(
        self, ip: IpPacket, sport: int, dport: int, device: str, local: bool = False
    ) -> Iterator[DatagramSocket]:
        """All who get a copy of a datagram to a group or a broadcast address."""
        flavour = self._host.flavour
        size = len(ip.dst)
        for where in (ip.dst, ANY):
            for walk in (self.balanced.get((where, dport), ()), self.bound.get((where, dport), ())):
                for socket in walk:
                    if not covers(socket, size) or not hears(socket, device):
                        continue
                    if socket.peer is not None and socket.peer != (ip.src, sport):
                        continue
                    if is_multicast(ip.dst) and not self._is_heard(socket, ip, device, local):
                        continue
                    yield socket
                    if flavour.copies_stop_without_option and not shares(socket):
                        return

    def _is_heard(self, socket: DatagramSocket, ip: IpPacket, device: str, local: bool) -> bool:
        """Does ``socket`` listen to this group?"""
        flavour, settings = self._host.flavour, socket.multicast[len(ip.dst)]
        if local and flavour.loop_is_receivers and not settings.loop:
            return False
        joined = (ip.dst, device) in settings.joined
        if flavour.multicast_needs_join and not joined and ip.dst not in flavour.heard_without_join:
            return False
        return settings.takes(ip.dst, ip.src, device)

    # -- out --------------------------------------------------------------------------------------------------------------

    def send(
        self, socket: DatagramSocket, src: bytes, dst: bytes, dport: int, data: Buffer, how: Outgoing, device: str
    ) -> None:
        """Send a datagram of ``socket``; ``device``: where ``dst`` is a group or a broadcast address, by what it goes."""
        payload = udp.emit(src, dst, socket.lport, dport, data)
        tos = socket.tos if how.tos is None else how.tos
        ttl = socket.ttl if how.ttl is None else how.ttl
        fits = socket.mtu_discover[len(dst)] in (so.IP_PMTUDISC_WANT, so.IP_PMTUDISC_DO, so.IP_PMTUDISC_PROBE)
        if not device:
            self._host.send_ip(src, dst, UDP, payload, ttl=ttl, tos=tos, why=socket, dont_fragment=fits)
            return
        loop = wire = device != "lo"
        if is_multicast(dst):
            settings = socket.multicast[len(dst)]
            if how.ttl is None:
                ttl = settings.hops
            loop = settings.loop or self._host.flavour.loop_is_receivers or not wire
            loop = loop and self.members.wants(dst, device, src)
            wire = wire and ttl > 0 and not (len(dst) == 16 and dst[1] & 15 <= 1)  # RFC 4291 2.7: ff01:: stays here
        else:
            loop = True  # everybody hears a broadcast, we too
        if loop:
            self._host.send_ip(src, dst, UDP, payload, ttl=ttl, tos=tos, why=socket, loops=device)
        if wire:
            self._host.send_ip(src, dst, UDP, payload, ttl=ttl, tos=tos, why=socket, to_many=True, dont_fragment=fits)

    # -- the table --------------------------------------------------------------------------------------------------------

    def find(
        self,
        address: bytes,
        port: int,
        flow: bytes,
        device: str,
        data: Buffer = b"",
        payload: int = 0,
        peek: bool = False,
    ) -> tuple[DatagramSocket, Match] | None:
        """The socket that a unicast datagram to ``address``, arriving by ``device``, goes to.

        ``data`` and ``payload``: as Group.choose has them, for a selector; ``peek``: only a question, nothing is counted.
        """
        found = self.choose(address, port, flow, device, data, payload, peek)
        return None if found is None else (cast("DatagramSocket", found[0].member), found[1])

    def choose(
        self,
        address: bytes,
        port: int,
        flow: bytes,
        device: str,
        data: Buffer = b"",
        payload: int = 0,
        peek: bool = False,
    ) -> tuple[Choice, Match] | None:
        """The same, and how it was chosen."""
        for socket in reversed(self.connected.get(flow, ())):
            if hears(socket, device):
                return Choice(socket, "alone"), Match.UDP_CONNECTED
        for table in (self.balanced, self.bound) if self.balanced else (self.bound,):
            for where in (address, ANY):
                walk = table.get((where, port))
                best = self._best(walk, len(address), device) if walk else None
                if best is None:
                    continue
                group = best.group
                if group is None or group.key is None:
                    choice = Choice(best, "alone")
                else:
                    choice = group.choose(self._host.table.secret, flow, data, payload, peek)
                if where:
                    return choice, Match.UDP_SPECIFIC
                return choice, Match.UDP_DUAL_STACK if len(address) == 4 and best.is_ipv6 else Match.UDP_WILDCARD
        return None

    def _best(self, walk: Walk, size: int, device: str) -> DatagramSocket | None:
        """The best of those on one address, as Linux' udp4_lib_lookup2 has it: with its device beats without, AF_INET beats
        AF_INET6, then the first of the walk; and the walk ends at the first group that it meets (facts U2, the quirk too)."""
        best, most = None, 0
        for socket in walk:
            if socket.peer is not None or not covers(socket, size) or not hears(socket, device):
                continue
            score = (1 if socket.is_ipv6 else 2) + (4 if socket.device else 0)
            if score > most:
                best, most = socket, score
                if socket.group is not None and socket.group.key is not None:
                    break
        return best

    def add(self, socket: DatagramSocket, name: Name) -> None:
        """``socket`` has bound, or got another address by connecting."""
        taker, table = self._host.flavour.taker(False, ANY in (name.v4, name.v6)), self._table(socket)
        for where in places(name):
            walk = table.setdefault((where, name.port), [])
            if taker == "oldest" or (taker == "group" and socket.is_ipv6 and socket.reuseport):
                walk.append(socket)
            else:
                walk.insert(0, socket)
            if socket.peer is None:
                self._join_group(socket, walk)

    def _join_group(self, socket: DatagramSocket, walk: Walk) -> None:
        """Into the group of its equals; with one that set SO_REUSEPORT only after it had bound, it makes one (facts U1)."""
        key = self._host.flavour.group_key(socket)
        if key is None:
            return
        for other in walk:
            alone = other.group is None or other.group.key is None
            if alone and other is not socket and other.peer is None and self._host.flavour.group_key(other) == key:
                self.groups.join(other)
        if socket.group is None or socket.group.key is None:
            self.groups.join(socket)

    def remove(self, socket: DatagramSocket, name: Name) -> None:
        self.groups.leave(socket)
        table = self._table(socket)
        for where in places(name):
            walk = table[where, name.port]
            walk.remove(socket)
            if not walk:
                del table[where, name.port]

    def _table(self, socket: DatagramSocket) -> Table:
        return self.balanced if socket.reuseport_lb else self.bound

    def is_connected(self, flow: bytes, but: DatagramSocket) -> bool:
        """Has another socket this name and this peer?"""
        return any(socket is not but for socket in self.connected.get(flow, ()))

    def add_connected(self, socket: DatagramSocket, flow: bytes) -> None:
        self.connected.setdefault(flow, []).append(socket)

    def remove_connected(self, socket: DatagramSocket, flow: bytes) -> None:
        group = self.connected[flow]
        group.remove(socket)
        if not group:
            del self.connected[flow]


def _parsed(ip: IpPacket, data: Buffer, checked: bool) -> tuple[udp.Datagram, bool] | Drop:
    """A datagram, and whether it is one that only a socket with UDP_NO_CHECK6_RX takes."""
    datagram = udp.parse(data, ip, checked)
    if not isinstance(datagram, Drop):
        return datagram, False
    without = udp.without_checksum(data, ip)
    return datagram if without is None else (without, True)


def covers(socket: DatagramSocket, size: int) -> bool:
    """Does it hear addresses of ``size`` bytes? (With SO_REUSEPORT_LB a dual-stack socket hears no IPv4: facts F1.)"""
    name = socket.name
    assert name is not None
    if size == 16:
        return name.v6 is not None
    return name.v4 is not None and not (socket.reuseport_lb and name.v6 is not None)


def places(name: Name) -> set[bytes]:
    """The addresses that a socket is filed under: one, for both families' wildcards are the same."""
    return {where for where in (name.v4, name.v6) if where is not None}


def shares(socket: DatagramSocket) -> bool:
    return socket.reuseaddr or socket.reuseport or socket.reuseport_lb
