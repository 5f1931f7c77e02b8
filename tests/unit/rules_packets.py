"""Packets for the tests of rules, and an independent reading of them: scapy dissects, a slow evaluator answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw

from netemu.link.rules.parse import parse_rule
from netemu.link.rules.table import RuleTable
from netemu.wire.packet import Packet

A, B, A6, B6 = "198.18.0.1", "198.18.0.2", "2001:2::1", "2001:2::2"
SYN_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 9)), ("NOP", None), ("WScale", 7)]
PACKETS: dict[str, Any] = {
    "syn": IP(src=A, dst=B, ttl=64, id=1, flags="DF")
    / TCP(sport=40000, dport=80, flags="S", seq=1000, options=SYN_OPTIONS, window=64240),
    "syn-ack": IP(src=B, dst=A, ttl=63, id=2, flags="DF")
    / TCP(sport=80, dport=40000, flags="SA", seq=0xFFFFFFFE, ack=1001, options=SYN_OPTIONS),
    "ack": IP(src=A, dst=B, id=3, tos=2) / TCP(sport=40000, dport=80, flags="A", seq=1001, ack=0xFFFFFFFF, window=500),
    "get": IP(src=A, dst=B, id=4, tos=0xB8)
    / TCP(sport=40000, dport=80, flags="PA", seq=1001, ack=0xFFFFFFFF)
    / Raw(b"GET / HTTP/1.1\r\n\r\n"),
    "fin": IP(src=A, dst=B, id=5) / TCP(sport=40000, dport=80, flags="FA", seq=1019, ack=0, urgptr=3),
    "rst": IP(src=B, dst=A, id=6, ttl=1) / TCP(sport=80, dport=40000, flags="RCE", seq=0, ack=0, window=0),
    "data6": IPv6(src=A6, dst=B6, hlim=9, tc=3, fl=77)
    / TCP(sport=8005, dport=443, flags="PA", seq=5, ack=6, options=[("Timestamp", (100, 200))])
    / Raw(b"\x16\x03\x01"),
    "dns": IP(src=A, dst="10.1.2.3", id=7) / UDP(sport=5353, dport=53) / Raw(b"question"),
    "empty udp": IP(src=A, dst=B, id=8) / UDP(sport=7, dport=7),
    "udp6": IPv6(src=B6, dst=A6) / IPv6ExtHdrDestOpt() / UDP(sport=53, dport=5353) / Raw(b"answer"),
    "ping": IP(src=A, dst=B, id=9) / ICMP(type=8, code=0, id=3, seq=4) / Raw(b"x" * 20),
    "ping6": IPv6(src=A6, dst=B6) / ICMPv6EchoRequest(id=3, seq=4),
    "first fragment": IP(src=A, dst=B, id=10, flags="MF") / UDP(sport=1, dport=2, len=2000, chksum=7) / Raw(b"y" * 64),
    "later fragment": IP(src=A, dst=B, id=10, frag=9, proto=17) / Raw(b"\0\x35" * 12),
    "later fragment6": IPv6(src=A6, dst=B6) / IPv6ExtHdrFragment(offset=5, nh=6, m=0) / Raw(b"\0\x50" * 12),
    "other": IP(src=A, dst="224.0.0.22", id=11, proto=253)
    / Raw(bytes(8)),  # for experiments: scapy has no layer for it
}
RAW = {name: bytes(packet) for name, packet in PACKETS.items()}


def _flag(letter: str) -> Callable[[Any], list[Any]]:
    return lambda p: [int(letter in str(p[TCP].flags))] if _has(p, TCP) else []


def _has(p: Any, layer: Any) -> bool:
    return layer in p and not (IP in p and p[IP].frag) and IPv6ExtHdrFragment not in p


def _of(layer: Any, *names: str) -> Callable[[Any], list[Any]]:
    return lambda p: [p[layer].getfieldval(name) for name in names] if layer in p else []


def _ports(layer: Any, *names: str) -> Callable[[Any], list[Any]]:
    return lambda p: [p[layer].getfieldval(name) for name in names] if _has(p, layer) else []


def _option(name: str, index: int | None = None) -> Callable[[Any], list[Any]]:
    def values(p: Any) -> list[Any]:
        found = [value for key, value in p[TCP].options if key == name] if _has(p, TCP) else []
        return [value if index is None else value[index] for value in found]

    return values


def _payload(layer: Any) -> Callable[[Any], list[Any]]:
    return lambda p: [bytes(p[layer].payload)] if _has(p, layer) and len(p[layer].payload) else []


REFERENCE: dict[str, Callable[[Any], list[Any]]] = {
    "frame.len": lambda p: [len(p)],
    "ip.version": _of(IP, "version"),
    "ip.hdr_len": lambda p: [p[IP].ihl * 4] if IP in p else [],
    "ip.dsfield": _of(IP, "tos"),
    "ip.dsfield.dscp": lambda p: [p[IP].tos >> 2] if IP in p else [],
    "ip.dsfield.ecn": lambda p: [p[IP].tos & 3] if IP in p else [],
    "ip.len": _of(IP, "len"),
    "ip.id": _of(IP, "id"),
    "ip.flags.df": lambda p: [int("DF" in str(p[IP].flags))] if IP in p else [],
    "ip.flags.mf": lambda p: [int("MF" in str(p[IP].flags))] if IP in p else [],
    "ip.frag_offset": _of(IP, "frag"),
    "ip.ttl": _of(IP, "ttl"),
    "ip.proto": _of(IP, "proto"),
    "ip.src": _of(IP, "src"),
    "ip.dst": _of(IP, "dst"),
    "ip.addr": _of(IP, "src", "dst"),
    "ipv6.version": _of(IPv6, "version"),
    "ipv6.tclass": _of(IPv6, "tc"),
    "ipv6.tclass.ecn": lambda p: [p[IPv6].tc & 3] if IPv6 in p else [],
    "ipv6.flow": _of(IPv6, "fl"),
    "ipv6.plen": _of(IPv6, "plen"),
    "ipv6.nxt": _of(IPv6, "nh"),
    "ipv6.hlim": _of(IPv6, "hlim"),
    "ipv6.src": _of(IPv6, "src"),
    "ipv6.dst": _of(IPv6, "dst"),
    "ipv6.addr": _of(IPv6, "src", "dst"),
    "tcp.srcport": _ports(TCP, "sport"),
    "tcp.dstport": _ports(TCP, "dport"),
    "tcp.port": _ports(TCP, "sport", "dport"),
    "tcp.seq_raw": _ports(TCP, "seq"),
    "tcp.ack_raw": _ports(TCP, "ack"),
    "tcp.hdr_len": lambda p: [p[TCP].dataofs * 4] if _has(p, TCP) else [],
    "tcp.flags": lambda p: [int(p[TCP].flags)] if _has(p, TCP) else [],
    "tcp.flags.syn": _flag("S"),
    "tcp.flags.ack": _flag("A"),
    "tcp.flags.fin": _flag("F"),
    "tcp.flags.reset": _flag("R"),
    "tcp.flags.push": _flag("P"),
    "tcp.flags.ece": _flag("E"),
    "tcp.flags.cwr": _flag("C"),
    "tcp.window_size_value": _ports(TCP, "window"),
    "tcp.urgent_pointer": _ports(TCP, "urgptr"),
    "tcp.len": lambda p: [len(p[TCP].payload)] if _has(p, TCP) else [],
    "tcp.payload": _payload(TCP),
    "tcp.options.mss_val": _option("MSS"),
    "tcp.options.wscale.shift": _option("WScale"),
    "tcp.options.timestamp.tsval": _option("Timestamp", 0),
    "tcp.options.timestamp.tsecr": _option("Timestamp", 1),
    "udp.srcport": _ports(UDP, "sport"),
    "udp.dstport": _ports(UDP, "dport"),
    "udp.port": _ports(UDP, "sport", "dport"),
    "udp.length": _ports(UDP, "len"),
    "udp.payload": _payload(UDP),
    "icmp.type": _of(ICMP, "type"),
    "icmp.code": _of(ICMP, "code"),
    "icmpv6.type": _of(ICMPv6EchoRequest, "type"),
    "icmpv6.code": _of(ICMPv6EchoRequest, "code"),
}
"""Field: all its values in a dissected packet; addresses as text."""
DISSECTED = {name: type(PACKETS[name])(raw) for name, raw in RAW.items()}


def table(*rules: str, seed: str = "7") -> RuleTable:
    made = RuleTable(seed)
    for rule in rules:
        made.add(parse_rule(rule))
    return made


def packet(name: str) -> Packet:
    return Packet(RAW[name])
