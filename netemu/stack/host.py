"""One IP host: packets in, packets out, and the sockets of its apps in between.

Sans-I/O. ``receive`` takes a packet, ``on_timer`` the time; ``transmit`` is pulled until it returns None after either, and
after any socket call. ``dispatch`` hands the sockets' news to their users; do it once per batch, not per packet.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface
from random import Random

from netemu.reasons import Drop, Match, Reason
from netemu.stack import constants as so
from netemu.stack.connections import Connections
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.demux import SocketTable
from netemu.stack.flavours import flavour_of
from netemu.stack.icmp import Icmp
from netemu.stack.membership import Reporting
from netemu.stack.ports import Ports
from netemu.stack.row import SocketRow
from netemu.stack.rows import socket_rows
from netemu.stack.sockets import Socket, error
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.sysctl import configure
from netemu.stack.udp import Udp
from netemu.tcp.config import NEVER, Config
from netemu.wire import ipv4, ipv6
from netemu.wire.buffer import Buffer
from netemu.wire.fragments import Fragments, fragments
from netemu.wire.ip import (
    ICMP,
    ICMPV6,
    IGMP,
    LOOPBACK,
    TCP,
    UDP,
    IpPacket,
    is_impossible_source,
    is_loopback,
    is_multicast,
)
from netemu.wire.packet import Packet

BROADCAST = b"\xff\xff\xff\xff"
MAX_QUEUED_OUTPUT = 4096
"""Packets (echo replies, RSTs, datagrams) that may wait for the device; more of them are dropped and counted."""


class Host:
    """See the module. ``matched`` and the return value of ``receive`` tell whose the last packet was, and why."""

    def __init__(
        self,
        addresses: Iterable[str],
        *,
        mtu: int = 1500,
        seed: int | None = None,
        sysctl: Mapping[str, int | str | tuple[int, int]] | None = None,
        offload: bool = False,
        device: str = "netemu0",
        flavour: str = "linux",
        config: Config | None = None,
    ) -> None:
        """``addresses``: '198.18.0.2', with or without a prefix length. ``offload``: may emit super-packets.

        ``device`` is what sockets know the wire by (SO_BINDTODEVICE, IP_PKTINFO); beside it there is lo.
        ``flavour``: whose rules of binding and of finding a socket it follows (netemu.stack.flavours).
        """
        self.random = Random(seed)
        interfaces = [ip_interface(a) for a in addresses]
        self.addresses = dict.fromkeys(i.packed for i in interfaces)  # an ordered set: the first comes first
        self.broadcasts = {BROADCAST: device, b"\x7f\xff\xff\xff": "lo"} | {
            interface.network.broadcast_address.packed: device
            for interface in interfaces
            if interface.version == 4 and interface.network.prefixlen < 31
        }
        """IPv4's broadcast addresses, with the device of each."""
        self.set_aside: set[bytes] = set()
        """Those of ``addresses`` that are for somebody alone: who binds a wildcard is not in his way, nor he in theirs."""
        self.device = device
        self.devices = {"lo": 1, device: 2}
        """Their names, with the ifindex of each."""
        self.mtu = mtu
        self.config = configure(config or Config(), sysctl or {})
        self.flavour = flavour_of(flavour)
        self.table = SocketTable(self.random.randbytes(16), self.flavour)
        self.udp = Udp(self)
        self.icmp = Icmp(self)
        self.tcp = Connections(self, offload)
        self.wake = self.tcp.wake
        self.fragments = Fragments()
        self.reporting = Reporting(self)
        self.path_mtu: dict[bytes, tuple[int, int]] = {}
        """Destination to (MTU, when it is forgotten)."""
        self.now = 0
        self.matched: object = None
        """The socket (or listener's socket) that the last received packet belonged to."""
        self.sent_for: Reason | None = None
        """Why the last transmitted packet was sent, where it was no socket that sent it."""
        self.counters: Counter[Reason] = Counter()
        self.faults: list[str] = []
        """InvariantErrors: bugs in netemu. Tests fail on any."""
        self._output: deque[tuple[Packet, Reason | Socket | None]] = deque()
        self._loopback: deque[tuple[Packet, str]] = deque()
        """What comes back to us, and the device by which it seems to arrive: the wire's, or lo."""
        self.news: list[Socket] = []
        """Sockets that ``dispatch`` has something to tell."""
        self._ident = self.random.randrange(1 << 16)
        self._next_id = 1

    # -- packets in -------------------------------------------------------------------------------------------------------

    def receive(self, packet: Packet | bytes, now: int) -> Reason:
        """Take one packet from the wire. The reason why it went where it went; never raises for what a peer can send."""
        self.now = now
        self.matched = None
        if not isinstance(packet, Packet):
            packet = Packet(packet)
        reason = self.tcp.receive_known(packet, now) or self._receive(packet, now, False, self.device)
        self.counters[reason] += 1
        return reason

    def _receive(self, packet: Packet, now: int, local: bool, device: str) -> Reason:
        data = packet.head
        if not data:
            return Drop.TRUNCATED
        version = data[0] >> 4
        if version == 4:
            parsed = ipv4.parse(data)
        elif version == 6:
            try:
                parsed = ipv6.parse(data)
            except ipv6.OptionProblem as problem:
                return self._option_problem(data, problem)
        else:
            return Drop.BAD_IP_VERSION
        if isinstance(parsed, Drop):
            return parsed
        return self._deliver(parsed, data, packet, now, local, device)

    def _deliver(self, ip: IpPacket, data: Buffer, packet: Packet, now: int, local: bool, device: str) -> Reason:
        """A packet with a valid IP header: is it for us, is it whole, which protocol?"""
        if ip.dst not in self.addresses and (self.is_for_many(ip.dst) or not (local and is_loopback(ip.dst))):
            return self._deliver_to_many(ip, data, packet, now, local, device)
        if not ip.hop_limit:
            return Drop.HOP_LIMIT_ZERO
        if not local and self.cannot_be_a_source(ip.src):
            return Drop.BAD_SOURCE
        if ip.is_fragment:
            whole = self.fragments.add(ip, data, now)
            if whole is None:
                return Match.FRAGMENT
            if isinstance(whole, Drop):
                return whole
            ip, data = whole
        checked = local or bool(packet.csum_start)
        if ip.protocol == TCP:
            return self.tcp.receive(ip, data, packet.gso_size, checked, now)
        if ip.protocol == UDP:
            return self.udp.receive(ip, data, checked)
        if ip.protocol == (ICMPV6 if ip.version == 6 else ICMP):
            return self.icmp.receive(ip, data, checked)
        if ip.protocol == IGMP and ip.version == 4:
            return self.reporting.receive(ip, data, checked)
        if ip.protocol == ipv6.NO_NEXT and ip.version == 6:
            return Drop.UNKNOWN_PROTOCOL
        self.icmp.unknown_protocol(ip, data)
        return Drop.UNKNOWN_PROTOCOL

    def _deliver_to_many(
        self, ip: IpPacket, data: Buffer, packet: Packet, now: int, local: bool, device: str
    ) -> Reason:
        """Is it to a group that we are in, or to a broadcast address of ours? Only UDP is heard there, and IGMP and MLD."""
        is_group = is_multicast(ip.dst)
        if ip.protocol != UDP or not (is_group or self.broadcasts.get(ip.dst) == device):
            if not is_group or ip.protocol not in (ICMPV6, IGMP):
                return Drop.NOT_FOR_US
            return self.reporting.receive(ip, data, bool(packet.csum_start))
        nobody_yet = (
            ip.src == bytes(4) and ip.dst == BROADCAST
        )  # RFC 1122 3.2.1.3 (a): a host that asks for its address
        if not local and not nobody_yet and self.cannot_be_a_source(ip.src):
            return Drop.BAD_SOURCE
        if not local and not ip.hop_limit:
            return Drop.HOP_LIMIT_ZERO  # to ourselves a TTL of 0 is allowed (facts U7)
        if is_group and not self.udp.members.wants(ip.dst, device, ip.src):
            return Drop.NOT_JOINED
        if ip.is_fragment:
            whole = self.fragments.add(ip, data, now)
            if whole is None or isinstance(whole, Drop):
                return whole or Match.FRAGMENT
            ip, data = whole
            if ip.protocol != UDP:
                return Drop.NOT_FOR_US
        return self.udp.receive_for_many(ip, data, local or bool(packet.csum_start), device, local)

    def cannot_be_a_source(self, src: bytes) -> bool:
        """On the wire: no host's address at all, our own, or everybody's of our subnet (RFC 1122 3.2.1.3, MUST-63)."""
        return is_impossible_source(src) or src in self.addresses or src in self.broadcasts

    def _option_problem(self, data: Buffer, problem: ipv6.OptionProblem) -> Drop:
        src, dst = bytes(data[8:24]), bytes(data[24:40])
        if self.cannot_be_a_source(src):
            return Drop.BAD_SOURCE
        if dst in self.addresses or is_multicast(dst):
            ip = IpPacket(6, src, dst, ipv6.NO_NEXT, data[7], 0, len(data), len(data))
            self.icmp.error(problem.reason, ip, data, 4, problem.code, problem.pointer, problem.even_multicast)
        return problem.reason

    # -- packets out ------------------------------------------------------------------------------------------------------

    def transmit(self, now: int) -> Packet | None:
        """The next packet for the wire, or None: ask again after the next call of anything else."""
        self.now = now
        while True:
            while self._loopback:  # packets to ourselves never see the wire
                packet, device = self._loopback.popleft()
                self.counters[self._receive(packet, now, True, device)] += 1
            if self._output:
                packet, why = self._output.popleft()
                self.sent_for, self.matched = (why, None) if isinstance(why, Reason) else (None, why)
                return packet
            segment = self.tcp.transmit(now)
            if segment is not None or not self._loopback:
                return segment

    def send_ip(
        self,
        src: bytes,
        dst: bytes,
        protocol: int,
        payload: bytes,
        *,
        ttl: int = 64,
        tos: int = 0,
        why: Reason | Socket | None = None,
        dont_fragment: bool = False,
        loops: str = "",
        to_many: bool = False,
    ) -> None:
        """Send ``payload``, in fragments where the path asks for it; ``why``, or whose it is, goes to the capture.

        ``to_many``: ``dst`` is a group or a broadcast address. ``loops``: our own copy of such a packet, as if it had come
        by that device.
        """
        local = bool(loops) or (not to_many and self.is_local(dst))
        if not local and not to_many and is_impossible_source(dst):
            return
        self._ident = (self._ident + 1) & 0xFFFF
        ident = self._ident if len(src) == 4 else self.random.getrandbits(32)
        mtu = 65575 if local else self.mtu_to(dst)
        for packet in fragments(src, dst, protocol, payload, mtu, ident, ttl, tos, dont_fragment):
            self.queue(packet, local, why, loops)

    def queue(self, packet: Packet, local: bool, why: Reason | Socket | None, device: str = "lo") -> None:
        """Send a packet as it is, to ourselves (as if by ``device``) when ``local``."""
        if len(self._output) >= MAX_QUEUED_OUTPUT:
            self.counters[Drop.OUTPUT_FULL] += 1
        elif local:
            self._loopback.append((packet, device))
        else:
            self._output.append((packet, why))

    # -- time -------------------------------------------------------------------------------------------------------------

    def next_timer(self) -> int | None:
        """When on_timer is due, ns, or None. May be early (timers are lazy), never late."""
        due = self.deadline()
        return due if due < NEVER else None

    def deadline(self) -> int:
        """As next_timer, with NEVER for None: easier to compare."""
        timers = self.tcp.timers
        due = timers[0][0] if timers else NEVER
        if self.fragments.partial:
            due = min(due, self.fragments.next_timer() or NEVER)
        if self.reporting.due < due:
            due = self.reporting.due
        return due

    def on_timer(self, now: int) -> None:
        """Do what is due."""
        self.now = now
        self.tcp.on_timer(now)
        if self.reporting.due <= now:
            self.reporting.on_timer(now)
        if self.fragments.partial:
            for partial in self.fragments.expire(now):
                self.counters[Drop.FRAGMENT_TIMEOUT] += 1
                if partial.first is not None:
                    self.icmp.reassembly_timeout(partial.version, partial.first)

    # -- sockets ----------------------------------------------------------------------------------------------------------

    def socket(
        self, family: int = so.AF_INET, kind: int = so.SOCK_STREAM, *, app: str = "", uid: int = 0
    ) -> StreamSocket | DatagramSocket:
        """A fresh socket of app ``app``, created by effective user ``uid``."""
        if kind not in (so.SOCK_STREAM, so.SOCK_DGRAM):
            raise error(errno.ESOCKTNOSUPPORT, "only SOCK_STREAM and SOCK_DGRAM")
        make = StreamSocket if kind == so.SOCK_STREAM else DatagramSocket
        return make(self, family, app, uid)

    def sockets(self) -> list[SocketRow]:
        """The rows of `netemu ss`."""
        return socket_rows(self)

    def register(self, socket: Socket) -> None:
        socket.id = self._next_id
        self._next_id += 1
        self.table.sockets[socket.id] = socket

    def unregister(self, socket: Socket) -> None:
        self.table.sockets.pop(socket.id, None)
        socket.closed = True

    def ports_of(self, socket: Socket) -> Ports:
        return self.tcp.ports if socket.is_stream else self.udp.ports

    def notify(self, socket: Socket, events: int) -> None:
        """News for a socket's user, told at the next ``dispatch``."""
        socket.events |= events
        if not socket.notified:
            socket.notified = True
            self.news.append(socket)

    def dispatch(self) -> None:
        """Tell the sockets' users their news. They may call anything; what follows from it is told at once too."""
        while self.news:
            pending, self.news = self.news, []
            for socket in pending:
                socket.notified = False
                events, socket.events = socket.events, 0
                if socket.on_event is not None:
                    socket.on_event(socket, events)

    def is_local(self, address: bytes) -> bool:
        """Ours: one that the wire knows us by, or a loopback address."""
        return address in self.addresses or is_loopback(address)

    def device_of(self, address: bytes) -> str:
        """The device that packets to ``address`` leave by, or arrive by where it is ours (facts U2: lo is for loopback only)."""
        return "lo" if is_loopback(address) else self.device

    def device_at(self, index: int) -> str:
        """The device with this ifindex; ENODEV."""
        for name, number in self.devices.items():
            if number == index:
                return name
        raise error(errno.ENODEV, f"no device {index}")

    def address_on(self, device: str, remote: bytes) -> bytes:
        """The address to speak to a group or to everybody, ``remote``, by ``device`` from."""
        if device == "lo":
            return LOOPBACK[len(remote)]
        if remote in self.broadcasts and remote != BROADCAST:
            return self.source_for(remote)
        for address in self.addresses:
            if len(address) == len(remote):
                return address
        raise error(errno.ENETUNREACH, "the host has no address of that family")

    def is_for_many(self, address: bytes) -> bool:
        """A group, or a broadcast address that we know?"""
        return is_multicast(address) or address in self.broadcasts

    def source_for(self, remote: bytes) -> bytes:
        """The local address to speak to ``remote`` from."""
        if self.is_local(remote):
            return remote if remote in self.addresses else LOOPBACK[len(remote)]
        best, best_length = None, -1
        for address in self.addresses:
            if len(address) == len(remote) and address not in self.set_aside:
                same = len(address) * 8 - (int.from_bytes(address, "big") ^ int.from_bytes(remote, "big")).bit_length()
                if same > best_length:  # the longest common prefix (RFC 6724 rule 8)
                    best, best_length = address, same
        if best is None:
            raise error(errno.ENETUNREACH, "the host has no address of that family")
        return best

    def link_mtu(self, remote: bytes) -> int:
        """The MTU of the device that leads to ``remote``; IPv4's packets are shorter than lo's 65536."""
        return (65535 if len(remote) == 4 else 65536) if self.is_local(remote) else self.mtu

    def way_mtu(self, remote: bytes) -> int:
        """The same of the whole path."""
        return self.link_mtu(remote) if self.is_local(remote) else self.mtu_to(remote)

    def mtu_to(self, remote: bytes) -> int:
        """The MTU of the path, bytes."""
        known = self.path_mtu.get(remote) if self.path_mtu else None
        if known is None:
            return self.mtu
        if known[1] <= self.now:
            del self.path_mtu[remote]
            return self.mtu
        return known[0]

    def shutdown(self) -> None:
        """End every connection with a RST: the host goes away."""
        self.tcp.shutdown()
        for socket in list(self.table.sockets.values()):
            if socket.is_listening:
                socket.close()
