"""SO_BINDTODEVICE: two devices, who may set it, and what it does to names and to arrivals (facts U1, U2, T13)."""

from __future__ import annotations

import errno

import pytest
from stack_bench import HOST, MSS, OF_HOST, OF_PEER, PEER, Bench, errno_of, tcp, with_options

from netemu.reasons import Drop, Match
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.tcp import RST, SYN

LOCAL = {4: "127.0.0.1", 6: "::1"}


def on(device: str, socket: StreamSocket | DatagramSocket) -> StreamSocket | DatagramSocket:
    socket.setsockopt(so.SOL_SOCKET, so.SO_BINDTODEVICE, device.encode())
    return socket


def stream(bench: Bench, device: str = "", family: int = so.AF_INET, **options: bool) -> StreamSocket:
    socket = with_options(bench.tcp(family), **options)
    on(device, socket)
    return socket


def test_the_devices_of_a_host() -> None:
    assert Bench(device="tun7").host.devices == {"lo": 1, "tun7": 2}


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_the_option_itself(kind: str) -> None:
    bench = Bench()
    socket = bench.tcp() if kind == "stream" else bench.udp()
    read = (so.SOL_SOCKET, so.SO_BINDTODEVICE)
    assert socket.getsockopt(*read) == b""
    for value in (b"lo", b"lo\0rest", b"lo" + bytes(30)):
        socket.setsockopt(*read, value)
        assert socket.getsockopt(*read) == b"lo\0"
    assert errno_of(socket.setsockopt, *read, b"nowhere") == errno.ENODEV
    assert errno_of(socket.setsockopt, *read, 1) == errno.EINVAL
    socket.setsockopt(*read, b"")
    assert socket.getsockopt(*read) == b""


def test_only_root_may_change_it() -> None:
    bench = Bench()
    socket = bench.tcp(uid=10)
    read = (so.SOL_SOCKET, so.SO_BINDTODEVICE)
    assert errno_of(socket.setsockopt, *read, b"") == 0
    assert errno_of(socket.setsockopt, *read, b"lo") == 0
    for device in (b"lo", b"netemu0", b""):
        assert errno_of(socket.setsockopt, *read, device) == errno.EPERM


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_names_on_different_devices_do_not_meet(kind: str) -> None:
    bench = Bench()

    def bind(device: str) -> int:
        socket = bench.tcp() if kind == "stream" else bench.udp()
        return errno_of(on(device, socket).bind, ("0.0.0.0", 5000))

    assert bind("lo") == 0
    assert bind("netemu0") == 0
    assert bind("lo") == errno.EADDRINUSE
    assert bind("") == errno.EADDRINUSE


@pytest.mark.parametrize("version", [4, 6])
def test_a_listener_hears_its_device_only(version: int) -> None:
    bench = Bench()
    family, anywhere = (so.AF_INET, "0.0.0.0") if version == 4 else (so.AF_INET6, "::")
    listener = stream(bench, "lo", family)
    listener.bind((anywhere, 80))
    listener.listen()
    syn = tcp(SYN, 1000, src=OF_PEER[version], dst=OF_HOST[version], options=MSS)
    assert bench.give(syn) is Drop.OTHER_DEVICE
    assert bench.one().segment.flags & RST
    client = bench.tcp(family)
    assert errno_of(client.connect, (LOCAL[version], 80)) == errno.EINPROGRESS
    assert bench.take() == []
    child, _ = listener.accept()
    assert child.device == "lo"
    # local traffic to an address of the wire counts as the wire's
    client = bench.tcp(family)
    assert errno_of(client.connect, (OF_HOST[version], 80)) == errno.EINPROGRESS
    assert bench.take() == []
    assert errno_of(client.connect, (OF_HOST[version], 80)) == errno.ECONNREFUSED
    second = stream(bench, "netemu0", family)
    second.bind((anywhere, 80))
    second.listen()
    assert bench.give(syn) is Match.LISTEN_WILDCARD
    assert bench.host.matched is second


def test_a_device_can_be_chosen_after_bind() -> None:
    bench = Bench()
    listener = bench.listen("0.0.0.0", 80)
    listener.setsockopt(so.SOL_SOCKET, so.SO_BINDTODEVICE, b"lo")
    assert bench.give(tcp(SYN, options=MSS)) is Drop.OTHER_DEVICE
    bench.take()
    other = stream(bench, "netemu0")
    assert errno_of(other.bind, ("0.0.0.0", 80)) == 0
    listener.close()


def test_no_way_out_by_the_wrong_device() -> None:
    bench = Bench()
    for device, address in (("lo", PEER), ("netemu0", "127.0.0.1"), ("lo", HOST)):
        assert errno_of(stream(bench, device).connect, (address, 80)) == errno.ENETUNREACH
        datagram = on(device, bench.udp())
        assert isinstance(datagram, DatagramSocket)
        assert errno_of(datagram.sendto, b"x", (address, 80)) == errno.ENETUNREACH
    assert errno_of(stream(bench, "netemu0").connect, (PEER, 80)) == errno.EINPROGRESS


def test_sharing_and_devices() -> None:
    """T13: on different devices anything goes; one without a device must agree with all of them. As measured on Linux."""
    bench = Bench()
    held: list[StreamSocket] = []

    def bind(device: str, **options: bool) -> int:
        socket = stream(bench, device, **options)
        held.append(socket)
        return errno_of(socket.bind, ("0.0.0.0", 5000))

    assert bind("lo", reuseport=True) == 0
    assert bind("netemu0") == 0
    assert bind("", reuseport=True) == errno.EADDRINUSE
    assert bind("lo", reuseport=True) == 0
    assert bind("", reuseport=True) == 0  # what the port remembers of the one before knows no devices (facts T6)
    held[1].close()
    assert bind("netemu0") == errno.EADDRINUSE
    assert bind("netemu0", reuseport=True) == 0
    for socket in held:
        socket.close()
    assert bind("") == 0
