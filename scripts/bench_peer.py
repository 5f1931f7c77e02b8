#!/usr/bin/env python3
"""What bench_peer.c does, for a machine without a C compiler. It makes the kernel look slower than it is."""

from __future__ import annotations

import resource
import select
import socket
import sys

ECHO, DISCARD, CHARGEN = 7, 9, 19
BLOCK = bytes(1 << 20)


def main() -> None:
    address = sys.argv[1]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    epoll = select.epoll()
    listeners: dict[int, tuple[socket.socket, int]] = {}
    clients: dict[int, tuple[socket.socket, int]] = {}
    for port in (ECHO, DISCARD, CHARGEN):
        listener = socket.create_server((address, port), backlog=4096)
        listener.setblocking(False)
        listeners[listener.fileno()] = listener, port
        epoll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in epoll.poll():
            if fd in listeners:
                listener, port = listeners[fd]
                client, _ = listener.accept()
                client.setblocking(False)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = client, port
                epoll.register(client, select.EPOLLOUT if port == CHARGEN else select.EPOLLIN)
            elif not attend(*clients[fd]):
                epoll.unregister(fd)
                clients.pop(fd)[0].close()


def attend(client: socket.socket, port: int) -> bool:
    """False when the connection is over."""
    try:
        if port == CHARGEN:
            client.send(BLOCK)
            return True
        data = client.recv(1 << 20)
        if port == ECHO:
            client.settimeout(5)  # for a client that is slow to read
            client.sendall(data)
            client.setblocking(False)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return bool(data)


if __name__ == "__main__":
    main()
