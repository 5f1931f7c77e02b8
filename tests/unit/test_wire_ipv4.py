"""IPv4 headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.reasons import Drop
from netemu.wire import ipv4
from netemu.wire.checksum import checksum
from netemu.wire.ip import IpPacket, is_impossible_source, is_multicast, parse_address, text, text_port

SRC, DST = parse_address("198.18.0.1"), parse_address("198.18.0.2")


def raw(payload: bytes = b"", options: bytes = b"", *, total: int | None = None, words: int | None = None) -> bytes:
    """A packet with options, lies allowed."""
    ihl = 5 + len(options) // 4 if words is None else words
    size = 20 + len(options) + len(payload) if total is None else total
    head = ipv4.HEADER.pack(0x40 | ihl, 0, size, 7, 0x4000, 64, 6, 0, SRC, DST) + options
    covered = head[: ihl * 4]
    return head[:10] + checksum(covered).to_bytes(2, "big") + head[12:] + payload


def packet(data: bytes) -> IpPacket:
    parsed = ipv4.parse(data)
    assert isinstance(parsed, IpPacket), parsed
    return parsed


@given(
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 255),
    st.binary(max_size=30),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.integers(0, 0x7FFF),
    st.binary(max_size=5),
)
def test_there_and_back(
    src: bytes,
    dst: bytes,
    protocol: int,
    payload: bytes,
    ttl: int,
    tos: int,
    ident: int,
    word: int,
    padding: bytes,
) -> None:
    data = ipv4.header(src, dst, protocol, len(payload), ident=ident, ttl=ttl, tos=tos, fragment=word) + payload
    for buffer in (data + padding, memoryview(data + padding)):
        ip = ipv4.parse(buffer)
        assert isinstance(ip, IpPacket)
        assert ip[:8] == (4, src, dst, protocol, ttl, tos, 20, 20 + len(payload))
        assert (ip.fragment, ip.more, ip.ident, ip.protocol_at) == (
            (word & 0x1FFF) * 8,
            bool(word & 0x2000),
            ident,
            9,
        )
        assert ip.is_fragment == (word & 0x3FFF > 0)


@pytest.mark.parametrize("size", range(20))
def test_shorter_than_a_header(size: int) -> None:
    assert ipv4.parse(raw()[:size]) is Drop.TRUNCATED


@pytest.mark.parametrize("words", range(5))
def test_header_length_too_short(words: int) -> None:
    assert ipv4.parse(raw(words=words)) is Drop.BAD_IP_HEADER


@pytest.mark.parametrize(("total", "reason"), [(19, Drop.BAD_IP_HEADER), (0, Drop.BAD_IP_HEADER), (41, Drop.TRUNCATED)])
def test_total_length_lies(total: int, reason: Drop) -> None:
    assert ipv4.parse(raw(bytes(20), total=total)) is reason


def test_total_length_within_the_header_with_options() -> None:
    assert ipv4.parse(raw(bytes(20), bytes(8), total=24)) is Drop.BAD_IP_HEADER
    assert ipv4.parse(raw(b"", words=15, total=60)) is Drop.TRUNCATED


@pytest.mark.parametrize("at", range(20))
@pytest.mark.parametrize("bit", [1, 0x80])
def test_one_wrong_bit_in_the_header(at: int, bit: int) -> None:
    data = raw(bytes(100))
    broken = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
    assert isinstance(ipv4.parse(broken), Drop)
    if at > 3:
        assert ipv4.parse(broken) is Drop.BAD_IP_CHECKSUM


# -- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        "01010101",  # NOP
        "00000000",  # end of list
        "00ffffff",  # nothing is read behind it
        "07070400000000" + "00",  # record route
        "440c0500" + "00" * 8,  # timestamp
        "94040000",  # router alert
        "88040001",  # stream identifier, long obsolete
        "9e03aa01",  # some unknown option
        "1e02" * 2,
        "01" * 40,
    ],
)
def test_options_are_passed_over(options: str) -> None:
    """RFC 1122 3.2.1.8; MUST-50."""
    area = bytes.fromhex(options)
    ip = packet(raw(b"payload", area))
    assert (ip.start, ip.end) == (20 + len(area), 27 + len(area))


@pytest.mark.parametrize("options", ["83070400000000" + "00", "89070400000000" + "00", "01830304", "8902" + "0000"])
def test_source_routes_are_refused(options: str) -> None:
    assert ipv4.parse(raw(b"", bytes.fromhex(options))) is Drop.SOURCE_ROUTED


@pytest.mark.parametrize("options", ["94010000", "94000000", "94050000", "01010107", "0101019e", "8301" + "0000"])
def test_malformed_options(options: str) -> None:
    assert ipv4.parse(raw(b"", bytes.fromhex(options))) is Drop.BAD_IP_OPTION


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_any_option_area_is_survived(options: bytes, payload: bytes) -> None:
    area = options + bytes(-len(options) % 4)
    parsed = ipv4.parse(raw(payload, area))
    assert parsed in (Drop.BAD_IP_OPTION, Drop.SOURCE_ROUTED) or isinstance(parsed, IpPacket)


@given(st.binary(max_size=80))
def test_garbage_is_survived(data: bytes) -> None:
    assert isinstance(ipv4.parse(data), Drop | IpPacket)


# -- a packet put together again -------------------------------------------------------------------------------------


@given(st.integers(0, 10), st.integers(0, 65535 - 60), st.integers(1, 0x7FFF))
def test_the_header_of_a_whole_packet(words: int, length: int, fragment: int) -> None:
    options = b"\x01" * (4 * words)
    head = ipv4.HEADER.pack(0x45 + words, 3, 20 + len(options) + 8, 7, fragment, 64, 17, 0, SRC, DST) + options
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    ip = packet(ipv4.unfragmented(head, length) + bytes(length))
    assert not ip.is_fragment
    assert (ip.ident, ip.tos, ip.hop_limit, ip.protocol, ip.start, ip.end) == (
        7,
        3,
        64,
        17,
        len(head),
        len(head) + length,
    )


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "impossible"),
    [
        ("0.0.0.0", True),
        ("0.1.2.3", True),
        ("127.0.0.1", True),
        ("127.255.255.255", True),
        ("224.0.0.1", True),
        ("239.255.255.255", True),
        ("240.0.0.1", True),
        ("255.255.255.255", True),
        ("198.18.0.1", False),
        ("1.0.0.0", False),
        ("126.255.255.255", False),
        ("128.0.0.1", False),
        ("223.255.255.255", False),
        ("::", True),
        ("::1", True),
        ("ff02::1", True),
        ("::ffff:198.18.0.1", True),
        ("2001:2::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
    ],
)
def test_impossible_sources(address: str, impossible: bool) -> None:
    assert is_impossible_source(parse_address(address)) is impossible


def test_multicast() -> None:
    groups = {"224.0.0.1": True, "239.1.1.1": True, "223.1.1.1": False, "240.0.0.1": False, "ff02::1": True}
    groups |= {"fe80::1": False, "255.255.255.255": False}
    for address, expected in groups.items():
        assert is_multicast(parse_address(address)) is expected


@pytest.mark.parametrize(
    "address", ["198.18.0.2", "0.0.0.0", "2001:2::2", "::", "::1", "::ffff:198.18.0.2", "::ffff:0.0.0.0", "fe80::1"]
)
def test_addresses_as_text(address: str) -> None:
    assert text(parse_address(address)) == address


def test_addresses_with_ports_as_text() -> None:
    assert text_port(DST, 80) == "198.18.0.2:80"
    assert text_port(parse_address("2001:2::2"), 80) == "[2001:2::2]:80"
    assert text_port(bytes(4), 0) == "0.0.0.0:*"
