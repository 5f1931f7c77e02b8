"""scapy as judge of the slices of a super-packet: built anew from its fields, each comes out the same, byte for byte."""

from __future__ import annotations

import pytest
from link_packets import tcp
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from netemu.wire.slices import split
from netemu.wire.tcp import ACK, CWR, FIN, PSH

TIMESTAMP = b"\x01\x01\x08\x0a\0\0\0\1\0\0\0\2"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("size", [2001, 4380, 60_000])
def test_scapy_builds_the_same(version: int, partial: bool, size: int) -> None:
    whole = tcp(size, 1460, version, ACK | PSH | FIN | CWR, TIMESTAMP, partial=partial, in_body=True)
    slices = [bytes(piece) for piece in split(whole)]
    assert len(slices) == -(-size // 1460)
    data = b""
    for number, wire in enumerate(slices):
        packet = IP(wire) if version == 4 else IPv6(wire)
        flags = packet[TCP].flags
        assert (("C" in flags), ("F" in flags), ("P" in flags)) == (
            number == 0,
            number == len(slices) - 1,
            number == len(slices) - 1,
        )
        assert packet[TCP].seq == 1000 + len(data)
        data += bytes(packet[TCP].payload)
        for layer, fields in ((packet, ("len", "plen", "chksum")), (packet[TCP], ("chksum",))):
            for field in fields:
                if field in layer.fields:
                    delattr(layer, field)
        assert bytes(packet) == wire
    assert data == bytes(index * 7 & 0xFF for index in range(size))
