"""Sockets of the emulated host in other processes (netemu.attach), with real clients at the other end."""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
from collections.abc import Callable

import pytest
from attaching import client_of, pair
from emulated import ADDRESS4, ADDRESS6, Emulated, until
from netns import PATIENCE

from netemu.attached.host import AttachedHost

pytestmark = pytest.mark.e2e

SO_ATTACH_REUSEPORT_CBPF = 51
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def test_both_ways_and_the_end(instance: Emulated, host: AttachedHost) -> None:
    client, ours = pair(instance, host)
    client.sendall(b"question")
    assert ours.recv(100) == b"question"
    ours.sendall(b"answer")
    assert client.recv(100) == b"answer"
    client.shutdown(socket.SHUT_WR)
    assert ours.recv(100) == b""
    ours.sendall(b"after your end")
    assert client.recv(100) == b"after your end"
    ours.close()
    assert client.recv(100) == b""
    client.close()


def test_a_reset_is_a_reset(instance: Emulated, host: AttachedHost) -> None:
    client, ours = pair(instance, host)
    client.sendall(b"last words")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    client.close()
    assert ours.recv(100) == b"last words"
    with pytest.raises(ConnectionResetError):
        ours.recv(100)
    assert ours.recv(100) == b""  # an error is told once
    with pytest.raises(BrokenPipeError):
        ours.send(b"x")
    ours.close()


def test_to_close_with_data_unread_resets(instance: Emulated, host: AttachedHost) -> None:
    client, ours = pair(instance, host)
    client.sendall(b"never read")
    assert ours.recv(1) == b"n"
    ours.close()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    client.close()


def test_a_refused_connect(instance: Emulated, host: AttachedHost) -> None:
    with host.socket() as ours:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                ours.connect(("198.18.0.1", 9))
        with host.create_server(("", 0)) as server:
            ours.connect(("127.0.0.1", server.getsockname()[1]))  # it can still be used
            assert ours.getpeername() == ("127.0.0.1", server.getsockname()[1])


def test_linger_0_resets(instance: Emulated, host: AttachedHost) -> None:
    client, ours = pair(instance, host)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    ours.close()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    client.close()


def test_half_close_from_the_app(instance: Emulated, host: AttachedHost) -> None:
    client, ours = pair(instance, host)
    ours.sendall(b"all of it")
    ours.shutdown(socket.SHUT_WR)
    assert [client.recv(100), client.recv(100)] == [b"all of it", b""]
    client.sendall(b"thanks")
    client.close()
    assert [ours.recv(100), ours.recv(100)] == [b"thanks", b""]
    with pytest.raises(BrokenPipeError):
        ours.send(b"more")
    ours.close()


def test_shutdown_of_both_is_no_reset(instance: Emulated, host: AttachedHost) -> None:
    client, ours = pair(instance, host)
    client.sendall(b"unread")
    assert ours.recv(6, socket.MSG_PEEK | socket.MSG_WAITALL) == b"unread"
    ours.shutdown(socket.SHUT_RDWR)
    ours.close()
    assert client.recv(100) == b""
    client.close()


@pytest.mark.parametrize("address", [ADDRESS4, ADDRESS6])
def test_the_other_way_round(instance: Emulated, host: AttachedHost, address: str) -> None:
    """An app connects to a server of the kernel's."""
    family, kernel = (socket.AF_INET6, "2001:2::1") if ":" in address else (socket.AF_INET, "198.18.0.1")
    with instance.namespace.socket(family, socket.SOCK_STREAM) as server:
        server.bind((kernel, 0))
        server.listen()
        with host.create_connection((kernel, server.getsockname()[1]), 10, (address, 0)) as ours:
            client, peer = server.accept()
            assert peer == ours.getsockname()
            assert ours.getpeername() == server.getsockname()
            client.sendall(b"hello")
            assert ours.recv(100) == b"hello"
            client.close()
            assert ours.recv(100) == b""


def test_backpressure_both_ways(instance: Emulated, host: AttachedHost) -> None:
    """Who does not read stops the other one; nothing is lost over it."""
    client, ours = pair(instance, host)
    for sender, reader in ((client, ours), (ours, client)):
        sender.setblocking(False)
        sent, block, quiet = 0, bytes(range(256)) * 256, 0
        while quiet < 3:
            try:
                sent += sender.send(block[sent % 256 :])
                quiet = 0
            except BlockingIOError:
                quiet += 1
                select.select([], [sender], [], 0.2)
        assert sent < 32 << 20
        reader.settimeout(PATIENCE)
        got = 0
        while got < sent:
            piece = reader.recv(1 << 20)
            assert piece == (block * (len(piece) // len(block) + 2))[got % 256 :][: len(piece)]
            got += len(piece)
        sender.setblocking(True)
    client.close()
    ours.close()


def test_a_connect_that_nobody_answers(host: AttachedHost) -> None:
    with host.socket() as ours:
        ours.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ours.connect(("198.18.0.77", 9))
    with host.socket() as ours:
        ours.setblocking(False)
        assert ours.connect_ex(("198.18.0.77", 9)) == errno.EINPROGRESS
        assert select.select([], [ours], [], 0.1)[1] == []
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert ours.connect_ex(("198.18.0.77", 9)) == errno.EALREADY
        with pytest.raises(BlockingIOError):
            ours.send(b"x")


def test_non_blocking_connect(instance: Emulated, host: AttachedHost) -> None:
    with host.create_server(("", 0)) as server, host.socket() as ours:
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.connect(("127.0.0.1", server.getsockname()[1]))
        assert select.select([], [ours], [], PATIENCE)[1] == [ours]
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        other, _ = server.accept()
        assert ours.getpeername() == other.getsockname()
        assert ours.getsockname() == other.getpeername()
        with pytest.raises(BlockingIOError):
            ours.recv(1)
        other.close()


def test_listening_again_after_shutdown(instance: Emulated, host: AttachedHost) -> None:
    """A listener that is shut down is a fresh socket again (facts T9), at the same descriptor."""
    with host.socket() as server:
        number, port = server.fileno(), 5005
        server.bind((ADDRESS4, port))
        server.listen()
        server.shutdown(socket.SHUT_RDWR)
        with pytest.raises(OSError, match="does not listen"):
            server.accept()
        server.listen()
        assert server.fileno() == number
        with client_of(instance, port) as client, server.accept()[0] as ours:
            ours.sendall(b"here")
            assert client.recv(9) == b"here"


def test_the_backlog_is_the_stacks(instance: Emulated, host: AttachedHost) -> None:
    """listen(n): n + 1 connections wait (facts T12), those under way to the app included."""
    with host.socket() as server:
        server.bind((ADDRESS4, 0))
        server.listen(1)
        port = server.getsockname()[1]
        clients = [client_of(instance, port) for _ in range(2)]
        extra = instance.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        extra.settimeout(0.3)
        with pytest.raises(TimeoutError):
            extra.connect((ADDRESS4, port))
        for client in clients:
            ours, peer = server.accept()
            assert peer == client.getsockname()
            ours.close()
            client.close()
        extra.close()


def errno_of(call: Callable[[], object]) -> int | None:
    try:
        call()
    except OSError as problem:
        return problem.errno
    return 0


def test_calls_that_fail_as_the_kernels_do(host: AttachedHost) -> None:
    """T11, through a descriptor."""
    with host.create_server(("", 0)) as server, host.socket() as fresh:
        name = server.getsockname()
        for call, number in (
            (lambda: server.bind(("", 0)), errno.EINVAL),
            (lambda: server.connect(name), errno.EISCONN),
            (lambda: server.recv(1), errno.ENOTCONN),
            (lambda: server.send(b"x"), errno.EPIPE),
            (server.getpeername, errno.ENOTCONN),
            (fresh.accept, errno.EINVAL),
            (lambda: fresh.recv(1), errno.ENOTCONN),
            (lambda: fresh.send(b"x"), errno.EPIPE),
            (lambda: fresh.shutdown(socket.SHUT_RDWR), errno.ENOTCONN),
            (lambda: fresh.bind(("192.0.2.1", 0)), errno.EADDRNOTAVAIL),
            (lambda: fresh.bind(name), errno.EADDRINUSE),
            (lambda: fresh.setsockopt(77, 77, 1), errno.ENOPROTOOPT),
            (lambda: host.socket(socket.AF_INET, socket.SOCK_RAW), errno.ESOCKTNOSUPPORT),
            (lambda: host.socket(socket.AF_UNIX), errno.EAFNOSUPPORT),
        ):
            assert errno_of(call) == number
        with pytest.raises(OverflowError):
            fresh.bind(("", 70000))
        fresh.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            fresh.bind(("", 0))


def test_udp(instance: Emulated, host: AttachedHost) -> None:
    with (
        host.socket(type=socket.SOCK_DGRAM) as ours,
        instance.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        ours.bind((ADDRESS4, 0))
        client.bind(("198.18.0.1", 0))
        client.settimeout(PATIENCE)
        ours.settimeout(PATIENCE)
        for size in (0, 1, 1400, 20000):
            client.sendto(bytes(size), ours.getsockname())
            assert ours.recvfrom(65535) == (bytes(size), client.getsockname())
            ours.sendto(bytes(size), client.getsockname())
            assert client.recvfrom(65535) == (bytes(size), ours.getsockname())
        ours.connect(client.getsockname())
        assert ours.send(b"connected") == 9
        assert client.recv(99) == b"connected"
        client.sendto(b"longer", ours.getsockname())
        assert ours.recvmsg(4)[::2] == (b"long", socket.MSG_TRUNC)
        client.close()
        ours.send(b"nobody")
        with pytest.raises(ConnectionRefusedError):
            ours.recv(9)
        with pytest.raises(OSError, match="Message too long"):
            ours.send(bytes(65508))


def test_udp_to_a_group_and_what_is_told_beside(instance: Emulated, host: AttachedHost) -> None:
    """A group's datagram from a real kernel, with where it came to; an answer sent by ancillary data."""
    group = "239.1.2.3"
    with (
        host.socket(type=socket.SOCK_DGRAM) as ours,
        instance.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        ours.bind(("", 0))
        port = ours.getsockname()[1]
        ours.settimeout(PATIENCE)
        client.settimeout(PATIENCE)
        client.bind(("198.18.0.1", 0))
        client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("198.18.0.1"))
        membership = socket.inet_aton(group) + bytes(4)
        ours.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        ours.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO, which Python 3.11 does not name
        client.sendto(b"everybody", (group, port))
        data, told, _, address = ours.recvmsg(99, 99)
        assert (data, address) == (b"everybody", client.getsockname())
        ((level, kind, where),) = told
        assert (level, kind) == (socket.IPPROTO_IP, 8)
        assert where[4:] == socket.inet_aton(ADDRESS4) + socket.inet_aton(group)
        assert ours.sendmsg([b"answer"], [(socket.IPPROTO_IP, 8, bytes(4) + where[4:8] + bytes(4))], 0, address) == 6
        assert client.recvfrom(99) == (b"answer", (ADDRESS4, port))
        with pytest.raises(OSError, match="ancillary data"):
            ours.sendmsg([b"x"], [(socket.IPPROTO_IP, 8, b"short")], 0, address)


def test_options_reach_the_stack(instance: Emulated, host: AttachedHost) -> None:
    client, ours = pair(instance, host)
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 33),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000),
        (socket.IPPROTO_IP, socket.IP_TTL, 7),
    ):
        ours.setsockopt(level, option, value)
        assert ours.getsockopt(level, option) == value
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3))
    assert struct.unpack("ii", ours.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)) == (1, 3)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    info = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    assert len(info) == 104
    assert info[0] == 1  # TCP_ESTABLISHED
    client.close()
    ours.close()


def test_a_selector_in_classic_bpf(instance: Emulated, host: AttachedHost) -> None:
    """SO_ATTACH_REUSEPORT_CBPF, as C programs and as Python programs with ctypes give it: a struct sock_fprog."""
    to_the_second = struct.pack("HBBI", 0x06, 0, 0, 1)  # ret #1
    program = ctypes.create_string_buffer(to_the_second)
    as_kernel_takes_it = struct.pack("HxxxxxxQ", 1, ctypes.addressof(program))
    for value in (to_the_second, as_kernel_takes_it):
        with host.socket() as first, host.socket() as second:
            for member in (first, second):
                member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                member.bind((ADDRESS4, 5006))
                member.listen()
            first.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, value)
            first.setblocking(False)
            second.settimeout(PATIENCE)
            for _ in range(12):
                with client_of(instance, 5006), second.accept()[0]:
                    pass
            with pytest.raises(BlockingIOError):
                first.accept()
    with host.socket() as alone, pytest.raises(OSError, match="Bad address"):
        alone.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("HxxxxxxQ", 1, 1 << 62))


def test_a_selector_by_name(instance: Emulated, host: AttachedHost) -> None:
    one, two = (host.create_server((ADDRESS4, 5007), reuse_port=True) for _ in range(2))
    with one, two:
        one.set_selector("round-robin")
        with pytest.raises(OSError, match="no selector 'fair'"):
            one.set_selector("fair")
        for member in (one, two) * 5:
            member.settimeout(PATIENCE)
            with client_of(instance, 5007), member.accept()[0]:
                pass


def test_the_error_queue_of_udp(instance: Emulated, host: AttachedHost) -> None:
    """IP_RECVERR: who told what about which datagram."""
    with host.socket(type=socket.SOCK_DGRAM) as ours:
        ours.settimeout(PATIENCE)
        ours.setsockopt(socket.IPPROTO_IP, 11, 1)
        ours.sendto(b"to nobody", ("198.18.0.1", 9))
        with pytest.raises(ConnectionRefusedError):
            ours.recv(99)
        data, ((level, kind, told),), flags, address = ours.recvmsg(99, 99, socket.MSG_ERRQUEUE)
        assert (data, flags, address) == (b"to nobody", socket.MSG_ERRQUEUE, ("198.18.0.1", 9))
        assert (level, kind) == (socket.IPPROTO_IP, 11)
        assert struct.unpack("IBBB", told[:7]) == (errno.ECONNREFUSED, 2, 3, 3)
        with pytest.raises(BlockingIOError):
            ours.recvmsg(99, 99, socket.MSG_ERRQUEUE)


def test_rcvbuf_of_udp_counts_what_the_app_has_not_read(instance: Emulated, host: AttachedHost) -> None:
    with (
        host.socket(type=socket.SOCK_DGRAM) as ours,
        instance.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least: 2304 bytes, two small datagrams
        ours.bind((ADDRESS4, 0))
        for number in range(9):
            client.sendto(b"%d" % number, ours.getsockname())
        until(lambda: instance.counters()["drop"].get("UDP_BUFFER_FULL") == 7)
        ours.setblocking(False)
        assert [ours.recv(9), until(lambda: received(ours))] == [b"0", b"1"]
        assert received(ours) == b""


def received(ours: socket.socket) -> bytes:
    try:
        return ours.recv(9)
    except BlockingIOError:
        return b""
