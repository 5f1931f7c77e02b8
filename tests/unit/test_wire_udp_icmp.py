"""UDP datagrams and ICMP messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.reasons import Drop
from netemu.wire import icmp, udp
from netemu.wire import ip as ip_numbers
from netemu.wire.checksum import checksum
from netemu.wire.icmp import Message
from netemu.wire.ip import ICMP, ICMPV6, UDP, IpPacket, parse_address, pseudo_sum
from netemu.wire.udp import Datagram

ENDS = {
    4: (parse_address("198.18.0.1"), parse_address("198.18.0.2")),
    6: (parse_address("2001:2::1"), parse_address("2001:2::2")),
}
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def packet(version: int, protocol: int, payload: bytes) -> tuple[bytes, IpPacket]:
    """Payload behind 20 bytes of something, with padding behind it."""
    src, dst = ENDS[version]
    return b"i" * 20 + payload + b"padding", IpPacket(version, src, dst, protocol, 64, 0, 20, 20 + len(payload))


# -- UDP -------------------------------------------------------------------------------------------------------------


@VERSIONS
@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=60))
def test_udp_there_and_back(version: int, sport: int, dport: int, data: bytes) -> None:
    raw, ip = packet(version, UDP, udp.emit(*ENDS[version], sport, dport, data))
    assert udp.parse(raw, ip) == (sport, dport, data)
    assert udp.parse(memoryview(raw), ip) == (sport, dport, data)


@VERSIONS
@pytest.mark.parametrize("size", range(8))
def test_udp_shorter_than_a_header(version: int, size: int) -> None:
    assert udp.parse(*packet(version, UDP, bytes(size))) is Drop.BAD_UDP


@VERSIONS
@pytest.mark.parametrize("length", [0, 1, 7, 13, 65535])
def test_udp_length_lies(version: int, length: int) -> None:
    """Facts U8: below 8, or longer than what IP brought."""
    raw = udp.HEADER.pack(1, 2, length, 0) + b"data"
    assert udp.parse(*packet(version, UDP, raw), checked=True) is Drop.BAD_UDP


@VERSIONS
def test_udp_shorter_than_ip_says_is_cut(version: int) -> None:
    """Facts U8."""
    raw = udp.emit(*ENDS[version], 1, 2, b"data") + b"more"
    assert udp.parse(*packet(version, UDP, raw)) == (1, 2, b"data")


@VERSIONS
@pytest.mark.parametrize("at", range(12))
def test_udp_with_a_wrong_bit(version: int, at: int) -> None:
    raw = udp.emit(*ENDS[version], 1, 2, b"data")
    broken = raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]
    assert udp.parse(*packet(version, UDP, broken)) in (Drop.BAD_UDP_CHECKSUM, Drop.BAD_UDP)


def test_udp_without_checksum() -> None:
    """Facts U8: unchecked over IPv4, never over IPv6 (RFC 8200 8.1)."""
    raw = udp.HEADER.pack(1, 2, 12, 0) + b"data"
    assert udp.parse(*packet(4, UDP, raw)) == (1, 2, b"data")
    assert udp.parse(*packet(6, UDP, raw)) is Drop.BAD_UDP_CHECKSUM


@VERSIONS
@pytest.mark.parametrize("partial", [0, 1234, 0xFFFF])
def test_udp_of_the_local_kernel_is_not_checked(version: int, partial: int) -> None:
    """Its checksum field holds a part of the sum only, which may be zero."""
    raw = udp.HEADER.pack(1, 2, 12, partial) + b"data"
    assert udp.parse(*packet(version, UDP, raw), checked=True) == (1, 2, b"data")


@VERSIONS
@pytest.mark.parametrize("more", [b"", b"behind the datagram"])
def test_a_partial_checksum_is_finished(version: int, more: bytes) -> None:
    whole = udp.emit(*ENDS[version], 1, 2, b"data")
    raw, ip = packet(version, UDP, whole[:6] + b"\x12\x34" + whole[8:] + more)
    expected, _ = packet(version, UDP, whole + more)
    assert udp.finished(raw, ip) == expected
    assert udp.finished(memoryview(expected), ip) == expected
    none, _ = packet(version, UDP, whole[:6] + bytes(2) + whole[8:])
    assert udp.finished(none, ip) == none  # without one it stays


@VERSIONS
@given(st.binary(max_size=40))
def test_udp_garbage_is_survived(version: int, data: bytes) -> None:
    assert isinstance(udp.parse(*packet(version, UDP, data)), Drop | Datagram)


def test_numbers_of_iana() -> None:
    assert (ip_numbers.TCP, UDP, ICMP, ICMPV6, ip_numbers.IGMP) == (6, 17, 1, 58, 2)
    types = icmp.ECHO_REPLY, icmp.UNREACHABLE, icmp.SOURCE_QUENCH, icmp.REDIRECT, icmp.ECHO_REQUEST
    assert (*types, icmp.TIME_EXCEEDED, icmp.PARAMETER_PROBLEM) == (0, 3, 4, 5, 8, 11, 12)
    assert (icmp.NET, icmp.HOST, icmp.PROTOCOL, icmp.PORT, icmp.FRAGMENTATION_NEEDED) == (0, 1, 2, 3, 4)
    v6 = icmp.V6_UNREACHABLE, icmp.V6_TOO_BIG, icmp.V6_TIME_EXCEEDED, icmp.V6_PARAMETER_PROBLEM
    assert (*v6, icmp.V6_ECHO_REQUEST, icmp.V6_ECHO_REPLY, icmp.V6_REDIRECT) == (1, 2, 3, 4, 128, 129, 137)
    assert (icmp.V6_PORT, icmp.TIME_EXCEEDED_REASSEMBLY) == (4, 1)
    assert {*range(130, 138), 143} == icmp.NEIGHBOUR_TYPES
    assert {3, 4, 5, 11, 12} == icmp.ERRORS


# -- ICMP ------------------------------------------------------------------------------------------------------------


@VERSIONS
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 0xFFFFFFFF), st.binary(max_size=60))
def test_icmp_there_and_back(version: int, kind: int, code: int, rest: int, body: bytes) -> None:
    made = icmp.emit(*ENDS[version], kind, code, rest, body)
    raw, ip = packet(version, ICMP if version == 4 else ICMPV6, made)
    assert icmp.parse(raw, ip) == Message(kind, code, rest, body)
    initial = pseudo_sum(*ENDS[6], ICMPV6, len(made)) if version == 6 else 0
    assert checksum(made, initial) in (0, 0xFFFF)


def test_an_echo_reply_of_nothing_but_zeros_has_a_checksum_of_ones() -> None:
    """Its sum is the one sum that is really zero; a receiver that adds it up as RFC 1071 does wants ones."""
    assert icmp.emit(*ENDS[4], icmp.ECHO_REPLY, 0, 0, bytes(56))[2:4] == b"\xff\xff"
    raw, ip = packet(4, ICMP, bytes(64))
    assert icmp.parse(raw, ip) is Drop.BAD_ICMP


@VERSIONS
@pytest.mark.parametrize("size", range(8))
def test_icmp_shorter_than_a_header(version: int, size: int) -> None:
    assert icmp.parse(*packet(version, ICMP if version == 4 else ICMPV6, bytes(size)), checked=True) is Drop.BAD_ICMP


@VERSIONS
@pytest.mark.parametrize("at", range(10))
def test_icmp_with_a_wrong_bit(version: int, at: int) -> None:
    raw = icmp.emit(*ENDS[version], 8, 0, 7, b"data")
    broken = raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]
    protocol = ICMP if version == 4 else ICMPV6
    assert icmp.parse(*packet(version, protocol, broken)) is Drop.BAD_ICMP
    assert isinstance(icmp.parse(*packet(version, protocol, broken), checked=True), Message)
