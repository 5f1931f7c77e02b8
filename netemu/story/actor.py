"""One app of the story: a process that attaches and does what it is told, a line at a time.

It uses netemu.attach as any program would; what `netemu story` shows are these very calls.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable

import netemu
from netemu.attached.socket import AttachedSocket


class Actor:
    """Holds one socket that it bound, and one connection."""

    def __init__(self, app: str) -> None:
        self._host = netemu.attach(app=app)
        self._socket: AttachedSocket
        self._connection: AttachedSocket | None = None

    def bind(self, port: str) -> str:
        self._socket = self._host.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("0.0.0.0", int(port)))
        return f"bound to {port} with SO_REUSEPORT"

    def listen(self) -> str:
        self._socket.listen()
        return "listening"

    def connect(self, address: str, port: str) -> str:
        self._socket.connect((address, int(port)))
        self._connection = self._socket
        return f"connected from port {self._socket.getsockname()[1]}"

    def accept(self) -> str:
        self._connection, (address, port) = self._socket.accept()
        return f"accepted {address}:{port}"

    def send(self, text: str) -> str:
        assert self._connection is not None
        self._connection.sendall(text.encode() + b"\n")
        return f"sent {text!r}"

    def recv(self) -> str:
        assert self._connection is not None
        return f"received {self._connection.recv(1000).decode().strip()!r}"


def main() -> None:
    """Obey lines such as ["bind", "12345"] on stdin; answer each with a line of JSON."""
    actor = Actor(sys.argv[1])
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        call: Callable[..., str] = getattr(actor, verb)
        try:
            answer = call(*arguments)
        except OSError as problem:
            answer = f"{type(problem).__name__}: {problem.strerror}"
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
