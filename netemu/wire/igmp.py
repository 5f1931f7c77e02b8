"""IGMP messages of all three versions (RFC 1112 Appendix I, 2236, 3376), and what MLD has in common with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

from netemu.reasons import Drop
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import checksum, is_valid
from netemu.wire.ip import IpPacket, is_multicast

HEADER = Struct(">BBH4s")
SIZE = 8
V3_QUERY = Struct(">BBH")
"""What a version 3 query has behind the header: flags and robustness, interval, number of sources."""
RECORD = Struct(">BBH")
QUERY, V1_REPORT, V2_REPORT, LEAVE, V3_REPORT = 0x11, 0x12, 0x16, 0x17, 0x22
IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK = range(1, 7)
"""Types of a group record (RFC 3376 4.2.12, RFC 3810 5.2.12)."""
ALL_SYSTEMS, ALL_ROUTERS, V3_ROUTERS = b"\xe0\0\0\1", b"\xe0\0\0\2", b"\xe0\0\0\x16"
MS, TENTH, SECOND = 1_000_000, 100_000_000, 1_000_000_000
V1_DELAY = 10 * SECOND
"""RFC 3376 7.2.1: what an IGMPv1 query, which has no such field, gives its hosts."""


class Query(NamedTuple):
    """A router asks who is in which group. Versions are IGMP's: MLDv1 is its 2 and MLDv2 its 3."""

    version: int
    group: bytes
    """All zeros: of all groups."""
    delay: int
    """The maximum response time, ns."""
    sources: frozenset[bytes] = frozenset()
    robustness: int = 0
    interval: int = 0
    """How often the router asks, ns. Here and above 0 is 'it did not say'."""

    @property
    def is_general(self) -> bool:
        return not any(self.group)


class Heard(NamedTuple):
    """Another host's report, in a version that has one group in each."""

    group: bytes


class Record(NamedTuple):
    """What a version 3 report says of one group."""

    kind: int
    group: bytes
    sources: tuple[bytes, ...] = ()


def parse(data: Buffer, ip: IpPacket) -> Query | Heard | Drop:
    """What an IGMP message says to a host; the rest is said to routers."""
    whole = bytes(data[ip.start : ip.end])
    if len(whole) < SIZE or not is_valid(whole):
        return Drop.BAD_IGMP
    kind, code, _, group = HEADER.unpack_from(whole)
    if kind in (V1_REPORT, V2_REPORT):
        return Heard(group)
    if kind != QUERY:
        return Drop.NEIGHBOUR_CHATTER
    if len(whole) == SIZE and not code:
        return Query(1, bytes(4), V1_DELAY)  # its group field is to be ignored (RFC 1112)
    if len(whole) == SIZE:
        return made_query(2, group, code * TENTH, b"") or Drop.BAD_IGMP
    return made_query(3, group, floating(code, 8) * TENTH, whole[SIZE:]) or Drop.BAD_IGMP


def made_query(version: int, group: bytes, delay: int, more: bytes) -> Query | None:
    """The query; ``more``: what version 3 adds. None for one that makes no sense."""
    if any(group) and not is_multicast(group):
        return None
    if version < 3:
        return Query(version, group, delay)
    if len(more) < V3_QUERY.size:
        return None
    flags, interval, count = V3_QUERY.unpack_from(more)
    size = len(group)
    listed = more[V3_QUERY.size : V3_QUERY.size + count * size]
    if len(listed) < count * size or (count and not any(group)):
        return None
    sources = frozenset(listed[at : at + size] for at in range(0, len(listed), size))
    return Query(version, group, delay, sources, flags & 7, floating(interval, 8) * SECOND)


def floating(code: int, bits: int) -> int:
    """A number as the queries code it: from the highest bit on, three bits of exponent (RFC 3376 4.1.1, RFC 3810 5.1.3)."""
    if code < 1 << bits - 1:
        return code
    mantissa = bits - 4
    return (code & (1 << mantissa) - 1 | 1 << mantissa) << (code >> mantissa & 7) + 3


def emit(kind: int, group: bytes, more: bytes = b"", code: int = 0) -> bytes:
    """A message, checksum final."""
    bare = HEADER.pack(kind, code, 0, group) + more
    return bare[:2] + checksum(bare).to_bytes(2, "big") + bare[4:]


def emit_report(records: list[Record]) -> bytes:
    """A version 3 report."""
    return emit(V3_REPORT, len(records).to_bytes(4, "big"), packed(records))


def packed(records: list[Record]) -> bytes:
    """The records of a report, IGMP's as MLD's."""
    return b"".join(
        b"".join((RECORD.pack(r.kind, 0, len(r.sources)), r.group, *r.sources)) for r in records
    )  # fmt: skip


def batches(records: Iterable[Record], room: int) -> Iterator[list[Record]]:
    """The records, in as many reports as it takes when one has ``room`` bytes for them."""
    batch: list[Record] = []
    used = 0
    for record in _fitting(records, room):
        size = RECORD.size + len(record.group) * (1 + len(record.sources))
        if batch and used + size > room:
            yield batch
            batch, used = [], 0
        batch.append(record)
        used += size
    if batch:
        yield batch


def _fitting(records: Iterable[Record], room: int) -> Iterator[Record]:
    """A list of sources that is too long is cut up; one of sources not wanted is cut off (RFC 3376 4.2.16, RFC 3810 5.2.15)."""
    for record in records:
        size = len(record.group)
        most = max(1, (room - RECORD.size) // size - 1)
        sources = record.sources[:most] if record.kind in (IS_EX, TO_EX) else record.sources
        for at in range(0, len(sources) or 1, most):
            yield record._replace(sources=sources[at : at + most])
