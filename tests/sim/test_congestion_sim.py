"""Congestion control over an emulated bottleneck, in virtual time: does it use the link, share it, and heed marks?"""

from __future__ import annotations

from contextlib import suppress

import pytest

from netemu.sim.hosts import SimHost
from netemu.sim.simulation import Simulation
from netemu.stack import constants as so
from netemu.stack.sockets import Socket
from netemu.stack.stream_socket import StreamSocket
from netemu.stack.streams import Stream, serve_stream
from netemu.tcp.connection import Connection
from netemu.wire.buffer import Buffer

SECOND = 1_000_000_000
PIECE = bytes(1 << 16)


class Sink:
    """Takes all that comes, and counts it."""

    def __init__(self, got: list[int]) -> None:
        self._got, self._mine = got, len(got)
        got.append(0)

    def connection_made(self, transport: Stream, /) -> None: ...
    def data_received(self, data: Buffer, /) -> None:
        self._got[self._mine] += len(data)

    def eof_received(self) -> bool | None: ...
    def connection_lost(self, error: OSError | None, /) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


def fill(socket: Socket, events: int) -> None:
    assert isinstance(socket, StreamSocket)
    with suppress(BlockingIOError):
        while True:
            socket.send(PIECE)


class Bulk:
    """Long flows from one host to another over ``words``; ``got``: the bytes that each has brought."""

    def __init__(self, words: str, flows: int = 1, *, congestion: str = "cubic", ecn: int = 2) -> None:
        settings: dict[str, int | str] = {"net.ipv4.tcp_congestion_control": congestion, "net.ipv4.tcp_ecn": ecn}
        self.sim = Simulation(7)
        self.sender = self.sim.host("192.0.2.1", sysctl=settings)
        self.receiver = self.sim.host("192.0.2.2", sysctl=settings)
        self.sim.link(self.sender, self.receiver, words)
        self.got: list[int] = []
        listening = serve_stream(self.receiver.host, lambda: Sink(self.got), 80, app="sink")
        listening.setsockopt(so.SOL_SOCKET, so.SO_RCVBUF, 4 << 20)
        for _ in range(flows):
            self.begin()

    def begin(self) -> None:
        socket = self.sender.host.socket(app="bulk")
        assert isinstance(socket, StreamSocket)
        socket.setsockopt(so.SOL_SOCKET, so.SO_SNDBUF, 4 << 20)
        socket.on_event = fill
        with suppress(BlockingIOError):
            socket.connect(("192.0.2.2", 80))
        self.sender.touch()

    def run(self, seconds: float) -> list[float]:
        """Bytes a second that each flow has brought in that time."""
        before = list(self.got)
        self.sim.run(for_=f"{seconds}s")
        before += [0] * (len(self.got) - len(before))
        return [(now - was) / seconds for now, was in zip(self.got, before, strict=True)]

    @property
    def connections(self) -> list[Connection]:
        return connections_of(self.sender)


def connections_of(host: SimHost) -> list[Connection]:
    return [c for c in host.host.table.connections.values() if isinstance(c, Connection)]


def share_of(rates: list[float], mbit: float) -> float:
    """Of what a link of ``mbit`` Mbit/s can carry as payload: 1448 of 1500 bytes."""
    return sum(rates) * 8 / (mbit * 1e6 * 1448 / 1500)


def jain(rates: list[float]) -> float:
    """Jain's index: 1 when all have the same."""
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


def test_cubic_fills_a_clean_link() -> None:
    """100 Mbit/s, 50 ms there and back, a queue of one bandwidth-delay product: 625 000 bytes."""
    bulk = Bulk("rate 100mbit queue droptail limit 625000b delay 25ms")
    bulk.run(3)
    assert share_of(bulk.run(6), 100) >= 0.95


def test_hystart_leaves_slow_start_before_a_loss() -> None:
    """RFC 9406: on a long path with a long queue nothing is lost in the first slow start, where doubling would overflow it.

    (With a shorter one the loss comes in the five rounds of Conservative Slow Start, and is a small one.)
    """
    lost = {}
    for name in ("cubic", "reno"):
        bulk = Bulk("rate 5mbit queue droptail limit 1500000b delay 100ms", congestion=name)
        bulk.run(0.5)
        (c,) = bulk.connections
        while c.cc.ssthresh > 1 << 59 or c.cc.cwnd < c.cc.ssthresh:
            bulk.run(0.1)
            assert bulk.sim.now < 30 * SECOND, "it never left slow start"
        lost[name] = c.total_retransmits
        assert c.cc.cwnd > 20 * c.mss
    assert lost["cubic"] == 0 < lost["reno"]


def test_two_flows_share() -> None:
    """The second begins when the first has the link: Jain's index of what both get afterwards."""
    bulk = Bulk("rate 10mbit queue droptail limit 50000b delay 10ms")
    bulk.run(3)
    bulk.begin()
    bulk.run(10)
    rates = bulk.run(30)
    assert len(rates) == 2
    assert jain(rates) >= 0.9
    assert share_of(rates, 10) >= 0.9


@pytest.mark.parametrize("ecn", [1, 2])
def test_marks_instead_of_losses(ecn: int) -> None:
    """CoDel marks where both ends know ECN: nothing is lost, and the link stays full. With 2 nobody asks, so it drops."""
    bulk = Bulk("rate 20mbit queue codel ecn delay 10ms", ecn=ecn)
    bulk.run(3)
    assert share_of(bulk.run(10), 20) >= 0.9
    (c,) = bulk.connections
    assert (c.total_retransmits == 0) == (ecn == 1)
    assert bool(c.ect) == (ecn == 1)
    assert c.cc.ssthresh < 1 << 59


# -- BBR and pacing --------------------------------------------------------------------------------------------------------


def test_bbr_fills_a_clean_link_and_keeps_its_queue_short() -> None:
    """Where CUBIC fills the queue of one bandwidth-delay product too, 100 KB."""
    bulk = Bulk("rate 20mbit queue droptail limit 100000b delay 20ms", congestion="bbr")
    bulk.run(3)
    assert share_of(bulk.run(8), 20) >= 0.9
    (c,) = bulk.connections
    assert c.cc.pacing_rate * 8 == pytest.approx(20e6, rel=0.4)
    assert c.rtt.srtt < 60_000_000


def test_bbr_goes_on_under_random_loss() -> None:
    bulk = Bulk("rate 10mbit queue droptail limit 100000b delay 10ms loss 1%", congestion="bbr")
    bulk.run(3)
    assert share_of(bulk.run(15), 10) >= 0.8


def test_a_socket_is_paced_as_it_asks() -> None:
    """SO_MAX_PACING_RATE: bytes a second on the wire's payload, and never a burst above a millisecond's worth."""
    bulk = Bulk("rate 100mbit delay 5ms", flows=0)
    bulk.begin()
    bulk.run(0.5)
    (c,) = bulk.connections
    owner = c.owner
    assert isinstance(owner, StreamSocket)
    assert c.pacer is None
    owner.setsockopt(so.SOL_SOCKET, so.SO_MAX_PACING_RATE, 250_000)
    bulk.run(1)
    assert sum(bulk.run(4)) == pytest.approx(250_000, rel=0.03)
    owner.setsockopt(so.SOL_SOCKET, so.SO_MAX_PACING_RATE, b"\xff" * 8)
    assert owner.getsockopt(so.SOL_SOCKET, so.SO_MAX_PACING_RATE, 8) == b"\xff" * 8
    assert share_of(bulk.run(2), 100) > 0.5
