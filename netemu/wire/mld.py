"""MLD: what IGMP says, said of IPv6's groups in ICMPv6 messages (RFC 2710, 3810)."""

from __future__ import annotations

from netemu.reasons import Drop
from netemu.wire import icmp
from netemu.wire.icmp import Message
from netemu.wire.igmp import MS, Heard, Query, Record, floating, made_query, packed

QUERY, V1_REPORT, DONE, V2_REPORT = 130, 131, 132, 143
TYPES = frozenset((QUERY, V1_REPORT, DONE, V2_REPORT))
SIZE = 16
"""Of a group: what every message has behind ICMPv6's eight bytes, but for version 2's report."""
ALL_NODES, ALL_ROUTERS, V2_ROUTERS = (b"\xff\2" + bytes(13) + last for last in (b"\1", b"\2", b"\x16"))


def parse(message: Message) -> Query | Heard | Drop:
    """What an MLD message says to a host; the rest is said to routers."""
    if message.type not in (QUERY, V1_REPORT):
        return Drop.NEIGHBOUR_CHATTER
    group, more = message.body[:SIZE], message.body[SIZE:]
    if len(group) < SIZE:
        return Drop.BAD_ICMP
    if message.type == V1_REPORT:
        return Heard(group)
    code = message.rest >> 16
    query = made_query(3, group, floating(code, 16) * MS, more) if more else made_query(2, group, code * MS, b"")
    return query or Drop.BAD_ICMP


def emit(src: bytes, dst: bytes, kind: int, group: bytes) -> bytes:
    """A version 1 report, or a farewell."""
    return icmp.emit(src, dst, kind, 0, 0, group)


def emit_report(src: bytes, dst: bytes, records: list[Record]) -> bytes:
    """A version 2 report."""
    return icmp.emit(src, dst, V2_REPORT, 0, len(records), packed(records))
