"""The discard service (RFC 863): takes everything, answers nothing, counts."""

from __future__ import annotations

from collections.abc import Mapping

from netemu.apps.base import Address, App, Clock, DatagramTransport
from netemu.apps.options import check_known
from netemu.apps.protocols import Stream
from netemu.wire.buffer import Buffer


class DiscardStream(Stream):
    __slots__ = ("app",)

    def __init__(self, app: DiscardApp) -> None:
        self.app = app

    def data_received(self, data: Buffer) -> None:
        self.app.bytes += len(data)


class DiscardDatagrams:
    __slots__ = ("app",)

    def __init__(self, app: DiscardApp) -> None:
        self.app = app

    def connection_made(self, transport: DatagramTransport) -> None:
        pass

    def datagram_received(self, data: bytes, address: Address) -> None:
        self.app.datagrams += 1
        self.app.bytes += len(data)


class DiscardApp(App):
    kind = "discard"
    port = 9
    summary = "takes everything and answers nothing (RFC 863)"
    udp = True

    def __init__(self, options: Mapping[str, str], clock: Clock) -> None:
        super().__init__(options, clock)
        check_known(self.kind, options)
        self.bytes = 0
        """Thrown away so far, TCP and UDP together."""
        self.datagrams = 0

    def stream(self) -> DiscardStream:
        return DiscardStream(self)

    def datagram(self) -> DiscardDatagrams:
        return DiscardDatagrams(self)
