"""TCP sockets: fresh, listening, or one end of a connection."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from netemu.reasons import Close, Reset
from netemu.stack import constants as so
from netemu.stack.listener import SOMAXCONN, Listener
from netemu.stack.names import ANY_V4, ANY_V6, name_connected, name_for, shown
from netemu.stack.options import OPTIONS
from netemu.stack.sockets import Address, Socket, check_size, error
from netemu.tcp.config import NEVER
from netemu.tcp.connection import READABLE, WRITABLE, Connection
from netemu.tcp.state import CAN_SEND, State
from netemu.wire.buffer import Buffer
from netemu.wire.output import Template

if TYPE_CHECKING:
    from netemu.stack.host import Host

_HANDSHAKE = (State.SYN_SENT, State.SYN_RECEIVED)
_ENDED = (State.CLOSED, State.TIME_WAIT)


class StreamSocket(Socket):
    """A TCP socket: fresh, listening, or one end of a connection."""

    __slots__ = (
        "address_by_bind",
        "connected",
        "connecting",
        "connection",
        "hold_synack",
        "keepalive",
        "linger",
        "listener",
        "maxseg",
        "nodelay",
        "oobinline",
        "own",
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
        self.address_by_bind = False
        """bind once gave it a specific address: it keeps the one that it has, whatever becomes of a connection."""
        self.connecting = False
        """connect was called, and has not yet told how it went."""
        self.connected = False
        """connect has told of success, or accept made the socket: it stays so until close, whatever becomes of the connection."""
        self.nodelay = self.keepalive = self.read_shut = False
        self.oobinline = False
        """Remembered only: urgent data is always in line, as RFC 6093 section 4 would have it."""
        self.hold_synack: bool = False
        """Of a listener: its connections are handed out at their SYN."""
        self.linger = -1
        self.rcvbuf = self.sndbuf = self.maxseg = 0
        """As set, or 0 for what the host's Config and the path say."""
        self.own: dict[str, Any] = {}
        """Fields of Config that are different for this socket."""
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

    @property
    def is_connected(self) -> bool:
        return self.is_busy

    # -- opening ----------------------------------------------------------------------------------------------------------

    def bind(self, address: Address) -> None:
        super().bind(address)
        self.address_by_bind |= self.bound not in (ANY_V4, ANY_V6)
        self.host.table.add_bound(self)

    def listen(self, backlog: int = SOMAXCONN) -> None:
        """Go to LISTEN; again: change the backlog. The check for conflicts runs once more (facts T1)."""
        self._check_open()
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
        self.host.tcp.ports.listen(self)
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
        self._check_open()
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
        if not port and self.host.flavour.port_zero_errno:
            raise error(self.host.flavour.port_zero_errno, "port 0 is nobody's")
        self._disconnect()
        self.host.tcp.connect(self, remote, port)
        self.connecting = True
        raise error(errno.EINPROGRESS)

    def _disconnect(self) -> None:
        """Forget a connection that has ended, or never began."""
        self.connection, self.peer, self.soft_error = None, None, None
        if self.address_by_bind:
            self.bound = self.laddr
        else:
            self.move(self.bound)

    def move(self, packed: bytes) -> None:
        """Have another local address: one bound to a wildcard holds its port at one address only while it is connected."""
        if packed == self.laddr:
            return
        self.laddr = packed
        if self.name is not None:
            self.host.table.remove_bound(self)
            made = name_for if packed == self.bound else name_connected
            self.name = made(self, packed, self.lport)
            self.host.table.add_bound(self)

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
        if self.closed:
            return
        self.on_event = None
        self._stop_listening()
        c = self.connection
        if c is not None:
            if (
                self.linger == 0
                and not c.held
                and c.state in (*CAN_SEND, State.SYN_RECEIVED, State.FIN_WAIT_1, State.FIN_WAIT_2)
            ):
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
        self.connection = None  # what stays in TIME-WAIT names its socket, and must not keep all this alive with it

    def _stop_listening(self) -> None:
        """Reset what was not accepted, what is half open too, or leave it to the group (facts T9)."""
        listener, group = self.listener, self.group
        if listener is None:
            return
        self.host.table.remove_listener(listener)
        self.listener = None
        if group is not None and group.members and self.host.config.migrate_req:
            listener.migrate(group)
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

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        known = OPTIONS.get((level, option))
        if known is not None or level == so.IPPROTO_TCP:
            check_size(level, option, value)
        if known is None:
            super().setsockopt(level, option, value)
        elif known.write is None:
            raise error(errno.ENOPROTOOPT, "this option can only be read")
        else:
            known.write(self, value)
        c = self.connection
        if c is not None and c.state not in _ENDED:
            self.apply_options(c)
            template = c.template
            if isinstance(template, Template) and (template.ttl, template.tos) != (self.ttl, self.tos):
                c.template = _remarked(template, self.ttl, self.tos)  # MUST-48, MUST-49, SHLD-21
            self.host.wake(c)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> int | bytes:
        if (level, option) == (so.SOL_SOCKET, so.SO_LINGER) and not buflen:
            return self.linger  # seconds, or -1: what the struct says in two numbers
        value = super().getsockopt(level, option, buflen)
        if (level, option) == (so.SOL_SOCKET, so.SO_MAX_PACING_RATE) and buflen < 8:
            whole = super().getsockopt(level, option, 8)
            assert isinstance(whole, bytes)
            if any(whole[4:]):  # as much as four bytes can say
                return b"\xff" * buflen if buflen else -1
        return value

    def option(self, level: int, option: int) -> int | bytes:
        known = OPTIONS.get((level, option))
        return known.read(self) if known is not None else super().option(level, option)

    def apply_options(self, c: Connection) -> None:
        """Hand the options to the connection."""
        c.nodelay = self.nodelay
        if self.rcvbuf:
            c.rcvbuf = self.rcvbuf
        if self.sndbuf:
            c.sndbuf = self.sndbuf
        if self.maxseg and c.state is State.CLOSED:  # about to open: what it will announce
            c.path_mss = min(c.path_mss, self.maxseg)
        if self.own:
            c.config = replace(self.host.config, **self.own)
            c.choose_congestion_control()
        if self.keepalive != c.keepalive:
            c.keepalive = self.keepalive
            c.deadline_keepalive = self.host.now + c.config.keepalive_time if self.keepalive else NEVER
        elif self.keepalive and self.own and not c.keepalive_probes_sent:
            c.deadline_keepalive = c.last_received + c.config.keepalive_time

    def inherit(self, parent: Socket) -> None:
        super().inherit(parent)
        self.connected = True
        if isinstance(parent, StreamSocket):
            self.nodelay, self.keepalive, self.linger = parent.nodelay, parent.keepalive, parent.linger
            self.oobinline = parent.oobinline
            self.rcvbuf, self.sndbuf = parent.rcvbuf, parent.sndbuf
            self.maxseg, self.own = parent.maxseg, dict(parent.own)

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
