"""Garbage and mutated packets: nothing raises, nothing is answered that must not be, memory stays bounded."""

from __future__ import annotations

import pytest
from fuzzer import ECHO, HOST4, HOST6, PEER4, PEER6, EchoApp, EchoDatagrams, Violation, World, run
from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.reasons import Drop, Match, Reason
from netemu.stack import connections
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.host import Host
from netemu.stack.icmp import Icmp
from netemu.stack.streams import serve_datagrams, serve_stream
from netemu.wire import icmp, ipv4, ipv6, tcp
from netemu.wire.checksum import checksum
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, parse_address, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.tcp import RST, reset_for

SEEDS = range(16)
PACKETS = 25_000
"""For each seed; `make soak` throws a million and more."""

# -- garbage, by hypothesis ------------------------------------------------------------------------------------------------

U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
ENDS = {4: (parse_address(PEER4), parse_address(HOST4)), 6: (parse_address(PEER6), parse_address(HOST6))}


def host() -> Host:
    made = Host([HOST4, HOST6], seed=1)
    serve_stream(made, EchoApp, ECHO, app="echo")
    serve_datagrams(made, EchoDatagrams(), ECHO, app="echo")
    connected = DatagramSocket(made, so.AF_INET, "udp")
    connected.bind((HOST4, 9))
    connected.connect((PEER4, 9))
    return made


def survives(packets: list[bytes | Packet]) -> list[Reason]:
    """Each has a reason, and is counted by it; whatever follows from them raises nothing."""
    target = host()
    reasons: list[Reason] = []
    for now, packet in enumerate(packets):
        reason = target.receive(packet, now)
        assert isinstance(reason, Match | Drop)
        reasons.append(reason)
        while (answer := target.transmit(now)) is not None or target.news:
            target.dispatch()
            if answer is not None:
                assert isinstance(
                    ipv4.parse(bytes(answer)) if bytes(answer)[0] >> 4 == 4 else ipv6.parse(bytes(answer)), tuple
                )
    for later in (10**9, 10**11, 10**13):
        target.on_timer(later)
        target.dispatch()
        while target.transmit(later) is not None:
            pass
    assert not target.faults
    assert sum(target.counters[reason] for reason in set(reasons)) >= len(packets)
    return reasons


@given(st.lists(st.binary(max_size=120), max_size=5))
@settings(deadline=None, max_examples=300)
def test_any_bytes(packets: list[bytes]) -> None:
    survives(list(packets))


@given(st.binary(max_size=100), U8, U8, st.integers(0, 0x3FFF), st.binary(max_size=40), st.booleans())
@settings(deadline=None, max_examples=300)
def test_any_payload_in_a_good_ipv4_header(
    payload: bytes, protocol: int, ttl: int, fragment: int, options: bytes, is_view: bool
) -> None:
    area = options + bytes(-len(options) % 4)
    head = ipv4.HEADER.pack(
        0x45 + len(area) // 4, 0, 20 + len(area) + len(payload), 7, fragment, ttl, protocol, 0, *ENDS[4]
    )
    head += area
    raw = head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload
    survives([Packet(memoryview(raw)) if is_view else raw])


@given(st.binary(max_size=200), st.sampled_from([0, 6, 17, 43, 44, 58, 59, 60, 1, 99]), U8)
@settings(deadline=None, max_examples=300)
def test_any_payload_in_a_good_ipv6_header(payload: bytes, protocol: int, hop_limit: int) -> None:
    survives([ipv6.header(*ENDS[6], protocol, len(payload), ttl=hop_limit) + payload])


CHAIN = st.lists(st.tuples(st.sampled_from([0, 43, 44, 60]), st.binary(min_size=6, max_size=6)), max_size=10)


@given(CHAIN, st.sampled_from([6, 17, 58, 59, 99]), st.binary(max_size=60))
@settings(deadline=None, max_examples=300)
def test_any_chain_of_extension_headers(chain: list[tuple[int, bytes]], protocol: int, payload: bytes) -> None:
    body, following = payload, protocol
    for kind, content in reversed(chain):
        body = bytes([following, 0]) + content + body
        following = kind
    survives([ipv6.header(*ENDS[6], following, len(body)) + body])


SEGMENTS = st.lists(
    st.tuples(U32, U32, U8, U16, U16, st.binary(max_size=40), st.binary(max_size=30), st.sampled_from([ECHO, 99])),
    min_size=1,
    max_size=8,
)


@given(SEGMENTS, st.sampled_from([4, 6]), st.integers(0, 3000))
@settings(deadline=None, max_examples=300)
def test_any_segments(
    segments: list[tuple[int, int, int, int, int, bytes, bytes, int]], version: int, gso_size: int
) -> None:
    """With good checksums, from one port, so that some meet a half-open connection."""
    packets: list[bytes | Packet] = []
    for seq, ack, flags, wnd, urg, options, data, port in segments:
        area = options + bytes(-len(options) % 4)
        raw = tcp.FIXED.pack(1000, port, seq, ack, (5 + len(area) // 4) << 12 | flags, wnd, 0, urg) + area + data
        total = checksum(raw, pseudo_sum(*ENDS[version], TCP, len(raw)))
        raw = raw[:16] + total.to_bytes(2, "big") + raw[18:]
        module = ipv4 if version == 4 else ipv6
        packets.append(Packet(module.header(*ENDS[version], TCP, len(raw)) + raw, (), gso_size))
    survives(packets)


@given(U8, U8, U32, st.binary(max_size=120), st.sampled_from([4, 6]))
@settings(deadline=None, max_examples=300)
def test_any_icmp_message(kind: int, code: int, rest: int, body: bytes, version: int) -> None:
    raw = icmp.emit(*ENDS[version], kind, code, rest, body)
    module, protocol = (ipv4, ICMP) if version == 4 else (ipv6, ICMPV6)
    survives([module.header(*ENDS[version], protocol, len(raw)) + raw])


@given(
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=40), st.booleans()), max_size=12),
    st.sampled_from([4, 6]),
)
@settings(deadline=None, max_examples=300)
def test_any_fragments(pieces: list[tuple[int, bytes, bool]], version: int) -> None:
    packets: list[bytes | Packet] = []
    for offset, data, more in pieces:
        if version == 4:
            head = ipv4.header(*ENDS[4], UDP, len(data), ident=1, fragment=offset | (0x2000 if more else 0))
            packets.append(head + data)
        else:
            body = ipv6.FRAGMENT.pack(UDP, 0, offset * 8 | more, 1) + data
            packets.append(ipv6.header(*ENDS[6], ipv6.FRAGMENT_HEADER, len(body)) + body)
    survives(packets)


# -- mutated packets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_mutated_packets(seed: int) -> None:
    world = run(seed, PACKETS)
    assert world.count >= PACKETS
    reasons = world.reasons
    assert world.answers > PACKETS // 20
    # the deep code was reached, not only the parsers
    deep = (Match.CONNECTION, Match.ICMP_ECHO, Match.UDP_CONNECTED, Match.FRAGMENT, Drop.PAWS, Drop.RST_CHALLENGED)
    assert all(reasons[reason] for reason in deep), reasons
    assert len(reasons) >= 40


def test_the_same_seed_throws_the_same() -> None:
    assert run(99, 1000).reasons == run(99, 1000).reasons


# -- does the fuzzer notice? -----------------------------------------------------------------------------------------------------


def noticed(seed: int = 0) -> str:
    with pytest.raises(Violation) as caught:
        World(seed).attack(6000)
    return str(caught.value)


def test_a_rst_for_a_rst_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "RST", 0)
    assert "a RST for a RST" in noticed()
    assert reset_for(tcp.Segment(1, 2, 0x10, 0)).flags & RST


def test_an_icmp_error_about_an_icmp_error_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netemu.wire.icmp.is_error", lambda ip, data: False)
    assert "an ICMPv6 error about an ICMPv6 error" in noticed()


def test_an_answer_to_an_impossible_source_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netemu.stack.host.is_impossible_source", lambda address: False)
    assert "impossible source" in noticed() or "an answer to many" in noticed()


def test_an_exception_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(self: Icmp, *_: object) -> Reason:
        raise IndexError("out of range")

    monkeypatch.setattr(Icmp, "receive", receive)
    world = World.__new__(World)
    with pytest.raises(IndexError):  # of honest life already
        world.__init__(0)  # type: ignore[misc]


def test_memory_that_grows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netemu.stack.listener.Listener.syn_queue_full", False)
    world = World(0)
    for n in range(2000):
        raw = tcp.FIXED.pack(n + 1, ECHO, 1, 0, 5 << 12 | 2, 1000, 0, 0)
        raw = raw[:16] + checksum(raw, pseudo_sum(*ENDS[4], TCP, 20)).to_bytes(2, "big") + raw[18:]
        world.throw(Packet(ipv4.header(*ENDS[4], TCP, 20) + raw))
    with pytest.raises(Violation, match="connections"):
        world.check_bounds()
