"""HOLD_SYNACK: the app sees a SYN before it is answered, and takes or refuses the connection."""

from __future__ import annotations

import errno

import pytest
from stack_bench import FAMILIES, MSS, OF_HOST, SECOND, Bench, Peer, errno_of

from netemu.reasons import Drop, Match, Reset
from netemu.stack import constants as so
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.connection import CONNECTED
from netemu.wire.tcp import ACK, RST, SYN

HOLD = (so.SOL_NETEMU, so.HOLD_SYNACK)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def asked(bench: Bench, version: int = 4, backlog: int = 16) -> tuple[StreamSocket, StreamSocket, Peer]:
    """(listener, what its accept gives for a SYN that nobody has answered yet, who sent it)."""
    listener = bench.listen(OF_HOST[version], backlog=backlog)
    listener.setsockopt(*HOLD, 1)
    peer = Peer(bench, 80, 40000, version, 1000)
    assert bench.quiet(peer.made(SYN, 1000, options=MSS)) is Match.LISTEN_SPECIFIC
    child, _ = listener.accept()
    return listener, child, peer


@FAMILIES
def test_taken(bench: Bench, version: int) -> None:
    _, child, peer = asked(bench, version)
    assert (child.state_name, child.getsockopt(*HOLD)) == ("SYN-RECEIVED", 1)
    assert errno_of(child.connect, child.getpeername()) == errno.EALREADY
    heard: list[int] = []
    child.on_event = lambda _, events: heard.append(events)
    child.setsockopt(*HOLD, 0)
    answer = bench.one().segment
    assert (answer.flags, answer.ack) == (SYN | ACK, 1001)
    peer.rcv_nxt = answer.seq + 1
    peer.send(ACK)
    assert heard[0] & CONNECTED
    child.connect(child.getpeername())  # tells how it went
    assert errno_of(child.connect, child.getpeername()) == errno.EISCONN
    peer.send(ACK, b"hello")
    assert child.recv(10) == b"hello"


@FAMILIES
def test_refused(bench: Bench, version: int) -> None:
    """The client sees what a closed port would have sent."""
    listener, child, peer = asked(bench, version)
    child.setsockopt(so.SOL_SOCKET, so.SO_LINGER, 0)  # no other reason than the true one
    child.close()
    answer = bench.one().segment
    assert (answer.flags, answer.ack) == (RST | ACK, 1001)
    assert bench.host.counters[Reset.REFUSED] == 1
    assert not bench.host.table.connections
    assert bench.quiet(peer.made(SYN, 1000, options=MSS)) is Match.LISTEN_SPECIFIC  # it may try again
    assert listener.accept()


def test_nothing_is_sent_before_the_decision(bench: Bench) -> None:
    _, child, peer = asked(bench)
    assert bench.quiet(peer.made(SYN, 1000, options=MSS)) is Drop.DUPLICATE
    assert bench.quiet(peer.made(ACK, 900_000_000)) is Drop.OUTSIDE_WINDOW
    assert bench.wait(59 * SECOND) == []
    child.setsockopt(*HOLD, 0)
    assert bench.one().segment.flags == SYN | ACK
    (again,) = bench.wait(SECOND + SECOND // 2)
    assert again.segment.flags == SYN | ACK  # now it is retransmitted like any other


def test_who_does_not_decide_refuses(bench: Bench) -> None:
    _, child, _ = asked(bench)
    (last,) = bench.wait(61 * SECOND)
    assert last.segment.flags == RST | ACK
    assert bench.host.counters[Reset.UNDECIDED] == 1
    child.setsockopt(*HOLD, 0)  # too late, and no harm
    assert errno_of(child.connect, ("198.18.0.1", 40000)) == errno.ETIMEDOUT


def test_the_client_gives_up_first(bench: Bench) -> None:
    _, child, peer = asked(bench)
    assert bench.quiet(peer.made(RST, 1001)) is Match.CONNECTION
    assert errno_of(child.connect, ("198.18.0.1", 40000)) != errno.EALREADY


def test_it_waits_in_the_accept_queue(bench: Bench) -> None:
    listener = bench.listen(backlog=0)
    listener.setsockopt(*HOLD, 1)
    first, second = (Peer(bench, 80, 40000 + n, 4, 1000) for n in range(2))
    assert bench.quiet(first.made(SYN, 1000)) is Match.LISTEN_SPECIFIC
    assert bench.quiet(second.made(SYN, 1000)) is Drop.ACCEPT_QUEUE_FULL
    assert listener.queues == (1, 0)
    listener.close()
    assert bench.one().segment.flags & RST
    assert bench.host.counters[Reset.LISTENER_CLOSED] == 1


def test_a_made_connection_cannot_be_held(bench: Bench) -> None:
    listener = bench.listen()
    bench.handshake()
    child, _ = listener.accept()
    assert child.getsockopt(*HOLD) == 0
    child.setsockopt(*HOLD, 0)
    assert errno_of(child.setsockopt, *HOLD, 1) == errno.EISCONN
    assert errno_of(listener.setsockopt, *HOLD, b"\1") == errno.EINVAL
