"""What apps have done to packets between host and device: rules and Bends, and an engine that does not lose anything by it."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from netemu.apps.bend import Bend, Seg
from netemu.apps.registry import AppSpec, make_app
from netemu.apps.trouble.table import BASE, TROUBLES
from netemu.runtime.between import MOST_BENT, Between
from netemu.runtime.engine import Engine
from netemu.runtime.serving import serve
from netemu.stack.host import Host
from netemu.tcp.config import NEVER
from netemu.wire import ipv4, ipv6
from netemu.wire import tcp as tcp_wire
from netemu.wire.checksum import is_valid
from netemu.wire.ip import TCP, IpPacket, parse_address, pseudo_sum
from netemu.wire.output import Template
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, MASK, PSH, SYN, Options, Segment

MS = 10**6
ENDS = {4: ("198.18.0.1", "198.18.0.2"), 6: ("2001:2::1", "2001:2::2")}
PORT = 10001


class Device:
    """Keeps what is written while it has room."""

    def __init__(self) -> None:
        self.written: list[Packet] = []
        self.room = 1000

    def write(self, packet: Packet) -> bool:
        if len(self.written) >= self.room:
            return False
        self.written.append(packet)
        return True


class World:
    """A host on which nobody listens: it answers a SYN with a RST."""

    def __init__(self, *rules: str, bend: type[Bend] | None = None, version: int = 4) -> None:
        self.version = version
        self.device = Device()
        self.host = Host(ENDS[version][1:], seed=1)
        self.engine = Engine(self.host, self.device)
        self.between = Between(self.host, 1)
        self.between.add(PORT, rules, bend)
        self.engine.insert(self.between)
        self.seen: list[tuple[bool, str]] = []
        self.engine.taps.append(lambda packet, _, inbound, why: self.seen.append((inbound, why)))

    def packet(self, segment: Segment, sport: int = 40000, dport: int = PORT) -> Packet:
        src, dst = map(parse_address, ENDS[self.version])
        return Packet(bytes(Template(src, dst, sport, dport, 64, 0).packet(segment, 0, False)))

    def syn(self, seq: int = 1000, **ports: int) -> Packet:
        return self.packet(Segment(seq, 0, SYN, 1000), **ports)


def troubled(version: int) -> World:
    world = World(version=version)
    spec = AppSpec("trouble", "trouble", BASE + 1, {})
    serve(world.engine, spec, make_app(spec, world.engine))
    return world


TROUBLED = {version: troubled(version) for version in (4, 6)}


def test_packets_of_other_ports_are_not_touched() -> None:
    world = World("both: tcp drop")
    other, udp = world.syn(dport=80), Packet(bytes(20))
    assert list(world.between.receive([other, udp], 0)) == [other, udp]
    assert next(iter(world.between.receive([other], 0))) is other
    world.engine.turn(0, [other])
    assert len(world.device.written) == 1, "the RST of a closed port"


def test_rules_of_both_directions() -> None:
    world = World("in: tcp.flags.syn drop")
    world.engine.turn(0, [world.syn()])
    assert world.seen == [(True, "dropped by rule 1: drop")]
    assert world.device.written == []
    world = World("out: tcp.flags.reset drop")
    world.engine.turn(0, [world.syn()])
    assert [inbound for inbound, _ in world.seen] == [True, False]
    assert world.seen[1][1] == "dropped by rule 1: drop"
    assert world.device.written == []


def test_an_address_has_rules_and_bends_of_its_own() -> None:
    """What is asked for an address is done to its packets at that port; those of other addresses have what the port has."""
    for version, (client, own) in ENDS.items():
        world = World("in: tcp.flags.syn drop", version=version)
        world.between.add(PORT, ["out: tcp.flags.reset drop"], Marking, parse_address(client))
        world.between.add(80, ["in: tcp drop"], None, parse_address(client))
        src, dst = parse_address(own), parse_address(client)

        def syn(port: int, src: bytes = src, dst: bytes = dst) -> Packet:
            return Packet(bytes(Template(src, dst, 40000, port, 64, 0).packet(Segment(1, 0, SYN, 1000), 0, False)))

        assert len(list(world.between.receive([world.syn()], 0))) == 0, "the rule of the port"
        assert len(list(world.between.receive([syn(PORT)], 0))) == 2, "the Bend of the address"
        assert len(list(world.between.receive([syn(80)], 0))) == 0, "the rule of the address"
        assert len(list(world.between.receive([world.syn(dport=80)], 0))) == 1, "which is for nobody else"
        assert world.between.matching(syn(PORT), 0) == [
            "Marking, both ways",
            "rule 1: out: tcp.flags.reset drop (for answers)",
        ]
        assert world.between.matching(world.syn(dport=80), 0) == []


def test_what_leaves_an_address_is_told_by_its_source() -> None:
    world = World()
    world.between.add(PORT, ["out: tcp.flags.reset drop"], None, parse_address(ENDS[4][1]))
    world.between.add(80, ["out: tcp.flags.reset drop"], None, parse_address(ENDS[4][0]))
    world.engine.turn(0, [world.syn()])
    assert world.device.written == []
    world.engine.turn(0, [world.syn(dport=80)])
    assert len(world.device.written) == 1, "the RST of the host's own address"


def test_a_delay_asks_for_a_turn() -> None:
    world = World("in: tcp.flags.syn delay 5ms")
    assert world.engine.turn(0, [world.syn()]) == 5 * MS
    assert world.device.written == []
    assert world.engine.turn(5 * MS) == NEVER
    assert len(world.device.written) == 1
    assert world.seen[0][1].endswith("; rule 1: delay 5ms")
    world = World("out: tcp.flags.reset delay 7ms")
    assert world.engine.turn(0, [world.syn()]) == 7 * MS
    assert world.device.written == []
    world.engine.turn(7 * MS)
    assert len(world.device.written) == 1
    assert world.seen[1][1].startswith("sent: NO_SOCKET")


def test_an_answer_goes_back() -> None:
    world = World("in: tcp.flags.syn unreachable host")
    world.engine.turn(0, [world.syn()])
    (answer,) = world.device.written
    assert bytes(answer)[20:22] == b"\x03\x01"
    world = World("out: tcp.flags.reset unreachable host")
    assert world.engine.turn(5, [world.syn()]) <= 5, "there is more to do, now"
    assert world.device.written == []
    world.engine.turn(5)
    assert [inbound for inbound, _ in world.seen] == [True, False, True], "the host is told"


def test_nothing_is_lost_when_the_device_is_full() -> None:
    world = World("out: tcp.flags.reset duplicate 3")
    world.device.room = 2
    world.engine.turn(0, [world.syn()])
    assert world.engine.is_stuck
    assert len(world.device.written) == 2
    world.device.room = 1000
    world.engine.turn(1)
    assert not world.engine.is_stuck
    assert len(world.device.written) == 4
    assert len({bytes(packet) for packet in world.device.written}) == 1


def test_a_super_packet_is_split_where_a_rule_asks_for_it() -> None:
    def big(world: World) -> Packet:
        payload = bytes(5000)
        segment = Segment(1, 1, ACK | PSH, 1000, (payload,), len(payload), gso_size=1000)
        src, dst = map(parse_address, ENDS[4])
        made = Template(src, dst, 40000, PORT, 64, 0).packet(segment, 0, True)
        return Packet(b"".join((made.head, *made.body)), (), 1000, made.csum_start, made.csum_offset)

    world = World("in: tcp.flags.fin drop")
    whole = big(world)
    assert [packet is whole for packet in world.between.receive([whole], 0)] == [True]
    world = World("in: flow.data == 2 drop")
    assert sorted(len(packet) for packet in world.between.receive([big(world)], 0)) == [1040] * 4


class Marking(Bend):
    """Tells its connections apart."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def inward(self, seg: Seg) -> list[Packet]:
        return [seg.packet, seg.packet] if seg.flags & SYN else []


def test_each_connection_has_a_bend_of_its_own() -> None:
    Marking.made = 0
    world = World(bend=Marking)

    def receive(packets: Iterable[Packet]) -> int:
        return len(list(world.between.receive(packets, 0)))

    assert receive([world.syn()]) == 2
    assert receive([world.packet(Segment(1001, 1, ACK, 1000))]) == 0
    assert receive([world.syn()]) == 2
    assert Marking.made == 1, "the same SYN once more"
    receive([world.syn(2000), world.syn(sport=40001)])
    assert Marking.made == 3, "the same ports once more, and another port"
    assert receive([world.packet(Segment(1, 1, ACK, 1000), sport=40009)]) == 1, "whose SYN nobody saw goes straight"
    receive(world.syn(sport=port) for port in range(10000, 10000 + MOST_BENT))
    assert receive([world.packet(Segment(1001, 1, ACK, 1000))]) == 1, "it was silent longest, and is forgotten"


@given(
    st.sampled_from([4, 6]),
    st.sampled_from([trouble.number for trouble in TROUBLES if trouble.rules or trouble.bend]),
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=6),
    st.integers(0, 100),
)
def test_no_packet_is_too_odd(version: int, number: int, changes: list[tuple[int, int]], length: int) -> None:
    """Whatever of a packet is wrong: it goes on, or is dropped."""
    world = TROUBLED[version]
    for segment in (Segment(1000, 0, SYN, 1000), Segment(1001, 1, ACK, 1000, (bytes(20),), 20)):
        data = bytearray(bytes(world.packet(segment, dport=BASE + number)))
        for index, value in changes:
            data[index % len(data)] = value
        world.engine.turn(0, [Packet(bytes(data[:length]) if length < 100 else bytes(data))])
    world.device.written.clear()
    world.seen.clear()
    assert not world.host.faults


@given(
    st.sampled_from([4, 6]),
    st.binary(max_size=50),
    st.none() | st.integers(-(1 << 33), 1 << 33),
    st.none() | st.integers(-(1 << 33), 1 << 33),
    st.none() | st.integers(0, 255),
    st.none() | st.binary(max_size=50),
    st.booleans(),
)
def test_what_is_remade_is_a_valid_packet(
    version: int,
    before: bytes,
    seq: int | None,
    ack: int | None,
    flags: int | None,
    payload: bytes | None,
    stamped: bool,
) -> None:
    options = Options(mss=1000) if not stamped else Options()
    segment = Segment(5, 6, ACK, 7, (before,), len(before), 8 if stamped else None, 9, options)
    start = 20 if version == 4 else 40
    seg = Seg(World(version=version).packet(segment), start)
    assert (seg.seq, seg.ack, seg.flags, seg.window, seg.payload, seg.end) == (5, 6, ACK, 7, before, 5 + len(before))
    data = bytes(seg.remade(seq=seq, ack=ack, flags=flags, payload=payload))
    ip = (ipv4 if version == 4 else ipv6).parse(data)
    assert isinstance(ip, IpPacket)
    assert ip.end == len(data)
    assert is_valid(data[start:], pseudo_sum(ip.src, ip.dst, TCP, len(data) - start))
    again = tcp_wire.parse(data, start, ip.end)
    assert isinstance(again, Segment)
    assert again.data() == (before if payload is None else payload)
    assert again.seq == (5 if seq is None else seq & MASK)
    assert again.ack == (6 if ack is None else ack & MASK)
    assert again.flags == (ACK if flags is None else flags)
    assert (again.ts_val, again.options.mss) == ((8, None) if stamped else (None, 1000))
