#!/usr/bin/env python3
"""echo, discard and chargen as scripts/bench.py wants them, in a process that is attached to the instance NAME."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable

import netemu

BLOCK = bytes(range(32, 127)) * 2760  # 256 kB
Serve = Callable[[socket.socket], None]


def echo(connection: socket.socket) -> None:
    while data := connection.recv(len(BLOCK)):
        connection.sendall(data)


def discard(connection: socket.socket) -> None:
    buffer = bytearray(len(BLOCK))
    while connection.recv_into(buffer):
        pass


def chargen(connection: socket.socket) -> None:
    while True:
        connection.sendall(BLOCK)


def serve(connection: socket.socket, app: Serve) -> None:
    try:
        with connection:
            app(connection)
    except OSError:
        return  # the client has seen enough


def accept(listener: socket.socket, app: Serve) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, app), daemon=True).start()


def main() -> None:
    host = netemu.attach(app="bench", name=sys.argv[1])
    apps: tuple[tuple[int, Serve], ...] = ((9, discard), (19, chargen), (7, echo))
    threads = [
        threading.Thread(target=accept, args=(host.create_server(("", port), backlog=1024), app), daemon=True)
        for port, app in apps
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
