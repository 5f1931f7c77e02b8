"""The UDP side of a host: datagrams to sockets and back, and the table that says whose a datagram is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.reasons import Drop, Match, Reason
from netemu.stack.demux import Slot, flow_hash, flow_key, index_in_group, match_of, probes, slots_of
from netemu.stack.names import Name
from netemu.stack.ports import Ports
from netemu.tcp.connection import READABLE
from netemu.wire import udp
from netemu.wire.buffer import Buffer
from netemu.wire.ip import UDP, IpPacket

if TYPE_CHECKING:
    from netemu.stack.datagram_socket import DatagramSocket
    from netemu.stack.host import Host


class Udp:
    """All of a host's UDP sockets, and what arrives for them."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.ports = Ports(host)
        self.connected: dict[bytes, list[DatagramSocket]] = {}
        """By flow key, the last to connect last."""
        self.bound: dict[Slot, list[DatagramSocket]] = {}

    def receive(self, ip: IpPacket, data: Buffer, checked: bool) -> Reason:
        """A UDP datagram in a valid IP packet for this host."""
        datagram = udp.parse(data, ip, checked)
        if isinstance(datagram, Drop):
            return datagram
        flow = flow_key(ip.src, ip.dst, datagram.sport, datagram.dport)
        found = self.find(ip.dst, datagram.dport, flow)
        if found is None:
            self._host.icmp.port_unreachable(ip, data)
            return Drop.UDP_NO_SOCKET
        socket, match = found
        self._host.matched = socket
        if not socket.receive(datagram.payload, ip.src, datagram.sport, ip.dst):
            return Drop.UDP_BUFFER_FULL
        self._host.notify(socket, READABLE)
        return match

    def send(self, socket: DatagramSocket, src: bytes, dst: bytes, dport: int, data: Buffer) -> None:
        """Send a datagram of ``socket``."""
        payload = udp.emit(src, dst, socket.lport, dport, data)
        self._host.send_ip(src, dst, UDP, payload, ttl=socket.ttl, tos=socket.tos, why=socket)

    # -- the table ----------------------------------------------------------------------------------------------------

    def find(self, address: bytes, port: int, flow: bytes) -> tuple[DatagramSocket, Match] | None:
        """The socket that a unicast datagram to ``address`` goes to: connected, then specific, then wildcard (facts U2)."""
        connected = self.connected.get(flow)
        if connected:
            return connected[-1], Match.UDP_CONNECTED
        for slot in probes(address, port):
            group = [s for s in self.bound.get(slot, ()) if s.peer is None]
            if group:
                chosen = group[-1]  # the last bound; with SO_REUSEPORT one of its group
                if chosen.reuseport and len(group) > 1:
                    shared = [s for s in group if s.reuseport and s.uid == chosen.uid]
                    chosen = shared[index_in_group(flow_hash(self._host.table.secret, flow), len(shared))]
                return chosen, match_of(slot, Match.UDP_SPECIFIC, Match.UDP_WILDCARD, Match.UDP_DUAL_STACK)
        return None

    def add(self, socket: DatagramSocket, name: Name) -> None:
        for slot in slots_of(name, socket.is_ipv6):
            self.bound.setdefault(slot, []).append(socket)

    def remove(self, socket: DatagramSocket, name: Name) -> None:
        for slot in slots_of(name, socket.is_ipv6):
            group = self.bound[slot]
            group.remove(socket)
            if not group:
                del self.bound[slot]

    def add_connected(self, socket: DatagramSocket, flow: bytes) -> None:
        self.connected.setdefault(flow, []).append(socket)

    def remove_connected(self, socket: DatagramSocket, flow: bytes) -> None:
        group = self.connected[flow]
        group.remove(socket)
        if not group:
            del self.connected[flow]
