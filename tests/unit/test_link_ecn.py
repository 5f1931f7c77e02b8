"""Marks of congestion: in every kind of packet, and no checksum suffers or heals by it."""

from __future__ import annotations

import pytest
from link_packets import tcp, udp

from netemu.link import ecn
from netemu.wire import ipv4, ipv6
from netemu.wire.checksum import checksum
from netemu.wire.ip import IpPacket
from netemu.wire.packet import Packet
from netemu.wire.slices import split

VERSIONS = pytest.mark.parametrize("version", [4, 6])


def tos_of(packet: Packet) -> int:
    data = bytes(packet)
    header = ipv4.parse(data) if data[0] >> 4 == 4 else ipv6.parse(data)
    assert isinstance(header, IpPacket)  # which an IPv4 header with a wrong checksum is not
    return header.tos


@VERSIONS
@pytest.mark.parametrize("before", [ecn.ECT_0, ecn.ECT_1, ecn.CE])
def test_a_mark_changes_two_bits(version: int, before: int) -> None:
    packet = udp(version=version, tos=0xB8 | before)
    assert ecn.codepoint(packet) == before
    assert ecn.is_capable(packet)
    data = bytes(packet)
    assert tos_of(ecn.marked(packet)) == 0xB8 | ecn.CE
    assert bytes(packet) == data, "the packet itself, which others may hold, is as it was"


@VERSIONS
def test_who_is_not_capable(version: int) -> None:
    assert not ecn.is_capable(udp(version=version, tos=0xB8))


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x00" * 40, b"\x52\x03" + bytes(38)])
def test_what_is_no_ip_packet_is_not_capable(data: bytes) -> None:
    assert ecn.codepoint(Packet(data)) == ecn.NOT_ECT


def test_a_wrong_checksum_stays_as_wrong() -> None:
    data = bytearray(bytes(udp(tos=ecn.ECT_1)))
    data[10:12] = ((int.from_bytes(data[10:12], "big") + 5) & 0xFFFF).to_bytes(2, "big")
    header = bytes(ecn.marked(Packet(bytes(data))))[:20]
    right = checksum(header[:10] + b"\0\0" + header[12:])
    assert (int.from_bytes(header[10:12], "big") - right) % 0xFFFF == 5


@pytest.mark.parametrize("sum_", range(0, 0x10000, 251))
def test_every_checksum_comes_out_right(sum_: int) -> None:
    """Carries and the two zeros of ones' complement (RFC 1624)."""
    header = bytearray(bytes(udp(tos=ecn.ECT_0))[:20])
    header[4:6] = sum_.to_bytes(2, "big")
    header[10:12] = b"\0\0"
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    marked = bytes(ecn.marked(Packet(bytes(header))))
    assert checksum(marked[:10] + b"\0\0" + marked[12:]).to_bytes(2, "big") == marked[10:12]


@VERSIONS
def test_a_super_packet_and_a_slice_of_one(version: int) -> None:
    whole = tcp(3000, 1000, version, tos=ecn.ECT_0)
    assert [tos_of(each) for each in split(ecn.marked(whole))] == [ecn.CE] * 3
    pieces = split(whole)
    assert ecn.is_capable(pieces[1])
    marked = ecn.marked(pieces[1])
    assert [tos_of(each) for each in (pieces[0], marked, pieces[2])] == [ecn.ECT_0, ecn.CE, ecn.ECT_0]
    start = 20 if version == 4 else 40
    assert bytes(marked)[start:] == bytes(pieces[1])[start:]
