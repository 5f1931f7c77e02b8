"""IGMP's and MLD's messages: byte by byte as the RFCs have them, whatever else is in them, and never an exception."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.reasons import Drop
from netemu.wire import icmp, igmp, ipv4, ipv6, mld
from netemu.wire.checksum import checksum
from netemu.wire.icmp import Message
from netemu.wire.igmp import ALLOW, IS_EX, IS_IN, MS, SECOND, TENTH, Heard, Query, Record
from netemu.wire.ip import IGMP, IpPacket, is_multicast

SRC, GROUP, SOURCE = bytes((198, 18, 0, 1)), bytes((239, 1, 1, 1)), bytes((192, 0, 2, 1))
GROUP6, SOURCE6 = b"\xff\5" + bytes(13) + b"\7", b"\x20\1" + bytes(13) + b"\1"
GROUPS = st.one_of(st.just(bytes(4)), st.binary(min_size=3, max_size=3).map(lambda rest: b"\xef" + rest))


def parse(message: bytes) -> Query | Heard | Drop:
    packet = ipv4.header_with_options(SRC, GROUP, IGMP, len(message), ipv4.ROUTER_ALERT, ttl=1) + message
    ip = ipv4.parse(packet + b"padding")
    assert isinstance(ip, IpPacket)
    return igmp.parse(packet + b"padding", ip)


def summed(message: bytes) -> bytes:
    """Its checksum made right."""
    bare = message[:2] + bytes(2) + message[4:]
    return bare[:2] + checksum(bare).to_bytes(2, "big") + bare[4:]


def mld_query(code: int, group: bytes, more: bytes = b"") -> Query | Heard | Drop:
    return mld.parse(Message(mld.QUERY, 0, code << 16, group + more))


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("1100eeff00000000", Query(1, bytes(4), 10 * SECOND)),
        ("1100000001020304", Query(1, bytes(4), 10 * SECOND)),
        ("11640000ef010101", Query(2, GROUP, 10 * SECOND)),
        ("11ff000000000000", Query(2, bytes(4), 255 * TENTH)),
        ("110a0000ef010101027d0001c0000201", Query(3, GROUP, SECOND, frozenset((SOURCE,)), 2, 125 * SECOND)),
        ("1180000000000000 0f800000", Query(3, bytes(4), 128 * TENTH, frozenset(), 7, 128 * SECOND)),
        ("11ff000000000000 00ff0000 6d6f7265", Query(3, bytes(4), 31744 * TENTH, frozenset(), 0, 31744 * SECOND)),
        ("12000000ef010101", Heard(GROUP)),
        ("16000000ef010101", Heard(GROUP)),
        ("17000000ef010101", Drop.NEIGHBOUR_CHATTER),
        ("2200000000000000", Drop.NEIGHBOUR_CHATTER),
        ("11640000c0000201", Drop.BAD_IGMP),  # no group
        ("110a000000000000 027d00", Drop.BAD_IGMP),  # RFC 3376 7.1: between 8 and 12 bytes
        ("110a0000ef010101 027d0002 c0000201", Drop.BAD_IGMP),  # fewer sources than it says
        ("110a000000000000 027d0001 c0000201", Drop.BAD_IGMP),  # sources of no group
        ("11640000ef0101", Drop.BAD_IGMP),
    ],
)
def test_what_an_igmp_message_says(message: str, found: object) -> None:
    raw = summed(bytes.fromhex(message))
    assert parse(raw) == found
    assert parse(raw[:2] + bytes((raw[2] ^ 1, raw[3])) + raw[4:]) is Drop.BAD_IGMP


@pytest.mark.parametrize(
    ("code", "group", "more", "found"),
    [
        (1000, bytes(16), "", Query(2, bytes(16), SECOND)),
        (0xFFFF, GROUP6, "", Query(2, GROUP6, 65535 * MS)),
        (0x8000, GROUP6, "027d0000", Query(3, GROUP6, 32768 * MS, frozenset(), 2, 125 * SECOND)),
        (0xFFFF, GROUP6, "02ff0000", Query(3, GROUP6, 8387584 * MS, frozenset(), 2, 31744 * SECOND)),
        (0, GROUP6, "00000001" + SOURCE6.hex(), Query(3, GROUP6, 0, frozenset((SOURCE6,)), 0, 0)),
        (0, GROUP6, "00000001" + SOURCE6.hex()[2:], Drop.BAD_ICMP),
        (0, bytes(16), "00000001" + SOURCE6.hex(), Drop.BAD_ICMP),
        (0, SOURCE6, "", Drop.BAD_ICMP),
        (0, GROUP6, "0000", Drop.BAD_ICMP),
        (0, GROUP6[:15], "", Drop.BAD_ICMP),
    ],
)
def test_what_an_mld_query_says(code: int, group: bytes, more: str, found: object) -> None:
    assert mld_query(code, group, bytes.fromhex(more)) == found


def test_what_other_mld_messages_say() -> None:
    assert mld.parse(Message(mld.V1_REPORT, 0, 0, GROUP6)) == Heard(GROUP6)
    assert mld.parse(Message(mld.V1_REPORT, 0, 0, GROUP6[1:])) is Drop.BAD_ICMP
    for kind in (mld.DONE, mld.V2_REPORT, 133):
        assert mld.parse(Message(kind, 0, 0, b"")) is Drop.NEIGHBOUR_CHATTER


def test_reports() -> None:
    records = [Record(IS_EX, GROUP), Record(ALLOW, GROUP, (SOURCE,))]
    body = bytes.fromhex("02000000 ef010101 05000001 ef010101 c0000201")
    assert igmp.emit_report(records) == summed(bytes.fromhex("22000000 00000002") + body)
    assert igmp.emit(igmp.LEAVE, GROUP) == summed(bytes.fromhex("17000000 ef010101"))
    made = mld.emit_report(SOURCE6, mld.V2_ROUTERS, [Record(ALLOW, GROUP6, (SOURCE6,))])
    assert made[:2] + made[4:] == bytes.fromhex("8f00 00000001 05000001") + GROUP6 + SOURCE6
    made = mld.emit(SOURCE6, GROUP6, mld.V1_REPORT, GROUP6)
    ip = IpPacket(6, SOURCE6, GROUP6, 58, 1, 0, 0, len(made))
    assert icmp.parse(made, ip) == Message(mld.V1_REPORT, 0, 0, GROUP6)


@given(st.binary(max_size=60), st.booleans())
def test_garbage_is_survived(data: bytes, is_query: bool) -> None:
    found = parse(summed((b"\x11" if is_query else b"") + data) if len(data) > 4 else data)
    assert isinstance(found, Query | Heard | Drop)
    if isinstance(found, Query):
        assert found.is_general or is_multicast(found.group)
        assert not (found.sources and found.is_general)
    found = mld.parse(Message(mld.QUERY if is_query else mld.V1_REPORT, 0, len(data) << 16, GROUP6[: len(data)] + data))
    assert isinstance(found, Query | Heard | Drop)


@given(
    GROUPS, st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.lists(st.binary(min_size=4, max_size=4))
)
def test_queries_of_version_3(group: bytes, code: int, flags: int, interval: int, sources: list[bytes]) -> None:
    listed = sources if any(group) else []
    more = struct.pack(">BBH", flags, interval, len(listed)) + b"".join(listed)
    found = parse(igmp.emit(igmp.QUERY, group, more, code))
    assert isinstance(found, Query)
    assert (found.version, found.group, found.sources, found.robustness) == (3, group, frozenset(listed), flags & 7)
    assert found.delay == igmp.floating(code, 8) * TENTH


@given(
    st.lists(
        st.tuples(st.sampled_from((IS_IN, IS_EX, ALLOW)), st.integers(0, 60), st.integers(0, 255)), max_size=30
    ),
    st.integers(20, 200),
)  # fmt: skip
def test_batches_hold_all_and_fit(wanted: list[tuple[int, int, int]], room: int) -> None:
    records = [
        Record(kind, GROUP[:3] + bytes((last,)), tuple(bytes((10, 0, 0, n)) for n in range(count)))
        for kind, count, last in wanted
    ]
    batches = list(igmp.batches(records, room))
    for batch in batches:
        assert batch
        assert len(igmp.packed(batch)) <= room
    sent = [record for batch in batches for record in batch]
    for record in records:
        same = [r for r in sent if (r.kind, r.group) == (record.kind, record.group)]
        assert same
        if record.kind != IS_EX:  # of those not wanted some may be left out, of those wanted none
            assert set(record.sources) <= {source for r in same for source in r.sources}


def test_the_router_alert_is_found_among_others() -> None:
    for options, has in (
        (b"\x94\4\0\0", True),
        (b"\1\1\7\x03\4\1\x94\4\0\0\0\0", True),
        (b"\7\x03\4\0\x94\4\0\0", False),
    ):
        packet = ipv4.header_with_options(SRC, GROUP, IGMP, 0, options)
        assert isinstance(ipv4.parse(packet), IpPacket)
        assert ipv4.has_router_alert(packet, len(packet)) is has
    for options, has in (
        (ipv6.ROUTER_ALERT, True),
        (b"\0\0\5\2\0\0", True),
        (b"\1\4\5\2\0\0", False),
        (b"\1\5" + bytes(5) + b"\0\0\5\2\0\0\0", True),
    ):
        extension = ipv6.hop_by_hop(ipv6.NO_NEXT, options)
        packet = ipv6.header(SOURCE6, GROUP6, ipv6.HOP_BY_HOP, len(extension)) + extension
        assert isinstance(ipv6.parse(packet), IpPacket)
        assert ipv6.has_router_alert(packet) is has
    assert not ipv6.has_router_alert(ipv6.header(SOURCE6, GROUP6, ipv6.NO_NEXT, 0))
