"""The table: order, numbers, counts, limits, and rules that are Python functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rules_packets import RAW, packet, table
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Raw
from stack_bench import tcp, udp

from netemu.link.rules.outcomes import Answered, Dropped, Goes
from netemu.link.rules.parse import parse_rule
from netemu.link.rules.row import RuleRow
from netemu.link.rules.table import RuleTable
from netemu.wire.packet import Packet
from netemu.wire.slices import split
from netemu.wire.tcp import ACK

SECOND = 1_000_000_000


def acted_on(rule: str, packets: int, seed: str = "7") -> list[int]:
    """Which of so many packets a rule acted on, counted from 1."""
    rules = table(rule, seed=seed)
    return [number for number in range(1, packets + 1) if rules.apply(packet("syn"), 0)]


def test_a_table_without_rules_is_false() -> None:
    rules = table()
    assert not rules
    number = rules.add(parse_rule("tcp drop"))
    assert rules
    rules.delete(number)
    assert not rules
    rules.add(parse_rule("tcp drop"))
    rules.clear()
    assert not rules


def test_numbers_stay_a_rules_own() -> None:
    rules = table("tcp count", "udp count", "icmp count")
    rules.delete(2)
    assert rules.add(parse_rule("ip count"), before=3) == 4
    assert rules.add(parse_rule("ipv6 count")) == 5
    assert [(row.number, row.match) for row in rules.show(0)] == [(1, "tcp"), (4, "ip"), (3, "icmp"), (5, "ipv6")]
    for number in (2, 9):
        with pytest.raises(KeyError):
            rules.delete(number)
    with pytest.raises(KeyError):
        rules.add(parse_rule("ip count"), before=2)


def test_rules_are_tried_in_order() -> None:
    rules = table("tcp pass", "frame drop")
    assert isinstance(rules.apply(packet("syn"), 0)[0], Goes)
    assert isinstance(rules.apply(packet("dns"), 0)[0], Dropped)
    rules.add(parse_rule("tcp drop"), before=1)
    assert isinstance(rules.apply(packet("syn"), 0)[0], Dropped)


def test_rows() -> None:
    rules = table("in: tcp.dstport == 80 set ip.ttl=1, delay 1ms first 2", "udp set tcp.urgent_pointer=1")
    for name in ("syn", "syn-ack", "get", "dns", "ack"):
        rules.apply(packet(name), 0)
    assert rules.show(0, "wan", "in") == [
        RuleRow(
            "wan",
            1,
            "in",
            "tcp.dstport == 80",
            "set ip.ttl=1, delay 1ms",
            "first 2",
            2,
            len(RAW["syn"]) + len(RAW["get"]),
            2,
            True,
        ),
        RuleRow("wan", 2, "in", "udp", "set tcp.urgent_pointer=1", "", 1, len(RAW["dns"]), 0, False),
    ]


@pytest.mark.parametrize(
    ("limits", "acted"),
    [
        ("", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("first 2", [1, 2]),
        ("skip 7", [8, 9, 10]),
        ("skip 0 first 1", [1]),
        ("every 3", [3, 6, 9]),
        ("every 1", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("skip 2 every 3 first 2", [5, 8]),
        ("skip 1 first 3", [2, 3, 4]),
        ("probability 0%", []),
        ("probability 100%", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_limits(limits: str, acted: list[int]) -> None:
    assert acted_on(f"tcp drop {limits}", 10) == acted


def test_only_matches_count_towards_a_limit() -> None:
    rules = table("tcp drop skip 1 first 1")
    names = ["dns", "syn", "dns", "ack", "get"]
    assert [bool(rules.apply(packet(name), 0)) for name in names] == [False, False, False, True, False]


def test_probability_is_seeded() -> None:
    """Within four standard deviations."""
    acted = acted_on("tcp drop probability 30%", 2000)
    assert abs(len(acted) - 600) < 4 * (2000 * 0.3 * 0.7) ** 0.5
    assert acted == acted_on("tcp drop probability 30%", 2000)
    assert acted != acted_on("tcp drop probability 30%", 2000, seed="8")
    assert len(acted_on("tcp drop probability 30% first 5", 2000)) == 5


def test_a_rules_draws_are_its_own() -> None:
    """What other rules do at random does not disturb them."""
    alone = table("udp count", "tcp drop probability 50%")
    beside = table("tcp corrupt probability 50%", "tcp drop probability 50%")
    fates = [
        [any(isinstance(o, Dropped) for o in rules.apply(packet("get"), 0)) for _ in range(50)]
        for rules in (alone, beside)
    ]
    assert fates[0] == fates[1]
    assert len(set(fates[0])) == 2


def test_for_ends_a_rule() -> None:
    rules = table("tcp drop for 2s")
    assert not rules.apply(packet("dns"), 5 * SECOND)  # the time begins with the first match
    times = [10 * SECOND, 12 * SECOND - 1, 12 * SECOND]
    assert [bool(rules.apply(packet("syn"), now)) for now in times] == [True, True, False]
    assert rules.show(12 * SECOND)[0].rests


def test_flows_are_followed_only_for_who_asks() -> None:
    rules = table("tcp.dstport == 80 count")
    rules.apply(packet("syn"), 0)
    number = rules.add(parse_rule("flow.packet == 1 drop"))
    assert isinstance(rules.apply(packet("ack"), 0)[-1], Dropped)  # counted from here on
    rules.delete(number)
    rules.add(parse_rule("flow.packet == 1 drop"))
    assert isinstance(rules.apply(packet("ack"), 0)[-1], Dropped)


def test_the_nth_packet_and_the_nth_retransmission() -> None:
    rules = table("flow.retransmission.count == 2 drop", "flow.data == 3 drop")
    sent = [(100, 10), (110, 10), (100, 10), (110, 10), (120, 10)]
    dropped = [bool(rules.apply(Packet(tcp(ACK, seq, 1, bytes(size))), 0)) for seq, size in sent]
    assert dropped == [False, False, True, True, False]


# -- super-packets -------------------------------------------------------------------------------------------------------


def big(seq: int = 1, slices: int = 4, dport: int = 80) -> Packet:
    return Packet(tcp(ACK, seq, 1, bytes(slices * 1000), dport=dport), gso_size=1000)


def test_a_super_packet_passes_whole_where_no_rule_can_match() -> None:
    rules = table("tcp.dstport == 81 drop", "udp drop", "tcp.flags.syn drop")
    assert rules.lets_pass(big(), 0)
    assert not rules.lets_pass(big(dport=81), 0)


def test_a_super_packet_is_split_only_while_a_rule_needs_it() -> None:
    rules = table("flow.packet == 6 drop")
    assert rules.lets_pass(big(1), 0)  # packets 1 to 4
    assert not rules.lets_pass(big(4001), 0)  # 5 to 8
    fates = [bool(rules.apply(slice_, 0)) for slice_ in split(big(4001))]
    assert fates == [False, True, False, False]
    assert rules.lets_pass(big(8001), 0)


def test_a_rule_at_rest_splits_nothing() -> None:
    rules = table("tcp.dstport == 80 drop first 1")
    assert not rules.lets_pass(big(), 0)
    rules.apply(split(big())[0], 0)
    assert rules.lets_pass(big(), 0)


# -- Python functions ----------------------------------------------------------------------------------------------------


def calling(function: Callable[[Any], Any], match: str = "frame") -> RuleTable:
    rules = RuleTable()
    rules.add(parse_rule(f"{match} call f.py:f", lambda name: function))
    return rules


def test_a_function_changes_a_packet() -> None:
    def change(p: Any) -> Any:
        if UDP in p:
            p[UDP].dport = 99
            p[Raw].load = b"longer than before"
        return p

    (outcome,) = calling(change).apply(packet("dns"), 0)
    assert isinstance(outcome, Goes)
    assert outcome.comment == "rule 1: call f.py:f"
    expected = IP(src="198.18.0.1", dst="10.1.2.3", id=7) / UDP(sport=5353, dport=99) / b"longer than before"
    assert bytes(outcome.packet) == bytes(expected)  # lengths and checksums made anew
    assert not calling(change).apply(packet("syn"), 0)  # let be


@pytest.mark.parametrize("name", list(RAW))
def test_a_function_that_does_nothing_does_nothing(name: str) -> None:
    rules = calling(lambda p: p)
    assert not rules.apply(packet(name), 0)
    assert rules.show(0)[0].acted == 0
    damaged = Packet(RAW[name][:-1] + bytes([RAW[name][-1] ^ 1]))
    assert not rules.apply(damaged, 0)


def test_a_checksum_that_a_function_sets_stays() -> None:
    def lie(p: Any) -> Any:
        p[TCP].chksum = 0x1234
        return p

    (outcome,) = calling(lie).apply(packet("syn"), 0)
    assert IP(bytes(outcome.packet))[TCP].chksum == 0x1234


def test_a_function_drops_multiplies_and_speaks_the_language_of_rules() -> None:
    assert isinstance(calling(lambda p: None).apply(packet("syn"), 0)[0], Dropped)
    assert isinstance(calling(lambda p: []).apply(packet("syn"), 0)[0], Dropped)
    assert [bytes(o.packet) for o in calling(lambda p: [p, p, p]).apply(packet("dns"), 0)] == [RAW["dns"]] * 3
    assert isinstance(calling(lambda p: "drop").apply(packet("syn"), 0)[0], Dropped)
    assert not calling(lambda p: "reset").apply(packet("dns"), 0)
    (delayed,) = calling(lambda p: "delay 5ms").apply(packet("dns"), 0)
    assert isinstance(delayed, Goes)
    assert (delayed.delay, delayed.comment) == (5_000_000, "rule 1: call f.py:f: delay 5ms")
    answer, dropped = calling(lambda p: "reset").apply(packet("syn"), 0)
    assert isinstance(answer, Answered)
    assert isinstance(dropped, Dropped)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda p: 1 / 0, "f.py:f raised ZeroDivisionError: division by zero"),
        (lambda p: 5, "it returned int: give a packet, None, a list of packets or an action"),
        (lambda p: [None], "it returned NoneType"),
        (lambda p: "dorp", "f.py:f returned 'dorp': rule, column 1: expected 'drop', found 'dorp'"),
        (lambda p: p[TCP], "f.py:f raised IndexError"),
    ],
)
def test_a_function_that_fails_is_counted_and_the_packet_goes_on(function: Callable[[Any], Any], said: str) -> None:
    rules = calling(function, "udp")
    (outcome,) = rules.apply(packet("dns"), 0)
    assert isinstance(outcome, Goes)
    assert outcome.packet.head == RAW["dns"]
    (row,) = rules.show(0)
    assert (row.packets, row.acted, row.errors) == (1, 0, 1)
    assert said in row.error
    assert row.error in outcome.comment


def test_a_function_sees_only_what_matches() -> None:
    seen: list[str] = []
    rules = calling(lambda p: seen.append(p.summary()), "udp.dstport == 7")
    rules.apply(Packet(udp(b"x")), 0)
    rules.apply(packet("dns"), 0)
    assert len(seen) == 1
