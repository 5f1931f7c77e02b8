"""The firewall: rules read and refused, the first match decides, states, rejections, counters."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_bench import A2, A6, B6, FAR, LAN, R_LAN, R_WAN, WAN, A, B, RouterBench
from stack_bench import FAMILIES, SECOND, echo, icmp_message, tcp, udp

from netemu.reasons import Drop, Match, RouterDrop, RouterMatch
from netemu.router.firewall import Firewall, FirewallError, parse_rule
from netemu.router.rows import firewall_rows, session_rows
from netemu.router.transit import Transit, read
from netemu.wire import icmp
from netemu.wire.fragments import cut
from netemu.wire.ip import IpPacket, text
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, RST, SYN

STATEFUL = ("allow state established,related", "allow in lan", "policy deny")


# -- which rule matches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "matching", "other"),
    [
        ("deny in lan", udp(src=A, dst=B), None),
        ("deny in wan", None, udp(src=A, dst=B)),
        ("deny out wan", udp(src=A, dst=B), None),
        ("deny proto udp", udp(src=A, dst=B), tcp(src=A, dst=B)),
        ("deny proto tcp", tcp(src=A, dst=B), echo(src=A, dst=B)),
        ("deny proto icmp", echo(src=A, dst=B), echo(version=6, src=A6, dst=B6)),
        ("deny proto icmpv6", echo(version=6, src=A6, dst=B6), echo(src=A, dst=B)),
        ("deny proto 17", udp(src=A6, dst=B6), tcp(src=A, dst=B)),
        ("deny src 10.0.1.2", udp(src=A, dst=B), udp(src=A2, dst=B)),
        ("deny src 10.0.0.0/8", udp(src=A, dst=B), udp(src=A6, dst=B6)),
        ("deny dst 198.51.100.0/24", udp(src=A, dst=FAR), udp(src=A, dst=B)),
        ("deny dst 2001:db8::/32", udp(src=A6, dst=B6), udp(src=A, dst=B)),
        ("deny proto tcp dport 80", tcp(src=A, dst=B, dport=80), tcp(src=A, dst=B, dport=81)),
        ("deny proto udp dport 80", udp(src=A, dst=B, dport=80), tcp(src=A, dst=B, dport=80)),
        ("deny proto tcp dport 22,8000-8080", tcp(src=A, dst=B, dport=8080), tcp(src=A, dst=B, dport=8081)),
        ("deny proto tcp sport 22,8000-8080", tcp(src=A, dst=B, sport=22), tcp(src=A, dst=B, sport=7999)),
        ("deny state new", tcp(SYN, src=A, dst=B), icmp_message(0, src=A, dst=B)),
        ("deny state invalid", tcp(RST, src=A, dst=B), tcp(SYN, src=A, dst=B)),
        ("deny out self", None, udp(src=A, dst=B)),
    ],
)
def test_what_a_rule_matches(rule: str, matching: bytes | None, other: bytes | None) -> None:
    for packet, reason in ((matching, RouterDrop.DENIED), (other, RouterMatch.FORWARDED)):
        if packet is not None:
            assert RouterBench(firewall=[rule]).give(packet) is reason


def test_the_first_match_decides_and_is_counted() -> None:
    bench = RouterBench(firewall=["allow proto udp dport 53", "deny proto udp", "deny proto udp dport 53"])
    assert bench.give(udp(b"1234", src=A, dst=B, dport=53)) is RouterMatch.FORWARDED
    assert bench.give(udp(src=A, dst=B, dport=54)) is RouterDrop.DENIED
    assert bench.give(udp(src=A, dst=B, dport=55)) is RouterDrop.DENIED
    assert bench.give(tcp(src=A, dst=B)) is RouterMatch.FORWARDED
    assert [(row.number, row.rule, row.packets, row.bytes) for row in firewall_rows(bench.router)] == [
        (1, "allow proto udp dport 53", 1, 32),
        (2, "deny proto udp", 2, 56),
        (3, "deny proto udp dport 53", 0, 0),
        (0, "policy allow", 1, 40),
    ]


@given(
    st.ip_addresses(), st.ip_addresses(), st.integers(0, 128), st.lists(st.integers(0, 65535), min_size=2, max_size=6)
)
def test_prefixes_and_ports_as_a_slow_comparison_has_them(
    of: object, address: object, length: int, numbers: list[int]
) -> None:
    network = ip_network((str(of), min(length, ip_address(str(of)).max_prefixlen)), strict=False)
    pairs = [sorted(pair) for pair in zip(numbers[::2], numbers[1::2], strict=False)]
    ports = ",".join(f"{low}-{high}" for low, high in pairs)
    rule = parse_rule(f"deny proto udp src {network} dport {ports}")
    src, port = ip_address(str(address)), numbers[-1]
    dst = "192.0.2.2" if src.version == 4 else "2001:db8::2"
    raw = udp(src=str(src), dst=dst, dport=port)
    ip = read(raw)
    assert isinstance(ip, IpPacket)
    transit = Transit(Packet(raw), ip, memoryview(bytearray(raw)), 0)
    expected = src.version == network.version and src in network and any(low <= port <= high for low, high in pairs)
    assert rule.matches(transit, "lan", "wan", "new") == expected


# -- states -------------------------------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("kind", ["tcp", "udp", "echo"])
def test_who_was_asked_may_answer_and_nobody_else_may_come_in(version: int, kind: str) -> None:
    bench = RouterBench(firewall=STATEFUL)
    a, b, other = (A, B, FAR) if version == 4 else (A6, B6, "2001:db8:ffff::7")

    def packet(src: str, dst: str, back: bool) -> bytes:
        if kind == "tcp":
            if back:
                return tcp(SYN | ACK, src=src, dst=dst, sport=80, dport=40000)
            return tcp(SYN, src=src, dst=dst)
        if kind == "udp":
            return udp(src=src, dst=dst, sport=7 if back else 40000, dport=40000 if back else 7)
        if back:
            return icmp_message(icmp.ECHO_REPLY if version == 4 else icmp.V6_ECHO_REPLY, rest=0x10001, src=src, dst=dst)
        return echo(version=version, src=src, dst=dst)

    assert bench.quiet(packet(b, a, True), WAN) is RouterDrop.DENIED
    sent = bench.passes(packet(a, b, False))
    bench.passes(packet(b, a, True), WAN)
    assert bench.quiet(packet(other, a, True), WAN) is RouterDrop.DENIED
    assert bench.quiet(packet(b, a, False), WAN) is RouterDrop.DENIED
    error = icmp_message(3 if version == 4 else 1, 1, body=sent.raw, src=other, dst=a)
    assert bench.give(error, WAN) is RouterMatch.FORWARDED  # related
    bench.packets()
    forged = udp(src=a, dst=other, sport=9)
    error = icmp_message(3 if version == 4 else 1, 1, body=forged, src=other, dst=a)
    assert bench.quiet(error, WAN) is RouterDrop.DENIED


def test_new_is_new_until_somebody_answers() -> None:
    """As with nf_conntrack: the second SYN is new as well."""
    bench = RouterBench(firewall=["deny state established"])
    for _ in range(2):
        bench.passes(tcp(SYN, src=A, dst=B))
    assert bench.quiet(tcp(SYN | ACK, src=B, dst=A, sport=80, dport=40000), WAN) is RouterDrop.DENIED


def test_what_is_denied_is_not_tracked() -> None:
    bench = RouterBench(firewall=["deny in lan", "allow state established", "policy deny"])
    assert bench.quiet(udp(src=A, dst=B)) is RouterDrop.DENIED
    assert session_rows(bench.router, bench.now) == []
    assert bench.quiet(udp(src=B, dst=A, sport=7, dport=40000), WAN) is RouterDrop.DENIED


def test_a_session_is_forgotten_when_it_is_idle() -> None:
    bench = RouterBench(firewall=STATEFUL)
    back = udp(src=B, dst=A, sport=7, dport=40000)
    bench.passes(udp(src=A, dst=B))
    for _ in range(3):  # without NAT either side keeps it
        bench.wait(200 * SECOND)
        bench.passes(back, WAN)
    (row,) = session_rows(bench.router, bench.now)
    assert (row.protocol, row.src, row.dst, row.state, row.expires_s) == ("udp", f"{A}:40000", f"{B}:7", "", 300.0)
    bench.wait(301 * SECOND)
    assert bench.quiet(back, WAN) is RouterDrop.DENIED


def test_fragments_are_judged_by_the_ports_of_the_whole_packet() -> None:
    bench = RouterBench(firewall=["allow proto udp dport 53", "policy deny"])
    for dport, reason in ((53, RouterMatch.FORWARDED), (54, RouterDrop.DENIED)):
        raw = udp(bytes(600), src=A, dst=B, dport=dport)
        pieces = list(cut(raw[:6] + b"\0\0" + raw[8:10] + b"\0\0" + raw[12:], 400))
        assert [bench.give(piece) for piece in pieces[::-1]] == [Match.FRAGMENT, reason]


def test_fragments_for_somebody_else_that_never_become_whole_are_not_told_of() -> None:
    """Only the destination sends time exceeded (RFC 792)."""
    bench = RouterBench(firewall=["policy allow"])
    raw = udp(bytes(600), src=A, dst=B)
    first, *_ = cut(raw[:6] + b"\0\0" + raw[8:10] + b"\0\0" + raw[12:], 400)
    assert bench.quiet(first) is Match.FRAGMENT
    bench.wait(31 * SECOND)
    assert bench.packets() == []
    assert bench.router.counters[Drop.FRAGMENT_TIMEOUT] == 1


# -- rejections and the router itself ----------------------------------------------------------------------------------


@FAMILIES
def test_reject_is_a_rst_for_tcp_and_administratively_prohibited_for_others(version: int) -> None:
    bench = RouterBench(firewall=["reject out wan"])
    a, b = (A, B) if version == 4 else (A6, B6)
    assert bench.give(tcp(SYN, 1000, src=a, dst=b)) is RouterDrop.REJECTED
    port, seen = bench.one()
    assert (port, text(seen.ip.src), text(seen.ip.dst)) == (LAN, b, a)
    assert (seen.segment.flags, seen.segment.ack, seen.sport, seen.dport) == (RST | ACK, 1001, 80, 40000)
    assert bench.quiet(tcp(RST, 1000, src=a, dst=b)) is RouterDrop.REJECTED
    packet = udp(b"data", src=a, dst=b)
    assert bench.give(packet) is RouterDrop.REJECTED
    _, seen = bench.one()
    assert seen.message[:2] == ((icmp.UNREACHABLE, icmp.PROHIBITED) if version == 4 else (icmp.V6_UNREACHABLE, 1))
    assert seen.message.body == packet
    assert text(seen.ip.src) == (R_LAN if version == 4 else "2001:db8:1::1")


def test_the_policy_may_reject_too() -> None:
    bench = RouterBench(firewall=["policy reject"])
    assert bench.answer(udp(src=A, dst=B)).message.code == icmp.PROHIBITED


def test_behind_nat_a_rst_comes_from_the_address_that_was_asked() -> None:
    bench = RouterBench(nat={"forward": [f"tcp:8080 -> {A}:80"]}, firewall=["reject in wan proto tcp dport 80"])
    assert bench.give(tcp(SYN, src=FAR, dst=R_WAN, sport=999, dport=8080), WAN) is RouterDrop.REJECTED
    port, seen = bench.one()
    assert (port, text(seen.ip.src), seen.sport, text(seen.ip.dst), seen.dport) == (WAN, R_WAN, 8080, FAR, 999)


def test_with_nat_rules_speak_of_inside_addresses() -> None:
    bench = RouterBench(nat={}, firewall=["deny src 10.0.1.3", "allow state established", "deny in wan"])
    bench.passes(udp(src=A, dst=FAR))
    assert bench.quiet(udp(src=A2, dst=FAR)) is RouterDrop.DENIED
    bench.passes(udp(src=FAR, dst=R_WAN, sport=7, dport=40000), WAN)


def test_the_router_itself_is_spared_but_for_rules_about_it() -> None:
    bench = RouterBench(firewall=["policy deny"])
    assert bench.give(echo(src=A, dst=R_LAN)) is Match.ICMP_ECHO
    bench = RouterBench(firewall=["deny proto icmp"])
    assert bench.give(echo(src=A, dst=R_LAN)) is Match.ICMP_ECHO
    bench = RouterBench(firewall=["reject in wan out self", "deny in lan out self proto icmp"])
    assert bench.quiet(echo(src=A, dst=R_LAN)) is RouterDrop.DENIED
    assert bench.give(udp(src=A, dst=R_LAN)) is Drop.UDP_NO_SOCKET
    bench.packets()
    assert bench.give(echo(src=B, dst=R_WAN), WAN) is RouterDrop.REJECTED
    assert bench.one()[1].message.code == icmp.PROHIBITED


def test_a_router_behind_a_firewall_is_still_seen_by_traceroute() -> None:
    """TTL comes before the firewall, as on Linux."""
    bench = RouterBench(firewall=["policy deny"])
    assert bench.give(udp(src=A, dst=B, ttl=1)) is RouterDrop.TTL_EXPIRED


def test_tcp_states_without_nat() -> None:
    bench = RouterBench(firewall=STATEFUL)
    bench.passes(tcp(SYN, src=A, dst=B))
    bench.passes(tcp(SYN | ACK, src=B, dst=A, sport=80, dport=40000), WAN)
    bench.passes(tcp(ACK, src=A, dst=B))
    bench.passes(tcp(FIN | ACK, src=B, dst=A, sport=80, dport=40000), WAN)
    assert [row.state for row in session_rows(bench.router, bench.now)] == ["FIN_WAIT"]


# -- words --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "begins with allow, deny or reject, not ''"),
        ("drop in lan", "begins with allow, deny or reject, not 'drop'"),
        ("deny from lan", "'from' is none of in, out, proto"),
        ("deny in", "something has to follow 'in'"),
        ("deny in lan in wan", "in is there twice"),
        ("deny proto gre", "proto 'gre': give tcp, udp, icmp, icmpv6 or a number"),
        ("deny proto 256", "proto '256': give"),
        ("deny src nobody", "nobody"),
        ("deny src 10.0.0.1/8", "host bits"),
        ("deny dport 80", "dport needs 'proto tcp' or 'proto udp'"),
        ("deny proto icmp dport 80", "dport needs 'proto tcp' or 'proto udp'"),
        ("deny proto tcp dport 80-", "dport '80-': give ports from 0 to 65535"),
        ("deny proto tcp dport 90-80", "dport '90-80': give ports"),
        ("deny proto tcp sport 65536", "sport '65536': give ports"),
        ("deny proto tcp sport 1,,2", "sport '': give ports"),
        ("deny state open", "state 'open': give one or more of new,established,related,invalid"),
        ("policy", "give 'policy allow'"),
        ("policy drop", "give 'policy allow'"),
        ("policy deny in lan", "give 'policy allow'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(line: str, says: str) -> None:
    with pytest.raises(FirewallError, match=re.escape(says)) as caught:
        Firewall([line])
    assert str(caught.value).startswith(f"firewall rule {line!r}: ")
    assert "\n" not in str(caught.value)


def test_one_policy_and_known_ports() -> None:
    with pytest.raises(FirewallError, match="the policy is there twice"):
        Firewall(["policy deny", "policy allow"])
    with pytest.raises(FirewallError, match="router r1 has no port 'dmz'; it has lan, wan"):
        RouterBench(firewall=["deny out dmz"])


PIECES = ["allow", "deny", "in", "out", "proto", "tcp", "80", "-", ",", "state", "new", "src", "10.0.0.0/8"]


@given(st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=7).map(" ".join))
def test_any_text_is_a_rule_or_an_error(line: str) -> None:
    try:
        rule = parse_rule(line)
    except FirewallError:
        return
    assert parse_rule(rule.text) == rule
