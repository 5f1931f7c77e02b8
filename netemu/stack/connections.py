"""The TCP side of a host: segments to connections, connections to segments, their timers and their sockets."""

from __future__ import annotations

import errno
import heapq
from collections import deque
from struct import Struct
from typing import TYPE_CHECKING

from netemu.reasons import Close, Drop, Match, Reason, Reset
from netemu.stack.demux import flow_key
from netemu.stack.groups import Choice
from netemu.stack.holders import Remains
from netemu.stack.names import ANY_V4, ANY_V6, MAPPED, name_connected
from netemu.stack.ports import Ports
from netemu.stack.sockets import Socket, error
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.config import NEVER
from netemu.tcp.connection import (
    CONNECTED,
    DEFAULT_MSS_V4,
    DEFAULT_MSS_V6,
    ENDED,
    READABLE,
    Connection,
)
from netemu.tcp.ecn import CE
from netemu.tcp.isn import initial_sequence, timestamp_offset
from netemu.tcp.state import InvariantError, State
from netemu.tcp.timewait import TimeWait
from netemu.wire import tcp as tcp_wire
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import fold
from netemu.wire.ip import TCP, IpPacket, is_loopback, pseudo_sum
from netemu.wire.output import Template
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, CWR, ECE, FIN, HALF, RST, SYN, URG, Segment, reset_for

if TYPE_CHECKING:
    from netemu.stack.host import Host
    from netemu.stack.listener import Listener

MAX_SUPER = 65535 - 60 - 60
"""Payload bytes of the largest super-segment: IPv4's total length, less the largest headers."""

_V4 = Struct(">BBHHHBBH12sIIHHHH")  # an IPv4 header without options and a TCP header; the 12 bytes are the flow key
_V6 = Struct(">IHBB36sIIHHHH")
_TIMESTAMPS = Struct(">III")
_PLAIN_FLAGS, _PLAIN_ACK = 0xF000 | SYN | FIN | RST | URG | ACK | ECE | CWR, 8 << 12 | ACK

IPV6_AS_IPV4 = b"\x7f\0\0\6"
"""As Linux: the IPv4 address of a socket whose IPv6 address outlived its binding, once IPV6_V6ONLY is cleared."""

_OPEN = State.ESTABLISHED


class Connections:
    """All of a host's connections, from the first SYN to the end of TIME-WAIT."""

    def __init__(self, host: Host, offload: bool) -> None:
        self._host = host
        self._offload = offload
        self._limit = MAX_SUPER if offload else 0
        self._secret = host.random.randbytes(16)
        self._table = host.table
        self._by_flow = host.table.connections
        self.ports = Ports(host)
        self._ready: deque[Connection | TimeWait] = deque()
        """Those that may have something to send, each once (``queued``)."""
        self.timers: list[tuple[int, int, Connection | TimeWait]] = []
        """A heap of (when, order, whose); entries are lazy, they may be early."""
        self._order = 0
        self._ident = host.random.randrange(1 << 16)

    # -- segments in ------------------------------------------------------------------------------------------------------

    def receive_known(self, packet: Packet, now: int) -> Reason | None:
        """The short way for nearly every packet: a whole, plain TCP segment of a connection that we have.

        None where anything is unusual; the long way then finds out what. One unpack of both headers and one dictionary get
        with the flow's bytes cost 1.2 us where the layers one by one take 6.
        """
        data = packet.head
        size = len(data)
        if size < 40:
            return None
        first = data[0]
        if first == 0x45:
            (_, traffic_class, total, _, fragment, ttl, protocol, _, flow, seq, ack, offset_flags, wnd, _, urg) = (
                _V4.unpack_from(data)
            )
            start = 20
            if protocol != TCP or total != size or fragment & 0x3FFF or not ttl:
                return None
        elif first >> 4 == 6 and size >= 60:
            word, length, protocol, ttl, flow, seq, ack, offset_flags, wnd, _, urg = _V6.unpack_from(data)
            traffic_class = word >> 20
            start = 40
            if protocol != TCP or length + 40 != size or not ttl:
                return None
        else:
            return None
        c = self._by_flow.get(flow)
        if not isinstance(c, Connection):
            return None
        if not packet.csum_start and not _checksums_are_right(data, start, flow):
            return None
        if (
            offset_flags & _PLAIN_FLAGS == _PLAIN_ACK and traffic_class & CE != CE and size >= start + 32
        ):  # eight words: the timestamp option and no other
            layout, ts_val, _ = _TIMESTAMPS.unpack_from(data, start + 20)
            body = start + 32
            if layout == tcp_wire.NOP_NOP_TIMESTAMP and c.was_predicted(
                seq, ack, wnd, ts_val, data[body:], size - body, now
            ):
                self._host.matched = c.owner
                if c.events:
                    self._tell(c)
                if not c.queued:
                    c.queued = True
                    self._ready.append(c)
                return Match.CONNECTION
        segment = tcp_wire.parse_rest(data, start, size, seq, ack, offset_flags, wnd, urg, packet.gso_size)
        if segment.__class__ is not Segment:
            return None
        segment.ecn = traffic_class & CE
        return self._to_connection(c, segment, now)

    def receive(self, ip: IpPacket, data: Buffer, gso_size: int, checked: bool, now: int) -> Reason:
        """A TCP segment in a valid IP packet for this host."""
        segment = tcp_wire.parse(data, ip.start, ip.end, gso_size)
        if isinstance(segment, Drop):
            return segment
        segment.ecn = ip.tos & CE
        if not checked:
            pseudo = pseudo_sum(ip.src, ip.dst, TCP, ip.end - ip.start)
            if (fold(data[ip.start : ip.end]) + pseudo) % 65535:
                return Drop.BAD_TCP_CHECKSUM
        flow = ip.src + ip.dst + bytes(data[ip.start : ip.start + 4])
        c = self._by_flow.get(flow)
        if c is None:
            return self._no_connection(ip, segment, data, flow, now)
        if isinstance(c, TimeWait):
            return self._to_time_waiting(c, segment, ip, data, flow, now)
        return self._to_connection(c, segment, now)

    def _to_connection(self, c: Connection, segment: Segment, now: int) -> Reason:
        self._host.matched = c.owner
        try:
            reason = c.receive(segment, now)
        except InvariantError as fault:
            return self._fault(c, fault)
        if reason is Drop.BAD_HANDSHAKE_ACK and c.handshake_reset is not None:
            self._host.counters[Reset.BAD_ACK] += 1
        if c.events:
            self._tell(c)
        if not c.queued:
            c.queued = True
            self._ready.append(c)
        return reason

    def _to_time_waiting(
        self, c: TimeWait, segment: Segment, ip: IpPacket, data: Buffer, flow: bytes, now: int
    ) -> Reason:
        self._host.matched = c.owner
        if c.may_reopen(segment):
            port, device = int.from_bytes(flow[-2:], "big"), self._host.device_of(ip.dst)
            found = self._table.choose_listener(ip.dst, port, flow, device, data, _payload(ip, data))
            if found is not None:
                self._forget(c)
                return self._syn_to_listener(*found, ip, segment, flow, now, c)
        reason = c.receive(segment, now)
        if c.ended:
            self._forget(c)
        elif c.ack_now:
            self._enqueue(c)
        return reason

    def _no_connection(self, ip: IpPacket, segment: Segment, data: Buffer, flow: bytes, now: int) -> Reason:
        """LISTEN or CLOSED (RFC 9293 3.10.7.1, 3.10.7.2)."""
        port, device = int.from_bytes(flow[-2:], "big"), self._host.device_of(ip.dst)
        flags = segment.flags
        opens = flags & (ACK | SYN | RST) == SYN
        found = self._table.choose_listener(ip.dst, port, flow, device, data, _payload(ip, data), not opens)
        if found is None:
            if not flags & RST:
                self._send_reset(ip, segment, flow, Reset.NO_SOCKET)
            return self._table.why_nobody(ip.dst, port, device)
        self._host.matched = found[0].member
        if flags & RST:
            return Drop.LISTEN_RST
        if flags & ACK:
            self._send_reset(ip, segment, flow, Reset.LISTEN_ACK)
        if not opens:
            return Drop.LISTEN_NOT_SYN
        return self._syn_to_listener(*found, ip, segment, flow, now)

    def _syn_to_listener(
        self,
        choice: Choice,
        match: Match,
        ip: IpPacket,
        segment: Segment,
        flow: bytes,
        now: int,
        before: TimeWait | None = None,
    ) -> Reason:
        socket = choice.member
        assert isinstance(socket, StreamSocket)
        assert socket.listener is not None
        listener = socket.listener
        self._host.matched = socket
        if not int.from_bytes(flow[-4:-2], "big"):
            return Drop.BAD_TCP_HEADER  # port 0: no socket could be addressed there
        if listener.accept_queue_full:
            return Drop.ACCEPT_QUEUE_FULL
        if listener.syn_queue_full:
            return Drop.SYN_QUEUE_FULL
        c = self._new(ip.dst, ip.src, flow, socket, now, before)
        socket.apply_options(c)
        c.owner = socket
        c.open_passive(segment, now)
        if socket.hold_synack:
            c.hold(now)
            self._to_accept_queue(c, socket, listener)
        else:
            c.may_establish = listener.may_establish
            listener.half_open.add(c)
        self._enqueue(c)
        return match

    def _send_reset(self, ip: IpPacket, segment: Segment, flow: bytes, reason: Reset) -> None:
        host = self._host
        host.counters[reason] += 1
        sport, dport = int.from_bytes(flow[-2:], "big"), int.from_bytes(flow[-4:-2], "big")
        local = host.is_local(ip.src)
        template = Template(ip.dst, ip.src, sport, dport, 64, ip.tos, local)
        host.queue(template.packet(reset_for(segment), 0, False), local, reason)

    # -- segments out -----------------------------------------------------------------------------------------------------

    def transmit(self, now: int) -> Packet | None:
        """The next connection's next packet, round robin; None when no connection has any."""
        ready = self._ready
        while ready:
            c = ready[0]
            try:
                segment = c.transmit(now, self._limit)
            except InvariantError as fault:
                assert isinstance(c, Connection)
                self._fault(c, fault)
                continue
            if segment is None:
                ready.popleft()
                c.queued = False
                if isinstance(c, Connection):
                    self._settle(c)
                continue
            if c.state is _OPEN and isinstance(c, Connection) and c.is_drained:
                ready.popleft()  # nothing is left to ask for: saves 2 us a segment of request and response
                c.queued = False
                self._settle(c)
            else:
                ready.rotate(-1)
            host = self._host
            host.matched, host.sent_for = c.owner, None
            self._ident = (self._ident + 1) & 0xFFFF
            template: Template = c.template  # type: ignore[assignment]  # set in _new
            if not template.local:
                return template.packet(segment, self._ident, self._offload)
            host.queue(Packet(bytes(template.packet(segment, self._ident, False))), True, None)
        return None

    def wake(self, c: Connection) -> None:
        """Something was done to ``c``: it may have output, news, a timer, or an end."""
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
        """``c`` has nothing more to send for now: see to its timer, or to its place in the table."""
        due = c.wakeup
        if (
            c.deadline_rtx < due
            or c.deadline_ack < due
            or c.deadline_keepalive < due
            or c.deadline_user < due
            or c.deadline_pace < due
        ):
            self._schedule(c)
        if c.state is State.TIME_WAIT:
            self._to_time_wait(c)

    # -- time -------------------------------------------------------------------------------------------------------------

    def on_timer(self, now: int) -> None:
        timers = self.timers
        while timers and timers[0][0] <= now:
            _, _, c = heapq.heappop(timers)
            if isinstance(c, TimeWait):
                if c.expires > now and not c.ended:
                    self._push(c.expires, c)  # it was restarted
                else:
                    self._forget(c)
            else:
                c.wakeup, c.later = (c.later[-1], c.later[:-1]) if c.later else (NEVER, ())
                self._expire(c, now)

    def _expire(self, c: Connection, now: int) -> None:
        if c.state is State.CLOSED:
            return
        if c.next_timer() > now:
            self._schedule(c)
            return
        try:
            c.on_timer(now)
        except InvariantError as fault:
            self._fault(c, fault)
        self.wake(c)

    def _schedule(self, c: Connection) -> None:
        """Keep a heap entry that is not later than the connection's next deadline; later ones cost nothing to re-arm."""
        due = c.next_timer()
        if due < c.wakeup:
            if c.wakeup != NEVER:
                c.later += (c.wakeup,)  # its entry is still in the heap, and will do when this one is gone
            c.wakeup = due
            self._push(due, c)

    def _push(self, due: int, c: Connection | TimeWait) -> None:
        if len(self.timers) > 8 * len(self._by_flow) + 64:  # most of them are of connections that have ended
            self.timers[:] = [entry for entry in self.timers if self._by_flow.get(entry[2].flow) is entry[2]]
            heapq.heapify(self.timers)
        self._order += 1
        heapq.heappush(self.timers, (due, self._order, c))

    # -- from SYN to TIME-WAIT --------------------------------------------------------------------------------------------

    def connect(self, socket: StreamSocket, remote: bytes, port: int) -> None:
        """Begin a connection for ``socket``; EADDRNOTAVAIL when the 4-tuple is taken (StreamSocket.connect has the rest)."""
        host = self._host
        local = socket.local_address
        if local in (ANY_V4, ANY_V6):
            local = host.source_for(remote)
        if len(local) == 16 and len(remote) == 4:
            local = IPV6_AS_IPV4
        elif len(local) != len(remote):
            raise error(errno.ENETUNREACH, "the socket is bound to an address of the other family")
        if is_loopback(local) and not host.is_local(remote):
            # RFC 1122 3.2.1.3 g, RFC 4291 2.5.3. DEVIATION: over IPv6 Linux lets connect wait for its timeout
            raise error(errno.EINVAL, "a loopback address reaches nobody else")
        laddr = MAPPED + local if socket.is_ipv6 and len(local) == 4 else local
        if socket.name is None:
            lport = self.ports.for_connect(
                socket,
                local + remote + port.to_bytes(2, "big"),
                lambda p: flow_key(remote, local, port, p) not in self._by_flow,
            )
            socket.take_name(laddr, name_connected(socket, laddr, lport))
            socket.port_by_connect = True
            self.ports.hold(socket, lport)
        flow = flow_key(remote, local, port, socket.lport)
        known = self._by_flow.get(flow)
        if isinstance(known, TimeWait) and known.ts_on:
            self._forget(known)  # as Linux: timestamps keep the old and the new connection apart (facts T10)
        elif known is not None:
            raise error(errno.EADDRNOTAVAIL, "this 4-tuple is in use")
        socket.move(laddr)
        socket.peer = remote, port
        before = known if isinstance(known, TimeWait) else None
        c = self._new(local, remote, flow, socket, host.now, before)
        socket.connection = c
        socket.reported = False
        c.owner = socket
        socket.apply_options(c)
        c.open_active(host.now)
        self.wake(c)

    def _new(
        self, local: bytes, remote: bytes, flow: bytes, socket: Socket, now: int, before: TimeWait | None
    ) -> Connection:
        """A connection in CLOSED, filed under its flow; ``before`` is the one in TIME-WAIT that it takes the place of."""
        host, v6 = self._host, len(local) == 16
        iss = initial_sequence(self._secret, flow, now)
        if before is not None and (iss - before.next_iss) & HALF:
            iss = before.next_iss  # MAY-2: beyond all that the connection before this one has used
        path_mss = host.mtu_to(remote) - (60 if v6 else 40)
        default = DEFAULT_MSS_V6 if v6 else DEFAULT_MSS_V4
        c = Connection(host.config, iss, path_mss, timestamp_offset(self._secret, flow), default)
        c.flow = flow
        sport, dport = int.from_bytes(flow[-2:], "big"), int.from_bytes(flow[-4:-2], "big")
        c.template = Template(local, remote, sport, dport, socket.ttl, socket.tos, host.is_local(remote))
        self._by_flow[flow] = c
        return c

    def _tell(self, c: Connection) -> None:
        """Pass on a connection's events; handle those that concern the table."""
        events, c.events = c.events, 0
        if events & CONNECTED and c.may_establish is not None:
            self._established(c)
        owner = c.owner
        if isinstance(owner, StreamSocket) and owner.connection is c:
            self._host.notify(owner, events)
        if events & ENDED:
            self._ended(c)

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
        self._to_accept_queue(c, parent, listener)

    def _to_accept_queue(self, c: Connection, parent: StreamSocket, listener: Listener) -> None:
        """Give a listener's connection a socket of its own."""
        child = StreamSocket(self._host, parent.family, parent.app, parent.uid)
        child.inherit(parent)
        child.connected, child.connecting = not c.held, c.held
        child.connection = c
        c.owner = child
        size = 4 if len(c.flow) == 12 else 16
        peer, local = c.flow[:size], c.flow[size : 2 * size]
        child.peer = (peer, int.from_bytes(c.flow[-4:-2], "big"))
        laddr = MAPPED + local if size == 4 and child.is_ipv6 else local
        child.take_name(laddr, name_connected(child, laddr, parent.lport))
        self.ports.hold(child, parent.lport)
        listener.accepted.append(child)
        self._host.notify(parent, READABLE)

    def _ended(self, c: Connection) -> None:
        """CLOSED: out of the table."""
        counters = self._host.counters
        if c.close_reason is not None:
            counters[c.close_reason] += 1
        if c.reset_with is not None:
            counters[c.reset_with] += 1
        if self._by_flow.get(c.flow) is c:
            del self._by_flow[c.flow]
        owner = c.owner
        if isinstance(owner, StreamSocket):
            if owner.connection is c:
                owner.ended()
            elif owner.listener is not None:
                owner.listener.half_open.discard(c)

    def _to_time_wait(self, c: Connection) -> None:
        """Replace a connection by its compact form; its socket, if someone still holds it, keeps what was not read."""
        if self._by_flow.get(c.flow) is not c:
            return
        waiting = TimeWait(c, self._host.now)
        self._keep_port(waiting)
        self._by_flow[c.flow] = waiting
        self._push(waiting.expires, waiting)
        c.close_reason = Close.NORMAL
        self._host.counters[Close.NORMAL] += 1
        owner = c.owner
        if isinstance(owner, StreamSocket):
            self._host.notify(owner, ENDED)
            owner.ended()
        if waiting.ack_now:
            self._enqueue(waiting)

    def _keep_port(self, waiting: TimeWait) -> None:
        owner = waiting.owner
        if isinstance(owner, StreamSocket) and owner.connection is not None and owner.name is not None:
            waiting.holds = Remains(owner)
            self.ports.hold(waiting.holds, owner.name.port)

    def _forget(self, waiting: TimeWait) -> None:
        waiting.ended = True
        if isinstance(waiting.holds, Remains):
            self.ports.release(waiting.holds, int.from_bytes(waiting.flow[-2:], "big"))
        if self._by_flow.get(waiting.flow) is waiting:
            del self._by_flow[waiting.flow]

    def _fault(self, c: Connection, fault: InvariantError) -> Drop:
        """A bug of ours ends this one connection and is shown to everybody who looks."""
        self._host.faults.append(f"{c.owner}: {fault}")
        if c.state is not State.CLOSED:
            c.abort(Reset.INVARIANT, Close.INVARIANT)
        self.wake(c)
        return Drop.INVARIANT

    def shutdown(self) -> None:
        """End every connection with a RST: the host goes away."""
        for c in list(self._by_flow.values()):
            if isinstance(c, Connection):
                c.orphan = True
                c.abort(Reset.SHUTDOWN, Close.SHUTDOWN)
                self.wake(c)


def _payload(ip: IpPacket, data: Buffer) -> int:
    """Where a segment's payload begins."""
    return ip.start + (data[ip.start + 12] >> 4) * 4


def _checksums_are_right(data: Buffer, start: int, flow: bytes) -> bool:
    if start == 20 and fold(data[:20]):
        return False
    size = len(data) - start
    pseudo = TCP + size + fold(flow[: 8 if start == 20 else 32])
    return (fold(data[start:]) + pseudo) % 65535 == 0
