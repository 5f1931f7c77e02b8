"""What rules do to packets: changed, answered, ended; and that lengths and checksums are right where they are to be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_packets import DISSECTED, PACKETS, RAW, packet, table
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror
from scapy.layers.inet6 import IPv6
from stack_bench import OF_HOST, OF_PEER, echo, icmp_message, tcp

from netemu.link.rules.outcomes import Answered, Delivered, Dropped, Goes, Outcome, Steered
from netemu.link.rules.parse import parse_rule
from netemu.link.rules.table import RuleTable
from netemu.link.rules.view import View
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire import udp as udp_wire
from netemu.wire.checksum import is_valid
from netemu.wire.ip import IpPacket, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, RST, SYN

MS = 1_000_000
WHOLE = [name for name in PACKETS if "fragment" not in name]


def outcomes(rule: str, name: str) -> list[Outcome]:
    return list(table(rule).apply(packet(name), 0))


def only(rule: str, name: str) -> Packet:
    """The one packet that goes on."""
    (outcome,) = outcomes(rule, name)
    assert isinstance(outcome, Goes)
    assert not outcome.delay
    return outcome.packet


def dissected(data: Packet) -> Any:
    raw = bytes(data)
    return (IP if raw[0] >> 4 == 4 else IPv6)(raw)


def checksums_are_right(data: bytes) -> bool:
    view = View(Packet(data))
    if view.version == 4 and not is_valid(data[: view.start]):
        return False
    whole = data[view.start : view.end]
    if view.transport < 0 or (view.transport == 17 and not any(whole[6:8])):
        return True
    initial = 0 if view.transport == 1 else pseudo_sum(view.source, view.destination, view.transport, len(whole))
    return is_valid(whole, initial)


def test_no_rule_that_matches_leaves_a_packet_alone() -> None:
    assert not outcomes("udp drop", "syn")
    assert not table().apply(packet("syn"), 0)


def test_drop() -> None:
    came = packet("syn")
    (outcome,) = table("tcp drop").apply(came, 0)
    assert outcome == Dropped(came, "rule 1: drop")


def test_delay_adds_up() -> None:
    came = packet("syn")
    (outcome,) = table("tcp delay 50ms", "tcp.flags.syn delay 1.5ms").apply(came, 0)
    assert outcome == Goes(came, "rule 1: delay 50ms; rule 2: delay 1.5ms", 51_500_000)


def test_duplicates_go_past_later_actions() -> None:
    first, *copies = outcomes("udp duplicate 2, set udp.dstport=7, delay 1ms", "dns")
    assert isinstance(first, Goes)
    assert first.delay == MS
    assert dissected(first.packet)[UDP].dport == 7
    assert [copy.packet.head for copy in copies] == [RAW["dns"]] * 2
    assert all(isinstance(copy, Goes) and not copy.delay for copy in copies)


@pytest.mark.parametrize("name", ["get", "data6", "dns", "udp6", "ping", "syn", "ping6", "empty udp"])
def test_corrupt_turns_one_bit_that_the_checksum_finds(name: str) -> None:
    old, new = RAW[name], bytes(only("frame corrupt", name))
    turned = int.from_bytes(old, "big") ^ int.from_bytes(new, "big")
    assert turned.bit_count() == 1
    assert not checksums_are_right(new)
    start = View(Packet(old)).payload_at if View(Packet(old)).length else View(Packet(old)).start
    assert turned.bit_length() <= (len(old) - start) * 8


@pytest.mark.parametrize("name", ["get", "data6", "dns", "udp6", "ping"])
def test_corrupt_good_deceives_the_checksum(name: str) -> None:
    old, new = RAW[name], bytes(only("frame corrupt good", name))
    at = View(Packet(old)).payload_at
    assert (int.from_bytes(old[at:], "big") ^ int.from_bytes(new[at:], "big")).bit_count() == 1
    assert checksums_are_right(new)


def test_corrupt_good_damages_payload_only() -> None:
    assert not outcomes("frame corrupt good", "syn")
    for name in ("later fragment", "later fragment6", "other"):
        assert not outcomes("frame corrupt good", name)


def test_which_bit_is_turned_is_the_seeds_choice() -> None:
    def damage(seed: str) -> list[bytes]:
        rules = table("tcp corrupt", seed=seed)
        return [bytes(rules.apply(packet("get"), 0)[0].packet) for _ in range(10)]

    assert damage("1") == damage("1")
    assert damage("1") != damage("2")
    assert len(set(damage("1"))) > 5


@pytest.mark.parametrize(
    ("rule", "name", "layer", "attribute", "value"),
    [
        ("tcp set tcp.window_size_value=0", "get", TCP, "window", 0),
        ("tcp set tcp.ack_raw+=5", "get", TCP, "ack", 4),
        ("tcp set tcp.seq_raw-=2000", "syn", TCP, "seq", 0x100000000 - 1000),
        ("ip set ip.ttl=1", "dns", IP, "ttl", 1),
        ("ip set ip.dsfield.ecn=3", "get", IP, "tos", 0xBB),
        ("ip set ip.dsfield.dscp = 0x2e", "ack", IP, "tos", 0xBA),
        ("ip set ip.src=192.0.2.9", "dns", IP, "src", "192.0.2.9"),
        ("ipv6 set ipv6.dst=2001:db8::9", "data6", IPv6, "dst", "2001:db8::9"),
        ("ipv6 set ipv6.hlim=0", "ping6", IPv6, "hlim", 0),
        ("ipv6 set ipv6.tclass=0xff", "udp6", IPv6, "tc", 0xFF),
        ("ipv6 set ipv6.flow=1", "data6", IPv6, "fl", 1),
        ("tcp set tcp.flags.push=1", "ack", TCP, "flags", "PA"),
        ("tcp set tcp.flags=0x3f", "ack", TCP, "flags", "FSRPAU"),
        ("tcp set tcp.flags.syn=false", "syn", TCP, "flags", ""),
        ("udp set udp.srcport=1", "udp6", UDP, "sport", 1),
        ("icmp set icmp.type=13", "ping", ICMP, "type", 13),
        ("ip set ip.id=0xbeef", "ping", IP, "id", 0xBEEF),
    ],
)
def test_set(rule: str, name: str, layer: Any, attribute: str, value: object) -> None:
    new = only(rule, name)
    assert dissected(new)[layer].getfieldval(attribute) == value
    assert len(bytes(new)) == len(RAW[name])
    assert checksums_are_right(bytes(new))


def test_set_an_option() -> None:
    new = only("tcp.options.mss_val set tcp.options.mss_val=536, set tcp.options.timestamp.tsval+=1", "syn")
    assert dissected(new)[TCP].options == [
        ("MSS", 536),
        ("SAckOK", b""),
        ("Timestamp", (8, 9)),
        ("NOP", None),
        ("WScale", 7),
    ]
    assert checksums_are_right(bytes(new))


def test_set_a_field_that_is_not_there_does_nothing() -> None:
    rules = table("frame set tcp.options.mss_val=536")
    assert not rules.apply(packet("ack"), 0)
    assert (rules.show(0)[0].packets, rules.show(0)[0].acted) == (1, 0)


def test_a_checksum_that_is_set_stays_so() -> None:
    assert dissected(only("tcp set tcp.checksum=0x1234", "get"))[TCP].chksum == 0x1234
    assert dissected(only("tcp set ip.checksum=0", "get"))[IP].chksum == 0


def test_a_wrong_checksum_is_not_made_right_by_the_way() -> None:
    new = only("tcp corrupt, set ip.ttl=3, set tcp.window_size_value=1", "get")
    assert dissected(new)[IP].ttl == 3
    assert is_valid(bytes(new)[:20])
    assert not checksums_are_right(bytes(new))


def test_a_fragments_checksum_follows_a_change() -> None:
    """That of the whole datagram, which stands in its first fragment."""
    payload = bytes(range(200)) * 10
    whole = IP(src="192.0.2.1", dst="192.0.2.2", id=1) / UDP(sport=1, dport=2) / payload
    raw = bytes(whole)
    first = IP(src="192.0.2.1", dst="192.0.2.2", id=1, flags="MF", proto=17) / raw[20:820]
    (outcome,) = table("udp set udp.dstport=99").apply(Packet(bytes(first)), 0)
    rebuilt = bytes(outcome.packet)[20:] + raw[820:]
    assert is_valid(rebuilt, pseudo_sum(bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)), 17, len(rebuilt)))


def test_no_udp_checksum_stays_none() -> None:
    bare = bytes(IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=1, dport=2, chksum=0) / b"abc")
    (outcome,) = table("udp set udp.dstport=99").apply(Packet(bare), 0)
    assert dissected(outcome.packet)[UDP].chksum == 0


@given(
    st.sampled_from(WHOLE),
    st.sampled_from(["seq_raw", "ack_raw", "srcport", "window_size_value"]),
    st.integers(0, 65535),
)
def test_checksums_are_right_after_any_change(name: str, field: str, value: int) -> None:
    for outcome in table(f"tcp set tcp.{field}={value}", f"udp set udp.srcport={value}").apply(packet(name), 0):
        assert checksums_are_right(bytes(outcome.packet))


@pytest.mark.parametrize("name", ["get", "data6", "dns", "udp6", "ping"])
def test_truncate_keeps_so_much_payload(name: str) -> None:
    new = only("frame truncate 2", name)
    at = View(packet(name)).payload_at
    assert bytes(new)[at:] == RAW[name][at : at + 2]
    assert checksums_are_right(bytes(new))
    parsed = ipv4.parse(bytes(new)) if bytes(new)[0] >> 4 == 4 else ipv6.parse(bytes(new))
    assert getattr(parsed, "end", None) == len(new)
    if UDP in DISSECTED[name]:
        assert isinstance(parsed, IpPacket)
        datagram = udp_wire.parse(bytes(new), parsed)
        assert isinstance(datagram, udp_wire.Datagram)
        assert datagram.payload == RAW[name][at : at + 2]
    assert not outcomes("frame truncate 100", name)


def test_reset_answers_as_a_host_without_the_connection() -> None:
    answer, dropped = outcomes("tcp reset", "get")
    assert isinstance(answer, Answered)
    assert isinstance(dropped, Dropped)
    assert answer.comment == "rule 1: reset sender"
    got = dissected(answer.packet)
    assert (got.src, got.dst, got.sport, got.dport) == ("198.18.0.2", "198.18.0.1", 80, 40000)
    assert (got[TCP].flags, got[TCP].seq) == ("R", 0xFFFFFFFF)
    assert checksums_are_right(bytes(answer.packet))
    answer, _ = outcomes("tcp reset sender", "syn")
    got = dissected(answer.packet)[TCP]
    assert (got.flags, got.seq, got.ack) == ("RA", 0, 1001)


def test_reset_both_ways() -> None:
    answer, delivered, _ = outcomes("tcp reset both", "data6")
    assert isinstance(answer, Answered)
    assert isinstance(delivered, Delivered)
    back, on = dissected(answer.packet), dissected(delivered.packet)
    assert (back.src, back[TCP].seq, back[TCP].flags) == ("2001:2::2", 6, "R")
    assert (on.src, on[TCP].seq, on[TCP].ack, on[TCP].flags) == ("2001:2::1", 5, 6, "RA")
    assert checksums_are_right(bytes(delivered.packet))


def test_a_reset_out_of_the_window_does_not_stand_for_the_packet() -> None:
    answer, delivered, goes = outcomes("tcp reset both out-of-window", "get")
    assert dissected(answer.packet)[TCP].seq == 0x3FFFFFFF
    assert dissected(delivered.packet)[TCP].seq == 1001 + 0x40000000
    assert isinstance(goes, Goes)
    assert goes.packet.head == RAW["get"]


@pytest.mark.parametrize("name", ["rst", "dns", "ping", "later fragment", "other"])
def test_what_cannot_be_reset_goes_on(name: str) -> None:
    assert not outcomes("frame reset both", name)


CODES = [("net", 0, 0), ("host", 1, 3), ("port", 3, 4), ("admin", 13, 1)]


@pytest.mark.parametrize(("word", "code4", "code6"), CODES)
def test_unreachable(word: str, code4: int, code6: int) -> None:
    for name, kind, code in (("dns", 3, code4), ("udp6", 1, code6), ("get", 3, code4)):
        answer, dropped = outcomes(f"frame unreachable {word}", name)
        assert isinstance(answer, Answered)
        assert isinstance(dropped, Dropped)
        raw = bytes(answer.packet)
        got = dissected(answer.packet)
        assert (got.src, got.dst) == (DISSECTED[name].dst, DISSECTED[name].src)
        ip = ipv4.parse(raw) if raw[0] >> 4 == 4 else ipv6.parse(raw)
        assert isinstance(ip, IpPacket)
        assert icmp.parse(raw, ip) == icmp.Message(kind, code, 0, RAW[name])


def test_who_signs_an_error_can_be_said() -> None:
    rules = RuleTable("", {4: bytes((10, 0, 0, 1))})
    rules.add(parse_rule("udp unreachable host"))
    answer, _ = rules.apply(packet("dns"), 0)
    got = dissected(answer.packet)
    assert (got.src, got.dst, got[ICMP].code) == ("10.0.0.1", "198.18.0.1", 1)
    answer, _ = rules.apply(packet("udp6"), 0)
    assert dissected(answer.packet).src == "2001:2::1"


@pytest.mark.parametrize("version", [4, 6])
def test_no_error_about_an_error(version: int) -> None:
    kind = icmp.UNREACHABLE if version == 4 else icmp.V6_UNREACHABLE
    error = icmp_message(kind, 0, 0, RAW["dns"], src=OF_PEER[version], dst=OF_HOST[version])
    assert not table("frame unreachable").apply(Packet(error), 0)
    assert table("frame unreachable").apply(Packet(echo(version=version)), 0)
    assert not outcomes("frame unreachable", "later fragment")
    assert not outcomes("frame unreachable", "other")  # to a group


def test_frag_needed_is_for_what_is_too_long() -> None:
    big4 = Packet(tcp(ACK, 1, 1, bytes(1000)))
    big6 = Packet(tcp(ACK, 1, 1, bytes(1400), src=OF_PEER[6], dst=OF_HOST[6]))
    answer, dropped = table("tcp frag-needed 1039").apply(big4, 0)
    assert isinstance(dropped, Dropped)
    got = dissected(answer.packet)
    assert (got[ICMP].type, got[ICMP].code, got[ICMP].nexthopmtu) == (3, 4, 1039)
    assert got[IPerror].dst == "198.18.0.2"
    assert got[TCPerror].dport == 80
    assert len(answer.packet) == 576
    answer, _ = table("tcp frag-needed 1280").apply(big6, 0)
    raw = bytes(answer.packet)
    assert (raw[40], raw[41], int.from_bytes(raw[44:48], "big")) == (2, 0, 1280)
    assert not table("tcp frag-needed 1040").apply(big4, 0)
    assert not outcomes("udp frag-needed 68", "dns")  # it may be fragmented: DF is not set


def test_mark() -> None:
    assert dissected(only("frame mark", "ack")).tos == 3
    assert dissected(only("frame mark", "data6")).tc == 3
    assert checksums_are_right(bytes(only("frame mark", "ack")))
    assert not outcomes("frame mark", "get")  # not capable


def test_steer_takes_copies_along() -> None:
    first, second = outcomes("udp duplicate, steer wan-2", "dns")
    assert isinstance(first, Steered)
    assert isinstance(second, Steered)
    assert first.link == second.link == "wan-2"
    assert first.packet is not second.packet
    assert first.packet.head == second.packet.head == RAW["dns"]


def test_pass_keeps_later_rules_away_and_count_does_not() -> None:
    rules = table("tcp.flags.syn pass", "tcp count", "tcp drop")
    (passed,) = rules.apply(packet("syn"), 0)
    assert isinstance(passed, Goes)
    assert passed.packet.head == RAW["syn"]
    assert isinstance(rules.apply(packet("ack"), 0)[0], Dropped)
    assert [row.packets for row in rules.show(0)] == [1, 1, 1]


def test_later_rules_see_what_earlier_ones_made() -> None:
    rules = table("tcp.dstport == 80 set tcp.dstport=81", "tcp.dstport == 80 drop", "tcp.dstport == 81 delay 1ms")
    (outcome,) = rules.apply(packet("syn"), 0)
    assert isinstance(outcome, Goes)
    assert outcome.delay == MS
    assert outcome.comment == "rule 1: set tcp.dstport=81; rule 3: delay 1ms"


def test_flags_of_a_reset_do_not_start_a_war() -> None:
    for flags in (RST, RST | ACK, RST | SYN, RST | FIN):
        assert not table("tcp reset both").apply(Packet(tcp(flags, 1, 1)), 0)
