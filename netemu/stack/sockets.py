"""BSD sockets on a Host: non-blocking, with the errno that Linux gives.

A socket tells its user of news through ``on_event(socket, events)`` (bits of netemu.tcp.connection), called at the end of a
turn, never from inside a call.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from netemu.reasons import Close, Reset
from netemu.stack import constants as so
from netemu.stack.demux import flow_key
from netemu.stack.listener import SOMAXCONN, Listener
from netemu.stack.names import ANY_V4, ANY_V6, MAPPED, Name, shown
from netemu.stack.output import Template
from netemu.stack.ports import UNPRIVILEGED
from netemu.tcp.connection import READABLE, WRITABLE, Connection
from netemu.tcp.state import CAN_SEND, State
from netemu.wire.buffer import Buffer
from netemu.wire.ip import is_impossible_source, is_multicast, parse_address

if TYPE_CHECKING:
    from netemu.stack.host import Host

Address = tuple[str, int]
OnEvent = Callable[["Socket", int], None]

SO_RCVBUF_DEFAULT = 212992  # net.core.rmem_default
BUFFER_MAX = 4 << 20  # net.core.rmem_max and wmem_max
RCVBUF_MIN, SNDBUF_MIN = 2304, 4608
BROADCAST = b"\xff\xff\xff\xff"
_HANDSHAKE = (State.SYN_SENT, State.SYN_RECEIVED)
_ENDED = (State.CLOSED, State.TIME_WAIT)


def error(number: int, text: str = "") -> OSError:
    """OSError with the subclass that Python gives this errno."""
    return OSError(number, text or errno.errorcode.get(number, "error"))


def buffer_size(value: int, least: int) -> int:
    """What SO_RCVBUF or SO_SNDBUF makes of ``value``: the kernel doubles it, within bounds (socket(7))."""
    return max(least, 2 * min(max(value, 0), BUFFER_MAX))


class Socket:
    """What TCP and UDP sockets share."""

    __slots__ = (
        "app",
        "bound",
        "events",
        "family",
        "host",
        "id",
        "is_ipv6",
        "laddr",
        "lport",
        "name",
        "notified",
        "on_event",
        "peer",
        "port_by_bind",
        "port_by_connect",
        "reuseaddr",
        "reuseport",
        "tos",
        "ttl",
        "uid",
        "v6only",
    )
    is_stream: bool
    is_listening = False

    def __init__(self, host: Host, family: int, app: str, uid: int) -> None:
        if family not in (so.AF_INET, so.AF_INET6):
            raise error(errno.EAFNOSUPPORT, "only AF_INET and AF_INET6")
        self.host = host
        self.family = family
        self.is_ipv6 = family == so.AF_INET6
        self.app = app
        self.uid = uid
        """The effective uid that created the socket."""
        self.id = 0
        self.name: Name | None = None
        """What it is bound to."""
        self.bound = self.laddr = ANY_V6 if self.is_ipv6 else ANY_V4
        """``bound``: what bind was given; ``laddr``: what it is now, concrete once connected. In the socket's own family."""
        self.lport = 0
        self.port_by_bind = self.port_by_connect = False
        """Who chose ``lport``: bind's caller keeps it until close, connect's goes when the connection ends."""
        self.peer: tuple[bytes, int] | None = None
        self.reuseaddr = self.reuseport = self.v6only = False
        self.ttl, self.tos = 64, 0
        self.on_event: OnEvent | None = None
        self.events = 0
        self.notified = False
        host.register(self)

    def __repr__(self) -> str:
        return f"<s{self.id} {self.app} {self.state_name}>"

    @property
    def state_name(self) -> str:
        raise NotImplementedError

    # -- names ------------------------------------------------------------------------------------------------------------

    def _address(self, address: str) -> bytes:
        """The bytes of an address given by the user, in this socket's family."""
        if not address:
            return ANY_V6 if self.is_ipv6 else ANY_V4
        try:
            packed = parse_address(address)
        except ValueError:
            raise error(errno.EINVAL, f"{address!r} is not an IP address") from None
        if len(packed) != (16 if self.is_ipv6 else 4):
            raise error(errno.EAFNOSUPPORT, f"{address} is not of the socket's family")
        return packed

    def _remote(self, address: Address) -> tuple[bytes, int]:
        """A destination as (4 or 16 bytes, port), as packets carry it; the errno where there is no way to it."""
        packed, port = _unmapped(self._address(address[0])), address[1]
        if not 0 <= port <= 65535:
            raise OverflowError("port must be 0-65535.")
        bound = _unmapped(self.bound)
        if len(packed) == 4 and self.is_ipv6 and (self.v6only or (len(bound) == 16 and bound != ANY_V6)):
            raise error(errno.ENETUNREACH, "this IPv6 socket cannot reach an IPv4 address")
        if len(packed) == 16 and len(bound) == 4:
            raise error(errno.EAFNOSUPPORT, "the socket is bound to an IPv4 address")
        if packed in (ANY_V4, ANY_V6):
            packed = self.host.source_for(packed)  # "this host" (facts T10, U4)
        if packed not in self.host.addresses and is_impossible_source(packed):
            if packed == BROADCAST and not self.is_stream:
                raise error(errno.EACCES, "broadcast")
            raise error(errno.ENETUNREACH, f"no way to {address[0]}")  # MUST-46
        return packed, port

    @property
    def local_address(self) -> bytes:
        """As packets carry it: 4 bytes for a mapped one."""
        return _unmapped(self.laddr)

    def bind(self, address: Address) -> None:
        """Take a local address; port 0 lets the host choose one. EADDRINUSE by the rules of netemu.stack.ports."""
        packed, port = self._address(address[0]), address[1]
        if not 0 <= port <= 65535:
            raise OverflowError("port must be 0-65535.")
        local = _unmapped(packed)
        if self.is_ipv6 and ((self.v6only and len(local) == 4) or (self.is_stream and packed[0] == 0xFF)):
            raise error(errno.EINVAL, f"this socket cannot have {address[0]}")
        any_or_group = local in (ANY_V4, ANY_V6, BROADCAST) or is_multicast(local)
        if not any_or_group and local not in self.host.addresses:
            raise error(errno.EADDRNOTAVAIL, f"{address[0]} is not an address of this host")
        if 0 < port < UNPRIVILEGED and self.uid:
            raise error(errno.EACCES, f"port {port} is for root (below {UNPRIVILEGED})")
        if self.name is not None or self.is_busy:
            raise error(errno.EINVAL, "the socket is bound already")
        self.host.ports_of(self).bind(self, packed, port)
        self.bound, self.port_by_bind = packed, port > 0

    @property
    def is_busy(self) -> bool:
        """Connecting or connected: cannot be bound."""
        return False

    def take_name(self, packed: bytes, name: Name) -> None:
        self.name, self.laddr, self.lport = name, packed, name.port

    def getsockname(self) -> Address:
        return shown(self.family, self.laddr), self.lport

    def getpeername(self) -> Address:
        if self.peer is None:
            raise error(errno.ENOTCONN)
        return shown(self.family, self.peer[0]), self.peer[1]

    def close(self) -> None:
        """Give the socket back."""
        self._release()

    # -- options ----------------------------------------------------------------------------------------------------------

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """The options that matter here; ENOPROTOOPT for others. ``value`` is an int (linger: seconds, or -1 for off)."""
        if level == so.IPPROTO_IPV6 and not self.is_ipv6:
            raise error(errno.ENOPROTOOPT, "an IPv4 socket")
        match level, option:
            case so.SOL_SOCKET, so.SO_REUSEADDR:
                self.reuseaddr = bool(value)
            case so.SOL_SOCKET, so.SO_REUSEPORT:
                self.reuseport = bool(value)
            case so.IPPROTO_IPV6, so.IPV6_V6ONLY:
                if self.name is not None:
                    raise error(errno.EINVAL, "IPV6_V6ONLY must be set before bind")
                self.v6only = bool(value)
            case (so.IPPROTO_IP, so.IP_TTL) | (so.IPPROTO_IPV6, so.IPV6_UNICAST_HOPS):
                if not -1 <= value <= 255 or value == 0:
                    raise error(errno.EINVAL, "a TTL is 1 to 255")
                self.ttl = 64 if value == -1 else value
            case (so.IPPROTO_IP, so.IP_TOS) | (so.IPPROTO_IPV6, so.IPV6_TCLASS):
                value = 0 if value == -1 else value & 0xFF
                self.tos = value & ~3 if self.is_stream else value  # TCP keeps the ECN bits to itself
            case _:
                raise error(errno.ENOPROTOOPT, f"no socket option {level}/{option}")

    def getsockopt(self, level: int, option: int) -> int:
        match level, option:
            case so.SOL_SOCKET, so.SO_REUSEADDR:
                return int(self.reuseaddr)
            case so.SOL_SOCKET, so.SO_REUSEPORT:
                return int(self.reuseport)
            case so.IPPROTO_IPV6, so.IPV6_V6ONLY if self.is_ipv6:
                return int(self.v6only)
            case (so.IPPROTO_IP, so.IP_TTL) | (so.IPPROTO_IPV6, so.IPV6_UNICAST_HOPS):
                return self.ttl
            case (so.IPPROTO_IP, so.IP_TOS) | (so.IPPROTO_IPV6, so.IPV6_TCLASS):
                return self.tos
        raise error(errno.ENOPROTOOPT, f"no socket option {level}/{option}")

    def inherit(self, parent: Socket) -> None:
        self.reuseaddr, self.reuseport, self.v6only = parent.reuseaddr, parent.reuseport, parent.v6only
        self.ttl, self.tos = parent.ttl, parent.tos

    def _give_back_port(self) -> None:
        if self.name is not None:
            self.host.ports_of(self).release(self, self.name.port)
            self.name = None
            self.port_by_bind = self.port_by_connect = False

    def _release(self) -> None:
        """Give back the port and the place in the table."""
        self._give_back_port()
        self.host.unregister(self)


def _unmapped(packed: bytes) -> bytes:
    """An address as packets carry it: 4 bytes for an IPv4-mapped one."""
    return packed[12:] if len(packed) == 16 and packed[:12] == MAPPED else packed


def mapped(address: bytes, is_ipv6: bool) -> bytes:
    """An address as a socket of this family has it."""
    return MAPPED + address if is_ipv6 and len(address) == 4 else address


class StreamSocket(Socket):
    """A TCP socket: fresh, listening, or one end of a connection."""

    __slots__ = (
        "connected",
        "connecting",
        "connection",
        "keepalive",
        "linger",
        "listener",
        "nodelay",
        "rcvbuf",
        "read_shut",
        "reported",
        "sndbuf",
        "soft_error",
    )
    is_stream = True

    def __init__(self, host: Host, family: int = so.AF_INET, app: str = "", uid: int = 0) -> None:
        super().__init__(host, family, app, uid)
        self.connection: Connection | None = None
        self.listener: Listener | None = None
        self.connecting = False
        """connect was called, and has not yet told how it went."""
        self.connected = False
        """connect has told of success, or accept made the socket: it stays so until close, whatever becomes of the connection."""
        self.nodelay = self.keepalive = self.read_shut = False
        self.linger = -1
        self.rcvbuf = self.sndbuf = 0
        self.reported = False
        """The connection's error was handed to the user."""
        self.soft_error: tuple[int, int] | None = None
        """errno of an ICMP error, and the connection's ``last_received`` then: what a timeout is blamed on (SHLD-25)."""

    @property
    def state_name(self) -> str:
        if self.listener is not None:
            return State.LISTEN.value
        return self.connection.state.value if self.connection is not None else State.CLOSED.value

    @property
    def is_listening(self) -> bool:  # type: ignore[override]  # an attribute in the base, derived here
        return self.listener is not None

    @property
    def is_busy(self) -> bool:
        return self.connection is not None and self.connection.state not in _ENDED

    # -- opening ----------------------------------------------------------------------------------------------------------

    def bind(self, address: Address) -> None:
        super().bind(address)
        self.host.table.add_bound(self)

    def listen(self, backlog: int = SOMAXCONN) -> None:
        """Go to LISTEN; again: change the backlog. The check for conflicts runs once more (facts T1)."""
        if self.listener is not None:
            self.listener.set_backlog(backlog)
            return
        if self.connecting or self.connected:
            raise error(errno.EINVAL, "the socket is connected")
        self._disconnect()
        if self.name is None:
            self.host.tcp.ports.bind(self, self.bound, 0)
            self.host.table.add_bound(self)
        assert self.name is not None
        if self.host.tcp.ports.conflict(self, self.name) is not None:
            raise error(errno.EADDRINUSE, f"another socket holds port {self.lport}")
        self.listener = Listener(self, self.name, backlog)
        self.host.table.add_listener(self.listener)

    def accept(self) -> tuple[StreamSocket, Address]:
        """The next established connection; EAGAIN when none waits."""
        if self.listener is None:
            raise error(errno.EINVAL, "the socket does not listen")
        if not self.listener.accepted:
            raise error(errno.EAGAIN)
        child = self.listener.accepted.popleft()
        assert child.peer is not None
        return child, (shown(child.family, child.peer[0]), child.peer[1])

    def connect(self, address: Address) -> None:
        """Begin a connection: EINPROGRESS. Called again it tells how it went: EALREADY, the error, or success; then EISCONN."""
        if self.listener is not None or self.connected:
            raise error(errno.EISCONN)
        c = self.connection
        if self.connecting and c is not None:
            if c.state in _HANDSHAKE:
                raise error(errno.EALREADY)
            self.connecting = False
            if c.state not in _ENDED:
                self.connected = True
                return
            number = 0 if self.reported else c.error
            self._disconnect()
            raise error(number or errno.ECONNABORTED)
        remote, port = self._remote(address)
        self._disconnect()
        unnamed = self.name is None
        try:
            self.host.tcp.connect(self, remote, port)
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise
            raise error(errno.EADDRNOTAVAIL, "all ephemeral ports are taken") from None
        self.port_by_connect = unnamed
        self.connecting = True
        raise error(errno.EINPROGRESS)

    def _disconnect(self) -> None:
        """Forget a connection that has ended, or never began."""
        self.connection, self.peer, self.soft_error = None, None, None
        self.laddr = self.bound

    def getpeername(self) -> Address:
        c = self.connection
        if c is None or c.state is State.SYN_SENT or c.state in _ENDED:
            raise error(errno.ENOTCONN)
        return super().getpeername()

    # -- data -------------------------------------------------------------------------------------------------------------

    def send(self, data: Buffer) -> int:
        """Queue as much as the send buffer takes; the number of bytes. EAGAIN when it is full."""
        c = self.connection
        if c is None:
            raise error(errno.EPIPE)
        if c.state not in CAN_SEND:
            self._raise_error()
            raise error(errno.EAGAIN if c.state in _HANDSHAKE else errno.EPIPE)
        room = c.writable_bytes
        if not room:
            raise error(errno.EAGAIN)
        piece = bytes(data[:room])
        c.write(piece)
        self.host.wake(c)
        return len(piece)

    def recv(self, limit: int) -> bytes:
        """Up to ``limit`` bytes; b'' at the end of the stream; EAGAIN when there is nothing yet."""
        c = self.connection
        if c is None:
            raise error(errno.ENOTCONN)
        data = c.read(limit)
        if data:
            if c.ack_now:
                self.host.wake(c)
            return bytes(data)
        if c.at_eof or limit == 0:
            return b""
        self._raise_error()
        if c.state in _ENDED or self.read_shut:
            return b""
        raise error(errno.EAGAIN)

    def _raise_error(self) -> None:
        """Report the connection's error, once."""
        c = self.connection
        if c is not None and c.error and not self.reported:
            self.reported = True
            raise error(c.error)

    def poll(self) -> int:
        """READABLE and WRITABLE as they are now."""
        if self.listener is not None:
            return READABLE if self.listener.accepted else 0
        c = self.connection
        if c is None:
            return WRITABLE
        ended = c.state in _ENDED
        bits = READABLE if c.received or c.fin_received or ended or self.read_shut else 0
        return bits | (WRITABLE if ended or (c.state in CAN_SEND and c.writable_bytes) else 0)

    # -- closing ----------------------------------------------------------------------------------------------------------

    def shutdown(self, how: int) -> None:
        """SHUT_WR sends a FIN; SHUT_RD ends reading once all that is here is read. A listener goes back to CLOSED."""
        if how not in (so.SHUT_RD, so.SHUT_WR, so.SHUT_RDWR):
            raise error(errno.EINVAL)
        if self.listener is not None:
            if how != so.SHUT_WR:
                self._stop_listening()
            return
        c = self.connection
        if c is None or c.state in _ENDED:
            raise error(errno.ENOTCONN)
        if c.state is State.SYN_SENT:
            c.shutdown_write()
            self.host.wake(c)
            c.error, self.connecting = errno.ECONNRESET, False
            return
        if how != so.SHUT_WR:
            self.read_shut = True
            self.host.notify(self, READABLE)
        if how != so.SHUT_RD:
            c.shutdown_write()
            self.host.wake(c)

    def close(self) -> None:
        """Give the socket back; no more events. Unread data or SO_LINGER 0 make it a RST (RFC 9293 SHLD-3)."""
        if not self.id:
            return
        self.on_event = None
        self._stop_listening()
        c = self.connection
        if c is not None:
            if self.linger == 0 and c.state in (*CAN_SEND, State.SYN_RECEIVED, State.FIN_WAIT_1, State.FIN_WAIT_2):
                c.orphan = True
                c.abort(Reset.LINGER)
            else:
                c.close(self.host.now)
            self.host.wake(c)
            if c.state not in _ENDED:
                return  # the connection keeps its place and its port until it has ended
        self._release()

    def abort(self) -> None:
        """Close with a RST."""
        if self.connection is not None:
            self.connection.orphan = True
            self.connection.abort()
            self.host.wake(self.connection)
        self.close()

    def ended(self) -> None:
        """The host says: the connection has left the table."""
        c = self.connection
        if c is None:
            return
        if c.close_reason is Close.TIMED_OUT and self.soft_error is not None and self.soft_error[1] == c.last_received:
            c.error = self.soft_error[0]
        elif c.close_reason is Close.RESET_BY_PEER and c.fin_received:
            c.error = errno.EPIPE  # as Linux: the peer had said that it would send no more
        if c.orphan:
            self._release()
        elif not self.port_by_bind:
            self._give_back_port()

    def _give_back_port(self) -> None:
        if self.name is not None:
            self.host.table.remove_bound(self)
        super()._give_back_port()

    def _release(self) -> None:
        super()._release()
        self.connection = None  # it still points here, for captures; a cycle would outlive both

    def _stop_listening(self) -> None:
        """Reset what was not accepted, what is half open too (facts T9)."""
        listener = self.listener
        if listener is None:
            return
        self.host.table.remove_listener(listener)
        self.listener = None
        for c in sorted(listener.half_open, key=_flow):
            c.abort(Reset.LISTENER_CLOSED, Close.LISTENER_CLOSED)
            self.host.wake(c)
        while listener.accepted:
            child = listener.accepted.popleft()
            if child.connection is not None:
                child.connection.orphan = True
                child.connection.abort(Reset.LISTENER_CLOSED, Close.LISTENER_CLOSED)
                self.host.wake(child.connection)
            child.close()
        if not self.port_by_bind:
            self._give_back_port()

    # -- options ----------------------------------------------------------------------------------------------------------

    def setsockopt(self, level: int, option: int, value: int) -> None:
        match level, option:
            case so.IPPROTO_TCP, so.TCP_NODELAY:
                self.nodelay = bool(value)
            case so.SOL_SOCKET, so.SO_KEEPALIVE:
                self.keepalive = bool(value)
            case so.SOL_SOCKET, so.SO_LINGER:
                self.linger = value
            case so.SOL_SOCKET, so.SO_RCVBUF:
                self.rcvbuf = buffer_size(value, RCVBUF_MIN)
            case so.SOL_SOCKET, so.SO_SNDBUF:
                self.sndbuf = buffer_size(value, SNDBUF_MIN)
            case _:
                super().setsockopt(level, option, value)
        c = self.connection
        if c is not None and c.state not in _ENDED:
            self.apply_options(c)
            template = c.template
            if isinstance(template, Template) and (template.ttl, template.tos) != (self.ttl, self.tos):
                c.template = _remarked(template, self.ttl, self.tos)  # MUST-48, MUST-49, SHLD-21
            self.host.wake(c)

    def getsockopt(self, level: int, option: int) -> int:
        c = self.connection
        match level, option:
            case so.IPPROTO_TCP, so.TCP_NODELAY:
                return int(self.nodelay)
            case so.IPPROTO_TCP, so.TCP_MAXSEG:
                return c.mss if c is not None else 536
            case so.SOL_SOCKET, so.SO_KEEPALIVE:
                return int(self.keepalive)
            case so.SOL_SOCKET, so.SO_LINGER:
                return self.linger
            case so.SOL_SOCKET, so.SO_RCVBUF:
                return self.rcvbuf or self.host.config.rcvbuf
            case so.SOL_SOCKET, so.SO_SNDBUF:
                return self.sndbuf or self.host.config.sndbuf
            case so.SOL_SOCKET, so.SO_ERROR:
                pending = 0 if c is None or self.reported else c.error
                self.reported = self.reported or bool(pending)
                return pending
        return super().getsockopt(level, option)

    def apply_options(self, c: Connection) -> None:
        """Hand the options to the connection."""
        c.nodelay = self.nodelay
        if self.rcvbuf:
            c.rcvbuf = self.rcvbuf
        if self.sndbuf:
            c.sndbuf = self.sndbuf
        if self.keepalive != c.keepalive:
            c.keepalive = self.keepalive
            c.deadline_keepalive = self.host.now + c.config.keepalive_time if self.keepalive else 1 << 62

    def inherit(self, parent: Socket) -> None:
        super().inherit(parent)
        self.connected = True
        if isinstance(parent, StreamSocket):
            self.nodelay, self.keepalive, self.linger = parent.nodelay, parent.keepalive, parent.linger
            self.rcvbuf, self.sndbuf = parent.rcvbuf, parent.sndbuf

    @property
    def queues(self) -> tuple[int, int]:
        """(Recv-Q, Send-Q) as ss(8) shows them: for a listener the connections that wait and the backlog."""
        if self.listener is not None:
            return len(self.listener.accepted), self.listener.backlog
        c = self.connection
        return (c.received_bytes, len(c.sendbuf)) if c is not None else (0, 0)


def _flow(c: Connection) -> bytes:
    return c.flow


def _remarked(old: Template, ttl: int, tos: int) -> Template:
    size, flow = 16 if old.is_ipv6 else 4, old.flow
    sport, dport = int.from_bytes(flow[-4:-2], "big"), int.from_bytes(flow[-2:], "big")
    return Template(flow[:size], flow[size : 2 * size], sport, dport, ttl, tos, old.local)


class DatagramSocket(Socket):
    """A UDP socket."""

    __slots__ = ("_queue", "_queued", "error", "rcvbuf", "sndbuf", "write_shut")
    is_stream = False

    def __init__(self, host: Host, family: int = so.AF_INET, app: str = "", uid: int = 0) -> None:
        super().__init__(host, family, app, uid)
        self._queue: deque[tuple[bytes, bytes, int, bytes]] = deque()
        self._queued = 0
        self.rcvbuf = self.sndbuf = SO_RCVBUF_DEFAULT
        self.error = 0
        """errno of an ICMP error, to be reported once."""
        self.write_shut = False

    @property
    def state_name(self) -> str:
        return "UNCONN" if self.peer is None else "ESTAB"

    def take_name(self, packed: bytes, name: Name) -> None:
        super().take_name(packed, name)
        self.host.table.add_udp(self, name)

    def connect(self, address: Address) -> None:
        """Fix the peer; only its datagrams are received from now on. A failure leaves everything as it was."""
        self._autobind()
        remote, port = self._remote(address)
        local = _unmapped(self.bound)
        if local in (ANY_V4, ANY_V6):
            local = self.host.source_for(remote)
        self._disconnect()
        self.laddr = mapped(local, self.is_ipv6)
        self.peer = (remote, port)
        self.host.table.add_udp_connected(self, self._flow())

    def _autobind(self) -> None:
        """Linux gives a port to every socket that sends or connects, also where that fails then (facts U3)."""
        if self.name is None:
            try:
                self.host.udp_ports.bind(self, self.laddr, 0)
            except OSError:
                raise error(errno.EAGAIN, "all ephemeral ports are taken") from None

    def _flow(self) -> bytes:
        assert self.peer is not None
        return flow_key(self.peer[0], self.local_address, self.peer[1], self.lport)

    def _disconnect(self) -> None:
        if self.peer is not None:
            self.host.table.remove_udp_connected(self, self._flow())
        self.peer = None

    def getpeername(self) -> Address:
        if self.peer is not None and not self.peer[1]:
            raise error(errno.ENOTCONN)  # as Linux: connected to port 0 counts as not connected here
        return super().getpeername()

    def listen(self, backlog: int = 0) -> None:
        raise error(errno.EOPNOTSUPP, "UDP sockets do not listen")

    def accept(self) -> tuple[StreamSocket, Address]:
        raise error(errno.EOPNOTSUPP, "UDP sockets do not accept")

    def shutdown(self, how: int) -> None:
        """SHUT_WR: no more sending. SHUT_RD changes nothing for a non-blocking socket (facts U2)."""
        if how not in (so.SHUT_RD, so.SHUT_WR, so.SHUT_RDWR):
            raise error(errno.EINVAL)
        if self.peer is None:
            raise error(errno.ENOTCONN)
        self.write_shut = self.write_shut or how != so.SHUT_RD

    def send(self, data: Buffer) -> int:
        self._autobind()
        if self.peer is None:
            raise error(errno.EDESTADDRREQ)
        return self._send(data, *self.peer, None)

    def sendto(self, data: Buffer, address: Address, source: bytes | None = None) -> int:
        """Send one datagram; ``source`` overrides the local address (what IP_PKTINFO does)."""
        self._autobind()
        if not address[1]:
            raise error(errno.EINVAL, "port 0 cannot be sent to")
        return self._send(data, *self._remote(address), source)

    def _send(self, data: Buffer, remote: bytes, port: int, source: bytes | None) -> int:
        if self.write_shut:
            raise error(errno.EPIPE)
        self._raise_error()
        if len(data) > (65507 if len(remote) == 4 else 65527):
            raise error(errno.EMSGSIZE)
        if source is None:
            source = self.local_address
            if source in (ANY_V4, ANY_V6) or len(source) != len(remote):
                source = self.host.source_for(remote)
        elif source not in self.host.addresses or len(source) != len(remote):
            raise error(errno.ENETUNREACH, "not an address of this host")
        self.host.send_udp(source, remote, self.lport, port, data, self.ttl, self.tos)
        return len(data)

    def receive(self, data: bytes, src: bytes, sport: int, dst: bytes) -> bool:
        """The host delivers a datagram; False when the buffer is full. An empty queue takes any one."""
        charge = datagram_charge(len(data))
        if self._queue and self._queued + charge > self.rcvbuf:
            return False
        self._queue.append((data, src, sport, dst))
        self._queued += charge
        return True

    def recvfrom(self, limit: int) -> tuple[bytes, Address]:
        """One datagram, cut to ``limit``, and its sender. EAGAIN when there is none."""
        data, address, _ = self.recvmsg(limit)
        return data, address

    def recvmsg(self, limit: int) -> tuple[bytes, Address, bytes]:
        """As recvfrom, with the address that the datagram was sent to (IP_PKTINFO)."""
        self._raise_error()
        if not self._queue:
            raise error(errno.EAGAIN)
        data, src, sport, dst = self._queue.popleft()
        self._queued -= datagram_charge(len(data))
        return data[:limit], (shown(self.family, src), sport), dst

    def recv(self, limit: int) -> bytes:
        return self.recvmsg(limit)[0]

    def _raise_error(self) -> None:
        if self.error:
            number, self.error = self.error, 0
            raise error(number)

    def poll(self) -> int:
        return WRITABLE | (READABLE if self._queue or self.error else 0)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if (level, option) == (so.SOL_SOCKET, so.SO_RCVBUF):
            self.rcvbuf = buffer_size(value, RCVBUF_MIN)
        elif (level, option) == (so.SOL_SOCKET, so.SO_SNDBUF):
            self.sndbuf = buffer_size(value, SNDBUF_MIN)
        else:
            super().setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int) -> int:
        if (level, option) == (so.SOL_SOCKET, so.SO_ERROR):
            pending, self.error = self.error, 0
            return pending
        if (level, option) == (so.SOL_SOCKET, so.SO_RCVBUF):
            return self.rcvbuf
        if (level, option) == (so.SOL_SOCKET, so.SO_SNDBUF):
            return self.sndbuf
        return super().getsockopt(level, option)

    def close(self) -> None:
        if not self.id:
            return
        self.on_event = None
        self._disconnect()
        if self.name is not None:
            self.host.table.remove_udp(self, self.name)
        self._release()

    @property
    def queues(self) -> tuple[int, int]:
        return self._queued, 0


def datagram_charge(size: int) -> int:
    """What a queued datagram of ``size`` bytes takes of SO_RCVBUF: the kernel's buffer for it, as measured (facts U8)."""
    return 832 if size <= 196 else 256 + (1 << (size + 379).bit_length())
