"""The walk through facts U1 to U4, written once: binding, unicast, connect, single calls. The kernel and netemu both agree."""

from __future__ import annotations

import struct
from collections import Counter

import pytest
import udp_sides
from udp_sides import BROADCAST, HOST, HOST6, PEER, PEER6, PORT, Walk, datagram

from netemu.stack import constants as so

OPTIONS = ("--", "A-", "-P", "AP")
OVERLAPS = [
    (HOST, HOST), ("0.0.0.0", HOST), (HOST, "0.0.0.0"), ("0.0.0.0", "0.0.0.0"), ("239.1.1.1", "239.1.1.1"),
    ("0.0.0.0", "239.1.1.1"), ("239.1.1.1", "0.0.0.0"), (BROADCAST, BROADCAST), ("0.0.0.0", BROADCAST), ("::1", "::1"),
    ("::", HOST6), (HOST6, "::"), ("::", "::"), ("::", "0.0.0.0"), ("0.0.0.0", "::"), ("ff05::1", "ff05::1"),
    ("::", f"::ffff:{HOST}"), (f"::ffff:{HOST}", HOST),
]  # fmt: skip
UIDS = [(0, 0), (10, 10), (0, 10), (10, 0), (10, 11)]


side, walk = udp_sides.side, udp_sides.walk


# -- U1 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), OVERLAPS)
def test_u1_matrix(walk: Walk, first: str, second: str) -> None:
    for a in OPTIONS:
        for b in OPTIONS:
            for uid_a, uid_b in UIDS:
                walk.bound(first, a, uid=uid_a)
                two = walk.socket(b, v6=":" in second, uid=uid_b)
                share = ("A" in a and "A" in b) or ("P" in a and "P" in b and uid_a == uid_b)
                assert walk.fails("bind", two, second, PORT) == ("ok" if share else "EADDRINUSE"), (a, b, uid_a, uid_b)
                walk.side.reset()


@pytest.mark.parametrize(
    ("first", "second"),
    [(HOST, "127.0.0.1"), ("239.1.1.1", "239.1.1.2"), (HOST, HOST6), ("::1", HOST6), (HOST, BROADCAST),
     (HOST, "239.1.1.1"), ("255.255.255.255", BROADCAST)],
)  # fmt: skip
def test_u1_different_addresses(walk: Walk, first: str, second: str) -> None:
    walk.bound(first)
    walk.bound(second)


def test_u1_devices(walk: Walk) -> None:
    walk.bound("0.0.0.0", device="lo")
    walk.bound("0.0.0.0", device="d0")
    for device in ("lo", "d0", ""):
        assert walk.fails("bind", walk.socket(device=device), "0.0.0.0", PORT) == "EADDRINUSE"
    user = walk.socket(uid=10)
    level, option = so.SOL_SOCKET, so.SO_BINDTODEVICE
    assert [walk.set(user, level, option, name) for name in (b"nix", b"d0", b"lo", b"")] == [
        "ENODEV",
        "ok",
        "EPERM",
        "EPERM",
    ]


@pytest.mark.parametrize(("letter", "option"), [("A", so.SO_REUSEADDR), ("P", so.SO_REUSEPORT)])
def test_u1_options_changed_later(walk: Walk, letter: str, option: int) -> None:
    one = walk.bound(HOST)
    walk.set(one, so.SOL_SOCKET, option, 1)
    two = walk.bound(HOST, letter)
    winners = {walk.winners(sport=sport)[0] for sport in range(1000, 1060)}
    assert winners == ({two} if letter == "A" else {one, two})
    walk.set(one, so.SOL_SOCKET, option, 0)
    if letter == "A":
        assert walk.fails("bind", walk.socket(letter), HOST, PORT) == "EADDRINUSE"
    else:
        third = walk.socket(letter)  # the newest is asked first, and shares: the others are not asked
        assert walk.fails("bind", third, HOST, PORT) == "ok"
        walk.ok("close", third)
        walk.open.remove(third)
    if letter == "P":
        assert {walk.winners(sport=sport)[0] for sport in range(1000, 1060)} == {one, two}


@pytest.mark.parametrize(("letter", "option"), [("A", so.SO_REUSEADDR), ("P", so.SO_REUSEPORT)])
def test_u1_options_cleared_later(walk: Walk, letter: str, option: int) -> None:
    walk.set(walk.bound(HOST, letter), so.SOL_SOCKET, option, 0)
    assert walk.fails("bind", walk.socket(letter), HOST, PORT) == "EADDRINUSE"


def test_u1_wrong_binds(walk: Walk) -> None:
    bound, connected = walk.bound(HOST), walk.socket()
    walk.ok("connect", connected, PEER, 9)
    assert walk.fails("bind", bound, HOST, 0) == walk.fails("bind", connected, HOST, 0) == "EINVAL"
    assert walk.fails("bind", walk.socket(), "198.18.0.77", 0) == "EADDRNOTAVAIL"
    assert walk.fails("bind", walk.socket(v6=True), "2001:2::77", 0) == "EADDRNOTAVAIL"
    assert walk.fails("bind", walk.socket(uid=10), HOST, 1023) == "EACCES"
    assert walk.fails("bind", walk.socket(v6=True, v6only=True), f"::ffff:{HOST}", 0) == "EINVAL"
    assert walk.fails("bind", walk.socket(v6=True), "ff02::1", 0) == "EINVAL"
    walk.ok("close", bound)
    walk.bound(HOST)


# -- U2 ---------------------------------------------------------------------------------------------------------------


def test_u2_last_bound_of_reuseaddr(walk: Walk) -> None:
    sockets = [walk.bound(HOST, "A-", uid=uid) for uid in (0, 10, 11, 10)]
    for last in reversed(sockets):
        assert walk.winners(sport=1) == walk.winners(sport=2) == [last]
        walk.ok("close", last)
        walk.open.remove(last)
    assert walk.winners() == []
    assert walk.taken()[-1][20] == 3  # port unreachable


def test_u2_a_group_spreads(walk: Walk) -> None:
    sockets = [walk.bound(HOST, "-P") for _ in range(4)]
    first = [walk.winners(sport=sport) for sport in range(1000, 1400)]
    count = Counter(number for (number,) in first)
    assert set(count) == set(sockets)
    assert min(count.values()) > 60
    assert [walk.winners(sport=sport) for sport in range(1000, 1400)] == first


@pytest.mark.parametrize(
    ("order", "expected"), [(["AP", "AP", "A-"], {2}), (["A-", "AP", "AP"], {1, 2}), (["AP", "A-", "AP"], {0, 2})]
)
def test_u2_groups_among_others(walk: Walk, order: list[str], expected: set[int]) -> None:
    sockets = [walk.bound(HOST, options) for options in order]
    winners = {walk.winners(sport=sport)[0] for sport in range(1000, 1060)}
    assert winners == {sockets[n] for n in expected}


def test_u2_specific_beats_wildcard(walk: Walk) -> None:
    for order in ((0, 1, 2), (2, 0, 1)):
        sockets = {n: walk.bound(("0.0.0.0", "0.0.0.0", HOST)[n], "-P") for n in order}
        assert {walk.winners(sport=sport)[0] for sport in range(1000, 1030)} == {sockets[2]}
        walk.side.reset()
        walk.open.clear()


@pytest.mark.parametrize("with_device_first", [False, True])
@pytest.mark.parametrize(
    ("with_device", "without", "winner"),
    [("0.0.0.0", HOST, "without"), (HOST, HOST, "with"), ("0.0.0.0", "0.0.0.0", "with"), ("::", "0.0.0.0", "with")],
)
def test_u2_devices(walk: Walk, with_device: str, without: str, winner: str, with_device_first: bool) -> None:
    sockets = {}
    for kind in ("with", "without") if with_device_first else ("without", "with"):
        sockets[kind] = walk.bound(with_device, "A-", device="d0") if kind == "with" else walk.bound(without, "A-")
    assert walk.winners() == [sockets[winner]]


@pytest.mark.parametrize("address", [HOST, "0.0.0.0", HOST6, "::"])
@pytest.mark.parametrize("with_device_first", [False, True])
def test_u2_devices_and_groups(walk: Walk, address: str, with_device_first: bool) -> None:
    """The quirk: IPv4 the last bound, IPv6 the first."""
    sockets = [walk.bound(address, "-P", device="d0" if first is with_device_first else "") for first in (True, False)]
    winners = {walk.winners(HOST6 if ":" in address else HOST, sport)[0] for sport in range(1000, 1020)}
    assert winners == {sockets[0 if ":" in address else 1]}


def test_u2_the_wrong_device_hears_nothing(walk: Walk) -> None:
    walk.bound("0.0.0.0", device="lo")
    assert walk.winners() == []
    other = walk.bound("0.0.0.0", device="d0")
    sender = walk.socket()
    walk.ok("sendto", sender, "78", HOST, PORT)  # to oneself, by the wire's address
    assert walk.heard() == {other: 1}


@pytest.mark.parametrize("options", ["A-", "-P"])
@pytest.mark.parametrize("v4_first", [False, True])
def test_u2_families(walk: Walk, options: str, v4_first: bool) -> None:
    names = ("0.0.0.0", "::") if v4_first else ("::", "0.0.0.0")
    sockets = {name: walk.bound(name, options) for name in names}
    assert walk.winners() == [sockets["0.0.0.0"]]
    assert walk.winners(HOST6) == [sockets["::"]]
    mapped = walk.bound(f"::ffff:{HOST}", options)
    assert walk.winners() == [mapped]
    assert walk.winners() == [mapped]
    specific = walk.bound(HOST, options)
    assert walk.winners() == [specific]


def test_u2_ipv6_only(walk: Walk) -> None:
    dual = walk.bound("::", "A-")
    only = walk.bound("::", "A-", v6only=True)
    assert walk.winners(HOST6) == [only]
    assert walk.winners() == [dual]
    specific = walk.bound(HOST6, "A-")
    assert walk.winners(HOST6) == [specific]


@pytest.mark.parametrize("options", ["A-", "-P"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_u2_connected_beats_all(walk: Walk, options: str, order: tuple[int, ...]) -> None:
    sockets = {}
    for n in order:
        sockets[n] = walk.bound(("0.0.0.0", HOST, "0.0.0.0")[n], options)
        if n == 2:
            walk.ok("connect", sockets[n], PEER, 9)
    assert walk.winners(sport=9) == [sockets[2]]
    assert walk.winners(sport=10) == [sockets[1]]


def test_u2_connected_members_leave_the_spread(walk: Walk) -> None:
    one, two = walk.bound(HOST, "-P"), walk.bound(HOST, "-P")
    walk.ok("connect", two, PEER, 9)
    assert {walk.winners(sport=sport)[0] for sport in range(1000, 1050)} == {one}
    walk.ok("close", one)
    walk.open.remove(one)
    assert walk.winners(sport=1000) == []
    assert walk.winners(sport=9) == [two]


def test_u2_what_was_queued_stays(walk: Walk) -> None:
    socket = walk.bound(HOST)
    walk.arrives(sport=1)
    walk.ok("connect", socket, PEER, 9)
    walk.ok("shutdown", socket, so.SHUT_RD)
    walk.arrives(sport=9)
    assert walk.heard() == {socket: 2}
    assert walk.fails("recvmsg", socket, 9, 0, 0) == "EAGAIN"


# -- U3 ---------------------------------------------------------------------------------------------------------------


def test_u3_connect(walk: Walk) -> None:
    socket = walk.bound("0.0.0.0")
    walk.ok("connect", socket, PEER, 9)
    assert walk.name(socket) == (HOST, PORT)
    walk.ok("connect", socket, PEER, 10)
    assert walk.ok("getpeername", socket) == (PEER, 10)
    assert walk.fails("connect", socket, BROADCAST, 9) == "EACCES"
    assert walk.ok("getpeername", socket) == (PEER, 10)
    assert walk.fails("bind", walk.socket(), "127.0.0.1", PORT) == "ok"  # the wildcard has become one address


@pytest.mark.parametrize("address", ["0.0.0.0", HOST])
@pytest.mark.parametrize("options", ["A-", "-P"])
def test_u3_two_with_one_peer(walk: Walk, address: str, options: str) -> None:
    """The last to connect. (Linux' early demultiplexing, where it is on, takes the last bound at a specific address.)"""
    sockets = [walk.bound(address, options) for _ in range(2)]
    for socket in reversed(sockets):
        walk.ok("connect", socket, PEER, 9)
    assert walk.winners(sport=9) == [sockets[0]]


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [("0.0.0.0", PORT, ("0.0.0.0", PORT)), (HOST, PORT, (HOST, PORT)), ("0.0.0.0", 0, ("0.0.0.0", 0)),
     (HOST, 0, (HOST, 0)), (None, 0, ("0.0.0.0", 0))],
)  # fmt: skip
def test_u3_disconnect(walk: Walk, address: str | None, port: int, expected: tuple[str, int]) -> None:
    socket = walk.socket()
    if address is not None:
        walk.ok("bind", socket, address, port)
    walk.ok("connect", socket, PEER, 9)
    walk.ok("disconnect", socket)
    assert walk.name(socket) == expected
    assert walk.fails("getpeername", socket) == "ENOTCONN"
    walk.ok("sendto", socket, "78", PEER, 9)
    assert walk.name(socket)[1] > 0
    assert walk.winners(sport=77) == ([socket] if port else [])
    walk.ok("disconnect", walk.socket())


def test_u3_sending_elsewhere(walk: Walk) -> None:
    socket = walk.bound(HOST)
    walk.ok("connect", socket, PEER, 9)
    walk.ok("sendto", socket, "78", "198.18.0.9", 10)
    assert len(walk.taken()) == 1
    assert walk.winners(sport=10, src="198.18.0.9") == []


def test_u3_odd_peers(walk: Walk) -> None:
    socket = walk.socket()
    walk.ok("connect", socket, PEER, 0)
    assert walk.fails("getpeername", socket) == "ENOTCONN"
    socket = walk.socket()
    walk.ok("connect", socket, "0.0.0.0", 9)
    assert walk.ok("getpeername", socket) == ("127.0.0.1", 9)
    own = walk.bound(HOST)
    walk.ok("connect", own, HOST, PORT)
    walk.ok("send", own, "back")
    assert walk.heard() == {own: 1}


def test_u3_ephemeral_ports(walk: Walk) -> None:
    sockets = [walk.bound(HOST, port=0) for _ in range(50)]
    ports = [walk.name(socket)[1] for socket in sockets]
    assert len(set(ports)) == 50
    assert all(32768 <= port <= 60999 for port in ports)
    assert {port % 2 for port in ports} == {0, 1}


def test_u3_a_range_of_four(walk: Walk) -> None:
    narrow = (so.IPPROTO_IP, so.IP_LOCAL_PORT_RANGE, 40000 | 40003 << 16)

    def fresh(options: str = "--") -> int:
        made = walk.socket(options)
        assert walk.set(made, *narrow) == "ok"
        return made

    for _ in range(4):
        walk.ok("bind", fresh(), HOST, 0)
    assert walk.fails("bind", fresh(), HOST, 0) == "EADDRINUSE"
    assert walk.fails("connect", fresh(), PEER, 9) == "EAGAIN"
    assert walk.fails("sendto", fresh(), "78", PEER, 9) == "EAGAIN"
    walk.ok("bind", fresh(), "127.0.0.1", 0)


def test_u3_with_an_option_a_port_may_come_twice(walk: Walk) -> None:
    ports = []
    for _ in range(12):
        socket = walk.socket("A-")
        walk.set(socket, so.IPPROTO_IP, so.IP_LOCAL_PORT_RANGE, 40000 | 40003 << 16)
        walk.ok("bind", socket, HOST, 0)
        ports.append(walk.name(socket)[1])
    assert len(set(ports)) <= 4


def test_u3_bind_address_no_port(walk: Walk) -> None:
    socket = walk.socket()
    assert walk.set(socket, so.IPPROTO_IP, so.IP_BIND_ADDRESS_NO_PORT, 1) == "ok"
    walk.ok("bind", socket, HOST, 0)
    assert walk.name(socket) == (HOST, 0)
    walk.ok("connect", socket, PEER, 9)
    assert walk.name(socket)[1] >= 32768


@pytest.mark.parametrize(
    ("method", "arguments", "expected"),
    [
        ("send", ("x",), "EDESTADDRREQ"),
        ("sendto", ("78", PEER, 0), "EINVAL"),
        ("sendto", ("78", BROADCAST, 9), "EACCES"),
        ("sendto", ("00" * 65508, PEER, 9), "EMSGSIZE"),
    ],
)
def test_u3_a_call_that_fails_has_bound(walk: Walk, method: str, arguments: tuple[object, ...], expected: str) -> None:
    socket = walk.socket()
    assert walk.fails(method, socket, *arguments) == expected
    assert walk.name(socket)[1] >= 32768


# -- U4 ---------------------------------------------------------------------------------------------------------------


def test_u4_states(walk: Walk) -> None:
    socket = walk.socket()
    assert walk.fails("getpeername", socket) == walk.fails("shutdown", socket, so.SHUT_WR) == "ENOTCONN"
    assert walk.fails("accept", socket) == walk.fails("sendmsg", socket, "78", [], so.MSG_OOB, (PEER, 9)) == "ENOTSUP"
    assert walk.fails("recvmsg", socket, 9, 0, 0) == "EAGAIN"
    assert walk.ok("poll", socket) == 0
    walk.ok("connect", socket, PEER, 9)
    walk.ok("shutdown", socket, so.SHUT_WR)
    assert walk.fails("send", socket, "x") == "EPIPE"


def test_u4_families(walk: Walk) -> None:
    mapped = f"::ffff:{PEER}"
    for socket in (walk.socket(v6=True, v6only=True), walk.bound("::1", port=0)):
        assert walk.fails("sendto", socket, "78", mapped, 9) == "ENETUNREACH"
        assert walk.fails("connect", socket, mapped, 9) == "ENETUNREACH"
    loopback = walk.bound("127.0.0.1", port=0)
    assert walk.fails("sendto", loopback, "78", PEER, 9) == walk.fails("connect", loopback, PEER, 9) == "EINVAL"
    walk.ok("sendto", loopback, "78", HOST, 9)
    for link_local in ("ff02::fb", "fe80::9"):
        assert walk.fails("connect", walk.socket(v6=True), link_local, 9) == "EINVAL"


@pytest.mark.parametrize(("address", "largest"), [(PEER, 65507), (PEER6, 65527)])
def test_u4_sizes(walk: Walk, address: str, largest: int) -> None:
    socket = walk.socket(v6=":" in address)
    assert walk.fails("sendto", socket, "00" * (largest + 1), address, 9) == "EMSGSIZE"
    walk.ok("sendto", socket, "00" * largest, address, 9)
    assert len(walk.taken()) > 40
    walk.ok("sendto", socket, "", address, 9)
    assert len(walk.taken()) == 1


@pytest.mark.parametrize(
    ("mode", "expected", "flag"),
    [(0, "ok", 0), (1, "ok", 0x40), (2, "EMSGSIZE", 0x40), (3, "EMSGSIZE", 0x40), (4, "EMSGSIZE", 0), (5, "ok", 0)],
)
def test_u4_mtu_discover(walk: Walk, mode: int, expected: str, flag: int) -> None:
    socket = walk.socket()
    assert walk.set(socket, so.IPPROTO_IP, so.IP_MTU_DISCOVER, mode) == "ok"
    assert walk.fails("sendto", socket, "00" * 1473, PEER, 9) == expected
    walk.taken()
    walk.ok("sendto", socket, "00" * 1472, PEER, 9)
    (packet,) = walk.taken()
    assert packet[6] & 0x40 == flag


def test_u4_short_reads(walk: Walk) -> None:
    socket = walk.bound(HOST)
    for data in (b"", b"0123456789", b"ab"):
        walk.arrives(data=data)
    assert walk.recvmsg(socket)[0] == b""
    assert walk.recvmsg(socket, 4, 0, so.MSG_PEEK)[:3] == (b"0123", [], so.MSG_TRUNC)
    assert walk.recvmsg(socket, 4) == (b"0123", [], so.MSG_TRUNC, (PEER, 40000))
    assert walk.recvmsg(socket) == (b"ab", [], 0, (PEER, 40000))


def test_u4_options_and_their_bounds(walk: Walk) -> None:
    four, six = walk.socket(), walk.socket(v6=True)
    ip, ip6 = so.IPPROTO_IP, so.IPPROTO_IPV6
    mreqn = struct.pack("=4s4si", bytes(4), bytes(4), 77)
    for socket, level, option, value, expected in (
        (four, ip, so.IP_MULTICAST_TTL, 0, 0), (four, ip, so.IP_MULTICAST_TTL, 255, 255),
        (four, ip, so.IP_MULTICAST_TTL, 256, "EINVAL"), (four, ip, so.IP_MULTICAST_TTL, -1, 1),
        (four, ip, so.IP_MULTICAST_LOOP, 2, 1), (four, ip, so.IP_MULTICAST_ALL, 0, 0),
        (four, ip, so.IP_MULTICAST_ALL, 2, "EINVAL"), (four, ip, so.IP_MTU_DISCOVER, 6, "EINVAL"),
        (four, ip, so.IP_RECVERR, 2, 1), (four, ip, so.IP_PKTINFO, 1, 1), (four, ip6, so.IPV6_RECVPKTINFO, 1, "ENOPROTOOPT"),
        (six, ip6, so.IPV6_MULTICAST_HOPS, 0, 0), (six, ip6, so.IPV6_MULTICAST_HOPS, -2, "EINVAL"),
        (six, ip6, so.IPV6_MULTICAST_HOPS, -1, 1), (six, ip6, so.IPV6_MULTICAST_LOOP, 2, "EINVAL"),
        (six, ip6, so.IPV6_MULTICAST_ALL, 2, 1), (six, ip6, so.IPV6_MULTICAST_IF, 2, 2),
        (six, ip6, so.IPV6_MULTICAST_IF, 77, "ENODEV"), (six, ip6, so.IPV6_MTU_DISCOVER, 6, "EINVAL"),
        (six, ip, so.IP_RECVERR, 1, 1), (four, ip, so.IP_MULTICAST_IF, b"ab", "EINVAL"),
        (four, ip, so.IP_MULTICAST_IF, mreqn, "EADDRNOTAVAIL"), (four, ip, so.IP_MULTICAST_IF, b"\7\7\7\7", "EADDRNOTAVAIL"),
        (four, so.IPPROTO_UDP, so.UDP_NO_CHECK6_RX, 1, 1), (four, so.SOL_SOCKET, so.SO_BROADCAST, 2, 1),
    ):  # fmt: skip
        answer = walk.set(socket, level, option, value)
        assert answer == (expected if isinstance(expected, str) else "ok"), (level, option, value)
        if answer == "ok":
            assert walk.get(socket, level, option) == expected, (level, option, value)
    assert walk.side.call("getsockopt", four, ip, so.IP_MTU)[0] == 107
    walk.ok("connect", four, PEER, 9)
    assert walk.get(four, ip, so.IP_MTU) == 1500


def test_u8_source_port_zero_and_lengths(walk: Walk) -> None:
    socket = walk.bound(HOST)
    walk.arrives(sport=0)
    assert walk.recvmsg(socket)[3] == (PEER, 0)
    packet = datagram(b"abc", 1, PORT, PEER, HOST)
    walk.give(packet[:-1] + b"x")  # a bad checksum
    assert walk.heard() == {}
