"""Reassembly: any order, any duplicates, no overlap, within bounds (RFC 791, 815, 5722, 8200 4.5)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stack_bench import FAMILIES, HOST, OF_HOST, OF_PEER, PEER, SECOND, Bench, echo, ip, udp

from netemu.reasons import Drop, Match
from netemu.stack import constants as so
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire.fragments import COST, MAX_BYTES, MAX_PACKETS, Fragments
from netemu.wire.ip import ICMP, ICMPV6, UDP, IpPacket, parse_address

Cut = tuple[int, bytes, bool]
"""(offset, bytes, are there more?)"""


def cut(payload: bytes, *edges: int) -> list[Cut]:
    """The payload in pieces, cut at ``edges`` (multiples of 8)."""
    ends = [*edges, len(payload)]
    return [(start, payload[start:end], end < len(payload)) for start, end in zip([0, *edges], ends, strict=True)]


def fragment(
    piece: Cut,
    *,
    protocol: int = UDP,
    version: int = 4,
    ident: int = 7,
    src: str = "",
    ttl: int = 64,
    before: bytes = b"",
) -> bytes:
    """The packet that carries a piece; ``before`` is an IPv6 destination options header in front of the fragment's."""
    offset, data, more = piece
    src, dst = src or OF_PEER[version], OF_HOST[version]
    if version == 4:
        return ip(
            src, dst, protocol, data, ttl=ttl, ident=ident, fragment=offset // 8 | (ipv4.MORE_FRAGMENTS if more else 0)
        )
    body = before + ipv6.FRAGMENT.pack(protocol, 0, offset | more, ident) + data
    return ip(src, dst, ipv6.DESTINATION if before else ipv6.FRAGMENT_HEADER, body, ttl=ttl)


def fragments_of(packet: bytes, *edges: int, ident: int = 7) -> list[bytes]:
    """A whole packet cut up."""
    version = packet[0] >> 4
    start, protocol = (20, packet[9]) if version == 4 else (40, packet[6])
    return [fragment(p, protocol=protocol, version=version, ident=ident) for p in cut(packet[start:], *edges)]


def parsed(packet: bytes) -> IpPacket:
    found = ipv4.parse(packet) if packet[0] >> 4 == 4 else ipv6.parse(packet)
    assert isinstance(found, IpPacket)
    return found


def put_in(queue: Fragments, packet: bytes, now: int = 0) -> tuple[IpPacket, bytes] | Drop | None:
    return queue.add(parsed(packet), packet, now)


# -- order, duplicates -----------------------------------------------------------------------------------------------


@FAMILIES
@settings(deadline=None)
@given(data=st.data())
def test_any_order_and_any_duplicates_give_the_whole(version: int, data: st.DataObject) -> None:
    payload = data.draw(st.binary(min_size=17, max_size=400))
    payload = b"\x00\x01\x00\x02" + payload  # an unlikely UDP header, which nobody looks at here
    cuts = st.sets(st.integers(1 if version == 4 else 2, (len(payload) - 1) // 8).map(lambda n: n * 8), max_size=20)
    edges = sorted(data.draw(cuts))
    if not edges:
        return
    packets = [fragment(piece, version=version) for piece in cut(payload, *edges)]
    order = data.draw(st.permutations(packets))
    last = order[-1]
    extra = data.draw(st.lists(st.sampled_from(packets), max_size=20))
    early = [*order[:-1], *(p for p in extra if p != last)]
    Random(data.draw(st.integers(0, 99))).shuffle(early)
    queue = Fragments()
    for packet in early:
        assert put_in(queue, packet) is None
    whole = put_in(queue, last)
    assert isinstance(whole, tuple)
    found, raw = whole
    assert raw[found.start : found.end] == payload
    assert found.end == len(raw)
    assert found == parsed(raw)
    assert not found.is_fragment
    assert found.protocol == UDP
    assert not queue.partial
    assert queue._cost == 0


@FAMILIES
def test_a_datagram_in_pieces(version: int) -> None:
    bench = Bench()
    socket = bench.udp(so.AF_INET if version == 4 else so.AF_INET6)
    socket.bind((OF_HOST[version], 7))
    body = bytes(range(256)) * 10
    pieces = fragments_of(udp(body, src=OF_PEER[version], dst=OF_HOST[version]), 8, 1000, 1008)
    for packet in reversed(pieces[1:]):
        assert bench.quiet(packet) is Match.FRAGMENT
    assert bench.give(pieces[0]) is Match.UDP_SPECIFIC
    assert socket.recvfrom(9999)[0] == body
    assert bench.host.counters[Match.FRAGMENT] == 3


@FAMILIES
def test_packets_do_not_mix(version: int) -> None:
    """The key is source, destination, identification, and over IPv4 the protocol (RFC 791 3.2, RFC 8200 4.5)."""
    queue = Fragments()
    bodies = {}
    for n, (src, ident) in enumerate([("1", 1), ("1", 2), ("9", 1)]):
        address = f"198.18.0.{src}" if version == 4 else f"2001:2::{src}"
        bodies[address, ident] = bytes([n]) * 40
        for piece in cut(bodies[address, ident], 24)[1:]:
            assert put_in(queue, fragment(piece, version=version, ident=ident, src=address)) is None
    for (address, ident), body in bodies.items():
        whole = put_in(queue, fragment(cut(body, 24)[0], version=version, ident=ident, src=address))
        assert isinstance(whole, tuple)
        assert whole[1].endswith(body)


def test_protocols_do_not_mix_over_ipv4() -> None:
    queue = Fragments()
    assert put_in(queue, fragment((0, bytes(8), True), protocol=UDP)) is None
    assert put_in(queue, fragment((8, bytes(8), False), protocol=ICMP)) is None
    assert len(queue.partial) == 2


# -- overlap ---------------------------------------------------------------------------------------------------------


OVERLAPS: list[tuple[list[Cut], Cut]] = [
    ([(0, b"a" * 16, True)], (8, b"a" * 16, True)),  # the front of one over the back of the other
    ([(8, b"a" * 16, True)], (0, b"a" * 16, True)),
    ([(0, b"a" * 32, True)], (8, b"a" * 8, True)),  # one within the other
    ([(8, b"a" * 8, True)], (0, b"a" * 32, True)),
    ([(8, b"a" * 16, True)], (8, b"a" * 8, True)),  # the same start, shorter or longer
    ([(8, b"a" * 8, True)], (8, b"a" * 16, True)),
    ([(0, b"a" * 8, True), (16, b"a" * 8, True)], (0, b"a" * 24, True)),  # over two
    ([(0, b"a" * 16, True)], (0, b"b" * 16, True)),  # the same place, other bytes
    ([(16, b"a" * 8, False)], (24, b"a" * 8, True)),  # behind the end
    ([(16, b"a" * 8, False)], (16, b"a" * 16, True)),
    ([(16, b"a" * 8, False)], (16, b"a" * 4, False)),  # two ends
    ([(16, b"a" * 8, False)], (24, b"a" * 8, False)),
    ([(24, b"a" * 8, True)], (8, b"a" * 8, False)),  # an end before what is there
    ([(16, b"a" * 8, True)], (16, b"a" * 8, False)),  # the same piece, now said to be the last
    ([(16, b"a" * 8, False)], (16, b"a" * 8, True)),  # and the other way round
]


@FAMILIES
@pytest.mark.parametrize(("before", "offender"), OVERLAPS)
def test_an_overlap_gives_up_the_whole_packet(version: int, before: list[Cut], offender: Cut) -> None:
    """RFC 5722: the fragments that are still to come too."""
    bench = Bench()
    for piece in before:
        assert bench.quiet(fragment(piece, version=version, protocol=99)) is Match.FRAGMENT
    assert bench.quiet(fragment(offender, version=version, protocol=99)) is Drop.FRAGMENT_OVERLAP
    for piece in cut(b"a" * 64, 8, 16, 24, 32):
        assert bench.quiet(fragment(piece, version=version, protocol=99)) is Drop.FRAGMENT_OVERLAP
    assert bench.wait(61 * SECOND) == []  # and no ICMP error says so
    assert bench.host.counters[Drop.FRAGMENT_TIMEOUT] == 0
    assert bench.host.fragments._cost == 0
    assert bench.quiet(fragment(before[0], version=version, protocol=99)) is Match.FRAGMENT  # all is forgotten


@FAMILIES
def test_exact_duplicates_are_ignored(version: int) -> None:
    queue = Fragments()
    pieces = cut(b"a" * 40, 24, 32)
    for piece in (pieces[0], pieces[0], pieces[2], pieces[2], pieces[0]):
        assert put_in(queue, fragment(piece, version=version)) is None
    (partial,) = queue.partial.values()
    assert partial.bytes == 32
    assert isinstance(put_in(queue, fragment(pieces[1], version=version)), tuple)


# -- impossible fragments --------------------------------------------------------------------------------------------


@FAMILIES
def test_empty_fragments(version: int) -> None:
    bench = Bench()
    assert bench.quiet(fragment((8, b"", True), version=version, protocol=99)) is Drop.FRAGMENT_BAD
    assert bench.quiet(fragment((8, b"", False), version=version, protocol=99)) is Drop.FRAGMENT_BAD
    assert not bench.host.fragments.partial


@pytest.mark.parametrize("size", [1, 7, 9, 15])
def test_only_the_last_may_be_no_multiple_of_eight(size: int) -> None:
    bench = Bench()
    assert bench.quiet(fragment((8, bytes(size), True))) is Drop.FRAGMENT_BAD
    assert bench.quiet(fragment((8, bytes(size), False))) is Match.FRAGMENT
    seen = bench.ask(fragment((8, bytes(size), True), version=6))
    assert (seen.message.type, seen.message.code, seen.message.rest) == (4, 0, 4)  # RFC 8200 4.5: points at the length
    assert bench.quiet(fragment((8, bytes(size), False), version=6)) is Match.FRAGMENT


def test_too_long_over_ipv4() -> None:
    """The 'ping of death': a total length that no header could say."""
    bench = Bench()
    offset = 0x1FFF * 8
    for size in (65535 - 20 - offset + 1, 100, 1480):
        if size > 0:
            assert bench.quiet(fragment((offset, bytes(size), False))) is Drop.FRAGMENT_BAD
    assert bench.quiet(fragment((65504, bytes(11), False))) is Match.FRAGMENT
    assert bench.quiet(fragment((65504, bytes(12), False), ident=8)) is Drop.FRAGMENT_BAD


def test_too_long_over_ipv6() -> None:
    bench = Bench()
    offset = 0xFFF8
    assert bench.quiet(fragment((offset, bytes(7), False), version=6)) is Match.FRAGMENT
    seen = bench.ask(fragment((offset, bytes(8), False), version=6, ident=8))
    assert (seen.message.type, seen.message.code, seen.message.rest) == (4, 0, 42)  # points at the fragment offset


def test_the_first_header_counts_for_the_whole() -> None:
    """A header with options on the first fragment only: the packet that results would be too long."""
    queue = Fragments()
    last = fragment((65504, bytes(11), False), protocol=UDP)
    assert put_in(queue, last) is None
    for start in range(1480, 65504, 1480):
        piece = (start, bytes(min(1480, 65504 - start)), True)
        assert put_in(queue, fragment(piece)) is None
    first = bytearray(fragment((0, bytes(1480), True)))
    head = bytes([0x46]) + bytes(first[1:2]) + (1504).to_bytes(2, "big") + bytes(first[4:20]) + b"\x01" * 4
    found = IpPacket(4, head[12:16], head[16:20], UDP, 64, 0, 24, 1504, 0, True, 7, 9)
    assert queue.add(found, head + bytes(1480), 0) is Drop.FRAGMENT_BAD
    assert not queue.partial


def test_the_first_fragment_must_have_all_headers() -> None:
    """RFC 8200 4.5: code 3, pointer 0."""
    bench = Bench()
    seen = bench.ask(fragment((0, bytes(8), True), version=6, protocol=6))
    assert (seen.message.type, seen.message.code, seen.message.rest) == (4, 3, 0)


# -- what a whole packet is treated like -----------------------------------------------------------------------------


def test_extension_headers_inside_the_fragments() -> None:
    """They count once the packet is whole."""
    bench = Bench()
    options = bytes([ICMPV6, 0, 1, 4, 0, 0, 0, 0])
    payload = options + echo(b"x" * 100, version=6)[40:]
    for piece in cut(payload, 48):
        reason = bench.give(fragment(piece, version=6, protocol=ipv6.DESTINATION))
    assert reason is Match.ICMP_ECHO
    assert bench.one().message.body == b"x" * 100


@pytest.mark.parametrize(
    ("first", "header", "reason"),
    [
        (ipv6.DESTINATION, bytes([UDP, 0, 0x5E, 2, 0, 0, 0, 0]), Drop.BAD_IP_OPTION),
        (ipv6.DESTINATION, bytes([UDP, 0, 0x9E, 2, 0, 0, 0, 0]), Drop.BAD_IP_OPTION),
        (ipv6.ROUTING, bytes([UDP, 0, 0, 1, 0, 0, 0, 0]), Drop.SOURCE_ROUTED),
        (ipv6.HOP_BY_HOP, bytes([UDP, 0, 1, 4, 0, 0, 0, 0]), Drop.FRAGMENT_BAD),
        (ipv6.FRAGMENT_HEADER, ipv6.FRAGMENT.pack(UDP, 0, 1, 9), Drop.FRAGMENT_BAD),
    ],
)
def test_bad_headers_inside_the_fragments(first: int, header: bytes, reason: Drop) -> None:
    queue = Fragments()
    payload = header + bytes(40)
    outcome: object = None
    for piece in cut(payload, 40):
        packet = fragment(piece, version=6, protocol=first)
        try:
            outcome = put_in(queue, packet)
        except ipv6.OptionProblem as problem:  # found in the first fragment already
            outcome = problem.reason
            break
    assert outcome is reason or (first == ipv6.HOP_BY_HOP and outcome is Drop.BAD_IP_HEADER)


def test_options_before_the_fragment_header_are_kept() -> None:
    queue = Fragments()
    before = bytes([ipv6.FRAGMENT_HEADER, 0, 1, 4, 0, 0, 0, 0])
    whole: object = None
    for piece in cut(b"a" * 40, 24):
        whole = put_in(queue, fragment(piece, version=6, before=before))
    assert isinstance(whole, tuple)
    found, raw = whole
    assert (found.start, found.end, found.protocol, found.protocol_at) == (48, 88, UDP, 40)
    assert raw[40] == UDP


@FAMILIES
def test_an_error_about_a_whole_packet_quotes_it_from_its_header_on(version: int) -> None:
    bench = Bench()
    packet = udp(b"q" * 2000, src=OF_PEER[version], dst=OF_HOST[version])
    for piece in fragments_of(packet, 1000):
        bench.give(piece)
    seen = bench.one()
    assert bench.host.counters[Drop.UDP_NO_SOCKET] == 1
    quoted = seen.message.body
    start = 20 if version == 4 else 40
    assert len(seen.raw) == (576 if version == 4 else 1280)
    assert quoted[start:] == packet[start : len(quoted)]
    if version == 4:
        assert quoted[2:4] == (2028).to_bytes(2, "big")
        assert isinstance(ipv4.parse(quoted[:20] + bytes(2008)), IpPacket)  # checksum and length fit together
    else:
        assert quoted == packet[: len(quoted)]


# -- bounds ----------------------------------------------------------------------------------------------------------


@FAMILIES
def test_only_so_many_packets_wait(version: int) -> None:
    bench = Bench()
    for ident in range(MAX_PACKETS):
        assert bench.quiet(fragment((8, bytes(8), True), version=version, ident=ident)) is Match.FRAGMENT
    assert bench.quiet(fragment((8, bytes(8), True), version=version, ident=9999)) is Drop.FRAGMENT_LIMIT
    assert bench.quiet(fragment((16, bytes(8), True), version=version, ident=5)) is Match.FRAGMENT  # those go on
    assert len(bench.host.fragments.partial) == MAX_PACKETS
    bench.wait(61 * SECOND)
    assert not bench.host.fragments.partial
    assert bench.quiet(fragment((8, bytes(8), True), version=version)) is Match.FRAGMENT


def test_only_so_many_bytes_wait() -> None:
    queue = Fragments()
    taken = 0
    for ident in range(200):
        for start in range(8, 60_000, 20_000):
            outcome = put_in(queue, fragment((start, bytes(20_000), True), ident=ident))
            assert outcome in (None, Drop.FRAGMENT_LIMIT)
            taken += outcome is None
            assert queue._cost <= MAX_BYTES
            assert sum(p.bytes for p in queue.partial.values()) <= MAX_BYTES
    assert taken > 150
    assert queue._cost == sum(p.cost for p in queue.partial.values())


def test_tiny_fragments_cost_more_than_their_bytes() -> None:
    queue = Fragments()
    reasons = set()
    for ident in range(6):
        for n in range(1, 8180, 2):
            reasons.add(put_in(queue, fragment((n * 8, bytes(8), True), ident=ident)))
            if n % 500 == 1:
                assert sum(len(p.pieces) for p in queue.partial.values()) * (COST + 8) <= MAX_BYTES
    assert reasons == {None, Drop.FRAGMENT_LIMIT}


@FAMILIES
@pytest.mark.parametrize("first", [True, False])
def test_a_packet_that_stays_incomplete(version: int, first: bool) -> None:
    """RFC 792, RFC 8200 4.5: time exceeded, code 1, only where the first fragment came."""
    bench = Bench()
    packet = fragment((0 if first else 8, bytes(16), True), version=version, protocol=99)
    bench.quiet(packet)
    seconds = 30 if version == 4 else 60
    assert bench.wait(seconds * SECOND - 1) == []
    out = bench.wait(1)
    assert bench.host.counters[Drop.FRAGMENT_TIMEOUT] == 1
    assert not bench.host.fragments.partial
    if not first:
        assert out == []
        return
    (seen,) = out
    expected = (icmp.TIME_EXCEEDED, 1) if version == 4 else (icmp.V6_TIME_EXCEEDED, 1)
    assert (seen.message.type, seen.message.code, seen.message.rest) == (*expected, 0)
    assert seen.message.body == packet
    assert seen.ip.dst == parse_address(OF_PEER[version])


@FAMILIES
def test_the_timeout_runs_from_the_first_that_came(version: int) -> None:
    bench = Bench()
    bench.quiet(fragment((8, bytes(8), True), version=version))
    bench.wait(20 * SECOND)
    bench.quiet(fragment((16, bytes(8), True), version=version))
    bench.wait((10 if version == 4 else 40) * SECOND)
    assert not bench.host.fragments.partial


def test_no_time_exceeded_about_an_icmp_error() -> None:
    bench = Bench()
    bench.quiet(fragment((0, bytes([icmp.UNREACHABLE]) + bytes(15), True), protocol=ICMP))
    bench.quiet(fragment((0, bytes([icmp.V6_UNREACHABLE]) + bytes(15), True), protocol=ICMPV6, version=6))
    assert bench.wait(61 * SECOND) == []
    assert bench.host.counters[Drop.FRAGMENT_TIMEOUT] == 2


def test_a_flood_of_fragments_leaves_others_alone() -> None:
    bench = Bench()
    listener = bench.listen(HOST)
    random = Random(1)
    for n in range(20_000):
        offset = random.randrange(1, 8000) * 8
        packet = fragment(
            (offset, bytes(8 * random.randrange(1, 20)), True), ident=n & 0xFFFF, src=f"198.18.3.{n % 250 + 1}"
        )
        assert bench.quiet(packet) in (Match.FRAGMENT, Drop.FRAGMENT_LIMIT, Drop.FRAGMENT_OVERLAP)
    assert bench.host.fragments._cost <= MAX_BYTES
    bench.handshake()
    assert listener.accept()[1] == (PEER, 40000)


# -- ping ------------------------------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 8000, 65507])
def test_pings_up_to_the_largest(version: int, size: int) -> None:
    bench = Bench()
    body = Random(size).randbytes(size)
    packet = echo(body, version=version)
    start = 20 if version == 4 else 40
    room = (1500 - start - (8 if version == 6 else 0)) & ~7
    edges = range(room, len(packet) - start, room) if len(packet) > 1500 else ()
    pieces = fragments_of(packet, *edges) if edges else [packet]
    reasons = [bench.give(piece) for piece in pieces]
    assert reasons == [Match.FRAGMENT] * (len(pieces) - 1) + [Match.ICMP_ECHO]
    out = bench.take()
    assert all(len(seen.raw) <= 1500 for seen in out)
    if size == 65507:
        assert len(out) > 40
    peer = Fragments()
    whole: object = None
    for seen in out:
        whole = peer.add(seen.ip, seen.raw, 0) if seen.ip.is_fragment else (seen.ip, seen.raw)
    assert isinstance(whole, tuple)
    found, raw = whole
    message = icmp.parse(raw, found)
    assert not isinstance(message, Drop)
    assert message.type == (icmp.ECHO_REPLY if version == 4 else icmp.V6_ECHO_REPLY)
    assert message.body == body
