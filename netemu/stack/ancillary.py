"""Ancillary data of UDP sockets, as Linux lays it out: what recvmsg tells beside the bytes, what sendmsg is told (facts U8)."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from netemu.stack import constants as so
from netemu.stack.names import ANY_V4, ANY_V6
from netemu.stack.sockets import mapped, unmapped
from netemu.wire.ip import IpPacket, is_multicast

if TYPE_CHECKING:
    from netemu.stack.datagram_socket import DatagramSocket
    from netemu.stack.host import Host

Item = tuple[int, int, bytes]
"""(level, type, data)."""
PKTINFO, PKTINFO6 = Struct("=i4s4s"), Struct("=16si")
"""struct in_pktinfo: interface, local address, destination in the header; struct in6_pktinfo: address, interface."""
_HEADER, _ALIGN = 16, 8
"""struct cmsghdr."""


class Arrived(NamedTuple):
    """A datagram in a socket's queue, with the header that it came in."""

    data: bytes
    sport: int
    ip: IpPacket
    device: str


class Outgoing(NamedTuple):
    """What sendmsg was told about one datagram, instead of the socket's own settings."""

    source: bytes | None = None
    device: str = ""
    ttl: int | None = None
    tos: int | None = None


PLAIN = Outgoing()


# -- recvmsg ----------------------------------------------------------------------------------------------------------


def told(socket: DatagramSocket, ip: IpPacket, device: str) -> list[Item]:
    """What ``socket`` asked to be told about a datagram."""
    wants, items, host = socket.wants, list[Item](), socket.host
    if not wants:
        return items
    if (so.IPPROTO_IPV6, so.IPV6_RECVPKTINFO) in wants:
        address = PKTINFO6.pack(mapped(ip.dst, True), host.devices[device])
        items.append((so.IPPROTO_IPV6, so.IPV6_PKTINFO, address))
    if ip.version == 4:
        if (so.IPPROTO_IP, so.IP_PKTINFO) in wants:
            many = ip.dst in host.broadcasts or is_multicast(ip.dst)
            local = host.address_on(device, ip.dst) if many else ip.dst
            items.append((so.IPPROTO_IP, so.IP_PKTINFO, PKTINFO.pack(host.devices[device], local, ip.dst)))
        if (so.IPPROTO_IP, so.IP_RECVTTL) in wants:
            items.append((so.IPPROTO_IP, so.IP_TTL, _int(ip.hop_limit)))
        if (so.IPPROTO_IP, so.IP_RECVTOS) in wants:
            items.append((so.IPPROTO_IP, so.IP_TOS, bytes((ip.tos,))))
        return items
    if (so.IPPROTO_IPV6, so.IPV6_RECVHOPLIMIT) in wants:
        items.append((so.IPPROTO_IPV6, so.IPV6_HOPLIMIT, _int(ip.hop_limit)))
    if (so.IPPROTO_IPV6, so.IPV6_RECVTCLASS) in wants:
        items.append((so.IPPROTO_IPV6, so.IPV6_TCLASS, _int(ip.tos)))
    return items


def fitted(items: Iterable[Item], room: int) -> tuple[list[Item], int]:
    """As much as ``room`` bytes of control messages hold, and MSG_CTRUNC where that is not all."""
    out: list[Item] = []
    for level, kind, data in items:
        size = _HEADER + len(data)
        if room < size:
            if room > _HEADER:
                out.append((level, kind, data[: room - _HEADER]))
            return out, so.MSG_CTRUNC
        out.append((level, kind, data))
        room -= min(room, -(-size // _ALIGN) * _ALIGN)
    return out, 0


# -- sendmsg ----------------------------------------------------------------------------------------------------------


def outgoing(socket: DatagramSocket, items: Iterable[Item], version: int) -> Outgoing:
    """What ``items`` say for a datagram of IP ``version``. EINVAL for what makes no sense; of other levels all is ignored."""
    how, family = PLAIN, so.IPPROTO_IP if version == 4 else so.IPPROTO_IPV6
    for level, kind, data in items:
        if level == so.SOL_SOCKET:
            raise _wrong(level, kind)
        if (level, kind) == (so.IPPROTO_IPV6, so.IPV6_PKTINFO) and socket.is_ipv6:
            how = _pktinfo6(socket.host, how, data, version)
        elif level != family:
            continue
        elif (level, kind) == (so.IPPROTO_IP, so.IP_PKTINFO) and len(data) == PKTINFO.size:
            index, local, _ = PKTINFO.unpack(data)
            how = how._replace(source=None if local == ANY_V4 else local, device=_device(socket.host, index))
        elif (level, kind) == (so.IPPROTO_IP, so.IP_TTL):
            how = how._replace(ttl=_number(level, kind, data, 1))
        elif (level, kind) == (so.IPPROTO_IP, so.IP_TOS):
            how = how._replace(tos=data[0] if len(data) == 1 else _number(level, kind, data, 0))
        elif (level, kind) == (so.IPPROTO_IPV6, so.IPV6_HOPLIMIT):
            number = _number(level, kind, data, -1)
            how = how._replace(ttl=None if number == -1 else number)
        elif (level, kind) == (so.IPPROTO_IPV6, so.IPV6_TCLASS):
            how = how._replace(tos=max(0, _number(level, kind, data, -1)))
        else:
            raise _wrong(level, kind)
    return how


def _pktinfo6(host: Host, how: Outgoing, data: bytes, version: int) -> Outgoing:
    """With an IPv4 destination the address must be a mapped one."""
    if len(data) < PKTINFO6.size:
        raise _wrong(so.IPPROTO_IPV6, so.IPV6_PKTINFO)
    packed, index = PKTINFO6.unpack_from(data)
    address, device = unmapped(packed), _device(host, index)
    if packed == ANY_V6 and version == 6:
        return how._replace(device=device)
    if len(address) != version_size(version) or (version == 6 and not host.is_local(address)):
        raise OSError(errno.EINVAL, "not an address to send this from")
    return how._replace(source=None if address == ANY_V4 else address, device=device)


def version_size(version: int) -> int:
    """Bytes of an address."""
    return 4 if version == 4 else 16


def _device(host: Host, index: int) -> str:
    return host.device_at(index) if index else ""


def _int(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _number(level: int, kind: int, data: bytes, least: int) -> int:
    number = int.from_bytes(data, "little", signed=True)
    if len(data) != 4 or not least <= number <= 255:
        raise _wrong(level, kind)
    return number


def _wrong(level: int, kind: int) -> OSError:
    return OSError(errno.EINVAL, f"ancillary data {level}/{kind} that cannot be")
