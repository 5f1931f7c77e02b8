"""tshark and scapy as judges: the files we write, and the lines we print."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from netemu.capture.pcapng import PcapngWriter
from netemu.wire.describe import describe

NS = 1_700_000_000_123_456_789
COMMENT = "delivered to s3 of app web by LISTEN_WILDCARD: a SYN to a listener on this port of any address"
OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 9)), ("NOP", None), ("WScale", 7)]

PACKETS: list[Packet] = [
    IP(src="198.18.0.1", dst="198.18.0.2") / TCP(sport=40000, dport=80, flags="S", seq=1, options=OPTIONS),
    IP(src="198.18.0.2", dst="198.18.0.1") / TCP(sport=80, dport=40000, flags="SA", seq=5, ack=2, options=OPTIONS),
    IPv6(src="2001:2::1", dst="2001:2::2") / TCP(sport=40001, dport=81, flags="PA", seq=1, ack=1) / Raw(b"hello"),
    IP(src="198.18.0.1", dst="198.18.0.2") / UDP(sport=5000, dport=7) / Raw(b"hi"),
    IP(src="198.18.0.1", dst="198.18.0.2") / ICMP(id=3, seq=4) / Raw(b"x" * 56),
    IPv6(src="2001:2::1", dst="2001:2::2") / ICMPv6EchoRequest(id=3, seq=4),
    *fragment(IP(src="198.18.0.1", dst="198.18.0.2", id=9) / UDP(sport=1, dport=2) / Raw(b"y" * 3001), 1480),
]


def tshark(*arguments: str) -> str:
    done = subprocess.run(["tshark", *arguments], capture_output=True, text=True, timeout=60, check=True)
    complaints = [line for line in done.stderr.splitlines() if "Running as user" not in line]
    assert not complaints
    return done.stdout


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    if not shutil.which("tshark"):
        pytest.fail("tshark is not installed: apt install tshark")
    path = tmp_path / "out.pcapng"
    with path.open("wb") as out:
        writer = PcapngWriter(out, "netemu0")
        for number, packet in enumerate(PACKETS):
            writer.packet(bytes(packet), NS + number, number % 2 == 0, COMMENT if number == 0 else "")
        writer.close(dropped=2)
    return path


def test_tshark_reads_times_directions_and_comments(capture: Path) -> None:
    fields = ["frame.time_epoch", "frame.packet_flags_direction", "frame.interface_name", "frame.comment"]
    lines = tshark(
        "-r", str(capture), "-T", "fields", *(word for field in fields for word in ("-e", field))
    ).splitlines()
    assert len(lines) == len(PACKETS)
    for number, line in enumerate(lines):
        time, direction, name, comment = line.split("\t")
        assert time == f"1700000000.{123_456_789 + number}"
        assert int(direction, 0) == (1 if number % 2 == 0 else 2)
        assert name == "netemu0"
        assert comment == (COMMENT if number == 0 else "")


def test_tshark_finds_nothing_malformed(capture: Path) -> None:
    checks = ("ip", "tcp", "udp")
    options = [word for name in checks for word in ("-o", f"{name}.check_checksum:TRUE")]
    assert tshark("-r", str(capture), *options, "-Y", "_ws.malformed || _ws.expert.group == checksum") == ""


def test_capinfos_reads_the_statistics(capture: Path) -> None:
    if not shutil.which("capinfos"):
        pytest.fail("capinfos is not installed: apt install tshark")
    done = subprocess.run(["capinfos", str(capture)], capture_output=True, text=True, check=True)
    assert "Capture application: netemu 0.1.0" in done.stdout
    assert "Time precision = nanoseconds (9)" in done.stdout
    assert "Number of stat entries = 1" in done.stdout


def test_describe_names_what_scapy_built() -> None:
    for packet in PACKETS:
        line = describe(bytes(packet))
        ip = packet[IP] if IP in packet else packet[IPv6]
        assert ip.src in line
        assert ip.dst in line
        if TCP in packet:
            tcp = packet[TCP]
            flags = str(tcp.flags).replace("A", ".")
            assert f":{tcp.sport} > " in line
            assert f":{tcp.dport} Flags [{''.join(sorted(flags, key='FSRP.UEW'.index))}], seq {tcp.seq}" in line
            assert line.endswith(f"length {len(tcp.payload)}")
            assert ("options [mss 1460,sackOK,TS val 7 ecr 9,nop,wscale 7]" in line) == bool(tcp.options)


def test_describe_and_tshark_agree_about_lengths(capture: Path) -> None:
    lines = tshark("-r", str(capture), "-T", "fields", "-e", "tcp.len", "-o", "ip.defragment:FALSE").splitlines()
    for packet, length in zip(PACKETS, lines, strict=True):
        if length:
            assert describe(bytes(packet)).endswith(f"length {length}")
