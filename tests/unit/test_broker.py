"""The broker beside a host in this very process, step by step: what depends on who comes first."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netemu.runtime.broker.broker import Broker
from netemu.runtime.broker.protocol import VERSION, Accepted
from netemu.runtime.broker.session import Session
from netemu.runtime.broker.stream import StreamAnchor
from netemu.runtime.engine import Engine
from netemu.stack.host import Host
from netemu.tcp.connection import Connection
from netemu.wire.packet import Packet

Name = tuple[str, int]


class NoDevice:
    """Nothing leaves this host."""

    def write(self, packet: Packet) -> bool:
        return True


class Bench:
    """A session by hand, and the time."""

    def __init__(self, directory: Path) -> None:
        self.host = Host(["198.18.0.2/24"], seed=1)
        self.engine = Engine(self.host, NoDevice())
        self.broker = Broker(self.host, self.engine, "bench", directory)
        self.session = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.session.connect(os.fspath(self.broker.path))
        self.now = 0
        self.ask("hello", VERSION, "app")

    def turn(self, times: int = 3) -> None:
        """What the loop does, until nothing is left to do."""
        for _ in range(times):
            self.now += 1_000_000
            self.engine.now = self.host.now = self.now
            self.broker.serve()
            self.engine.turn(self.now)

    def ask(self, operation: str, *arguments: object) -> tuple[int, list[object], socket.socket | None]:
        """(errno, result, the descriptor that came with it)."""
        self.session.send(msgspec.msgpack.encode([1, operation, *arguments]))
        self.turn()
        answer, descriptors, _, _ = socket.recv_fds(self.session, 1 << 16, 1)
        _, code, _, result = msgspec.msgpack.decode(answer)
        return code, result, socket.socket(fileno=descriptors[0]) if descriptors else None

    def make(self) -> tuple[int, socket.socket]:
        code, result, descriptor = self.ask("socket", socket.AF_INET, socket.SOCK_STREAM)
        assert code == 0
        assert descriptor is not None
        assert isinstance(result[0], int)
        return result[0], descriptor

    def listener(self, port: int) -> tuple[int, socket.socket]:
        number, fresh = self.make()
        assert self.ask("bind", number, "198.18.0.2", port)[0] == 0
        assert self.ask("listen", number, 8)[0] == 0
        return number, fresh

    def pair(self, port: int = 80) -> tuple[socket.socket, socket.socket]:
        """The descriptors of both ends of a connection."""
        _, listener = self.listener(port)
        client, _ = self.connect(port)
        server, _ = self.accept(listener)
        listener.close()
        self.turn()
        return client, server

    def connect(self, port: int) -> tuple[socket.socket, int]:
        number, fresh = self.make()
        code, _, descriptor = self.ask("connect", number, "198.18.0.2", port)
        fresh.close()
        assert (code, descriptor is not None) == (0, True)
        assert descriptor is not None
        self.turn()
        return descriptor, number

    def accept(self, listener: socket.socket) -> tuple[socket.socket, Accepted]:
        self.turn()
        message, (descriptor,), _, _ = socket.recv_fds(listener, 1000, 1)
        self.turn()
        return socket.socket(fileno=descriptor), msgspec.msgpack.decode(message, type=Accepted)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.broker.stop()
    bench.session.close()
    assert bench.host.faults == []


def fill(bench: Bench, writer: socket.socket) -> int:
    """Write until the whole way is full; the number of bytes."""
    writer.setblocking(False)
    sent = 0
    for _ in range(200):
        try:
            sent += writer.send(bytes(1 << 16))
        except BlockingIOError:
            bench.turn()
            if not select.select([], [writer], [], 0)[1]:
                break
    return sent


def test_closed_with_data_that_the_descriptor_had_no_room_for(bench: Bench) -> None:
    """The app has read all that its descriptor held, but not all that the connection had received: that is unread data."""
    client, server = bench.pair()
    (serving,) = (c for c in bench.host.table.connections.values() if c.flow[-2:] == (80).to_bytes(2, "big"))
    assert isinstance(serving, Connection)
    while not serving.received_bytes:
        client.sendall(bytes(1 << 14))
        bench.turn()
    server.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            server.recv(1 << 20)
    server.close()  # before the broker has put the rest into it
    bench.turn(6)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET


def test_data_that_comes_after_shut_rd_is_dropped(bench: Bench) -> None:
    """As the kernel does: acknowledged, and thrown away."""
    client, server = bench.pair()
    server.shutdown(socket.SHUT_RD)
    for _ in range(40):
        client.sendall(bytes(1 << 16))
        bench.turn()
    server.sendall(b"still writing")
    bench.turn()
    assert client.recv(99) == b"still writing"


def test_accepted_and_listener_closed_at_once(bench: Bench) -> None:
    _, listener = bench.listener(80)
    client, _ = bench.connect(80)
    other, _ = bench.connect(80)
    bench.turn()
    _, (descriptor,), _, _ = socket.recv_fds(listener, 1000, 1)
    listener.close()  # before the broker knows that the first was taken
    server = socket.socket(fileno=descriptor)
    bench.turn()
    server.sendall(b"alive")
    bench.turn()
    assert client.recv(9) == b"alive"
    with pytest.raises(ConnectionResetError):
        other.recv(9)


def test_all_that_was_written_arrives_after_close(bench: Bench) -> None:
    client, server = bench.pair()
    sent = fill(bench, client)
    client.close()
    got = 0
    server.setblocking(False)
    for _ in range(1000):
        bench.turn()
        try:
            data = server.recv(1 << 20)
        except BlockingIOError:
            continue
        if not data:
            break
        got += len(data)
    assert got == sent
    bench.turn()
    server.close()
    bench.turn()
    assert not bench.broker.anchors


def test_the_last_bytes_before_a_reset_are_read_first(bench: Bench) -> None:
    client, server = bench.pair()
    client.sendall(b"last words")
    bench.turn()
    server.sendall(b"never read")
    bench.turn()
    client.close()
    bench.turn()
    assert server.recv(99) == b"last words"
    with pytest.raises(ConnectionResetError):
        server.recv(99)


def test_nothing_is_left_of_many_connections(bench: Bench) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        client, server = bench.pair()
        client.sendall(b"x")
        bench.turn()
        server.close()
        client.close()
        bench.turn()
    assert not bench.broker.anchors
    assert len(bench.broker._watched) == 2  # the listening socket and our session
    assert not bench.broker._per_app
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_port_is_free_as_soon_as_its_descriptor_is_closed(bench: Bench) -> None:
    """The close came before the request, so it counts before it, whatever the broker hears of first."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        made = [bench.ask("socket", socket.AF_INET, kind) for _ in range(4)]
        for _, result, descriptor in made:
            assert descriptor is not None
            assert bench.ask("bind", result[0], "198.18.0.2", 5000)[0] == 0
            if kind == socket.SOCK_STREAM:
                assert bench.ask("listen", result[0], 8)[0] == 0
            descriptor.close()


LEAVES = """
import netemu, sys
from pathlib import Path
from netemu.attached.host import attach_at
host = attach_at(Path(sys.argv[1]), "app")
connection = host.create_connection(("198.18.0.2", 80))
print("connected", flush=True)
input()
connection.sendall(b"goodbye")
if sys.argv[2] == "close":
    connection.close()
"""


@pytest.mark.parametrize("how", ["close", "exit"])
def test_a_process_that_closes_and_ends(bench: Bench, how: str) -> None:
    """By the time the broker looks the process is gone. It had closed in good order: no reset; or it had not: a reset."""
    _, listener = bench.listener(80)
    argv = [sys.executable, "-c", LEAVES, os.fspath(bench.broker.path), how]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not select.select([process.stdout], [], [], 0.001)[0]:
            bench.turn()
        assert process.stdout.readline() == "connected\n"
        server, _ = bench.accept(listener)
        process.communicate("\n", timeout=10)
    bench.turn(10)
    if how == "close":
        assert [server.recv(99), server.recv(99)] == [b"goodbye", b""]
    else:
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    server.close()
    listener.close()
    bench.turn()


def test_shut_both_is_heard_before_what_it_does(bench: Bench) -> None:
    """The announcement and the hang-up wait for the broker together: no reset, though data was unread."""
    _, listener = bench.listener(80)
    client, _ = bench.connect(80)
    server, accepted = bench.accept(listener)
    client.sendall(b"unread")
    bench.turn()
    bench.session.send(msgspec.msgpack.encode([0, "shutdown", accepted.id, socket.SHUT_RDWR]))
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    bench.broker.catch_up()
    bench.turn()
    assert client.recv(9) == b""
    client.close()
    listener.close()
    bench.turn()


@pytest.mark.parametrize("where", ["_from_app", "_to_app"])
def test_a_bug_of_ours_ends_one_socket_and_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    client, server = bench.pair(80)
    others = bench.pair(81)
    with monkeypatch.context() as patch:
        patch.setattr(StreamAnchor, where, lambda anchor: 1 // 0)
        client.sendall(b"x")
        bench.turn()
    assert bench.host.faults
    assert all("ZeroDivisionError" in fault for fault in bench.host.faults)
    bench.host.faults.clear()
    bench.turn()
    broken = client if where == "_from_app" else server
    assert broken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    others[0].sendall(b"y")
    bench.turn()
    assert others[1].recv(9) == b"y"
    for one in (client, server, *others):
        one.close()
    bench.turn()
    assert not bench.broker.anchors


def test_a_bug_of_ours_in_a_request_ends_one_session(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Session, "_serve", lambda *request: 1 // 0)
        bench.session.send(b"x")
        bench.turn()
    assert "ZeroDivisionError" in bench.host.faults.pop()
    assert bench.session.recv(9) == b""
    assert not bench.broker.sessions
