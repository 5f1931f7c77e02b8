"""The language of filters: what expressions match, against a slow reading of the same packets; and what wrong ones are told."""

from __future__ import annotations

import operator
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_packets import DISSECTED, PACKETS, RAW, REFERENCE

from netemu.link.rules.fields import fields
from netemu.link.rules.filter import parse_filter
from netemu.link.rules.nodes import RuleError
from netemu.link.rules.view import View
from netemu.wire.packet import Packet


def matching(expression: str) -> set[str]:
    test = parse_filter(expression).test
    return {name for name, raw in RAW.items() if test.exact(View(Packet(raw)))}


TCP4 = {"syn", "syn-ack", "ack", "get", "fin", "rst"}
UDP4 = {"dns", "empty udp", "first fragment"}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("frame", set(RAW)),
        ("tcp", TCP4 | {"data6"}),
        ("udp", UDP4 | {"udp6"}),
        ("icmp or icmpv6", {"ping", "ping6"}),
        ("ipv6", {"data6", "udp6", "ping6", "later fragment6"}),
        ("tcp.flags.syn and tcp.dstport == 80", {"syn"}),
        ("tcp.flags.syn", {"syn", "syn-ack"}),
        ("tcp.flags.syn == 0 and ip", {"ack", "get", "fin", "rst"}),
        ("tcp.flags.syn == true", {"syn", "syn-ack"}),
        ("ip.dst == 10.0.0.0/8", {"dns"}),
        ("ip.dst == 10.1.2.77/24", {"dns"}),
        ("ip.dst != 198.18.0.0/15", {"dns", "other"}),
        ("ip.dst in {10.0.0.0/8, 224.0.0.1..224.0.0.255}", {"dns", "other"}),
        ("ipv6.src == 2001:2::2", {"udp6"}),
        ("!(udp.port == 53) and udp", {"empty udp", "first fragment"}),
        ("udp.port != 53", {"empty udp", "first fragment"}),
        ("ip.addr != 198.18.0.1", set()),
        ("ip.src != 198.18.0.1", {"syn-ack", "rst"}),
        ("tcp.len > 0 && ip.ttl < 65", {"get"}),
        ("1 == tcp.options.wscale.shift || 7 <= tcp.options.wscale.shift", {"syn", "syn-ack"}),
        ("tcp.port in {443, 8000..8010}", {"data6"}),
        ("tcp.port not in {80} and tcp", {"data6"}),
        ("tcp.srcport < tcp.dstport", {"syn-ack", "rst"}),
        ("udp.srcport == udp.dstport", {"empty udp"}),
        ('tcp.payload contains "HTTP"', {"get"}),
        ("tcp.payload contains 03:01", {"data6"}),
        ('tcp.payload matches "^get /"', {"get"}),
        ('tcp.payload matches "^et"', set()),
        ("tcp.payload[0:3] == 47:45:54", {"get"}),
        ('tcp.payload[0-2] == "GET"', {"get"}),
        ("tcp.payload[1] == 03", {"data6"}),
        ('udp.payload[4:] == "tion"', {"dns"}),
        ("tcp.payload[3:] == 00", set()),
        ("ip.dst[0] == e0", {"other"}),
        ("tcp.flags & 0x06", {"syn", "syn-ack", "rst"}),
        ("tcp.flags & 0x12 == 0x12", {"syn-ack"}),
        ("tcp.options.sack_perm", {"syn", "syn-ack"}),
        ("tcp.options.timestamp.tsval", {"syn", "syn-ack", "data6"}),
        ("not ip and not ipv6", set()),
        ("flow.pure_ack", {"ack"}),
        ("ip.flags.mf or ip.frag_offset == 9", {"first fragment", "later fragment"}),
        ("icmp.type == 8 or tcp and ipv6", {"ping", "data6"}),
        ("(icmp or tcp) and ipv6", {"data6"}),
        ("not tcp and not udp and ip", {"ping", "later fragment", "other"}),
        ("ip.ttl eq 1 or ipv6.hlim le 9", {"rst", "data6"}),
    ],
)
def test_matches(expression: str, names: set[str]) -> None:
    assert matching(expression) == names
    assert matching(str(parse_filter(expression))) == names


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("tcp.flags.synn", "column 1: no field tcp.flags.synn; did you mean tcp.flags.syn?"),
        ("tcp and tcp.reset", "column 9: no field tcp.reset; did you mean tcp.flags.reset?"),
        ("qwertz == 3", "no field qwertz; fields are such as tcp.dstport"),
        ("ip.ttl == 300", "column 11: ip.ttl is 0 to 255, not 300"),
        ("tcp.port == 80000", "column 13: tcp.port is 0 to 65535, not 80000"),
        ("udp.port in {53, 70000..80000}", "udp.port is 0 to 65535, not 70000"),
        ("tcp.hdr_len > 61", "tcp.hdr_len is 0 to 60, not 61"),
        ("tcp.len > 65536", "tcp.len is 0 to 65535, not 65536"),
        ("ip.src == 2001::1", "ip.src takes an IPv4 address or prefix such as 192.0.2.0/24, not 2001::1"),
        ("ip.src < 10.0.0.0/8", "10.0.0.0/8 is a prefix: of it can only be asked == or !="),
        ("ip.src == localhost", "no field localhost"),
        ("tcp == 3", "tcp is a protocol: it has no value"),
        ("1 == 2", "1 == 2 asks nothing of the packet"),
        ("5", "5 is a value and no field"),
        ("tcp.port in {9..2}", "9..2: the first is greater than the last"),
        ("tcp.port in {80", "column 16: expected ',' or '..' or '}', found the end"),
        ("flow.age > 2", "flow.age takes a time such as 250ms or 2s, not 2"),
        ("tcp.port", None),
        ("tcp.port = 80", "column 10: expected a comparison"),
        ("tcp port 80", "column 5: expected"),
        ("(tcp", "expected ')'"),
        ("tcp annd udp", "column 5: expected 'and', found 'annd'"),
        ("tcp and", "column 8: expected a field such as tcp.dstport, found the end"),
        ("tcp $ udp", "column 5: '$' means nothing here"),
        ("", "expected a field such as tcp.dstport, found the end"),
        ('tcp.payload matches "("', "is no pattern"),
        ("tcp.payload matches GET", "matches takes a pattern in quotes"),
        ('ip.ttl contains "a"', "ip.ttl holds no text to search"),
        ("tcp.payload == 5", "tcp.payload takes a text"),
        ("tcp.payload[0:0] == 00", "is a slice of nothing"),
        ("tcp.payload[x] == 00", "is no slice"),
        ("tcp.len[0] == 00", "tcp.len has no bytes to choose from"),
        ("ip.addr & 1", "ip.addr has no bits to choose from"),
        ("ip.src == tcp.port", "ip.src and tcp.port cannot be compared"),
        ("tcp.len == 010", "tcp.len takes a number, not 010"),
        ("not " * 500 + "tcp", "more than 400 words and signs"),
        ("tcp and " * 1000 + "tcp", "8003 characters are too many"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(expression: str, said: str | None) -> None:
    if said is None:
        parse_filter(expression)
        return
    with pytest.raises(RuleError) as caught:
        parse_filter(expression)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_field_of_a_packet_is_tried_here() -> None:
    of_flows = {name for name in fields() if name.startswith("flow.")} | {"tcp.seq", "tcp.ack", "tcp.window_size"}
    bare = {"tcp.options.sack_perm", "tcp.options.sack", "tcp.flags.urg", "tcp.flags.ae", "ipv6.tclass.dscp"}
    checksums = {name for name in fields() if name.endswith(".checksum")}
    assert set(fields()) == set(REFERENCE) | of_flows | bare | checksums


# -- against a slow evaluator ------------------------------------------------------------------------------------------


class Written(NamedTuple):
    """An expression as text, and what says whether it holds for a dissected packet."""

    text: str
    holds: Callable[[Any], bool]
    is_atom: bool = True


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
SEEN = {
    name: sorted({value for dissected in DISSECTED.values() for value in values(dissected)}, key=repr)
    for name, values in REFERENCE.items()
}
NUMBERS = [name for name, seen in SEEN.items() if seen and isinstance(seen[0], int)]
ADDRESSES = [name for name in REFERENCE if name.endswith((".src", ".dst", ".addr"))]
PAYLOADS = ["tcp.payload", "udp.payload"]
LAYERS = {"tcp": "tcp.srcport", "udp": "udp.srcport", "ip": "ip.src", "ipv6": "ipv6.src", "icmp": "icmp.type"}


def quantified(sign: str, values: list[Any], test: Callable[[Any], bool]) -> bool:
    return bool(values) and (all if sign in ("!=", "ne") else any)(map(test, values))


@st.composite
def comparisons(draw: st.DrawFn) -> Written:
    name, sign = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(sorted(OPERATORS)))
    most = 1 if ".flags." in name and name != "tcp.flags" else max(SEEN[name])
    value = draw(st.sampled_from(SEEN[name]) | st.integers(0, most))
    text = draw(st.sampled_from((str(value), hex(value))))

    def holds(packet: Any) -> bool:
        return quantified(sign, REFERENCE[name](packet), lambda found: OPERATORS[sign](found, value))

    return Written(f"{name} {sign} {text}", holds)


@st.composite
def of_addresses(draw: st.DrawFn) -> Written:
    name, sign = draw(st.sampled_from(ADDRESSES)), draw(st.sampled_from(("==", "!=")))
    address = draw(st.sampled_from(SEEN[name]))
    network = ip_network(f"{address}/{draw(st.integers(0, ip_address(address).max_prefixlen))}", strict=False)

    def holds(packet: Any) -> bool:
        return quantified(sign, REFERENCE[name](packet), lambda found: (ip_address(found) in network) is (sign == "=="))

    return Written(f"{name} {sign} {network}", holds)


@st.composite
def memberships(draw: st.DrawFn) -> Written:
    name = draw(st.sampled_from(NUMBERS))
    most = 1 if ".flags." in name and name != "tcp.flags" else max(SEEN[name])
    pairs = draw(st.lists(st.tuples(*[st.sampled_from(SEEN[name]) | st.integers(0, most)] * 2), min_size=1, max_size=3))
    ranges = [(min(pair), max(pair)) for pair in pairs]
    text = ", ".join(f"{low}..{high}" if low < high else str(low) for low, high in ranges)

    def holds(packet: Any) -> bool:
        return any(low <= found <= high for found in REFERENCE[name](packet) for low, high in ranges)

    return Written(f"{name} in {{{text}}}", holds)


@st.composite
def of_payloads(draw: st.DrawFn) -> Written:
    name = draw(st.sampled_from(PAYLOADS))
    data: bytes = draw(st.sampled_from(SEEN[name]))
    start = draw(st.integers(0, len(data) - 1))
    part = data[start : draw(st.integers(start + 1, len(data)))]
    text = ":".join(f"{byte:02x}" for byte in part)
    if draw(st.booleans()):
        return Written(
            f"{name} contains {text}", lambda packet: any(part in found for found in REFERENCE[name](packet))
        )
    stop = start + len(part)
    return Written(
        f"{name}[{start}:{len(part)}] == {text}",
        lambda packet: any(found[start:stop] == part for found in REFERENCE[name](packet)),
    )


def masks() -> st.SearchStrategy[Written]:
    def made(name: str, mask: int) -> Written:
        return Written(f"{name} & {mask:#x}", lambda packet: any(found & mask for found in REFERENCE[name](packet)))

    return st.builds(made, st.sampled_from(["tcp.flags", "ip.ttl", "tcp.dstport", "ip.dsfield"]), st.integers(1, 255))


def layers() -> st.SearchStrategy[Written]:
    return st.sampled_from(sorted(LAYERS)).map(lambda name: Written(name, lambda p: bool(REFERENCE[LAYERS[name]](p))))


@st.composite
def combined(draw: st.DrawFn, terms: st.SearchStrategy[Written]) -> Written:
    kind = draw(st.sampled_from(("and", "or", "not", "&&", "||", "!")))
    parts = draw(st.lists(terms, min_size=1 if kind in ("not", "!") else 2, max_size=3))
    texts = [part.text if part.is_atom else f"({part.text})" for part in parts]
    if kind in ("not", "!"):
        return Written(f"{kind} {texts[0]}", lambda packet: not parts[0].holds(packet))
    quantity = all if kind in ("and", "&&") else any
    return Written(f" {kind} ".join(texts), lambda packet: quantity(part.holds(packet) for part in parts), False)


ATOMS = comparisons() | of_addresses() | memberships() | of_payloads() | masks() | layers()


@given(st.recursive(ATOMS, combined, max_leaves=8))
def test_an_expression_is_what_it_says(written: Written) -> None:
    parsed = parse_filter(written.text)
    expected = {name for name, dissected in DISSECTED.items() if written.holds(dissected)}
    assert {name for name in PACKETS if parsed.test.exact(View(Packet(RAW[name])))} == expected
    assert parse_filter(str(parsed)) == parsed


@given(st.binary(max_size=120), st.integers(0, 2))
def test_no_packet_is_too_bad(data: bytes, kind: int) -> None:
    head = (b"", b"\x45", b"\x60")[kind] + data
    view = View(Packet(head))
    for field in fields().values():
        values = field.many(view) if field.many else (field.get(view),)
        assert all(value is None or isinstance(value, int | bytes) for value in values)


@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["tcp", "and", "not", "(", ")", "==", "80", "tcp.port", "in", "{", "}", "..", ",", "drop", "set", "=", '"a"', "[0]", "&"]
)).map(" ".join))  # fmt: skip
def test_no_text_is_too_bad(text: str) -> None:
    said = ""
    try:
        parsed = parse_filter(text)
    except RuleError as error:
        said = str(error)
    else:
        assert parse_filter(str(parsed)) == parsed
    assert "\n" not in said
