"""scapy as judge of what routers send.

Each packet is taken apart, its lengths and checksums are deleted, and scapy's builder must make it the same again, byte for byte;
so must the packets that ICMP errors quote.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import NoPayload, Packet, Raw

from netemu.reasons import RouterMatch
from netemu.router.nat_config import parse_nat
from netemu.router.router import Router
from netemu.router.routes import parse_route
from netemu.wire.packet import Packet as OurPacket

LAN, WAN = 0, 1
INSIDE, OUTSIDE = ("10.0.1.2", "10.0.1.3"), ("192.0.2.2", "198.51.100.7")
SUMS = ("chksum", "cksum", "len", "plen")


def router(mtu: int = 1500, nat: bool = False) -> Router:
    made = Router("r1", 1)
    made.add_port("lan", ["10.0.1.1/24", "2001:db8:1::1/64"])
    made.add_port("wan", ["192.0.2.1/24", "2001:db8:2::1/64"], mtu)
    made.add_route(parse_route("198.51.100.0/24 via 192.0.2.2"))
    if nat:
        made.use_nat(parse_nat({"inside": ["lan"], "port_preservation": False, "filtering": "endpoint-independent"}))
    return made


def rebuilt(raw: bytes) -> bytes:
    """The packet as scapy would have made it."""
    packet = IP(raw) if raw[0] >> 4 == 4 else IPv6(raw)
    is_fragment = isinstance(packet, IP) and bool(packet.frag or packet.flags.MF)
    layer: Packet = packet
    while not isinstance(layer, NoPayload | Raw):
        if layer.name.endswith("in ICMP") or layer.name.endswith("in ICMPv6"):
            break  # a quotation, which is looked at by itself
        for field in SUMS:
            if field in layer.fields and layer.fields[field] != 0:  # a datagram without a checksum goes on without
                layer.delfieldval(field)
        if is_fragment:
            break
        layer = layer.payload
    return bytes(packet)


def quoted(raw: bytes) -> bytes | None:
    """The packet that an ICMP error quotes, if all of it."""
    is_v4 = raw[0] >> 4 == 4
    start = 20 if is_v4 else 40
    if raw[9 if is_v4 else 6] not in (1, 58) or raw[start] not in ((3, 11) if is_v4 else (1, 2, 3)):
        return None
    body = raw[start + 8 :]
    length = int.from_bytes(body[2:4] if is_v4 else body[4:6], "big") + (0 if is_v4 else 40)
    return body if len(body) == length else None


def check(made: Router, now: int) -> list[tuple[int, bytes]]:
    """What it sends; each packet and each quotation is as scapy has it."""
    out = []
    while (sent := made.transmit(now)) is not None:
        raw = bytes(sent[1])
        assert rebuilt(raw) == raw, IP(raw).show(dump=True)
        body = quoted(raw)
        if body is not None:
            assert rebuilt(body) == body, IP(body).show(dump=True)
        out.append((sent[0], raw))
    return out


def packets(random: Random, sources: tuple[str, ...], destinations: tuple[str, ...]) -> Iterator[bytes]:
    """All kinds, by scapy."""
    while True:
        ip = IP(
            src=random.choice(sources), dst=random.choice(destinations), ttl=random.choice([1, 2, 64]),
            tos=random.randrange(256), id=random.randrange(65536), flags=random.choice(["DF", 0]),
        )  # fmt: skip
        data = random.randbytes(random.choice([0, 1, 7, 100, 1001]))
        ports = {"sport": random.randrange(65536), "dport": random.randrange(65536)}
        kind = random.randrange(4)
        if kind == 0:
            packet = (
                ip / TCP(**ports, flags=random.choice(["S", "A", "PA", "SA", "R"]), seq=random.getrandbits(32)) / data
            )
        elif kind == 1:
            packet = ip / UDP(**ports) / data
        elif kind == 2:
            packet = ip / UDP(**ports, chksum=0) / data
        else:
            packet = ip / ICMP(type=8, id=random.randrange(65536), seq=random.randrange(65536)) / data
        yield bytes(packet)


@pytest.mark.parametrize("nat", [False, True])
@pytest.mark.parametrize("mtu", [576, 1500])
def test_forwarded_translated_cut_and_refused(nat: bool, mtu: int) -> None:
    made, random, now = router(mtu, nat), Random(f"{nat}/{mtu}"), 0
    there = packets(random, INSIDE, (*OUTSIDE, "203.0.113.1", "10.0.1.1", "192.0.2.1"))
    sent = 0
    for _ in range(600):
        now += 5_000_000
        made.receive(LAN, OurPacket(next(there)), now)
        for port, raw in check(made, now):
            sent += 1
            if port != WAN or raw[6] & 0x3F or raw[7]:
                continue
            for answer in answers(raw, random):
                made.receive(WAN, OurPacket(answer), now)
                check(made, now)
    assert sent > 400
    assert made.counters[RouterMatch.FORWARDED] > 300
    assert (made.counters[RouterMatch.FRAGMENTED] > 10) == (mtu < 1000)


def answers(raw: bytes, random: Random) -> Iterator[bytes]:
    """An answer of the other end, and an ICMP error about the packet, whole or cut off."""
    packet = IP(raw)
    ip = IP(src=packet.dst, dst=packet.src)
    if TCP in packet:
        yield bytes(ip / TCP(sport=packet[TCP].dport, dport=packet[TCP].sport, flags="A") / b"answer")
    elif UDP in packet:
        yield bytes(ip / UDP(sport=packet[UDP].dport, dport=packet[UDP].sport) / b"answer")
    else:
        yield bytes(ip / ICMP(type=0, id=packet[ICMP].id, seq=packet[ICMP].seq) / b"answer")
    for quotation in (raw, raw[:28], raw[: random.randrange(20, len(raw))]):
        yield bytes(IP(src="203.0.113.9", dst=packet.src) / ICMP(type=11, code=0) / Raw(quotation))


def test_ipv6_and_what_is_said_about_it() -> None:
    made, random = router(1280), Random(3)
    for n in range(300):
        ip = IPv6(
            src="2001:db8:1::2", dst=random.choice(["2001:db8:2::2", "2001:db8:1::1", "2001:db8:dead::1"]),
            hlim=random.choice([1, 64]), tc=random.randrange(256), fl=random.randrange(1 << 20),
        )  # fmt: skip
        data = random.randbytes(random.choice([0, 9, 1400]))
        layer = random.choice([TCP(flags="S", sport=n), UDP(sport=n), ICMPv6EchoRequest(id=n)])
        made.receive(LAN, OurPacket(bytes(ip / layer / data)), n * 5_000_000)
        assert len(check(made, n * 5_000_000)) <= 2


def test_scapys_fragments_go_through_nat() -> None:
    made = router(nat=True)
    whole = IP(src=INSIDE[0], dst=OUTSIDE[1], id=77) / UDP(sport=5000, dport=53) / Raw(Random(4).randbytes(3000))
    for piece in fragment(IP(bytes(whole)), 800):
        made.receive(LAN, OurPacket(bytes(piece)), 0)
    out = check(made, 0)
    assert [port for port, _ in out] == [WAN] * 3
    assert b"".join(raw[20:] for _, raw in out)[8:] == bytes(whole)[28:]
