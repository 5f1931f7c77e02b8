"""The echo service (RFC 862): what comes in goes back."""

from __future__ import annotations

from collections.abc import Mapping

from netemu.apps.base import App, Clock
from netemu.apps.options import check_known
from netemu.apps.protocols import Responder, Stream
from netemu.wire.buffer import Buffer


class EchoStream(Stream):
    """Reads only while it may write, so a peer that sends and never reads fills its own window, not our memory.

    The peer's FIN comes after the last byte it covers; the transport then closes in good order, so everything still
    queued is echoed first.
    """

    __slots__ = ()

    def data_received(self, data: Buffer) -> None:
        self.transport.write(data)  # received bytes never change: no copy

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class EchoDatagrams(Responder):
    __slots__ = ()

    def reply(self, data: bytes) -> bytes:
        return data


class EchoApp(App):
    kind = "echo"
    port = 7
    summary = "sends back what it gets (RFC 862)"
    udp = True

    def __init__(self, options: Mapping[str, str], clock: Clock) -> None:
        super().__init__(options, clock)
        check_known(self.kind, options)

    def stream(self) -> EchoStream:
        return EchoStream()

    def datagram(self) -> EchoDatagrams:
        return EchoDatagrams()
