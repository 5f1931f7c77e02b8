"""BSD sockets on a Host: non-blocking, with the errno that Linux gives.

A socket tells its user of news through ``on_event(socket, events)`` (bits of netemu.tcp.connection), called at the end of a
turn, never from inside a call.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from netemu.stack import constants as so
from netemu.stack import sharing
from netemu.stack.names import ANY_V4, ANY_V6, MAPPED, Name, name_for, shown
from netemu.wire.ip import LOOPBACK, is_impossible_source, parse_address, text

if TYPE_CHECKING:
    from netemu.stack.groups import Group
    from netemu.stack.host import Host
    from netemu.stack.selectors import Arrival

Address = tuple[str, int]
OnEvent = Callable[["Socket", int], None]

SO_RCVBUF_DEFAULT = 212992  # net.core.rmem_default
BUFFER_MAX = 4 << 20  # net.core.rmem_max and wmem_max
RCVBUF_MIN, SNDBUF_MIN = 2304, 4608
TEXTS = (
    (so.SOL_SOCKET, so.SO_BINDTODEVICE),
    (so.SOL_SOCKET, so.SO_ATTACH_REUSEPORT_CBPF),
    (so.IPPROTO_TCP, so.TCP_CONGESTION),
)
"""Options whose value is a text, or may be."""
LARGEST_OPTION = 1024
"""Bytes that getsockopt can be asked for, as Python's."""


def error(number: int, text: str = "") -> OSError:
    """OSError with the subclass that Python gives this errno."""
    return OSError(number, text or errno.errorcode.get(number, "error"))


def buffer_size(value: int, least: int) -> int:
    """What SO_RCVBUF or SO_SNDBUF makes of ``value``: the kernel doubles it, within bounds (socket(7))."""
    return max(least, 2 * min(value & 0xFFFFFFFF, BUFFER_MAX))


class Socket:
    """What TCP and UDP sockets share."""

    __slots__ = (
        "app",
        "bind_order",
        "bound",
        "closed",
        "device",
        "events",
        "exclusive",
        "family",
        "group",
        "host",
        "id",
        "incoming_cpu",
        "is_ipv6",
        "laddr",
        "lport",
        "name",
        "no_port",
        "notified",
        "on_event",
        "peer",
        "pid",
        "port_by_bind",
        "port_by_connect",
        "port_range",
        "program",
        "reuseaddr",
        "reuseport",
        "reuseport_lb",
        "tos",
        "ttl",
        "uid",
        "v6only",
    )
    is_stream: bool
    is_listening = in_time_wait = False

    def __init__(self, host: Host, family: int, app: str, uid: int) -> None:
        if family not in (so.AF_INET, so.AF_INET6):
            raise error(errno.EAFNOSUPPORT, "only AF_INET and AF_INET6")
        self.host = host
        self.family = family
        self.is_ipv6 = family == so.AF_INET6
        self.app = app
        self.uid = uid
        """The effective uid that created the socket."""
        self.pid, self.program = 0, ""
        """The process that it belongs to; 0: built in."""
        self.id = 0
        """The 3 of s3."""
        self.closed = False
        self.name: Name | None = None
        """What it is bound to."""
        self.bound = self.laddr = ANY_V6 if self.is_ipv6 else ANY_V4
        """``bound``: what bind was given; ``laddr``: what it is now, concrete once connected. In the socket's own family."""
        self.lport = 0
        self.port_by_bind = self.port_by_connect = False
        """Who chose ``lport``: bind's caller keeps it until close, connect's goes when the connection ends."""
        self.peer: tuple[bytes, int] | None = None
        self.device = ""
        """The only device that it hears, and speaks by (SO_BINDTODEVICE); empty: any."""
        self.reuseaddr = self.reuseport = self.reuseport_lb = self.exclusive = self.v6only = False
        self.group: Group | None = None
        """Those that it shares what comes with, or a selector for a group that it has not joined yet."""
        self.bind_order = 0
        """When it was bound: larger is later."""
        self.no_port, self.port_range = False, (0, 0)
        """IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE."""
        self.ttl, self.tos = 64, 0
        self.incoming_cpu = -1
        self.on_event: OnEvent | None = None
        self.events = 0
        self.notified = False
        host.register(self)

    def __repr__(self) -> str:
        return f"<s{self.id} {self.app} {self.state_name}>"

    @property
    def state_name(self) -> str:
        raise NotImplementedError

    def _check_open(self) -> None:
        """Before anything that would take a name for a socket that has given its place back."""
        if self.closed:
            raise error(errno.EBADF, "the socket is closed")

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
        packed, port = unmapped(self._address(address[0])), address[1]
        if not 0 <= port <= 65535:
            raise OverflowError("port must be 0-65535.")
        bound = unmapped(self.bound)
        if len(packed) == 4 and self.is_ipv6 and self.v6only:
            raise error(errno.ENETUNREACH, "this IPv6 socket cannot reach an IPv4 address")
        if len(packed) == 16 and len(bound) == 4:
            if packed != ANY_V6:
                raise error(errno.EAFNOSUPPORT, "the socket is bound to an IPv4 address")
            packed, bound = ANY_V4, ANY_V4
        if packed in (ANY_V4, ANY_V6):
            packed = self._this_host(packed, bound)
        if packed in self.host.broadcasts or (is_impossible_source(packed) and not self.host.is_local(packed)):
            self._allow_special(packed)
            return packed, port
        if self.device and self.device != self.host.device_of(packed):
            # DEVIATION: Linux sends it by that device, where nobody has the address, and connect waits for the timeout
            raise error(errno.ENETUNREACH, f"no way to {address[0]} by {self.device}")
        return packed, port

    def _this_host(self, wildcard: bytes, bound: bytes) -> bytes:
        """What a wildcard means as a destination (facts T10, U4): over IPv4 the socket's own address first."""
        if len(wildcard) == 4 and bound not in (ANY_V4, ANY_V6):
            return bound
        if not self.host.flavour.any_is_loopback:
            wire = (a for a in self.host.addresses if len(a) == len(wildcard))
            return next(wire, LOOPBACK[len(wildcard)])
        return LOOPBACK[len(wildcard)]

    def _allow_special(self, packed: bytes) -> None:
        """A destination that is a group, a broadcast address or no host's at all: not for TCP (MUST-46)."""
        raise error(errno.ENETUNREACH, f"no way to {text(packed)}")

    @property
    def local_address(self) -> bytes:
        """As packets carry it: 4 bytes for a mapped one."""
        return unmapped(self.laddr)

    def bind(self, address: Address) -> None:
        """Take a local address; port 0 lets the host choose one. EADDRINUSE by the rules of netemu.stack.ports."""
        self._check_open()
        packed, port = self._address(address[0]), address[1]
        if not 0 <= port <= 65535:
            raise OverflowError("port must be 0-65535.")
        if self.is_ipv6 and self.is_stream and packed[0] == 0xFF:
            raise error(errno.EINVAL, "TCP has no groups")
        if not self.is_ipv6:  # as Linux: the order is another one for each family
            self._check_address(packed, address[0])
        flavour, first = self.host.flavour, self.host.config.unprivileged_port_start
        if self.uid and flavour.is_privileged(name_for(self, packed, port), port, first):
            raise error(errno.EACCES, f"port {port} is for root")
        if self.name is not None or self.is_busy:
            raise error(errno.EINVAL, "the socket is bound already")
        if self.is_ipv6:
            self._check_address(packed, address[0])
        if self.no_port and not port:
            self.bound = self.laddr = packed
            return
        try:
            self.host.ports_of(self).bind(self, packed, port)
        except OSError:
            self.bound = self.laddr = ANY_V6 if self.is_ipv6 else ANY_V4  # as Linux: whatever it was before
            raise
        self.bound, self.port_by_bind = packed, port > 0
        if self.is_ipv6 and packed != ANY_V6 and packed[:12] != MAPPED:
            self.v6only = True  # as Linux, from now on: it shows in the option, and a later bind meets it

    def _check_address(self, packed: bytes, shown_as: str) -> None:
        """May this socket be bound to this address at all?"""
        local = unmapped(packed)
        if self.is_ipv6 and self.v6only and len(local) == 4:
            raise error(errno.EINVAL, "an IPv6-only socket cannot have an IPv4 address")
        is_special = local in (ANY_V4, ANY_V6) or self.host.is_for_many(local)
        if not is_special and not self.host.is_local(local):
            raise error(errno.EADDRNOTAVAIL, f"{shown_as} is not an address of this host")

    @property
    def is_busy(self) -> bool:
        """Connecting or connected: cannot be bound."""
        return False

    @property
    def is_connected(self) -> bool:
        """Has a peer: it is not for what comes from others."""
        return self.peer is not None

    @property
    def has_own_group(self) -> bool:
        """A selector was attached before it joined anybody: now it cannot (facts T9)."""
        return self.group is not None and self.group.key is None

    @property
    def local_ports(self) -> tuple[int, int]:
        """The ephemeral ports: the host's, narrowed by IP_LOCAL_PORT_RANGE."""
        low, high = self.host.config.local_ports
        least, most = self.port_range
        return (least if low <= least <= high else low), (most if low <= most <= high else high)

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

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """The options that matter here; ENOPROTOOPT for others. ``value``: an int (linger: seconds, or -1 for off), or bytes."""
        if level == so.IPPROTO_IPV6 and not self.is_ipv6:
            raise error(errno.ENOPROTOOPT, "an IPv4 socket")
        if level != so.IPPROTO_TCP:
            check_size(level, option, value)
        number = as_int(value)
        if sharing.set_option(self, level, option, number, value):
            return
        match level, option:
            case so.IPPROTO_IPV6, so.IPV6_V6ONLY:
                if self.name is not None:
                    raise error(errno.EINVAL, "IPV6_V6ONLY must be set before bind")
                self.v6only = bool(number)
            case so.SOL_SOCKET, so.SO_INCOMING_CPU:
                self.incoming_cpu = number
            case (so.IPPROTO_IP, so.IP_TTL) | (so.IPPROTO_IPV6, so.IPV6_UNICAST_HOPS):
                if not -1 <= number <= 255 or (number == 0 and level == so.IPPROTO_IP):
                    raise error(errno.EINVAL, "a TTL is 1 to 255")
                self.ttl = 64 if number == -1 else number
            case (so.IPPROTO_IP, so.IP_TOS) | (so.IPPROTO_IPV6, so.IPV6_TCLASS):
                if level == so.IPPROTO_IPV6 and not -1 <= number <= 255:
                    raise error(errno.EINVAL, "a traffic class is 0 to 255")
                number = 0 if number == -1 and level == so.IPPROTO_IPV6 else number & 0xFF
                self.tos = number & ~3 if self.is_stream else number  # TCP keeps the ECN bits to itself
            case _:
                raise error(errno.ENOPROTOOPT, f"no socket option {level}/{option}")

    def set_selector(self, what: str | bytes | Callable[[Arrival], int]) -> None:
        """Who of this socket's group gets a flow: 'hash', 'cpu', 'round-robin', the instructions of a classic BPF program
        (struct sock_filter each), or a function of an Arrival. What is no index of a member leaves it to the hash.

        SO_ATTACH_REUSEPORT_CBPF takes the instructions too, or such a name as bytes.
        """
        sharing.set_selector(self, what)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> int | bytes:
        """As Python's: an int, or with ``buflen`` what C would find in a buffer of so many bytes.

        Of a struct an int is the first four bytes; a device's name is bytes in any case.
        """
        if not 0 <= buflen <= LARGEST_OPTION:
            raise error(errno.EINVAL, "getsockopt buflen out of range")
        value = self.option(level, option)
        if not buflen:
            return value if isinstance(value, int) or option == so.SO_BINDTODEVICE else as_int(value)
        return (value if isinstance(value, bytes) else (value & 0xFFFFFFFF).to_bytes(4, "little"))[:buflen]

    def option(self, level: int, option: int) -> int | bytes:
        """What getsockopt tells, whole."""
        about_sharing = sharing.option_of(self, level, option)
        if about_sharing is not None:
            return about_sharing
        match level, option:
            case so.SOL_SOCKET, so.SO_TYPE:
                return so.SOCK_STREAM if self.is_stream else so.SOCK_DGRAM
            case so.SOL_SOCKET, so.SO_DOMAIN:
                return self.family
            case so.SOL_SOCKET, so.SO_PROTOCOL:
                return so.IPPROTO_TCP if self.is_stream else so.IPPROTO_UDP
            case so.SOL_SOCKET, so.SO_ACCEPTCONN:
                return 0
            case so.SOL_SOCKET, so.SO_INCOMING_CPU:
                return self.incoming_cpu
            case so.IPPROTO_IPV6, so.IPV6_V6ONLY if self.is_ipv6:
                return int(self.v6only)
            case (so.IPPROTO_IP, so.IP_TTL):
                return self.ttl
            case (so.IPPROTO_IP, so.IP_TOS):
                return self.tos
            case (so.IPPROTO_IPV6, so.IPV6_UNICAST_HOPS) if self.is_ipv6:
                return self.ttl
            case (so.IPPROTO_IPV6, so.IPV6_TCLASS) if self.is_ipv6:
                return self.tos
        known = so.SOL_SOCKET, so.IPPROTO_IP, so.IPPROTO_TCP if self.is_stream else so.IPPROTO_UDP
        # so does Linux tell them apart
        number = errno.ENOPROTOOPT if self.is_ipv6 or level in known else errno.EOPNOTSUPP
        raise error(number, f"no socket option {level}/{option} to read")

    def inherit(self, parent: Socket) -> None:
        self.reuseaddr, self.reuseport, self.v6only = parent.reuseaddr, parent.reuseport, parent.v6only
        self.ttl, self.tos, self.device = parent.ttl, parent.tos, parent.device
        self.reuseport_lb, self.exclusive = parent.reuseport_lb, parent.exclusive
        self.pid, self.program, self.incoming_cpu = parent.pid, parent.program, parent.incoming_cpu

    def _give_back_port(self) -> None:
        if self.name is not None:
            self.host.ports_of(self).release(self, self.name.port)
            self.name = None
            self.port_by_bind = self.port_by_connect = False

    def _release(self) -> None:
        """Give back the port and the place in the table."""
        self._give_back_port()
        self.host.unregister(self)


def as_int(value: int | bytes) -> int:
    """The value of an option that is an int, given as one or as C lays it out."""
    return value if isinstance(value, int) else int.from_bytes(value[:4], "little", signed=True)


def check_size(level: int, option: int, value: int | bytes) -> None:
    """EINVAL for bytes that hold no int; IPPROTO_IP takes a single one too, and a device's name may have any length."""
    least = {so.SOL_SOCKET: 4, so.IPPROTO_TCP: 4, so.IPPROTO_IPV6: 4, so.SOL_NETEMU: 4, so.IPPROTO_IP: 1}.get(level, 0)
    if isinstance(value, bytes) and len(value) < least and (level, option) not in TEXTS:
        raise error(errno.EINVAL, f"the option takes no fewer than {least} bytes")


def unmapped(packed: bytes) -> bytes:
    """An address as packets carry it: 4 bytes for an IPv4-mapped one."""
    return packed[12:] if len(packed) == 16 and packed[:12] == MAPPED else packed


def mapped(address: bytes, is_ipv6: bool) -> bytes:
    """An address as a socket of this family has it."""
    return MAPPED + address if is_ipv6 and len(address) == 4 else address
