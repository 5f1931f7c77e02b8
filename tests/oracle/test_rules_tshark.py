"""tshark as the judge of filters: the same expression, as a display filter over the same packets, keeps the same ones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Raw

from netemu.capture.pcapng import PcapngWriter
from netemu.link.rules.fields import fields
from netemu.link.rules.filter import parse_filter
from netemu.link.rules.flows import FlowTracker
from netemu.link.rules.view import View
from netemu.wire.packet import Packet

NS = 1_700_000_000_000_000_000
PLAIN = ["-o", "ip.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.check_checksum:FALSE"]
"""Packets are judged one by one, as rules do."""
OPTIONS = [
    [],
    [("MSS", 1460)],
    [("MSS", 536), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", None), ("WScale", 7)],
    [("NOP", None), ("NOP", None), ("Timestamp", (70000, 7))],
    [("NOP", None), ("NOP", None), ("SAck", (100, 200))],
]


def packets() -> Iterator[bytes]:
    """All sorts, the same at each run. Ports that tshark knows no dissector for, so that payload stays payload."""
    random = Random(3)
    for _ in range(400):
        ends = random.choice([("192.0.2.1", "198.51.100.9"), ("192.0.2.77", "203.0.113.5"), ("10.1.2.3", "192.0.2.1")])
        if random.random() < 0.5:
            ends = ends[::-1]
        ttl, tos = random.choice([1, 5, 63, 64, 255]), random.choice([0, 1, 2, 3, 0xB8])
        if random.random() < 0.3:
            a, b = random.choice([("2001:db8::1", "2001:db8:1::2"), ("fd00::1", "2001:db8::1")])
            ip: Any = IPv6(src=a, dst=b, hlim=ttl, tc=tos, fl=random.randrange(1 << 20))
            ip = ip / IPv6ExtHdrDestOpt() if random.random() < 0.2 else ip
        else:
            flags = random.choice([0, "DF"])
            ip = IP(src=ends[0], dst=ends[1], ttl=ttl, tos=tos, id=random.randrange(65536), flags=flags)
        yield bytes(ip / _transport(random, ip))
    yield bytes(
        IP(src="192.0.2.1", dst="198.51.100.9", flags="MF", id=7)
        / UDP(sport=40001, dport=40003, len=80, chksum=7)
        / Raw(b"x" * 24)
    )
    yield bytes(IP(src="192.0.2.1", dst="198.51.100.9", frag=4, proto=17, id=7) / Raw(b"\x9c\x41" * 20))


def _transport(random: Random, ip: Any) -> Any:
    sport, dport = random.choice([40001, 40003, 50007]), random.choice([40001, 40003, 40077])
    data = random.choice([b"", b"GET / HTTP/1.1", b"\x00\x01\x02 get it", bytes(random.randrange(1, 90))])
    kind = random.random()
    flags = random.choice(["S", "SA", "A", "PA", "FA", "R", "RA", "PAU", "SEC", "AE"])
    if kind < 0.6:
        return TCP(
            sport=sport,
            dport=dport,
            flags=flags,
            seq=random.choice([0, 1000, 0xFFFFFFFF, random.randrange(1 << 32)]),
            ack=random.choice([0, 5000, random.randrange(1 << 32)]),
            window=random.choice([0, 512, 65535]),
            urgptr=random.choice([0, 0, 3]),
            options=random.choice(OPTIONS),
        ) / Raw(b"" if "R" in flags else data)  # what a RST carries is its cause, and no payload to tshark
    if kind < 0.85:
        return UDP(sport=sport, dport=dport) / Raw(data)
    return ICMPv6EchoRequest(id=1, seq=2) if IPv6 in ip else ICMP(type=random.choice([8, 0, 13]), code=0)


EXPRESSIONS = """
ip || udp
ipv6
tcp && ip
icmp or icmpv6
not tcp
frame.len > 60
frame.len <= 40 and tcp
ip.version == 4
ipv6.version == 6
ip.hdr_len == 20
ip.src == 192.0.2.1
ip.src == 192.0.2.0/24
ip.dst != 192.0.2.0/24
ip.addr == 10.1.2.3
ip.addr != 192.0.2.1
!(ip.addr == 192.0.2.1)
ip.addr in {10.0.0.0/8, 203.0.113.5}
ip.src in {192.0.2.2..192.0.2.99}
ip.src > 192.0.2.1
ip.ttl < 5
ip.ttl in {1, 60..64}
ip.ttl & 1
ip.ttl & 0x3e == 0x3e
ip.proto == 17
ip.id < 0x4000
ip.len >= 50
ip.flags.df == 1
ip.flags.mf == 1
ip.frag_offset == 4
ip.frag_offset > 0
ip.dsfield == 0xb8
ip.dsfield.dscp == 46
ip.dsfield.ecn == 3
ip.dsfield.ecn != 0
ipv6.src == 2001:db8::/64
ipv6.addr == 2001:db8::1
ipv6.addr != fd00::1
ipv6.dst == fd00::/8 or ipv6.src == fd00::/8
ipv6.hlim == 64
ipv6.nxt == 6
ipv6.nxt == 60
ipv6.tclass == 0xb8
ipv6.tclass.dscp == 46
ipv6.tclass.ecn == 2
ipv6.flow < 0x80000
ipv6.plen > 30
tcp.srcport == 40001
tcp.dstport in {40003, 40070..40080}
tcp.port == 40001
tcp.port != 40001
tcp.port in {50007}
not tcp.port in {50007}
tcp.srcport == tcp.dstport
tcp.srcport > tcp.dstport
tcp.flags.syn == 1 && tcp.flags.ack == 0
tcp.flags.fin == 1 or tcp.flags.reset == 1
tcp.flags.push == 1 and tcp.flags.urg == 0
tcp.flags.ece == 1 || tcp.flags.cwr == 1
tcp.flags == 0x12
tcp.flags & 0x02
tcp.flags & 0x12 == 0x12
tcp.flags > 0x18
tcp.seq_raw == 1000
tcp.seq_raw >= 0x80000000
tcp.ack_raw == 5000
tcp.hdr_len > 20
tcp.len == 0
tcp.len > 10 and ip.ttl > 5
tcp.window_size_value == 0
tcp.urgent_pointer == 3
tcp.options.mss_val == 1460
tcp.options.mss_val < 1000
tcp.options.wscale.shift == 7
tcp.options.timestamp.tsval == 70000
tcp.options.timestamp.tsval
tcp.options.timestamp.tsecr == 7
tcp.options.sack_perm
tcp.options.mss_val or tcp.options.timestamp.tsecr
tcp.payload
tcp.payload contains "GET"
tcp.payload contains 01:02
tcp.payload matches "get"
tcp.payload matches "^get"
tcp.payload[0:3] == 47:45:54
tcp.payload[0:3] == "GET"
tcp.payload[1] == 01
tcp.payload[4:] contains "HTTP"
tcp.payload[0-1] == 00:01
udp.port == 40003
udp.srcport == 40001 and udp.dstport == 40003
udp.length > 20
udp.length == 80
udp.payload contains "HTTP"
udp.payload[0] == 47
icmp.type == 8
icmp.type in {0, 13}
icmp.code == 0
icmpv6.type == 128
icmpv6.code == 0 and ipv6.hlim > 4
ip.src == 192.0.2.1 and tcp.port == 40001 or udp.port == 50007 and not ip.dst == 192.0.2.1
(ip.src == 192.0.2.1 or udp.port == 50007) and not (ip.ttl < 64 || ip.flags.df == 1)
ip and (tcp.len == 0 or udp.length < 20) and !icmp
""".strip().splitlines()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("tshark"):
        pytest.fail("tshark is not installed: apt install tshark")
    path = tmp_path_factory.mktemp("rules") / "packets.pcapng"
    _write(path, list(packets()))
    return path


def _write(path: Path, data: list[bytes]) -> None:
    with path.open("wb") as out:
        writer = PcapngWriter(out, "test")
        for number, each in enumerate(data):
            writer.packet(each, NS + number * 1_000_000, True)
        writer.close()


def kept_by_tshark(capture: Path, expression: str) -> list[int]:
    """The numbers of the packets, from 1."""
    return [int(line) for line in tshark(capture, "-Y", expression, "-T", "fields", "-e", "frame.number").split()]


def tshark(capture: Path, *arguments: str) -> str:
    command = ["tshark", "-n", "-r", str(capture), *PLAIN, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kept_by_us(expression: str, data: list[bytes]) -> list[int]:
    test = parse_filter(expression).test
    return [number for number, each in enumerate(data, 1) if test.exact(View(Packet(each)))]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_display_filter_keeps_the_same(capture: Path, expression: str) -> None:
    expected = kept_by_tshark(capture, expression)
    assert kept_by_us(expression, list(packets())) == expected
    assert expected


# -- what is known of flows ---------------------------------------------------------------------------------------------


def conversation(iss: int, irs: int) -> list[tuple[bytes, bool]]:
    """(packet, from the client?): a handshake with window scales, data both ways, some of it sent again, FINs."""
    random = Random(iss)
    syn = [("MSS", 1460), ("NOP", None), ("WScale", 7)]
    sent = {True: 1, False: 1}
    said = [(True, "S", 0, 0, 0, 60000), (False, "SA", 0, 1, 0, 50000), (True, "A", 1, 1, 0, 400)]
    for _ in range(150):
        mine = random.random() < 0.6
        size = random.choice([0, 2, 100, 1460])  # of 1 byte, tshark says that it is a keep-alive
        again = size and random.random() < 0.2 and sent[mine] > size
        seq = sent[mine] - size if again else sent[mine]
        said.append((mine, "PA" if size else "A", seq, sent[not mine], size, random.randrange(65536)))
        sent[mine] = max(sent[mine], seq + size)
    said += [(True, "FA", sent[True], sent[False], 0, 500), (False, "FA", sent[False], sent[True] + 1, 0, 500)]
    out = []
    for mine, flags, seq, ack, size, window in said:
        first, second = (iss, irs) if mine else (irs, iss)
        ends = ("192.0.2.1", "192.0.2.2", 40001, 40003)
        src, dst, sport, dport = ends if mine else (ends[1], ends[0], ends[3], ends[2])
        number, acked = (first + seq) % 2**32, (second + ack) % 2**32 if "A" in flags else 0
        options = syn if "S" in flags else []
        segment = TCP(sport=sport, dport=dport, flags=flags, seq=number, ack=acked, window=window, options=options)
        out.append((bytes(IP(src=src, dst=dst) / segment / Raw(bytes(size))), mine))
    return out


@pytest.mark.parametrize(("iss", "irs"), [(1000, 5000), (0xFFFFFFF0, 0xFFFFFFFF), (0x7FFFFFF0, 0x80000001)])
@pytest.mark.parametrize("start", [0, 30])
def test_relative_numbers_and_scaled_windows(tmp_path: Path, iss: int, irs: int, start: int) -> None:
    """Also when the handshake was not seen: then numbers begin with what was seen first, and windows are as they stand.

    What is acknowledged then depends on the other direction, which a rule does not see.
    """
    said = conversation(iss, irs)[start:]
    _write(tmp_path / "flow.pcapng", [data for data, _ in said])
    names = ["tcp.seq", "tcp.window_size", *(["tcp.ack"] if not start else [])]
    columns = [word for name in names for word in ("-e", name)]
    theirs = [line.split("\t") for line in tshark(tmp_path / "flow.pcapng", "-T", "fields", *columns).splitlines()]
    trackers = {True: FlowTracker(), False: FlowTracker()}
    ours = []
    for data, mine in said:
        view = View(Packet(data))
        trackers[mine].note(view)
        ours.append([str(fields()[name].get(view)) for name in names])
    assert ours == theirs


def test_what_is_a_retransmission(tmp_path: Path) -> None:
    said = conversation(1000, 5000)
    _write(tmp_path / "flow.pcapng", [data for data, _ in said])
    kinds = ("retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order")
    theirs = kept_by_tshark(tmp_path / "flow.pcapng", " or ".join(f"tcp.analysis.{kind}" for kind in kinds))
    trackers = {True: FlowTracker(), False: FlowTracker()}
    test, ours = parse_filter("flow.retransmission").test, []
    for number, (data, mine) in enumerate(said, 1):
        view = View(Packet(data))
        trackers[mine].note(view)
        if test.exact(view):
            ours.append(number)
    assert ours == theirs
    assert len(ours) > 10
