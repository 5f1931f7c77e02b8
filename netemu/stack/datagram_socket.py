"""UDP sockets."""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING

from netemu.stack import constants as so
from netemu.stack.demux import flow_key
from netemu.stack.names import ANY_V4, ANY_V6, Name, shown
from netemu.stack.sockets import (
    RCVBUF_MIN,
    SNDBUF_MIN,
    SO_RCVBUF_DEFAULT,
    Address,
    Socket,
    as_int,
    buffer_size,
    error,
    mapped,
    unmapped,
)
from netemu.tcp.connection import READABLE, WRITABLE
from netemu.wire.buffer import Buffer

if TYPE_CHECKING:
    from netemu.stack.host import Host
    from netemu.stack.stream_socket import StreamSocket


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
        self.host.udp.add(self, name)

    def connect(self, address: Address) -> None:
        """Fix the peer; only its datagrams are received from now on. A failure leaves everything as it was."""
        self._autobind()
        remote, port = self._remote(address)
        local = unmapped(self.bound)
        if local in (ANY_V4, ANY_V6):
            local = self.host.source_for(remote)
        self._disconnect()
        self.laddr = mapped(local, self.is_ipv6)
        self.peer = (remote, port)
        self.host.udp.add_connected(self, self._flow())

    def _autobind(self) -> None:
        """Linux gives a port to every socket that sends or connects, also where that fails then (facts U3)."""
        self._check_open()
        if self.name is None:
            try:
                self.host.udp.ports.bind(self, self.laddr, 0)
            except OSError:
                raise error(errno.EAGAIN, "all ephemeral ports are taken") from None

    def _flow(self) -> bytes:
        assert self.peer is not None
        return flow_key(self.peer[0], self.local_address, self.peer[1], self.lport)

    def _disconnect(self) -> None:
        if self.peer is not None:
            self.host.udp.remove_connected(self, self._flow())
        self.peer = None

    def disconnect(self) -> None:
        """connect(AF_UNSPEC): anybody's datagrams again."""
        self._disconnect()

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
        elif not self.host.is_local(source) or len(source) != len(remote):
            raise error(errno.ENETUNREACH, "not an address of this host")
        self.host.udp.send(self, source, remote, port, data)
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

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        if (level, option) == (so.SOL_SOCKET, so.SO_RCVBUF):
            self.rcvbuf = buffer_size(as_int(value), RCVBUF_MIN)
        elif (level, option) == (so.SOL_SOCKET, so.SO_SNDBUF):
            self.sndbuf = buffer_size(as_int(value), SNDBUF_MIN)
        else:
            super().setsockopt(level, option, value)

    def option(self, level: int, option: int) -> int | bytes:
        if (level, option) == (so.SOL_SOCKET, so.SO_ERROR):
            pending, self.error = self.error, 0
            return pending
        if (level, option) == (so.SOL_SOCKET, so.SO_RCVBUF):
            return self.rcvbuf
        if (level, option) == (so.SOL_SOCKET, so.SO_SNDBUF):
            return self.sndbuf
        return super().option(level, option)

    def close(self) -> None:
        if self.closed:
            return
        self.on_event = None
        self._disconnect()
        if self.name is not None:
            self.host.udp.remove(self, self.name)
        self._release()

    @property
    def queues(self) -> tuple[int, int]:
        return self._queued, 0


def datagram_charge(size: int) -> int:
    """What a queued datagram of ``size`` bytes takes of SO_RCVBUF: the kernel's buffer for it, as measured (facts U8)."""
    return 832 if size <= 196 else 256 + (1 << (size + 379).bit_length())
