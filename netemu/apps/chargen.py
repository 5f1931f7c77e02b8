"""The character generator (RFC 864): an endless pattern, as fast as the peer takes it."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from netemu.apps.base import App, Clock, Transport
from netemu.apps.options import check_known
from netemu.apps.protocols import Responder, Stream

RING = bytes(range(0x20, 0x7F))
"""The 95 printing characters; each line is 72 of them and starts one further on than the line before (RFC 864)."""

PERIOD = b"".join((RING + RING)[first : first + 72] + b"\r\n" for first in range(len(RING)))
"""95 lines of 74 bytes, then the pattern starts again."""

BLOCK = PERIOD * 36
"""What is written at a time: whole periods, so that one object serves every write of every connection without a copy.
253 080 bytes, enough that the cost of a write() does not show beside that of the bytes."""

MAX_DATAGRAM = 512
"""RFC 864: a datagram carries between 0 and 512 characters."""


class ChargenStream(Stream):
    """The peer closes when it has had enough; what it sends is thrown away."""

    __slots__ = ("paused",)

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        self.resume_writing()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        """Fill the write buffer: write() calls pause_writing before it returns when that is full."""
        self.paused = False
        while not self.paused and not self.transport.is_closing():
            self.transport.write(BLOCK)


class ChargenDatagrams(Responder):
    __slots__ = ("random",)

    def __init__(self) -> None:
        self.random = Random(0)  # the lengths shall vary, and be the same in every run

    def reply(self, data: bytes) -> bytes:
        return PERIOD[: self.random.randint(0, MAX_DATAGRAM)]


class ChargenApp(App):
    kind = "chargen"
    port = 19
    summary = "sends a pattern of characters without end (RFC 864)"
    udp = True

    def __init__(self, options: Mapping[str, str], clock: Clock) -> None:
        super().__init__(options, clock)
        check_known(self.kind, options)

    def stream(self) -> ChargenStream:
        return ChargenStream()

    def datagram(self) -> ChargenDatagrams:
        return ChargenDatagrams()
