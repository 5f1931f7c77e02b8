"""`why` agrees with what the stack then does, and changes nothing: 10 000 random packets at random hosts, in virtual time."""

from __future__ import annotations

import pytest
from why_world import World, digest, worlds

from netemu.reasons import Match
from netemu.stack.sockets import Socket
from netemu.stack.verdict import Verdict
from netemu.stack.why import MOST_ANSWERS, why
from netemu.wire.describe import describe
from netemu.wire.packet import Packet

BATCHES, PACKETS, STEPS = 10, 1000, 40
"""Seeds, packets of each, and packets (with something done to the sockets between them) per host."""


def check(world: World, packet: Packet) -> Verdict:
    host = world.host
    before = digest(host)
    verdict = why(host, packet, world.now)
    assert digest(host) == before, "why has changed something"
    reason = host.receive(packet, world.now)
    matched = host.matched
    sent = []
    while (answer := host.transmit(world.now)) is not None:
        sent.append((answer, host.sent_for))
    assert not host.faults
    assert (verdict.kind, verdict.reason) == ("match" if isinstance(reason, Match) else "drop", reason.name)
    assert verdict.socket == (f"s{matched.id}" if isinstance(matched, Socket) else "")
    told = [describe(bytes(answer)) for answer, _ in sent[:MOST_ANSWERS]]
    for expected, line, (_, why_sent) in zip(verdict.answers, told, sent, strict=False):
        assert expected.reason == (why_sent.name if why_sent else "")
        if expected.kind != "SYN-ACK":
            assert expected.packet == line
    assert len(verdict.answers) == len(told)
    winners = [c.socket for c in verdict.candidates if c.wins]
    if verdict.reason in ("UDP_MULTICAST", "UDP_BROADCAST"):
        assert verdict.socket in winners  # a copy for each
    elif winners and winners[0] != "-":
        assert len(winners) == 1
        assert winners[0] == verdict.socket or (verdict.candidates[0].state == "TIME-WAIT")
    host.dispatch()
    return verdict


@pytest.mark.parametrize("seed", range(BATCHES))
def test_why_agrees_with_what_then_happens(seed: int) -> None:
    done = 0
    for world in worlds(seed):
        for _ in range(60):
            world.step()
        for _ in range(STEPS):
            check(world, world.packet())
            world.step()
            done += 1
        if done >= PACKETS:
            break
