"""The Internet checksum against RFC 1071's own loop, and packets whose checksum is still partial."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netemu.wire import tcp, udp
from netemu.wire.checksum import checksum, fold, is_valid
from netemu.wire.ip import TCP, UDP, pseudo_sum
from netemu.wire.packet import Packet


def rfc1071(data: bytes, initial: int = 0) -> int:
    """RFC 1071 section 4.1, word by word."""
    total = initial
    for at in range(0, len(data) - 1, 2):
        total += data[at] << 8 | data[at + 1]
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("0001f203f4f5f6f7", 0x220D),  # RFC 1071 section 3: the sum is ddf2
        ("0001f203f4f5f6", ~(0xDDF2 - 0xF7) & 0xFFFF),  # the same, cut to an odd length
        ("45000073000040004011" + "0000" + "c0a80001c0a800c7", 0xB861),  # a well-known IPv4 header
        ("", 0xFFFF),
        ("00", 0xFFFF),
        ("0000", 0xFFFF),
        ("00" * 65535, 0xFFFF),
        ("ff", 0x00FF),
        ("ffff", 0x0000),
        ("ff" * 65535, 0x00FF),
        ("ff" * 65534, 0x0000),
    ],
)
def test_known_sums(data: str, value: int) -> None:
    assert checksum(bytes.fromhex(data)) == rfc1071(bytes.fromhex(data)) == value


@given(st.binary(max_size=200), st.integers(0, 1 << 20))
@example(b"", 0)
@example(b"\xff\xff", 0)
@example(b"\xff\xff\x00\x01", 0)
@example(b"", 0xFFFF)
@example(b"\0\0", 0xFFFF)
def test_as_the_loop_of_rfc_1071(data: bytes, initial: int) -> None:
    assert checksum(data, initial) == rfc1071(data, initial)
    assert checksum(memoryview(data), initial) == rfc1071(data, initial)
    assert fold(data) == (~rfc1071(data) & 0xFFFF) % 65535


@given(st.binary(min_size=2, max_size=100), st.integers(0, 1 << 17), st.integers(0, 97), st.integers(1, 0xFFFE))
def test_what_was_filled_in_is_valid_and_nothing_else(data: bytes, initial: int, at: int, change: int) -> None:
    at = min(at, len(data) - 2) & ~1
    bare = data[:at] + b"\0\0" + data[at + 2 :]
    value = checksum(bare, initial)
    filled = bare[:at] + value.to_bytes(2, "big") + bare[at + 2 :]
    assert is_valid(filled, initial)
    assert rfc1071(filled, initial) == 0
    other = bare[:at] + ((value + change) & 0xFFFF).to_bytes(2, "big") + bare[at + 2 :]
    assert is_valid(other, initial) == (rfc1071(other, initial) == 0)


@given(st.binary(max_size=60), st.integers(0, 1 << 17))
@example(bytes(8), 0)
@example(b"", 0)
def test_validity_is_what_the_loop_says(data: bytes, initial: int) -> None:
    assert is_valid(data, initial) == (rfc1071(data, initial) == 0)


ADDRESSES = [(bytes([198, 18, 0, 2]), bytes([198, 18, 0, 1])), (bytes(15) + b"\2", bytes(15) + b"\1")]


@pytest.mark.parametrize(("src", "dst"), ADDRESSES)
@given(payload=st.binary(max_size=80), parts=st.integers(1, 4), seq=st.integers(0, 0xFFFFFFFF))
def test_partial_tcp_checksums_are_finished(src: bytes, dst: bytes, payload: bytes, parts: int, seq: int) -> None:
    length = 20 + len(payload)
    partial = pseudo_sum(src, dst, TCP, length) % 65535
    head = tcp.FIXED.pack(80, 40000, seq, 0, 5 << 12 | 0x10, 100, partial, 0)
    pieces = tuple(
        payload[n::1][: len(payload) // parts + 1] for n in range(0, len(payload), len(payload) // parts + 1)
    )
    assert b"".join(pieces) == payload
    packet = Packet(b"x" * 20 + head, pieces, 0, 20, 16)
    whole = bytes(packet)
    assert len(whole) == len(packet) == 40 + len(payload)
    assert rfc1071(whole[20:], pseudo_sum(src, dst, TCP, length)) == 0
    assert whole[:36] == b"x" * 20 + head[:16]
    assert whole[38:] == head[18:] + payload
    final = Packet(whole)
    assert bytes(final) == whole
    assert len(final) == len(whole)


@pytest.mark.parametrize(("src", "dst"), ADDRESSES)
@pytest.mark.parametrize("zero", [True, False])
@given(payload=st.binary(max_size=40))
def test_a_udp_checksum_of_zero_goes_out_as_ones(src: bytes, dst: bytes, zero: bool, payload: bytes) -> None:
    payload += bytes(len(payload) % 2)
    if zero:  # the last word makes the sum all ones
        length = 10 + len(payload)
        bare = udp.HEADER.pack(7, 9, length, 0) + payload
        payload += rfc1071(bare, pseudo_sum(src, dst, UDP, length)).to_bytes(2, "big")
    length = 8 + len(payload)
    plain = rfc1071(udp.HEADER.pack(7, 9, length, 0) + payload, pseudo_sum(src, dst, UDP, length))
    if zero:
        assert plain == 0
    made = udp.emit(src, dst, 7, 9, payload)
    assert int.from_bytes(made[6:8], "big") == (plain or 0xFFFF)
    partial = udp.HEADER.pack(7, 9, length, pseudo_sum(src, dst, UDP, length) % 65535)
    assert bytes(Packet(b"i" * 20 + partial, (payload,), 0, 20, 6))[20:] == made


def test_a_tcp_checksum_of_zero_stays_zero() -> None:
    src, dst = ADDRESSES[0]
    bare = tcp.FIXED.pack(1, 2, 0, 0, 5 << 12, 0, 0, 0)
    urgent = rfc1071(bare, pseudo_sum(src, dst, TCP, 20))
    partial = tcp.FIXED.pack(1, 2, 0, 0, 5 << 12, 0, pseudo_sum(src, dst, TCP, 20) % 65535, urgent)
    assert bytes(Packet(b"i" * 20 + partial, (), 0, 20, 16))[36:38] == b"\0\0"


def test_a_packet_is_whole_and_final_unless_told_otherwise() -> None:
    packet = Packet(b"12345")
    assert (packet.body, packet.gso_size, packet.csum_start, packet.csum_offset) == ((), 0, 0, 0)


def test_a_packet_shows_its_size() -> None:
    assert repr(Packet(b"12345", (b"678",))) == "Packet(8 B)"
    assert repr(Packet(b"12345", (b"678",), 2)) == "Packet(8 B, gso 2)"
