"""What a user's test looks like: a client that retries, against a server behind a link that loses nearly everything."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import netemu
from netemu.sim.sockets import SimSocket


def ask(socket: SimSocket, attempts: int = 5) -> str:
    """The client under test: UDP, and patience of a second that doubles."""
    socket.settimeout(1)
    for attempt in range(attempts):
        socket.sendto(b"what time is it?", ("server", 123))
        try:
            return socket.recvfrom(100)[0].decode()
        except TimeoutError:
            socket.settimeout(2.0 ** (attempt + 1))
    return "nobody knows"


def test_a_client_that_retries() -> None:
    sim = netemu.Simulation(seed=7)
    client, server = sim.host("client", "10.0.0.1"), sim.host("server", "10.0.0.2")
    link = sim.link(client, server, delay="20ms 5ms", loss="100%")
    socket = server.socket(kind=2)  # SOCK_DGRAM
    socket.bind(("", 123))

    def serve() -> Generator[Any, Any, None]:
        while True:
            _, sender = yield socket.recvfrom(100)
            yield socket.sendto(b"noon", sender)

    sim.spawn(serve)
    sim.at("2.5s", link.set, "delay 20ms")  # the network comes back
    assert ask(client.socket(kind=2)) == "noon"
    assert sim.now == 3_040_000_000, "the third question, after 1 s and 2 s, and a round trip"


def test_a_client_that_gives_up() -> None:
    sim = netemu.Simulation(seed=7)
    client, server = sim.host("client", "10.0.0.1"), sim.host("server", "10.0.0.2")
    sim.link(client, server, delay="20ms", loss="100%")
    assert ask(client.socket(kind=2)) == "nobody knows"
    assert sim.now == 31 * 10**9, "31 s that took no time"
