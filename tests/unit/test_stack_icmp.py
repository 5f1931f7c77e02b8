"""ICMP and ICMPv6: echo, the errors that the host sends and those that it must not, and the errors that it acts on."""

from __future__ import annotations

import errno

import pytest
from stack_bench import (
    FAMILIES,
    HOST,
    HOST6,
    MS,
    OF_HOST,
    OF_PEER,
    PEER,
    PEER6,
    SECOND,
    Bench,
    Peer,
    Seen,
    echo,
    errno_of,
    icmp_message,
    ip,
    tcp,
    udp,
)

from netemu.reasons import Close, Drop, Match
from netemu.stack import constants as so
from netemu.stack.icmp import MAX_PATHS
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.state import State
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire.ip import ICMP, ICMPV6, UDP, parse_address
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, SYN


def unreachable(version: int, code: int, quoted: bytes, *, src: str = "", rest: int = 0) -> bytes:
    kind = icmp.UNREACHABLE if version == 4 else icmp.V6_UNREACHABLE
    return error(version, kind, code, quoted, src=src, rest=rest)


def error(version: int, kind: int, code: int, quoted: bytes, *, src: str = "", rest: int = 0) -> bytes:
    return icmp_message(kind, code, rest, quoted[:520], src=src or OF_PEER[version], dst=OF_HOST[version])


def too_big(version: int, quoted: bytes, mtu: int) -> bytes:
    """Fragmentation needed, or packet too big, from some router on the way."""
    if version == 4:
        return unreachable(4, icmp.FRAGMENTATION_NEEDED, quoted, src="192.0.2.1", rest=mtu)
    return error(6, icmp.V6_TOO_BIG, 0, quoted, src="2001:db8::1", rest=mtu)


# -- echo ------------------------------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 56, 1400])
def test_echo(version: int, size: int) -> None:
    bench = Bench()
    body = bytes(n & 0xFF for n in range(size))
    assert bench.give(echo(body, version=version, rest=0x12345678)) is Match.ICMP_ECHO
    seen = bench.one()
    kind = icmp.ECHO_REPLY if version == 4 else icmp.V6_ECHO_REPLY
    assert seen.message == (kind, 0, 0x12345678, body)
    assert (seen.ip.src, seen.ip.dst) == (parse_address(OF_HOST[version]), parse_address(OF_PEER[version]))
    assert seen.ip.hop_limit == 64


def test_an_echo_of_zeros_has_a_checksum_that_the_kernel_takes() -> None:
    assert Bench().ask(echo(bytes(56), rest=0)).payload[2:4] == b"\xff\xff"


@FAMILIES
def test_the_answer_has_the_traffic_class_of_the_request(version: int) -> None:
    bench = Bench()
    src, dst = parse_address(OF_PEER[version]), parse_address(OF_HOST[version])
    body = icmp.emit(src, dst, icmp.ECHO_REQUEST if version == 4 else icmp.V6_ECHO_REQUEST, 0, 1, b"x")
    packet = ip(OF_PEER[version], OF_HOST[version], ICMP if version == 4 else ICMPV6, body, tos=0xB8)
    assert bench.ask(packet).ip.tos == 0xB8


@FAMILIES
def test_echo_with_a_code_is_none(version: int) -> None:
    kind = icmp.ECHO_REQUEST if version == 4 else icmp.V6_ECHO_REQUEST
    packet = icmp_message(kind, 1, 0, b"x", src=OF_PEER[version], dst=OF_HOST[version])
    assert Bench().quiet(packet) is Drop.ICMP_IGNORED


@FAMILIES
def test_bad_checksums_and_stumps(version: int) -> None:
    bench = Bench()
    packet = echo(b"xy", version=version)
    assert bench.quiet(packet[:-1] + b"z") is Drop.BAD_ICMP
    for size in range(8):
        stump = ip(OF_PEER[version], OF_HOST[version], ICMP if version == 4 else ICMPV6, bytes(size))
        assert bench.quiet(stump) is Drop.BAD_ICMP


@pytest.mark.parametrize("kind", [0, 1, 2, 4, 5, 6, 7, 9, 10, 13, 14, 15, 16, 17, 18, 30, 42, 255])
def test_icmp_types_without_effect(kind: int) -> None:
    """MUST-55: source quench among them; redirects, timestamps and address masks too."""
    bench = Bench()
    bench.listen(HOST)
    assert bench.quiet(icmp_message(kind, 0, 0, tcp(SYN))) is Drop.ICMP_IGNORED


@pytest.mark.parametrize("kind", [0, 5, 127, 129, 138, 139, 140, 144, 160, 200, 255])
def test_icmpv6_types_without_effect(kind: int) -> None:
    assert Bench().quiet(icmp_message(kind, 0, 0, bytes(48), src=PEER6, dst=HOST6)) is Drop.ICMP_IGNORED


# -- errors that the host sends --------------------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("size", [0, 100, 1400])
def test_port_unreachable(version: int, size: int) -> None:
    bench = Bench()
    packet = udp(b"u" * size, src=OF_PEER[version], dst=OF_HOST[version])
    assert bench.give(packet) is Drop.UDP_NO_SOCKET
    seen = bench.one()
    expected = (icmp.UNREACHABLE, icmp.PORT, 0) if version == 4 else (icmp.V6_UNREACHABLE, icmp.V6_PORT, 0)
    assert seen.message[:3] == expected
    room = 576 - 28 if version == 4 else 1280 - 48  # RFC 1812 4.3.2.3, RFC 4443 2.4 c
    assert seen.message.body == packet[:room]


@FAMILIES
def test_a_partial_checksum_is_finished_in_the_quotation(version: int) -> None:
    """A packet of the local kernel comes with a part of its checksum only."""
    bench = Bench()
    whole = udp(b"data", src=OF_PEER[version], dst=OF_HOST[version])
    start = 20 if version == 4 else 40
    partial = whole[: start + 6] + b"\x12\x34" + whole[start + 8 :]
    bench.give(Packet(partial, (), 0, start, 6))
    assert bench.one().message.body == whole
    unchecked = whole[: start + 6] + bytes(2) + whole[start + 8 :]
    if version == 4:
        assert bench.ask(unchecked).message.body == unchecked


@FAMILIES
def test_padding_is_not_quoted(version: int) -> None:
    bench = Bench()
    packet = udp(b"u", src=OF_PEER[version], dst=OF_HOST[version])
    assert bench.ask(packet + bytes(20)).message.body == packet
    unknown = ip(OF_PEER[version], OF_HOST[version], 99, b"u")
    assert bench.ask(unknown + bytes(20)).message.body == unknown
    if version == 6:
        option = packet[:6] + bytes([60]) + packet[7:40] + bytes([UDP, 0, 0x9E, 2, 0, 0, 0, 0]) + packet[40:]
        option = option[:4] + (len(option) - 40).to_bytes(2, "big") + option[6:]
        assert bench.ask(option + bytes(20)).message.body == option


def test_never_about_a_fragment_that_is_not_the_first() -> None:
    """RFC 1122 3.2.2."""
    bench = Bench()
    for protocol in (UDP, 99):
        assert bench.quiet(ip(PEER, HOST, protocol, bytes(16), fragment=5)) is Match.FRAGMENT
    assert bench.wait(31 * SECOND) == []


@pytest.mark.parametrize("dst", ["255.255.255.255", "198.18.0.255", "224.0.0.251", "ff02::1", "ff02::fb", "ff05::1:3"])
def test_never_about_a_packet_to_many(dst: str) -> None:
    bench = Bench()
    src = PEER6 if ":" in dst else PEER
    for packet in (udp(b"x", src=src, dst=dst), ip(src, dst, 99, b"x"), tcp(SYN, src=src, dst=dst)):
        bench.quiet(packet)


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_never_about_an_icmp_error(kind: int) -> None:
    """Nothing in this host provokes one; but the rule stands where errors are made."""
    bench = Bench()
    packet = icmp_message(kind, 0, 0, bytes(28))
    found = ipv4.parse(packet)
    assert not isinstance(found, Drop)
    bench.host.icmp.error(Drop.BAD_ICMP, found, packet, icmp.PARAMETER_PROBLEM, 0)
    assert bench.take() == []
    query = echo()
    found = ipv4.parse(query)
    assert not isinstance(found, Drop)
    bench.host.icmp.error(Drop.BAD_ICMP, found, query, icmp.PARAMETER_PROBLEM, 0)
    assert bench.one().message.body == query


@FAMILIES
def test_errors_are_rate_limited(version: int) -> None:
    """RFC 1812 4.3.2.8, RFC 4443 2.4 f: 50 at once, then 1000 a second."""
    bench = Bench()
    packet = udp(b"x", src=OF_PEER[version], dst=OF_HOST[version])

    def answered(count: int) -> int:
        for _ in range(count):
            assert bench.give(packet) is Drop.UDP_NO_SOCKET
        return len(bench.take())

    assert answered(200) == icmp.ERROR_BURST
    assert bench.host.counters[Drop.ICMP_RATE_LIMITED] == 150
    bench.now += 10 * MS
    assert answered(200) == 10
    bench.now += SECOND
    assert answered(200) == icmp.ERROR_BURST
    for _ in range(100):  # echo is not an error
        assert len(bench.take()) == 0
        bench.give(echo(version=version))
        assert len(bench.take()) == 1


def test_what_is_not_answered_takes_nothing_from_the_limit() -> None:
    bench = Bench()
    packet = bytes([UDP, 0, 0x9E, 2, 0, 0, 0, 0])
    for _ in range(200):
        inner = icmp_message(1, 0, 0, bytes(48), src=PEER6, dst=HOST6)
        bad = inner[:4] + (len(inner) - 32).to_bytes(2, "big") + bytes([60]) + inner[7:40]
        bench.quiet(bad + bytes([ICMPV6]) + packet[1:] + inner[40:])
    bench.ask(udp(b"x"))


# -- errors that arrive: path MTU ------------------------------------------------------------------------------------


def mss_of(socket: StreamSocket) -> int:
    assert socket.connection is not None
    return socket.connection.path_mss


def in_flight(bench: Bench, version: int = 4) -> tuple[StreamSocket, Peer, list[Seen]]:
    """A connection with three full segments under way."""
    socket, peer = bench.connected(version=version)
    socket.send(b"d" * 4000)
    out = peer.heard()
    assert len(out) == 3
    return socket, peer, out


@FAMILIES
def test_a_smaller_path_mtu(version: int) -> None:
    bench = Bench()
    socket, peer, out = in_flight(bench, version)
    before = mss_of(socket)
    headers = 40 if version == 4 else 60
    assert before == 1500 - headers
    assert bench.give(too_big(version, out[1].raw, 1300)) is Match.ICMP_ERROR
    assert bench.host.matched is socket
    assert mss_of(socket) == 1300 - headers
    again = bench.take()
    assert again
    assert all(len(seen.raw) <= 1300 for seen in again)
    assert again[0].segment.seq == out[0].segment.seq
    sent = b""
    while again:
        for seen in again:
            at = seen.segment.seq - out[0].segment.seq & 0xFFFFFFFF
            sent = sent[:at] + seen.segment.data()
        peer.rcv_nxt = again[-1].segment.end
        again = peer.send(ACK)
    assert sent == b"d" * 4000


@FAMILIES
def test_only_the_quoted_connection_changes_at_once(version: int) -> None:
    bench = Bench()
    first, _, out = in_flight(bench, version)
    second, _ = bench.connected(81, version=version)
    bench.give(too_big(version, out[0].raw, 1400))
    assert mss_of(first) == 1400 - (40 if version == 4 else 60)
    assert mss_of(second) == 1500 - (40 if version == 4 else 60)
    bench.take()
    third = bench.tcp(so.AF_INET if version == 4 else so.AF_INET6)
    bench.connecting(third, 82, version=version)
    assert mss_of(third) == mss_of(first)  # what is new on the same path knows it


@pytest.mark.parametrize("offset", [-1, 0, 1, 3999, 4000, 1 << 31])
def test_a_quoted_number_must_be_in_flight(offset: int) -> None:
    """RFC 5927 4.1: a forger has to guess."""
    bench = Bench()
    socket, _, out = in_flight(bench)
    raw = out[0].raw
    seq = out[0].segment.seq + offset & 0xFFFFFFFF
    quoted = raw[:24] + seq.to_bytes(4, "big") + raw[28:]
    sent = sum(seen.segment.length for seen in out)
    reason = bench.give(too_big(4, quoted, 1000))
    if 0 <= offset < sent:
        assert reason is Match.ICMP_ERROR
        assert mss_of(socket) == 960
    else:
        assert reason is Drop.ICMP_NO_SOCKET
        assert mss_of(socket) == 1460
        assert not bench.host.path_mtu


def test_with_nothing_in_flight_nothing_can_have_been_too_big() -> None:
    bench = Bench()
    socket, peer, out = in_flight(bench)
    while peer.send(ACK):
        pass
    assert socket.connection is not None
    assert socket.connection.flight == 0
    assert bench.quiet(too_big(4, out[-1].raw, 1000)) is Drop.ICMP_NO_SOCKET
    at_edge = out[0].raw[:24] + (socket.connection.snd_nxt & 0xFFFFFFFF).to_bytes(4, "big") + out[0].raw[28:]
    assert bench.quiet(too_big(4, at_edge, 1000)) is Drop.ICMP_NO_SOCKET
    assert mss_of(socket) == 1460


@pytest.mark.parametrize(("mtu", "taken"), [(0, 552), (68, 552), (551, 552), (552, 552), (576, 576), (1499, 1499)])
def test_the_least_path_mtu_over_ipv4(mtu: int, taken: int) -> None:
    """As Linux; RFC 5927 section 7."""
    bench = Bench()
    socket, _, out = in_flight(bench)
    assert bench.give(too_big(4, out[0].raw, mtu)) is Match.ICMP_ERROR
    assert mss_of(socket) == taken - 40


@pytest.mark.parametrize(("mtu", "taken"), [(0, 1500), (576, 1500), (1279, 1500), (1280, 1280), (1400, 1400)])
def test_the_least_path_mtu_over_ipv6(mtu: int, taken: int) -> None:
    """RFC 8201 section 4: a report below 1280 is discarded."""
    bench = Bench()
    socket, _, out = in_flight(bench, 6)
    assert bench.give(too_big(6, out[0].raw, mtu)) is Match.ICMP_ERROR
    assert mss_of(socket) == taken - 60


@FAMILIES
@pytest.mark.parametrize("mtu", [1500, 1501, 9000, 65535])
def test_a_report_never_makes_it_larger(version: int, mtu: int) -> None:
    bench = Bench()
    socket, _, out = in_flight(bench, version)
    bench.give(too_big(version, out[0].raw, mtu))
    assert not bench.host.path_mtu
    bench.give(too_big(version, out[0].raw, 1300))
    bench.take()
    bench.give(too_big(version, out[0].raw, mtu))
    bench.give(too_big(version, out[0].raw, 1400))
    assert bench.host.mtu_to(parse_address(OF_PEER[version])) == 1300
    assert mss_of(socket) == 1300 - (40 if version == 4 else 60)


def test_a_path_mtu_is_forgotten_after_ten_minutes() -> None:
    """RFC 1191 6.3."""
    bench = Bench()
    _, peer, out = in_flight(bench)
    bench.give(too_big(4, out[0].raw, 1000))
    bench.take()
    while peer.send(ACK):
        pass
    bench.wait(599 * SECOND)
    assert bench.host.mtu_to(parse_address(PEER)) == 1000
    bench.wait(2 * SECOND)
    assert bench.host.mtu_to(parse_address(PEER)) == 1500
    assert not bench.host.path_mtu


@FAMILIES
def test_a_syn_is_never_too_big(version: int) -> None:
    bench = Bench()
    socket = bench.tcp(so.AF_INET if version == 4 else so.AF_INET6)
    syn = bench.connecting(socket, version=version)
    bench.give(too_big(version, syn.raw, 1300))
    assert bench.take() == []
    peer = Peer(bench, syn.sport, 80, version, 1000)
    peer.rcv_nxt = syn.segment.seq + 1
    bench.give(peer.made(SYN | ACK, 1000))
    assert bench.one().segment.flags == ACK
    socket.send(b"x" * 3000)
    assert all(len(seen.raw) <= 1300 for seen in bench.take())


@FAMILIES
def test_udp_learns_the_path_mtu_only_for_a_socket_of_ours(version: int) -> None:
    bench = Bench()
    family = so.AF_INET if version == 4 else so.AF_INET6
    stranger = udp(b"x" * 1400, src=OF_HOST[version], dst=OF_PEER[version], sport=5000, dport=9)
    assert bench.quiet(too_big(version, stranger, 1300)) is Drop.ICMP_NO_SOCKET
    assert not bench.host.path_mtu
    socket = bench.udp(family)
    socket.bind((OF_HOST[version], 5000))
    socket.sendto(b"x" * 1400, (OF_PEER[version], 9))
    sent = bench.one()
    assert bench.give(too_big(version, sent.raw, 1300)) is Match.ICMP_ERROR
    socket.sendto(b"x" * 1400, (OF_PEER[version], 9))
    assert len(bench.take()) == 2


def test_a_large_ping_learns_the_path_mtu() -> None:
    """From the first fragment of our answer, which is what a router quotes."""
    bench = Bench()
    assert len(bench_ping(bench, 1400)) == 1
    out = bench_ping(bench, 4000)
    assert len(out) == 3
    assert bench.quiet(too_big(6, out[1].raw[:1240], 1280)) is Drop.ICMP_NO_SOCKET  # no first fragment: whose was it?
    assert bench.quiet(too_big(6, out[0].raw[:1240], 1280)) is Match.ICMP_ERROR
    assert len(bench_ping(bench, 1400)) == 2


def bench_ping(bench: Bench, size: int) -> list[Seen]:
    bench.give(echo(b"p" * size, version=6))
    return bench.take()


@FAMILIES
def test_only_echo_replies_of_ours_teach_a_path_mtu(version: int) -> None:
    kinds = {4: (icmp.ECHO_REPLY, icmp.ECHO_REQUEST), 6: (icmp.V6_ECHO_REPLY, icmp.V6_ECHO_REQUEST)}[version]
    for kind, expected in zip(kinds, (Match.ICMP_ERROR, Drop.ICMP_NO_SOCKET), strict=True):
        bench = Bench()
        quoted = icmp_message(kind, 0, 0, b"x", src=OF_HOST[version], dst=OF_PEER[version])
        assert bench.quiet(too_big(version, quoted, 1300)) is expected
        assert len(bench.host.path_mtu) == (expected is Match.ICMP_ERROR)
    bench = Bench()
    quoted = icmp_message(kinds[0], 0, 0, b"x", src=OF_HOST[version], dst=OF_PEER[version])
    assert bench.quiet(unreachable(version, 1, quoted)) is Drop.ICMP_IGNORED


def test_the_table_of_path_mtus_is_bounded() -> None:
    bench = Bench()
    for n in range(MAX_PATHS + 100):
        src = f"2001:2::{n >> 12:x}:{n & 0xFFF:x}:1"
        reply = icmp_message(icmp.V6_ECHO_REPLY, 0, 0, b"x", src=HOST6, dst=src)
        assert bench.quiet(too_big(6, reply, 1280)) is Match.ICMP_ERROR
    assert len(bench.host.path_mtu) == MAX_PATHS


# -- errors that arrive: whose are they? -----------------------------------------------------------------------------


@FAMILIES
def test_quotations_that_are_too_short(version: int) -> None:
    bench = Bench()
    _, _, out = in_flight(bench, version)
    raw = out[0].raw
    for size in range(48 if version == 6 else 28):
        assert bench.quiet(error(version, 1 if version == 6 else 3, 1, raw[:size])) is Drop.BAD_ICMP
    assert (
        bench.quiet(error(version, 1 if version == 6 else 3, 1, raw[: 48 if version == 6 else 28])) is Match.ICMP_ERROR
    )
    assert bench.quiet(error(version, 1 if version == 6 else 3, 1, b"\x00" + raw[1:])) is Drop.BAD_ICMP
    wrong = udp(dst=HOST) if version == 6 else udp(src=PEER6, dst=HOST6)
    assert bench.quiet(error(version, 1 if version == 6 else 3, 1, wrong + bytes(40))) is Drop.BAD_ICMP


def test_a_quoted_fragment_that_is_not_the_first_says_nothing() -> None:
    bench = Bench()
    _, _, out = in_flight(bench)
    raw = out[0].raw
    assert bench.quiet(unreachable(4, 1, raw[:6] + b"\x00\x05" + raw[8:])) is Drop.ICMP_IGNORED


def test_quoted_ipv4_options_are_passed_over() -> None:
    bench = Bench()
    _, _, out = in_flight(bench)
    raw = out[0].raw
    assert bench.give(unreachable(4, 1, b"\x46" + raw[1:20] + b"\x01" * 4 + raw[20:])) is Match.ICMP_ERROR


@FAMILIES
@pytest.mark.parametrize("what", ["port", "peer", "source", "protocol"])
def test_somebody_elses_packet(version: int, what: str) -> None:
    bench = Bench()
    socket, _, out = in_flight(bench, version)
    raw = bytearray(out[0].raw)
    start = 20 if version == 4 else 40
    at = {"port": start + 1, "peer": start - 1, "source": start - (5 if version == 4 else 17), "protocol": 9}[what]
    if what == "protocol" and version == 6:
        at = 6
    raw[at] ^= 0x55
    assert bench.quiet(unreachable(version, 1, bytes(raw))) is Drop.ICMP_NO_SOCKET
    assert socket.state_name == "ESTABLISHED"


@FAMILIES
def test_an_error_about_what_left_the_table(version: int) -> None:
    bench = Bench()
    socket, _, out = in_flight(bench, version)
    socket.abort()
    bench.take()
    assert bench.quiet(unreachable(version, 1, out[0].raw)) is Drop.ICMP_NO_SOCKET


@FAMILIES
def test_an_error_about_a_listener_is_nobodys(version: int) -> None:
    bench = Bench()
    bench.listen(OF_HOST[version])
    quoted = tcp(SYN, src=OF_HOST[version], dst=OF_PEER[version], sport=80, dport=1234)
    assert bench.quiet(unreachable(version, 1, quoted)) is Drop.ICMP_NO_SOCKET


# -- errors that arrive: connections ---------------------------------------------------------------------------------

ERRNO_V4 = {
    0: errno.ENETUNREACH,
    1: errno.EHOSTUNREACH,
    2: errno.ENOPROTOOPT,
    3: errno.ECONNREFUSED,
    5: errno.EOPNOTSUPP,
    6: errno.ENETUNREACH,
    7: errno.EHOSTDOWN,
    8: errno.ENONET,
    9: errno.ENETUNREACH,
    10: errno.EHOSTUNREACH,
    11: errno.ENETUNREACH,
    12: errno.EHOSTUNREACH,
    13: errno.EHOSTUNREACH,
    14: errno.EHOSTUNREACH,
    15: errno.EHOSTUNREACH,
}
ERRNO_V6 = {
    0: errno.ENETUNREACH,
    1: errno.EACCES,
    2: errno.EHOSTUNREACH,
    3: errno.EHOSTUNREACH,
    4: errno.ECONNREFUSED,
    5: errno.EACCES,
    6: errno.EACCES,
    9: errno.EPROTO,
}
CODES = [(4, code, number) for code, number in ERRNO_V4.items()] + [(6, code, n) for code, n in ERRNO_V6.items()]


@pytest.mark.parametrize(("version", "code", "number"), CODES)
def test_unreachable_ends_an_attempt_to_connect(version: int, code: int, number: int) -> None:
    """SHLD-26; in SYN-SENT the soft ones too, as everyone does (RFC 5461)."""
    bench = Bench()
    socket = bench.tcp(so.AF_INET if version == 4 else so.AF_INET6)
    syn = bench.connecting(socket, version=version)
    assert bench.give(unreachable(version, code, syn.raw)) is Match.ICMP_ERROR
    assert bench.take() == []
    assert not bench.host.table.connections
    assert bench.host.counters[Close.UNREACHABLE] == 1
    assert errno_of(socket.connect, (OF_PEER[version], 80)) == number
    assert bench.wait(300 * SECOND) == []


@pytest.mark.parametrize("how", ["so_error", "send", "recv"])
def test_the_error_is_told_once(how: str) -> None:
    bench = Bench()
    socket = bench.tcp()
    bench.give(unreachable(4, 1, bench.connecting(socket).raw))
    if how == "so_error":
        assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == errno.EHOSTUNREACH
        assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == 0
    elif how == "send":
        assert errno_of(socket.send, b"x") == errno.EHOSTUNREACH
    else:
        assert errno_of(socket.recv, 1) == errno.EHOSTUNREACH
    assert errno_of(socket.send, b"x") == errno.EPIPE
    assert socket.recv(1) == b""


@pytest.mark.parametrize("code", [c for c in ERRNO_V4 if c != 4])
def test_unreachable_does_not_end_what_is_established(code: int) -> None:
    """MUST-56, and the hard ones neither (RFC 5927 section 6)."""
    bench = Bench()
    socket, peer, out = in_flight(bench)
    assert bench.quiet(unreachable(4, code, out[0].raw)) is Match.ICMP_ERROR
    assert socket.state_name == "ESTABLISHED"
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == 0
    while peer.send(ACK):
        pass
    peer.send(ACK, b"still here")
    assert socket.recv(100) == b"still here"


@FAMILIES
@pytest.mark.parametrize("kind", ["time exceeded", "parameter problem"])
def test_soft_errors_do_not_end_an_attempt_to_connect(version: int, kind: str) -> None:
    """MUST-56; but they are what the failure is blamed on in the end (SHLD-25)."""
    bench = Bench()
    socket = bench.tcp(so.AF_INET if version == 4 else so.AF_INET6)
    syn = bench.connecting(socket, version=version)
    types = {"time exceeded": (11, 3), "parameter problem": (12, 4)}[kind]
    assert bench.quiet(error(version, types[version == 6], 0, syn.raw)) is Match.ICMP_ERROR
    assert socket.state_name == "SYN-SENT"
    bench.wait(400 * SECOND)
    expected = errno.EHOSTUNREACH if kind == "time exceeded" else errno.EPROTO
    assert errno_of(socket.connect, (OF_PEER[version], 80)) == expected


@pytest.mark.parametrize("heard", [False, True])
def test_what_a_timeout_is_blamed_on(heard: bool) -> None:
    """MUST-47, SHLD-25: as Linux' sk_err_soft, which an ACK of the peer clears."""
    bench = Bench()
    socket, peer, out = in_flight(bench)
    bench.give(unreachable(4, 1, out[0].raw))
    if heard:
        bench.now += 1
        peer.send(ACK)
        while peer.heard():
            peer.send(ACK)
        socket.send(b"more")
        bench.take()
    bench.wait(2000 * SECOND)
    assert socket.state_name == State.CLOSED.value
    assert errno_of(socket.recv, 1) == (errno.ETIMEDOUT if heard else errno.EHOSTUNREACH)
    assert socket.recv(1) == b""


@FAMILIES
def test_a_half_open_connection_hears_nothing(version: int) -> None:
    bench = Bench()
    listener = bench.listen(OF_HOST[version])
    peer = Peer(bench, 80, 40000, version, 1000)
    answer = bench.ask(peer.made(SYN, 1000))
    peer.rcv_nxt = answer.segment.seq + 1
    assert bench.quiet(unreachable(version, 1, answer.raw)) is Match.ICMP_ERROR
    assert listener.soft_error is None
    peer.send(ACK)
    assert listener.accept()[0].state_name == "ESTABLISHED"


def test_time_wait_is_not_disturbed() -> None:
    bench = Bench()
    socket, peer, out = in_flight(bench)
    while peer.send(ACK):
        pass
    socket.close()
    fin = bench.take()
    peer.rcv_nxt = fin[-1].segment.end
    peer.send(ACK | 1)
    assert len(bench.host.table.connections) == 1
    assert bench.quiet(unreachable(4, 1, out[0].raw)) is Drop.ICMP_NO_SOCKET


# -- errors that arrive: datagrams -----------------------------------------------------------------------------------

HEARD_V4 = {
    2: errno.ENOPROTOOPT,
    3: errno.ECONNREFUSED,
    4: errno.EMSGSIZE,
    6: errno.ENETUNREACH,
    7: errno.EHOSTDOWN,
    8: errno.ENONET,
    9: errno.ENETUNREACH,
    10: errno.EHOSTUNREACH,
    13: errno.EHOSTUNREACH,
    14: errno.EHOSTUNREACH,
    15: errno.EHOSTUNREACH,
}
HEARD_V6 = {1: errno.EACCES, 4: errno.ECONNREFUSED, 5: errno.EACCES, 6: errno.EACCES, 7: errno.EPROTO}


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize(("version", "code"), [(4, code) for code in range(17)] + [(6, code) for code in range(8)])
def test_what_a_udp_socket_hears(connected: bool, version: int, code: int) -> None:
    """Facts U5."""
    bench = Bench()
    socket = bench.udp(so.AF_INET if version == 4 else so.AF_INET6)
    socket.connect((OF_PEER[version], 9))
    name = socket.getsockname()
    if not connected:
        socket.close()
        socket = bench.udp(so.AF_INET if version == 4 else so.AF_INET6)
        socket.bind(name)
    socket.sendto(b"x", (OF_PEER[version], 9))
    sent = bench.one()
    reason = bench.quiet(unreachable(version, code, sent.raw))
    number = (HEARD_V4 if version == 4 else HEARD_V6).get(code, 0) if connected else 0
    assert reason is (Match.ICMP_ERROR if number or (version, code) == (4, 4) else Drop.ICMP_IGNORED)
    assert errno_of(socket.recv, 1) == (number or errno.EAGAIN)
    assert errno_of(socket.recv, 1) == errno.EAGAIN  # once


@pytest.mark.parametrize(
    ("version", "kind", "code", "number"),
    [
        (4, 11, 0, 0),
        (4, 12, 0, errno.EPROTO),
        (4, 4, 0, 0),
        (4, 5, 1, 0),
        (6, 3, 0, 0),
        (6, 4, 0, errno.EPROTO),
        (6, 2, 0, errno.EMSGSIZE),
    ],
)
def test_other_errors_at_a_connected_udp_socket(version: int, kind: int, code: int, number: int) -> None:
    bench = Bench()
    socket = bench.udp(so.AF_INET if version == 4 else so.AF_INET6)
    socket.connect((OF_PEER[version], 9))
    socket.send(b"x")
    bench.give(error(version, kind, code, bench.one().raw, rest=1300 if kind == 2 else 0))
    assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == number


@pytest.mark.parametrize("how", ["send", "recv", "so_error"])
def test_a_pending_error_is_reported_once_by_whatever_comes_first(how: str) -> None:
    bench = Bench()
    socket = bench.udp()
    socket.connect((PEER, 9))
    socket.send(b"x")
    sent = bench.one()
    bench.give(udp(b"queued before", sport=9, dport=socket.lport))
    bench.give(unreachable(4, 3, sent.raw))
    assert socket.poll() == 3
    if how == "send":
        assert errno_of(socket.send, b"y") == errno.ECONNREFUSED
        assert bench.take() == []  # and nothing was sent
    elif how == "recv":
        assert errno_of(socket.recv, 100) == errno.ECONNREFUSED  # before what is queued
    else:
        assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == errno.ECONNREFUSED
        assert socket.getsockopt(so.SOL_SOCKET, so.SO_ERROR) == 0
    assert socket.recv(100) == b"queued before"
    assert socket.send(b"z") == 1


def test_only_the_socket_whose_datagram_it_was() -> None:
    bench = Bench()
    mine, sibling = bench.udp(reuseaddr=True), bench.udp(reuseaddr=True)
    for socket in (sibling, mine):
        socket.bind((HOST, 5000))
    mine.connect((PEER, 9))
    sibling.connect((PEER, 10))
    mine.send(b"x")
    bench.give(unreachable(4, 3, bench.one().raw))
    assert errno_of(sibling.recv, 1) == errno.EAGAIN
    assert errno_of(mine.recv, 1) == errno.ECONNREFUSED


def test_an_ipv4_error_reaches_a_dual_stack_socket() -> None:
    bench = Bench()
    socket = bench.udp(so.AF_INET6)
    socket.connect((f"::ffff:{PEER}", 9))
    socket.send(b"x")
    sent = bench.one()
    assert sent.ip.version == 4
    bench.give(unreachable(4, 3, sent.raw))
    assert errno_of(socket.recv, 1) == errno.ECONNREFUSED


def test_fragments_of_our_datagram_in_a_quotation() -> None:
    bench = Bench()
    socket = bench.udp(so.AF_INET6)
    socket.connect((PEER6, 9))
    socket.send(b"x" * 3000)
    out = bench.take()
    assert len(out) == 3
    assert bench.quiet(unreachable(6, 4, out[2].raw)) is Drop.ICMP_NO_SOCKET
    assert bench.give(unreachable(6, 4, out[0].raw)) is Match.ICMP_ERROR
    assert errno_of(socket.recv, 1) == errno.ECONNREFUSED
    assert ipv6.parse(out[0].raw)
