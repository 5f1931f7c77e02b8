"""One connection of the web server: h11 between the transport and the answers (RFC 9112)."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import h11

from netemu.apps.base import Clock, Transport
from netemu.apps.http_answer import Answer, answer, begin_upload, finish_upload, refusal
from netemu.apps.resources import Refused, Site, Upload
from netemu.wire.buffer import Buffer

PIECE = 256 * 1024
"""Bytes of a body read and written at a time."""

LINGER = 5_000_000_000
"""Nanoseconds that a peer who is still sending gets to read why we stopped listening."""


class HttpConnection:
    """Answers one request after the other, a piece at a time, as far as the write buffer has room.

    While it has none, nothing more is read: neither the body's next piece nor the peer's next request. So a connection
    holds one piece and what one data_received brought, whatever the peer asks for.
    """

    __slots__ = (
        "answer",
        "clock",
        "deaf",
        "eof",
        "head_only",
        "held",
        "http",
        "paused",
        "position",
        "site",
        "transport",
        "upload",
    )
    transport: Transport

    def __init__(self, site: Site, clock: Clock) -> None:
        self.site = site
        self.clock = clock
        self.http = h11.Connection(h11.SERVER)
        self.answer: Answer | None = None  # being sent,
        self.position = 0  # up to here so far
        self.head_only = False  # the request is a HEAD
        self.upload: Upload | None = None  # being received
        self.paused = False  # the write buffer is full,
        self.held = False  # so we asked for no more data
        self.eof = False  # the peer sent its FIN
        self.deaf = False  # there will be no further request: what still comes is thrown away

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport

    def data_received(self, data: Buffer) -> None:
        if not self.deaf:
            self.http.receive_data(cast(bytes, data))  # h11 copies it
            self._advance()

    def eof_received(self) -> bool | None:
        self.eof = True
        if self.deaf:
            return self.answer is not None
        self.http.receive_data(b"")
        self._advance()
        return True  # the transport is closed after the last answer

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._advance()

    def connection_lost(self, error: OSError | None) -> None:
        self.deaf = True
        self._drop()

    # -- one step after the other ----------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Go on until input or room in the write buffer runs out."""
        while not self.paused and self._step():
            pass
        if not self.eof and not self.transport.is_closing():
            self._hold(self.paused and not self.deaf)

    def _step(self) -> bool:
        """Send a piece of the answer, or take an event of the request; false when there is nothing to do."""
        if self.answer is not None:
            self._send_piece(self.answer)
            return True
        if self.deaf:
            return False
        try:
            return self._take(self.http.next_event())
        except (h11.RemoteProtocolError, Refused, OSError) as error:
            self._drop()
            self._respond(refusal(error))
            return True

    def _take(self, event: h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]) -> bool:
        """Deal with what h11 read; false when it needs more data."""
        if isinstance(event, h11.Data) and self.upload:
            self.upload.write(event.data)
        elif isinstance(event, h11.Request):
            self._begin(event)
        elif isinstance(event, h11.EndOfMessage) and self.upload:
            made = finish_upload(self.upload)
            self.upload = None
            self._respond(made)
        elif isinstance(event, h11.ConnectionClosed):
            self._hang_up()
        else:
            return False
        return True

    def _begin(self, request: h11.Request) -> None:
        """Answer a request, or make ready for its body."""
        self.head_only = request.method == b"HEAD"
        if request.method == b"PUT":
            self.upload = begin_upload(self.site, request)
            if self.http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[], reason="Continue")
                self.transport.write(self.http.send(go_on))
            return
        if not has_body(request):
            self.http.next_event()  # its EndOfMessage, at once
        self._respond(answer(self.site, request, self.clock.time()))

    def _respond(self, made: Answer) -> None:
        """Write the head. A request whose body is not read to its end is the last one (RFC 9112 section 9.3)."""
        headers = [("Date", formatdate(self.clock.time(), usegmt=True)), ("Server", "netemu"), *made.headers]
        if self.http.their_state in (h11.SEND_BODY, h11.ERROR):
            headers.append(("Connection", "close"))
            self.deaf = True
        status = made.status
        self.transport.write(
            self.http.send(h11.Response(status_code=status.value, reason=status.phrase, headers=headers))
        )
        self.answer, self.position = made, made.start
        if self.head_only or made.source is None:
            self.position = made.stop

    def _send_piece(self, made: Answer) -> None:
        """Write the next piece of the body; after the last one, turn to the next request."""
        if made.source is not None and self.position < made.stop:
            try:
                piece = made.source.read(self.position, min(PIECE, made.stop - self.position))
            except OSError:
                piece = b""
            if not piece:  # the file is shorter than we promised: only an abort tells the client so
                self.deaf = True
                self._drop()
                self.transport.abort()
                return
            self.position += len(piece)
            for part in self.http.send_with_data_passthrough(h11.Data(data=cast(bytes, piece))) or ():
                self.transport.write(part)  # the very same piece, not a copy
        if self.position >= made.stop:
            self._end_answer()

    def _end_answer(self) -> None:
        self._drop()
        self.http.send(h11.EndOfMessage())  # its bytes are none: every body has a Content-Length
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close, in two steps while the peer may still be sending: data that meets a closed socket is answered with a
        RST, and that would wipe out our answer before the peer has read it (RFC 9112 section 9.6)."""
        self.deaf = True
        self._hold(False)
        if self.eof or self.http.their_state not in (h11.SEND_BODY, h11.ERROR):
            self.transport.close()
        else:
            self.transport.write_eof()
            self.clock.call_later(LINGER, self._stop_lingering)

    def _stop_lingering(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _hold(self, hold: bool) -> None:
        """Ask the transport for no more data, or for more again."""
        if hold is not self.held:
            self.held = hold
            if hold:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _drop(self) -> None:
        """Let go of open files; an upload that is not complete leaves nothing behind."""
        made, self.answer = self.answer, None
        upload, self.upload = self.upload, None
        if made is not None and made.source is not None:
            made.source.close()
        if upload is not None:
            upload.drop()


def has_body(request: h11.Request) -> bool:
    """RFC 9112 section 6.3: a request has a body if one of two fields says so."""
    fields = dict(request.headers)
    return b"transfer-encoding" in fields or int(fields.get(b"content-length", b"0")) > 0
