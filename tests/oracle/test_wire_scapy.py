"""scapy and tshark as judges of every packet that the host makes, and we as judges of scapy's.

Each packet of a set of scenarios is taken apart by scapy, its lengths and checksums are deleted, and it must come out of
scapy's builder the same, byte for byte. The same packets go into a capture, in which tshark must find nothing to complain of.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from scapy.layers.igmp import IGMP, IGMPv3_MQ, IGMPv3_MR
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLQuery,
    ICMPv6MLQuery2,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    RouterAlert,
)
from scapy.packet import NoPayload, Packet, Raw

from netemu.capture.pcapng import PcapngWriter
from netemu.sim.hosts import SimHost
from netemu.sim.simulation import Simulation
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.streams import Datagrams, Stream, serve_datagrams, serve_stream
from netemu.wire import icmp, igmp, ipv4, ipv6, mld, tcp, udp
from netemu.wire.buffer import Buffer
from netemu.wire.icmp import Message
from netemu.wire.igmp import MS, SECOND, TENTH, Query
from netemu.wire.ip import IpPacket, parse_address
from netemu.wire.packet import Packet as OurPacket
from netemu.wire.tcp import Segment

A4, B4, A6, B6 = "198.18.0.1", "198.18.0.2", "2001:2::1", "2001:2::2"
Address = tuple[str, int]

# -- scenarios ----------------------------------------------------------------------------------------------------------


class Recorded(NamedTuple):
    scenario: str
    raw: bytes
    wall_ns: int
    inbound: bool
    why: str


class Echo:
    """Says again what it hears, and ends when the peer does."""

    def connection_made(self, transport: Stream) -> None:
        self.transport = transport

    def data_received(self, data: Buffer) -> None:
        self.transport.write(bytes(data))

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, error: OSError | None) -> None:
        pass

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class EchoDatagrams:
    def connection_made(self, transport: Datagrams) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Address) -> None:
        self.transport.sendto(data, address)


class Scene:
    """Two hosts in virtual time; what passes at the second is recorded."""

    def __init__(self, name: str, *, mtu: int = 1500, offload: bool = False, loss: float = 0, **sysctl: int) -> None:
        self.name = name
        self.simulation = Simulation(seed=7)
        settings = {f"net.ipv4.tcp_{key}": value for key, value in sysctl.items()}
        self.a = self.simulation.host(A4, A6, mtu=mtu)
        self.b = self.simulation.host(B4, B6, mtu=mtu, offload=offload, sysctl=settings)
        self.simulation.link(self.a, self.b, f"delay 6.5ms 1.5ms loss {loss:%}" if loss else "delay 5ms")
        self.out: list[Recorded] = []
        self.b.engine.taps.append(
            lambda packet, wall, inbound, why: self.out.append(Recorded(name, bytes(packet), wall, inbound, why))
        )
        serve_stream(self.b.host, Echo, 7, app="echo")
        serve_datagrams(self.b.host, EchoDatagrams(), 7, app="echo")

    def run(self, seconds: float = 5) -> None:
        for host in (self.a, self.b):
            host.touch()
        self.simulation.run(for_=int(seconds * 1e9))

    def give(self, raw: bytes) -> None:
        """Something from elsewhere arrives at the second host."""
        self.simulation.at(self.simulation.now + MS, self.b.node.hold, OurPacket(raw))
        self.simulation.run(for_="20ms")

    def connect(self, host: SimHost, address: str, port: int) -> StreamSocket:
        socket = StreamSocket(host.host, so.AF_INET6 if ":" in address else so.AF_INET)
        with suppress(BlockingIOError):
            socket.connect((address, port))
        return socket


def talk(scene: Scene, address: str, size: int) -> None:
    """A connection with data both ways and a close in good order."""
    socket = scene.connect(scene.a, address, 7)
    left = [size]

    def on_event(_: Socket, events: int) -> None:
        with suppress(BlockingIOError, BrokenPipeError):
            while left[0]:
                left[0] -= socket.send(b"netemu! " * min(left[0] // 8 or 1, 8192))
                left[0] = max(left[0], 0)
        with suppress(BlockingIOError):
            while socket.recv(1 << 16):
                pass
        if not left[0] and socket.state_name == "ESTABLISHED":
            socket.shutdown(so.SHUT_WR)

    socket.on_event = on_event
    scene.run(60)
    socket.close()
    scene.run()


def syn_options() -> Iterator[Recorded]:
    """SYN and SYN-ACK with every set of options."""
    for timestamps, sack, scaling in product((0, 1), repeat=3):
        name = f"options {timestamps}{sack}{scaling}"
        scene = Scene(name, timestamps=timestamps, sack=sack, window_scaling=scaling)
        for address in (B4, B6):
            talk(scene, address, 3000)
        for address in (A4, A6):
            scene.connect(scene.b, address, 81)
        scene.run()
        yield from scene.out


def bulk() -> Iterator[Recorded]:
    for name, offload, loss, mtu in (
        ("bulk", False, 0, 1500),
        ("bulk lossy", False, 0.05, 1500),
        ("bulk offload", True, 0, 1500),
        ("bulk offload lossy", True, 0.02, 9000),
        ("bulk small", False, 0, 1280),
    ):
        for address in (B4, B6):
            scene = Scene(name, offload=offload, loss=loss, mtu=mtu)
            talk(scene, address, 200_000)
            yield from scene.out


def resets() -> Iterator[Recorded]:
    scene = Scene("resets")
    for src, dst in ((IP(src=A4, dst=B4), B4), (IPv6(src=A6, dst=B6), B6)):
        for flags in ("", "S", "F", "SF", "A", "SA", "FA", "PA", "FPU", "R", "RA"):
            for port in (7, 81):
                scene.give(bytes(src / TCP(sport=1000, dport=port, flags=flags, seq=5, ack=9) / Raw(b"data")))
        socket = scene.connect(scene.a, dst, 7)
        scene.run()
        socket.send(b"x")
        socket.abort()
        scene.run()
        socket = scene.connect(scene.a, dst, 7)
        scene.run()
        socket.close()
        scene.run()
        for _ in range(2):
            scene.connect(scene.a, dst, 7)
        scene.run()
    scene.b.host.shutdown()
    scene.run()
    yield from scene.out


def datagrams() -> Iterator[Recorded]:
    for mtu in (1500, 1280):
        scene = Scene(f"udp {mtu}", mtu=mtu)
        for address in (B4, B6):
            socket = DatagramSocket(scene.a.host, so.AF_INET6 if ":" in address else so.AF_INET)
            for size in (0, 1, 2, 511, mtu - 48, mtu - 28, mtu, 5000, 65507):
                socket.sendto(Random(size).randbytes(size), (address, 7))
                socket.sendto(bytes(size), (address, 9999))
                scene.run(1)
            name, packed = socket.getsockname(), parse_address(address)
            peer = scene.a.host.source_for(packed)
            # what makes the checksum zero, which must not be sent
            socket.sendto(udp.emit(packed, peer, 7, name[1], bytes(2))[6:8], (address, 7))
            scene.run(1)
        yield from scene.out


def pings() -> Iterator[Recorded]:
    scene = Scene("ping")
    for size in (0, 1, 56, 1452, 1472, 1473, 4000, 65507):
        for version, (src, dst) in ((4, (A4, B4)), (6, (A6, B6))):
            kind = icmp.ECHO_REQUEST if version == 4 else icmp.V6_ECHO_REQUEST
            packed = parse_address(src), parse_address(dst)
            body = icmp.emit(*packed, kind, 0, 0x10001, Random(size).randbytes(size))
            # the peer's own fragmentation: a raw send of its host
            scene.a.host.send_ip(*packed, 1 if version == 4 else 58, body)
            scene.run(1)
    scene.give(bytes(IP(src=A4, dst=B4) / ICMP(type=8, id=0, seq=0) / Raw(bytes(56))))
    yield from scene.out


def errors() -> Iterator[Recorded]:
    scene = Scene("errors")
    four, six = IP(src=A4, dst=B4), IPv6(src=A6, dst=B6)
    for packet in (
        four / UDP(sport=1, dport=99) / Raw(b"x"),
        four / UDP(sport=1, dport=99) / Raw(bytes(1400)),
        IP(src=A4, dst=B4, options=[IPOption(b"\x07\x07\x04\0\0\0\0")]) / UDP(sport=1, dport=99) / Raw(b"x"),
        IP(src=A4, dst=B4, proto=99) / Raw(b"some protocol"),
        six / UDP(sport=1, dport=99) / Raw(b"x"),
        six / UDP(sport=1, dport=99) / Raw(bytes(1400)),
        IPv6(src=A6, dst=B6, nh=99) / Raw(b"some protocol"),
        six / IPv6ExtHdrDestOpt(options=[PadN(otype=0x9E, optdata=b"ab")]) / UDP(sport=1, dport=7),
        six / IPv6ExtHdrRouting(type=0, addresses=[A6], segleft=1, nh=59) / Raw(b"x"),
        six / IPv6ExtHdrFragment(m=1, offset=1, id=4) / Raw(b"seven b"),
        six / IPv6ExtHdrFragment(m=1, offset=0, id=5, nh=6) / Raw(bytes(8)),
        six / IPv6ExtHdrFragment(m=1, offset=0, id=6, nh=17) / Raw(udp.HEADER.pack(1, 2, 100, 0) + bytes(8)),
        IP(src=A4, dst=B4, flags="MF", id=6, proto=17) / Raw(udp.HEADER.pack(1, 2, 100, 0) + bytes(8)),
    ):
        scene.give(bytes(packet))
    scene.run(70)
    yield from scene.out


def smaller_path() -> Iterator[Recorded]:
    """Fragmentation needed and packet too big, in the middle of a transfer."""
    scene = Scene("path mtu")
    for address, version in ((A4, 4), (A6, 6)):
        serve_stream(scene.a.host, Echo, 7 + version, app="echo")
        socket = scene.connect(scene.b, address, 7 + version)
        scene.run(1)
        socket.send(bytes(20_000))
        scene.b.touch()
        scene.simulation.run(for_=0)
        sent = next(r.raw for r in reversed(scene.out) if not r.inbound and len(r.raw) > 1400)
        if version == 4:
            told = IP(src="192.0.2.1", dst=B4) / ICMP(type=3, code=4, nexthopmtu=1300) / Raw(sent[:28])
        else:
            told = IPv6(src="2001:db8::1", dst=B6) / ICMPv6PacketTooBig(mtu=1300) / Raw(sent[:1200])
        scene.give(bytes(told))
        scene.run()
        datagram = DatagramSocket(scene.b.host, so.AF_INET6 if version == 6 else so.AF_INET)
        datagram.sendto(bytes(1400), (address, 9))
        scene.run()
    yield from scene.out


def groups() -> Iterator[Recorded]:
    """Sockets join, choose sources and leave; routers of all versions ask."""
    scene = Scene("groups")
    four, six = DatagramSocket(scene.b.host, so.AF_INET), DatagramSocket(scene.b.host, so.AF_INET6)
    for n in range(20):
        group = bytes((239, 1, 1, n))
        four.setsockopt(so.IPPROTO_IP, so.IP_ADD_MEMBERSHIP, group + bytes(4))
        six.setsockopt(so.IPPROTO_IPV6, so.IPV6_JOIN_GROUP, parse_address(f"ff05::{n}") + bytes(4))
        for source in range(n % 5):
            four.setsockopt(so.IPPROTO_IP, so.IP_BLOCK_SOURCE, group + parse_address(B4) + bytes((192, 0, 2, source)))
    scene.run(5)
    *queries, of_version_1 = asking()
    for packet in queries:
        scene.give(bytes(packet))
        scene.run(12)
    four.setsockopt(so.IPPROTO_IP, so.IP_DROP_MEMBERSHIP, bytes((239, 1, 1, 0)) + bytes(4))
    six.close()
    scene.give(bytes(of_version_1))
    scene.run(12)
    yield from scene.out


def asking() -> Iterator[Packet]:
    """Queries, by scapy."""
    for group, sources in (("0.0.0.0", []), ("239.1.1.3", []), ("239.1.1.3", ["192.0.2.9", "192.0.2.1"])):
        lower = IP(src=A4, dst="224.0.0.1" if group == "0.0.0.0" else group, ttl=1, options=[IPOption_Router_Alert()])
        yield lower / IGMPv3_MQ(
            type=0x11, mrcode=50, gaddr=group, qrv=2, qqic=125, srcaddrs=sources, numsrc=len(sources)
        )
    for group, sources in (("::", []), ("ff05::3", []), ("ff05::3", ["2001:db8::9", "2001:db8::1"])):
        lower = IPv6(src="fe80::1", dst="ff02::1" if group == "::" else group, hlim=1)
        lower = lower / IPv6ExtHdrHopByHop(options=[RouterAlert()])
        yield lower / ICMPv6MLQuery2(
            mladdr=group, mrd=5000, QRV=2, QQIC=125, sources=sources, sources_number=len(sources)
        )
    yield IP(src=A4, dst="224.0.0.1", ttl=1, options=[IPOption_Router_Alert()]) / IGMP(type=0x11, mrcode=50)
    lower = IPv6(src="fe80::1", dst="ff02::1", hlim=1) / IPv6ExtHdrHopByHop(options=[RouterAlert()])
    yield lower / ICMPv6MLQuery(mladdr="::", mrd=5000)
    yield IP(src=A4, dst="224.0.0.1", ttl=1) / IGMP(type=0x11, mrcode=0)


SCENARIOS: dict[str, Callable[[], Iterator[Recorded]]] = {
    f.__name__: f for f in (syn_options, bulk, resets, datagrams, pings, errors, smaller_path, groups)
}


@cache
def recorded(name: str) -> list[Recorded]:
    return list(SCENARIOS[name]())


# -- what the host sends, by scapy ----------------------------------------------------------------------------------------


def delete(layer: Packet, *fields: str) -> None:
    for field in fields:
        layer.delfieldval(field)


def rebuilt(raw: bytes) -> bytes:
    """The packet as scapy would have made it: lengths and checksums are its own."""
    if raw[0] >> 4 == 4:
        packet = IP(raw)
        delete(packet, "chksum", "len", "ihl")
        if packet.frag or packet.flags.MF:
            return bytes(packet)
        layer = packet.payload
    else:
        packet = IPv6(raw)
        delete(packet, "plen")
        layer = packet.payload
        if isinstance(layer, IPv6ExtHdrFragment):
            return bytes(packet)
        if isinstance(layer, IPv6ExtHdrHopByHop):
            layer = layer.payload
    if isinstance(layer, TCP):
        delete(layer, "chksum", "dataofs")
    elif isinstance(layer, UDP):
        delete(layer, "chksum", "len")
    elif isinstance(layer, ICMP | IGMP):
        delete(layer, "chksum")
    elif isinstance(layer, IGMPv3_MR):
        delete(layer, "chksum", "numgrp")
    else:
        assert "cksum" in layer.fields, layer
        delete(layer, "cksum")
    return bytes(packet)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scapy_would_have_made_the_same(scenario: str) -> None:
    sent = [r for r in recorded(scenario) if not r.inbound]
    assert len(sent) > 10
    for record in sent:
        assert rebuilt(record.raw) == record.raw, (record, IP(record.raw).show2(dump=True))


def kinds(packet: Packet) -> set[str]:
    """What makes a packet interesting: the sort of it, and its TCP options."""
    version = 4 if isinstance(packet, IP) else 6
    found = set()
    if TCP in packet and not isinstance(packet.payload, NoPayload):
        layer = packet[TCP]
        found.add(f"{version} TCP {layer.flags}")
        found |= {f"{version} TCP {layer.flags} {option}" for option, _ in layer.options}
    elif UDP in packet:
        found.add(f"{version} UDP")
    if ICMP in packet:
        found.add(f"4 ICMP {packet[ICMP].type}/{packet[ICMP].code}")
    elif isinstance(packet.payload, IGMP | IGMPv3_MR):
        found.add(f"4 IGMP {packet.payload.type:#x}")
    elif IPv6ExtHdrHopByHop in packet:
        found.add(f"6 ICMP {packet.payload.payload.type}/0")
    elif version == 6 and packet.nh == 58:
        found.add(f"6 ICMP {packet.payload.type}/{packet.payload.code}")
    if IPv6ExtHdrFragment in packet or (version == 4 and (packet.frag or packet.flags.MF)):
        found.add(f"{version} fragment")
    return found


def test_the_scenarios_show_everything_that_a_host_sends() -> None:
    found: set[str] = set()
    for name in SCENARIOS:
        for record in recorded(name):
            if not record.inbound:
                found |= kinds(IP(record.raw) if record.raw[0] >> 4 == 4 else IPv6(record.raw))
    for version in (4, 6):
        for flags in ("S", "SA", "A", "PA", "FA", "R", "RA"):
            assert f"{version} TCP {flags}" in found
        for flags in ("S", "SA"):
            for option in ("MSS", "SAckOK", "Timestamp", "WScale"):
                assert f"{version} TCP {flags} {option}" in found
        assert f"{version} TCP A SAck" in found
        assert f"{version} fragment" in found
        assert f"{version} UDP" in found
    assert {"4 ICMP 0/0", "4 ICMP 3/2", "4 ICMP 3/3", "4 ICMP 11/1"} <= found
    assert {"4 IGMP 0x12", "4 IGMP 0x16", "4 IGMP 0x17", "4 IGMP 0x22"} <= found
    assert {"6 ICMP 131/0", "6 ICMP 132/0", "6 ICMP 143/0"} <= found
    assert {"6 ICMP 129/0", "6 ICMP 1/4", "6 ICMP 3/1", "6 ICMP 4/0", "6 ICMP 4/1", "6 ICMP 4/2", "6 ICMP 4/3"} <= found


def test_a_zero_udp_checksum_really_occurred() -> None:
    """Or the rule about it would not have been put to the test."""
    sums = [UDP(r.raw[40:]).chksum for r in recorded("datagrams") if not r.inbound and r.raw[6] == 17]
    assert 0 not in sums
    assert sums.count(0xFFFF) >= 2


# -- what the host sends, by tshark ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("tshark"):
        pytest.fail("tshark is not installed: apt install tshark")
    path = tmp_path_factory.mktemp("capture") / "all.pcapng"
    with path.open("wb") as out:
        writer = PcapngWriter(out, "netemu0")
        wall = 0
        for name in SCENARIOS:
            for record in recorded(name):
                wall = max(wall + 1, record.wall_ns)
                writer.packet(record.raw, wall, record.inbound, record.why)
        writer.close()
    return path


def tshark(path: Path, *arguments: str) -> list[str]:
    checks = [word for name in ("ip", "tcp", "udp") for word in ("-o", f"{name}.check_checksum:TRUE")]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), *checks, *arguments], capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout.splitlines()


def test_tshark_finds_nothing_malformed_and_no_bad_checksum(capture: Path) -> None:
    outbound = "frame.packet_flags_direction == 2"
    bad = (
        "_ws.malformed || _ws.expert.group == checksum || _ws.expert.group == malformed || _ws.expert.severity == error"
    )
    status = (
        "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0"
    )
    assert tshark(capture, "-Y", f"{outbound} && ({bad} || {status} || icmpv6.checksum.status == 0)") == []
    total = sum(len(recorded(name)) for name in SCENARIOS)
    assert total > 3000
    assert len(tshark(capture, "-T", "fields", "-e", "frame.number")) == total


def test_tshark_has_no_error_in_its_expert_information(capture: Path) -> None:
    lines = tshark(capture, "-q", "-z", "expert,error", "-Y", "frame.packet_flags_direction == 2")
    assert not [line for line in lines if "Error" in line and "Errors (" in line], lines


# -- what scapy makes, by us -----------------------------------------------------------------------------------------------

TCP_OPTIONS = [
    ("MSS", 1460),
    ("WScale", 7),
    ("SAckOK", b""),
    ("Timestamp", (0x12345678, 0x9ABCDEF0)),
    ("SAck", (1, 2, 0xFFFFFFF0, 5)),
    ("NOP", None),
    (77, b"unknown"),
]


@pytest.mark.parametrize("seed", range(40))
def test_segments_that_scapy_makes(seed: int) -> None:
    random = Random(seed)
    options = [option for option in TCP_OPTIONS if random.random() < 0.5]
    random.shuffle(options)
    if len(TCP(options=options)) - 20 > 40:
        options = options[:2]
    made = TCP(
        sport=random.randrange(65536), dport=random.randrange(65536), seq=random.getrandbits(32),
        ack=random.getrandbits(32), flags=random.getrandbits(8), window=random.randrange(65536),
        urgptr=random.randrange(65536), options=options,
    )  # fmt: skip
    data = random.randbytes(random.randrange(50))
    for lower in (IP(src=A4, dst=B4), IPv6(src=A6, dst=B6)):
        raw = bytes(lower / made / Raw(data))
        ip = ipv4.parse(raw) if raw[0] >> 4 == 4 else ipv6.parse(raw)
        assert isinstance(ip, IpPacket)
        segment = tcp.parse(raw, ip.start, ip.end)
        assert isinstance(segment, Segment)
        assert (segment.seq, segment.ack, segment.flags) == (made.seq, made.ack, int(made.flags))
        assert (segment.wnd, segment.urg, segment.data()) == (made.window, made.urgptr, data)
        given = dict(options)
        assert segment.options.mss == given.get("MSS")
        assert segment.options.wscale == given.get("WScale")
        assert segment.options.sack_permitted == ("SAckOK" in given)
        assert segment.options.sack == (((1, 2), (0xFFFFFFF0, 5)) if "SAck" in given else ())
        assert (segment.ts_val, segment.ts_ecr) == given.get("Timestamp", (None, 0))


@pytest.mark.parametrize("seed", range(20))
def test_ip_headers_that_scapy_makes(seed: int) -> None:
    random = Random(seed)
    data = random.randbytes(random.randrange(8, 50))
    options = [IPOption(b"\x44\x08\x05\0\0\0\0\0")] if random.random() < 0.5 else []
    four = IP(
        src=A4, dst=B4, ttl=random.randrange(256), tos=random.randrange(256), id=random.randrange(65536),
        proto=200, options=options, frag=random.randrange(3), flags=random.choice(["", "DF", "MF"]),
    )  # fmt: skip
    raw = bytes(four / Raw(data))
    ip = ipv4.parse(raw)
    assert isinstance(ip, IpPacket)
    assert (ip.hop_limit, ip.tos, ip.ident, ip.protocol) == (four.ttl, four.tos, four.id, 200)
    assert (ip.fragment, ip.more, raw[ip.start : ip.end]) == (four.frag * 8, "MF" in four.flags, data)
    six = IPv6(src=A6, dst=B6, hlim=random.randrange(256), tc=random.randrange(256), fl=random.getrandbits(20))
    chain: list[Packet] = []
    if random.random() < 0.5:
        chain.append(IPv6ExtHdrHopByHop(options=[RouterAlert(value=0)]))
    if random.random() < 0.5:
        chain.append(IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(random.randrange(20)))]))
    if random.random() < 0.5:
        chain.append(IPv6ExtHdrRouting(type=0, addresses=[A6], segleft=0))
    if random.random() < 0.5:
        chain.append(IPv6ExtHdrFragment(id=77, offset=random.randrange(3), m=0))
    packet = six
    for header in chain:
        packet = packet / header
    packet.lastlayer().nh = 200
    packet = packet / Raw(data)
    raw = bytes(packet)
    parsed = ipv6.parse(raw)
    assert isinstance(parsed, IpPacket)
    assert (parsed.hop_limit, parsed.tos, parsed.protocol) == (six.hlim, six.tc, 200)
    assert raw[parsed.start : parsed.end] == data
    if IPv6ExtHdrFragment in packet:
        assert (parsed.ident, parsed.fragment) == (77, packet[IPv6ExtHdrFragment].offset * 8)


@pytest.mark.parametrize("size", [0, 1, 2, 100, 1001])
def test_datagrams_and_pings_that_scapy_makes(size: int) -> None:
    data = Random(size).randbytes(size)
    for lower in (IP(src=A4, dst=B4), IPv6(src=A6, dst=B6)):
        raw = bytes(lower / UDP(sport=1234, dport=7) / Raw(data))
        ip = ipv4.parse(raw) if raw[0] >> 4 == 4 else ipv6.parse(raw)
        assert isinstance(ip, IpPacket)
        assert udp.parse(raw, ip) == (1234, 7, data)
    for packet, kind in (
        (IP(src=A4, dst=B4) / ICMP(type=8, id=3, seq=4) / Raw(data), 8),
        (IPv6(src=A6, dst=B6) / ICMPv6EchoRequest(id=3, seq=4, data=data), 128),
    ):
        raw = bytes(packet)
        ip = ipv4.parse(raw) if kind == 8 else ipv6.parse(raw)
        assert isinstance(ip, IpPacket)
        assert icmp.parse(raw, ip) == Message(kind, 0, 3 << 16 | 4, data)


def test_queries_that_scapy_makes() -> None:
    found: list[object] = []
    for packet in asking():
        raw = bytes(packet)
        ip = ipv4.parse(raw) if raw[0] >> 4 == 4 else ipv6.parse(raw)
        assert isinstance(ip, IpPacket)
        if ip.version == 4:
            assert ipv4.has_router_alert(raw, ip.start) is (ip.start > ipv4.SIZE)
            found.append(igmp.parse(raw, ip))
        else:
            assert ipv6.has_router_alert(raw)
            message = icmp.parse(raw, ip)
            assert isinstance(message, Message)
            found.append(mld.parse(message))
    group, sources = bytes((239, 1, 1, 3)), frozenset((bytes((192, 0, 2, 9)), bytes((192, 0, 2, 1))))
    group6, sources6 = parse_address("ff05::3"), frozenset(map(parse_address, ("2001:db8::9", "2001:db8::1")))
    delay, numbers = 50 * TENTH, (2, 125 * SECOND)
    assert found == [
        Query(3, bytes(4), delay, frozenset(), *numbers),
        Query(3, group, delay, frozenset(), *numbers),
        Query(3, group, delay, sources, *numbers),
        Query(3, bytes(16), delay, frozenset(), *numbers),
        Query(3, group6, delay, frozenset(), *numbers),
        Query(3, group6, delay, sources6, *numbers),
        Query(2, bytes(4), delay),
        Query(2, bytes(16), delay),
        Query(1, bytes(4), 2 * delay),
    ]
