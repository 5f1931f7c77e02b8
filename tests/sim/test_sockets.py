"""Sockets that block in virtual time: every call, what ends it, and when."""

from __future__ import annotations

import errno
import socket as real
from collections.abc import Iterator
from typing import Any

import pytest

from netemu.sim.simulation import Simulation
from netemu.sim.sockets import SimSocket
from netemu.sim.waiting import Deadlock

SECOND = 10**9
DGRAM = real.SOCK_DGRAM


class World:
    """Two hosts with 10 ms between them, each way."""

    def __init__(self, words: str = "delay 10ms") -> None:
        self.sim = Simulation(1)
        self.a = self.sim.host("a", "10.0.0.1/24", "2001:db8::1/64")
        self.b = self.sim.host("b", "10.0.0.2/24", "2001:db8::2/64")
        self.link = self.sim.link(self.a, self.b, words)

    def listening(self, port: int = 80, family: int = real.AF_INET) -> SimSocket:
        listener = self.b.socket(family, app="server")
        listener.bind(("", port))
        listener.listen()
        return listener

    def pair(self) -> tuple[SimSocket, SimSocket]:
        """Both ends of a connection."""
        listener = self.listening()
        client = self.a.socket(app="client")
        client.connect(("10.0.0.2", 80))
        server, _ = listener.accept()
        return client, server

    @property
    def ms(self) -> float:
        return self.sim.now / 1e6


@pytest.fixture
def world() -> World:
    return World()


def test_connect_takes_a_round_trip_and_names_both_ends(world: World) -> None:
    listener = world.listening()
    client = world.a.socket()
    client.connect(("10.0.0.2", 80))
    assert world.ms == 20
    server, peer = listener.accept()
    assert world.ms == 30
    assert peer == server.getpeername() == client.getsockname()
    assert client.getpeername() == server.getsockname() == ("10.0.0.2", 80)


def test_addresses_of_ipv6_are_as_python_shows_them(world: World) -> None:
    listener = world.listening(family=real.AF_INET6)
    client = world.a.socket(real.AF_INET6)
    client.connect(("2001:db8::2", 80, 0, 0))
    _, peer = listener.accept()
    assert peer[0] == "2001:db8::1"
    assert peer[2:] == (0, 0)
    assert client.getpeername() == ("2001:db8::2", 80, 0, 0)


def test_hosts_have_names(world: World) -> None:
    world.listening()
    for name, family in (("b", real.AF_INET), ("10.0.0.2", real.AF_INET)):
        world.a.socket(family).connect((name, 80))
    with pytest.raises(real.gaierror, match="nobody"):
        world.a.socket().connect(("nobody", 80))
    with pytest.raises(ConnectionRefusedError):
        world.a.socket().connect(("localhost", 80))
    with pytest.raises(TypeError, match="tuple"):
        world.a.socket().connect("b:80")  # type: ignore[arg-type]  # which is the mistake


def test_nobody_listens(world: World) -> None:
    with pytest.raises(ConnectionRefusedError):
        world.a.socket().connect(("b", 81))
    assert world.a.socket().connect_ex(("b", 81)) == errno.ECONNREFUSED
    assert world.ms == 40


def test_connect_without_waiting(world: World) -> None:
    listener = world.listening()
    client = world.a.socket()
    client.setblocking(False)
    with pytest.raises(BlockingIOError) as told:
        client.connect(("b", 80))
    assert told.value.errno == errno.EINPROGRESS
    assert client.connect_ex(("b", 80)) == errno.EALREADY
    listener.accept()
    client.connect(("b", 80))
    with pytest.raises(OSError, match="EISCONN"):
        client.connect(("b", 80))


def test_a_timeout_is_of_virtual_time() -> None:
    world = World("delay 10ms loss 100%")
    client = world.a.socket()
    client.settimeout(2.5)
    with pytest.raises(TimeoutError, match="timed out"):
        client.connect(("b", 80))
    assert world.sim.now == 2_500_000_000
    client = world.a.socket()
    with pytest.raises(TimeoutError) as told:
        client.connect(("b", 80))
    assert told.value.errno == errno.ETIMEDOUT, "TCP's own"
    assert world.sim.now > 120 * SECOND


def test_a_timeout_that_did_not_come_takes_no_time(world: World) -> None:
    client, server = world.pair()
    client.settimeout(1000)
    server.send(b"x")
    assert client.recv(1) == b"x"
    world.sim.run()
    assert world.sim.now < 10 * SECOND


def test_data_both_ways_and_the_end(world: World) -> None:
    client, server = world.pair()
    client.sendall(b"hello")
    assert server.recv(3) == b"hel"
    assert server.recv(100) == b"lo"
    client.shutdown(real.SHUT_WR)
    assert server.recv(100) == b""
    server.sendall(b"bye")
    server.close()
    buffer = bytearray(10)
    assert client.recv_into(buffer) == 3
    assert buffer[:3] == b"bye"
    assert client.recvfrom(10) == (b"", None)


def test_sendall_waits_for_room(world: World) -> None:
    """More than both buffers hold: it returns when the reader has read."""
    client, server = world.pair()
    data = bytes(range(256)) * 40_000
    got = bytearray()

    def read() -> Iterator[Any]:
        yield "1s"
        while piece := (yield server.recv(65536)):
            got.extend(piece)

    world.sim.spawn(read)
    client.sendall(data)
    assert world.sim.now > SECOND
    client.close()
    world.sim.run()
    assert got == data


def test_the_timeout_of_sendall_is_for_the_whole(world: World) -> None:
    client, _ = world.pair()
    before = world.sim.now
    client.settimeout(3)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(50_000_000))
    assert world.sim.now - before == 3 * SECOND


def test_waitall_and_dontwait(world: World) -> None:
    client, server = world.pair()
    with pytest.raises(BlockingIOError):
        server.recv(1, real.MSG_DONTWAIT)
    client.send(b"abc")
    world.sim.at(world.sim.now + SECOND, client.raw.send, b"def")
    world.sim.at(world.sim.now + SECOND, world.a.touch)
    assert server.recv(6, real.MSG_WAITALL) == b"abcdef"
    assert world.sim.now > SECOND
    with pytest.raises(OSError, match="flags") as told:
        client.send(b"!", real.MSG_OOB)
    assert told.value.errno == errno.EOPNOTSUPP


def test_a_reset_has_its_errno(world: World) -> None:
    client, server = world.pair()
    client.setsockopt(real.SOL_SOCKET, real.SO_LINGER, 0)
    client.close()
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    with pytest.raises(BrokenPipeError):
        server.send(b"x")


def test_datagrams(world: World) -> None:
    server = world.b.socket(kind=DGRAM)
    server.bind(("", 53))
    client = world.a.socket(kind=DGRAM)
    assert client.sendto(b"question", ("b", 53)) == 8
    data, sender = server.recvfrom(4)
    assert (data, sender) == (b"ques", ("10.0.0.1", client.getsockname()[1]))
    client.connect(("b", 53))
    server.sendto(b"answer", 0, sender)
    assert client.recvmsg(100)[0] == b"answer"
    client.sendmsg([b"more", b" of it"])
    assert server.recv(100) == b"more of it"


def test_nobody_hears_a_datagram(world: World) -> None:
    client = world.a.socket(kind=DGRAM)
    client.connect(("b", 54))
    client.send(b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        client.recv(1)


def test_a_closed_socket(world: World) -> None:
    client, _ = world.pair()
    client.close()
    client.close()
    for call in (lambda: client.recv(1), lambda: client.send(b"x"), lambda: client.getsockname()):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()


def test_who_waits_on_a_socket_that_is_closed(world: World) -> None:
    listener = world.listening()
    world.sim.at("1s", listener.close)
    with pytest.raises(OSError, match="Bad file descriptor"):
        listener.accept()
    assert world.sim.now == SECOND


def test_options_and_owners(world: World) -> None:
    listener = world.listening()
    with pytest.raises(OSError, match="port 80 is held by s1 of app server"):
        world.b.socket().bind(("", 80))
    with pytest.raises(PermissionError):
        world.b.socket(uid=1000).bind(("", 81))
    assert listener.getsockopt(real.SOL_SOCKET, real.SO_ACCEPTCONN) == 1
    row, *_ = world.b.sockets()
    assert (row.app, row.state) == ("server", "LISTEN")


def test_nothing_is_left_to_happen(world: World) -> None:
    listener = world.listening()
    with pytest.raises(Deadlock) as told:
        listener.accept()
    assert str(told.value) == (
        "nothing is left to happen, and there wait main: accept on s1 of app server at b, LISTEN"
    )
    client = world.a.socket()
    client.connect(("b", 80))
    assert listener.accept()[1] == client.getsockname(), "a deadlock is an error like others: it can go on"


def test_things_that_never_end_to_happen() -> None:
    """A call that has no timeout is not waited for forever, though there is always something to do."""
    sim = Simulation(patience="1h")
    host = sim.host("10.0.0.1")

    def tick() -> None:
        sim.at(sim.now + 10 * SECOND, tick)

    tick()
    with pytest.raises(Deadlock, match="3600 s have passed"):
        host.socket(kind=DGRAM).recv(1)
    assert sim.run() is False


def test_a_file_for_who_reads_lines(world: World) -> None:
    client, server = world.pair()
    with client.makefile("rb") as lines:
        server.sendall(b"one\ntwo\n")
        assert lines.readline() == b"one\n"
        client.close()  # the file goes on with it, as socket.makefile has it
        assert lines.readline() == b"two\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        client.recv(1)


def test_a_file_to_write_to(world: World) -> None:
    client, server = world.pair()
    with server.makefile("w", encoding="utf-8") as text:
        text.write("three\n")
    server.close()
    assert client.recv(100) == b"three\n"


def test_http_client_of_the_standard_library(world: World) -> None:
    """What takes a socket takes one of these."""
    from http.client import HTTPConnection

    world.b.serve("web=http:80")
    connection = HTTPConnection("b")
    socket = world.a.socket()
    socket.connect(("b", 80))
    connection.sock = socket
    for _ in range(2):
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200
        assert b"<html" in answer.read().lower()
