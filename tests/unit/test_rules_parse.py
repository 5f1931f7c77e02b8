"""Words to rules and back; and a line for whoever got one wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.link.rules.nodes import RuleError
from netemu.link.rules.parse import parse_rule


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("tcp drop", "both: tcp drop"),
        ("in: tcp drop", "in: tcp drop"),
        ("out:tcp drop", "out: tcp drop"),
        (" both :  tcp   drop ", "both: tcp drop"),
        ("tcp.flags.syn&&tcp.dstport==80 drop first 2", "both: tcp.flags.syn and tcp.dstport == 80 drop first 2"),
        ("!(udp or tcp) pass", "both: not (udp or tcp) pass"),
        ("(tcp) and ((udp or (ip))) count", "both: tcp and (udp or ip) count"),
        ("tcp.port not in {1,2..3} drop", "both: not tcp.port in {1, 2..3} drop"),
        ("tcp delay 1500us", "both: tcp delay 1.5ms"),
        ("tcp duplicate 1", "both: tcp duplicate"),
        ("tcp duplicate 3, corrupt good , mark", "both: tcp duplicate 3, corrupt good, mark"),
        ("tcp set tcp.window_size_value = 0x10", "both: tcp set tcp.window_size_value=0x10"),
        ("tcp set tcp.ack_raw+=1, set ip.ttl-=1", "both: tcp set tcp.ack_raw+=1, set ip.ttl-=1"),
        ("ip set ip.dst=192.0.2.1", "both: ip set ip.dst=192.0.2.1"),
        ("tcp truncate 0", "both: tcp truncate 0"),
        ("tcp reset", "both: tcp reset sender"),
        ("tcp reset out-of-window", "both: tcp reset sender out-of-window"),
        ("tcp reset receiver", "both: tcp reset receiver"),
        ("tcp reset both out-of-window", "both: tcp reset both out-of-window"),
        ("udp unreachable", "both: udp unreachable port"),
        ("udp unreachable admin", "both: udp unreachable admin"),
        ("ip frag-needed 1280", "both: ip frag-needed 1280"),
        ("udp steer wan-2", "both: udp steer wan-2"),
        ("frame drop probability 0.10%", "both: frame drop probability 0.1%"),
        ("frame drop for 2s first 3 every 2 skip 1", "both: frame drop skip 1 every 2 first 3 for 2s"),
        ('tcp.payload contains "a\\"\\x00\\n" drop', 'both: tcp.payload contains "a\\"\\x00\\n" drop'),
        ('tcp.payload contains "ü" drop', 'both: tcp.payload contains "\\xc3\\xbc" drop'),
        ("tcp.payload[4] == 00 drop", "both: tcp.payload[4:1] == 00 drop"),
        ("flow.retransmission.count == 3 drop", "both: flow.retransmission.count == 3 drop"),
        ("flow.age > 2s and flow.bytes ge 1000 drop", "both: flow.age > 2s and flow.bytes >= 1000 drop"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    rule = parse_rule(text)
    assert str(rule) == canonical
    assert parse_rule(canonical) == rule


def test_words_of_a_command_line() -> None:
    words = ["in:", "tcp.flags.syn", "and", "tcp.dstport == 80", "drop", "first", "2"]
    assert parse_rule(words) == parse_rule("in: tcp.flags.syn and tcp.dstport == 80 drop first 2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tcp", "column 4: expected an action (drop, delay TIME, set FIELD=VALUE, reset …), found the end"),
        ("tcp dorp", "column 5: expected 'drop', found 'dorp'"),
        ("in: tcp dorp", "column 9: expected 'drop', found 'dorp'"),
        ("tcp drop frist 2", "column 10: drop does not take frist here"),
        ("tcp drop first 2 frist 2", "column 18: expected 'first', found 'frist'"),
        ("tcp drop first", "column 15: expected a value, found the end"),
        ("tcp drop first 0", "first is 1 or more, not 0"),
        ("tcp drop first two", "first takes a number, not two"),
        ("tcp drop first 1 first 2", "column 18: first stands twice"),
        ("tcp drop probability 120%", "probability takes a share such as 1%, not 120%"),
        ("tcp drop probability 0.01", "probability takes a share such as 1%, not 0.01"),
        ("tcp drop for 5", "for takes a time such as 250ms or 2s, not 5"),
        ("inn: tcp drop", "column 1: a rule is for in:, out: or both:, not inn:"),
        ("tcp delay", "delay needs a time such as 250ms or 2s"),
        ("tcp delay 5", "delay takes a time such as 250ms or 2s, not 5"),
        ("tcp duplicate 0", "duplicate is 1 to 100, not 0"),
        ("tcp corrupt bad", "column 13: bad means nothing here"),
        ("tcp reset sendr", "column 11: sendr means nothing here: sender?"),
        ("tcp reset both sender", "means nothing here: out-of-window"),
        ("udp unreachable hosts", "hosts means nothing here: host?"),
        ("udp frag-needed 40", "frag-needed is 68 to 65535, not 40"),
        ("udp frag-needed", "frag-needed needs an MTU in bytes"),
        ("udp steer", "steer needs the name of a link"),
        ("udp set ip.ttl", "set needs a value: ip.ttl=VALUE"),
        ("udp set", "set needs FIELD=VALUE"),
        ("udp set ip.tll=1", "no field ip.tll; did you mean ip.ttl?"),
        ("udp set ip.ttl=256", "ip.ttl is 0 to 255, not 256"),
        ("udp set ip.src=10.0.0.0/8", "10.0.0.0/8 is a prefix; ip.src takes one address"),
        ("udp set ip.src+=1", "ip.src is no number to add to"),
        ("tcp set tcp.seq=1", "column 9: tcp.seq cannot be set; tcp.seq_raw can"),
        ("tcp set tcp.len=1", "tcp.len cannot be set"),
        ("tcp set flow.packet=1", "flow.packet cannot be set"),
        ("tcp call f.py:x", "no function can be called here"),
        ("tcp call", "call needs a function"),
        ("tcp drop,", "expected"),
        ("tcp drop, delay 5ms", "column 11: delay comes too late: drop is the last that is done"),
        ("tcp mark, pass, duplicate", "column 17: duplicate comes too late: pass is the last that is done"),
        ("tcp drop drop", "column 10: drop does not take drop here"),
        ("", "expected a field such as tcp.dstport, found the end"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(text: str, said: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_rule(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("rule")
    assert "\n" not in str(caught.value)


LAST = ["drop", "pass", "steer x"]
ACTIONS = [
    "count",
    "delay 3ms", "duplicate", "duplicate 2", "corrupt", "corrupt good", "mark", "truncate 7", "reset sender",
    "reset both out-of-window", "unreachable host", "frag-needed 1400", "set ip.ttl=3", "set tcp.ack_raw-=70000",
    "set ipv6.src=2001:db8::1", "set tcp.flags.syn=true",
]  # fmt: skip
FILTERS = [
    "tcp",
    "not udp",
    "tcp.len > 0",
    "ip or ipv6",
    "not (tcp or udp)",
    "flow.packet in {1..3, 7}",
    'udp.payload == "x"',
]
NUMBERED = ["first", "skip", "every"]


@st.composite
def rules(draw: Any) -> str:
    parts = [draw(st.sampled_from(["in:", "out:", "both:"])), draw(st.sampled_from(FILTERS))]
    actions = draw(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3))
    parts.append(", ".join([*actions, *draw(st.lists(st.sampled_from(LAST), max_size=1))]))
    limits = {name: str(draw(st.integers(1, 10**6))) for name in draw(st.lists(st.sampled_from(NUMBERED), unique=True))}
    if draw(st.booleans()):
        limits["probability"] = f"{draw(st.integers(0, 10**6)) / 10**4}%"
    if draw(st.booleans()):
        limits["for"] = f"{draw(st.integers(1, 10**12))}ns"
    parts += [f"{name} {value}" for name, value in draw(st.permutations(sorted(limits.items())))]
    return " ".join(parts)


@given(rules())
def test_the_canonical_text_is_the_rule(text: str) -> None:
    rule = parse_rule(text)
    again = parse_rule(str(rule))
    assert again == rule
    assert str(again) == str(rule)


@given(st.lists(st.sampled_from([*ACTIONS, *FILTERS, *NUMBERED, ",", "2", "in:", "=", "ip.ttl", "5%", "both", '"'])))
def test_no_words_are_too_bad(words: list[str]) -> None:
    said = ""
    try:
        rule = parse_rule(words)
    except RuleError as error:
        said = str(error)
    else:
        assert parse_rule(str(rule)) == rule
    assert "\n" not in said
