"""A SYN that takes the place of a connection in TIME-WAIT (RFC 9293 3.6.1 MAY-2)."""

from __future__ import annotations

import pytest
from test_streams import World

from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.timewait import TimeWait
from netemu.wire.packet import Packet
from netemu.wire.tcp import HALF, SYN, Segment, parse


def test_the_new_connection_begins_beyond_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.app.transport.close()  # the server closes first, so the TIME-WAIT is its own
    world.go()
    world.client.close()
    world.go()
    (waiting,) = world.far.host.table.connections.values()
    assert isinstance(waiting, TimeWait)
    monkeypatch.setattr("netemu.stack.connections.initial_sequence", lambda *_: (waiting.snd_nxt - 5) & 0xFFFFFFFF)
    sent: list[Segment] = []

    def tap(packet: Packet, wall: int, inbound: bool, why: str) -> None:
        segment = parse(bytes(packet), 20, len(packet))
        assert isinstance(segment, Segment)
        if not inbound and segment.flags & SYN:
            sent.append(segment)

    world.far.engine.taps.append(tap)
    port = world.client.lport
    again = world.near.host.socket(app="client")
    assert isinstance(again, StreamSocket)
    again.bind(("10.0.0.1", port))
    with pytest.raises(BlockingIOError):
        again.connect(("10.0.0.2", 80))
    world.go()
    assert again.state_name == "ESTABLISHED"
    assert not (sent[0].seq - waiting.next_iss) & HALF
