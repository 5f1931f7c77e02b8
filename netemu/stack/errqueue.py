"""The error queue of a UDP socket with IP_RECVERR or IPV6_RECVERR: what ICMP said of its datagrams (ip(7), facts U5)."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from netemu.stack import constants as so
from netemu.stack.sockets import mapped

ORIGIN_LOCAL, ORIGIN_ICMP, ORIGIN_ICMP6 = 1, 2, 3
EXTENDED = Struct("=IBBBxII")
"""struct sock_extended_err: errno, origin, type, code, info, data."""


class QueuedError(NamedTuple):
    """One error. ``payload``: what of the datagram came back, without headers."""

    number: int
    origin: int
    kind: int
    code: int
    info: int
    """The MTU, or the byte that is the problem."""
    payload: bytes
    dst: bytes
    dport: int
    offender: bytes
    """Who reported it; empty: this host."""

    def control(self, is_ipv6: bool) -> tuple[int, int, bytes]:
        """As recvmsg's ancillary data: struct sock_extended_err and the offender's address."""
        fixed = EXTENDED.pack(self.number, self.origin, self.kind, self.code, self.info, 0)
        if is_ipv6:
            return so.IPPROTO_IPV6, so.IPV6_RECVERR, fixed + sockaddr(self.offender, True)
        return so.IPPROTO_IP, so.IP_RECVERR, fixed + sockaddr(self.offender, False)


def sockaddr(address: bytes, is_ipv6: bool) -> bytes:
    """struct sockaddr_in or sockaddr_in6 without a port; all zeros for no address."""
    size = 28 if is_ipv6 else 16
    if not address:
        return bytes(size)
    family = (so.AF_INET6 if is_ipv6 else so.AF_INET).to_bytes(2, "little")
    body = bytes(6) + mapped(address, True) if is_ipv6 else bytes(2) + address
    return (family + body).ljust(size, b"\0")
