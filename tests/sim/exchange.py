"""Two applications that send each other a stream over one connection, in virtual time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from netemu.sim.hosts import SimHost
from netemu.sim.simulation import Simulation
from netemu.stack import constants as so
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.streams import Stream, serve_stream
from netemu.tcp.connection import Connection
from netemu.wire.buffer import Buffer

PORT = 80
PIECE = 16384


@dataclass
class Outcome:
    """What one side has seen."""

    received: int = 0
    digest: Any = field(default_factory=sha256)
    at_end: bool = False
    error: OSError | None = None

    def take(self, data: Buffer) -> None:
        self.received += len(data)
        self.digest.update(data)

    def is_all_of(self, data: bytes) -> bool:
        return self.at_end and self.received == len(data) and self.digest.digest() == sha256(data).digest()


class Server:
    """Sends ``data``, takes what comes, and closes when both are done."""

    def __init__(self, data: bytes, seen: Outcome) -> None:
        self._data, self._seen = data, seen
        self._at = 0
        self._paused = False

    def connection_made(self, transport: Stream, /) -> None:
        self._transport = transport
        self._write()

    def _write(self) -> None:
        while not self._paused and self._at < len(self._data):
            self._transport.write(self._data[self._at : self._at + PIECE])
            self._at += PIECE
        if not self._paused and self._at >= len(self._data):
            self._transport.write_eof()
            self._maybe_close()

    def _maybe_close(self) -> None:
        if self._seen.at_end and self._at >= len(self._data):
            self._transport.close()

    def data_received(self, data: Buffer, /) -> None:
        self._seen.take(data)

    def eof_received(self) -> bool | None:
        self._seen.at_end = True
        self._maybe_close()
        return True

    def connection_lost(self, error: OSError | None, /) -> None:
        self._seen.error = error

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write()


class Client:
    """The same with BSD calls: reads as it is told to, writes while there is room."""

    def __init__(self, socket: StreamSocket, data: bytes, seen: Outcome) -> None:
        self._socket, self._data, self._seen = socket, data, seen
        self._at = 0
        self._sent_all = False
        socket.on_event = self._on_event

    def connect(self, address: str) -> None:
        with suppress(BlockingIOError):
            self._socket.connect((address, PORT))

    def _on_event(self, socket: Socket, events: int) -> None:
        try:
            self._read()
            self._write()
        except OSError as error:
            self._seen.error = error
            self._socket.on_event = None
        if self._sent_all and self._seen.at_end and self._socket.on_event is not None:
            self._socket.on_event = None
            self._socket.close()

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while not self._seen.at_end:
                data = self._socket.recv(PIECE)
                if data:
                    self._seen.take(data)
                else:
                    self._seen.at_end = True

    def _write(self) -> None:
        with suppress(BlockingIOError):
            while self._at < len(self._data):
                self._at += self._socket.send(self._data[self._at : self._at + PIECE])
            if not self._sent_all:
                self._sent_all = True
                self._socket.shutdown(so.SHUT_WR)


def exchange(
    sim: Simulation,
    client: SimHost,
    server: SimHost,
    address: str,
    up: bytes,
    down: bytes,
    *,
    rcvbuf: int = 0,
    limit_s: int = 3600,
) -> tuple[Outcome, Outcome]:
    """Run one connection from ``client`` to ``server`` until both sides have seen the end: what each of them received."""
    seen_by_client, seen_by_server = Outcome(), Outcome()
    family = so.AF_INET6 if ":" in address else so.AF_INET
    listening = serve_stream(server.host, lambda: Server(down, seen_by_server), PORT, app="server")
    socket = client.host.socket(family, so.SOCK_STREAM, app="client")
    assert isinstance(socket, StreamSocket)
    if rcvbuf:
        listening.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, rcvbuf)
        socket.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, rcvbuf)
    Client(socket, up, seen_by_client).connect(address)
    client.touch()
    server.touch()

    def done() -> bool:
        return (seen_by_client.at_end and seen_by_server.at_end) or bool(seen_by_client.error or seen_by_server.error)

    sim.run(done, for_=f"{limit_s}s")
    return seen_by_client, seen_by_server


def connections_of(host: SimHost) -> list[Connection]:
    """Those that are not in TIME-WAIT."""
    return [c for c in host.host.table.connections.values() if isinstance(c, Connection)]
