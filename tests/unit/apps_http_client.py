"""h11 as the client of the web server under test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import h11
from apps_transport import FakeClock, FakeTransport

from netemu.apps.http import HttpApp


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def replies(raw: bytes, methods: Iterable[str], closed: bool = True) -> list[Reply]:
    """Read the answers to requests with these methods; there must be nothing behind the last one."""
    conn = h11.Connection(h11.CLIENT)
    conn.receive_data(raw)
    if closed:
        conn.receive_data(b"")
    found = []
    for method in methods:
        conn.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        conn.send(h11.EndOfMessage())
        body = bytearray()
        head = None
        while True:
            event = conn.next_event()
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                assert isinstance(event, h11.InformationalResponse), event
        assert head is not None
        fields = {name.decode(): value.decode() for name, value in head.headers}
        found.append(Reply(head.status_code, fields, bytes(body)))
        if conn.our_state is h11.DONE and conn.their_state is h11.DONE:
            conn.start_next_cycle()
    assert not conn.trailing_data[0]
    return found


class Web:
    """A web server and connections to it."""

    def __init__(self, **options: str) -> None:
        self.clock = FakeClock()
        self.app = HttpApp(options, self.clock)

    def connect(self, high: int = 65536) -> FakeTransport:
        return FakeTransport(self.app.stream(), high)

    def raw(self, data: bytes) -> bytes:
        """All that comes back for these bytes, sent at once."""
        transport = self.connect()
        transport.feed(data)
        return transport.take_all()

    def ask(self, target: str, method: str = "GET", body: bytes | None = None, /, **headers: str) -> Reply:
        """One request on a connection of its own; if_match="x" becomes If-Match: x."""
        fields = {"host": "x", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None:
            fields["content-length"] = str(len(body))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        (reply,) = replies(self.raw(head.encode() + b"\r\n" + (body or b"")), [method])
        return reply
