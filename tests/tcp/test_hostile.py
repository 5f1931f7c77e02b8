"""Segments that no honest peer sends, in every state: nothing is raised, every invariant holds, no answer to a RST is a RST."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_end import (
    MS,
    WireEnd,
    close_wait,
    closing,
    established,
    fin_wait_1,
    fin_wait_2,
    from_wire,
    last_ack,
    simultaneous,
    syn_received,
    syn_sent,
    time_wait,
    to_wire,
)

from netemu.tcp.config import NEVER
from netemu.tcp.connection import ENDED
from netemu.tcp.state import State
from netemu.wire.tcp import ACK, MASK, RST, Options, Segment

STATES = (
    syn_sent,
    syn_received,
    simultaneous,
    established,
    fin_wait_1,
    fin_wait_2,
    closing,
    close_wait,
    last_ack,
    time_wait,
)
# numbers around every edge there is, and some far away
NEAR = (-(1 << 31), -100_000, -1001, -2, -1, 0, 1, 2, 500, 1000, 1001, 3000, 29_999, 39_999, 40_000, 40_001, 1 << 31)


@dataclass
class Hostile:
    seq: int
    ack: int
    flags: int
    length: int
    wnd: int
    urg: int
    ts: int | None
    sack: bool
    wscale: int | None
    mss: int | None


segments = st.builds(
    Hostile,
    seq=st.sampled_from(NEAR),
    ack=st.sampled_from(NEAR),
    flags=st.one_of(st.just(ACK), st.integers(0, 255)),
    length=st.sampled_from((0, 0, 1, 100, 1000, 50_000)),
    wnd=st.sampled_from((0, 1, 100, 30_000, 65535)),
    urg=st.sampled_from((0, 1, 65535)),
    ts=st.sampled_from((None, None, 0, -1, 1, 1 << 31)),
    sack=st.booleans(),
    wscale=st.sampled_from((None, 0, 14, 255)),
    mss=st.sampled_from((None, 0, 1, 1460, 65535)),
)
actions = st.sampled_from(("write", "read", "urgent", "timer", "wait", "shutdown", "close", "abort"))


def send(end: WireEnd, hostile: Hostile) -> None:
    """Numbers are relative to where the connection stands; they go over the wire as 32 bits."""
    c = end.connection
    rcv_nxt, una = (c.rcv_nxt, c.snd_una) if c.irs or c.rcv_nxt else (end.peer_iss, c.snd_una)
    segment = Segment(
        rcv_nxt + hostile.seq & MASK,
        una + hostile.ack & MASK,
        hostile.flags,
        hostile.wnd,
        (b"x" * hostile.length,),
        hostile.length,
        None if hostile.ts is None else c.ts_recent + hostile.ts & MASK,
        0,
        Options(hostile.mss, hostile.wscale, hostile.sack, ((5, 9),) if hostile.sack else ()),
        urg=hostile.urg,
    )
    if hostile.mss is hostile.wscale is None and not hostile.sack:
        segment = from_wire(to_wire(segment))
    end.deliver(segment)


def act(end: WireEnd, what: str) -> None:
    c = end.connection
    if what in ("write", "urgent"):
        if c.state in (State.ESTABLISHED, State.CLOSE_WAIT, State.SYN_SENT) and c.writable_bytes:
            (c.write_urgent if what == "urgent" else c.write)(b"y" * 3000)
    elif what == "read":
        c.read(1500)
    elif what == "timer":
        if end.next_timer() < NEVER:
            end.now = max(end.now, end.next_timer())
            c.on_timer(end.now)
    elif what == "wait":
        end.now += 300 * MS
    elif what == "shutdown":
        c.shutdown_write()
    elif what == "close":
        c.close(end.now)
    else:
        c.abort()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    make=st.sampled_from(STATES),
    ts=st.booleans(),
    sack=st.booleans(),
    limit=st.sampled_from((0, 65415)),
    steps=st.lists(st.one_of(segments, segments, actions), max_size=30),
)
def test_anything_goes(make: object, ts: bool, sack: bool, limit: int, steps: list[Hostile | str]) -> None:
    assert callable(make)
    end: WireEnd = make(ts=ts, sack=sack, limit=limit, wscale=1, max_out_of_order=5)
    ended = 0
    for step in steps:
        if isinstance(step, str):
            act(end, step)
        else:
            send(end, step)
        sent = end.expect_all()
        assert len(sent) < 100
        if isinstance(step, Hostile) and step.flags & RST:
            assert not any(s.flags & RST for s in sent)
        end.check()
        c = end.connection
        assert c.received_bytes + (c.reassembly.bytes if c.reassembly else 0) <= 65535 + 2
        assert c.reassembly is None or len(c.reassembly) <= 6
        ended += bool(end.take_events() & ENDED)
    assert ended <= 1
    assert ended == (end.state is State.CLOSED)
