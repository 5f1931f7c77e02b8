"""Header prediction is only a short cut: what it takes, segment_arrives would have taken in the very same way."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.reasons import Match
from netemu.tcp.config import Config
from netemu.tcp.connection import Connection
from netemu.wire.tcp import ACK, MASK, PSH, SYN, Options, Segment

MS = 1_000_000
Step = Callable[[Connection], object]

ISS, IRS = 0xFFFFFF00, 0xFFFFFFF0  # both wrap within the first bytes


def established() -> Connection:
    c = Connection(Config(), ISS, 1460)
    c.open_passive(Segment(IRS, 0, SYN, 65535, ts_val=5, options=Options(1460, 7, True)), 0)
    c.transmit(0)
    c.receive(Segment(IRS + 1 & MASK, ISS + 1 & MASK, ACK, 500, ts_val=6, ts_ecr=0), MS)
    c.transmit(MS)
    return c


def state_of(value: object) -> object:
    """All attributes, nested objects too, as something that compares."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    if slots and not isinstance(value, Config):
        return {name: state_of(getattr(value, name)) for name in slots if hasattr(value, name)}
    if isinstance(value, list | tuple) or type(value).__name__ == "deque":
        return [bytes(v) if isinstance(v, bytes | memoryview) else state_of(v) for v in value]  # type: ignore[attr-defined]
    return value


writes = st.integers(1, 6000).map(lambda n: ("write", n))
transmits = st.just(("transmit", 0))
reads = st.integers(1, 4000).map(lambda n: ("read", n))
segments = st.tuples(
    st.sampled_from((0, 0, 0, 1, -1, 1448)),  # sequence number, relative to RCV.NXT
    st.sampled_from((0, 0, 1, 100, 1448, 2896, -1)),  # acknowledgement number, relative to SND.UNA
    st.sampled_from((500, 500, 0, 3, 65535)),  # window
    st.sampled_from((0, 0, 1, 100, 1448, 60000)),  # payload bytes
    st.sampled_from((0, 0, 1, 50, -1)),  # timestamp, relative to TS.Recent
    st.sampled_from((ACK, ACK, ACK | PSH)),
).map(lambda fields: ("segment", fields))


@settings(deadline=None)
@given(st.lists(st.one_of(writes, transmits, reads, segments), max_size=25))
def test_prediction_and_the_checks_agree(steps: list[tuple[str, object]]) -> None:
    quick, careful = established(), established()
    now, predicted = MS, 0
    for kind, what in steps:
        now += 3 * MS
        if kind == "segment":
            predicted += _arrives(quick, careful, what, now)
        for c in (quick, careful):
            if kind == "write":
                assert isinstance(what, int)
                c.write(bytes(what))
            elif kind == "read":
                assert isinstance(what, int)
                c.read(what)
            elif kind == "transmit":
                while c.transmit(now, 60000) is not None:
                    pass
        assert state_of(quick) == state_of(careful)


def _arrives(quick: Connection, careful: Connection, fields: object, now: int) -> int:
    assert isinstance(fields, tuple)
    seq, ack, wnd, length, stamp, flags = fields
    seq, ack, ts_val = seq + quick.rcv_nxt & MASK, ack + quick.snd_una & MASK, quick.ts_recent + stamp & MASK
    data = bytes(length)

    def whole() -> Segment:
        return Segment(seq, ack, flags, wnd, (data,) if data else (), length, ts_val, 0)

    before = state_of(quick)
    if quick.was_predicted(seq, ack, wnd, ts_val, data, length, now):
        assert careful.receive(whole(), now) is Match.CONNECTION
        return 1
    assert state_of(quick) == before, "prediction declined, and yet changed something"
    assert quick.receive(whole(), now) is careful.receive(whole(), now)
    return 0


def test_the_common_cases_are_predicted() -> None:
    c = established()
    c.write(b"x" * 100)
    c.transmit(2 * MS)
    assert c.was_predicted(c.rcv_nxt & MASK, c.snd_nxt & MASK, 500, 7, b"answer", 6, 3 * MS)
    assert c.was_predicted(c.rcv_nxt & MASK, c.snd_nxt & MASK, 500, 7, b"more", 4, 4 * MS)
    assert c.read(100) == b"answermore"
