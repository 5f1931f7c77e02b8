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
            "2001:2::1 > 2001:2::2 ICMP6 multicast listener report v2, 0 group records, length 8",
        ),
        (
            ipv4(2, bytes.fromhex("11000000 00000000")),
            "198.18.0.1 > 198.18.0.2 IGMP query v1 [max resp time 0.0s], length 8",
        ),
        (
            ipv4(2, bytes.fromhex("11190000 ef010101")),
            "198.18.0.1 > 198.18.0.2 IGMP query v2 [max resp time 2.5s] gaddr 239.1.1.1, length 8",
        ),
        (
            ipv4(2, bytes.fromhex("11800000 ef010101 027d0001 c0000201")),
            "198.18.0.1 > 198.18.0.2 IGMP query v3 [max resp time 12.8s] gaddr 239.1.1.1 {192.0.2.1}, length 16",
        ),
        (
            ipv4(2, bytes.fromhex("22000000 00000002 04000000 ef010101 05000009 ef010102") + bytes(36)),
            "198.18.0.1 > 198.18.0.2 IGMP v3 report, 2 group records [gaddr 239.1.1.1 to_ex {}] "
            "[gaddr 239.1.1.2 allow {" + "0.0.0.0 " * 8 + "and 1 more}], length 60",
        ),
        (
            ipv4(2, bytes.fromhex("22000000 00000001 04000002 ef010101 c0000201")),
            "198.18.0.1 > 198.18.0.2 IGMP v3 report, 1 group record [gaddr 239.1.1.1 to_ex {192.0.2.1 truncated}], length 20",
        ),
        (
            ipv4(2, bytes.fromhex("22000000 00000001 0400")),
            "198.18.0.1 > 198.18.0.2 IGMP v3 report, 1 group record [truncated], length 10",
        ),
        (
            ipv4(2, bytes.fromhex("12000000 ef010101")),
            "198.18.0.1 > 198.18.0.2 IGMP v1 report gaddr 239.1.1.1, length 8",
        ),
        (ipv4(2, bytes.fromhex("17000000 ef010101")), "198.18.0.1 > 198.18.0.2 IGMP leave gaddr 239.1.1.1, length 8"),
        (ipv4(2, bytes.fromhex("30000000 00000000")), "198.18.0.1 > 198.18.0.2 IGMP type 0x30, length 8"),
        (ipv4(2, b"abc"), "198.18.0.1 > 198.18.0.2 IGMP truncated, length 3"),
        (
            ipv6(58, bytes.fromhex("82000000 03e80000") + bytes(16)),
            "2001:2::1 > 2001:2::2 ICMP6 multicast listener query v1 [max resp time 1.0s], length 24",
        ),
        (
            ipv6(58, bytes.fromhex("82000000 80010000 ff050000000000000000000000010001 027d0000")),
            "2001:2::1 > 2001:2::2 ICMP6 multicast listener query v2 [max resp time 32.8s] gaddr ff05::1:1, length 28",
        ),
        (
            ipv6(58, bytes.fromhex("83000000 00000000 ff050000000000000000000000010001")),
            "2001:2::1 > 2001:2::2 ICMP6 multicast listener report gaddr ff05::1:1, length 24",
        ),
        (
            ipv6(58, bytes.fromhex("8f000000 00000001 03000001 ff050000000000000000000000010001") + bytes(15) + b"\1"),
            "2001:2::1 > 2001:2::2 ICMP6 multicast listener report v2, 1 group record "
            "[gaddr ff05::1:1 to_in {::1}], length 44",
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


PROTOCOL = st.sampled_from([0, 1, 2, 6, 17, 43, 44, 51, 58, 59, 60, 99])
PACKET = st.one_of(
    st.binary(max_size=100),
    st.builds(ipv4, PROTOCOL, st.binary(max_size=100), st.integers(0, 65535)),
    st.builds(ipv6, PROTOCOL, st.binary(max_size=100)),
    st.builds(ipv4, st.just(2), st.binary(max_size=100).map(lambda more: b"\x22" + more)),
    st.builds(ipv6, st.just(58), st.binary(max_size=100).map(lambda more: b"\x8f" + more)),
    st.builds(ipv4, st.just(6), st.builds(tcp, st.integers(0, 255), st.binary(max_size=10).map(lambda o: o * 4))),
)


@settings(max_examples=500)
@given(PACKET, st.integers(0, 120))
def test_never_raises_and_is_one_printable_line(packet: bytes, cut: int) -> None:
    line = describe(packet[:cut])
    assert line
    assert line.isprintable()
