"""What a socket is bound to, and when two such names overlap."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from netemu.stack.constants import AF_INET, AF_INET6
from netemu.wire.ip import MAPPED as MAPPED
from netemu.wire.ip import text

if TYPE_CHECKING:
    from netemu.stack.sockets import Socket

ANY = b""
"""Every address of a family."""
NO_ADDRESS = b"\0"
"""Met by ANY, and by nothing else."""
ANY_V4, ANY_V6 = bytes(4), bytes(16)


class Name(NamedTuple):
    """The addresses of each family that a bound socket covers: ANY, one address, or None for none of that family."""

    v4: bytes | None
    v6: bytes | None
    port: int
    device: str = ""
    """The only device that packets may arrive by; empty: any."""

    def covers(self, address: bytes) -> bool:
        """Would a packet to ``address`` match?"""
        mine = self.v4 if len(address) == 4 else self.v6
        return mine is not None and mine in (ANY, address)

    def overlaps(self, other: Name, set_aside: Collection[bytes] = ()) -> bool:
        """Is there a packet that both cover? (Ports are compared by the caller.) Addresses ``set_aside`` are no wildcard's."""
        if self.device != other.device and self.device and other.device:
            return False
        return _meet(self.v4, other.v4, set_aside) or _meet(self.v6, other.v6, set_aside)


def _meet(a: bytes | None, b: bytes | None, set_aside: Collection[bytes]) -> bool:
    if a is None or b is None:
        return False
    return a == b or (ANY in (a, b) and a not in set_aside and b not in set_aside)


def name_of(family: int, address: bytes, port: int, v6only: bool, device: str = "") -> Name:
    """The Name for an address as given to bind: 4 bytes for AF_INET, 16 for AF_INET6 (mapped ones mean IPv4)."""
    if family == AF_INET:
        return Name(ANY if address == ANY_V4 else address, None, port, device)
    if address[:12] == MAPPED:
        return Name(ANY if address[12:] == ANY_V4 else address[12:], None, port, device)
    if address == ANY_V6:
        return Name(None if v6only else ANY, ANY, port, device)
    return Name(None, address, port, device)


def name_for(socket: Socket, address: bytes, port: int) -> Name:
    """The Name that ``socket``, as it is now, has at an address."""
    return name_of(socket.family, address, port, socket.v6only, socket.device)


def name_connected(socket: Socket, address: bytes, port: int) -> Name:
    """The Name of a socket that got its address by a connection. On Linux an IPv6 one that may also take IPv4 then stands in the
    way of 0.0.0.0, though not of any IPv4 address."""
    name = name_for(socket, address, port)
    if name.v4 is None and not socket.v6only and socket.host.flavour.connected_ipv6_meets_ipv4_wildcard:
        return name._replace(v4=NO_ADDRESS)
    return name


def shown(family: int, address: bytes) -> str:
    """An address as a socket of ``family`` shows it: an IPv4 one mapped where the socket is IPv6."""
    if family == AF_INET6 and len(address) == 4:
        return f"::ffff:{text(address)}"
    return text(address)
