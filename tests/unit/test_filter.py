"""Filter expressions: what they keep, and what they say when they are wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

from netemu.capture.filter import FilterError, compile_filter

A, B = "198.18.0.1", "198.18.0.2"
A6, B6 = "2001:2::1", "2001:2::2"
PACKETS = {
    "web": IP(src=A, dst=B) / TCP(sport=40000, dport=80),
    "web answer": IP(src=B, dst=A) / TCP(sport=80, dport=40000) / b"hello",
    "web6": IPv6(src=A6, dst=B6) / TCP(sport=40001, dport=80),
    "echo udp": IP(src=A, dst=B) / UDP(sport=5000, dport=7) / b"hi",
    "ping": IP(src=A, dst=B) / ICMP(),
    "ping6": IPv6(src=A6, dst=B6) / ICMPv6EchoRequest(),
    "membership": IP(src=A, dst="224.0.0.22", proto=2) / bytes(8),
    "later fragment": IP(src=A, dst=B, frag=100, proto=17) / (b"\0\x50" * 8),
    "extended": IPv6(src=A6, dst=B6) / IPv6ExtHdrDestOpt() / UDP(sport=5001, dport=7),
    "later fragment6": IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(offset=5, nh=6) / (b"\0\x50" * 8),
}
RAW = {name: bytes(packet) for name, packet in PACKETS.items()}


def kept(expression: str) -> set[str]:
    keep = compile_filter(expression)
    return {name for name, packet in RAW.items() if keep(packet)}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("tcp", {"web", "web answer", "web6", "later fragment6"}),
        ("udp", {"echo udp", "extended", "later fragment"}),
        ("icmp", {"ping"}),
        ("icmp or icmp6", {"ping", "ping6"}),
        ("igmp", {"membership"}),
        ("ip6", {"web6", "ping6", "extended", "later fragment6"}),
        ("port 80", {"web", "web answer", "web6"}),
        ("src port 80", {"web answer"}),
        ("tcp dst port 80 and ip", {"web"}),
        ("udp port 80", set()),
        ("port 80 or 7", {"web", "web answer", "web6", "echo udp", "extended"}),
        ("portrange 5000-5001", {"echo udp", "extended"}),
        (f"src {B}", {"web answer"}),
        (f"host {A6} and tcp", {"web6", "later fragment6"}),
        ("net 198.18.0.0/24 and not tcp", {"echo udp", "ping", "membership", "later fragment"}),
        ("dst net 2001:2::/64 and udp", {"extended"}),
        (f"src host {A} && !(tcp || icmp)", {"echo udp", "membership", "later fragment"}),
        ("icmp or tcp and port 80", {"web", "web answer", "web6"}),  # from left to right, as in pcap-filter
        ("icmp or (tcp and port 80)", {"ping", "web", "web answer", "web6"}),
        ("not not icmp", {"ping"}),
        (f"host {B} or {B6} and icmp6", {"ping6"}),
        ("", set(RAW)),
    ],
)
def test_keeps(expression: str, names: set[str]) -> None:
    assert kept(expression) == names


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("port http", "port needs a number from 0 to 65535, not 'http'"),
        ("port 65536", "port needs a number"),
        ("portrange 9-2", "portrange needs two numbers"),
        ("host example.org", "host needs an IPv4 or IPv6 address"),
        ("net 198.18.0.1/24", "net needs a prefix"),
        ("net", "'net' needs a value"),
        ("src port and tcp", "'src port' needs a value"),
        ("tcp udp", "expected 'and' or 'or' before 'udp'"),
        ("tcp and", "but found 'the end'"),
        ("(tcp", "without its"),
        ("tcp)", "before '\\)'"),
        ("tpc", "but found 'tpc'"),
        ("tcp[13] & 2", "expected 'and' or 'or' before|but found"),
        ("not", "but found 'the end'"),
        ("not " * 200 + "tcp", "201 words are too many"),
    ],
)
def test_says_what_is_wrong(expression: str, says: str) -> None:
    with pytest.raises(FilterError, match=says) as caught:
        compile_filter(expression)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=80))
def test_garbage_is_no_error(packet: bytes) -> None:
    keep = compile_filter("host 198.18.0.1 or port 80 or icmp6 or not tcp")
    assert keep(packet) in (True, False)


WORDS = [
    "tcp",
    "ip6",
    "host",
    "net",
    "port",
    "src",
    "dst",
    "and",
    "or",
    "not",
    "(",
    ")",
    "80",
    "198.18.0.1",
    "::",
    "&&",
]


@given(st.lists(st.sampled_from(WORDS), max_size=300))
def test_any_words_compile_or_give_one_line(words: list[str]) -> None:
    says = ""
    try:
        assert compile_filter(" ".join(words))(RAW["web"]) in (True, False)
    except FilterError as error:
        says = str(error)
    assert "\n" not in says


@pytest.mark.parametrize("expression", ["not " * 198 + "tcp", "(" * 99 + "tcp" + ")" * 99, "port 1" + " or 2" * 99])
def test_nests_as_deep_as_it_may(expression: str) -> None:
    assert compile_filter(expression)(RAW["ping"]) in (True, False)
