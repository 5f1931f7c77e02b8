"""One IP host: packets in, packets out, and the sockets of its apps in between.

Sans-I/O. ``receive`` takes a packet, ``on_timer`` the time; ``transmit`` is pulled until it returns None after either, and
after any socket call. ``dispatch`` hands the sockets' news to their users; do it once per batch, not per packet.
"""

from __future__ import annotations

import errno
import heapq
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from random import Random

from netemu.reasons import Close, Drop, Match, Reason, Reset
from netemu.stack import constants as so
from netemu.stack.demux import SocketTable, flow_key
from netemu.stack.fragments import Fragments
from netemu.stack.icmp import Icmp
from netemu.stack.listener import Listener
from netemu.stack.names import ANY_V4, ANY_V6, MAPPED, name_of
from netemu.stack.output import Template, fragments
from netemu.stack.ports import Ports
from netemu.stack.sockets import DatagramSocket, Socket, StreamSocket, error
from netemu.stack.sysctl import configure
from netemu.tcp.config import NEVER, Config
from netemu.tcp.connection import (
    CONNECTED,
    DEFAULT_MSS_V4,
    DEFAULT_MSS_V6,
    ENDED,
    READABLE,
    Connection,
    reset_for,
)
from netemu.tcp.isn import initial_sequence, timestamp_offset
from netemu.tcp.state import InvariantError, State
from netemu.tcp.timewait import TimeWait
from netemu.wire import ipv4, ipv6, udp
from netemu.wire import tcp as tcp_wire
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import fold
from netemu.wire.ip import (
    ICMP,
    ICMPV6,
    IGMP,
    TCP,
    UDP,
    IpPacket,
    is_impossible_source,
    is_multicast,
    parse_address,
    pseudo_sum,
)
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, RST, SYN, Segment

MAX_QUEUED_OUTPUT = 4096
"""Packets (echo replies, RSTs, datagrams) that may wait for the device; more of them are dropped and counted."""
MAX_SUPER = 65535 - 60 - 60
"""Payload bytes of the largest super-segment: IPv4's total length, less the largest headers."""


class Host:
    """See the module. ``matched`` and the return value of ``receive`` tell whose the last packet was, and why."""

    def __init__(
        self,
        addresses: Iterable[str],
        *,
        mtu: int = 1500,
        seed: int | None = None,
        sysctl: Mapping[str, int] | None = None,
        offload: bool = False,
        config: Config | None = None,
    ) -> None:
        """``addresses``: '198.18.0.2', with or without a prefix length. ``offload``: may emit super-packets."""
        self.random = Random(seed)
        self.addresses = {parse_address(a.partition("/")[0]) for a in addresses}
        self.mtu = mtu
        self.offload = offload
        self.super_limit = MAX_SUPER if offload else 0
        self.config = configure(config or Config(), sysctl or {})
        self._secret = self.random.randbytes(16)
        self.table = SocketTable(self.random.randbytes(16))
        self.tcp_ports, self.udp_ports = Ports(self.random), Ports(self.random)
        self.icmp = Icmp(self)
        self.fragments = Fragments()
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
        self._ready: deque[Connection | TimeWait] = deque()
        self._output: deque[tuple[Packet, Reason | None]] = deque()
        self._loopback: deque[Packet] = deque()
        self._pending: list[Socket] = []
        self._timers: list[tuple[int, int, Connection | TimeWait]] = []
        self._order = 0
        self._ident = self.random.randrange(1 << 16)
        self._next_id = 1
        self._time_waiting: deque[TimeWait] = deque()

    # -- packets in -------------------------------------------------------------------------------------------------------

    def receive(self, packet: Packet | bytes, now: int) -> Reason:
        """Take one packet from the wire. The reason why it went where it went; never raises for what a peer can send."""
        self.now = now
        self.matched = None
        if not isinstance(packet, Packet):
            packet = Packet(packet)
        reason = self._receive(packet, now, False)
        self.counters[reason] += 1
        return reason

    def _receive(self, packet: Packet, now: int, local: bool) -> Reason:
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
        return self._deliver(parsed, data, packet, now, local)

    def _deliver(self, ip: IpPacket, data: Buffer, packet: Packet, now: int, local: bool) -> Reason:
        """A packet with a valid IP header: is it for us, is it whole, which protocol?"""
        if ip.dst not in self.addresses:
            return Drop.NEIGHBOUR_CHATTER if self._is_chatter(ip) else Drop.NOT_FOR_US
        if not ip.hop_limit:
            return Drop.HOP_LIMIT_ZERO
        if not local and (is_impossible_source(ip.src) or ip.src in self.addresses):
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
            return self._receive_tcp(ip, data, packet.gso_size, checked, now)
        if ip.protocol == UDP:
            return self._receive_udp(ip, data, checked)
        if ip.protocol == (ICMPV6 if ip.version == 6 else ICMP):
            return self.icmp.receive(ip, data, checked)
        if ip.protocol == ipv6.NO_NEXT and ip.version == 6:
            return Drop.UNKNOWN_PROTOCOL
        self.icmp.unknown_protocol(ip, data)
        return Drop.UNKNOWN_PROTOCOL

    @staticmethod
    def _is_chatter(ip: IpPacket) -> bool:
        return is_multicast(ip.dst) and ip.protocol in (ICMPV6, IGMP)

    def _option_problem(self, data: Buffer, problem: ipv6.OptionProblem) -> Drop:
        src, dst = bytes(data[8:24]), bytes(data[24:40])
        if dst in self.addresses or is_multicast(dst):
            ip = IpPacket(6, src, dst, ipv6.NO_NEXT, data[7], 0, len(data), len(data))
            self.icmp.error(Drop.BAD_IP_OPTION, ip, data, 4, problem.code, problem.pointer, problem.even_multicast)
        return Drop.BAD_IP_OPTION

    def _receive_tcp(self, ip: IpPacket, data: Buffer, gso_size: int, checked: bool, now: int) -> Reason:
        segment = tcp_wire.parse(data, ip.start, ip.end, gso_size)
        if isinstance(segment, Drop):
            return segment
        if not checked:
            length = ip.end - ip.start
            if (fold(data[ip.start : ip.end]) + pseudo_sum(ip.src, ip.dst, TCP, length)) % 65535:
                return Drop.BAD_TCP_CHECKSUM
        flow = ip.src + ip.dst + bytes(data[ip.start : ip.start + 4])
        connection = self.table.connections.get(flow)
        if connection is None:
            return self._no_connection(ip, segment, flow, now)
        return self._to_connection(connection, segment, ip, flow, now)

    def _to_connection(self, c: Connection | TimeWait, segment: Segment, ip: IpPacket, flow: bytes, now: int) -> Reason:
        self.matched = c.owner
        if isinstance(c, TimeWait):
            if c.may_reopen(segment):
                found = self.table.find_listener(ip.dst, int.from_bytes(flow[-2:], "big"), flow)
                if found is not None:
                    self._forget_time_wait(c)
                    return self._syn_to_listener(*found, ip, segment, flow, now)
            reason = c.receive(segment, now)
            if c.ended:
                self._forget_time_wait(c)
            elif c.ack_now:
                self._enqueue(c)
            return reason
        try:
            reason = c.receive(segment, now)
        except InvariantError as fault:
            return self._fault(c, fault)
        self.wake(c)
        return reason

    def _no_connection(self, ip: IpPacket, segment: Segment, flow: bytes, now: int) -> Reason:
        """LISTEN or CLOSED (RFC 9293 3.10.7.1, 3.10.7.2)."""
        port = int.from_bytes(flow[-2:], "big")
        found = self.table.find_listener(ip.dst, port, flow)
        flags = segment.flags
        if found is None:
            if flags & RST:
                return Drop.NO_SOCKET
            self._send_reset(ip, segment, flow, Reset.NO_SOCKET)
            return self.table.why_nobody(ip.dst, port)
        self.matched = found[0].socket
        if flags & RST:
            return Drop.LISTEN_RST
        if flags & ACK:
            self._send_reset(ip, segment, flow, Reset.LISTEN_ACK)
            return Drop.LISTEN_NOT_SYN
        if not flags & SYN:
            return Drop.LISTEN_NOT_SYN
        return self._syn_to_listener(*found, ip, segment, flow, now)

    def _syn_to_listener(
        self, listener: Listener, match: Match, ip: IpPacket, segment: Segment, flow: bytes, now: int
    ) -> Reason:
        self.matched = listener.socket
        if not int.from_bytes(flow[-4:-2], "big"):
            return Drop.BAD_TCP_HEADER  # port 0 could not be answered by a socket
        if listener.accept_queue_full:
            return Drop.ACCEPT_QUEUE_FULL
        if listener.syn_queue_full:
            return Drop.SYN_QUEUE_FULL
        c = self._new_connection(ip.dst, ip.src, flow, listener.socket, now)
        listener.socket.apply_options(c)
        c.owner = listener.socket
        c.may_establish = listener.may_establish
        listener.half_open.add(c)
        c.open_passive(segment, now)
        self._enqueue(c)
        return match

    def _receive_udp(self, ip: IpPacket, data: Buffer, checked: bool) -> Reason:
        datagram = udp.parse(data, ip, checked)
        if isinstance(datagram, Drop):
            return datagram
        flow = flow_key(ip.src, ip.dst, datagram.sport, datagram.dport)
        found = self.table.find_udp(ip.dst, datagram.dport, flow)
        if found is None:
            self.icmp.port_unreachable(ip, data)
            return Drop.UDP_NO_SOCKET
        socket, match = found
        self.matched = socket
        if not socket.receive(datagram.payload, ip.src, datagram.sport, ip.dst):
            return Drop.UDP_BUFFER_FULL
        self.notify(socket, READABLE)
        return match

    # -- packets out ------------------------------------------------------------------------------------------------------

    def transmit(self, now: int) -> Packet | None:
        """The next packet for the wire, or None: ask again after the next call of anything else."""
        self.now = now
        while True:
            while self._loopback:  # packets to ourselves never see the wire
                self.counters[self._receive(self._loopback.popleft(), now, True)] += 1
            if self._output:
                self.matched = None
                packet, self.sent_for = self._output.popleft()
                return packet
            if not self._ready:
                return None
            c = self._ready[0]
            try:
                segment = c.transmit(now, self.super_limit)
            except InvariantError as fault:
                assert isinstance(c, Connection)
                self._fault(c, fault)
                continue
            if segment is None:
                self._ready.popleft()
                c.queued = False
                if isinstance(c, Connection):
                    self._settle(c)
                continue
            self._ready.rotate(-1)  # the next connection's turn
            self.matched, self.sent_for = c.owner, None
            emitted = self._emit(c, segment)
            if emitted is not None:
                return emitted

    def _emit(self, c: Connection | TimeWait, segment: Segment) -> Packet | None:
        self._ident = (self._ident + 1) & 0xFFFF
        template = c.template
        assert isinstance(template, Template)
        packet = template.packet(segment, self._ident, self.offload and not template.local)
        if template.local:
            self._loopback.append(Packet(bytes(packet)))
            return None
        return packet

    def _send_reset(self, ip: IpPacket, segment: Segment, flow: bytes, reason: Reset) -> None:
        self.counters[reason] += 1
        sport, dport = int.from_bytes(flow[-2:], "big"), int.from_bytes(flow[-4:-2], "big")
        template = Template(ip.dst, ip.src, sport, dport, 64, ip.tos, ip.src in self.addresses)
        self._queue(template.packet(reset_for(segment), 0, False), template.local, reason)

    def send_ip(
        self,
        src: bytes,
        dst: bytes,
        protocol: int,
        payload: bytes,
        *,
        ttl: int = 64,
        tos: int = 0,
        why: Reason | None = None,
    ) -> None:
        """Send ``payload``, in fragments where the path asks for it; ``why`` goes to the capture."""
        local = dst in self.addresses
        if is_impossible_source(dst):
            return
        self._ident = (self._ident + 1) & 0xFFFF
        ident = self._ident if len(src) == 4 else self.random.getrandbits(32)
        for packet in fragments(src, dst, protocol, payload, 65575 if local else self.mtu_to(dst), ident, ttl, tos):
            self._queue(packet, local, why)

    def send_udp(self, src: bytes, dst: bytes, sport: int, dport: int, data: Buffer, ttl: int, tos: int) -> None:
        self.send_ip(src, dst, UDP, udp.emit(src, dst, sport, dport, data), ttl=ttl, tos=tos)

    def _queue(self, packet: Packet, local: bool, why: Reason | None) -> None:
        if len(self._output) >= MAX_QUEUED_OUTPUT:
            self.counters[Drop.OUTPUT_FULL] += 1
        elif local:
            self._loopback.append(packet)
        else:
            self._output.append((packet, why))

    # -- time -------------------------------------------------------------------------------------------------------------

    def next_timer(self) -> int | None:
        """When on_timer is due, ns; may be early (timers are lazy), never late."""
        due = self._timers[0][0] if self._timers else NEVER
        if self.fragments.partial:
            due = min(due, self.fragments.next_timer() or NEVER)
        if self._time_waiting:
            due = min(due, self._time_waiting[0].expires)
        return due if due < NEVER else None

    def on_timer(self, now: int) -> None:
        """Do what is due."""
        self.now = now
        timers = self._timers
        while timers and timers[0][0] <= now:
            due, _, c = heapq.heappop(timers)
            assert isinstance(c, Connection)
            if c.wakeup != due:
                continue  # an earlier wake-up took this one's place
            c.wakeup = NEVER
            if c.state is State.CLOSED:
                continue
            if c.next_timer() <= now:
                try:
                    c.on_timer(now)
                except InvariantError as fault:
                    self._fault(c, fault)
                self.wake(c)
            else:
                self._schedule(c)
        while self._time_waiting and self._time_waiting[0].expires <= now:
            waiting = self._time_waiting.popleft()
            if not waiting.ended:
                self._forget_time_wait(waiting)
        if self.fragments.partial:
            for partial in self.fragments.expire(now):
                self.counters[Drop.FRAGMENT_TIMEOUT] += 1
                if partial.first is not None:
                    self.icmp.reassembly_timeout(partial.version, partial.first)

    def _schedule(self, c: Connection) -> None:
        """Keep one heap entry that is not later than the connection's next deadline."""
        due = c.next_timer()
        if due < c.wakeup:
            c.wakeup = due
            self._order += 1
            heapq.heappush(self._timers, (due, self._order, c))

    # -- connections ------------------------------------------------------------------------------------------------------

    def wake(self, c: Connection) -> None:
        """Something happened to ``c``: it may have output, news, a timer, or an end."""
        if c.events:
            self._tell(c)
        if not c.queued:
            c.queued = True
            self._ready.append(c)

    def _enqueue(self, c: Connection | TimeWait) -> None:
        if not c.queued:
            c.queued = True
            self._ready.append(c)

    def _settle(self, c: Connection) -> None:
        """``c`` has nothing more to send for now: its timer, and its place in the table."""
        state = c.state
        if state is State.TIME_WAIT:
            self._to_time_wait(c)
        elif state is not State.CLOSED:
            due = c.next_timer()
            if due < c.wakeup:
                self._schedule(c)

    def _tell(self, c: Connection) -> None:
        """Pass on the connection's events; handle the ones that concern the table."""
        events, c.events = c.events, 0
        if events & CONNECTED and c.may_establish is not None:
            self._established(c)
        if events & ENDED:
            self._ended(c)
        owner = c.owner
        if isinstance(owner, StreamSocket) and owner.connection is c:
            self.notify(owner, events)

    def _established(self, c: Connection) -> None:
        """The handshake of a listener's connection is done: it gets a socket of its own."""
        parent = c.owner
        assert isinstance(parent, StreamSocket)
        listener = parent.listener
        c.may_establish = None
        if listener is None:
            c.abort(Reset.LISTENER_CLOSED, Close.LISTENER_CLOSED)
            return
        listener.half_open.discard(c)
        child = StreamSocket(self, parent.family, parent.app, parent.uid)
        child.inherit(parent)
        child.connection = c
        c.owner = child
        self._name_connection(child, c)
        listener.accepted.append(child)
        self.notify(parent, READABLE)

    def _name_connection(self, socket: StreamSocket, c: Connection) -> None:
        """Give a socket the concrete names of its connection."""
        size = 4 if len(c.flow) == 12 else 16
        peer, local = c.flow[:size], c.flow[size : 2 * size]
        sport, dport = int.from_bytes(c.flow[-4:-2], "big"), int.from_bytes(c.flow[-2:], "big")
        socket.peer = (peer, sport)
        socket.laddr = local if size == 16 or not socket.is_ipv6 else MAPPED + local
        socket.lport = dport
        socket.name = name_of(socket.family, socket.laddr, dport, socket.v6only)
        self.tcp_ports.hold(socket, dport)

    def _ended(self, c: Connection) -> None:
        """CLOSED: out of the table."""
        if c.close_reason is not None:
            self.counters[c.close_reason] += 1
        if c.reset_with is not None:
            self.counters[c.reset_with] += 1
        if self.table.connections.get(c.flow) is c:
            del self.table.connections[c.flow]
        self._disown(c)

    def _disown(self, c: Connection) -> None:
        owner = c.owner
        if isinstance(owner, StreamSocket):
            if owner.connection is c:
                owner.ended()
            elif owner.listener is not None:
                owner.listener.half_open.discard(c)

    def _to_time_wait(self, c: Connection) -> None:
        """Replace the connection by its compact form; the socket, if someone still holds it, keeps what was not read."""
        if self.table.connections.get(c.flow) is not c:
            return
        waiting = TimeWait(c, self.now)
        self.table.connections[c.flow] = waiting
        self._time_waiting.append(waiting)
        self.counters[Close.NORMAL] += 1
        c.close_reason = Close.NORMAL
        owner = c.owner
        if isinstance(owner, StreamSocket):
            self.notify(owner, ENDED)
            owner.ended()
        if waiting.ack_now:
            self._enqueue(waiting)

    def _forget_time_wait(self, waiting: TimeWait) -> None:
        waiting.ended = True
        if self.table.connections.get(waiting.flow) is waiting:
            del self.table.connections[waiting.flow]

    def _new_connection(self, local: bytes, remote: bytes, flow: bytes, socket: Socket, now: int) -> Connection:
        """A connection in CLOSED, filed under its flow."""
        v6 = len(local) == 16
        iss = initial_sequence(self._secret, flow, now)
        path_mss = self.mtu_to(remote) - (60 if v6 else 40)
        default = DEFAULT_MSS_V6 if v6 else DEFAULT_MSS_V4
        c = Connection(self.config, iss, path_mss, timestamp_offset(self._secret, flow), default)
        c.flow = flow
        sport, dport = int.from_bytes(flow[-2:], "big"), int.from_bytes(flow[-4:-2], "big")
        c.template = Template(local, remote, sport, dport, socket.ttl, socket.tos, remote in self.addresses)
        self.table.connections[flow] = c
        return c

    def connect(self, socket: StreamSocket, remote: bytes, port: int) -> None:
        """Begin a connection for ``socket``; EADDRNOTAVAIL when the 4-tuple is taken (for StreamSocket.connect)."""
        local = socket.laddr[12:] if socket.laddr[:12] == MAPPED and len(socket.laddr) == 16 else socket.laddr
        if local in (ANY_V4, ANY_V6):
            local = self.source_for(remote)
        if len(local) != len(remote):
            raise error(errno.ENETUNREACH, "the socket is bound to an address of the other family")
        laddr = MAPPED + local if socket.is_ipv6 and len(local) == 4 else local
        connections = self.table.connections
        if socket.name is None:
            lport = self.tcp_ports.ephemeral(
                lambda p: self.tcp_ports.is_free(p) and flow_key(remote, local, port, p) not in connections
            )
            socket.take_name(laddr, name_of(socket.family, laddr, lport, socket.v6only))
            self.tcp_ports.hold(socket, lport)
        flow = flow_key(remote, local, port, socket.lport)
        known = connections.get(flow)
        if isinstance(known, TimeWait) and known.ts_on:
            self._forget_time_wait(known)  # as Linux: timestamps keep the old and the new apart (facts T10)
        elif known is not None:
            raise error(errno.EADDRNOTAVAIL, "this 4-tuple is in use")
        socket.laddr, socket.peer = laddr, (remote, port)
        c = self._new_connection(local, remote, flow, socket, self.now)
        socket.connection = c
        socket.reported = False
        c.owner = socket
        socket.apply_options(c)
        c.open_active(self.now)
        self.wake(c)

    def _fault(self, c: Connection, fault: InvariantError) -> Drop:
        """A bug of ours ends this one connection and is shown to everybody who looks."""
        self.faults.append(f"{c.owner}: {fault}")
        if c.state is not State.CLOSED:
            c.abort(Reset.INVARIANT, Close.INVARIANT)
        self.wake(c)
        return Drop.INVARIANT

    # -- sockets ----------------------------------------------------------------------------------------------------------

    def socket(
        self, family: int = so.AF_INET, kind: int = so.SOCK_STREAM, *, app: str = "", uid: int = 0
    ) -> StreamSocket | DatagramSocket:
        """A fresh socket of app ``app``, created by effective user ``uid``."""
        return (
            StreamSocket(self, family, app, uid) if kind == so.SOCK_STREAM else DatagramSocket(self, family, app, uid)
        )

    def register(self, socket: Socket) -> None:
        socket.id = self._next_id
        self._next_id += 1
        self.table.sockets[socket.id] = socket

    def unregister(self, socket: Socket) -> None:
        self.table.sockets.pop(socket.id, None)
        socket.id = 0

    def ports_of(self, socket: Socket) -> Ports:
        return self.tcp_ports if socket.is_stream else self.udp_ports

    def notify(self, socket: Socket, events: int) -> None:
        """News for a socket's user, told at the next ``dispatch``."""
        socket.events |= events
        if not socket.notified:
            socket.notified = True
            self._pending.append(socket)

    @property
    def has_news(self) -> bool:
        """``dispatch`` has something to tell."""
        return bool(self._pending)

    def dispatch(self) -> None:
        """Tell the sockets' users their news. They may call anything; what follows from it is told at once too."""
        while self._pending:
            pending, self._pending = self._pending, []
            for socket in pending:
                socket.notified = False
                events, socket.events = socket.events, 0
                if socket.on_event is not None:
                    socket.on_event(socket, events)

    def source_for(self, remote: bytes) -> bytes:
        """The local address to speak to ``remote`` from."""
        if remote in self.addresses:
            return remote
        best, best_length = None, -1
        for address in self.addresses:
            if len(address) == len(remote):
                same = len(address) * 8 - (int.from_bytes(address, "big") ^ int.from_bytes(remote, "big")).bit_length()
                if same > best_length:  # the longest common prefix (RFC 6724 rule 8)
                    best, best_length = address, same
        if best is None:
            raise error(errno.ENETUNREACH, "the host has no address of that family")
        return best

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
        for c in list(self.table.connections.values()):
            if isinstance(c, Connection):
                c.orphan = True
                c.abort(Reset.SHUTDOWN, Close.SHUTDOWN)
                self.wake(c)
        for socket in list(self.table.sockets.values()):
            if socket.is_listening:
                socket.close()
