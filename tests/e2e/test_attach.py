"""Sockets of the emulated host in other processes (netemu.attach), with real clients at the other end."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from emulated import ADDRESS4, Emulated, emulated, inside
from netns import Namespace

import netemu
from netemu.attached.host import AttachedHost

pytestmark = pytest.mark.e2e

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def instance() -> Iterator[Emulated]:
    namespace = Namespace()
    try:
        with emulated(namespace, "--no-apps") as instance:
            yield instance
    finally:
        namespace.close()


@pytest.fixture
def host(instance: Emulated) -> Iterator[AttachedHost]:
    host = netemu.attach(app="app", name=instance.name)
    yield host
    host.close()


def client_of(instance: Emulated, port: int) -> socket.socket:
    """A kernel socket, connected to the host."""
    return inside(instance.namespace, lambda: socket.create_connection((ADDRESS4, port), timeout=10))


def pair(instance: Emulated, host: AttachedHost) -> tuple[socket.socket, socket.socket]:
    """(a kernel client, the app's end of the connection)."""
    with host.create_server((ADDRESS4, 0)) as server:
        client = client_of(instance, server.getsockname()[1])
        ours, peer = server.accept()
        assert peer == client.getsockname() == ours.getpeername()
        assert ours.getsockname() == client.getpeername()
        ours.settimeout(10)
        return client, ours


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
