"""What can be wrong with an answer, or with how it ends. It is HTTP, so that curl shows it; for nc an empty line is a request."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from netemu.apps.base import Transport
from netemu.apps.trouble.connection import LINGER, MS, SECOND, OnRequest
from netemu.stack import constants as so

if TYPE_CHECKING:
    from netemu.apps.trouble.app import TroubleApp
    from netemu.apps.trouble.table import Trouble

SIZE = 32 << 10
"""Bytes of a body: some twenty segments, and more than a first flight of ten."""
SHORT = 320
CUT = 4096
"""Bytes of the body after which an answer ends that does not come to its end."""


def page(trouble: Trouble, size: int = SIZE) -> bytes:
    """A body of ``size`` bytes: what is wrong here, then numbered lines."""
    text = f"{trouble.name}: {trouble.does}.\nA good client {trouble.client}.\nTime: {trouble.time}.\n".encode()
    lines = (f"{number:06} of {trouble.name} ".ljust(63, ".").encode() for number in range(size // 64 + 1))
    return (text + b"\n".join(lines))[: size - 1] + b"\n"


def head(*fields: str, status: str = "200 OK") -> bytes:
    """An answer's head; it says that the connection ends with it unless ``fields`` say something else of that."""
    lines = [f"HTTP/1.1 {status}", "Server: netemu trouble", "Content-Type: text/plain", *fields]
    if not any(field.startswith("Connection:") for field in fields):
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode()


def of_length(size: int) -> str:
    return f"Content-Length: {size}"


class Answer(OnRequest):
    """A good answer, and a good end: what is wrong at these ports is what the packets go through."""

    __slots__ = ("finished",)
    size = SIZE

    def __init__(self, app: TroubleApp, trouble: Trouble) -> None:
        super().__init__(app, trouble)
        self.finished = False

    def requested(self) -> None:
        body = page(self.trouble, self.size)
        self.transport.write(head(of_length(len(body))) + body)
        self.finish()

    def finish(self) -> None:
        """FIN behind what was written; closed once the peer is done too, or after a while."""
        self.finished = True
        self.transport.write_eof()
        self.later(LINGER, self.transport.close)

    def eof_received(self) -> bool | None:
        super().eof_received()
        return not self.finished


class LateHandshake(Answer):
    """Handed out at its SYN; the SYN-ACK goes 5 s later."""

    __slots__ = ()

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        self.later(5 * SECOND, self._let_go)

    def _let_go(self) -> None:
        with suppress(OSError):  # the client has given up
            self.socket.setsockopt(so.SOL_NETEMU, so.HOLD_SYNACK, 0)


class LateAnswer(Answer):
    """Nothing for 5 s after the request."""

    __slots__ = ()

    def requested(self) -> None:
        self.later(5 * SECOND, super().requested)


class HeadFirst(Answer):
    """The head in a segment of its own."""

    __slots__ = ()

    def requested(self) -> None:
        self.transport.write(head(of_length(self.size)))
        self.once_sent(self._send_body)

    def _send_body(self) -> None:
        self.transport.write(page(self.trouble, self.size))
        self.finish()


class Digested(Answer):
    """With a field that tells whether the body is what it was."""

    __slots__ = ()

    def requested(self) -> None:
        body = page(self.trouble, self.size)
        digest = b64encode(sha256(body).digest()).decode()
        self.transport.write(head(of_length(self.size), f"Repr-Digest: sha-256=:{digest}:") + body)
        self.finish()


class ReadsLate(Answer):
    """Reads nothing for 3 s."""

    __slots__ = ()

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        transport.pause_reading()
        self.later(3 * SECOND, transport.resume_reading)


# -- in pieces ------------------------------------------------------------------------------------------------------------------


class Pieces(Answer):
    """Its answer goes out a piece at a time."""

    __slots__ = ()
    size = SHORT
    piece, pause = 1, MS

    def requested(self) -> None:
        self.send(self.answer())

    def answer(self) -> bytes:
        body = page(self.trouble, self.size)
        return head(of_length(len(body))) + body

    def send(self, rest: bytes) -> None:
        self.transport.write(rest[: self.piece])
        if len(rest) > self.piece:
            self.later(self.pause, lambda: self.send(rest[self.piece :]))
        else:
            self.finish()


class SlowHead(Pieces):
    """A byte each second, from the status line on."""

    __slots__ = ()
    pause = SECOND


class Drip(Pieces):
    """The head at once, then a byte of the body each second."""

    __slots__ = ()
    pause = SECOND

    def requested(self) -> None:
        body = page(self.trouble, self.size)
        self.transport.write(head(of_length(len(body))))
        self.send(body)


class Endless(Answer):
    """64 KiB ten times a second, without end."""

    __slots__ = ("writing",)
    block, pause = 64 << 10, 100 * MS

    def requested(self) -> None:
        self.writing = True
        self.transport.write(self.beginning())
        self._go_on()

    def beginning(self) -> bytes:
        return head()

    def more(self) -> bytes:
        return page(self.trouble, self.block)

    def _go_on(self) -> None:
        if self.writing:  # else the buffer is full
            self.transport.write(self.more())
        self.later(self.pause, self._go_on)

    def pause_writing(self) -> None:
        self.writing = False

    def resume_writing(self) -> None:
        self.writing = True


class EndlessHead(Endless):
    """16 KiB of header fields ten times a second, without end."""

    __slots__ = ()

    def beginning(self) -> bytes:
        return head()[:-2]

    def more(self) -> bytes:
        return (b"X-Trouble: " + b"." * 51 + b"\r\n") * 256


# -- the wrong answer --------------------------------------------------------------------------------------------------------


class Cut(Answer):
    """Half of what Content-Length promises, then the end."""

    __slots__ = ()

    def requested(self) -> None:
        self.transport.write(head(of_length(2 * CUT)) + page(self.trouble, CUT))
        self.once_sent(self.end)

    def end(self) -> None:
        self.finish()


class ResetBytes(Cut):
    """Half, then a RST."""

    __slots__ = ()

    def end(self) -> None:
        self.transport.abort()


class Stall(Cut):
    """Half, then nothing; its kernel goes on answering."""

    __slots__ = ()

    def end(self) -> None:
        pass


class CutChunk(Answer):
    """A chunk that is shorter than it says, and no last chunk."""

    __slots__ = ()

    def requested(self) -> None:
        self.transport.write(head("Transfer-Encoding: chunked") + b"%x\r\n" % (2 * CUT) + page(self.trouble, CUT))
        self.finish()


class Garbage(Answer):
    """256 bytes that are no HTTP."""

    __slots__ = ()

    def requested(self) -> None:
        self.transport.write(bytes(range(255, -1, -1)))
        self.finish()


class Redirect(Answer):
    """Leads to itself."""

    __slots__ = ()

    def requested(self) -> None:
        body = page(self.trouble, SHORT)
        self.transport.write(head(of_length(len(body)), "Location: /again", status="302 Found") + body)
        self.finish()


# -- how it ends -----------------------------------------------------------------------------------------------------------------


class UntilEnd(Answer):
    """A whole answer of which only the end of the connection says that it is whole."""

    __slots__ = ()

    def requested(self) -> None:
        self.transport.write(head() + page(self.trouble, self.size))
        self.once_sent(self.end)

    def end(self) -> None:
        self.finish()


class ResetForFin(UntilEnd):
    """RST where the FIN should be."""

    __slots__ = ()

    def end(self) -> None:
        self.transport.abort()


class NeverCloses(UntilEnd):
    """No FIN, not even after the peer's."""

    __slots__ = ()

    def end(self) -> None:
        pass


class HalfClose(UntilEnd):
    """FIN behind the answer; it goes on reading for as long as the peer goes on."""

    __slots__ = ()

    def finish(self) -> None:
        self.finished = True
        self.transport.write_eof()


class Stale(OnRequest):
    """A connection that may be used again, says the answer; the next request meets a RST."""

    __slots__ = ()
    most = 2

    def requested(self) -> None:
        if self.requests > 1:
            self.transport.abort()
            return
        body = page(self.trouble, SHORT)
        self.transport.write(head(of_length(len(body)), "Connection: keep-alive") + body)

    def eof_received(self) -> bool | None:
        super().eof_received()
        return None
