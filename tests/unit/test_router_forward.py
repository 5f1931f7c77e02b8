"""Forwarding: TTL, MTU, super-packets, and what a router says about what it drops."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_bench import A6, B6, FAR, FAR6, LAN, OF_A, OF_B, OF_LAN, OF_WAN, R_LAN, WAN, A, B, RouterBench
from stack_bench import FAMILIES, SECOND, echo, icmp_message, ip, take_apart, tcp, udp

from netemu.reasons import Drop, Match, Reset, RouterDrop, RouterMatch
from netemu.router.router import MAX_QUEUED_OUTPUT, Router
from netemu.router.routes import parse_route
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire import udp as udp_wire
from netemu.wire.fragments import Fragments, cut, fragments
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, parse_address
from netemu.wire.output import Template
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, RST, SYN, Options, Segment

UNREACHABLE = {4: icmp.UNREACHABLE, 6: icmp.V6_UNREACHABLE}
EXCEEDED = {4: icmp.TIME_EXCEEDED, 6: icmp.V6_TIME_EXCEEDED}


def datagram(version: int = 4, data: bytes = b"data", *, ttl: int = 64, dst: str = "") -> bytes:
    return udp(data, src=OF_A[version], dst=dst or OF_B[version], ttl=ttl)


def super_packet(size: int, length: int, version: int = 4, dont_fragment: bool = True) -> Packet:
    """A super-packet with ``length`` bytes of payload, ``size`` in each packet."""
    src, dst = parse_address(OF_A[version]), parse_address(OF_B[version])
    payload = bytes(n % 251 for n in range(length))
    segment = Segment(1, 1, ACK, 100, (payload,), length, 7, 8, Options(), size)
    packet = Template(src, dst, 40000, 80, 64, 0).packet(segment, 9, True)
    if not dont_fragment and version == 4:
        head = bytearray(packet.head)
        head[:20] = ipv4.as_fragment(bytes(head[:20]), len(packet) - 20, 0)
        packet.head = bytes(head)
    return packet


def about(seen_body: bytes, packet: bytes) -> bool:
    """Does an ICMP error quote the packet, as much as fits?"""
    room = icmp.QUOTE_V4 if packet[0] >> 4 == 4 else icmp.QUOTE_V6
    return seen_body == packet[:room]


# -- onwards ------------------------------------------------------------------------------------------------------------


@FAMILIES
def test_a_packet_goes_on_with_one_hop_less(version: int) -> None:
    bench = RouterBench()
    packet = datagram(version)
    assert bench.give(packet) is RouterMatch.FORWARDED
    port, seen = bench.one()
    assert port == WAN
    assert seen.ip.hop_limit == 63
    assert seen.payload == take_apart(packet).payload
    assert (seen.ip.src, seen.ip.dst) == (parse_address(OF_A[version]), parse_address(OF_B[version]))


@given(st.integers(2, 255), st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=40), st.sampled_from([4, 6]))
def test_the_header_is_what_it_would_be_if_it_were_made_anew(
    ttl: int, tos: int, ident: int, data: bytes, version: int
) -> None:
    src, dst = parse_address(OF_A[version]), parse_address(OF_B[version])
    payload = udp_wire.emit(src, dst, 1, 2, data)

    def made(hops: int) -> bytes:
        if version == 6:
            return ipv6.header(src, dst, UDP, len(payload), ttl=hops, tos=tos, flow=ident) + payload
        return ipv4.header(src, dst, UDP, len(payload), ttl=hops, tos=tos, ident=ident) + payload

    bench = RouterBench()
    bench.give(made(ttl) + b"padding of the link"[: ident % 19])
    ((_, packet),) = bench.packets()
    assert bytes(packet) == made(ttl - 1)


def test_padding_of_the_link_is_not_the_packets() -> None:
    bench = RouterBench(mtu=len(datagram()))
    assert bench.give(datagram() + bytes(18)) is RouterMatch.FORWARDED


def test_damage_is_passed_on_as_it_is() -> None:
    packet = bytearray(datagram())
    packet[-1] ^= 1
    bench = RouterBench()
    bench.give(bytes(packet))
    ((_, sent),) = bench.packets()
    assert bytes(sent)[20:] == bytes(packet)[20:]


@FAMILIES
def test_extension_headers_and_options_are_the_business_of_the_destination(version: int) -> None:
    bench = RouterBench()
    if version == 4:
        body = take_apart(datagram()).payload
        src, dst = parse_address(A), parse_address(B)
        packet = ipv4.header_with_options(src, dst, UDP, len(body), b"\x44\4\5\0") + body
    else:
        body = bytes((UDP, 0, 0xC2, 4, 0, 0, 0, 0)) + bytes(8)  # an option that a destination answers as unknown
        packet = ip(A6, B6, ipv6.DESTINATION, body)
    assert bench.give(packet) is RouterMatch.FORWARDED
    ((_, sent),) = bench.packets()
    assert bytes(sent)[24:] == packet[24:]


@pytest.mark.parametrize("length", [3, 3001])
def test_in_one_piece_or_in_two_it_is_the_same_packet(length: int) -> None:
    """The device gives a packet in one buffer, a host's own has its payload apart; large ones leave uncopied."""
    packet = super_packet(1448, length)
    one, two = RouterBench(), RouterBench()
    one.give(packet)
    two.give(Packet(bytes(packet.head) + packet.body[0], (), packet.gso_size, packet.csum_start, packet.csum_offset))
    assert [(port, bytes(p)) for port, p in one.packets()] == [(port, bytes(p)) for port, p in two.packets()]


# -- the end of a packet's life -----------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("ttl", [0, 1])
def test_time_exceeded_comes_from_the_port_where_the_packet_came_in(version: int, ttl: int) -> None:
    bench = RouterBench()
    packet = datagram(version, bytes(2000 if version == 6 else 1000), ttl=ttl)
    assert bench.give(packet) is RouterDrop.TTL_EXPIRED
    port, seen = bench.one()
    assert port == LAN
    assert (seen.ip.src, seen.ip.dst) == (parse_address(OF_LAN[version]), parse_address(OF_A[version]))
    assert seen.message[:3] == (EXCEEDED[version], 0, 0)
    assert about(seen.message.body, packet)
    assert len(seen.raw) == (576 if version == 4 else 1280)
    assert seen.ip.tos == (0xC0 if version == 4 else 0)


@FAMILIES
def test_the_router_says_so_from_the_other_side_too(version: int) -> None:
    bench = RouterBench()
    seen = bench.answer(udp(src=OF_B[version], dst=OF_A[version], ttl=1), WAN)
    assert seen.ip.src == parse_address(OF_WAN[version])


@FAMILIES
def test_no_route_no_host_and_routes_that_refuse(version: int) -> None:
    far, net = {4: ("203.0.113.5", "203.0.113.0/24"), 6: ("2001:db8:a::5", "2001:db8:a::/48")}[version]
    codes = {"": (RouterDrop.NO_ROUTE, 0, 0), "unreachable": (RouterDrop.HOST_UNREACHABLE, 1, 3)}
    codes["prohibit"] = RouterDrop.PROHIBITED, 13, 1
    for kind, (reason, *code) in codes.items():
        bench = RouterBench()
        if kind:
            bench.router.add_route(parse_route(f"{kind} {net}"))
        packet = datagram(version, dst=far)
        assert bench.give(packet) is reason
        _, seen = bench.one()
        assert seen.message[:3] == (UNREACHABLE[version], code[version == 6], 0)
        assert about(seen.message.body, packet)
    bench = RouterBench()
    bench.router.add_route(parse_route(f"blackhole {net}"))
    assert bench.quiet(datagram(version, dst=far)) is RouterDrop.BLACKHOLE


@FAMILIES
def test_an_address_that_nobody_has_on_the_link_is_unreachable(version: int) -> None:
    router = Router("r", 1)
    router.add_port("lan", ["10.0.1.1/24", "2001:db8:1::1/64"])
    router.add_port("wan", ["192.0.2.1/24", "2001:db8:2::1/64"], 1500, [parse_address(B), parse_address(B6)])
    assert router.receive(0, Packet(datagram(version)), 0) is RouterMatch.FORWARDED
    router.transmit(0)
    nobody = {4: "192.0.2.99", 6: "2001:db8:2::99"}[version]
    assert router.receive(0, Packet(datagram(version, dst=nobody)), 0) is RouterDrop.HOST_UNREACHABLE
    sent = router.transmit(0)
    assert sent is not None
    assert take_apart(sent[1]).message[:2] == (UNREACHABLE[version], 1 if version == 4 else 3)


@FAMILIES
def test_no_error_about_an_error(version: int) -> None:
    bench = RouterBench()
    error = icmp_message(UNREACHABLE[version], 1, body=bytes(60), src=OF_A[version], dst=OF_B[version])
    at = 8 if version == 4 else 7
    expiring = bytearray(error)
    expiring[at] = 1
    if version == 4:
        expiring[:20] = ipv4.as_fragment(bytes(expiring[:20]), len(error) - 20, ipv4.DONT_FRAGMENT)
    assert bench.quiet(bytes(expiring)) is RouterDrop.TTL_EXPIRED
    echo_request = echo(version=version, src=OF_A[version], dst=FAR if version == 4 else FAR6)
    assert bench.give(echo_request) is RouterMatch.FORWARDED


def test_no_error_about_a_later_fragment() -> None:
    bench = RouterBench()
    first, second = cut(ip(A, B, UDP, bytes(100), fragment=0, ttl=1), 92)
    assert bench.give(first) is RouterDrop.TTL_EXPIRED
    assert len(bench.packets()) == 1
    assert bench.quiet(second) is RouterDrop.TTL_EXPIRED


def test_errors_are_rate_limited_as_configured() -> None:
    bench = RouterBench()
    bench.router.local.allowance = icmp.Allowance(rate=10, burst=3)
    for _ in range(8):
        bench.give(datagram(ttl=1))
    assert len(bench.packets()) == 3
    assert bench.router.counters[Drop.ICMP_RATE_LIMITED] == 5
    bench.now += SECOND // 5
    for _ in range(8):
        bench.give(datagram(ttl=1))
    assert len(bench.packets()) == 2


def test_a_loop_ends_by_ttl() -> None:
    """Two routers that send each other what they do not know."""
    first, second = Router("r1", 1), Router("r2", 1)
    first.add_port("lan", ["10.0.1.1/24"])
    first.add_port("mid", ["10.0.9.1/30"])
    second.add_port("mid", ["10.0.9.2/30"])
    first.add_route(parse_route("default via 10.0.9.2"))
    second.add_route(parse_route("default via 10.0.9.1"))
    first.receive(0, Packet(datagram(ttl=64, dst="203.0.113.1")), 0)
    hops, answers = 0, []
    while True:
        one, two = first.transmit(0), second.transmit(0)
        if one is None and two is None:
            break
        for sent, sender, receiver, port in ((one, first, second, 0), (two, second, first, 1)):
            if sent is not None and sender is first and sent[0] == 0:
                answers.append(take_apart(sent[1]))
            elif sent is not None:
                hops += 1
                receiver.receive(port, sent[1], 0)
    assert len(answers) == 1
    assert answers[0].message.type == icmp.TIME_EXCEEDED
    assert hops == 63 + 1  # 63 times onwards, and the last router's word goes back over the link
    assert answers[0].ip.src == parse_address("10.0.9.2")


# -- MTU ----------------------------------------------------------------------------------------------------------------


@FAMILIES
def test_too_big_and_not_to_be_fragmented(version: int) -> None:
    bench = RouterBench(mtu=1300)
    packet = datagram(version, bytes(1400))
    assert bench.give(packet) is RouterDrop.TOO_BIG
    port, seen = bench.one()
    assert port == LAN
    kind = (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED) if version == 4 else (icmp.V6_TOO_BIG, 0)
    assert seen.message[:3] == (*kind, 1300)
    assert about(seen.message.body, packet)


@given(st.binary(min_size=1, max_size=3000), st.integers(68, 1500))
def test_fragments_are_the_packet_again(data: bytes, mtu: int) -> None:
    bench = RouterBench(mtu=mtu)
    payload = udp_wire.emit(parse_address(A), parse_address(B), 1, 2, data)
    for packet in fragments(parse_address(A), parse_address(B), UDP, payload, 1500, 77, 64):
        assert bench.give(packet) in (RouterMatch.FORWARDED, RouterMatch.FRAGMENTED)
    waiting, whole = Fragments(), None
    for port, seen in bench.take():
        assert port == WAN
        assert len(seen.raw) <= mtu
        assert (seen.ip.hop_limit, seen.ip.ident) == (63, 77)
        whole = waiting.add(seen.ip, seen.raw, 0) if seen.ip.is_fragment else (seen.ip, seen.raw)
    assert isinstance(whole, tuple)
    assert whole[1][20:] == payload


@FAMILIES
def test_a_super_packet_that_fits_goes_whole(version: int) -> None:
    bench = RouterBench()
    packet = super_packet(1400, 50_000, version)
    assert bench.give(packet) is RouterMatch.FORWARDED
    ((_, sent),) = bench.packets()
    assert (sent.gso_size, sent.csum_start) == (1400, packet.csum_start)
    seen = take_apart(sent)  # its partial checksum, filled in
    assert seen.ip.hop_limit == 63
    assert seen.segment.data() == packet.body[0]
    assert bench.router.ports[LAN].packets_in == bench.router.ports[WAN].packets_out == 36


@FAMILIES
def test_of_a_super_packet_that_does_not_fit_the_first_packet_is_quoted(version: int) -> None:
    bench = RouterBench(mtu=1400)
    assert bench.give(super_packet(1400, 50_000, version)) is RouterDrop.TOO_BIG
    _, seen = bench.one()
    quoted = seen.message.body
    total = int.from_bytes(quoted[2:4] if version == 4 else quoted[4:6], "big")
    assert total + (40 if version == 6 else 0) == (72 if version == 6 else 52) + 1400
    assert seen.message.rest == 1400


def test_a_super_packet_that_may_be_fragmented_is_split_and_cut() -> None:
    bench = RouterBench(mtu=800)
    packet = super_packet(1400, 5000, dont_fragment=False)
    assert bench.give(packet) is RouterMatch.FRAGMENTED
    waiting, stream = Fragments(), b""
    for _, sent in bench.packets():
        seen = take_apart(sent)
        assert len(seen.raw) <= 800
        whole = waiting.add(seen.ip, seen.raw, 0)
        if whole is not None:
            assert isinstance(whole, tuple)
            stream += take_apart(whole[1]).segment.data()
    assert stream == packet.body[0]


def test_a_partial_checksum_is_finished_before_the_packet_is_cut() -> None:
    bench = RouterBench(mtu=800)
    plain = super_packet(0, 1200, dont_fragment=False)
    assert plain.csum_start
    bench.give(plain)
    waiting = Fragments()
    for _, seen in bench.take():
        whole = waiting.add(seen.ip, seen.raw, 0)
    assert isinstance(whole, tuple)
    assert take_apart(whole[1]).segment.data() == plain.body[0]


# -- what is never passed on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("src", "dst", "reason"),
    [
        (A, "224.0.0.251", RouterDrop.NOT_FORWARDED),
        (A6, "ff0e::5", RouterDrop.NOT_FORWARDED),
        (A, "255.255.255.255", RouterDrop.NOT_FORWARDED),
        (A, "192.0.2.255", RouterDrop.NOT_FORWARDED),  # RFC 2644: directed broadcast
        (A, "169.254.3.4", RouterDrop.NOT_FORWARDED),
        (A, "127.0.0.1", RouterDrop.NOT_FORWARDED),
        (A, "240.0.0.1", RouterDrop.NOT_FORWARDED),
        ("fe80::2", B6, RouterDrop.NOT_FORWARDED),
        (A6, "fe80::9", RouterDrop.NOT_FORWARDED),
        ("127.0.0.1", B, Drop.BAD_SOURCE),
        ("224.0.0.1", B, Drop.BAD_SOURCE),
        (R_LAN, B, Drop.BAD_SOURCE),
        ("10.0.1.255", B, Drop.BAD_SOURCE),
        ("::", B6, Drop.BAD_SOURCE),
    ],
)
def test_not_forwarded(src: str, dst: str, reason: object) -> None:
    assert RouterBench().quiet(udp(src=src, dst=dst)) is reason


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", Drop.TRUNCATED),
        (datagram()[:-1], Drop.TRUNCATED),
        (datagram(6)[:-1], Drop.TRUNCATED),
        (datagram(6)[:30], Drop.TRUNCATED),
        (b"\x50" + bytes(39), Drop.BAD_IP_VERSION),
        (b"\x44" + datagram()[1:], Drop.BAD_IP_HEADER),
        (datagram()[:8] + b"\0" + datagram()[9:], Drop.BAD_IP_CHECKSUM),
        (icmp_message(133, src="fe80::1", dst="ff02::2"), Drop.NEIGHBOUR_CHATTER),
        (ip(A, "224.0.0.22", 2, bytes(8)), Drop.NEIGHBOUR_CHATTER),
    ],
)
def test_what_makes_no_sense(packet: bytes, reason: Drop) -> None:
    assert RouterBench().quiet(packet) is reason


@given(st.binary(max_size=120), st.sampled_from([0x45, 0x46, 0x60]), st.booleans())
def test_nothing_that_a_peer_can_send_raises(data: bytes, first: int, with_box: bool) -> None:
    nat: dict[str, object] | None = {"filtering": "endpoint-independent"} if with_box else None
    bench = RouterBench(nat=nat, firewall=["reject proto tcp dport 22"] if with_box else (), mtu=100)
    body = bytes((first,)) + data
    packets = [body]
    if first == 0x60:
        protocol = (ICMPV6, TCP, UDP, body[-1])[len(body) % 4]
        packets += [ip(A6, dst, protocol, data) for dst in (B6, OF_LAN[6], "ff02::1")]
    else:
        protocol = (ICMP, TCP, UDP, body[-1])[len(body) % 4]
        packets += [ip(A, dst, protocol, data, fragment=f) for dst in (B, R_LAN) for f in (0, ipv4.MORE_FRAGMENTS)]
    for packet in packets:
        for port in (LAN, WAN):
            bench.give(packet, port)
    bench.packets()
    bench.wait(100 * SECOND)


def test_the_queue_to_the_links_has_an_end() -> None:
    bench = RouterBench()
    for _ in range(MAX_QUEUED_OUTPUT):
        assert bench.give(datagram()) is RouterMatch.FORWARDED
    assert bench.give(datagram()) is Drop.OUTPUT_FULL
    assert bench.give(echo(src=A, dst=R_LAN)) is Match.ICMP_ECHO
    assert bench.router.counters[Drop.OUTPUT_FULL] == 2
    assert len(bench.packets()) == MAX_QUEUED_OUTPUT


# -- the router's own addresses -----------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("side", [OF_LAN, OF_WAN])
@pytest.mark.parametrize("size", [0, 56, 3000])
def test_echo_to_any_of_its_addresses(version: int, side: dict[int, str], size: int) -> None:
    bench = RouterBench()
    body = bytes(n & 0xFF for n in range(size))
    src, dst = parse_address(OF_A[version]), parse_address(side[version])
    request = take_apart(echo(body, version=version, src=OF_A[version], dst=side[version], rest=0x12345678))
    for piece in fragments(src, dst, request.ip.protocol, request.payload, 1500, 5, 64):
        reason = bench.give(piece)
    assert reason is Match.ICMP_ECHO
    out = bench.take()
    assert all(port == LAN for port, _ in out)
    waiting = Fragments()
    for _, seen in out:
        raw = waiting.add(seen.ip, seen.raw, 0) if seen.ip.is_fragment else (seen.ip, seen.raw)
    assert isinstance(raw, tuple)
    seen = take_apart(raw[1])
    kind = icmp.ECHO_REPLY if version == 4 else icmp.V6_ECHO_REPLY
    assert seen.message == (kind, 0, 0x12345678, body)
    assert seen.ip.src == parse_address(side[version])


@FAMILIES
def test_udp_gets_port_unreachable_from_the_address_that_it_was_sent_to(version: int) -> None:
    bench = RouterBench()
    packet = udp(b"traceroute", src=OF_A[version], dst=OF_WAN[version], ttl=1)
    assert bench.give(packet) is Drop.UDP_NO_SOCKET
    _, seen = bench.one()
    assert seen.ip.src == parse_address(OF_WAN[version])
    assert seen.message[:2] == (UNREACHABLE[version], icmp.PORT if version == 4 else icmp.V6_PORT)
    assert about(seen.message.body, packet)


@FAMILIES
def test_tcp_gets_a_rst(version: int) -> None:
    bench = RouterBench()
    seen = bench.answer(tcp(SYN, 1000, src=OF_A[version], dst=OF_LAN[version]))
    assert (seen.segment.flags, seen.segment.ack) == (RST | ACK, 1001)
    assert (seen.sport, seen.dport) == (80, 40000)
    assert bench.router.counters[Drop.NO_SOCKET] == bench.router.counters[Reset.NO_SOCKET] == 1
    assert bench.quiet(tcp(RST, 1000, src=OF_A[version], dst=OF_LAN[version])) is Drop.NO_SOCKET


@FAMILIES
def test_to_the_router_itself_what_is_damaged_is_dropped(version: int) -> None:
    bench = RouterBench()
    for packet, reason in (
        (tcp(SYN, src=OF_A[version], dst=OF_LAN[version]), Drop.BAD_TCP_CHECKSUM),
        (udp(b"data", src=OF_A[version], dst=OF_LAN[version]), Drop.BAD_UDP_CHECKSUM),
        (echo(b"data", version=version, src=OF_A[version], dst=OF_LAN[version]), Drop.BAD_ICMP),
    ):
        assert bench.quiet(packet[:-1] + bytes((packet[-1] ^ 1,))) is reason


def test_icmp_that_a_router_does_not_act_on() -> None:
    assert RouterBench().quiet(icmp_message(13, src=A, dst=R_LAN)) is Drop.ICMP_IGNORED


def test_an_unknown_protocol_is_told_by_the_words_of_its_family() -> None:
    bench = RouterBench()
    assert bench.answer(ip(A, R_LAN, 99, b"x")).message[:2] == (icmp.UNREACHABLE, icmp.PROTOCOL)
    assert bench.answer(ip(A6, OF_LAN[6], 99, b"x")).message[:3] == (icmp.V6_PARAMETER_PROBLEM, 1, 6)
    unknown_option = bytes((UDP, 0, 0x82, 4, 0, 0, 0, 0)) + bytes(8)
    seen = bench.answer(ip(A6, OF_LAN[6], ipv6.DESTINATION, unknown_option))
    assert seen.message[:3] == (icmp.V6_PARAMETER_PROBLEM, 2, 42)


def test_fragments_to_the_router_that_never_become_whole() -> None:
    bench = RouterBench()
    first, _ = cut(ip(A, R_LAN, UDP, bytes(100), fragment=0), 92)
    assert bench.quiet(first) is Match.FRAGMENT
    bench.wait(31 * SECOND)
    _, seen = bench.one()
    assert seen.message[:2] == (icmp.TIME_EXCEEDED, icmp.TIME_EXCEEDED_REASSEMBLY)
    assert bench.router.counters[Drop.FRAGMENT_TIMEOUT] == 1


def test_a_router_without_an_address_of_the_family_cannot_complain() -> None:
    router = Router("r", 1)
    router.add_port("lan", ["2001:db8:1::1/64"])
    assert router.receive(0, Packet(datagram()), 0) is RouterDrop.NO_ROUTE
    assert router.transmit(0) is None
    assert router.counters[RouterDrop.NO_ADDRESS] == 1


def test_traceroute_sees_every_router_of_a_path_once() -> None:
    """Three routers in a row: each TTL gets one hop further, and every answer is from the side that faces the client."""
    routers = [Router(f"r{n}", 1) for n in (1, 2, 3)]
    for n, router in enumerate(routers, 1):
        router.add_port("left", [f"10.0.{n}.1/24"])
        router.add_port("right", [f"10.0.{n + 1}.2/24"])
        router.add_route(
            parse_route(f"10.0.4.0/24 via 10.0.{n + 1}.1") if n < 3 else parse_route("blackhole 0.0.0.0/0")
        )
        if n > 1:
            router.add_route(parse_route(f"10.0.1.0/24 via 10.0.{n}.2"))

    def hop(ttl: int) -> str:
        routers[0].receive(0, Packet(udp(src="10.0.1.9", dst="10.0.4.1", ttl=ttl)), 0)
        while True:
            moved = False
            for at, router in enumerate(routers):
                while (sent := router.transmit(0)) is not None:
                    moved = True
                    port, packet = sent
                    if at == 0 and port == 0:
                        return ".".join(map(str, take_apart(packet).ip.src))
                    if at == 2 and port == 1:
                        return "there"
                    routers[at + (1 if port else -1)].receive(0 if port else 1, packet, 0)
            assert moved

    assert [hop(ttl) for ttl in (1, 2, 3, 4)] == ["10.0.1.1", "10.0.2.1", "10.0.3.1", "there"]
    assert all(a.counters[RouterDrop.TTL_EXPIRED] == 1 for a, _ in pairwise(routers))
