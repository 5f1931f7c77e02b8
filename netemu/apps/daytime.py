"""The daytime service (RFC 867): one line that says what time it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from netemu.apps.base import App, Clock, Transport
from netemu.apps.options import check_known
from netemu.apps.protocols import Responder, Stream


def daytime(clock: Clock) -> bytes:
    """The first of the two popular forms of RFC 867, with -UTC where its example has -PST."""
    return datetime.fromtimestamp(clock.time(), UTC).strftime("%A, %B %d, %Y %H:%M:%S-UTC\r\n").encode("ascii")


class DaytimeStream(Stream):
    __slots__ = ("clock",)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        transport.write(daytime(self.clock))
        transport.close()


class DaytimeDatagrams(Responder):
    __slots__ = ("clock",)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def reply(self, data: bytes) -> bytes:
        return daytime(self.clock)


class DaytimeApp(App):
    kind = "daytime"
    port = 13
    summary = "says the date and the time (RFC 867)"
    udp = True

    def __init__(self, options: Mapping[str, str], clock: Clock) -> None:
        super().__init__(options, clock)
        check_known(self.kind, options)

    def stream(self) -> DaytimeStream:
        return DaytimeStream(self.clock)

    def datagram(self) -> DaytimeDatagrams:
        return DaytimeDatagrams(self.clock)
