"""The walk through facts U5 to U7, written once: ICMP errors, broadcast, multicast. The kernel and netemu both agree."""

from __future__ import annotations

import errno
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
    icmp_error,
    joined,
)

from netemu.stack import constants as so
from netemu.wire.ip import parse_address

side, walk = udp_sides.side, udp_sides.walk

OTHER_GROUP = "239.1.1.2"
ALL = "224.0.0.1"


def named(number: int) -> str:
    return errno.errorcode[number] if number else "ok"


# -- U5 ---------------------------------------------------------------------------------------------------------------

V4_ERRORS = [
    (3, 0, "", "ENETUNREACH"), (3, 1, "", "EHOSTUNREACH"), (3, 2, "ENOPROTOOPT", "ENOPROTOOPT"),
    (3, 3, "ECONNREFUSED", "ECONNREFUSED"), (3, 4, "EMSGSIZE", "EMSGSIZE"), (3, 5, "", "ENOTSUP"),
    (3, 9, "ENETUNREACH", "ENETUNREACH"), (3, 10, "EHOSTUNREACH", "EHOSTUNREACH"), (3, 13, "EHOSTUNREACH", "EHOSTUNREACH"),
    (4, 0, "", ""), (5, 1, "", ""), (11, 0, "", "EHOSTUNREACH"), (12, 0, "EPROTO", "EPROTO"),
]  # fmt: skip
V6_ERRORS = [
    (1, 0, "", "ENETUNREACH"), (1, 1, "EACCES", "EACCES"), (1, 3, "", "EHOSTUNREACH"), (1, 4, "ECONNREFUSED", "ECONNREFUSED"),
    (1, 5, "EACCES", "EACCES"), (2, 0, "EMSGSIZE", "EMSGSIZE"), (3, 0, "", "EHOSTUNREACH"), (4, 1, "EPROTO", "EPROTO"),
]  # fmt: skip


@pytest.mark.parametrize("recverr", [False, True])
@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize(("kind", "code", "plain", "told"), V4_ERRORS + [(k + 100, *rest) for k, *rest in V6_ERRORS])
def test_u5_which_error(
    walk: Walk, kind: int, code: int, plain: str, told: str, connected: bool, recverr: bool
) -> None:
    v6, kind = kind > 100, kind % 100
    peer = PEER6 if v6 else PEER
    socket = walk.socket(v6=v6)
    if recverr:
        walk.set(socket, IP6 if v6 else IP, so.IPV6_RECVERR if v6 else so.IP_RECVERR, 1)
    if connected:
        walk.ok("connect", socket, peer, 9)
        walk.ok("send", socket, "hello")
    else:
        walk.ok("sendto", socket, b"hello".hex(), peer, 9)
    (sent,) = walk.taken()
    rest = {(3, 4, False): 1300, (2, 0, True): 1300, (12, 0, False): 5 << 24, (4, 1, True): 40}.get((kind, code, v6), 0)
    walk.give(icmp_error(kind, code, sent, rest=rest))
    expected = told if recverr else plain if connected else ""
    assert walk.ok("poll", socket) == int(bool(expected))
    assert walk.fails("recvmsg", socket, 99, 0, 0) == (expected or "EAGAIN")
    assert walk.fails("recvmsg", socket, 99, 0, 0) == "EAGAIN"
    if not recverr or not expected:
        assert walk.fails("recvmsg", socket, 99, 99, so.MSG_ERRQUEUE) == "EAGAIN"
        return
    data, items, flags, address = walk.recvmsg(socket, flags=so.MSG_ERRQUEUE)
    assert (data, flags, address) == (b"hello", so.MSG_ERRQUEUE, (peer, 9))
    assert isinstance(items, list)
    ((level, option, control),) = items
    assert (level, option) == ((IP6, so.IPV6_RECVERR) if v6 else (IP, so.IP_RECVERR))
    number, origin, seen_kind, seen_code, info, _ = struct.unpack_from("=IBBBxII", control)
    expected_info = rest >> 24 if kind == 12 else rest
    assert (named(number), origin, seen_kind, seen_code, info) == (told, 3 if v6 else 2, kind, code, expected_info)
    family, offender = struct.unpack_from("=H6x16s" if v6 else "=H2x4s", control, 16)
    assert (family, offender) == (so.AF_INET6 if v6 else so.AF_INET, parse_address(peer))
    assert len(control) == 16 + (28 if v6 else 16)
    walk.side.call("setsockopt", socket, so.SOL_SOCKET, so.SO_REUSEADDR, 0)


def test_u5_once_and_before_what_is_queued(walk: Walk) -> None:
    socket = walk.bound(HOST)
    walk.ok("connect", socket, PEER, 9)
    walk.arrives(sport=9)
    for report in ("send", "recvmsg", "SO_ERROR"):
        walk.ok("send", socket, "x")
        (sent,) = walk.taken()
        walk.give(icmp_error(3, 3, sent))
        if report == "send":
            assert walk.fails("send", socket, "x") == "ECONNREFUSED"
            assert walk.taken() == []
        elif report == "recvmsg":
            assert walk.fails("recvmsg", socket, 9, 0, 0) == "ECONNREFUSED"
        else:
            assert walk.get(socket, so.SOL_SOCKET, so.SO_ERROR) == errno.ECONNREFUSED
        assert walk.get(socket, so.SOL_SOCKET, so.SO_ERROR) == 0
    assert walk.heard() == {socket: 1}


def test_u5_a_sibling_sees_nothing(walk: Walk) -> None:
    one, two = walk.bound(HOST, "A-"), walk.bound(HOST, "A-")
    walk.ok("connect", one, PEER, 9)
    walk.ok("connect", two, PEER, 10)
    walk.ok("send", one, "x")
    (sent,) = walk.taken()
    walk.give(icmp_error(3, 3, sent))
    assert walk.fails("recvmsg", two, 9, 0, 0) == "EAGAIN"
    assert walk.fails("recvmsg", one, 9, 0, 0) == "ECONNREFUSED"


def test_u5_too_big_by_our_own_word(walk: Walk) -> None:
    socket = walk.socket()
    walk.set(socket, IP, so.IP_RECVERR, 1)
    walk.set(socket, IP, so.IP_MTU_DISCOVER, so.IP_PMTUDISC_DO)
    walk.ok("connect", socket, "198.18.0.99", 9)
    assert walk.fails("send", socket, "x" * 1473) == "EMSGSIZE"
    assert walk.fails("recvmsg", socket, 9, 0, 0) == "EAGAIN"
    data, items, flags, address = walk.recvmsg(socket, flags=so.MSG_ERRQUEUE)
    control = struct.pack("=IBBBxII", errno.EMSGSIZE, 1, 0, 0, 1500, 0) + bytes(16)
    assert (data, items, flags, address) == (b"", [(IP, so.IP_RECVERR, control)], so.MSG_ERRQUEUE, ("198.18.0.99", 9))


def test_u5_several_in_the_queue(walk: Walk) -> None:
    """Each read of the queue leaves the next one's errno pending; after the last there is none."""
    socket = walk.socket()
    walk.set(socket, IP, so.IP_RECVERR, 1)
    sent = []
    for port in (9, 10):
        walk.ok("sendto", socket, "78", PEER, port)
        sent += walk.taken()
    walk.give(icmp_error(3, 3, sent[0]))
    walk.give(icmp_error(3, 1, sent[1]))
    assert walk.recvmsg(socket, flags=so.MSG_ERRQUEUE)[3] == (PEER, 9)
    assert walk.fails("recvmsg", socket, 9, 0, 0) == "EHOSTUNREACH"
    assert walk.recvmsg(socket, flags=so.MSG_ERRQUEUE)[3] == (PEER, 10)
    assert walk.fails("recvmsg", socket, 9, 0, 0) == "EAGAIN"


# -- U6 ---------------------------------------------------------------------------------------------------------------


def test_u6_who_hears_a_broadcast(walk: Walk) -> None:
    hears = [walk.bound("0.0.0.0", "AP"), walk.bound("0.0.0.0", "AP", uid=10), walk.bound("::", "AP"),
             walk.bound("0.0.0.0", "AP", device="d0")]  # fmt: skip
    subnet, everywhere = walk.bound(BROADCAST, "AP"), walk.bound("255.255.255.255", "AP")
    walk.bound(HOST, "AP")
    walk.bound("0.0.0.0", "AP", device="lo")
    walk.bound("::", "AP", v6only=True)
    elsewhere, peer = walk.bound("0.0.0.0", "AP"), walk.bound(BROADCAST, "AP")
    walk.ok("connect", elsewhere, PEER, 9)
    walk.ok("connect", peer, PEER, 9)
    assert walk.winners(BROADCAST) == sorted([*hears, subnet])
    assert walk.winners("255.255.255.255") == sorted([*hears, everywhere])
    assert walk.winners(BROADCAST, sport=9) == sorted([*hears, subnet, peer])


def test_u6_sending(walk: Walk) -> None:
    socket, listener = walk.bound("0.0.0.0", port=7001), walk.bound("0.0.0.0")
    for address in (BROADCAST, "255.255.255.255", "127.255.255.255"):
        assert (
            walk.fails("sendto", socket, "78", address, PORT) == walk.fails("connect", socket, address, 9) == "EACCES"
        )
    assert walk.taken() == []
    walk.set(socket, so.SOL_SOCKET, so.SO_BROADCAST, 1)
    for address in (BROADCAST, "255.255.255.255"):
        walk.ok("sendto", socket, "78", address, PORT)
        (packet,) = walk.taken()
        assert (packet[12:16], packet[16:20], packet[8]) == (parse_address(HOST), parse_address(address), 64)
        assert walk.heard() == {listener: 1}
    walk.ok("sendto", socket, "78", "127.255.255.255", PORT)
    assert walk.taken() == []
    assert walk.recvmsg(listener)[3] == ("127.0.0.1", 7001)


def test_u6_answers_of_a_socket_that_is_bound_to_many(walk: Walk) -> None:
    for address in (BROADCAST, GROUP):
        socket = walk.bound(address)
        walk.ok("sendto", socket, "78", PEER, 9)
        (packet,) = walk.taken()
        assert packet[12:16] == parse_address(HOST)
        walk.ok("connect", socket, PEER, 9)
        assert walk.name(socket) == (address, PORT)
        walk.ok("close", socket)
        walk.open.remove(socket)


# -- U7 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["A-", "-P", "AP"])
@pytest.mark.parametrize(
    ("group", "other", "anywhere", "unicast"),
    [(GROUP, OTHER_GROUP, "0.0.0.0", HOST), (GROUP6, "ff05::1:2", "::", HOST6)],
)
def test_u7_who_hears_a_group(walk: Walk, options: str, group: str, other: str, anywhere: str, unicast: str) -> None:
    members = [walk.bound(anywhere, options), walk.bound(anywhere, options), walk.bound(group, options)]
    for member in members:
        assert joined(walk, member, group) == "ok"
    strangers = [walk.bound(anywhere, options), walk.bound(group, options)]
    elsewhere = walk.bound(anywhere, options)
    joined(walk, elsewhere, group, LO)
    joined(walk, elsewhere, other)
    walk.bound(other, options)
    walk.bound(unicast, options)
    walk.bound(anywhere, options, device="lo")
    both = [*members, *strangers, elsewhere]
    if ":" not in group:
        walk.bound("::", options)  # of an IPv6 socket IP_MULTICAST_ALL is off at first
        dual = walk.bound("::", options)
        assert joined(walk, dual) == "ok"
        members.append(dual)
        both.append(dual)
        walk.bound("::", options, v6only=True)
    else:
        members.append(elsewhere)  # IPv6 asks only whether the socket is in the group, not on which device
    assert walk.winners(group) == sorted(both)
    for socket in (*strangers, elsewhere):
        level, option = (IP6, so.IPV6_MULTICAST_ALL) if ":" in group else (IP, so.IP_MULTICAST_ALL)
        assert walk.set(socket, level, option, 0) == "ok"
    assert walk.winners(group) == sorted(members)


@pytest.mark.parametrize(("group", "anywhere"), [(GROUP, "0.0.0.0"), (GROUP6, "::")])
def test_u7_the_gate(walk: Walk, group: str, anywhere: str) -> None:
    socket = walk.bound(anywhere)
    assert walk.winners(group) == []
    member = walk.socket(v6=":" in group)
    joined(walk, member, group, LO)
    assert walk.winners(group) == []
    joined(walk, member, group, D0)
    assert walk.winners(group) == [socket]
    walk.ok("close", member)
    walk.open.remove(member)
    assert walk.winners(group) == []
    assert walk.winners("ff02::1" if ":" in group else ALL) == [socket]
    assert walk.taken() == []  # no error for many


def test_u7_connected(walk: Walk) -> None:
    wild, bound = walk.bound("0.0.0.0", "AP"), walk.bound(GROUP, "AP")
    joined(walk, wild)
    for socket in (wild, bound):
        walk.ok("connect", socket, PEER, 9)
    assert walk.winners(GROUP, sport=9) == [bound]
    assert walk.winners(GROUP, sport=10) == []
    assert walk.winners(HOST, sport=9) == [wild]


def test_u7_unicast_to_sockets_of_groups(walk: Walk) -> None:
    walk.bound(GROUP, "AP")
    wild = [walk.bound("0.0.0.0", "AP") for _ in range(2)]
    assert len(walk.winners(HOST)) == 1
    to_group = walk.bound(HOST, "AP", port=7001)
    walk.ok("connect", to_group, GROUP, 9)
    walk.arrives(HOST, sport=9, src=PEER, port=7001)
    assert walk.heard() == {}
    assert wild


@pytest.mark.parametrize(("group", "anywhere"), [(GROUP, "0.0.0.0"), (GROUP6, "::")])
@pytest.mark.parametrize("ttl", [None, 0, 9])
@pytest.mark.parametrize("loop", [True, False])
def test_u7_sending(walk: Walk, group: str, anywhere: str, ttl: int | None, loop: bool) -> None:
    v6 = ":" in group
    if v6 and ttl == 0 and not loop:
        return  # Linux sends that out, with a hop limit of zero; netemu does not
    member, sender = walk.bound(anywhere), walk.socket(v6=v6)
    joined(walk, member, group)
    level = IP6 if v6 else IP
    walk.set(member, level, so.IPV6_MULTICAST_LOOP if v6 else so.IP_MULTICAST_LOOP, 0)  # of no effect here
    if not loop:
        walk.set(sender, level, so.IPV6_MULTICAST_LOOP if v6 else so.IP_MULTICAST_LOOP, 0)
    if ttl is not None:
        walk.set(sender, level, so.IPV6_MULTICAST_HOPS if v6 else so.IP_MULTICAST_TTL, ttl)
    walk.ok("sendto", sender, "78", group, PORT)
    sent = walk.taken()
    assert len(sent) == (0 if ttl == 0 else 1)
    if sent:
        assert sent[0][7 if v6 else 8] == (1 if ttl is None else ttl)
        assert v6 or sent[0][12:16] == parse_address(HOST)
    assert walk.heard() == ({member: 1} if loop else {})


def test_u7_out_of_lo(walk: Walk) -> None:
    """By IP_MULTICAST_IF or by the socket's address; it arrives whatever IP_MULTICAST_LOOP says."""
    member = walk.bound("0.0.0.0")
    joined(walk, member, GROUP, LO)
    chosen, bound = walk.socket(), walk.bound("127.0.0.1", port=0)
    assert walk.set(chosen, IP, so.IP_MULTICAST_IF, parse_address("127.0.0.1")) == "ok"
    walk.set(chosen, IP, so.IP_MULTICAST_LOOP, 0)
    for sender in (chosen, bound):
        walk.ok("sendto", sender, "78", GROUP, PORT)
        assert walk.taken() == []
        assert walk.recvmsg(member)[3] == ("127.0.0.1", walk.name(sender)[1])


def test_u7_errors(walk: Walk) -> None:
    socket = walk.socket()

    def call(option: int, *parts: str) -> str:
        return walk.set(socket, IP, option, b"".join(map(parse_address, parts)))

    add, drop = so.IP_ADD_MEMBERSHIP, so.IP_DROP_MEMBERSHIP
    assert [call(add, GROUP, where) for where in ("0.0.0.0", "0.0.0.0", HOST, "127.0.0.1", "198.18.0.77")] == [
        "ok", "EADDRINUSE", "EADDRINUSE", "ok", "ENODEV",
    ]  # fmt: skip
    assert [call(add, HOST, "0.0.0.0"), call(add, GROUP), call(add, ALL, "0.0.0.0")] == ["EINVAL", "EINVAL", "ok"]
    assert joined(walk, socket, GROUP, 77) == "ENODEV"
    assert joined(walk, socket, GROUP, 77, drop) == "EADDRNOTAVAIL"
    assert [call(drop, GROUP, "198.18.0.77"), call(drop, OTHER_GROUP, "0.0.0.0")] == ["EADDRNOTAVAIL"] * 2
    assert joined(walk, socket, GROUP, D0, drop) == "ok"
    assert joined(walk, socket, GROUP, D0, drop) == "EADDRNOTAVAIL"
    many = walk.socket()
    answers = [joined(walk, many, f"239.1.2.{n}") for n in range(1, 23)]
    assert answers == ["ok"] * 20 + ["ENOBUFS"] * 2


def test_u7_errors_of_ipv6(walk: Walk) -> None:
    socket = walk.socket(v6=True)
    assert [joined(walk, socket, GROUP6, n) for n in (0, 0, LO, 77)] == ["ok", "EADDRINUSE", "ok", "ENODEV"]
    assert joined(walk, socket, HOST6, 0) == "EINVAL"
    assert joined(walk, socket, f"::ffff:{GROUP}", 0) == "EINVAL"
    leave = so.IPV6_LEAVE_GROUP
    assert joined(walk, socket, GROUP6, 77, leave) == joined(walk, socket, "ff05::9", D0, leave) == "EADDRNOTAVAIL"
    assert [joined(walk, socket, GROUP6, n, leave) for n in (D0, LO, LO)] == ["ok", "ok", "EADDRNOTAVAIL"]
    assert joined(walk, socket, GROUP) == "ok"  # an IPv6 socket may join IPv4's groups


def test_u7_sources(walk: Walk) -> None:
    socket, other = walk.bound("0.0.0.0", "A-"), walk.bound("0.0.0.0", "A-")
    good, bad = PEER, "198.18.0.9"

    def call(option: int, source: str) -> str:
        return walk.set(socket, IP, option, b"".join(map(parse_address, (GROUP, "0.0.0.0", source))))

    include, leave = so.IP_ADD_SOURCE_MEMBERSHIP, so.IP_DROP_SOURCE_MEMBERSHIP
    assert [call(include, good), call(include, good), call(so.IP_BLOCK_SOURCE, bad)] == [
        "ok",
        "EADDRNOTAVAIL",
        "EINVAL",
    ]
    assert walk.winners(GROUP, src=good) == sorted([socket, other])
    assert walk.winners(GROUP, src=bad) == []  # the interface itself lets nobody else in
    joined(walk, other)
    assert walk.winners(GROUP, src=bad) == [other]
    assert [call(leave, bad), call(leave, good), call(leave, good)] == ["EADDRNOTAVAIL", "ok", "EINVAL"]
    assert joined(walk, socket) == "ok"
    assert [call(so.IP_BLOCK_SOURCE, bad), call(so.IP_BLOCK_SOURCE, bad)] == ["ok", "EADDRNOTAVAIL"]
    assert walk.winners(GROUP, src=bad) == [other]
    assert call(so.IP_UNBLOCK_SOURCE, bad) == "ok"
    assert walk.winners(GROUP, src=bad) == sorted([socket, other])
