"""The TUN device on a real kernel, each test in a network namespace of its own."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import time
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from netns import PATIENCE, Namespace

import tun.device
from tun import RawFrame, Tun, TunError, find_conflict, free_range

pytestmark = pytest.mark.e2e

HOST4, PEER4 = "198.18.0.1", "198.18.0.2"
HOST6, PEER6 = "2001:2::1", "2001:2::2"
ADDRESSES = [f"{HOST4}/24", f"{HOST6}/64"]
MSS = 1000
PAYLOAD = bytes(range(256)) * 200  # 51 200 bytes: 52 segments


def next_frames(device: Tun, seconds: float = PATIENCE) -> list[RawFrame]:
    """Wait for packets and read them."""
    assert select.select([device], [], [], seconds)[0], "no packet came"
    return device.read()


def wait_for(device: Tun, protocol: int, seconds: float = PATIENCE) -> RawFrame:
    """The next frame of that IP protocol; the kernel's own chatter (MLD) is passed over."""
    deadline = time.monotonic() + seconds
    while True:
        for frame in next_frames(device, deadline - time.monotonic()):
            packet = frame[0]
            if packet[9 if packet[0] >> 4 == 4 else 6] == protocol:
                return frame


def fold(data: bytes) -> int:
    return int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF


def transport_sum(packet: bytes) -> int:
    """Pseudo header and transport header and payload summed; 0 when the checksum is right."""
    if packet[0] >> 4 == 4:
        addresses, protocol, transport = packet[12:20], packet[9], packet[20:]
    else:
        addresses, protocol, transport = packet[8:40], packet[6], packet[40:]
    return fold(addresses + struct.pack(">IHBB", len(transport), 0, 0, protocol) + transport)


def tcp_packet(source: str, destination: str, length: int) -> tuple[bytes, int]:
    """IP and TCP headers for ``length`` payload bytes, with the pseudo header's sum where the checksum goes; and the
    offset of the TCP header."""
    src, dst = ip_address(source).packed, ip_address(destination).packed
    if len(src) == 4:
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + length, 7, 0x4000, 64, 6, 0, src, dst)
        ip = ip[:10] + struct.pack(">H", 0xFFFF - fold(ip)) + ip[12:]
    else:
        ip = struct.pack(">IHBB16s16s", 6 << 28, 20 + length, 6, 64, src, dst)
    pseudo = fold(src + dst + struct.pack(">IHBB", 20 + length, 0, 0, 6))
    return ip + struct.pack(">HHIIBBHHH", 1234, 80, 1, 1, 5 << 4, 0x10, 65535, pseudo, 0), len(ip)


def reflect(packet: bytes) -> bytes:
    """Source and destination swapped: an echo request sent so comes back as an echo reply, sums unchanged."""
    first, size = (12, 4) if packet[0] >> 4 == 4 else (8, 16)
    middle, end = first + size, first + 2 * size
    return packet[:first] + packet[middle:end] + packet[first:middle] + packet[end:]


def links(netns: Namespace) -> list[str]:
    return [line.split()[0] for line in netns.run("ip", "-br", "link").stdout.splitlines()]


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("peer", [PEER4, PEER6])
def test_ping_through_a_reflector(netns: Namespace, peer: str, offload: bool) -> None:
    """The kernel pings; each request goes back with addresses swapped, the kernel answers it, and so does its reply.

    Without any wait after configure: an IPv6 address must be usable at once.
    """
    with Tun("t0", offload=offload, netns=netns.name) as device:
        assert device.offload is offload
        device.configure(ADDRESSES)
        ping = netns.start("ping", "-c", "3", "-i", "0.01", "-w", str(PATIENCE), "-n", peer)  # until 3 are answered
        deadline = time.monotonic() + PATIENCE
        while ping.poll() is None and time.monotonic() < deadline:
            if select.select([device], [], [], 0.05)[0]:
                for packet, gso_size, csum_start, csum_offset in device.read():
                    if packet[9 if packet[0] >> 4 == 4 else 6] in (1, 58):
                        assert device.write(reflect(bytes(packet)), (), gso_size, csum_start, csum_offset)
        output = ping.communicate(timeout=PATIENCE)[0]
        assert ping.returncode == 0, output
        assert "3 received" in output


@pytest.mark.parametrize("parts", ["head and body", "all in the head", "body of 2000 pieces"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_super_packet_crosses_the_kernel_whole(netns: Namespace, version: int, parts: str) -> None:
    """Written with gso_size into one TUN, routed to another with offload: one read returns all of it."""
    with forwarding_pair(netns, offload=True) as (near, far):
        head, csum_start = write_super_packet(near, version, parts)
        packet, gso_size, start, offset = wait_for(far, socket.IPPROTO_TCP)
        assert (gso_size, start, offset) == (MSS, csum_start, 16)
        assert isinstance(packet, memoryview)  # large: not copied
        assert packet[csum_start : len(head)] == head[csum_start:]
        assert packet[len(head) :] == PAYLOAD


@pytest.mark.parametrize("version", [4, 6])
def test_a_super_packet_is_segmented_for_who_cannot_take_it(netns: Namespace, version: int) -> None:
    with forwarding_pair(netns, offload=False) as (near, far):
        head, csum_start = write_super_packet(near, version, "head and body")
        packets: list[bytes] = []
        while len(packets) * MSS < len(PAYLOAD):
            frames = next_frames(far)
            packets += [bytes(p) for p, *_ in frames if p[9 if version == 4 else 6] == socket.IPPROTO_TCP]
            assert all(rest == [0, 0, 0] for _, *rest in frames)
        assert [int.from_bytes(p[csum_start + 4 : csum_start + 8], "big") for p in packets] == [
            1 + MSS * i for i in range(52)
        ]
        assert b"".join(p[len(head) :] for p in packets) == PAYLOAD
        assert {transport_sum(p) for p in packets} == {0}


class forwarding_pair:
    """Two TUNs, and a kernel that forwards between them."""

    def __init__(self, netns: Namespace, offload: bool) -> None:
        for family in ("ipv4", "ipv6"):
            netns.run("sysctl", "-qw", f"net.{family}.conf.all.forwarding=1")
        self.near = Tun("near", netns=netns.name)
        self.far = Tun("far", offload=offload, netns=netns.name)
        self.near.configure(ADDRESSES)
        self.far.configure(["198.18.1.1/24", "2001:2:0:1::1/64"])

    def __enter__(self) -> tuple[Tun, Tun]:
        return self.near, self.far

    def __exit__(self, *_: object) -> None:
        self.near.close()
        self.far.close()


def write_super_packet(device: Tun, version: int, parts: str) -> tuple[bytes, int]:
    ends = (PEER4, "198.18.1.2") if version == 4 else (PEER6, "2001:2:0:1::2")
    head, csum_start = tcp_packet(*ends, len(PAYLOAD))
    if parts == "all in the head":
        assert device.write(head + PAYLOAD, (), MSS, csum_start, 16)
    elif parts == "head and body":
        assert device.write(head, (PAYLOAD[:10_000], memoryview(PAYLOAD)[10_000:]), MSS, csum_start, 16)
    else:  # more than writev takes at once
        step = len(PAYLOAD) // 1999
        pieces = tuple(PAYLOAD[i : i + step] for i in range(0, len(PAYLOAD), step))
        assert len(pieces) > 1999
        assert device.write(head, pieces, MSS, csum_start, 16)
    return head, csum_start


@pytest.mark.parametrize("offload", [True, False])
def test_a_syn_of_the_kernel(netns: Namespace, offload: bool) -> None:
    """With offload its checksum is left to us; without, the kernel finishes it."""
    with Tun("t0", offload=offload, netns=netns.name) as device:
        device.configure(ADDRESSES)
        with netns.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            assert client.connect_ex((PEER4, 80)) == errno.EINPROGRESS
            packet, gso_size, csum_start, csum_offset = wait_for(device, socket.IPPROTO_TCP)
        assert isinstance(packet, bytes)
        assert packet[33] == 0x02
        assert gso_size == 0
        if offload:
            assert (csum_start, csum_offset) == (20, 16)
            final = 0xFFFF - fold(packet[20:])
            packet = packet[:36] + final.to_bytes(2, "big") + packet[38:]
        else:
            assert (csum_start, csum_offset) == (0, 0)
        assert transport_sum(packet) == 0


def test_read_returns_what_is_there_up_to_the_limit(netns: Namespace) -> None:
    with Tun("t0", netns=netns.name) as device:
        device.configure([f"{HOST4}/24"])
        device.read()
        with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number in range(5):
                sender.sendto(bytes([number]) * 8, (PEER4, 9))
        numbers = [[packet[-1] for packet, *_ in device.read(3)] for _ in range(3)]
        assert numbers == [[0, 1, 2], [3, 4], []]


def test_what_nobody_reads_in_time_is_counted(netns: Namespace) -> None:
    with Tun("t0", netns=netns.name) as device:
        device.configure([f"{HOST4}/24"])
        assert device.unread() == 0
        with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(600):
                sender.sendto(b"x", (PEER4, 9))
        kept = 0
        while frames := device.read():
            kept += sum(packet[9] == socket.IPPROTO_UDP for packet, *_ in frames if packet[0] >> 4 == 4)
        assert 0 < device.unread() == 600 - kept


def test_a_full_device_takes_nothing_and_loses_nothing(netns: Namespace) -> None:
    """What is written waits behind a slow shaper until the device's send buffer (made small) is full."""
    with Tun("t0", netns=netns.name) as device:
        device.configure([f"{HOST4}/24"])
        fcntl.ioctl(device.fd, 0x400454D4, struct.pack("i", 20_000))  # TUNSETSNDBUF
        for line in (
            "ip link add slow type ifb",
            "ip link set slow up",
            "tc qdisc add dev slow root tbf rate 80bit burst 1600 limit 1000000",
            "tc qdisc add dev t0 ingress",
            "tc filter add dev t0 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev slow",
        ):
            netns.run(*line.split())
        head, csum_start = tcp_packet(PEER4, HOST4, 1000)
        written = 0
        while device.write(head, (bytes(1000),), 0, csum_start, 16):
            written += 1
            assert written < 100
        assert written > 1
        assert not select.select([], [device], [], 0)[1]
        assert not device.write(head, (bytes(1000),), 0, csum_start, 16)
        netns.run("tc", "qdisc", "del", "dev", "slow", "root")
        assert select.select([], [device], [], PATIENCE)[1]
        assert device.write(head, (bytes(1000),), 0, csum_start, 16)


def test_the_kernel_refuses_one_packet_and_the_device_lives_on(netns: Namespace) -> None:
    with Tun("t0", netns=netns.name) as device:
        device.configure([f"{HOST4}/24"])
        with pytest.raises(TunError, match="refuses to take this packet") as caught:
            device.write(b"\x05" + bytes(39))
        assert caught.value.errno == errno.EINVAL
        assert device.write(tcp_packet(PEER4, HOST4, 0)[0])


def test_a_name_in_use(netns: Namespace) -> None:
    with Tun("t0", netns=netns.name):
        with pytest.raises(TunError, match=r"^TUN device 't0' is in use: choose another name with --tun$") as caught:
            Tun("t0", netns=netns.name)
        assert caught.value.errno == errno.EBUSY
        with pytest.raises(TunError, match="'lo' exists and is no TUN device"):
            Tun("lo", netns=netns.name)


@pytest.mark.parametrize(("wish", "name"), [("", "tun0"), ("netemu%d", "netemu0"), ("exact", "exact")])
def test_the_name_that_the_kernel_gives(netns: Namespace, wish: str, name: str) -> None:
    with Tun(wish, netns=netns.name) as device:
        assert device.name == name
        assert name in links(netns)
    assert name not in links(netns)


def test_kill_leaves_nothing(netns: Namespace) -> None:
    child = netns.python(
        "import tun, time\n"
        "device = tun.Tun('t0')\n"
        f"device.configure({ADDRESSES}, ['10.0.0.0/8'])\n"
        "print(device.name, flush=True)\n"
        "time.sleep(60)"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "t0\n"
    assert "10.0.0.0/8 dev t0" in netns.run("ip", "route").stdout
    child.send_signal(signal.SIGKILL)
    child.wait(PATIENCE)
    assert links(netns) == ["lo"]
    assert netns.run("ip", "route").stdout == ""


def test_a_named_namespace_and_the_calling_thread(netns: Namespace) -> None:
    here = os.stat("/proc/thread-self/ns/net").st_ino
    with Tun("netemu-test%d", netns=netns.name) as device:
        device.configure(ADDRESSES)
        assert device.name in links(netns)
        assert device.name not in os.listdir("/sys/class/net")
    with pytest.raises(TunError, match=r"no network namespace 'no-such': make it with 'ip netns add no-such'"):
        Tun(netns="no-such")
    assert os.stat("/proc/thread-self/ns/net").st_ino == here


def test_attach_to_a_device_made_beforehand(netns: Namespace) -> None:
    for line in ("tuntap add dev t0 mode tun", f"addr add {HOST4}/24 dev t0", "link set t0 up"):
        netns.run("ip", *line.split())
    for offload in (True, False):  # the second must not inherit the first's settings
        with Tun("t0", offload=offload, netns=netns.name) as device:
            device.configure([f"{HOST4}/24"])
            with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"hello", (PEER4, 9))
            packet, _, csum_start, _ = wait_for(device, socket.IPPROTO_UDP)
            assert packet[-5:] == b"hello"
            assert csum_start == (20 if offload else 0)
    assert "t0" in links(netns)


def test_configure_makes_it_so(netns: Namespace) -> None:
    with Tun("t0", mtu=9000, netns=netns.name) as device:
        device.configure(ADDRESSES, ["10.0.0.0/8", "default", "2001:db8::/32"])
        state = netns.run("ip", "addr", "show", "dev", "t0").stdout
        assert "mtu 9000" in state
        assert ",UP" in state
        assert f"inet {HOST4}/24" in state
        assert f"inet6 {HOST6}/64" in state
        assert "tentative" not in state
        assert "fe80" not in state  # so that the kernel does not solicit routers
        assert "10.0.0.0/8 dev t0" in netns.run("ip", "route").stdout
        assert "default dev t0" in netns.run("ip", "route").stdout
        assert "2001:db8::/32 dev t0" in netns.run("ip", "-6", "route").stdout
        device.configure(ADDRESSES, ["10.0.0.0/8", "default", "2001:db8::/32"])  # again is no error
        device.configure(up=False)
        assert ",UP" not in netns.run("ip", "link", "show", "dev", "t0").stdout


def test_configure_inside_a_running_loop(netns: Namespace) -> None:
    async def main() -> None:
        with Tun("t0", netns=netns.name) as device:
            device.configure([f"{HOST4}/24"])
            assert find_conflict(f"{HOST4}/24", netns=netns.name) == "198.18.0.0/24 is in use on t0"

    asyncio.run(main())


def test_without_a_namespace_inside_a_running_loop(netns: Namespace) -> None:
    child = netns.python(
        "import asyncio, tun\n"
        "async def main():\n"
        "    with tun.Tun('t0') as device:\n"
        "        device.configure(['198.18.0.1/24'])\n"
        "        print(tun.find_conflict('198.18.0.9/32'))\n"
        "asyncio.run(main())"
    )
    output, errors = child.communicate(timeout=PATIENCE)
    assert output == "198.18.0.0/24 is in use on t0\n", errors


def test_a_range_in_use_changes_nothing(netns: Namespace) -> None:
    with Tun("first", netns=netns.name) as first, Tun("second", netns=netns.name) as second:
        first.configure(ADDRESSES, ["198.18.2.0/23"])
        with pytest.raises(TunError) as caught:
            second.configure(["198.18.9.1/24", "198.18.0.77/25"])
        assert str(caught.value) == "198.18.0.0/24 is in use on first: choose another range with --host-addr and --addr"
        assert caught.value.errno == errno.EADDRINUSE
        assert "inet" not in netns.run("ip", "addr", "show", "dev", "second").stdout
        assert find_conflict(HOST6, netns=netns.name) == "2001:2::/64 is in use on first"
        assert find_conflict(HOST6, interface="first", netns=netns.name) is None
        assert find_conflict("198.18.3.1/24", netns=netns.name) == "198.18.2.0/23 is in use on first"
        assert free_range(netns=netns.name) == "198.18.1.0/24"
        with pytest.raises(TunError, match=r"no /23 is free in 198.18.0.0/22"):
            free_range("198.18.0.0/22", 23, netns=netns.name)


def test_errors_of_configure_say_what_to_do(netns: Namespace) -> None:
    with Tun("t0", netns=netns.name) as device, Tun("t1", netns=netns.name) as other:
        netns.run("sysctl", "-qw", "net.ipv6.conf.t0.disable_ipv6=1")
        with pytest.raises(TunError, match=r"cannot add 2001:2::1/64 to 't0'.*IPv6 is off here") as caught:
            device.configure([f"{HOST6}/64"])
        assert caught.value.errno == errno.EACCES
        device.configure([], ["10.0.0.0/8"])
        with pytest.raises(TunError, match=r"cannot add the route 10.0.0.0/8 to 't1'.*another interface has it"):
            other.configure([], ["10.0.0.0/8"])
    with Tun("t0", mtu=1000, netns=netns.name) as small:
        with pytest.raises(TunError, match="IPv6 needs an MTU of at least 1280"):
            small.configure([f"{HOST6}/64"])
        small.configure([f"{HOST4}/24"])


def test_taken_down_and_removed(netns: Namespace) -> None:
    packet = tcp_packet(PEER4, HOST4, 0)[0]
    with Tun("t0", netns=netns.name) as device:
        device.configure([f"{HOST4}/24"])
        netns.run("ip", "link", "set", "t0", "down")
        with pytest.raises(TunError, match=r"'t0' was taken down: 'ip link set t0 up' brings it back") as caught:
            device.write(packet)
        assert caught.value.errno == errno.EIO
        netns.run("ip", "link", "set", "t0", "up")
        assert device.write(packet)
        netns.run("ip", "link", "delete", "t0")
        with pytest.raises(TunError, match="'t0' was removed"):
            device.write(packet)
        with pytest.raises(TunError, match="'t0' was removed"):
            device.read()


@pytest.mark.parametrize("refused", ["IFF_VNET_HDR", "TUNSETOFFLOAD"])
def test_a_kernel_that_refuses_offload(netns: Namespace, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
    def ioctl(fd: int, request: int, argument: bytes | int = 0) -> bytes | int:
        if refused == "TUNSETOFFLOAD":
            refuse = request == 0x400454D0
        else:
            refuse = request == 0x400454CA and isinstance(argument, bytes) and bool(argument[17] & 0x40)
        if refuse:
            raise OSError(errno.EINVAL, "refused by the test")
        return fcntl.ioctl(fd, request, argument)

    monkeypatch.setattr(tun.device, "fcntl", SimpleNamespace(ioctl=ioctl))
    with Tun("t0", netns=netns.name) as device:
        assert device.offload is False
        device.configure([f"{HOST4}/24"])
        with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", (PEER4, 9))
        packet = bytes(wait_for(device, socket.IPPROTO_UDP)[0])
        assert packet[-5:] == b"hello"
        assert transport_sum(packet) == 0


def test_opening_and_configuring_is_quick(netns: Namespace) -> None:
    """From a cold interpreter: 0.25-0.35 s on two busy cores, nearly all of it the import of pyroute2."""
    child = netns.python(
        "import time; start = time.process_time()\n"
        "import tun\n"
        "with tun.Tun() as device:\n"
        f"    device.configure({ADDRESSES})\n"
        "print(time.process_time() - start)"
    )
    output, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0, errors
    assert float(output) < 1.0


def test_nothing_is_left_in_the_machine(netns: Namespace) -> None:
    """The fixture itself: a namespace goes with its test, and what was started in it."""
    inner = Namespace()
    sleeper = inner.start("sleep", "60")
    inner.close()
    assert sleeper.returncode == -signal.SIGKILL
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert inner.name not in names
    assert netns.name in names
