"""UDP sockets."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from netemu.stack import constants as so
from netemu.stack import multicast
from netemu.stack.ancillary import PLAIN, Arrived, Item, Outgoing, fitted, outgoing, told
from netemu.stack.datagram_options import OPTIONS
from netemu.stack.demux import flow_key
from netemu.stack.errqueue import ORIGIN_LOCAL, QueuedError
from netemu.stack.multicast import Multicast
from netemu.stack.names import ANY_V4, ANY_V6, Name, name_for, shown
from netemu.stack.sockets import SO_RCVBUF_DEFAULT, Address, Socket, check_size, error, mapped, unmapped
from netemu.tcp.connection import READABLE, WRITABLE
from netemu.wire.buffer import Buffer
from netemu.wire.ip import IpPacket, is_link_local, is_loopback, is_multicast

if TYPE_CHECKING:
    from netemu.stack.host import Host
    from netemu.stack.stream_socket import StreamSocket

LARGEST = {4: 65507, 16: 65527}
"""Bytes of a datagram, by the size of its addresses."""
_RECVERR = {4: (so.IPPROTO_IP, so.IP_RECVERR), 16: (so.IPPROTO_IPV6, so.IPV6_RECVERR)}
MOST_ERRORS = 256
"""As many small ones as SO_RCVBUF holds by default."""


class DatagramSocket(Socket):
    """A UDP socket."""

    __slots__ = (
        "_queue", "_queued", "error", "errors", "may_broadcast", "mtu_discover", "multicast", "no_check6", "rcvbuf",
        "sndbuf", "wants", "write_shut",
    )  # fmt: skip
    is_stream = False

    def __init__(self, host: Host, family: int = so.AF_INET, app: str = "", uid: int = 0) -> None:
        super().__init__(host, family, app, uid)
        self._queue: deque[Arrived] = deque()
        self._queued = 0
        self.rcvbuf = self.sndbuf = SO_RCVBUF_DEFAULT
        self.error = 0
        """errno of an ICMP error, to be reported once."""
        self.errors: deque[QueuedError] = deque()
        """Those that recvmsg(MSG_ERRQUEUE) tells."""
        self.write_shut = self.may_broadcast = self.no_check6 = False
        self.wants: set[tuple[int, int]] = set()
        """The options set that ask for something in recvmsg's ancillary data or error queue."""
        self.mtu_discover = {4: so.IP_PMTUDISC_WANT, 16: so.IP_PMTUDISC_WANT}
        """What IP_MTU_DISCOVER and IPV6_MTU_DISCOVER say, by the size of an address."""
        self.multicast = {4: Multicast(), 16: Multicast()} if self.is_ipv6 else {4: Multicast()}
        self.multicast[4].all = not self.is_ipv6  # so is IP_MULTICAST_ALL at first, on Linux

    @property
    def state_name(self) -> str:
        return "UNCONN" if self.peer is None else "ESTAB"

    # -- names ------------------------------------------------------------------------------------------------------------

    def bind(self, address: Address) -> None:
        """As every socket's; a link-local address takes its device along ('ff02::fb%netemu0')."""
        if self.is_ipv6:
            self._check_open()
            scope = self._scope(address[0])
            if needs_scope(self._address(address[0])):
                scope = scope or self.device
                if not scope or (self.device and scope != self.device):
                    raise error(errno.EINVAL, f"which device's {address[0]}? Add %{self.host.device}")
                self.device = scope
        super().bind(address)

    def _scope(self, address: str) -> str:
        """The device that is named behind a '%', by its name or number; ENODEV."""
        scope = address.partition("%")[2]
        if not scope or scope in self.host.devices:
            return scope
        return self.host.device_at(int(scope) if scope.isdecimal() else 0)

    def take_name(self, packed: bytes, name: Name) -> None:
        super().take_name(packed, name)
        self.host.udp.add(self, name)

    def _move(self, packed: bytes) -> None:
        """Linux files a socket under the address that it has now: connected, a wildcard has become a specific one."""
        if self.name is not None and packed != self.laddr:
            self.host.udp.remove(self, self.name)
            self.take_name(packed, name_for(self, packed, self.lport))

    def connect(self, address: Address) -> None:
        """Fix the peer; only its datagrams are received from now on. A failure leaves everything as it was."""
        self._autobind()
        remote, port = self._remote(address)
        scope = self._scope(address[0])
        if needs_scope(remote) and not (scope or self.device or self.multicast[16].device):
            raise error(errno.EINVAL, f"which device's {address[0]}? Add %{self.host.device}")
        local, device = unmapped(self.bound), self._device_to(remote, Outgoing(device=scope))
        if local in (ANY_V4, ANY_V6):
            local = self._own_address(remote, device)
        self._check_leaves(local, remote, device)
        flow = flow_key(remote, local, port, self.lport)
        if self.host.flavour.udp_tuple_is_unique and self.host.udp.is_connected(flow, self):
            raise error(errno.EADDRINUSE, "another socket has this name and this peer")
        self._leave_peer()
        self.peer = (remote, port)
        self._move(mapped(local, self.is_ipv6))
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

    def _leave_peer(self) -> None:
        if self.peer is not None:
            self.host.udp.remove_connected(self, self._flow())
        self.peer = None

    def disconnect(self) -> None:
        """connect(AF_UNSPEC): anybody's datagrams again. A port that bind did not choose is given back (facts U3)."""
        self._check_open()
        self._leave_peer()
        if self.host.flavour.disconnect_forgets_address:
            self.bound = ANY_V6 if self.is_ipv6 else ANY_V4
        self._move(self.bound)
        if self.name is not None and not self.port_by_bind:
            self.host.udp.remove(self, self.name)
            self._give_back_port()
            self.lport = 0

    def _allow_special(self, packed: bytes) -> None:
        if is_multicast(packed):
            return
        if packed not in self.host.broadcasts:
            super()._allow_special(packed)
        if not self.may_broadcast:
            raise error(errno.EACCES, "a broadcast address: set SO_BROADCAST")

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

    # -- out --------------------------------------------------------------------------------------------------------------

    def send(self, data: Buffer, flags: int = 0) -> int:
        return self.sendmsg(data, (), flags)

    def sendto(self, data: Buffer, address: Address, source: bytes | None = None) -> int:
        """Send one datagram; ``source`` overrides the local address (what IP_PKTINFO does)."""
        self._autobind()
        if not address[1]:
            raise error(errno.EINVAL, "port 0 cannot be sent to")
        remote, port = self._remote(address)
        return self._send(data, remote, port, Outgoing(source, self._scope(address[0])))

    def sendmsg(
        self, data: Buffer, ancdata: Iterable[Item] = (), flags: int = 0, address: Address | None = None
    ) -> int:
        """Send one datagram, to the peer where there is no ``address``, in the way that ``ancdata`` says (facts U8)."""
        if flags & so.MSG_OOB:
            raise error(errno.EOPNOTSUPP, "UDP has no urgent data")
        self._autobind()
        if address is not None:
            if not address[1]:
                raise error(errno.EINVAL, "port 0 cannot be sent to")
            remote, port = self._remote(address)
        elif self.peer is None:
            raise error(errno.EDESTADDRREQ)
        else:
            remote, port = self.peer
        how = outgoing(self, ancdata, 4 if len(remote) == 4 else 6) if ancdata else PLAIN
        if address is not None and not how.device:
            how = how._replace(device=self._scope(address[0]))
        return self._send(data, remote, port, how)

    def _send(self, data: Buffer, remote: bytes, port: int, how: Outgoing) -> int:
        device = self._device_to(remote, how)
        source = self._source(remote, device, how)
        self._check_size(len(data), remote, port)
        if not self.host.flavour.unconnected_hears_icmp:
            self._raise_error()
        if self.write_shut:
            raise error(errno.EPIPE)
        self.host.udp.send(self, source, remote, port, data, how, device)
        return len(data)

    def _device_to(self, remote: bytes, how: Outgoing) -> str:
        """By what a group or a broadcast address is reached; nothing for other addresses, which say that themselves."""
        host = self.host
        if not host.is_for_many(remote):
            if how.device and how.device != host.device_of(remote):
                raise error(errno.ENETUNREACH, f"not reached by {how.device}")
            return ""
        settings = self.multicast[len(remote)]
        chosen = self.device or how.device or (settings.device if is_multicast(remote) else "")
        if chosen:
            return chosen
        local = how.source or self.local_address
        if len(local) == len(remote) and host.is_local(local):
            return host.device_of(local)
        return host.broadcasts.get(remote, host.device)

    def _source(self, remote: bytes, device: str, how: Outgoing) -> bytes:
        """The address to send from: what was asked for, the socket's own, the interface's or the way's."""
        host = self.host
        source = how.source
        if source is not None:
            if len(source) == len(remote) and is_multicast(source):
                raise error(errno.EINVAL, "a group sends nothing")
            if not host.is_local(source) or len(source) != len(remote):
                raise error(errno.ENETUNREACH, "not an address of this host")
        else:
            source = self.local_address
            if len(source) != len(remote) or host.is_for_many(source) or source in (ANY_V4, ANY_V6):
                return self._own_address(remote, device)
        self._check_leaves(source, remote, device)
        return source

    def _own_address(self, remote: bytes, device: str) -> bytes:
        """Where the socket has none: the one that IP_MULTICAST_IF names, the interface's or the way's."""
        host = self.host
        if not device:
            return host.source_for(remote)
        if not is_multicast(remote):
            return host.address_on(device, remote)
        # by lo too IPv4 speaks to groups from an address of the wire, as Linux does: 127.0.0.1 is of too small a scope
        return self.multicast[len(remote)].source or host.address_on(
            host.device if len(remote) == 4 else device, remote
        )

    def _check_leaves(self, source: bytes, remote: bytes, device: str) -> None:
        if len(source) == 4 and is_loopback(source) and not device and not self.host.is_local(remote):
            raise error(errno.EINVAL, "a loopback address does not leave the host")  # facts U4

    def _check_size(self, size: int, remote: bytes, port: int) -> None:
        """EMSGSIZE for what IP cannot carry, or what IP_MTU_DISCOVER forbids to break into fragments."""
        if size > LARGEST[len(remote)]:
            raise error(errno.EMSGSIZE)
        mode = self.mtu_discover[len(remote)]
        if so.IP_PMTUDISC_DO <= mode <= so.IP_PMTUDISC_INTERFACE:
            headers = 28 if len(remote) == 4 else 48
            mtu = self.host.way_mtu(remote) if mode == so.IP_PMTUDISC_DO else self.host.link_mtu(remote)
            if size + headers > mtu:
                if _RECVERR[len(remote)] in self.wants:
                    self.queue_error(QueuedError(errno.EMSGSIZE, ORIGIN_LOCAL, 0, 0, mtu, b"", remote, port, b""))
                raise error(errno.EMSGSIZE, f"the path's MTU is {mtu}")

    # -- in ---------------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, sport: int, ip: IpPacket, device: str) -> bool:
        """The host delivers a datagram; False when the buffer is full. An empty queue takes any one."""
        charge = datagram_charge(len(data))
        if self._queue and self._queued + charge > self.rcvbuf:
            return False
        self._queue.append(Arrived(data, sport, ip, device))
        self._queued += charge
        return True

    def recv(self, limit: int, flags: int = 0) -> bytes:
        """With MSG_TRUNC so many bytes as the datagram has, however few were asked for (those beyond are zeros)."""
        if not flags & so.MSG_TRUNC:
            return self.recvmsg(limit, 0, flags)[0]
        size = len(self._first(flags).data)
        return self.recvmsg(limit, 0, flags)[0].ljust(size, b"\0")

    def recvfrom(self, limit: int, flags: int = 0) -> tuple[bytes, Address]:
        """One datagram, cut to ``limit``, and its sender. EAGAIN when there is none."""
        data, _, _, address = self.recvmsg(limit, 0, flags)
        return data, address

    def recvmsg(self, limit: int, room: int = 0, flags: int = 0) -> tuple[bytes, list[Item], int, Address]:
        """As Python's: data, ancillary data in ``room`` bytes, flags, sender. MSG_ERRQUEUE: of the error queue."""
        if flags & so.MSG_ERRQUEUE:
            return self._take_queued_error(limit, room)
        found = self._first(flags)
        if not flags & so.MSG_PEEK:
            self.drop_first()
        items, cut = fitted(told(self, found.ip, found.device), room) if self.wants else ([], 0)
        if len(found.data) > limit:
            cut |= so.MSG_TRUNC
        return found.data[:limit], items, cut, (shown(self.family, found.ip.src), found.sport)

    def drop_first(self) -> None:
        """The first datagram has been read."""
        self._queued -= datagram_charge(len(self._queue.popleft().data))

    def recvfrom_to(self, limit: int) -> tuple[bytes, Address, bytes | None]:
        """As recvfrom, with the address that was asked, for an answer's source; None for a group or a broadcast."""
        asked = self._first().ip.dst
        return *self.recvfrom(limit), None if self.host.is_for_many(asked) else asked

    def _first(self, flags: int = 0) -> Arrived:
        self._raise_error()
        if not self._queue:
            raise error(errno.EAGAIN)
        return self._queue[0]

    # -- errors -----------------------------------------------------------------------------------------------------------

    def fail(self, number: int) -> None:
        """The next call reports ``number``."""
        self.error = number
        self.host.notify(self, WRITABLE | READABLE)

    def take_error(self) -> int:
        number, self.error = self.error, 0
        return number

    def _raise_error(self) -> None:
        if self.error:
            raise error(self.take_error())

    def hears_errors(self, size: int) -> bool:
        """Has it IP_RECVERR (IPV6_RECVERR) for addresses of ``size`` bytes?"""
        return _RECVERR[size] in self.wants

    def queue_error(self, queued: QueuedError) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(queued)
            self.host.notify(self, WRITABLE | READABLE)

    def _take_queued_error(self, limit: int, room: int) -> tuple[bytes, list[Item], int, Address]:
        """The first; the pending error is then the next one's (as Linux' sock_dequeue_err_skb)."""
        if not self.errors:
            raise error(errno.EAGAIN)
        found = self.errors.popleft()
        if self.errors and self.errors[0].origin != ORIGIN_LOCAL:
            self.fail(self.errors[0].number)
        elif found.origin != ORIGIN_LOCAL:
            self.error = 0
        items, flags = fitted([found.control(self.is_ipv6)], room)
        if len(found.payload) > limit:
            flags |= so.MSG_TRUNC
        address = shown(self.family, found.dst), found.dport
        return found.payload[:limit], items, flags | so.MSG_ERRQUEUE, address

    # -- the rest ---------------------------------------------------------------------------------------------------------

    def poll(self) -> int:
        """What waits in the error queue alone does not count: recv would not find it."""
        return WRITABLE | (READABLE if self._queue or self.error else 0)

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        known = OPTIONS.get((level, option))
        if known is None or known.write is None or (level == so.IPPROTO_IPV6 and not self.is_ipv6):
            super().setsockopt(level, option, value)
            return
        check_size(level, option, value)
        known.write(self, value)

    def option(self, level: int, option: int) -> int | bytes:
        known = OPTIONS.get((level, option))
        if known is None or known.read is None or (level == so.IPPROTO_IPV6 and not self.is_ipv6):
            return super().option(level, option)
        return known.read(self)

    def close(self) -> None:
        if self.closed:
            return
        self.on_event = None
        multicast.leave_all(self)
        self._leave_peer()
        if self.name is not None:
            self.host.udp.remove(self, self.name)
        self._release()

    @property
    def queues(self) -> tuple[int, int]:
        return self._queued, 0


def needs_scope(packed: bytes) -> bool:
    """Is it an address that every link has anew: fe80::/10, and groups of a link or an interface (RFC 4007 4)?"""
    return is_link_local(packed) or (len(packed) == 16 and packed[0] == 0xFF and packed[1] & 15 in (1, 2))


def datagram_charge(size: int) -> int:
    """What a queued datagram of ``size`` bytes takes of SO_RCVBUF: the kernel's buffer for it, as measured (facts U8)."""
    return 832 if size <= 196 else 256 + (1 << (size + 379).bit_length())
