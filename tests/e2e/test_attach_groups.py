"""SO_REUSEPORT groups of real processes under the load of a real client: even, stable, and a death that hurts only its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from emulated import ADDRESS4, Emulated, inside, until
from netns import PATIENCE

pytestmark = pytest.mark.e2e

PORT = 12345
CONNECTIONS = 4000
MEMBER = """
import netemu, os, socket, sys
host = netemu.attach(app="group", name=sys.argv[1])
server = host.create_server(("", int(sys.argv[2])), reuse_port=True, backlog=512)
print("listening", flush=True)
held = []
while True:
    connection, _ = server.accept()
    connection.sendall(b"%d" % os.getpid())
    if connection.recv(1) == b"":
        connection.close()
    else:
        held.append(connection)
"""


@contextmanager
def members(instance: Emulated, port: int, count: int = 4) -> Iterator[list[subprocess.Popen[str]]]:
    started = [
        subprocess.Popen([sys.executable, "-c", MEMBER, instance.name, str(port)], stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for one in started:
            assert one.stdout is not None
            assert one.stdout.readline() == "listening\n"
        yield started
    finally:
        for one in started:
            one.kill()
            one.communicate()


def ask(port: int, sport: int, hold: bool = False) -> tuple[int, socket.socket]:
    """(the pid of the member that answers a connection from ``sport``, the connection)."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.settimeout(PATIENCE)
    client.bind(("198.18.0.1", sport))
    client.connect((ADDRESS4, port))
    pid = int(client.recv(100))
    if hold:
        client.send(b"x")
    else:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        client.close()
    return pid, client


def test_even_and_stable(instance: Emulated) -> None:
    """Each of 4 within 10 % of even over 4 000 connections; the same 4-tuple finds the same listener."""
    with members(instance, PORT) as group:

        def load() -> Counter[int]:
            return Counter(ask(PORT, sport)[0] for sport in range(20_000, 20_000 + CONNECTIONS))

        spread = inside(instance.namespace, load)
        assert set(spread) == {one.pid for one in group}
        assert all(abs(count - CONNECTIONS / 4) <= CONNECTIONS / 40 for count in spread.values()), spread
        pairs = inside(instance.namespace, lambda: [(ask(PORT, n)[0], ask(PORT, n)[0]) for n in range(30_000, 30_050)])
        assert all(first == second for first, second in pairs)


def test_a_member_killed_under_load(instance: Emulated) -> None:
    """Only its own connections are reset; the very next SYN is served by the others."""
    with members(instance, PORT + 1) as group:
        held = inside(instance.namespace, lambda: [ask(PORT + 1, n, True) for n in range(40_000, 40_400)])
        victim = group[1].pid
        mine = [client for pid, client in held if pid == victim]
        assert 50 < len(mine) < 150
        os.kill(victim, 9)
        group[1].wait()
        after = inside(instance.namespace, lambda: [ask(PORT + 1, n) for n in range(41_000, 41_200)])
        assert {pid for pid, _ in after} == {one.pid for one in group} - {victim}
        for client in mine:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        for pid, client in held:
            if pid != victim:
                client.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.recv(1)
            client.close()
    until(lambda: not instance.connections())
