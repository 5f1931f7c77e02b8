"""What one may do wrong with attached sockets: the errors are those of socket.socket, or say what to do."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable

import pytest
from attaching import client_of, pair
from emulated import ADDRESS4, Emulated

import netemu
from netemu.attached.host import AttachedHost
from netemu.attached.socket import AttachedSocket

pytestmark = pytest.mark.e2e

CALLS: dict[str, Callable[[AttachedSocket], object]] = {
    "bind": lambda s: s.bind(("", 1)),
    "listen": lambda s: s.listen(),
    "accept": lambda s: s.accept(),
    "connect": lambda s: s.connect((ADDRESS4, 1)),
    "send": lambda s: s.send(b"x"),
    "sendall": lambda s: s.sendall(b"x"),
    "sendto": lambda s: s.sendto(b"x", (ADDRESS4, 9)),
    "sendmsg": lambda s: s.sendmsg([b"x"]),
    "recv": lambda s: s.recv(1),
    "recv_into": lambda s: s.recv_into(bytearray(1)),
    "recvfrom": lambda s: s.recvfrom(1),
    "recvmsg": lambda s: s.recvmsg(1),
    "recvmsg_into": lambda s: s.recvmsg_into([bytearray(1)]),
    "getsockname": lambda s: s.getsockname(),
    "getpeername": lambda s: s.getpeername(),
    "getsockopt": lambda s: s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE),
    "setsockopt": lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
    "shutdown": lambda s: s.shutdown(socket.SHUT_RDWR),
    "dup": lambda s: s.dup(),
}
WRONG: dict[str, tuple[type[Exception], Callable[[AttachedSocket], object]]] = {
    "bind to a word": (TypeError, lambda s: s.bind("x")),
    "bind to half an address": (TypeError, lambda s: s.bind(("",))),
    "bind to a port in words": (TypeError, lambda s: s.bind(("", "80"))),
    "bind to port 70000": (OverflowError, lambda s: s.bind(("", 70000))),
    "connect to nothing": (TypeError, lambda s: s.connect(None)),
    "listen to words": (TypeError, lambda s: s.listen("a")),  # type: ignore[arg-type]  # that is the point
    "a backlog that C cannot hold": (OverflowError, lambda s: s.listen(1 << 40)),
    "an option by name": (TypeError, lambda s: s.setsockopt("SO_TYPE", 3, 1)),  # type: ignore[arg-type]  # as above
    "sendto without an address": (TypeError, lambda s: s.sendto(b"x")),
}


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
@pytest.mark.parametrize("call", CALLS)
def test_a_closed_socket_is_a_bad_descriptor(host: AttachedHost, kind: int, call: str) -> None:
    closed = host.socket(socket.AF_INET, kind)
    closed.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        CALLS[call](closed)
    assert " closed " in repr(closed)


@pytest.mark.parametrize("what", WRONG)
def test_wrong_types_raise_as_they_do_with_any_socket(host: AttachedHost, what: str) -> None:
    expected, call = WRONG[what]
    with host.socket() as ours, pytest.raises(expected):
        call(ours)


@pytest.mark.parametrize(
    ("family", "kind", "proto", "number"),
    [
        (socket.AF_UNIX, socket.SOCK_STREAM, 0, errno.EAFNOSUPPORT),
        (socket.AF_INET, socket.SOCK_RAW, 0, errno.ESOCKTNOSUPPORT),
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP, errno.EPROTONOSUPPORT),
        (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_TCP, errno.EPROTONOSUPPORT),
    ],
)
def test_kinds_that_the_host_has_not(host: AttachedHost, family: int, kind: int, proto: int, number: int) -> None:
    with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
        host.socket(family, kind, proto)


@pytest.mark.parametrize("app", ["", "two words", "x" * 33])
def test_an_app_is_one_word(instance: Emulated, app: str) -> None:
    with pytest.raises(OSError, match="give one word"):
        netemu.attach(app, name=instance.name)
    with pytest.raises(TypeError, match="app must be a str"):
        netemu.attach(5, name=instance.name)  # type: ignore[arg-type]  # that is the point


def test_a_host_that_was_closed_is_not_taken_for_one_that_ended(instance: Emulated) -> None:
    with netemu.attach("brief", name=instance.name) as host:
        kept = host.create_server((ADDRESS4, 0))
    with pytest.raises(OSError, match="closed here"):
        host.socket()
    client_of(instance, kept.getsockname()[1]).close()
    kept.close()


def test_what_is_forgotten_is_closed(host: AttachedHost) -> None:
    with pytest.warns(ResourceWarning, match="unclosed <netemu socket s"):
        host.create_server((ADDRESS4, 9101))
    host.create_server((ADDRESS4, 9101)).close()


def test_a_descriptor_that_is_none(host: AttachedHost) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        host.fromfd(99999)


def test_a_file_is_sent_over_a_connection_alone(instance: Emulated, host: AttachedHost) -> None:
    client, ours = pair(instance, host)
    with open(__file__, "rb") as file, host.socket() as fresh, client, ours:
        with pytest.raises(OSError, match="not connected"):
            fresh.sendfile(file)
        assert ours.sendfile(file, 0, 100) == 100
        assert len(client.recv(100, socket.MSG_WAITALL)) == 100


def test_scattered_datagrams(instance: Emulated, host: AttachedHost) -> None:
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind((ADDRESS4, 0))
        ours.sendto(b"to myself", ours.getsockname())
        first, second = bytearray(3), bytearray(20)
        assert ours.recvmsg_into([first, second])[0] == 9
        assert (bytes(first), bytes(second[:6])) == (b"to ", b"myself")


def test_patched_within_patched(host: AttachedHost) -> None:
    real = socket.socket

    def fail() -> None:
        with host.patched(), host.patched(), socket.socket() as ours:
            assert isinstance(ours, AttachedSocket)
            assert isinstance(ours, socket.socket)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert socket.socket is real


def test_an_instance_that_is_stopped_is_told_of(instance: Emulated) -> None:
    os.kill(instance.pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError, match="the instance does not answer within 5 s"):
            netemu.attach("patient", name=instance.name)
    finally:
        os.kill(instance.pid, signal.SIGCONT)
    netemu.attach("patient", name=instance.name).close()
