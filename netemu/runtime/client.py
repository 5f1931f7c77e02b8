"""Talks to a running instance over its control socket.

h11 rather than http.client: it speaks HTTP on any stream of bytes, and `netemu ss` need not wait 60 ms for its import.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlencode

import h11
import msgspec
from msgspec.structs import asdict

from netemu.apps.base import UsageError
from netemu.runtime.errors import RuntimeFailure
from netemu.runtime.messages import (
    Counters,
    DirectionRow,
    LinkChange,
    Question,
    RouterRow,
    RuleChange,
    RuleRow,
    SocketRow,
    Status,
    Verdict,
)

TIMEOUT = 5.0
"""Seconds in which an instance has to answer."""
Answer = TypeVar("Answer")


class Client:
    """One instance, known by its control socket. Each call is one short connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.parent.name

    def status(self) -> Status:
        return self._ask("GET", "/status", Status)

    def sockets(self) -> list[SocketRow]:
        return self._ask("GET", "/sockets", list[SocketRow])

    def counters(self) -> Counters:
        return self._ask("GET", "/counters", Counters)

    def why(self, question: Question) -> Verdict:
        """What would become of such a packet. UsageError for a question that makes no sense."""
        words = {name: value for name, value in asdict(question).items() if value is not None}
        return self._ask("GET", f"/why?{urlencode(words)}", Verdict)

    def why_packet(self, data: bytes, length: int, sent: bool) -> Verdict:
        """The same for a captured one: from its IP header on, with its length on the wire; ``sent`` by the host."""
        return self._ask("POST", f"/why?length={length}&sent={int(sent)}", Verdict, data)

    def links(self) -> list[DirectionRow]:
        """A row for each direction of each link."""
        return self._ask("GET", "/links", list[DirectionRow])

    def change_link(self, change: LinkChange) -> list[DirectionRow]:
        """The rows of that link afterwards. UsageError for what makes no sense."""
        return self._ask("POST", "/links", list[DirectionRow], msgspec.json.encode(change))

    def routers(self) -> list[RouterRow]:
        """A row for each router of a scenario."""
        return self._ask("GET", "/routers", list[RouterRow])

    def rules(self) -> list[RuleRow]:
        """A row for each rule of each direction of each link."""
        return self._ask("GET", "/rules", list[RuleRow])

    def change_rules(self, change: RuleChange) -> list[RuleRow]:
        """The rules of that link afterwards. UsageError for what makes no sense."""
        return self._ask("POST", "/rules", list[RuleRow], msgspec.json.encode(change))

    def stop(self) -> None:
        """Ask the instance to end; returns before it has."""
        self._ask("POST", "/stop", dict[str, str])

    def capture(self, expression: str = "", count: int = 0, snaplen: int | None = None) -> Capture:
        """Start a capture. It runs until ``count`` packets (0: no end), its end() or the instance's."""
        query = {"filter": expression, "count": str(count)}
        if snaplen is not None:
            query["snaplen"] = str(snaplen)
        return Capture(self, Exchange(self, "GET", f"/capture?{urlencode(query)}"))

    def _ask(self, method: str, target: str, answer: type[Answer], body: bytes = b"") -> Answer:
        with Exchange(self, method, target, body) as exchange:
            return msgspec.json.decode(b"".join(iter(exchange.read, b"")), type=answer)


class Capture:
    """A running capture, read like a file of pcapng."""

    def __init__(self, client: Client, exchange: Exchange) -> None:
        self._client = client
        self._exchange = exchange
        self._number = exchange.headers.get(b"x-capture", b"").decode()
        self._pending = bytearray()

    def read(self, size: int) -> bytes:
        """Wait for ``size`` bytes; fewer only at the end. RuntimeFailure when the instance died before it."""
        self._exchange.wait_for_ever()
        while len(self._pending) < size and (data := self._exchange.read()):
            self._pending += data
        taken = bytes(self._pending[:size])
        del self._pending[:size]
        return taken

    def end(self) -> None:
        """Ask for the end; what was captured until now still comes."""
        with Exchange(self._client, "DELETE", f"/capture/{self._number}"):
            pass

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *error: object) -> None:
        self._exchange.close()


class Exchange:
    """One request and its response, whose body comes out of read() piece by piece."""

    def __init__(self, client: Client, method: str, target: str, body: bytes = b"") -> None:
        self._name = client.name
        self._http = h11.Connection(h11.CLIENT)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT)
        try:
            self._connect(client)
            headers = [("Host", "netemu"), ("Connection", "close")]
            if body:
                headers.append(("Content-Length", str(len(body))))
            request = h11.Request(method=method, target=target, headers=headers)
            events = [request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage()]
            self._socket.sendall(b"".join(self._http.send(event) or b"" for event in events))
            response = self._next()
            if not isinstance(response, h11.Response):
                raise RuntimeFailure(f"instance {self._name!r} ended before it answered")
            self.headers = dict(response.headers)
            if response.status_code >= 400:
                raise self._refusal(response.status_code)
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        """The next piece of the body; empty at its end. RuntimeFailure when the connection ends before the body does."""
        event = self._next()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return b""
        raise RuntimeFailure(f"instance {self._name!r} ended without a word")

    def wait_for_ever(self) -> None:
        self._socket.settimeout(None)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Exchange:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self, client: Client) -> None:
        try:
            self._socket.connect(os.fspath(client.path))
        except TimeoutError:
            raise self._silence() from None
        except PermissionError:
            raise RuntimeFailure(f"instance {self._name!r} is another user's: try sudo") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise RuntimeFailure(f"no instance named {self._name!r} is running") from None

    def _next(self) -> object:
        """The next h11 event, once it has come; ConnectionClosed also when the connection broke."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(self._socket.recv(256 << 10))
        except TimeoutError:
            raise self._silence() from None
        except (h11.RemoteProtocolError, ConnectionError):
            return h11.ConnectionClosed()
        return event

    def _silence(self) -> RuntimeFailure:
        return RuntimeFailure(f"instance {self._name!r} does not answer within {TIMEOUT:g} s")

    def _refusal(self, status: int) -> Exception:
        text = msgspec.json.decode(b"".join(iter(self.read, b"")), type=dict[str, str]).get("error", f"HTTP {status}")
        return UsageError(text) if status == 400 else RuntimeFailure(f"instance {self._name!r}: {text}")
