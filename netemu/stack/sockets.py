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
from netemu.tcp.connection import READABLE, WRITABLE, Connection
from netemu.tcp.state import CAN_SEND, State
from netemu.wire.buffer import Buffer
from netemu.wire.ip import is_multicast, parse_address

if TYPE_CHECKING:
    from netemu.stack.host import Host

Address = tuple[str, int]
OnEvent = Callable[["Socket", int], None]

SO_RCVBUF_DEFAULT = 212992  # net.core.rmem_default


def error(number: int, text: str = "") -> OSError:
    """OSError with the subclass that Python gives this errno."""
    return OSError(number, text or errno.errorcode.get(number, "error"))


class Socket:
    """What TCP and UDP sockets share."""

    __slots__ = (
        "app",
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
        self.laddr = ANY_V6 if self.is_ipv6 else ANY_V4
        self.lport = 0
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
        """A destination as (4 or 16 bytes, port): a mapped one becomes IPv4."""
        packed = self._address(address[0])
        if packed[:12] == MAPPED and len(packed) == 16:
            if self.v6only:
                raise error(errno.ENETUNREACH, "an IPv6-only socket cannot reach an IPv4 address")
            packed = packed[12:]
        if not 0 <= address[1] <= 65535:
            raise OverflowError("port must be 0-65535.")
        return packed, address[1]

    def _local_part(self, packed: bytes) -> bytes:
        return packed[12:] if len(packed) == 16 and packed[:12] == MAPPED else packed

    @property
    def local_address(self) -> bytes:
        """As packets carry it: 4 bytes for a mapped one."""
        return self._local_part(self.laddr)

    def bind(self, address: Address) -> None:
        """Take a local address; port 0 lets the host choose one. EADDRINUSE by the rules of netemu.stack.ports."""
        packed, port = self._address(address[0]), address[1]
        if self.name is not None or self.peer is not None:
            raise error(errno.EINVAL, "the socket is bound already")
        local = self._local_part(packed)
        if local not in (ANY_V4, ANY_V6) and local not in self.host.addresses and not is_multicast(local):
            raise error(errno.EADDRNOTAVAIL, f"{address[0]} is not an address of this host")
        self.host.ports_of(self).bind(self, packed, port)

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
        match level, option:
            case so.SOL_SOCKET, so.SO_REUSEADDR:
                self.reuseaddr = bool(value)
            case so.SOL_SOCKET, so.SO_REUSEPORT:
                self.reuseport = bool(value)
            case so.IPPROTO_IPV6, so.IPV6_V6ONLY if self.is_ipv6:
                if self.name is not None:
                    raise error(errno.EINVAL, "IPV6_V6ONLY must be set before bind")
                self.v6only = bool(value)
            case (so.IPPROTO_IP, so.IP_TTL) | (so.IPPROTO_IPV6, so.IPV6_UNICAST_HOPS):
                if not -1 <= value <= 255 or value == 0:
                    raise error(errno.EINVAL, "a TTL is 1 to 255")
                self.ttl = 64 if value == -1 else value
            case (so.IPPROTO_IP, so.IP_TOS) | (so.IPPROTO_IPV6, so.IPV6_TCLASS):
                self.tos = value & 0xFF
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

    def _release(self) -> None:
        """Give back the port and the place in the table."""
        if self.name is not None:
            self.host.ports_of(self).release(self, self.name.port)
            self.name = None
        self.host.unregister(self)


class StreamSocket(Socket):
    """A TCP socket: fresh, listening, or one end of a connection."""

    __slots__ = ("connection", "keepalive", "linger", "listener", "nodelay", "rcvbuf", "reported", "sndbuf")
    is_stream = True

    def __init__(self, host: Host, family: int = so.AF_INET, app: str = "", uid: int = 0) -> None:
        super().__init__(host, family, app, uid)
        self.connection: Connection | None = None
        self.listener: Listener | None = None
        self.nodelay = self.keepalive = False
        self.linger = -1
        self.rcvbuf = self.sndbuf = 0
        self.reported = False
        """The connection's error was handed to the user."""

    @property
    def state_name(self) -> str:
        if self.listener is not None:
            return State.LISTEN.value
        return self.connection.state.value if self.connection is not None else State.CLOSED.value

    @property
    def is_listening(self) -> bool:  # type: ignore[override]  # an attribute in the base, derived here
        return self.listener is not None

    # -- opening ----------------------------------------------------------------------------------------------------------

    def listen(self, backlog: int = SOMAXCONN) -> None:
        """Go to LISTEN; again: change the backlog. The check for conflicts runs once more (facts T1)."""
        if self.listener is not None:
            self.listener.set_backlog(backlog)
            return
        if self.connection is not None:
            raise error(errno.EINVAL, "the socket is connected")
        if self.name is None:
            self.host.tcp.ports.bind(self, self.laddr, 0)
        assert self.name is not None
        listener = Listener(self, self.name, backlog)
        self.listener = listener
        if self.host.tcp.ports.conflict(self, self.name) is not None:
            self.listener = None
            raise error(errno.EADDRINUSE, f"another socket listens on port {self.lport}")
        self.host.table.add_listener(listener)

    def accept(self) -> tuple[StreamSocket, Address]:
        """The next established connection; EAGAIN when none waits."""
        if self.listener is None:
            raise error(errno.EINVAL, "the socket does not listen")
        if not self.listener.accepted:
            raise error(errno.EAGAIN)
        child = self.listener.accepted.popleft()
        return child, child.getpeername()

    def connect(self, address: Address) -> None:
        """Begin a connection. EINPROGRESS; a WRITABLE event or an error tells how it went."""
        if self.listener is not None:
            raise error(errno.EISCONN)
        if self.connection is not None:
            state = self.connection.state
            if state in (State.SYN_SENT, State.SYN_RECEIVED):
                raise error(errno.EALREADY)
            if state is not State.CLOSED:
                raise error(errno.EISCONN)
            self._raise_error()
            self.connection = None
        remote, port = self._remote(address)
        if remote in (ANY_V4, ANY_V6):
            remote = self.host.source_for(remote)
        if is_multicast(remote) or remote == b"\xff\xff\xff\xff":
            raise error(errno.ENETUNREACH, "TCP connects to one host only")  # MUST-46
        self.host.tcp.connect(self, remote, port)
        raise error(errno.EINPROGRESS)

    # -- data -------------------------------------------------------------------------------------------------------------

    def send(self, data: Buffer) -> int:
        """Queue as much as the send buffer takes; the number of bytes. EAGAIN when it is full."""
        c = self.connection
        if c is None:
            raise error(errno.EPIPE)
        if c.state not in CAN_SEND:
            self._raise_error()
            raise error(errno.EAGAIN if c.state in (State.SYN_SENT, State.SYN_RECEIVED) else errno.EPIPE)
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
        if c.state is State.CLOSED:
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
        bits = READABLE if c.received or c.fin_received or c.state is State.CLOSED else 0
        return bits | (WRITABLE if c.state is State.CLOSED or (c.state in CAN_SEND and c.writable_bytes) else 0)

    # -- closing ----------------------------------------------------------------------------------------------------------

    def shutdown(self, how: int) -> None:
        """SHUT_WR sends a FIN. A listener goes back to CLOSED and may listen again."""
        if self.listener is not None:
            self._stop_listening()
            return
        c = self.connection
        if c is None or c.state in (State.CLOSED, State.TIME_WAIT):
            raise error(errno.ENOTCONN)
        if how in (so.SHUT_WR, so.SHUT_RDWR):
            c.shutdown_write()
            self.host.wake(c)

    def close(self) -> None:
        """Give the socket back. Unread data or SO_LINGER 0 make it a RST (RFC 9293 SHLD-3)."""
        if not self.id:
            return
        self._stop_listening()
        c = self.connection
        if c is not None:
            if self.linger == 0 and c.state in (*CAN_SEND, State.FIN_WAIT_1, State.FIN_WAIT_2):
                c.orphan = True
                c.abort(Reset.LINGER)
            else:
                c.close(self.host.now)
            self.host.wake(c)
            if c.state not in (State.CLOSED, State.TIME_WAIT):
                self.on_event = None
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
        if self.connection is not None and self.connection.orphan:
            self._release()

    def _stop_listening(self) -> None:
        """Reset what was not accepted, what is half open too (facts T9)."""
        listener = self.listener
        if listener is None:
            return
        self.host.table.remove_listener(listener)
        self.listener = None
        for c in list(listener.half_open):
            c.abort(Reset.LISTENER_CLOSED, Close.LISTENER_CLOSED)
            self.host.wake(c)
        while listener.accepted:
            child = listener.accepted.popleft()
            if child.connection is not None:
                child.connection.orphan = True
                child.connection.abort(Reset.LISTENER_CLOSED, Close.LISTENER_CLOSED)
                self.host.wake(child.connection)
            child.close()

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
                self.rcvbuf = max(2304, 2 * value)  # socket(7): the kernel doubles it
            case so.SOL_SOCKET, so.SO_SNDBUF:
                self.sndbuf = max(4608, 2 * value)
            case _:
                super().setsockopt(level, option, value)
        if self.connection is not None:
            self.apply_options(self.connection)
            self.host.wake(self.connection)

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


class DatagramSocket(Socket):
    """A UDP socket."""

    __slots__ = ("_queue", "_queued", "error", "rcvbuf")
    is_stream = False
    OVERHEAD = 768
    """What a small datagram costs beside its bytes (facts U8)."""

    def __init__(self, host: Host, family: int = so.AF_INET, app: str = "", uid: int = 0) -> None:
        super().__init__(host, family, app, uid)
        self._queue: deque[tuple[bytes, bytes, int, bytes]] = deque()
        self._queued = 0
        self.rcvbuf = SO_RCVBUF_DEFAULT
        self.error = 0

    @property
    def state_name(self) -> str:
        return "UNCONN" if self.peer is None else "ESTAB"

    def take_name(self, packed: bytes, name: Name) -> None:
        super().take_name(packed, name)
        self.host.table.add_udp(self, name)

    def connect(self, address: Address) -> None:
        """Fix the peer; only its datagrams are received from now on."""
        remote, port = self._remote(address)
        source = self.host.source_for(remote)
        if self.name is None:
            self.host.udp_ports.bind(self, self.laddr, 0)
        self._disconnect()
        if self.laddr in (ANY_V4, ANY_V6):
            self.laddr = source
        self.peer = (remote, port)
        self.host.table.udp_connected[self._flow()] = self

    def _flow(self) -> bytes:
        assert self.peer is not None
        return flow_key(self.peer[0], self._local_part(self.laddr), self.peer[1], self.lport)

    def _disconnect(self) -> None:
        if self.peer is not None and self.host.table.udp_connected.get(self._flow()) is self:
            del self.host.table.udp_connected[self._flow()]
        self.peer = None

    def send(self, data: Buffer) -> int:
        if self.peer is None:
            raise error(errno.EDESTADDRREQ)
        return self._send(data, *self.peer, None)

    def sendto(self, data: Buffer, address: Address, source: bytes | None = None) -> int:
        """Send one datagram; ``source`` overrides the local address (what IP_PKTINFO does)."""
        remote, port = self._remote(address)
        if not port:
            raise error(errno.EINVAL, "port 0 cannot be sent to")
        return self._send(data, remote, port, source)

    def _send(self, data: Buffer, remote: bytes, port: int, source: bytes | None) -> int:
        self._raise_error()
        if self.name is None:
            self.host.udp_ports.bind(self, self.laddr, 0)
        if len(data) > (65507 if len(remote) == 4 else 65527):
            raise error(errno.EMSGSIZE)
        local = self._local_part(self.laddr)
        if source is None:
            source = local if local not in (ANY_V4, ANY_V6) else self.host.source_for(remote)
        if len(source) != len(remote):
            raise error(errno.ENETUNREACH)
        self.host.send_udp(source, remote, self.lport, port, data, self.ttl, self.tos)
        return len(data)

    def receive(self, data: bytes, src: bytes, sport: int, dst: bytes) -> bool:
        """The host delivers a datagram; False when the buffer is full. An empty queue takes any one."""
        if self._queue and self._queued + len(data) + self.OVERHEAD > self.rcvbuf:
            return False
        self._queue.append((data, src, sport, dst))
        self._queued += len(data) + self.OVERHEAD
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
        self._queued -= len(data) + self.OVERHEAD
        return data[:limit], (shown(self.family, src), sport), dst

    def _raise_error(self) -> None:
        if self.error:
            number, self.error = self.error, 0
            raise error(number)

    def poll(self) -> int:
        return WRITABLE | (READABLE if self._queue or self.error else 0)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if (level, option) == (so.SOL_SOCKET, so.SO_RCVBUF):
            self.rcvbuf = max(2304, 2 * value)
        else:
            super().setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int) -> int:
        if (level, option) == (so.SOL_SOCKET, so.SO_ERROR):
            pending, self.error = self.error, 0
            return pending
        if (level, option) == (so.SOL_SOCKET, so.SO_RCVBUF):
            return self.rcvbuf
        return super().getsockopt(level, option)

    def close(self) -> None:
        if not self.id:
            return
        self._disconnect()
        if self.name is not None:
            self.host.table.remove_udp(self, self.name)
        self._release()

    @property
    def queues(self) -> tuple[int, int]:
        return self._queued, 0
