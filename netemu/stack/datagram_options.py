"""The options that UDP sockets have of their own, as a table: how each is read and set, with Linux' bounds and errnos.

What all sockets have is in netemu.stack.sockets.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from netemu.stack import constants as so
from netemu.stack import multicast
from netemu.stack.names import ANY_V4
from netemu.stack.sockets import RCVBUF_MIN, SNDBUF_MIN, as_int, buffer_size, error
from netemu.wire.ip import is_multicast

if TYPE_CHECKING:
    from netemu.stack.datagram_socket import DatagramSocket

MREQ, MREQN, MREQ_SOURCE, MREQ6 = Struct("=4s4s"), Struct("=4s4si"), Struct("=4s4s4s"), Struct("=16si")
"""struct ip_mreq, ip_mreqn, ip_mreq_source, ipv6_mreq."""

Value = int | bytes


class Option(NamedTuple):
    read: Callable[[DatagramSocket], Value] | None
    """None: it can only be set."""
    write: Callable[[DatagramSocket, Value], None] | None


def _flag(name: str) -> Option:
    def write(socket: DatagramSocket, value: Value) -> None:
        setattr(socket, name, bool(as_int(value)))

    return Option(lambda socket: int(getattr(socket, name)), write)


def _buffer(name: str, least: int) -> Option:
    def write(socket: DatagramSocket, value: Value) -> None:
        setattr(socket, name, buffer_size(as_int(value), least))

    return Option(lambda socket: getattr(socket, name), write)


def _wish(level: int, option: int) -> Option:
    """Something to be told by recvmsg."""

    def write(socket: DatagramSocket, value: Value) -> None:
        if as_int(value):
            socket.wants.add((level, option))
        else:
            socket.wants.discard((level, option))

    return Option(lambda socket: int((level, option) in socket.wants), write)


def _mtu_discover(size: int) -> Option:
    def write(socket: DatagramSocket, value: Value) -> None:
        number = as_int(value)
        if not so.IP_PMTUDISC_DONT <= number <= so.IP_PMTUDISC_OMIT:
            raise error(errno.EINVAL, "IP_MTU_DISCOVER is 0 to 5")
        socket.mtu_discover[size] = number

    return Option(lambda socket: socket.mtu_discover[size], write)


def _read_mtu(socket: DatagramSocket) -> int:
    if socket.peer is None:
        raise error(errno.ENOTCONN, "the MTU is a path's: connect first")
    return socket.host.way_mtu(socket.peer[0])


# -- how to send to groups --------------------------------------------------------------------------------------------


def _group_flag(size: int, name: str, strict: bool) -> Option:
    """``strict``: 0 and 1 only."""

    def write(socket: DatagramSocket, value: Value) -> None:
        number = as_int(value)
        if strict and number not in (0, 1):
            raise error(errno.EINVAL, "0 or 1")
        setattr(socket.multicast[size], name, bool(number))

    return Option(lambda socket: int(getattr(socket.multicast[size], name)), write)


def _hops(size: int) -> Option:
    def write(socket: DatagramSocket, value: Value) -> None:
        number = as_int(value)
        if not -1 <= number <= 255 or value == b"":
            raise error(errno.EINVAL, "a TTL is 0 to 255")
        socket.multicast[size].hops = 1 if number == -1 else number

    return Option(lambda socket: socket.multicast[size].hops, write)


def _write_interface(socket: DatagramSocket, value: Value) -> None:
    """IP_MULTICAST_IF: an address, struct ip_mreq or ip_mreqn."""
    raw = value.to_bytes(4, "little", signed=value < 0) if isinstance(value, int) else value
    if len(raw) < 4:
        raise error(errno.EINVAL, "IP_MULTICAST_IF wants an address, struct ip_mreq or ip_mreqn")
    address, index = raw[:4], 0
    if len(raw) >= MREQN.size:
        _, address, index = MREQN.unpack_from(raw)
    elif len(raw) >= MREQ.size:
        address = MREQ.unpack_from(raw)[1]
    if index:
        try:
            device = socket.host.device_at(index)
        except OSError:
            raise error(errno.EADDRNOTAVAIL, f"no device {index}") from None
    elif address == ANY_V4:
        device = ""
    elif not socket.host.is_local(address):
        raise error(errno.EADDRNOTAVAIL, "not an address of this host")
    else:
        device = socket.host.device_of(address)
    if socket.device and device and device != socket.device:
        raise error(errno.EINVAL, f"the socket is bound to {socket.device}")
    settings = socket.multicast[4]
    settings.device, settings.source = device, b"" if address == ANY_V4 else address


def _write_interface6(socket: DatagramSocket, value: Value) -> None:
    number = as_int(value)
    device = socket.host.device_at(number) if number else ""
    if socket.device and device and device != socket.device:
        raise error(errno.EINVAL, f"the socket is bound to {socket.device}")
    socket.multicast[16].device = device


def _read_interface6(socket: DatagramSocket) -> int:
    device = socket.multicast[16].device
    return socket.host.devices[device] if device else 0


# -- memberships ------------------------------------------------------------------------------------------------------

Act = Callable[["DatagramSocket", bytes, str], object]
ActOnSource = Callable[["DatagramSocket", bytes, str, bytes], None]


def _membership(act: Act, unknown: int) -> Option:
    """``unknown``: the errno where there is no such device."""

    def write(socket: DatagramSocket, value: Value) -> None:
        if isinstance(value, int) or len(value) < MREQ.size:
            raise error(errno.EINVAL, "wanted: struct ip_mreq or ip_mreqn")
        group, address, index = MREQN.unpack_from(value.ljust(MREQN.size, b"\0"))
        if not is_multicast(group) and act is multicast.join:
            raise error(errno.EINVAL, "not a multicast address")
        act(socket, group, _device(socket, address, index, unknown))

    return Option(None, write)


def _source_membership(act: ActOnSource) -> Option:
    def write(socket: DatagramSocket, value: Value) -> None:
        if isinstance(value, int) or len(value) < MREQ_SOURCE.size:
            raise error(errno.EINVAL, "wanted: struct ip_mreq_source")
        group, address, source = MREQ_SOURCE.unpack_from(value)
        if not is_multicast(group):
            raise error(errno.EINVAL, "not a multicast address")
        act(socket, group, _device(socket, address, 0, errno.ENODEV), source)

    return Option(None, write)


def _membership6(act: Act, unknown: int) -> Option:
    def write(socket: DatagramSocket, value: Value) -> None:
        if isinstance(value, int) or len(value) < MREQ6.size:
            raise error(errno.EINVAL, "wanted: struct ipv6_mreq")
        group, index = MREQ6.unpack_from(value)
        if not is_multicast(group):
            raise error(errno.EINVAL, "not a multicast address")
        act(socket, group, _device(socket, ANY_V4, index, unknown))

    return Option(None, write)


def _device(socket: DatagramSocket, address: bytes, index: int, unknown: int) -> str:
    """By number, by an address there, or the one that leads to the world."""
    host = socket.host
    if index:
        try:
            return host.device_at(index)
        except OSError:
            raise error(unknown, f"no device {index}") from None
    if address == ANY_V4:
        return host.device
    if not host.is_local(address):
        raise error(unknown, "no device has that address")
    return host.device_of(address)


def _source(socket: DatagramSocket) -> bytes:
    return socket.multicast[4].source or ANY_V4


OPTIONS: dict[tuple[int, int], Option] = {
    (so.SOL_SOCKET, so.SO_ERROR): Option(lambda socket: socket.take_error(), None),
    (so.SOL_SOCKET, so.SO_RCVBUF): _buffer("rcvbuf", RCVBUF_MIN),
    (so.SOL_SOCKET, so.SO_SNDBUF): _buffer("sndbuf", SNDBUF_MIN),
    (so.SOL_SOCKET, so.SO_BROADCAST): _flag("may_broadcast"),
    (so.IPPROTO_UDP, so.UDP_NO_CHECK6_RX): _flag("no_check6"),
    (so.IPPROTO_IP, so.IP_MTU_DISCOVER): _mtu_discover(4),
    (so.IPPROTO_IPV6, so.IPV6_MTU_DISCOVER): _mtu_discover(16),
    (so.IPPROTO_IP, so.IP_MTU): Option(_read_mtu, None),
    (so.IPPROTO_IPV6, so.IPV6_MTU): Option(_read_mtu, None),
    **{
        wish: _wish(*wish)
        for wish in (
            (so.IPPROTO_IP, so.IP_PKTINFO),
            (so.IPPROTO_IP, so.IP_RECVERR),
            (so.IPPROTO_IP, so.IP_RECVTTL),
            (so.IPPROTO_IP, so.IP_RECVTOS),
            (so.IPPROTO_IPV6, so.IPV6_RECVERR),
            (so.IPPROTO_IPV6, so.IPV6_RECVPKTINFO),
            (so.IPPROTO_IPV6, so.IPV6_RECVHOPLIMIT),
            (so.IPPROTO_IPV6, so.IPV6_RECVTCLASS),
        )
    },
    (so.IPPROTO_IP, so.IP_MULTICAST_IF): Option(_source, _write_interface),
    (so.IPPROTO_IP, so.IP_MULTICAST_TTL): _hops(4),
    (so.IPPROTO_IP, so.IP_MULTICAST_LOOP): _group_flag(4, "loop", False),
    (so.IPPROTO_IP, so.IP_MULTICAST_ALL): _group_flag(4, "all", True),
    (so.IPPROTO_IP, so.IP_ADD_MEMBERSHIP): _membership(multicast.join, errno.ENODEV),
    (so.IPPROTO_IP, so.IP_DROP_MEMBERSHIP): _membership(multicast.leave, errno.EADDRNOTAVAIL),
    (so.IPPROTO_IP, so.IP_ADD_SOURCE_MEMBERSHIP): _source_membership(multicast.add_source),
    (so.IPPROTO_IP, so.IP_DROP_SOURCE_MEMBERSHIP): _source_membership(multicast.drop_source),
    (so.IPPROTO_IP, so.IP_BLOCK_SOURCE): _source_membership(multicast.block_source),
    (so.IPPROTO_IP, so.IP_UNBLOCK_SOURCE): _source_membership(multicast.unblock_source),
    (so.IPPROTO_IPV6, so.IPV6_MULTICAST_IF): Option(_read_interface6, _write_interface6),
    (so.IPPROTO_IPV6, so.IPV6_MULTICAST_HOPS): _hops(16),
    (so.IPPROTO_IPV6, so.IPV6_MULTICAST_LOOP): _group_flag(16, "loop", True),
    (so.IPPROTO_IPV6, so.IPV6_MULTICAST_ALL): _group_flag(16, "all", False),
    (so.IPPROTO_IPV6, so.IPV6_JOIN_GROUP): _membership6(multicast.join, errno.ENODEV),
    (so.IPPROTO_IPV6, so.IPV6_LEAVE_GROUP): _membership6(multicast.leave, errno.EADDRNOTAVAIL),
}
"""(level, option) to what is done with it."""
