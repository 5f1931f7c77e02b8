"""Attached sockets as Python programs know sockets: arguments, subclasses, descriptors, TLS, and what close means."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from attaching import pair
from emulated import Emulated
from netns import PATIENCE

from netemu.attached import channel
from netemu.attached.host import AttachedHost

pytestmark = pytest.mark.e2e
IP_RECVTTL = 12  # linux/in.h
V4, V6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM


def udp_pair(host: AttachedHost, family: int = V4) -> tuple[Any, Any]:
    one, other = host.socket(family, UDP), host.socket(family, UDP)
    loopback = "127.0.0.1" if family == V4 else "::1"
    for sock in (one, other):
        sock.bind((loopback, 0))
        sock.settimeout(PATIENCE)
    one.connect(other.getsockname())
    return one, other


def test_descriptors_are_not_inherited(instance: Emulated, host: AttachedHost) -> None:
    """PEP 446: by no child, or a connection would live on in it."""
    client, ours = pair(instance, host)
    connecting = host.socket()
    connecting.setblocking(False)
    connecting.connect_ex(("198.18.0.1", 9))
    for sock in (host.socket(), host.socket(V4, UDP), host.create_server(("", 0)), ours, connecting, ours.dup()):
        assert fcntl.fcntl(sock, fcntl.F_GETFD) & fcntl.FD_CLOEXEC, sock
        sock.set_inheritable(True)
        assert sock.get_inheritable()
        sock.close()
    client.close()


@pytest.mark.parametrize("family", [V4, V6])
def test_a_datagram_into_buffers(host: AttachedHost, family: int) -> None:
    one, other = udp_pair(host, family)
    buffers = [bytearray(3), bytearray(4), bytearray(5)]
    one.send(b"datagram")
    assert other.recvmsg_into(buffers) == (8, [], 0, one.getsockname())
    assert buffers == [b"dat", b"agra", b"m\0\0\0\0"]
    one.send(b"too long for it")
    assert other.recvmsg_into(buffers[:2]) == (7, [], socket.MSG_TRUNC, one.getsockname())
    assert buffers[:2] == [b"too", b" lon"]
    one.send(b"ab")
    assert other.recv_into(buffers[2]) == 2
    with one, other, pytest.raises(TypeError):
        other.recvmsg_into([b"read only"])


def test_ancillary_data_in_the_room_that_there_is(host: AttachedHost) -> None:
    one, other = udp_pair(host)
    other.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    whole = (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 64))
    for room, expected in [
        (socket.CMSG_SPACE(4), ([whole], 0)),
        (socket.CMSG_LEN(4), ([whole], 0)),
        (socket.CMSG_LEN(2), ([(*whole[:2], b"\x40\0")], socket.MSG_CTRUNC)),
        (1, ([], socket.MSG_CTRUNC)),
        (0, ([], socket.MSG_CTRUNC)),
    ]:
        one.send(b"x")
        assert other.recvmsg(10, room)[1:3] == expected, room
    one.close()
    other.close()


WRONG: list[tuple[type[Exception], Callable[[Any], object]]] = [
    (ValueError, lambda s: s.recv(-1)),
    (ValueError, lambda s: s.recvfrom(-1)),
    (ValueError, lambda s: s.recvmsg(-1)),
    (ValueError, lambda s: s.recvmsg(1, -1)),
    (ValueError, lambda s: s.recv_into(bytearray(4), -1)),
    (ValueError, lambda s: s.recvfrom_into(bytearray(4), 5)),
    (TypeError, lambda s: s.send("text")),
    (TypeError, lambda s: s.send(5)),
    (TypeError, lambda s: s.sendto(b"x")),
    (TypeError, lambda s: s.sendto(b"x", None)),
    (TypeError, lambda s: s.sendto(b"x", "flags", ("127.0.0.1", 9))),
    (TypeError, lambda s: s.sendto(5, ("127.0.0.1", 9))),
    (TypeError, lambda s: s.sendmsg(b"not a list of buffers")),
    (TypeError, lambda s: s.sendmsg([b"x"], [(1, 2)])),
    (TypeError, lambda s: s.sendmsg([b"x"], [("1", 2, b"")])),
    (TypeError, lambda s: s.sendmsg([b"x"], [], object())),
    (TypeError, lambda s: s.sendmsg([b"x"], [], 0, object())),
    (OverflowError, lambda s: s.connect(("127.0.0.1", 1 << 16))),
    (OverflowError, lambda s: s.bind(("127.0.0.1", -1))),
    (TypeError, lambda s: s.bind("127.0.0.1")),
]


@pytest.mark.parametrize("kind", [TCP, UDP])
def test_wrong_arguments(instance: Emulated, host: AttachedHost, kind: int) -> None:
    """The same exceptions as from the kernel's, and nothing is sent."""
    client, ours = pair(instance, host) if kind == TCP else udp_pair(host)[::-1]
    with client, ours:
        for wanted, call in WRONG:
            with pytest.raises(wanted):
                call(ours)
        if kind == TCP:
            ours.sendall(b"end")
            assert client.recv(100) == b"end"


def test_numbers_that_do_not_fit(host: AttachedHost) -> None:
    with host.socket() as server, host.socket(V6) as six:
        with pytest.raises(OverflowError):
            server.listen(1 << 31)
        server.listen(-1)
        for flow in (-1, 1 << 20):
            with pytest.raises(OverflowError):
                six.bind(("::1", 0, flow))
    with pytest.raises(OSError, match=os.strerror(errno.EPROTONOSUPPORT)):
        host.socket(V4, TCP, socket.IPPROTO_UDP)


def test_what_it_looks_like(host: AttachedHost) -> None:
    server = host.create_server(("127.0.0.1", 0))
    assert f"fd={server.fileno()}" in repr(server)
    assert "laddr=('127.0.0.1'" in repr(server)
    server.close()
    assert "closed" in repr(server)


def test_the_protocol_stays(host: AttachedHost) -> None:
    """asyncio sets TCP_NODELAY where the socket says that it is TCP."""
    with host.socket(V4, TCP, socket.IPPROTO_TCP) as server, host.socket() as client:
        server.listen()
        client.connect(("127.0.0.1", server.getsockname()[1]))
        with server.accept()[0] as accepted, accepted.dup() as copy:
            assert [server.proto, accepted.proto, copy.proto, client.proto] == [6, 6, 6, 0]


def test_closed_is_closed_at_once(host: AttachedHost) -> None:
    """What this process does after close() finds the port free and nobody listening; not so while another holds it."""
    for _ in range(50):
        with host.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
        with host.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(address)
        for kind in (TCP, UDP):
            for _ in range(2):
                with host.socket(V4, kind) as sock:
                    sock.bind(address)
    server = host.create_server(("127.0.0.1", 0))
    address, copy = server.getsockname(), server.dup()
    server.close()
    with copy, host.socket() as client:
        client.connect(address)


def test_what_was_accepted_and_closed_at_once(host: AttachedHost) -> None:
    """The broker hears of both, and of the next request, in one go."""
    with host.create_server(("127.0.0.1", 0)) as server:
        for _ in range(50):
            with host.socket() as client:
                client.connect(server.getsockname())
                server.accept()[0].close()
                host.socket().close()
                client.settimeout(PATIENCE)
                assert client.recv(1) == b""


def test_a_detached_descriptor_is_not_closed(host: AttachedHost) -> None:
    server = host.create_server(("127.0.0.1", 0))
    address, descriptor = server.getsockname(), server.detach()
    server.close()
    with host.fromfd(descriptor) as again, host.socket() as client:
        os.close(descriptor)
        assert again.getsockname() == address
        client.connect(address)


def test_subclasses_and_descriptors_under_the_patch(host: AttachedHost) -> None:
    """A program's own class works on the host too, and a descriptor of the host's makes a socket of the host."""
    with host.patched():

        class Counting(socket.socket):
            sent = 0

            def __init__(self, *arguments: Any, **named: Any) -> None:
                super().__init__(*arguments, **named)
                self.sent = 0

            def send(self, data: Any, flags: int = 0) -> int:
                self.sent += len(data)
                return super().send(data, flags)

        with Counting() as server, Counting(V4, TCP | socket.SOCK_NONBLOCK) as client:
            assert isinstance(server, Counting)
            assert isinstance(server, socket.socket)
            assert not client.getblocking()
            client.setblocking(True)
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.connect(server.getsockname())
            with server.accept()[0] as accepted, socket.fromfd(accepted.fileno(), V4, TCP) as copy:
                assert client.send(b"four") == client.sent == 4
                assert copy.recv(10) == b"four"
                assert copy.getpeername() == client.getsockname()
        left, right = socket.socketpair()
        with left, right, socket.socket(fileno=os.dup(left.fileno())) as plain:
            assert plain.family == left.family == socket.AF_UNIX


def test_urgent_data_is_data(instance: Emulated, host: AttachedHost) -> None:
    """MSG_OOB: in line at the peer, whoever that is, and no trouble for the instance."""
    client, ours = pair(instance, host)
    client.settimeout(PATIENCE)
    ours.sendall(b"before")
    for byte in b"one", b"x", b"y":
        assert ours.send(byte, socket.MSG_OOB) == len(byte)
    ours.sendall(b"after")
    ours.shutdown(socket.SHUT_WR)
    with client.makefile("rb") as file:
        assert file.read() == b"beforeonexyafter"
    ours.close()
    client.close()
    host.socket().close()


def test_linger_waits_for_the_peer(instance: Emulated, host: AttachedHost) -> None:
    """close() with SO_LINGER returns once all is acknowledged, or when its time is over."""
    for reads in (True, False):
        client, ours = pair(instance, host)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 2 * PATIENCE if reads else 1))
        if reads:
            ours.send(b"x")
        else:
            ours.setblocking(False)
            for _ in range(100):
                try:
                    ours.send(bytes(1 << 20))
                except BlockingIOError:
                    time.sleep(0.02)
        began = time.monotonic()
        ours.close()
        took = time.monotonic() - began
        assert took < PATIENCE if reads else 0.9 < took < PATIENCE, took
        client.close()


def test_a_call_that_was_interrupted_leaves_no_answer_behind(
    instance: Emulated, host: AttachedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """^C while an answer is awaited: it comes later, and is not the next call's."""

    def interrupted(end: socket.socket) -> tuple[bytes, list[int]]:
        raise KeyboardInterrupt

    with host.socket() as ours:
        before = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch:
            patch.setattr(channel, "receive_with_descriptors", interrupted)
            with pytest.raises(KeyboardInterrupt):
                host.socket()
        ours.bind(("", 0))
        assert ours.getsockname()[0] == "0.0.0.0"
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert len(os.listdir("/proc/self/fd")) == before
