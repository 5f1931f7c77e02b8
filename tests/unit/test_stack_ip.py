"""What the host does with an IP packet before anyone looks inside: every drop by its name, and quiet where it must be."""

from __future__ import annotations

import subprocess
import sys

import pytest
from stack_bench import (
    FAMILIES,
    HOST,
    HOST6,
    OF_HOST,
    OF_PEER,
    PEER,
    PEER6,
    Bench,
    Pair,
    Seen,
    echo,
    icmp_message,
    ip,
    tcp,
    udp,
)

from netemu.reasons import Drop, Match
from netemu.stack import constants as so
from netemu.stack.host import Host
from netemu.wire import icmp, igmp, ipv4, ipv6
from netemu.wire.checksum import checksum
from netemu.wire.ip import ICMP, ICMPV6, IGMP, TCP, UDP, parse_address
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, RST, SYN


def with_options(packet: bytes, options: bytes) -> bytes:
    """An IPv4 packet with options put in."""
    total = len(packet) + len(options)
    head = bytes([0x45 + len(options) // 4]) + packet[1:2] + total.to_bytes(2, "big") + packet[4:10] + bytes(2)
    head += packet[12:20] + options
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + packet[20:]


def with_header(packet: bytes, at: int, value: int) -> bytes:
    """One byte of an IPv4 header changed, the checksum made right."""
    head = bytearray(packet[:20])
    head[at] = value
    head[10:12] = bytes(2)
    head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
    return bytes(head) + packet[20:]


def behind(first: int, header: bytes, packet: bytes) -> bytes:
    """An IPv6 packet with an extension header put in."""
    length = len(packet) - 40 + len(header)
    return packet[:4] + length.to_bytes(2, "big") + bytes([first]) + packet[7:40] + header + packet[40:]


def counted(bench: Bench, packet: bytes, reason: Drop | Match) -> None:
    """The packet is dropped in silence, and counted, by this reason."""
    before = bench.host.counters[reason]
    assert bench.quiet(packet) is reason
    assert bench.host.counters[reason] == before + 1


# -- versions, lengths, checksums ------------------------------------------------------------------------------------


def test_nothing_at_all() -> None:
    counted(Bench(), b"", Drop.TRUNCATED)


@pytest.mark.parametrize("version", [0, 1, 2, 3, 5, 7, 8, 15])
def test_other_versions(version: int) -> None:
    counted(Bench(), bytes([version << 4 | 5]) + echo()[1:], Drop.BAD_IP_VERSION)


@FAMILIES
def test_truncated_anywhere(version: int) -> None:
    whole = echo(b"0123456789", version=version)
    bench = Bench()
    for size in range(1, len(whole)):
        counted(bench, whole[:size], Drop.TRUNCATED)
    assert bench.give(whole) is Match.ICMP_ECHO


def test_ipv4_header_damage() -> None:
    bench = Bench()
    whole = echo()
    counted(bench, whole[:11] + bytes([whole[11] ^ 1]) + whole[12:], Drop.BAD_IP_CHECKSUM)
    counted(bench, bytes([0x44]) + whole[1:], Drop.BAD_IP_HEADER)
    counted(bench, with_header(whole, 3, 10), Drop.BAD_IP_HEADER)


@FAMILIES
def test_padding_behind_the_packet_is_cut_off(version: int) -> None:
    bench = Bench()
    body = b"0123456"
    seen = bench.ask(echo(body, version=version) + b"padding of a link that has a least size")
    assert seen.message.body == body
    bench.listen(OF_HOST[version])
    assert bench.give(tcp(SYN, 5, src=OF_PEER[version], dst=OF_HOST[version]) + bytes(9)) is Match.LISTEN_SPECIFIC
    assert bench.one().segment.ack == 6
    socket = bench.udp(so.AF_INET if version == 4 else so.AF_INET6)
    socket.bind((OF_HOST[version], 7))
    bench.give(udp(b"data", src=OF_PEER[version], dst=OF_HOST[version]) + bytes(9))
    assert socket.recvfrom(100)[0] == b"data"


@pytest.mark.parametrize("chunk", [memoryview, bytes])
def test_packets_may_be_views_and_packets(chunk: type) -> None:
    bench = Bench()
    assert bench.give(Packet(chunk(echo(b"x")))) is Match.ICMP_ECHO
    assert bench.give(chunk(echo(b"x", version=6))) is Match.ICMP_ECHO


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dst",
    [
        PEER,
        "198.18.0.3",
        "198.18.0.255",
        "255.255.255.255",
        "0.0.0.0",
        "127.0.0.1",
        "127.255.255.255",
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
    ],
)
def test_other_ipv4_destinations(dst: str) -> None:
    """What UDP hears there is told in test_stack_multicast.py."""
    bench = Bench()
    bench.listen("0.0.0.0")
    expected = {"224.0.0.1": Drop.UDP_NOBODY, "255.255.255.255": Drop.UDP_NOBODY, "239.1.2.3": Drop.NOT_JOINED}
    counted(bench, udp(b"x", dst=dst, dport=9999), expected.get(dst, Drop.NOT_FOR_US))
    counted(bench, tcp(SYN, dst=dst), Drop.NOT_FOR_US)  # MUST-57
    counted(bench, tcp(ACK, dst=dst, dport=9999), Drop.NOT_FOR_US)
    counted(bench, ip(PEER, dst, 99, b""), Drop.NOT_FOR_US)
    if not dst.startswith(("224", "239")):
        counted(bench, echo(dst=dst), Drop.NOT_FOR_US)  # RFC 1122 3.2.2.6 lets a host ignore broadcast pings


@pytest.mark.parametrize(
    "dst", [PEER6, "2001:2::3", "::", "::1", "ff02::1", "ff02::fb", "ff05::2", "::ffff:198.18.0.2"]
)
def test_other_ipv6_destinations(dst: str) -> None:
    bench = Bench()
    bench.listen("::")
    expected = {"ff02::1": Drop.UDP_NOBODY, "ff02::fb": Drop.NOT_JOINED, "ff05::2": Drop.NOT_JOINED}
    counted(bench, udp(b"x", src=PEER6, dst=dst), expected.get(dst, Drop.NOT_FOR_US))
    counted(bench, tcp(SYN, src=PEER6, dst=dst), Drop.NOT_FOR_US)
    counted(bench, ip(PEER6, dst, 99, b""), Drop.NOT_FOR_US)


@pytest.mark.parametrize(
    "packet",
    [
        icmp_message(133, src="fe80::1", dst="ff02::2"),  # router solicitation
        icmp_message(135, src="::", dst="ff02::1:ff00:2"),  # duplicate address detection
        icmp_message(143, src="::", dst="ff02::16"),  # MLDv2, without its router alert
        behind(0, bytes([ICMPV6, 0, 5, 2, 0, 0, 1, 0]), icmp_message(143, src="fe80::1", dst="ff02::16")),
        ip("0.0.0.0", "224.0.0.22", IGMP, igmp.emit_report([])),
        with_options(ip(PEER, "224.0.0.22", IGMP, igmp.emit_report([])), b"\x94\x04\0\0"),
        icmp_message(128, src=PEER6, dst="ff02::1"),  # ping to all nodes
    ],
)
def test_what_a_kernel_says_on_a_fresh_tun(packet: bytes) -> None:
    counted(Bench(), packet, Drop.NEIGHBOUR_CHATTER)


@pytest.mark.parametrize("kind", [133, 134, 135, 136, 132, 143])
def test_neighbour_discovery_to_ourselves_is_chatter_too(kind: int) -> None:
    counted(Bench(), icmp_message(kind, src="fe80::1", dst=HOST6), Drop.NEIGHBOUR_CHATTER)


BAD_V4 = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", HOST]
BAD_V6 = ["::", "::1", "ff02::1", "::ffff:198.18.0.1", HOST6]


@pytest.mark.parametrize("src", BAD_V4 + BAD_V6)
def test_bad_sources(src: str) -> None:
    """MUST-63; RFC 1122 3.2.1.3."""
    bench = Bench()
    dst = HOST6 if ":" in src else HOST
    bench.listen(dst)
    socket = bench.udp(so.AF_INET6 if ":" in src else so.AF_INET)
    socket.bind((dst, 7))
    counted(bench, tcp(SYN, src=src, dst=dst), Drop.BAD_SOURCE)
    counted(bench, tcp(ACK, src=src, dst=dst), Drop.BAD_SOURCE)
    counted(bench, tcp(SYN, src=src, dst=dst, dport=9999), Drop.BAD_SOURCE)
    counted(bench, udp(b"x", src=src, dst=dst), Drop.BAD_SOURCE)
    counted(bench, udp(b"x", src=src, dst=dst, dport=9999), Drop.BAD_SOURCE)
    counted(bench, echo(version=6 if ":" in src else 4, src=src, dst=dst), Drop.BAD_SOURCE)
    counted(bench, ip(src, dst, 99, b""), Drop.BAD_SOURCE)
    assert not bench.host.table.connections


@FAMILIES
def test_hop_limit_zero(version: int) -> None:
    bench = Bench()
    src, dst = OF_PEER[version], OF_HOST[version]
    counted(bench, udp(b"x", src=src, dst=dst, ttl=0), Drop.HOP_LIMIT_ZERO)
    assert bench.give(udp(b"x", src=src, dst=dst, ttl=1)) is Drop.UDP_NO_SOCKET


# -- options and extension headers -----------------------------------------------------------------------------------


def test_source_routes_are_not_followed() -> None:
    for kind in (0x83, 0x89):
        packet = with_options(echo(), bytes([kind, 7, 4, 198, 18, 0, 1, 0]))
        counted(Bench(), packet, Drop.SOURCE_ROUTED)


def test_other_ipv4_options_are_ignored() -> None:
    """MUST-50."""
    bench = Bench()
    assert bench.give(with_options(echo(b"x"), b"\x07\x07\x04\0\0\0\0\0")) is Match.ICMP_ECHO
    bench.listen(HOST)
    assert bench.give(with_options(tcp(SYN), b"\x44\x04\x05\0")) is Match.LISTEN_SPECIFIC


def test_malformed_ipv4_options() -> None:
    counted(Bench(), with_options(echo(), b"\x07\x09\x04\0"), Drop.BAD_IP_OPTION)


def ext(option: str = "", following: int = UDP) -> bytes:
    """A destination options header with one option of up to 6 bytes."""
    area = bytes.fromhex(option)
    return bytes([following, 0]) + area + bytes(6 - len(area))


def test_ipv6_options_that_are_skipped() -> None:
    bench = Bench()
    socket = bench.udp(so.AF_INET6)
    socket.bind((HOST6, 7))
    for first in (0, 60):
        packet = behind(first, ext("1e020000"), udp(b"data", src=PEER6, dst=HOST6))
        assert bench.give(packet) is Match.UDP_SPECIFIC
        assert socket.recvfrom(9)[0] == b"data"


def test_an_ipv6_option_that_is_dropped_in_silence() -> None:
    counted(Bench(), behind(60, ext("5e020000"), udp(src=PEER6, dst=HOST6)), Drop.BAD_IP_OPTION)


@pytest.mark.parametrize("option", ["9e020000", "de020000"])
def test_an_ipv6_option_that_is_answered(option: str) -> None:
    """RFC 4443 3.4."""
    bench = Bench()
    packet = behind(60, ext("0000" + option), udp(b"data", src=PEER6, dst=HOST6))
    seen = bench.ask(packet)
    assert (seen.message.type, seen.message.code, seen.message.rest) == (4, 2, 44)
    assert seen.message.body == packet
    assert (seen.ip.src, seen.ip.dst) == (parse_address(HOST6), parse_address(PEER6))
    assert bench.host.counters[Drop.BAD_IP_OPTION] == 1


def test_an_ipv6_option_sent_to_a_group() -> None:
    """RFC 8200 4.2: action 10 is told even then, action 11 is not."""
    bench = Bench()
    told = bench.ask(behind(60, ext("9e020000"), udp(src=PEER6, dst="ff02::1")))
    assert told.ip.src == parse_address(HOST6)
    counted(bench, behind(60, ext("de020000"), udp(src=PEER6, dst="ff02::1")), Drop.BAD_IP_OPTION)


def test_a_host_without_ipv6_tells_nobody() -> None:
    bench = Bench(HOST)
    counted(bench, behind(60, ext("9e020000"), udp(src=PEER6, dst="ff02::1")), Drop.BAD_IP_OPTION)
    counted(bench, behind(60, ext("9e020000"), udp(src=PEER6, dst=HOST6)), Drop.BAD_IP_OPTION)
    counted(bench, echo(version=6), Drop.NOT_FOR_US)


def test_option_problems_of_others_are_no_business_of_ours() -> None:
    counted(Bench(), behind(60, ext("9e020000"), udp(src=PEER6, dst="2001:2::9")), Drop.BAD_IP_OPTION)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 100, 137])
def test_an_icmpv6_error_with_a_bad_option_is_not_answered(kind: int) -> None:
    """RFC 4443 2.4 e.1, e.2: whatever stands before it."""
    packet = behind(60, ext("9e020000", ICMPV6), icmp_message(kind, src=PEER6, dst=HOST6, body=bytes(48)))
    counted(Bench(), packet, Drop.BAD_IP_OPTION)
    bench = Bench()
    bench.ask(behind(60, ext("9e020000", ICMPV6), echo(version=6)))


@pytest.mark.parametrize("src", ["::", "::1", "ff02::1", "::ffff:1.2.3.4"])
def test_an_option_problem_of_a_bad_source_is_not_answered(src: str) -> None:
    counted(Bench(), behind(60, ext("9e020000"), udp(src=src, dst=HOST6)), Drop.BAD_SOURCE)


@pytest.mark.parametrize("kind", [0, 4])
def test_routing_headers_are_not_followed(kind: int) -> None:
    """RFC 8200 4.4, RFC 5095."""
    bench = Bench()
    seen = bench.ask(behind(43, bytes([UDP, 0, kind, 1, 0, 0, 0, 0]), udp(src=PEER6, dst=HOST6)))
    assert (seen.message.type, seen.message.code, seen.message.rest) == (4, 0, 42)
    packet = behind(43, bytes([ICMPV6, 0, kind, 0, 0, 0, 0, 0]), echo(b"x", version=6))
    assert bench.give(packet) is Match.ICMP_ECHO


def test_hop_by_hop_options_in_the_wrong_place() -> None:
    bench = Bench()
    packet = behind(60, ext(following=0) + ext(), udp(src=PEER6, dst=HOST6))
    seen = bench.ask(packet)
    assert (seen.message.type, seen.message.code, seen.message.rest) == (4, 1, 40)


def test_no_next_header() -> None:
    counted(Bench(), ip(PEER6, HOST6, 59, b"whatever"), Drop.UNKNOWN_PROTOCOL)


# -- protocols -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [0, 47, 50, 58, 99, 255])
def test_unknown_protocols_over_ipv4(protocol: int) -> None:
    bench = Bench()
    packet = ip(PEER, HOST, protocol, b"hello")
    seen = bench.ask(packet)
    assert (seen.message.type, seen.message.code) == (icmp.UNREACHABLE, icmp.PROTOCOL)
    assert seen.message.body == packet
    assert bench.host.counters[Drop.UNKNOWN_PROTOCOL] == 1


@pytest.mark.parametrize("protocol", [1, 2, 47, 50, 99, 255])
@pytest.mark.parametrize("chain", [0, 1])
def test_unknown_protocols_over_ipv6(protocol: int, chain: int) -> None:
    """RFC 4443 3.4: parameter problem, pointing at the next header field that is not known."""
    bench = Bench()
    packet = ip(PEER6, HOST6, protocol, b"hello")
    if chain:
        packet = behind(60, ext(following=protocol), packet)
    seen = bench.ask(packet)
    assert (seen.message.type, seen.message.code, seen.message.rest) == (4, 1, 40 if chain else 6)
    assert seen.message.body == packet


# -- what leaves -----------------------------------------------------------------------------------------------------


def test_the_source_is_the_address_that_was_asked() -> None:
    bench = Bench(HOST, "198.18.0.7", "10.0.0.1")
    for address in (HOST, "198.18.0.7", "10.0.0.1"):
        assert bench.ask(echo(dst=address)).ip.src == parse_address(address)
        assert bench.ask(udp(dst=address)).ip.src == parse_address(address)
        assert bench.ask(tcp(SYN, dst=address)).ip.src == parse_address(address)


def test_the_source_of_our_own_accord_shares_the_longest_prefix() -> None:
    """RFC 6724 rule 8."""
    bench = Bench("10.0.0.1", HOST, "2001:2::2", "fd00::2")
    for remote, local in (("198.18.0.99", HOST), ("10.9.9.9", "10.0.0.1"), ("fd00::9", "fd00::2")):
        socket = bench.udp(so.AF_INET6 if ":" in remote else so.AF_INET)
        socket.connect((remote, 9))
        assert socket.getsockname()[0] == local


def test_addresses_may_come_with_a_prefix() -> None:
    bench = Bench("198.18.0.2/24", "2001:2::2/64")
    assert bench.ask(echo()).message.type == icmp.ECHO_REPLY
    assert bench.ask(echo(version=6)).message.type == icmp.V6_ECHO_REPLY


def test_identifications_differ() -> None:
    """RFC 6864: of packets that may be cut up."""
    bench = Bench()
    socket = bench.udp()
    socket.connect((PEER, 9))
    idents = []
    for _ in range(100):
        socket.send(b"x")
        idents.append(bench.one().ip.ident)
    assert len(set(idents)) == 100


@FAMILIES
def test_a_full_queue_drops_and_counts(version: int) -> None:
    bench = Bench()
    for _ in range(5000):
        bench.give(echo(b"x", version=version))
    assert len(bench.take()) == 4096
    assert bench.host.counters[Drop.OUTPUT_FULL] == 5000 - 4096
    assert bench.ask(echo(b"x", version=version)).message.body == b"x"


def test_every_packet_is_counted_once() -> None:
    bench = Bench()
    packets = [echo(), udp(), tcp(RST), tcp(SYN), b"", ip(PEER, HOST, 99, b"x"), echo(version=6), udp(dst=PEER)]
    for packet in packets:
        bench.give(packet)
    arrived = sum(n for reason, n in bench.host.counters.items() if isinstance(reason, Match | Drop))
    assert arrived == len(packets)


# -- packets to ourselves --------------------------------------------------------------------------------------------


def test_packets_to_ourselves_never_see_the_wire() -> None:
    bench = Bench()
    here, there = bench.udp(), bench.udp()
    there.bind((HOST, 7))
    here.connect((HOST, 7))
    here.send(b"hello")
    assert bench.take() == []
    assert there.recvfrom(100) == (b"hello", here.getsockname())
    there.close()
    here.send(b"hello")
    assert bench.take() == []
    with pytest.raises(ConnectionRefusedError):
        here.recv(100)


def test_mtu_of_the_path_to_ourselves() -> None:
    """No fragments: a packet of any size reaches the other socket."""
    bench = Bench()
    here, there = bench.udp(), bench.udp()
    there.bind((HOST, 7))
    here.sendto(b"x" * 65507, (HOST, 7))
    assert bench.take() == []
    assert len(there.recvfrom(65535)[0]) == 65507


def test_two_hosts_on_one_wire() -> None:
    pair = Pair()
    a, b = pair.a.socket(so.AF_INET6, so.SOCK_DGRAM), pair.b.socket(so.AF_INET6, so.SOCK_DGRAM)
    b.bind(("::", 7))
    a.connect((HOST6, 7))
    a.send(b"ping")
    pair.run()
    assert len(pair.seen) == 1
    assert isinstance(pair.seen[0], Seen)


def test_the_same_seed_does_the_same() -> None:
    """A host is a function of its inputs."""

    def run() -> list[bytes]:
        host = Host([HOST, HOST6], seed=5)
        out = []
        for n in range(20):
            host.receive(udp(b"x" * 3000, sport=1000 + n), n)
            host.receive(echo(b"y" * 3000, version=6), n)
            socket = host.socket()
            with pytest.raises(BlockingIOError):
                socket.connect((PEER, 80))
            while (packet := host.transmit(n)) is not None:
                out.append(bytes(packet))
        return out

    first = run()
    assert first == run()
    assert any(data[0] >> 4 == 6 and ipv6.parse(data).is_fragment for data in first)  # type: ignore[union-attr]
    assert sum(data[9] == TCP for data in first if data[0] == 0x45) == 20
    assert sum(data[9] == ICMP for data in first if data[0] == 0x45) == 20
    assert all(ipv4.parse(data) for data in first if data[0] == 0x45)


# -- known faults of netemu/stack/host.py -------------------------------------------------------------------------------


def test_option_problems_are_counted_by_their_reason() -> None:
    bench = Bench()
    bench.give(behind(43, bytes([UDP, 0, 0, 1, 0, 0, 0, 0]), udp(src=PEER6, dst=HOST6)))
    bench.give(behind(60, ext(following=0) + ext(), udp(src=PEER6, dst=HOST6)))
    bench.give(behind(44, ipv6.FRAGMENT.pack(UDP, 0, 9, 1), ip(PEER6, HOST6, UDP, b"seven b")))
    assert [bench.host.counters[r] for r in (Drop.SOURCE_ROUTED, Drop.BAD_IP_HEADER, Drop.FRAGMENT_BAD)] == [1, 1, 1]


def test_an_option_problem_of_our_own_address_is_a_bad_source() -> None:
    counted(Bench(), behind(60, ext("9e020000"), udp(src=HOST6, dst=HOST6)), Drop.BAD_SOURCE)


def test_the_broadcast_address_of_our_subnet_is_no_source() -> None:
    """RFC 1122 3.2.1.3; MUST-63."""
    bench = Bench("198.18.0.2/24")
    bench.listen(HOST)
    counted(bench, tcp(SYN, src="198.18.0.255"), Drop.BAD_SOURCE)


def test_a_host_may_have_a_loopback_address() -> None:
    bench = Bench("127.0.0.1")
    there, here = bench.udp(), bench.udp()
    there.bind(("127.0.0.1", 7))
    here.sendto(b"x", ("127.0.0.1", 7))
    assert bench.take() == []
    assert there.recvfrom(9)[0] == b"x"


def test_the_source_address_does_not_depend_on_the_process() -> None:
    code = f"from netemu.stack.host import Host; print(Host(['198.18.0.2', '198.18.0.3']).source_for({parse_address(PEER)!r}))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(n)}, capture_output=True, check=True
        ).stdout
        for n in range(1, 7)
    }
    assert len(said) == 1
