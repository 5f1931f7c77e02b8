"""Many connections, one after the other and at once: none is left in the table, and memory is back.

NETEMU_FULL=1 makes 10 000 one after the other instead of 2 000.
"""

from __future__ import annotations

import resource
import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from emulated import ADDRESS4, ADDRESS6, FULL, MIB, Emulated, emulated, inside, until
from netns import PATIENCE, Namespace

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

IN_A_ROW = 10_000 if FULL else 2_000
AT_ONCE = 2_000
SETTLED = 4 * MIB
"""What RSS may differ by between two times at which nothing is open: the allocator keeps some pages in use."""
HELD = 16 << 10
"""The issue's bound: bytes of memory per idle connection."""


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def exchange(client: socket.socket) -> None:
    client.sendall(b"x")
    assert client.recv(10) == b"x"


def connected(port: int = 7, address: str = ADDRESS4) -> socket.socket:
    return socket.create_connection((address, port), timeout=PATIENCE)


def in_a_row(count: int) -> None:
    for _ in range(count):
        with connected() as client:
            exchange(client)


def settle(host: Emulated) -> int:
    """Wait until nothing is open; RSS then."""
    until(lambda: not host.connections())
    return host.rss()


def test_one_after_the_other(netns: Namespace) -> None:
    """In two halves: what the first leaves behind is no leak if the second finds it enough."""
    with emulated(netns) as host:
        before = host.rss()
        inside(netns, lambda: in_a_row(IN_A_ROW // 2))
        first = settle(host)
        inside(netns, lambda: in_a_row(IN_A_ROW // 2))
        assert settle(host) - first < SETTLED
        assert first - before < 4 * SETTLED
        assert host.counters()["close"] == {"NORMAL": IN_A_ROW}


@pytest.mark.parametrize("address", [ADDRESS4, ADDRESS6], ids=["v4", "v6"])
def test_many_at_once(netns: Namespace, address: str) -> None:
    """Twice, for the same reason."""

    def open_all() -> list[socket.socket]:
        clients = [connected(address=address) for _ in range(AT_ONCE)]
        for client in clients:
            exchange(client)
        return clients

    with emulated(netns) as host:
        settled = []
        for _ in range(2):
            before = host.rss()
            clients = inside(netns, open_all)
            states = Counter((row["state"], row["app"]) for row in host.connections())
            assert states == {("ESTABLISHED", "echo"): AT_ONCE}
            assert host.rss() - before < AT_ONCE * HELD
            for client in clients:
                exchange(client)
                client.close()
            settled.append(settle(host))
        assert settled[1] - settled[0] < SETTLED


def test_what_the_host_closes_first_waits_in_time_wait(netns: Namespace) -> None:
    """As RFC 9293 3.6.1 has it, and it is little: a hundred times less than a connection."""

    def read_all() -> None:
        for _ in range(500):
            with connected(13) as client:
                while client.recv(1000):
                    pass

    with emulated(netns) as host:
        before = host.rss()
        inside(netns, read_all)
        until(lambda: not host.connections())
        assert Counter(row["state"] for row in host.sockets())["TIME-WAIT"] == 500
        assert host.rss() - before < SETTLED


def test_many_that_reset(netns: Namespace) -> None:
    """SO_LINGER with a timeout of zero: closing sends a RST, whatever is under way."""

    def reset_all() -> None:
        for n in range(500):
            client = connected(19 if n % 2 else 7)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.send(b"x")
            client.close()

    with emulated(netns) as host:
        inside(netns, reset_all)
        until(lambda: not host.connections())
        assert host.counters()["close"]["RESET_BY_PEER"] == 500
