"""Apps on a host's sockets: what the transport promises them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netemu.sim.hosts import SimHost
from netemu.sim.simulation import Simulation
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.streams import Stream, serve_stream
from netemu.wire.buffer import Buffer


class Recorder:
    """A protocol that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.data = b""
        self.keep_open = False
        self.on_data: Callable[[Stream], None] = lambda _: None

    def connection_made(self, transport: Stream) -> None:
        self.transport = transport
        self.told.append("made")

    def data_received(self, data: Buffer) -> None:
        assert data, "empty data looks like an end"
        self.data += data
        self.on_data(self.transport)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.keep_open

    def connection_lost(self, error: OSError | None) -> None:
        self.told.append(f"lost {error.errno if error else None}")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class World:
    """A client socket on one host, a Recorder behind port 80 of another."""

    def __init__(self) -> None:
        self.sim = Simulation(1)
        self.near, self.far = self.sim.host("10.0.0.1"), self.sim.host("10.0.0.2")
        self.sim.link(self.near, self.far, delay="1ms")
        self.app = Recorder()
        serve_stream(self.far.host, lambda: self.app, 80, app="web")
        client = self.near.host.socket(app="client")
        assert isinstance(client, StreamSocket)
        self.client = client
        with pytest.raises(BlockingIOError):
            client.connect(("10.0.0.2", 80))
        self.go()

    def go(self, ms: int = 100) -> None:
        for host in (self.near, self.far):
            host.touch()
        self.sim.run(for_=f"{ms}ms")

    def reads(self) -> bytes:
        got = b""
        while True:
            try:
                piece = self.client.recv(1 << 20)
            except BlockingIOError:
                return got
            if not piece:
                return got
            got += piece


@pytest.fixture
def world() -> World:
    return World()


def faults(*hosts: SimHost) -> list[str]:
    return [fault for host in hosts for fault in host.host.faults]


def test_data_then_eof_then_lost(world: World) -> None:
    world.client.send(b"hello")
    world.client.shutdown(1)
    world.go()
    assert world.app.data == b"hello"
    assert world.app.told == ["made", "eof", "lost None"]
    assert faults(world.near, world.far) == []


def test_an_app_may_go_on_writing_after_eof(world: World) -> None:
    world.app.keep_open = True
    world.client.shutdown(1)
    world.go()
    world.app.transport.write(b"still here")
    world.app.transport.close()
    world.go()
    assert world.reads() == b"still here"
    assert world.app.told == ["made", "eof", "lost None"]


def test_what_was_written_before_close_arrives(world: World) -> None:
    world.app.transport.write(b"x" * 300_000)
    world.app.transport.close()
    world.go(1)
    got = world.reads()
    for _ in range(50):
        world.go(50)
        got += world.reads()
    assert len(got) == 300_000


def test_pause_and_resume_follow_the_send_buffer(world: World) -> None:
    limit = world.far.host.config.sndbuf
    world.app.transport.write(bytes(limit))
    assert "pause" not in world.app.told
    world.app.transport.write(b"!")
    assert world.app.told[-1] == "pause"
    for _ in range(50):
        world.go(50)
        world.reads()
    assert world.app.told[-1] == "resume"


def test_a_dead_connection_pauses_a_writer(world: World) -> None:
    """An app that writes until it is told to pause must not spin on a connection that the peer has reset."""
    world.app.transport.write(bytes(world.far.host.config.sndbuf + 1))
    world.client.abort()
    world.go()
    assert "resume" not in world.app.told
    assert world.app.told[-1].startswith("lost")
    fresh = World()
    fresh.app.transport.close()
    fresh.app.transport.write(b"late")
    assert fresh.app.told[-1] == "pause"


def test_a_reader_that_pauses_closes_the_window_and_loses_nothing(world: World) -> None:
    world.app.transport.pause_reading()
    sent = 0
    for _ in range(200):
        try:
            sent += world.client.send(bytes(65536))
        except BlockingIOError:
            world.go(20)
    assert world.app.data == b""
    waiting = world.far.host.sockets()
    assert sum(row.recv_q for row in waiting if row.state == "ESTABLISHED") <= world.far.host.config.rcvbuf
    world.client.shutdown(1)
    world.app.transport.resume_reading()
    world.go(5000)
    assert len(world.app.data) == sent
    assert world.app.told[-2:] == ["eof", "lost None"]


def test_eof_waits_for_a_paused_reader_though_the_connection_is_over(world: World) -> None:
    """Nothing that was acknowledged is lost: both directions are closed, the data still waits for its reader."""
    world.app.keep_open = True
    world.app.transport.pause_reading()
    world.client.send(b"kept")
    world.app.transport.write_eof()
    world.go()
    world.client.shutdown(1)
    world.go()
    assert world.app.data == b""
    world.app.transport.resume_reading()
    world.go()
    assert world.app.data == b"kept"
    assert world.app.told == ["made", "eof", "lost None"]


def test_closing_with_unread_data_resets(world: World) -> None:
    world.app.transport.pause_reading()
    world.client.send(b"never read")
    world.go()
    world.app.transport.close()
    world.go()
    with pytest.raises(ConnectionResetError):
        world.client.recv(1)


def test_close_from_within_data_received(world: World) -> None:
    world.app.on_data = lambda transport: transport.close()
    world.client.send(b"bye")
    world.go()
    assert world.client.recv(10) == b""
    assert world.app.told == ["made", "lost None"]


def test_a_reset_is_told_with_its_errno(world: World) -> None:
    world.client.abort()
    world.go()
    assert world.app.told == ["made", "lost 104"]


def test_the_last_ack_is_still_the_sockets(world: World) -> None:
    """A capture names the socket of every packet, of the one that ends the connection too."""
    seen: list[str] = []
    world.far.engine.taps.append(lambda packet, wall, inbound, why: seen.append(why))
    world.client.shutdown(1)
    world.go()
    assert seen[-1] == "delivered to s2 of app web by CONNECTION"
