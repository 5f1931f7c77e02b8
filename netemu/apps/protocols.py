"""The plainest protocol objects, for apps to build on."""

from __future__ import annotations

from netemu.apps.base import Address, DatagramTransport, Transport
from netemu.wire.buffer import Buffer

LOOP_PORTS = frozenset({0, 7, 13, 17, 19, 37})
"""Source ports that get no answer: reserved, echo, daytime, quote of the day, chargen, time.

Each of these services answers whatever it is sent, so two of them would talk for ever after one forged datagram
(CERT advisory CA-1996-01); inetd has the same rule.
"""


class Stream:
    """One TCP connection of an app that listens to nothing; when the peer is done, so are we."""

    __slots__ = ("transport",)
    transport: Transport

    def connection_made(self, transport: Transport) -> None:
        self.transport = transport

    def data_received(self, data: Buffer) -> None:
        pass

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, error: OSError | None) -> None:
        pass

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


class Responder:
    """A UDP socket that answers each datagram with one."""

    __slots__ = ("transport",)
    transport: DatagramTransport

    def connection_made(self, transport: DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Address) -> None:
        if address[1] not in LOOP_PORTS:
            self.transport.sendto(self.reply(data), address)

    def reply(self, data: bytes) -> bytes:
        raise NotImplementedError
