"""Packets cut into fragments come together again; fragments are cut further; options are where they belong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.wire import ipv4, ipv6
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import checksum, updated
from netemu.wire.fragments import Fragments, cut, fragments
from netemu.wire.ip import UDP, IpPacket, parse_address
from netemu.wire.packet import Packet

A4, B4, A6, B6 = (parse_address(a) for a in ("198.18.0.1", "198.18.0.2", "2001:2::1", "2001:2::2"))
RECORD_ROUTE, COPIED = b"\x07\x07\x04\0\0\0\0", b"\x94\x04\0\0"
"""An option that only the first fragment has (RFC 791 3.1), and one that each has (RFC 2113)."""


def parsed(data: Buffer) -> IpPacket:
    ip = ipv4.parse(data) if data[0] >> 4 == 4 else ipv6.parse(data)
    assert isinstance(ip, IpPacket), ip
    return ip


def joined(packets: list[Packet]) -> bytes:
    """What the destination puts together, the last first."""
    waiting = Fragments()
    for packet in reversed(packets):
        whole = waiting.add(parsed(packet.head), packet.head, 0)
    assert isinstance(whole, tuple)
    return whole[1]


def with_options(payload: bytes) -> bytes:
    return ipv4.header_with_options(A4, B4, UDP, len(payload), RECORD_ROUTE + b"\1" + COPIED) + payload


@given(st.binary(min_size=1, max_size=4000), st.integers(68, 1500), st.integers(68, 1500), st.sampled_from([4, 6]))
def test_cut_twice_and_joined(payload: bytes, mtu: int, second: int, version: int) -> None:
    """A router with a smaller MTU cuts fragments further (RFC 791 3.2); the first has to be cut, the others as it comes."""
    if version == 6:
        mtu, whole = mtu + ipv6.MIN_MTU, ipv6.header(A6, B6, UDP, len(payload)) + payload
    else:
        whole = ipv4.header(A4, B4, UDP, len(payload), ident=7, fragment=0) + payload
    pieces = list(cut(whole, mtu, 0x12345678))
    if version == 4:
        pieces = [again for piece in pieces for again in cut(piece.head, second)]
        mtu = min(mtu, second)
    assert all(len(piece) <= mtu for piece in pieces)
    assert all(parsed(piece.head).ident == (7 if version == 4 else 0x12345678) for piece in pieces)
    assert joined(pieces) == whole if len(pieces) > 1 or version == 4 else pieces[0].head[48:] == payload


def test_options_are_in_the_first_fragment_and_those_to_be_copied_in_all() -> None:
    whole = with_options(bytes(range(256)))
    first, *rest = (piece.head for piece in cut(whole, 100))
    assert first[20:32] == RECORD_ROUTE + b"\1" + COPIED
    assert len(rest) >= 2
    assert all(piece[0] == 0x46 and piece[20:24] == COPIED for piece in rest)
    assert b"".join(piece[parsed(piece).start :] for piece in (first, *rest)) == bytes(range(256))


def test_the_last_piece_of_a_fragment_is_not_the_last_of_the_packet() -> None:
    fragment = ipv4.header(A4, B4, UDP, 800, ident=7, fragment=ipv4.MORE_FRAGMENTS | 100) + bytes(800)
    ips = [parsed(piece.head) for piece in cut(fragment, 420)]
    assert [(ip.fragment, ip.more) for ip in ips] == [(800, True), (1200, True)]


def test_the_fragment_header_of_ipv6_stands_behind_what_routers_read() -> None:
    body = bytes(2000)
    destination = ipv6.hop_by_hop(UDP, bytes((1, 4, 0, 0, 0, 0)))
    hop = ipv6.hop_by_hop(ipv6.DESTINATION, ipv6.ROUTER_ALERT)
    whole = ipv6.header(A6, B6, ipv6.HOP_BY_HOP, len(body) + 16) + hop + destination + body
    first, second = (piece.head for piece in cut(whole, 1280, 9))
    assert first[6] == second[6] == ipv6.HOP_BY_HOP
    assert (first[40], first[48]) == (ipv6.FRAGMENT_HEADER, ipv6.DESTINATION)
    assert len(first) == 1280
    assert joined([Packet(first), Packet(second)]) == whole


@pytest.mark.parametrize(("src", "dst"), [(A4, B4), (A6, B6)])
def test_a_payload_that_fits_is_one_packet(src: bytes, dst: bytes) -> None:
    (packet,) = fragments(src, dst, UDP, bytes(1400), 1500, 7, 64)
    assert not parsed(packet.head).is_fragment


@given(st.binary(min_size=2, max_size=60), st.integers(0, 28), st.binary(min_size=2, max_size=2), st.integers(0, 65535))
def test_a_checksum_is_brought_up_to_date(data: bytes, word: int, new: bytes, initial: int) -> None:
    """As if the whole were summed again, but for the two names of zero."""
    data = data.ljust(len(data) + len(data) % 2, b"\0")
    at = word * 2 % len(data)
    after = data[:at] + new + data[at + 2 :]
    assert updated(checksum(data, initial), data[at : at + 2], new) % 65535 == checksum(after, initial) % 65535
