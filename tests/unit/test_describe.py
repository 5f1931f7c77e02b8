"""describe() says in one line what a packet is, and has a line for garbage too."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.wire.describe import describe

A, B = bytes((198, 18, 0, 1)), bytes((198, 18, 0, 2))


def ipv4(protocol: int, payload: bytes, offset: int = 0) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, offset, 64, protocol, 0, A, B) + payload


def ipv6(protocol: int, payload: bytes) -> bytes:
    ends = bytes.fromhex("20010002000000000000000000000001 20010002000000000000000000000002")
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + ends + payload


def tcp(flags: int, options: bytes = b"", data: bytes = b"", urgent: int = 0) -> bytes:
    return (
        struct.pack("!HHIIBBHHH", 40000, 80, 1, 9, (20 + len(options)) << 2, flags, 64240, 0, urgent) + options + data
    )


SYN_OPTIONS = bytes.fromhex("020405b4 0402 080a0000000100000000 01 030307")


@pytest.mark.parametrize(
    ("packet", "line"),
    [
        (
            ipv4(6, tcp(2, SYN_OPTIONS)),
            "198.18.0.1:40000 > 198.18.0.2:80 Flags [S], seq 1, win 64240, "
            "options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0",
        ),
        (
            ipv6(6, tcp(0x18, data=b"hello")),
            "[2001:2::1]:40000 > [2001:2::2]:80 Flags [P.], seq 1:6, ack 9, win 64240, length 5",
        ),
        (ipv4(6, tcp(0x10)), "198.18.0.1:40000 > 198.18.0.2:80 Flags [.], ack 9, win 64240, length 0"),
        (ipv4(6, tcp(0x04)), "198.18.0.1:40000 > 198.18.0.2:80 Flags [R], seq 1, win 64240, length 0"),
        (ipv4(6, tcp(0, b"")), "198.18.0.1:40000 > 198.18.0.2:80 Flags [none], win 64240, length 0"),
        (
            ipv4(6, tcp(0xF0, bytes.fromhex("0101050a0000000100000005"), urgent=3)),
            "198.18.0.1:40000 > 198.18.0.2:80 Flags [.UEW], ack 9, win 64240, urg 3, "
            "options [nop,nop,sack 1 {1:5}], length 0",
        ),
        (
            ipv4(6, tcp(2, bytes.fromhex("fe0412340200ffff"))),
            "198.18.0.1:40000 > 198.18.0.2:80 Flags [S], seq 1, win 64240, "
            "options [unknown-254 0x1234,malformed option 2], length 0",
        ),
        (ipv4(17, struct.pack("!HHHH", 53, 7, 12, 0) + b"abcd"), "198.18.0.1:53 > 198.18.0.2:7 UDP, length 4"),
        (
            ipv4(17, struct.pack("!HHHH", 53, 7, 99, 0) + b"abcd"),
            "198.18.0.1:53 > 198.18.0.2:7 UDP with a bad length of 99 bytes, length 12",
        ),
        (
            ipv4(1, struct.pack("!BBHHH", 8, 0, 0, 3, 4)),
            "198.18.0.1 > 198.18.0.2 ICMP echo request, id 3, seq 4, length 8",
        ),
        (
            ipv6(58, struct.pack("!BBHHH", 129, 0, 0, 3, 4)),
            "2001:2::1 > 2001:2::2 ICMP6 echo reply, id 3, seq 4, length 8",
        ),
        (
            ipv4(1, struct.pack("!BBHHH", 3, 4, 0, 0, 1400) + ipv4(6, tcp(0x10, data=bytes(1400)))[:28]),
            "198.18.0.1 > 198.18.0.2 ICMP unreachable - need to frag (mtu 1400) about "
            "(198.18.0.1:40000 > 198.18.0.2:80 TCP seq 1), length 36",
        ),
        (
            ipv4(17, bytes(16), offset=0x2000 | 2),
            "198.18.0.1 > 198.18.0.2 UDP [fragment 0x7, bytes 16-32, more follow]",
        ),
        (ipv4(17, bytes(16), offset=3), "198.18.0.1 > 198.18.0.2 UDP [fragment 0x7, bytes 24-40, the last]"),
        (ipv4(99, b"abc"), "198.18.0.1 > 198.18.0.2 protocol 99, length 3"),
        (
            ipv6(0, bytes((58, 0, 5, 2, 0, 0, 0, 0, 143, 0, 0, 0, 0, 0, 0, 0))),
            "2001:2::1 > 2001:2::2 ICMP6 multicast listener report v2, length 8",
        ),
        (
            ipv4(6, tcp(0x10, data=bytes(9)))[:45],
            "198.18.0.1:40000 > 198.18.0.2:80 Flags [.], seq 1:10, ack 9, win 64240, length 9 "
            "[truncated: 4 bytes missing]",
        ),
        (ipv4(6, b"abc"), "198.18.0.1 > 198.18.0.2 TCP truncated, length 3"),
        (b"", "not IP (empty), length 0"),
        (b"\xff" * 60, "not IP (version 15), length 60"),
        (b"\x45abc", "IP truncated, length 4"),
        (b"\x60abc", "IP6 truncated, length 4"),
        (b"\x41" + ipv4(6, b"")[1:], "IP with a bad header (header length 4, total length 20), length 20"),
    ],
)
def test_describes(packet: bytes, line: str) -> None:
    assert describe(packet) == line
    assert describe(memoryview(packet)) == line


PROTOCOL = st.sampled_from([0, 1, 6, 17, 43, 44, 51, 58, 59, 60, 99])
PACKET = st.one_of(
    st.binary(max_size=100),
    st.builds(ipv4, PROTOCOL, st.binary(max_size=100), st.integers(0, 65535)),
    st.builds(ipv6, PROTOCOL, st.binary(max_size=100)),
    st.builds(ipv4, st.just(6), st.builds(tcp, st.integers(0, 255), st.binary(max_size=10).map(lambda o: o * 4))),
)


@settings(max_examples=500)
@given(PACKET, st.integers(0, 120))
def test_never_raises_and_is_one_printable_line(packet: bytes, cut: int) -> None:
    line = describe(packet[:cut])
    assert line
    assert line.isprintable()
