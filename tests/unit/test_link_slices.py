"""Super-packets and their slices: headers, checksums, and back together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_packets import tcp, udp

from netemu.wire import ipv4, ipv6
from netemu.wire.checksum import is_valid
from netemu.wire.ip import TCP, IpPacket, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.slices import Slice, count, join, largest, part, split, wire_bytes
from netemu.wire.tcp import ACK, CWR, FIN, PSH, Segment, parse

TIMESTAMP = b"\x01\x01\x08\x0a\0\0\0\1\0\0\0\2"


def understood(packet: Packet) -> tuple[IpPacket, Segment]:
    """Header and segment of a packet whose checksums are all right."""
    data = bytes(packet)
    ip = ipv4.parse(data) if data[0] >> 4 == 4 else ipv6.parse(data)
    assert isinstance(ip, IpPacket)
    assert ip.end == len(data) == len(packet)
    assert is_valid(data[ip.start :], pseudo_sum(ip.src, ip.dst, TCP, ip.end - ip.start))
    segment = parse(data, ip.start, ip.end)
    assert isinstance(segment, Segment)
    return ip, segment


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("in_body", [True, False])
@pytest.mark.parametrize("options", [b"", TIMESTAMP])
def test_slices_have_the_headers_of_their_own(version: int, partial: bool, in_body: bool, options: bytes) -> None:
    flags = ACK | PSH | FIN | CWR
    whole = tcp(3500, 1000, version, flags, options, seq=0xFFFFFF00, ident=0xFFFE, partial=partial, in_body=in_body)
    slices = split(whole)
    assert count(whole) == len(slices) == 4
    parsed = [understood(piece) for piece in slices]
    assert [segment.length for _, segment in parsed] == [1000, 1000, 1000, 500]
    assert [segment.seq for _, segment in parsed] == [(0xFFFFFF00 + 1000 * i) % (1 << 32) for i in range(4)]
    assert [segment.flags for _, segment in parsed] == [ACK | CWR, ACK, ACK, ACK | PSH | FIN]
    if version == 4:
        assert [ip.ident for ip, _ in parsed] == [0xFFFE, 0xFFFF, 0, 1]
    assert b"".join(segment.data() for _, segment in parsed) == understood(Packet(bytes(whole)))[1].data()
    assert all((piece.csum_start > 0) == partial for piece in slices)
    assert wire_bytes(whole) == sum(map(len, slices))
    assert largest(whole) == len(slices[0])


def test_a_part_is_a_smaller_super_packet() -> None:
    whole = tcp(10_000, 1000, flags=ACK | PSH)
    middle = part(whole, 3, 4)
    assert (count(middle), middle.gso_size, middle.csum_start) == (4, 1000, whole.csum_start)
    assert [bytes(piece) for piece in split(middle)] == [bytes(piece) for piece in split(whole)[3:7]]
    assert part(whole, 0, 10) is whole


def test_what_stands_for_one_is_left_alone() -> None:
    for packet in (udp(), tcp(500), tcp(500, 1000), tcp(0, 1000)):
        assert count(packet) == 1
        assert split(packet) == [packet]
        assert wire_bytes(packet) == largest(packet) == len(packet)


@given(st.integers(1, 40_000), st.integers(88, 1460), st.data())
def test_cutting_anywhere_and_joining_gives_the_same_wire(size: int, gso_size: int, data: st.DataObject) -> None:
    whole = tcp(size, gso_size)
    expected = [bytes(piece) for piece in split(whole)]
    slices = split(whole)
    lost = data.draw(st.sets(st.integers(0, len(slices) - 1), max_size=3))
    kept = [piece for index, piece in enumerate(slices) if index not in lost]
    joined = join(kept)
    assert len(joined) <= len(lost) + 1
    assert [bytes(piece) for packet in joined for piece in split(packet)] == [
        wire for index, wire in enumerate(expected) if index not in lost
    ]


def test_only_neighbours_of_one_super_packet_are_joined() -> None:
    first, second = split(tcp(3000, 1000)), split(tcp(3000, 1000, seq=4000))
    assert len(join([first[0], first[1], second[2], udp(), first[2]])) == 4
    assert len(join([first[1], first[0]])) == 2
    assert all(isinstance(piece, Slice) for piece in join([first[1], first[0]]))
