"""The network's scheduler: what waits where, and that nothing is lost on the way."""

from __future__ import annotations

from netemu.link.impairments import CLEAR, Delay, Impairments
from netemu.link.link import Link
from netemu.reasons import RouterMatch
from netemu.runtime.network import Attachment, Network
from netemu.runtime.observer import Observer
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.host import Host
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet

MS = 1_000_000
SLOW = Impairments(delay=Delay(10 * MS))


class Device:
    """Takes ``room`` packets, then no more."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.taken: list[bytes] = []

    def write(self, packet: Packet) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append(bytes(packet))
        return True


def one_host(device: Device, inward: Impairments = CLEAR, outward: Impairments = CLEAR) -> tuple[Network, Attachment]:
    network = Network()
    tun = network.attach("tun", device)
    host = network.add_host("host", Host(["10.0.0.2/24"], seed=1))
    network.connect(tun.end, host.end, Link("link", ("tun", "host"), 1, inward, outward))
    return network, tun


def sender(network: Network) -> DatagramSocket:
    host = network.hosts["host"].engine.host
    socket = host.socket(so.AF_INET, so.SOCK_DGRAM)
    assert isinstance(socket, DatagramSocket)
    return socket


def payloads(device: Device) -> list[bytes]:
    return [packet[28:] for packet in device.taken]


def test_a_host_on_a_clear_link_writes_to_its_device_itself() -> None:
    device = Device()
    network, _ = one_host(device)
    network.turn(1)
    assert network.hosts["host"].engine.device is device
    sender(network).sendto(b"one", ("10.0.0.1", 9))
    network.kick(2)
    assert payloads(device) == [b"one"]


def test_a_link_that_is_set_is_passed_and_one_that_is_clear_again_is_not() -> None:
    device = Device()
    network, _ = one_host(device)
    network.turn(1)
    link = network.links["link"]
    link.outward.change(SLOW, 1)
    network.rewire()
    sender(network).sendto(b"one", ("10.0.0.1", 9))
    assert network.kick(2) == 2 + 10 * MS
    link.outward.change(CLEAR, 3)
    network.rewire()
    sender(network).sendto(b"two", ("10.0.0.1", 9))
    network.kick(3)
    assert payloads(device) == [], "what is under way is neither lost nor overtaken"
    network.turn(2 + 10 * MS)
    assert payloads(device) == [b"one", b"two"]
    network.turn(3 + 10 * MS)
    assert network.hosts["host"].engine.device is device


def test_a_full_device_stops_its_host_and_loses_nothing() -> None:
    for outward in (CLEAR, SLOW):
        device = Device(room=3)
        network, _ = one_host(device, outward=outward)
        network.turn(1)
        for number in range(10):
            sender(network).sendto(b"%d" % number, ("10.0.0.1", 9))
        network.kick(2)
        network.turn(2 + 10 * MS)
        assert (len(device.taken), network.is_full) == (3, True)
        device.room = 1000
        network.turn(3 + 10 * MS)
        assert payloads(device) == [b"%d" % number for number in range(10)]
        assert not network.is_full


def test_a_full_device_stops_the_reading_of_the_others() -> None:
    network = Network()
    narrow = Device(room=1)
    left, right = network.attach("left", Device()), network.attach("right", narrow)
    network.connect(left.end, right.end, Link("link", ("left", "right"), 1))
    packets = [Packet(bytes([0x45, *range(19)]) + bytes([number])) for number in range(5)]
    network.turn(1, left, packets)
    assert network.is_full
    narrow.room = 1000
    network.turn(2)
    assert [packet[-1] for packet in narrow.taken] == [0, 1, 2, 3, 4]
    assert not network.is_full


def test_calls_of_a_timeline_come_at_their_time() -> None:
    network, _ = one_host(Device())
    called: list[int] = []
    network.call_at(5 * MS, lambda: called.append(network.now))
    network.call_at(2 * MS, lambda: called.append(network.now))
    assert network.turn(1) == 2 * MS
    assert network.turn(2 * MS) == 5 * MS
    assert network.turn(5 * MS) == NEVER
    assert called == [2 * MS, 5 * MS]


def test_a_circle_of_routers_does_not_stop_the_world() -> None:
    """What goes round for ever is left after some passes, for the next turn."""

    class Reflector:
        """A router that sends everything back."""

        def __init__(self) -> None:
            self.got: list[tuple[int, Packet]] = []
            self.count = 0

        def receive(self, port: int, packet: Packet, now: int) -> RouterMatch:
            self.count += 1
            self.got.append((port, packet))
            return RouterMatch.FORWARDED

        def transmit(self, now: int) -> tuple[int, Packet] | None:
            return self.got.pop() if self.got else None

        def on_timer(self, now: int) -> None: ...

        def deadline(self) -> int:
            return NEVER

    network = Network()
    device = network.attach("tun", Device())
    one, two = Reflector(), Reflector()
    first, second = network.add_router("one", one, 2), network.add_router("two", two, 1)
    network.connect(device.end, first.ends[0], Link("in", ("tun", "one"), 1))
    network.connect(first.ends[1], second.ends[0], Link("circle", ("one", "two"), 1))
    first.ends[1].push(Packet(b"E" * 20))
    assert network.turn(7) == 7, "called again at once"
    assert 0 < two.count < 100


def test_a_packet_and_its_copy_have_each_their_own_comment() -> None:
    network, _ = one_host(Device(), inward=SLOW)
    seen: list[tuple[str, str]] = []
    Observer(network).add(lambda packet, wall, inbound, comment, point: seen.append((point, comment)))
    packet = Packet(bytes([0x45, *range(19)]))
    watch = network.links["link"].inward.watch
    assert watch is not None
    for number in (1, 2):
        watch(packet, number, "left", f"delayed {number} ms")
        network.hosts["host"].offer(packet, 0)
    network.turn(5)
    assert [comment.split("; ")[0] for _, comment in seen] == ["delayed 1 ms", "delayed 2 ms"]
    assert {point for point, _ in seen} == {"host"}
