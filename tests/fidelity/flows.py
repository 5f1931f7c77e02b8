"""Two hosts of netemu's own stack over a link, in virtual time: long TCP flows, and what their packets see of the queue."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from netemu.link.direction import Direction
from netemu.link.impairments import Impairments
from netemu.runtime.engine import Engine
from netemu.stack import constants as so
from netemu.stack.host import Host
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.streams import Stream, serve_stream
from netemu.wire import ipv4, udp
from netemu.wire.buffer import Buffer
from netemu.wire.ip import UDP, parse_address
from netemu.wire.packet import Packet

MS, SECOND = 1_000_000, 1_000_000_000
SENDER, RECEIVER = "192.0.2.1", "192.0.2.2"
PORT, PIECE = 80, bytes(1 << 16)


class Seen:
    """One packet that came through: when it was sent, how long it was under way (ns), its bytes, and was it TCP's?"""

    __slots__ = ("delay", "is_tcp", "sent", "size")

    def __init__(self, sent: int, delay: int, size: int, is_tcp: bool) -> None:
        self.sent, self.delay, self.size, self.is_tcp = sent, delay, size, is_tcp


class World:
    """A sender and a receiver with a link between them; ``seen`` is what came through towards the receiver."""

    def __init__(self, forth: Impairments, back: Impairments, seed: int) -> None:
        self.now = 0
        self.forth, self.back = Direction("forth", seed, forth), Direction("back", seed, back)
        self.seen: list[Seen] = []
        self.samples: list[float] = []
        """What ``sample`` said, each millisecond."""
        self._under_way: dict[int, tuple[Packet, int]] = {}
        self.sender = Engine(Host([SENDER], seed=seed + 1), _Into(self.forth, self))
        self.receiver = Engine(Host([RECEIVER], seed=seed + 2), _Into(self.back, self))
        self._due = {self.sender: 0, self.receiver: 0}

    def send(self, direction: Direction, packet: Packet) -> None:
        if direction is self.forth:
            self._under_way[id(packet)] = packet, self.now  # kept, so that its id stays its own
        direction.send(packet, self.now)

    def bulk(self) -> None:
        """Begin one more TCP flow from sender to receiver that has always something to send."""
        if not self.receiver.host.sockets():
            serve_stream(self.receiver.host, _Sink, PORT, app="sink").setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 4 << 20)
        socket = self.sender.host.socket(so.AF_INET, so.SOCK_STREAM, app="bulk")
        assert isinstance(socket, StreamSocket)
        socket.on_event = _fill
        with suppress(BlockingIOError):
            socket.connect((RECEIVER, PORT))
        self._due[self.sender] = self.sender.turn(self.now)

    def datagrams(self, size: int, every: int) -> None:
        """A sparse flow: a datagram of ``size`` bytes each ``every`` ns."""
        source, destination = parse_address(SENDER), parse_address(RECEIVER)
        body = udp.emit(source, destination, 9, 9, bytes(size - 28))
        data = ipv4.header(source, destination, UDP, len(body)) + body

        def again() -> None:
            self.send(self.forth, Packet(bytes(bytearray(data))))
            self.sender.call_later(every, again)

        self.sender.call_later(every, again)

    def run(self, seconds: float, sample: Callable[[], float] | None = None) -> None:
        """Go on for so long; ``sample`` is asked each millisecond."""
        end = self.now + int(seconds * SECOND)
        next_sample = self.now
        while True:
            self.now = min(self.forth.deadline, self.back.deadline, next_sample, *self._due.values())
            if self.now >= end:
                self.now = end
                return
            self._step()
            if self.now >= next_sample:
                next_sample += MS
                if sample is not None:
                    self.samples.append(sample())

    def _step(self) -> None:
        for direction, far in ((self.forth, self.receiver), (self.back, self.sender)):
            if direction.deadline <= self.now:
                packets = direction.take(self.now)
                if direction is self.forth:
                    packets = [packet for packet in packets if self._note(packet)]
                self._due[far] = far.turn(self.now, packets)
        for engine, due in self._due.items():
            if due <= self.now:
                self._due[engine] = engine.turn(self.now)

    def _note(self, packet: Packet) -> bool:
        """Is it for the host? Datagrams are only looked at."""
        _, sent = self._under_way.pop(id(packet))
        is_tcp = packet.head[9] != UDP
        self.seen.append(Seen(sent, self.now - sent, len(packet), is_tcp))
        return is_tcp


class _Into:
    """An engine's device: its packets go into a direction of the link."""

    def __init__(self, direction: Direction, world: World) -> None:
        self._direction, self._world = direction, world

    def write(self, packet: Packet) -> bool:
        self._world.send(self._direction, packet)
        return True


class _Sink:
    """Takes all that comes."""

    def connection_made(self, transport: Stream, /) -> None: ...
    def data_received(self, data: Buffer, /) -> None: ...
    def eof_received(self) -> bool | None: ...
    def connection_lost(self, error: OSError | None, /) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


def _fill(socket: Socket, events: int) -> None:
    assert isinstance(socket, StreamSocket)
    with suppress(BlockingIOError):
        while True:
            socket.send(PIECE)
