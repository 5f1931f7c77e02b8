"""Routers and other members by hand: the queries and reports that they send, and what the host says back, in few words."""

from __future__ import annotations

import struct

from stack_bench import HOST, HOST6, PEER, Bench, Seen, ip

from netemu.reasons import Reason
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.wire import icmp, igmp, ipv4, ipv6, mld
from netemu.wire.igmp import RECORD
from netemu.wire.ip import ICMPV6, IGMP, parse_address, text

ROUTER6 = "fe80::1"
GROUP = {4: "239.1.1.1", 6: "ff05::1:1"}
OTHER = {4: "239.1.1.2", 6: "ff05::1:2"}
ALL = {4: "224.0.0.1", 6: "ff02::1"}
REPORTS_TO = {4: "224.0.0.22", 6: "ff02::16"}
KINDS = ("", "is_in", "is_ex", "to_in", "to_ex", "allow", "block")
SOURCES = {4: ("192.0.2.1", "192.0.2.2", "192.0.2.3"), 6: ("2001:db8::1", "2001:db8::2", "2001:db8::3")}


def to_link(src: str, dst: str, message: bytes, *, alert: bool = True, ttl: int = 1) -> bytes:
    """An IGMP or MLD message in its packet."""
    a, b = parse_address(src), parse_address(dst)
    if len(a) == 4:
        options = ipv4.ROUTER_ALERT if alert else b""
        return ipv4.header_with_options(a, b, IGMP, len(message), options, ttl=ttl) + message
    if not alert:
        return ip(src, dst, ICMPV6, message, ttl=ttl)
    extension = ipv6.hop_by_hop(ICMPV6, ipv6.ROUTER_ALERT)
    return ip(src, dst, ipv6.HOP_BY_HOP, extension + message, ttl=ttl)


def query(
    family: int,
    group: str = "",
    sources: tuple[str, ...] = (),
    *,
    version: int = 3,
    code: int = 10,
    qrv: int = 2,
    qqic: int = 125,
    src: str = "",
    dst: str = "",
    alert: bool = True,
    ttl: int = 1,
) -> bytes:
    """``code``: the maximum response time, in tenths of a second (of IPv6: it is made milliseconds). Versions are IGMP's."""
    src = src or (PEER if family == 4 else ROUTER6)
    dst = dst or group or ALL[family]
    packed = parse_address(group) if group else bytes(4 if family == 4 else 16)
    more = struct.pack(">BBH", qrv, qqic, len(sources)) + b"".join(map(parse_address, sources)) if version == 3 else b""
    if family == 4:
        message = igmp.emit(igmp.QUERY, packed, more, code)
    else:
        message = icmp.emit(parse_address(src), parse_address(dst), mld.QUERY, 0, code * 100 << 16, packed + more)
    return to_link(src, dst, message, alert=alert, ttl=ttl)


def report(family: int, group: str, *, version: int = 2, src: str = "", dst: str = "", ttl: int = 1) -> bytes:
    """Another member's, of an older version."""
    src, dst = src or (PEER if family == 4 else ROUTER6), dst or group
    if family == 4:
        message = igmp.emit(igmp.V1_REPORT if version == 1 else igmp.V2_REPORT, parse_address(group))
    else:
        message = mld.emit(parse_address(src), parse_address(dst), mld.V1_REPORT, parse_address(group))
    return to_link(src, dst, message, ttl=ttl)


class Link(Bench):
    """A host whose reports are looked at."""

    def __init__(self, *addresses: str, **options: object) -> None:
        super().__init__(*(addresses or (f"{HOST}/24", HOST6)), **options)

    def member(self, group: str, device: int = 2) -> DatagramSocket:
        socket = self.udp(so.AF_INET6 if ":" in group else so.AF_INET)
        join(socket, group, device)
        return socket

    def settled(self, *groups: str) -> list[DatagramSocket]:
        """Members of these, who were told of long ago."""
        found = [self.member(group) for group in groups]
        self.wait(100_000_000_000)
        return found

    def asked(self, packet: bytes) -> Reason:
        """Nothing is ever answered at once."""
        return self.quiet(packet)

    def said(self, ns: int = 0) -> list[str]:
        """What the host reports within ``ns``."""
        return [words(seen) for seen in self.wait(ns)]


def join(socket: DatagramSocket, group: str, device: int = 2) -> None:
    member_option(socket, so.IP_ADD_MEMBERSHIP, so.IPV6_JOIN_GROUP, group, device)


def leave(socket: DatagramSocket, group: str, device: int = 2) -> None:
    member_option(socket, so.IP_DROP_MEMBERSHIP, so.IPV6_LEAVE_GROUP, group, device)


def member_option(socket: DatagramSocket, v4: int, v6: int, group: str, device: int) -> None:
    packed = parse_address(group)
    if len(packed) == 16:
        socket.setsockopt(so.IPPROTO_IPV6, v6, struct.pack("=16si", packed, device))
    else:
        socket.setsockopt(so.IPPROTO_IP, v4, struct.pack("=4s4si", packed, bytes(4), device))


def source_option(socket: DatagramSocket, option: int, source: str, group: str = GROUP[4]) -> None:
    """IP_ADD_SOURCE_MEMBERSHIP and its kind."""
    value = parse_address(group) + parse_address(HOST) + parse_address(source)
    socket.setsockopt(so.IPPROTO_IP, option, value)


def words(seen: Seen) -> str:
    """'to_ex 239.1.1.1', 'allow 239.1.1.1 192.0.2.1', 'v2 239.1.1.1', 'leave 239.1.1.1', records joined by commas.

    That the packet is made as the RFCs want it is checked beside.
    """
    assert seen.ip.hop_limit == 1
    size, dst = len(seen.ip.dst), text(seen.ip.dst)
    if size == 4:
        assert (seen.ip.tos, seen.ip.protocol, seen.raw[20:24]) == (0xC0, IGMP, b"\x94\x04\0\0")
        kind, group = seen.payload[0], text(seen.payload[4:8])
        name = {igmp.V1_REPORT: "v1", igmp.V2_REPORT: "v2", igmp.LEAVE: "leave"}.get(kind)
    else:
        assert (seen.raw[6], seen.ip.protocol, seen.raw[42:48]) == (0, ICMPV6, b"\5\2\0\0\1\0")
        kind, group = seen.message.type, text(seen.payload[8:24]) if len(seen.payload) >= 24 else ""
        name = {mld.V1_REPORT: "v1", mld.DONE: "done"}.get(kind)
    if name is not None:
        assert dst == ({"leave": "224.0.0.2", "done": "ff02::2"}.get(name) or group)
        return f"{name} {group}"
    assert (kind, dst) in ((igmp.V3_REPORT, "224.0.0.22"), (mld.V2_REPORT, "ff02::16"))
    return ", ".join(records_of(seen.payload, size))


def records_of(payload: bytes, size: int) -> list[str]:
    count, at, found = int.from_bytes(payload[6:8], "big"), 8, []
    for _ in range(count):
        kind, _, sources = RECORD.unpack_from(payload, at)
        at += RECORD.size
        addresses = [text(payload[at + n * size : at + (n + 1) * size]) for n in range(sources + 1)]
        at += size * (sources + 1)
        found.append(" ".join((KINDS[kind], *addresses)))
    assert at == len(payload)
    return found
