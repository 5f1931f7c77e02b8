"""packetdrill's language: what each construct is read as, and what is said of what cannot be read."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.packetdrill import options as tcp_options
from netemu.packetdrill.parse import parse
from netemu.packetdrill.script import (
    ELLIPSIS,
    Array,
    Call,
    Code,
    Command,
    IcmpLine,
    IpWanted,
    Option,
    Or,
    ScriptError,
    Struct,
    TcpLine,
    Text,
    Time,
    UdpLine,
)

MS = 1_000_000


def action(line: str) -> object:
    (event,) = parse(line).events
    return event.action


def time(text: str) -> Time | None:
    (event,) = parse(f"{text} `true`").events
    return event.time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", Time("absolute", 0)),
        ("0.0001", Time("absolute", 100_000)),
        ("+.25", Time("relative", 250 * MS)),
        ("+0", Time("relative", 0)),
        ("*", Time("any")),
        ("1.5~2", Time("absolute", 1500 * MS, 2000 * MS)),
        ("+.1~+.2", Time("relative", 100 * MS, 200 * MS)),
        ("0...0.010", Time("absolute", 0, None, 10 * MS)),
        ("+.002 ... 0.004", Time("relative", 2 * MS, None, 4 * MS)),
        ("+.01...0.020", Time("relative", 10 * MS, None, 20 * MS)),
    ],
)
def test_times(text: str, expected: Time) -> None:
    assert time(text) == expected


@pytest.mark.parametrize(
    ("letters", "bits"),
    [("S", 2), ("S.", 18), ("F", 1), ("FP.", 25), ("R.", 20), ("U.", 48), ("SEW", 194), ("-", 0), (".", 16)],
)
def test_flags(letters: str, bits: int) -> None:
    line = action(f"0 < {letters} 1:1(0) ack 1 win 5")
    assert isinstance(line, TcpLine)
    assert line.flags == bits


def test_a_segment_with_all_it_can_have() -> None:
    line = action("0 < [ect0] (ttl 3) PU. 1:101(100) ack 7 win 257 urg 5 <nop,nop,TS val 100 ecr 200,sack 1:2 5:9>")
    options = (("nop",), ("nop",), ("TS", 100, 200), ("sack", ((1, 2), (5, 9))))
    assert line == TcpLine(True, IpWanted(ecn=2, ttl=3), 0x38, 1, 101, 100, 7, 257, 5, options)


def test_what_an_outbound_segment_leaves_open() -> None:
    line = action("0 > (tos 0x10) S 0:0(0) <...>")
    assert line == TcpLine(False, IpWanted(tos=16), 2, 0, 0, 0, None, None, None, None)


def test_options_of_a_syn_with_spaces() -> None:
    line = action("0 > S. 0:0(0) ack 1 <mss 1460, nop, nop,sackOK,nop,wscale 8, FO 00abCD,eol>")
    assert isinstance(line, TcpLine)
    assert line.options == (
        ("mss", 1460), ("nop",), ("nop",), ("sackOK",), ("nop",), ("wscale", 8), ("FO", b"\0\xab\xcd"), ("eol",),
    )  # fmt: skip


def test_udp_and_icmp() -> None:
    assert action("0 < udp (1000)") == UdpLine(True, IpWanted(), 1000)
    expected = IcmpLine(True, IpWanted(), "unreachable", "frag_needed", 1200, (1, 1461, 1460))
    assert action("0 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]") == expected
    assert action("0 < [1:1461(1460)] icmp unreachable frag_needed mtu 1200") == expected
    assert action("0 > icmp unreachable port_unreachable [udp (10)]") == IcmpLine(
        False, IpWanted(), "unreachable", "port_unreachable", udp=10
    )


def test_calls() -> None:
    assert action("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3") == Call(
        "socket", (ELLIPSIS, "SOCK_STREAM", "IPPROTO_TCP"), 3
    )
    call = action("0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)")
    assert isinstance(call, Call)
    assert (call.result, call.errno) == (-1, "EINPROGRESS")
    call = action("0 fcntl(3, F_GETFL) = 0x802 (flags O_RDWR|O_NONBLOCK)")
    assert isinstance(call, Call)
    assert call.result == 0x802
    assert call.errno is None


def test_structs() -> None:
    call = action(
        """0 recvmsg(3, {msg_name(...)=..., msg_iov(2)=[{..., 10}, {"ab"..., 20}], msg_flags=MSG_PEEK|MSG_TRUNC,
             msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=7}]}, 0) = 30"""
    )
    assert isinstance(call, Call)
    message = call.arguments[1]
    assert isinstance(message, Struct)
    iov = message.get("msg_iov")
    assert isinstance(iov, Array)
    assert isinstance(iov.items[1], Struct)
    assert (iov.items[1].at(0), iov.items[1].at(1)) == (Text(b"ab", more=True), 20)
    assert message.get("msg_flags") == Or(("MSG_PEEK", "MSG_TRUNC"))
    control = message.get("msg_control")
    assert isinstance(control, Array)
    assert isinstance(control.items[0], Struct)
    assert control.items[0].get("cmsg_data") == 7


def test_commands_code_options_and_comments() -> None:
    script = parse(
        """// a comment
        --ip_version=ipv6   // another
        --strict_segments
        --define LEVEL=SOL_IP
        /* and
           another */ `sysctl -q net.ipv4.tcp_sack=0`
        0 `true`
        +1 %{ x = {1: 2}
              assert x }%
        """
    )
    assert [(name, value) for name, value, _ in script.options] == [
        ("ip_version", "ipv6"), ("strict_segments", ""), ("define", "LEVEL=SOL_IP"),
    ]  # fmt: skip
    first, second, third = script.events
    assert first.time is None
    assert first.action == Command("sysctl -q net.ipv4.tcp_sack=0")
    assert (second.line, second.action) == (7, Command("true"))
    assert isinstance(third.action, Code)
    assert third.line == 8


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("0 socket(", 1, "ends too early"),
        ("0 `true`\n0 ! S 0:0(0)", 2, "cannot read '! S"),
        ("\n\n0 < S 0:5(0) win 1", 3, "from 0 to 5 are 5 bytes"),
        ("0 < S 0:0(0) win 1 <mss>", 1, "'mss' is no TCP option"),
        ("0 < S 0:0(0) win 1 <FO abc>", 1, "even number"),
        ("0 < [ect7] S 0:0(0) win 1", 1, "nothing that an IP header says"),
        ("0 < udp (x)", 1, "bytes of payload"),
    ],
)
def test_what_cannot_be_read(source: str, line: int, words: str) -> None:
    with pytest.raises(ScriptError, match=words.replace("(", r"\(")) as caught:
        parse(source)
    assert caught.value.line == line


@given(st.text(alphabet='0123456789.+~*<>[](){}=,`"%/-\n SFackwin|E_', max_size=60))
def test_nonsense_is_an_error_of_the_script_and_nothing_else(source: str) -> None:
    with suppress(ScriptError):
        parse(source)


OPTIONS = st.one_of(
    st.tuples(st.just("mss"), st.integers(0, 65535)),
    st.tuples(st.just("wscale"), st.integers(0, 255)),
    st.just(("nop",)),
    st.just(("sackOK",)),
    st.tuples(st.just("TS"), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("FO"), st.binary(max_size=8)),
    st.tuples(st.just("FOEXP"), st.binary(max_size=8)),
    st.tuples(
        st.just("sack"),
        st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=3).map(tuple),
    ),
)


@given(st.lists(OPTIONS, max_size=4))
def test_options_survive_the_way_through_bytes_and_text(options: list[Option]) -> None:
    padded = tuple(options)
    size = sum({"mss": 4, "wscale": 3, "nop": 1, "sackOK": 2, "TS": 10}.get(str(o[0]), 0) or _size(o) for o in options)
    padded += (("nop",),) * (-size % 4)
    if size + -size % 4 > 40:
        with pytest.raises(ScriptError, match="more than 40"):
            tcp_options.encode(padded)
        return
    assert tcp_options.decode(tcp_options.encode(padded)) == padded
    assert tcp_options.read(tcp_options.show(padded) or "<>") == padded


def _size(option: Option) -> int:
    value = option[1]
    assert isinstance(value, bytes | tuple)
    return 2 + (8 if option[0] == "sack" else 1) * len(value) + (2 if option[0] == "FOEXP" else 0)


@given(st.binary(max_size=40))
def test_any_option_area_can_be_shown(data: bytes) -> None:
    assert tcp_options.show(tcp_options.decode(data)) or not data
