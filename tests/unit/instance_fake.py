"""An instance without a stack, behind the real control API on a real unix socket, and some traffic for its taps."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import astuple

from netemu.link.link import Link
from netemu.runtime.control import ControlServer
from netemu.runtime.links import Links
from netemu.runtime.messages import (
    AppRow,
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
from netemu.runtime.network import Network
from netemu.runtime.observer import Tap
from netemu.stack import constants as so
from netemu.stack.craft import craft, wanted
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.why import why, why_sent
from netemu.wire.packet import Packet

NS = 1_700_000_000_000_000_000
STATUS = Status(
    name="netemu0",
    pid=os.getpid(),
    version="0.1.0",
    tun="netemu0",
    links=["link"],
    mtu=1500,
    offload=True,
    user="alice",
    addresses=["198.18.0.2", "2001:2::2"],
    host_addresses=["198.18.0.1/24", "2001:2::1/64"],
    started=NS / 1e9,
    apps=[AppRow("http", "http", 80, ["tcp"]), AppRow("echo", "echo", 7, ["tcp", "udp"])],
)
INFO: dict[str, int | float | str] = {"rtt_us": 230, "rto_ms": 200, "cwnd": 14480, "retransmits": 0, "timer": "none"}
SOCKETS = [
    SocketRow("s1", "http", "tcp", "LISTEN", 0, 128, "0.0.0.0:80", "*:*"),
    SocketRow("s2", "echo", "udp", "UNCONN", 0, 0, "[::]:7", "*:*"),
    SocketRow("s3", "http", "tcp", "ESTABLISHED", 0, 1448, "198.18.0.2:80", "198.18.0.1:40000", INFO),
    SocketRow("s4", "http", "tcp", "TIME-WAIT", 0, 0, "[2001:2::2]:80", "[2001:2::1]:40001"),
]
COUNTERS = {
    "match": {"LISTEN_WILDCARD": 2, "CONNECTION": 40},
    "drop": {"BAD_TCP_CHECKSUM": 1, "PAWS": 0},
    "ip": {"in": 44},
}


class Sink:
    """A device that takes everything."""

    def write(self, packet: Packet) -> bool:
        return True


class FakeInstance:
    name = "netemu0"

    def __init__(self) -> None:
        self.taps: list[Tap] = []
        self.stopped = threading.Event()
        self.router_rows: list[RouterRow] = []
        network = Network()
        tun, host = network.attach("tun", Sink()), network.add_host("host", self._host())
        network.connect(tun.end, host.end, Link("link", ("tun", "host"), 1))
        self.unread = 0
        """What the kernel threw away at the device."""
        self._links = Links(network, lambda: 1, {"tun": lambda: self.unread})

    def status(self) -> Status:
        return STATUS

    def sockets(self) -> list[SocketRow]:
        return SOCKETS

    def counters(self) -> Counters:
        return COUNTERS

    def _host(self) -> Host:
        """One listener on port 80, that is all."""
        host = Host(["198.18.0.2/24"], seed=1)
        listener = StreamSocket(host, so.AF_INET, "http")
        listener.bind(("", 80))
        listener.listen()
        return host

    def why(self, question: Question) -> Verdict:
        host = self._host()
        return why(host, craft(host, wanted(*astuple(question)), 1), 1)

    def why_packet(self, data: bytes, length: int, sent: bool) -> Verdict:
        return why_sent(self._host(), Packet(data)) if sent else why(self._host(), Packet(data), 1)

    def links(self) -> list[DirectionRow]:
        return self._links.rows()

    def change_link(self, change: LinkChange) -> list[DirectionRow]:
        self._links.change(change.link, change.action, change.words, change.files)
        return self.links()

    def routers(self) -> list[RouterRow]:
        return self.router_rows

    def rules(self) -> list[RuleRow]:
        return self._links.rules()

    def change_rules(self, change: RuleChange) -> list[RuleRow]:
        if change.rule:
            self._links.add_rule(change.link, change.rule, change.before)
        else:
            self._links.delete_rules(change.link, change.numbers)
        return self.rules()

    def add_tap(self, tap: Tap) -> None:
        self.taps.append(tap)

    def remove_tap(self, tap: Tap) -> None:
        self.taps.remove(tap)

    def stop(self) -> None:
        self.stopped.set()


class Served:
    """A FakeInstance that answers at ``path`` from a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.instance = FakeInstance()
        self._loop = asyncio.new_event_loop()
        self._server = ControlServer(self.instance, path)

    def call(self, function: Callable[[], None]) -> None:
        """Run a function in the instance's loop, and wait for it."""

        async def run() -> None:
            function()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def see(self, packet: bytes, comment: str = "", times: int = 1) -> None:
        """Show a packet to every tap."""

        def show() -> None:
            for number in range(times):
                for tap in list(self.instance.taps):
                    tap(Packet(packet), NS + number, True, comment, "")

        self.call(show)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(30)

    def _run(self, ready: threading.Event) -> None:
        self._loop.run_until_complete(self._server.start())
        ready.set()
        self._loop.run_forever()


@contextmanager
def served(path: Path) -> Iterator[Served]:
    server, ready = Served(path), threading.Event()
    thread = threading.Thread(target=server._run, args=(ready,))
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        server.stop()
        server._loop.call_soon_threadsafe(server._loop.stop)
        thread.join(30)
        server._loop.close()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait, thirty seconds at most, until something holds."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never happened")
