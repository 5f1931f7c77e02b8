"""NAT: what goes out and comes back, mapping and filtering behaviours, ports, hairpinning, forwards, fragments, ICMP errors."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_bench import A2, FAR, LAN, R_WAN, WAN, A, B, RouterBench
from stack_bench import SECOND, Seen, echo, icmp_message, ip, take_apart, tcp, udp

from netemu.reasons import Match, RouterDrop, RouterMatch
from netemu.router.nat_config import ADDRESS, ADDRESS_AND_PORT, BEHAVIOURS, ENDPOINT
from netemu.router.rows import nat_rows, session_rows
from netemu.wire import icmp, ipv4
from netemu.wire.fragments import Fragments, cut
from netemu.wire.ip import ICMP, UDP, IpPacket, parse_address, text
from netemu.wire.output import Template
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, RST, SYN, Options, Segment

OTHER = "198.51.100.8"


def asks(bench: RouterBench, dst: str = FAR, dport: int = 53, sport: int = 5000, src: str = A) -> int:
    """An inside host sends a datagram; the outside port that it comes from."""
    seen = bench.passes(udp(b"ask", src=src, dst=dst, sport=sport, dport=dport))
    assert (text(seen.ip.src), text(seen.ip.dst), seen.dport) == (R_WAN, dst, dport)
    return seen.sport


def reply(port: int, src: str = FAR, sport: int = 53) -> bytes:
    return udp(b"reply", src=src, dst=R_WAN, sport=sport, dport=port)


def reaches(bench: RouterBench, packet: bytes) -> bool:
    """Does a packet from outside get to an inside host?"""
    is_through = bench.give(packet, WAN) is RouterMatch.FORWARDED
    ports = [port for port, _ in bench.packets()]
    assert ports == ([LAN] if is_through else []) or not is_through
    return is_through


def echo_id(seen: Seen) -> int:
    return seen.message.rest >> 16


# -- there and back -----------------------------------------------------------------------------------------------------


def outgoing(kind: str, src: str, sport: int, dst: str, dport: int, data: bytes) -> bytes:
    if kind == "tcp":
        return tcp(SYN, 7, data=data, src=src, dst=dst, sport=sport, dport=dport)
    if kind == "udp":
        return udp(data, src=src, dst=dst, sport=sport, dport=dport)
    return echo(data, src=src, dst=dst, rest=sport << 16 | dport)


def incoming(kind: str, sent: Seen, data: bytes) -> bytes:
    """What the remote end answers to a packet that it got."""
    src, dst = text(sent.ip.dst), text(sent.ip.src)
    if kind == "tcp":
        return tcp(SYN | ACK, 9, 8, data, src=src, dst=dst, sport=sent.dport, dport=sent.sport)
    if kind == "udp":
        return udp(data, src=src, dst=dst, sport=sent.dport, dport=sent.sport)
    return icmp_message(icmp.ECHO_REPLY, rest=sent.message.rest, body=data, src=src, dst=dst)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["tcp", "udp", "icmp"]),
            st.sampled_from([A, A2]),
            st.integers(0, 65535),
            st.sampled_from([FAR, OTHER, B]),
            st.integers(0, 65535),
        ),
        max_size=12,
    ),
    st.sampled_from(BEHAVIOURS),
    st.sampled_from(BEHAVIOURS),
    st.booleans(),
    st.booleans(),
    st.binary(max_size=30),
)
def test_what_comes_back_reaches_who_asked(
    flows: list[tuple[str, str, int, str, int]],
    mapping: str,
    filtering: str,
    preservation: bool,
    parity: bool,
    data: bytes,
) -> None:
    """All flows are open at once; checksums of all packets are verified by take_apart."""
    config: dict[str, object] = {"mapping": mapping, "filtering": filtering}
    bench = RouterBench(nat=config | {"port_preservation": preservation, "port_parity": parity})
    sent = []
    for kind, src, sport, dst, dport in flows:
        out = bench.passes(outgoing(kind, src, sport, dst, dport, data))
        assert text(out.ip.src) == R_WAN
        assert parity is False or kind == "icmp" or out.sport % 2 == sport % 2
        if kind != "icmp" and sport:
            assert (out.sport < 1024) == (sport < 1024)  # RFC 4787 REQ-3 b
        sent.append((kind, src, sport, dst, dport, out))
    for kind, src, sport, dst, dport, out in sent:
        back = bench.passes(incoming(kind, out, data), WAN)
        assert (text(back.ip.src), text(back.ip.dst)) == (dst, src)
        if kind == "icmp":
            assert back.message.rest == sport << 16 | dport
            assert back.message.body == data
        else:
            assert (back.sport, back.dport) == (dport, sport)
            assert (back.segment.data() if kind == "tcp" else back.datagram.payload) == data


def test_no_two_inside_endpoints_share_an_outside_one() -> None:
    bench = RouterBench(nat={})
    ports = [asks(bench, src=src, sport=sport) for src in (A, A2) for sport in range(4000, 4050)]
    assert len(set(ports)) == 100
    assert ports[:50] == list(range(4000, 4050))  # RFC 4787 4.2.1: kept where they are free


def test_the_same_seed_makes_the_same_choices() -> None:
    def ports(seed: int) -> list[int]:
        bench = RouterBench(nat={"port_preservation": False}, seed=seed)
        return [asks(bench, sport=sport) for sport in range(4000, 4020)]

    assert ports(1) == ports(1) != ports(2)


# -- mapping and filtering ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "same_address", "same_port"),
    [(ENDPOINT, True, True), (ADDRESS, False, True), (ADDRESS_AND_PORT, False, False)],
)
def test_for_whom_an_endpoint_keeps_its_port(mapping: str, same_address: bool, same_port: bool) -> None:
    """RFC 4787 4.1: to another address, and to another port of the same address."""
    bench = RouterBench(nat={"mapping": mapping})
    first = asks(bench)
    assert (asks(bench, dport=54) == first) == same_port
    assert (asks(bench, dst=OTHER) == first) == same_address
    assert asks(bench) == first
    assert {row.remote for row in nat_rows(bench.router)} == {
        ENDPOINT: {"*"},
        ADDRESS: {FAR, OTHER},
        ADDRESS_AND_PORT: {f"{FAR}:53", f"{FAR}:54", f"{OTHER}:53"},
    }[mapping]


@pytest.mark.parametrize("mapping", BEHAVIOURS)
@pytest.mark.parametrize(
    ("filtering", "other_port", "other_address"),
    [(ENDPOINT, True, True), (ADDRESS, True, False), (ADDRESS_AND_PORT, False, False)],
)
def test_who_may_come_in(mapping: str, filtering: str, other_port: bool, other_address: bool) -> None:
    """RFC 4787 section 5."""
    bench = RouterBench(nat={"mapping": mapping, "filtering": filtering})
    port = asks(bench)
    assert reaches(bench, reply(port))
    assert reaches(bench, reply(port, sport=99)) == other_port
    assert reaches(bench, reply(port, src=OTHER)) == other_address
    assert bench.router.counters[RouterDrop.NAT_FILTERED] == 2 - other_port - other_address


@pytest.mark.parametrize("mapping", BEHAVIOURS)
def test_the_answer_to_who_came_in_leaves_by_the_port_that_it_came_by(mapping: str) -> None:
    bench = RouterBench(nat={"mapping": mapping, "filtering": ENDPOINT})
    port = asks(bench)
    assert reaches(bench, reply(port, src=OTHER, sport=99))
    assert asks(bench, dst=OTHER, dport=99) == port


def test_filtering_by_address_forgets_as_sessions_do() -> None:
    bench = RouterBench(nat={"filtering": ADDRESS, "udp_timeout": "100s"})
    port = asks(bench)
    bench.wait(60 * SECOND)
    assert asks(bench, dst=OTHER) == port
    bench.wait(60 * SECOND)
    assert not reaches(bench, reply(port))
    assert reaches(bench, reply(port, src=OTHER))


# -- ports --------------------------------------------------------------------------------------------------------------


def test_when_all_ports_are_taken() -> None:
    bench = RouterBench(nat={"port_range": "20000-20003", "udp_timeout": "100s"})
    assert {asks(bench, sport=sport) for sport in range(5000, 5004)} == {20000, 20001, 20002, 20003}
    packet = udp(src=A, dst=FAR, sport=5004)
    assert bench.quiet(packet) is RouterDrop.NAT_EXHAUSTED
    bench.wait(101 * SECOND)
    assert 20000 <= asks(bench, sport=5004) <= 20003


def test_a_range_across_the_well_known_ports_is_two() -> None:
    """RFC 4787 REQ-3 b."""
    bench = RouterBench(nat={"port_range": "1000-1030"})
    assert {asks(bench, sport=sport) for sport in range(5000, 5007)} == set(range(1024, 1031))


def test_parity_leaves_half_of_the_ports() -> None:
    bench = RouterBench(nat={"port_range": "20000-20003", "port_parity": True})
    assert {asks(bench, sport=sport) for sport in (5000, 5002)} == {20000, 20002}
    assert bench.quiet(udp(src=A, dst=FAR, sport=5004)) is RouterDrop.NAT_EXHAUSTED
    assert asks(bench, sport=5005) in (20001, 20003)


# -- protocols ----------------------------------------------------------------------------------------------------------


def test_a_datagram_without_checksum_goes_on_without() -> None:
    bench = RouterBench(nat={})
    bare = take_apart(udp(b"x", src=A, dst=FAR)).payload
    seen = bench.passes(ip(A, FAR, UDP, bare[:6] + b"\0\0" + bare[8:]))
    assert seen.payload[6:8] == b"\0\0"


def test_a_checksum_that_becomes_zero_is_sent_as_ones() -> None:
    """RFC 768: zero would mean that there is none."""
    bench = RouterBench(nat={})
    for word in range(65536):
        seen = udp(word.to_bytes(2, "big"), src=R_WAN, dst=FAR, sport=5000, dport=53)
        if seen[26:28] == b"\xff\xff":
            break
    sent = bench.passes(udp(word.to_bytes(2, "big"), src=A, dst=FAR, sport=5000, dport=53))
    assert sent.payload[6:8] == b"\xff\xff"


def test_an_echo_reply_of_zeros() -> None:
    """Identifier, sequence number and data zero: its checksum has to be the other zero (RFC 1624 section 3)."""
    bench = RouterBench(nat={"port_preservation": False})
    sent = bench.passes(echo(bytes(8), src=A, dst=FAR, rest=0))
    assert echo_id(sent) != 0
    back = bench.passes(icmp_message(icmp.ECHO_REPLY, rest=sent.message.rest, body=bytes(8), src=FAR, dst=R_WAN), WAN)
    assert back.payload == bytes(2) + b"\xff\xff" + bytes(12)


def test_a_super_packet_is_translated_whole() -> None:
    bench = RouterBench(nat={})
    data = Random(1).randbytes(20_000)
    bench.passes(tcp(SYN, src=A, dst=FAR))
    segment = Segment(1, 1, ACK, 100, (data,), len(data), 7, 8, Options(), 1400)
    template = Template(parse_address(A), parse_address(FAR), 40000, 80, 64, 0)
    seen = bench.passes(template.packet(segment, 9, True))
    assert text(seen.ip.src) == R_WAN
    assert seen.segment.data() == data


def test_what_cannot_be_translated() -> None:
    bench = RouterBench(nat={})
    assert bench.quiet(ip(A, FAR, 47, b"GRE")) is RouterDrop.NAT_PROTOCOL
    assert bench.quiet(icmp_message(13, src=A, dst=FAR)) is RouterDrop.NAT_PROTOCOL
    assert bench.quiet(tcp(RST, src=A, dst=FAR)) is RouterDrop.NAT_NO_MAPPING
    assert bench.quiet(icmp_message(icmp.ECHO_REPLY, src=A, dst=FAR)) is RouterDrop.NAT_NO_MAPPING
    assert bench.quiet(icmp_message(3, 1, body=b"?", src=A, dst=FAR)) is RouterDrop.NAT_NO_MAPPING
    assert nat_rows(bench.router) == []


def test_from_outside_nobody_knows_inside_addresses() -> None:
    bench = RouterBench(nat={})
    assert bench.quiet(udp(src=FAR, dst=A), WAN) is RouterDrop.NAT_PRIVATE


def test_ipv6_needs_no_translation() -> None:
    bench = RouterBench(nat={})
    packet = udp(b"x", src="2001:db8:1::2", dst="2001:db8:ffff::7")
    assert bench.passes(packet).payload == packet[40:]
    assert bench.passes(udp(src="2001:db8:ffff::7", dst="2001:db8:1::2"), WAN)


def test_the_router_itself_is_still_there() -> None:
    """Echo requests, and ports that stand for nobody."""
    bench = RouterBench(nat={})
    asks(bench)
    bench.passes(echo(src=A, dst=FAR, rest=0x12340001))
    assert bench.give(echo(src=FAR, dst=R_WAN, rest=0x12340001), WAN) is Match.ICMP_ECHO
    assert bench.one()[1].message.type == icmp.ECHO_REPLY
    assert bench.answer(udp(src=FAR, dst=R_WAN, dport=9), WAN).message.code == icmp.PORT
    assert bench.give(echo(src=A, dst=R_WAN), LAN) is Match.ICMP_ECHO


# -- hairpinning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filtering", BEHAVIOURS)
@pytest.mark.parametrize("mapping", [ENDPOINT, ADDRESS])
def test_inside_hosts_meet_outside(mapping: str, filtering: str) -> None:
    """RFC 4787 REQ-9 a: each sees the other's outside endpoint. Filtering is as for anybody outside."""
    bench = RouterBench(nat={"mapping": mapping, "filtering": filtering})
    one, two = asks(bench, sport=5000), asks(bench, sport=6000, src=A2)
    packet = udp(b"hello", src=A, dst=R_WAN, sport=5000, dport=two)
    reason = bench.give(packet)
    if filtering != ENDPOINT:
        assert reason is RouterDrop.NAT_FILTERED
        if mapping == ENDPOINT:  # the other one opens the way from its side, and its mapping is the same
            answer = udp(b"hello too", src=A2, dst=R_WAN, sport=6000, dport=one)
            assert bench.give(answer) is RouterMatch.HAIRPINNED
            assert take_apart(bench.packets()[0][1]).datagram.payload == b"hello too"
        return
    assert reason is RouterMatch.HAIRPINNED
    port, seen = bench.one()
    assert port == LAN
    assert (text(seen.ip.src), text(seen.ip.dst), seen.dport) == (R_WAN, A2, 6000)
    assert (seen.sport == one) == (mapping == ENDPOINT)
    assert seen.ip.hop_limit == 63
    back = udp(b"back", src=A2, dst=R_WAN, sport=6000, dport=seen.sport)
    assert bench.give(back) is RouterMatch.HAIRPINNED
    _, again = bench.one()
    assert (text(again.ip.dst), again.dport) == (A, 5000)
    assert (text(again.ip.src), again.sport) == (R_WAN, two)


def test_an_error_about_what_was_turned_round_finds_its_way() -> None:
    bench = RouterBench(nat={"filtering": ENDPOINT})
    one, two = asks(bench, sport=5000), asks(bench, sport=6000, src=A2)
    bench.give(udp(b"hello", src=A, dst=R_WAN, sport=5000, dport=two))
    _, seen = bench.one()
    assert one == seen.sport
    error = icmp_message(icmp.UNREACHABLE, icmp.PORT, body=seen.raw, src=A2, dst=R_WAN)
    assert bench.give(error) is RouterMatch.HAIRPINNED
    port, told = bench.one()
    quoted = take_apart(told.message.body)
    assert (port, text(told.ip.src), text(told.ip.dst)) == (LAN, R_WAN, A)
    assert (text(quoted.ip.src), quoted.sport) == (A, 5000)
    assert (text(quoted.ip.dst), quoted.dport) == (R_WAN, two)


def test_hairpinning_can_be_off() -> None:
    bench = RouterBench(nat={"hairpinning": False, "filtering": ENDPOINT})
    port = asks(bench, sport=6000, src=A2)
    assert bench.quiet(udp(src=A, dst=R_WAN, dport=port)) is RouterDrop.NAT_HAIRPIN


# -- forwards -----------------------------------------------------------------------------------------------------------


def test_a_forward_leads_inside_and_its_answers_out() -> None:
    bench = RouterBench(nat={"forward": [f"tcp:8080 -> {A}:80"], "mapping": ADDRESS_AND_PORT})
    seen = bench.passes(tcp(SYN, 5, src=FAR, dst=R_WAN, sport=999, dport=8080), WAN)
    assert (text(seen.ip.src), seen.sport, text(seen.ip.dst), seen.dport) == (FAR, 999, A, 80)
    back = bench.passes(tcp(SYN | ACK, 1, 6, src=A, dst=FAR, sport=80, dport=999))
    assert (text(back.ip.src), back.sport, text(back.ip.dst), back.dport) == (R_WAN, 8080, FAR, 999)
    assert [(row.inside, row.outside, row.kind) for row in nat_rows(bench.router)] == [
        (f"{A}:80", f"{R_WAN}:8080", "forward")
    ]
    bench.wait(10_000 * SECOND)
    assert session_rows(bench.router, bench.now) == []
    assert bench.passes(tcp(SYN, 5, src=OTHER, dst=R_WAN, sport=1, dport=8080), WAN).dport == 80


def test_inside_hosts_may_use_a_forward_too() -> None:
    bench = RouterBench(nat={"forward": [f"tcp:8080 -> {A}:80"]})
    assert bench.give(tcp(SYN, src=A2, dst=R_WAN, sport=999, dport=8080)) is RouterMatch.HAIRPINNED
    _, seen = bench.one()
    assert (text(seen.ip.src), text(seen.ip.dst), seen.dport) == (R_WAN, A, 80)


# -- ICMP errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
@pytest.mark.parametrize("cut_at", [1000, 28])
def test_an_error_from_outside_is_about_the_inside_packet(kind: str, cut_at: int) -> None:
    """RFC 5508 REQ-4: outer destination and the quoted source are translated, checksums too where they are quoted."""
    bench = RouterBench(nat={"port_preservation": False})
    original = outgoing(kind, A, 5000, FAR, 53, b"payload")
    sent = bench.passes(original)
    error = icmp_message(icmp.TIME_EXCEEDED, body=sent.raw[:cut_at], src="203.0.113.9", dst=R_WAN)
    seen = bench.passes(error, WAN)
    assert (text(seen.ip.src), text(seen.ip.dst)) == ("203.0.113.9", A)
    quoted = seen.message.body
    assert len(quoted) == min(cut_at, len(original))
    assert quoted[12:20] == original[12:20]
    if kind != "icmp":  # whose checksum stands before its identifier
        assert quoted[20:28] == original[20:28]
    if cut_at == 1000:
        whole = take_apart(quoted)  # all checksums are right
        assert (whole.ip.src, whole.ip.dst, whole.payload) == (parse_address(A), parse_address(FAR), original[20:])


def test_an_error_from_inside_is_about_the_outside_packet() -> None:
    bench = RouterBench(nat={"port_preservation": False})
    port = asks(bench)
    answer = reply(port)
    inside = bench.passes(answer, WAN)
    error = icmp_message(icmp.UNREACHABLE, icmp.PORT, body=inside.raw, src=A, dst=FAR)
    seen = bench.passes(error)
    assert (text(seen.ip.src), text(seen.ip.dst)) == (R_WAN, FAR)
    quoted = take_apart(seen.message.body)
    assert (quoted.ip.src, quoted.ip.dst, quoted.payload) == (parse_address(FAR), parse_address(R_WAN), answer[20:])


def test_an_error_about_what_was_never_sent_does_not_get_in() -> None:
    bench = RouterBench(nat={"filtering": ENDPOINT})
    port = asks(bench)
    forged = udp(src=R_WAN, dst=OTHER, sport=port, dport=53)
    assert bench.quiet(icmp_message(3, 1, body=forged, src=OTHER, dst=R_WAN), WAN) is RouterDrop.NAT_FILTERED


def test_errors_of_the_router_quote_what_the_sender_sent() -> None:
    """Too big for the link to the outside, or out of hops on the way in: the quotation is as the packet came."""
    bench = RouterBench(nat={}, mtu=1000)
    packet = udp(bytes(1100), src=A, dst=FAR, sport=5000)
    assert bench.answer(packet).message.body == packet[:548]
    port = asks(bench)
    expiring = udp(b"reply", src=FAR, dst=R_WAN, sport=53, dport=port, ttl=1)
    seen = bench.answer(expiring, WAN)
    assert (seen.message.body, text(seen.ip.src)) == (expiring, R_WAN)


# -- fragments ----------------------------------------------------------------------------------------------------------


def test_fragments_are_translated_as_one_packet() -> None:
    bench = RouterBench(nat={}, mtu=700)
    data = Random(2).randbytes(1300)
    whole = udp(data, src=A, dst=FAR, sport=5000)
    whole = ipv4.as_fragment(whole[:20], len(whole) - 20, 0) + whole[20:]
    reasons = [bench.give(piece) for piece in reversed(list(cut(whole, 500)))]
    assert reasons == [Match.FRAGMENT, Match.FRAGMENT, RouterMatch.FRAGMENTED]
    waiting, joined = Fragments(), None
    for port, seen in bench.take():
        assert port == WAN
        assert text(seen.ip.src) == R_WAN
        assert len(seen.raw) <= 700
        joined = waiting.add(seen.ip, seen.raw, 0)
    assert isinstance(joined, tuple)
    assert isinstance(joined[0], IpPacket)
    assert take_apart(joined[1]).datagram.payload == data


def test_ipv6_fragments_leave_as_fragments_that_every_link_takes() -> None:
    bench = RouterBench(nat={})
    whole = udp(bytes(2000), src="2001:db8:1::2", dst="2001:db8:2::2")
    first, second = cut(whole, 1400, 77)
    assert bench.give(second) is Match.FRAGMENT
    assert bench.give(first) is RouterMatch.FRAGMENTED
    out = bench.take()
    assert [len(seen.raw) <= 1280 for _, seen in out] == [True, True]
    assert {seen.ip.ident for _, seen in out} == {77}


def test_echo_through_nat_in_fragments() -> None:
    bench = RouterBench(nat={})
    whole = echo(bytes(2000), src=A, dst=FAR, rest=0x12340001)
    whole = ipv4.as_fragment(whole[:20], len(whole) - 20, 0) + whole[20:]
    for piece in cut(whole, 1500):
        reason = bench.give(Packet(piece.head))
    assert reason is RouterMatch.FRAGMENTED
    waiting = Fragments()
    for _, seen in bench.take():
        joined = waiting.add(seen.ip, seen.raw, 0)
    assert isinstance(joined, tuple)
    assert take_apart(joined[1]).ip.protocol == ICMP
