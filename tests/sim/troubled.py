"""A host with all troubles, by port or by address, and a client beside it, in virtual time: what the client sees, and when."""

from __future__ import annotations

import errno
from contextlib import suppress

from netemu.apps.trouble.table import BASE, BY_NAME
from netemu.sim.simulation import Simulation
from netemu.stack import constants as so
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket

SECOND = 10**9
GET = b"GET / HTTP/1.1\r\nHost: trouble\r\n\r\n"
ADDRESSES = {4: ("198.18.0.1/24", "198.18.0.2/24"), 6: ("2001:2::1/64", "2001:2::2/64")}


PREFIXES = {4: "198.18.1.0/24", 6: "2001:2:0:1::/64"}


class Client:
    """One connection: sends ``request`` and reads until the end. Times are in seconds, None for what did not happen."""

    def __init__(self, world: World, address: str, port: int, request: bytes = GET) -> None:
        self._world, self._request = world, request
        self.began = world.sim.now
        self.connected: float | None = None
        self.first: float | None = None
        """When the first byte arrived,"""
        self.last: float | None = None
        """and the last."""
        self.data = bytearray()
        self.end: float | None = None
        self.error = ""
        """'ECONNRESET' …; empty after a FIN."""
        family = so.AF_INET if world.version == 4 else so.AF_INET6
        made = world.client.host.socket(family, so.SOCK_STREAM, app="client")
        assert isinstance(made, StreamSocket)
        self.socket = made
        self.socket.on_event = self._on_event
        with suppress(BlockingIOError):
            self.socket.connect((address, port))
        world.client.touch()

    @property
    def head(self) -> bytes:
        return bytes(self.data).partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return bytes(self.data).partition(b"\r\n\r\n")[2]

    @property
    def fin(self) -> bool:
        return self.end is not None and not self.error

    def again(self, request: bytes = GET) -> None:
        """Send another request on the same connection."""
        self._request = request
        self._write()
        self._world.client.touch()

    def close(self) -> None:
        self.socket.close()
        self._world.client.touch()

    def _now(self) -> float:
        return (self._world.sim.now - self.began) / SECOND

    def _on_event(self, socket: Socket, events: int) -> None:
        try:
            if self.connected is None and self.socket.state_name == "ESTABLISHED":
                self.connected = self._now()
            self._read()
            if self.end is None:
                self._write()
        except OSError as error:
            self.end, self.error = self._now(), errno.errorcode[error.errno or 0]

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while self.end is None:
                piece = self.socket.recv(1 << 16)
                if not piece:
                    self.end = self._now()
                    return
                self.first = self._now() if self.first is None else self.first
                self.last = self._now()
                self.data += piece

    def _write(self) -> None:
        with suppress(BlockingIOError):
            while self._request:
                self._request = self._request[self.socket.send(self._request) :]

    @property
    def unsent(self) -> int:
        """Bytes of the request that the other side has not acknowledged."""
        c = self.socket.connection
        return len(self._request) + (len(c.sendbuf) if c is not None else 0)


class World:
    """Two hosts, 1 ms apart."""

    def __init__(
        self, version: int = 4, offload: bool = True, by_address: bool = False, seed: int = 7, mtu: int = 1500
    ) -> None:
        """``by_address``: each trouble is met at port 80 of its own address, and a good server at that of the host's."""
        self.version = version
        self.by_address = by_address
        self.sim = Simulation(seed)
        own, theirs = ADDRESSES[version]
        self.client = self.sim.host(own, offload=offload, mtu=mtu)
        self.server = self.sim.host(theirs, offload=offload, mtu=mtu)
        self.sim.link(self.client, self.server, delay="1ms")
        self.seen: list[tuple[bool, bytes, str]] = []
        """What a capture at the server shows: (inbound?, packet, decision)."""
        self.server.engine.taps.append(lambda packet, _, inbound, why: self.seen.append((inbound, bytes(packet), why)))
        if by_address:
            self.server.serve("http:80")
        self.server.serve(f"trouble:{BASE + 1}" + f",addresses={PREFIXES[version]}" * by_address)
        self.sim.run(for_=0)

    def connect(self, name: str, request: bytes = GET) -> Client:
        return Client(self, *self.place(name), request)

    def place(self, name: str) -> tuple[str, int]:
        """Where a trouble is: address and port."""
        number = BY_NAME[name].number
        if self.by_address:
            return PREFIXES[self.version].split("0/" if self.version == 4 else "/")[0] + str(number), 80
        return self.own, BASE + number

    @property
    def own(self) -> str:
        """The server's own address."""
        return ADDRESSES[self.version][1].split("/")[0]

    def run(self, seconds: float) -> None:
        self.sim.run(for_=round(seconds * SECOND))

    def get(self, name: str, seconds: float = 20, request: bytes = GET) -> Client:
        """Connect, and see what has become of it after ``seconds``."""
        client = self.connect(name, request)
        self.run(seconds)
        return client
