"""The walk through facts U8, written once: buffers, checksums, ancillary data. The kernel and netemu both agree."""

from __future__ import annotations

import struct

import pytest
import udp_sides
from udp_sides import (
    BROADCAST,
    D0,
    GROUP,
    GROUP6,
    HOST,
    HOST6,
    IP,
    IP6,
    LO,
    PEER,
    PEER6,
    PORT,
    Walk,
    datagram,
    joined,
    wrapped,
)

from netemu.stack import constants as so
from netemu.wire import udp
from netemu.wire.ip import UDP, parse_address

side, walk = udp_sides.side, udp_sides.walk


def test_u8_buffer(walk: Walk) -> None:
    socket = walk.bound(HOST)
    assert walk.get(socket, so.SOL_SOCKET, so.SO_RCVBUF) == 212992
    for size, count in ((1, 256), (1400, 92)):
        for _ in range(count + 20):
            walk.arrives(data=bytes(size))
        assert walk.heard() == {socket: count}
    for value, expected in ((1, 2304), (10_000, 20_000)):
        walk.set(socket, so.SOL_SOCKET, so.SO_RCVBUF, value)
        assert walk.get(socket, so.SOL_SOCKET, so.SO_RCVBUF) == expected
    walk.set(socket, so.SOL_SOCKET, so.SO_RCVBUF, 1)
    walk.arrives(data=bytes(1472))  # an empty queue takes any one
    walk.arrives(data=b"next")
    assert walk.recvmsg(socket)[0] == bytes(1472)
    assert walk.heard() == {}


@pytest.mark.parametrize("v6", [False, True])
def test_u8_checksum_and_length(walk: Walk, v6: bool) -> None:
    host, peer = (HOST6, PEER6) if v6 else (HOST, PEER)
    socket = walk.bound(host)
    a, b = parse_address(peer), parse_address(host)
    good = udp.emit(a, b, 9, PORT, b"data")

    def heard(payload: bytes) -> int:
        walk.give(wrapped(a, b, UDP, payload))
        return walk.heard().get(socket, 0)

    assert heard(good) == 1
    assert heard(good[:-1] + b"x") == 0
    assert heard(good + b"more") == 1  # cut
    zero = good[:6] + bytes(2) + good[8:]
    assert heard(zero) == (0 if v6 else 1)
    assert [heard(zero[:4] + bytes((0, length)) + zero[6:]) for length in (7, 13)] == [0, 0]
    if v6:
        walk.set(socket, so.IPPROTO_UDP, so.UDP_NO_CHECK6_RX, 1)
        assert heard(zero) == 1


def test_u8_told_of_ipv4(walk: Walk) -> None:
    socket, six = walk.bound("0.0.0.0", "A-"), walk.bound("::", "A-")
    for option in (so.IP_PKTINFO, so.IP_RECVTTL, so.IP_RECVTOS):
        assert walk.set(socket, IP, option, 1) == "ok"
        walk.set(six, IP, option, 1)
    for option in (so.IPV6_RECVPKTINFO, so.IPV6_RECVHOPLIMIT, so.IPV6_RECVTCLASS):
        assert walk.set(six, IP6, option, 1) == "ok"
    joined(walk, socket)
    joined(walk, six)
    host = parse_address(HOST)
    for dst in (HOST, BROADCAST, GROUP):
        walk.give(datagram(b"x", 9, PORT, PEER, dst, ttl=7, tos=0xB8))
        told = [
            (IP, so.IP_PKTINFO, struct.pack("=i4s4s", D0, host, parse_address(dst))),
            (IP, so.IP_TTL, struct.pack("=i", 7)),
            (IP, so.IP_TOS, b"\xb8"),
        ]
        assert walk.recvmsg(socket)[1] == told
        if dst != HOST:
            mapped = struct.pack("=10s2s4si", b"", b"\xff\xff", parse_address(dst), D0)
            assert walk.recvmsg(six)[1] == [(IP6, so.IPV6_PKTINFO, mapped), *told]
    walk.arrives()
    assert walk.recvmsg(socket, room=40)[1:3] == (
        [(IP, so.IP_PKTINFO, struct.pack("=i4s4s", D0, host, host))],
        so.MSG_CTRUNC,
    )


def test_u8_told_of_ipv6(walk: Walk) -> None:
    socket = walk.bound("::")
    for option in (so.IPV6_RECVPKTINFO, so.IPV6_RECVHOPLIMIT, so.IPV6_RECVTCLASS):
        walk.set(socket, IP6, option, 1)
    joined(walk, socket, GROUP6)
    for dst in (HOST6, GROUP6):
        walk.give(datagram(b"x", 9, PORT, PEER6, dst, ttl=7, tos=0xB8))
        assert walk.recvmsg(socket)[1] == [
            (IP6, so.IPV6_PKTINFO, struct.pack("=16si", parse_address(dst), D0)),
            (IP6, so.IPV6_HOPLIMIT, struct.pack("=i", 7)),
            (IP6, so.IPV6_TCLASS, struct.pack("=i", 0xB8)),
        ]


def test_u8_local_traffic_is_the_addresss_devices(walk: Walk) -> None:
    socket, sender = walk.bound("0.0.0.0"), walk.socket()
    walk.set(socket, IP, so.IP_PKTINFO, 1)
    for dst, device in ((HOST, D0), ("127.0.0.1", LO), ("127.0.0.5", LO)):
        walk.ok("sendto", sender, "78", dst, PORT)
        packed = parse_address(dst)
        assert walk.recvmsg(socket)[1] == [(IP, so.IP_PKTINFO, struct.pack("=i4s4s", device, packed, packed))]


def pktinfo(address: str, index: int = 0) -> tuple[int, int, str]:
    packed = parse_address(address)
    if len(packed) == 16:
        return IP6, so.IPV6_PKTINFO, struct.pack("=16si", packed, index).hex()
    return IP, so.IP_PKTINFO, struct.pack("=i4s4s", index, packed, bytes(4)).hex()


def integer(value: int) -> str:
    return struct.pack("=i", value).hex()


def test_u8_sendmsg_ipv4(walk: Walk) -> None:
    bound = walk.bound("127.0.0.1", port=0)
    walk.ok("sendmsg", bound, "78", [pktinfo(HOST), (IP, so.IP_TTL, integer(5)), (IP, so.IP_TOS, "b8")], 0, (PEER, 9))
    (packet,) = walk.taken()
    assert (packet[12:16], packet[8], packet[1]) == (parse_address(HOST), 5, 0xB8)
    socket = walk.socket()
    for items, expected in (
        ([pktinfo("198.18.0.77")], "ENETUNREACH"), ([pktinfo("0.0.0.0", 77)], "ENODEV"), ([pktinfo("127.0.0.1")], "EINVAL"),
        ([pktinfo(GROUP)], "EINVAL"), ([(IP, so.IP_PKTINFO, "00")], "EINVAL"), ([(IP, so.IP_TTL, integer(0))], "EINVAL"),
        ([(IP, so.IP_TTL, integer(256))], "EINVAL"), ([(IP, so.IP_TTL, "05")], "EINVAL"), ([(IP, 99, "00000000")], "EINVAL"),
        ([(IP, so.IP_TOS, integer(300))], "EINVAL"), ([(so.SOL_SOCKET, 99, "00000000")], "EINVAL"),
        ([(so.IPPROTO_TCP, 1, "00000000")], "ok"), ([(IP6, so.IPV6_PKTINFO, "00" * 20)], "ok"),
    ):  # fmt: skip
        assert walk.fails("sendmsg", socket, "78", items, 0, (PEER, 9)) == expected, items


def test_u8_sendmsg_ipv6(walk: Walk) -> None:
    socket = walk.socket(v6=True)
    items = [pktinfo(HOST6), (IP6, so.IPV6_HOPLIMIT, integer(5)), (IP6, so.IPV6_TCLASS, integer(0xB8))]
    walk.ok("sendmsg", socket, "78", items, 0, (PEER6, 9))
    (packet,) = walk.taken()
    assert (packet[8:24], packet[7], packet[0], packet[1] & 0xF0) == (parse_address(HOST6), 5, 0x6B, 0x80)
    for items, expected in (
        ([pktinfo("2001:2::77")], "EINVAL"), ([pktinfo("::", 77)], "ENODEV"), ([(IP6, so.IPV6_PKTINFO, "00" * 19)], "EINVAL"),
        ([(IP6, so.IPV6_HOPLIMIT, integer(256))], "EINVAL"), ([(IP6, so.IPV6_HOPLIMIT, integer(-1))], "ok"),
        ([(IP6, so.IPV6_HOPLIMIT, "05")], "EINVAL"), ([(IP6, so.IPV6_TCLASS, integer(256))], "EINVAL"),
        ([(IP6, 99, "00000000")], "EINVAL"), ([(IP, so.IP_TTL, integer(0))], "ok"),
    ):  # fmt: skip
        assert walk.fails("sendmsg", socket, "78", items, 0, (PEER6, 9)) == expected, items
    mapped = f"::ffff:{PEER}"
    assert walk.fails("sendmsg", socket, "78", [pktinfo(f"::ffff:{HOST}")], 0, (mapped, 9)) == "ok"
    assert walk.fails("sendmsg", socket, "78", [pktinfo(HOST6)], 0, (mapped, 9)) == "EINVAL"


def test_u8_pktinfo_chooses_the_way_of_a_group(walk: Walk) -> None:
    member, sender = walk.bound("0.0.0.0"), walk.socket()
    joined(walk, member, GROUP, LO)
    walk.ok("sendmsg", sender, "78", [pktinfo("0.0.0.0", LO)], 0, (GROUP, PORT))
    assert walk.taken() == []
    assert walk.recvmsg(member)[3] == (HOST, walk.name(sender)[1])  # 127.0.0.1 is of too small a scope
