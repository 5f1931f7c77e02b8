"""What every connection to a port of trouble has, and those that go wrong before any answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from netemu.apps.base import Transport
from netemu.apps.protocols import Stream
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.buffer import Buffer

if TYPE_CHECKING:
    from netemu.apps.trouble.app import TroubleApp
    from netemu.apps.trouble.table import Trouble

MS, SECOND = 1_000_000, 1_000_000_000
LOOK = 5 * MS
"""How often it is looked whether the peer has acknowledged everything."""
LINGER = 5 * SECOND
"""That a peer gets to close in its turn."""
LARGEST_HEAD = 64 << 10

_END_OF_HEAD = re.compile(rb"(?:\A|\n)\r?\n")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,18})[ \t]*\r?$")


class Troubled(Stream):
    """One connection. It never closes because its peer does: each trouble says itself when it ends."""

    __slots__ = ("app", "lost", "trouble")

    def __init__(self, app: TroubleApp, trouble: Trouble) -> None:
        self.app = app
        self.trouble = trouble
        self.lost = False

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        self.app.remember(self)

    def eof_received(self) -> bool | None:
        return True

    def connection_lost(self, error: OSError | None) -> None:
        self.lost = True
        self.app.forget(self)

    def later(self, delay_ns: int, call: Callable[[], None]) -> None:
        """``call`` then, unless the connection has ended."""
        self.app.clock.call_later(delay_ns, lambda: None if self.lost else call())

    def once_sent(self, call: Callable[[], None]) -> None:
        """``call`` when the peer has acknowledged all that was written."""
        if self.transport.get_write_buffer_size():
            self.later(LOOK, lambda: self.once_sent(call))
        else:
            call()

    @property
    def socket(self) -> StreamSocket:
        return cast(StreamSocket, self.transport.get_extra_info("socket"))


class OnRequest(Troubled):
    """Waits for a request: a head up to its empty line, and the body if it has a Content-Length. An empty line will do."""

    __slots__ = ("expected", "head", "requests")
    most = 1
    """Requests that are read; what comes after them is forgotten."""

    def __init__(self, app: TroubleApp, trouble: Trouble) -> None:
        super().__init__(app, trouble)
        self.head = b""
        self.expected = -1
        """Bytes of the request's body that are still to come; -1 while the head is not complete."""
        self.requests = 0

    def data_received(self, data: Buffer) -> None:
        rest = bytes(data)
        while rest and self.requests < self.most:
            rest = self._take(rest)

    def _take(self, data: bytes) -> bytes:
        """Take what belongs to the request that is being read; the rest belongs to the next one."""
        if self.expected < 0:
            self.head += data
            end = _END_OF_HEAD.search(self.head)
            if end is None:
                if len(self.head) > LARGEST_HEAD:
                    self.transport.abort()
                return b""
            length = _LENGTH.search(self.head, 0, end.end())
            self.expected = int(length[1]) if length else 0
            data = self.head[end.end() :]
        taken = min(self.expected, len(data))
        self.expected -= taken
        if not self.expected:
            self.head, self.expected = b"", -1
            self.requests += 1
            self.requested()
        return data[taken:]

    def eof_received(self) -> bool | None:
        if not self.requests:
            self.requests = 1
            self.requested()
        return True

    def requested(self) -> None:
        """There is a request: do what is done here."""


# -- the end comes too early ----------------------------------------------------------------------------------------------------


class ResetHandshake(Troubled):
    """RST once the handshake is done."""

    __slots__ = ()

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        transport.abort()


class ResetRequest(OnRequest):
    """RST in place of an answer."""

    __slots__ = ()

    def requested(self) -> None:
        self.transport.abort()


class EarlyFin(Troubled):
    """FIN once the handshake is done; what comes is read and forgotten, so that no RST disturbs it."""

    __slots__ = ()

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        transport.write_eof()

    def eof_received(self) -> bool | None:
        return None


# -- the receive window -------------------------------------------------------------------------------------------------------


class NeverReads(Troubled):
    """Its receive buffer fills up, and the window closes for good."""

    __slots__ = ()

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        transport.pause_reading()


class SlowReader(NeverReads):
    """Takes a byte each second out of the receive buffer."""

    __slots__ = ()

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        self.later(SECOND, self._read)

    def _read(self) -> None:
        try:
            if not self.socket.recv(1):
                self.transport.close()
                return
        except BlockingIOError:
            pass
        except OSError:
            return  # it was reset
        self.later(SECOND, self._read)
