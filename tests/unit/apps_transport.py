"""A transport without a network, which holds both sides to the contract of netemu.apps.base."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

from netemu.apps.base import Address, StreamProtocol
from netemu.wire.buffer import Buffer

PEER = ("198.18.0.1", 40000)


class FakeClock:
    """Time that goes on when told."""

    def __init__(self, epoch: float = 1795354000.0) -> None:  # 2026-11-22 13:26:40 UTC
        self.epoch = epoch
        self.now = 0
        self.calls: list[tuple[int, int, Callable[[], None]]] = []
        self.serial = count()

    def time(self) -> float:
        return self.epoch + self.now / 1e9

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> None:
        heapq.heappush(self.calls, (self.now + delay_ns, next(self.serial), call))

    def advance(self, nanoseconds: int) -> None:
        end = self.now + nanoseconds
        while self.calls and self.calls[0][0] <= end:
            self.now, _, call = heapq.heappop(self.calls)
            call()
        self.now = end


class FakeTransport:
    """One connection between ``protocol`` and a peer that is the test.

    The peer's side: ``feed`` and ``feed_eof`` send, ``take`` reads. What the peer sends while reading is paused waits.
    With ``auto`` the peer reads everything at once.
    """

    def __init__(self, protocol: StreamProtocol, high: int = 65536, auto: bool = False) -> None:
        self.protocol = protocol
        self.high = high
        self.low = high // 4
        self.auto = auto
        self.queue: deque[Buffer] = deque()
        """Written and not yet taken by the peer."""
        self.size = 0
        self.peak = 0
        self.writing = True
        self.inbox: deque[Buffer | None] = deque()
        """Sent by the peer and not yet delivered; None is its FIN."""
        self.reading = True
        self.delivering = False
        self.eof_sent = False
        self.closing = False
        self.aborted = False
        self.lost = False
        self.output = bytearray()
        """All that the peer has read."""
        protocol.connection_made(self)

    # -- the app's side --------------------------------------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        assert isinstance(data, bytes | memoryview), f"cannot queue a {type(data).__name__}: somebody may change it"
        assert not self.eof_sent, "write after write_eof"
        assert not self.closing, "write after close"
        if len(data):
            self.queue.append(data)
            self.size += len(data)
            self.peak = max(self.peak, self.size)
        if self.size > self.high and self.writing:
            self.writing = False
            self.protocol.pause_writing()

    def write_eof(self) -> None:
        assert not self.closing
        self.eof_sent = True

    def close(self) -> None:
        self.closing = self.eof_sent = True

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.lose(ConnectionAbortedError())

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "was not paused"
        self.reading = True
        self.deliver()

    def get_write_buffer_size(self) -> int:
        return self.size

    def get_extra_info(self, name: str) -> object:
        return {"peername": PEER, "sockname": ("198.18.0.2", 80)}.get(name)

    # -- the peer's side -------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        self.inbox.append(memoryview(data))
        self.deliver()

    def feed_eof(self) -> None:
        self.inbox.append(None)
        self.deliver()

    def take(self, limit: int | None = None) -> bytes:
        """Read at most ``limit`` bytes, or all there are: what is written because room was made comes with the next call."""
        taken = bytearray()
        while self.queue and (limit is None or len(taken) < limit):
            part = memoryview(self.queue.popleft())
            room = len(part) if limit is None else limit - len(taken)
            taken += part[:room]
            if len(part) > room:
                self.queue.appendleft(part[room:])
        self.size -= len(taken)
        self.output += taken
        if not self.writing and self.size <= self.low:
            self.writing = True
            self.protocol.resume_writing()
        if self.closing and not self.queue:
            self.lose(None)
        return bytes(taken)

    def take_all(self) -> bytes:
        """Read until nothing more comes."""
        everything = bytearray()
        while taken := self.take():
            everything += taken
        return bytes(everything)

    def reset(self) -> None:
        """The peer's RST."""
        self.closing = True
        self.lose(ConnectionResetError())

    # -- within ----------------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        if self.delivering:
            return
        self.delivering = True
        while self.inbox and self.reading and not self.closing:
            data = self.inbox.popleft()
            if data is not None:
                self.protocol.data_received(data)
            elif not self.protocol.eof_received() and not self.closing:
                self.close()
            if self.auto:
                self.take_all()
        self.delivering = False

    def lose(self, error: OSError | None) -> None:
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(error)


class FakeDatagrams:
    """A UDP socket that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Address]] = []

    def sendto(self, data: Buffer, address: Address) -> None:
        self.sent.append((bytes(data), address))
