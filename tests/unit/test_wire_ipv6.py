"""IPv6 headers and extension headers (RFC 8200)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netemu.reasons import Drop
from netemu.wire import ipv6
from netemu.wire.ip import IpPacket, parse_address
from netemu.wire.ipv6 import DESTINATION, FRAGMENT_HEADER, HOP_BY_HOP, NO_NEXT, ROUTING, OptionProblem

SRC, DST = parse_address("2001:2::1"), parse_address("2001:2::2")
UDP = 17


def options(next_header: int, area: bytes = b"") -> bytes:
    """A hop-by-hop or destination options header, padded with PadN or Pad1."""
    missing = -(2 + len(area)) % 8
    pad = b"" if not missing else b"\0" if missing == 1 else bytes([1, missing - 2]) + bytes(missing - 2)
    body = area + pad
    return bytes([next_header, (2 + len(body)) // 8 - 1]) + body


def routing(next_header: int, left: int, kind: int = 0, words: int = 0) -> bytes:
    return bytes([next_header, words, kind, left]) + bytes(4 + 8 * words)


def fragment(next_header: int, offset: int = 0, more: bool = False, ident: int = 9) -> bytes:
    return ipv6.FRAGMENT.pack(next_header, 0, offset | more, ident)


def raw(first: int, *parts: bytes, length: int | None = None) -> bytes:
    body = b"".join(parts)
    return ipv6.header(SRC, DST, first, len(body) if length is None else length) + body


def packet(data: bytes) -> IpPacket:
    parsed = ipv6.parse(data)
    assert isinstance(parsed, IpPacket), parsed
    return parsed


def problem(data: bytes) -> OptionProblem:
    with pytest.raises(OptionProblem) as caught:
        ipv6.parse(data)
    return caught.value


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 255).filter(lambda p: p not in (HOP_BY_HOP, ROUTING, FRAGMENT_HEADER, DESTINATION)),
    st.binary(max_size=30),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 0xFFFFF),
    st.binary(max_size=5),
)
def test_there_and_back(
    src: bytes, dst: bytes, protocol: int, payload: bytes, ttl: int, tos: int, flow: int, padding: bytes
) -> None:
    data = ipv6.header(src, dst, protocol, len(payload), ttl=ttl, tos=tos, flow=flow) + payload + padding
    for buffer in (data, memoryview(data)):
        assert ipv6.parse(buffer) == (
            6,
            src,
            dst,
            protocol,
            ttl,
            tos,
            40,
            40 + len(payload),
            0,
            False,
            0,
            6,
        )


@pytest.mark.parametrize("size", range(48))
def test_truncated(size: int) -> None:
    assert ipv6.parse(raw(UDP, bytes(8))[:size]) is Drop.TRUNCATED


# -- chains of extension headers -------------------------------------------------------------------------------------


def test_a_chain_in_the_order_of_rfc_8200() -> None:
    chain = (options(DESTINATION), options(ROUTING), routing(DESTINATION, 0), options(UDP))
    ip = packet(raw(HOP_BY_HOP, *chain, bytes(8)))
    assert (ip.protocol, ip.start, ip.end, ip.protocol_at, ip.is_fragment) == (UDP, 72, 80, 64, False)


def test_larger_headers() -> None:
    ip = packet(raw(HOP_BY_HOP, options(ROUTING, bytes(100)), routing(UDP, 0, 4, 8), bytes(8)))
    assert (ip.start, ip.protocol_at) == (40 + 104 + 72, 144)


@pytest.mark.parametrize("first", [HOP_BY_HOP, DESTINATION, ROUTING])
@pytest.mark.parametrize("length", [0, 1, 7])
def test_an_extension_header_that_does_not_fit(first: int, length: int) -> None:
    assert ipv6.parse(raw(first, bytes(length))) is Drop.TRUNCATED
    assert ipv6.parse(raw(first, bytes([UDP, 1]) + bytes(6))) is Drop.TRUNCATED  # says 16 bytes, has 8


@pytest.mark.parametrize("header", [HOP_BY_HOP, DESTINATION, ROUTING])
def test_an_extension_header_at_the_very_end(header: int) -> None:
    ip = packet(raw(header, routing(NO_NEXT, 0) if header == ROUTING else options(NO_NEXT)))
    assert (ip.protocol, ip.start, ip.end) == (NO_NEXT, 48, 48)


def test_the_bytes_of_a_header() -> None:
    made = ipv6.header(SRC, DST, 58, 0x1234, ttl=9, tos=0xA5, flow=0x12345)
    assert made == bytes.fromhex("6a51234512343a09") + SRC + DST
    assert ipv6.header(SRC, DST, 6, 0)[:8] == bytes.fromhex("6000000000000640")


def test_numbers_of_rfc_8200() -> None:
    assert (HOP_BY_HOP, ROUTING, FRAGMENT_HEADER, NO_NEXT, DESTINATION) == (0, 43, 44, 59, 60)


def test_no_next_header() -> None:
    ip = packet(raw(DESTINATION, options(NO_NEXT), b"ignored"))
    assert (ip.protocol, ip.start, ip.end) == (NO_NEXT, 48, 55)


@pytest.mark.parametrize("count", range(12))
def test_a_chain_may_be_only_so_long(count: int) -> None:
    chain = [options(DESTINATION) for _ in range(count - 1)] + [options(UDP)] if count else []
    parsed = ipv6.parse(raw(DESTINATION if count else UDP, *chain, bytes(8)))
    if count <= ipv6.MAX_EXTENSIONS:
        assert isinstance(parsed, IpPacket)
        assert parsed.start == 40 + 8 * count
    else:
        assert parsed is Drop.BAD_IP_HEADER


def test_hop_by_hop_only_right_behind_the_ipv6_header() -> None:
    """RFC 8200 section 4: a next header of zero elsewhere is one that is not recognized."""
    told = problem(raw(DESTINATION, options(HOP_BY_HOP), options(UDP), bytes(8)))
    assert (told.code, told.pointer, told.reason) == (1, 40, Drop.BAD_IP_HEADER)


# -- routing headers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 253])
@pytest.mark.parametrize("left", [0, 1, 255])
def test_routing_headers(kind: int, left: int) -> None:
    """RFC 8200 4.4, RFC 5095: with segments left, no type is known here."""
    data = raw(ROUTING, routing(UDP, left, kind, 2), bytes(8))
    if not left:
        assert packet(data).start == 64
        return
    told = problem(data)
    assert (told.code, told.pointer, told.reason, told.even_multicast) == (0, 42, Drop.SOURCE_ROUTED, False)


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [HOP_BY_HOP, DESTINATION])
@pytest.mark.parametrize("low", [0x05 | 0x10, 0x1F, 0x3F, 0x02])
@pytest.mark.parametrize("action", range(4))
@pytest.mark.parametrize("before", [b"", b"\0", b"\0\0\0", b"\x01\x02\0\0", b"\x05\x02\0\0"])
def test_unknown_options_do_what_their_two_high_bits_say(header: int, low: int, action: int, before: bytes) -> None:
    """RFC 8200 4.2: skip, drop, drop and tell, drop and tell unless it was sent to a group."""
    data = raw(header, options(UDP, before + bytes([action << 6 | low, 2, 7, 7])), bytes(8))
    if action == 0:
        assert packet(data).protocol == UDP
    elif action == 1:
        assert ipv6.parse(data) is Drop.BAD_IP_OPTION
    else:
        told = problem(data)
        assert (told.code, told.pointer, told.even_multicast) == (2, 42 + len(before), action == 2)
        assert told.reason is Drop.BAD_IP_OPTION


@pytest.mark.parametrize("header", [HOP_BY_HOP, DESTINATION])
@pytest.mark.parametrize(
    "area", ["01050000000000"[:12], "010300000001", "05ff00000000", "000000000001"], ids=lambda area: area
)
def test_options_that_run_over_their_header(header: int, area: str) -> None:
    data = raw(header, bytes([UDP, 0]) + bytes.fromhex(area), bytes(8))
    assert ipv6.parse(data) is Drop.BAD_IP_OPTION


def test_padding_and_router_alert_are_known() -> None:
    for area in (b"\0" * 6, b"\x01\x04\0\0\0\0", b"\x05\x02\0\0\x01\0", b"\x01\0\x01\0\x01\0"):
        assert packet(raw(HOP_BY_HOP, options(UDP, area), bytes(8))).protocol == UDP


def test_a_jumbo_payload_is_not_understood() -> None:
    """RFC 2675's option says 'drop and tell', which is what a node without jumbograms does."""
    told = problem(raw(HOP_BY_HOP, options(UDP, b"\xc2\x04\0\x01\0\0"), bytes(8)))
    assert (told.code, told.pointer, told.even_multicast) == (2, 42, False)


# -- fragments -------------------------------------------------------------------------------------------------------


def test_first_middle_and_last_fragment() -> None:
    first = packet(raw(FRAGMENT_HEADER, fragment(UDP, 0, True), bytes(16)))
    middle = packet(raw(FRAGMENT_HEADER, fragment(UDP, 16, True), bytes(16)))
    last = packet(raw(DESTINATION, options(FRAGMENT_HEADER), fragment(UDP, 32), bytes(3)))
    assert [(f.fragment, f.more, f.ident, f.protocol) for f in (first, middle, last)] == [
        (0, True, 9, UDP),
        (16, True, 9, UDP),
        (32, False, 9, UDP),
    ]
    assert (last.start, last.end, last.protocol_at) == (56, 59, 48)
    assert all(f.is_fragment for f in (first, middle, last))


def test_an_atomic_fragment_is_a_whole_packet() -> None:
    """RFC 6946: and the headers behind it count."""
    ip = packet(raw(FRAGMENT_HEADER, fragment(DESTINATION), options(UDP), bytes(8)))
    assert not ip.is_fragment
    assert (ip.protocol, ip.start) == (UDP, 56)


def test_reserved_bits_of_a_fragment_header_are_ignored() -> None:
    ip = packet(raw(FRAGMENT_HEADER, bytes([UDP, 0xFF, 0, 0x10 | 6 | 1, 0, 0, 0, 1]), bytes(8)))
    assert (ip.fragment, ip.more) == (16, True)


@pytest.mark.parametrize("size", [1, 7, 9, 23])
def test_a_fragment_whose_length_is_no_multiple_of_eight(size: int) -> None:
    told = problem(raw(FRAGMENT_HEADER, fragment(UDP, 8, True), bytes(size)))
    assert (told.code, told.pointer, told.reason) == (0, 4, Drop.FRAGMENT_BAD)
    assert packet(raw(FRAGMENT_HEADER, fragment(UDP, 8, False), bytes(size))).fragment == 8


@pytest.mark.parametrize("chain", [0, 1, 2])
def test_a_packet_that_would_be_too_long(chain: int) -> None:
    parts = [options(DESTINATION) for _ in range(chain - 1)] + [options(FRAGMENT_HEADER)] if chain else []
    first = DESTINATION if chain else FRAGMENT_HEADER
    room = 65535 - 8 * chain - 0xFFF8
    if room >= 0:
        assert packet(raw(first, *parts, fragment(UDP, 0xFFF8), bytes(room))).fragment == 0xFFF8
        told = problem(raw(first, *parts, fragment(UDP, 0xFFF8), bytes(room + 1)))
    else:
        told = problem(raw(first, *parts, fragment(UDP, 0xFFF8), b"x"))
    assert (told.code, told.pointer, told.reason) == (0, 42 + 8 * chain, Drop.FRAGMENT_BAD)


@pytest.mark.parametrize(
    ("protocol", "body", "whole"),
    [
        (UDP, bytes(8), True),
        (58, bytes(8), True),
        (6, bytes(16), False),
        (6, bytes(24), True),
        (99, bytes(8), True),
        (DESTINATION, options(UDP), False),
        (DESTINATION, options(UDP) + bytes(8), True),
        (DESTINATION, options(DESTINATION) + bytes(8), False),
        (NO_NEXT, bytes(8), True),
    ],
)
def test_the_first_fragment_has_all_headers(protocol: int, body: bytes, whole: bool) -> None:
    """RFC 8200 4.5, RFC 7112."""
    data = raw(FRAGMENT_HEADER, fragment(protocol, 0, True), body)
    if whole:
        assert packet(data).more
        return
    told = problem(data)
    assert (told.code, told.pointer, told.reason) == (3, 0, Drop.FRAGMENT_BAD)


def test_behind_a_middle_fragment_nothing_is_walked() -> None:
    ip = packet(raw(FRAGMENT_HEADER, fragment(DESTINATION, 8), b"\xff" * 8))
    assert (ip.protocol, ip.start) == (DESTINATION, 48)


@pytest.mark.parametrize("size", [0, 20])
@pytest.mark.parametrize("chain", [0, 1, 2])
def test_the_headers_of_a_whole_packet(chain: int, size: int) -> None:
    area = b"\x01" + bytes([size - 2]) + bytes(size - 2) if size else b""
    parts = [options(DESTINATION, area) for _ in range(chain - 1)] + [options(FRAGMENT_HEADER, area)] if chain else []
    data = raw(DESTINATION if chain else FRAGMENT_HEADER, *parts, fragment(UDP, 0, True), bytes(8))
    before = sum(map(len, parts))
    head = ipv6.without_fragment_header(data[: 48 + before], 100)
    ip = packet(head + bytes(100))
    assert (ip.protocol, ip.start, ip.end) == (UDP, 40 + before, 140 + before)


# -- what is inside --------------------------------------------------------------------------------------------------


def test_upper_layer_looks_through_everything() -> None:
    assert ipv6.upper_layer(raw(UDP, bytes(8))) == (UDP, 40)
    bad = options(ROUTING, b"\x80\x02\0\0")
    assert ipv6.upper_layer(raw(DESTINATION, bad, routing(FRAGMENT_HEADER, 3), fragment(58), bytes(8))) == (58, 64)
    assert ipv6.upper_layer(raw(FRAGMENT_HEADER, fragment(58, 8), bytes(8))) == (FRAGMENT_HEADER, 40)
    assert ipv6.upper_layer(raw(DESTINATION, b"")) == (DESTINATION, 40)


@given(st.binary(max_size=120), st.sampled_from([HOP_BY_HOP, ROUTING, FRAGMENT_HEADER, DESTINATION, UDP, 58]))
@example(bytes([HOP_BY_HOP, 0] + [0] * 6) * 9, HOP_BY_HOP)
def test_garbage_is_survived(body: bytes, first: int) -> None:
    data = raw(first, body)
    assert ipv6.upper_layer(data)[1] >= 40
    parsed: IpPacket | Drop | OptionProblem
    try:
        parsed = ipv6.parse(data)
    except OptionProblem as told:
        parsed = told
    if isinstance(parsed, OptionProblem):
        assert parsed.pointer < len(data)
        assert parsed.code in (0, 1, 2, 3)
    elif isinstance(parsed, IpPacket):
        assert parsed.start <= parsed.end <= len(data)
