"""Out-of-order data against a naive model, and what it may cost."""

from __future__ import annotations

import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from wire_end import established

from netemu.reasons import Drop, Match
from netemu.tcp.reassembly import COLLAPSED, SMALL, Reassembly

BASE = (1 << 32) - 20
pieces = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), max_size=25)


@settings(deadline=None)
@given(pieces, st.integers(0, 60))
def test_against_a_model(added: list[tuple[int, int]], rcv_nxt: int) -> None:
    """Each byte keeps its first value; blocks are the maximal runs; take gives the first run if it begins at RCV.NXT."""
    queue, model = Reassembly(), dict[int, int]()
    for mark, (start, size) in enumerate(added):
        seq = BASE + start
        new = [at for at in range(seq, seq + size) if at not in model]
        assert queue.add(seq, bytes([mark]) * size) == len(new)
        model.update(dict.fromkeys(new, mark))
    assert queue.bytes == len(model)
    starts = sorted(at for at in model if at - 1 not in model)
    runs = [(at, next(end for end in range(at, at + 2000) if end not in model)) for at in starts]
    assert len(queue) == len(runs)
    assert sorted(queue.blocks(100)) == runs
    if added and runs:
        seq = BASE + added[-1][0]
        assert queue.blocks(1)[0] == next(run for run in runs if run[0] <= seq < run[1])
    taken = b"".join(queue.take(BASE + rcv_nxt))
    first = runs[0] if runs else (0, 0)
    if runs and first[0] == BASE + rcv_nxt:
        assert taken == bytes(model[at] for at in range(*first))
        assert queue.bytes == len(model) - len(taken)
    else:
        assert taken == b""


@settings(deadline=None)
@given(st.permutations(range(12)), st.integers(0, 11))
def test_any_order_arrives(order: list[int], again: int) -> None:
    data = bytes(range(120))
    end = established()
    for index in [*order, again]:
        end.send(".", data[index * 10 : index * 10 + 10], seq=1 + index * 10)
    assert end.read() == data
    assert end.connection.reassembly is None
    end.expect(".", ack=121)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 40)), max_size=30))
def test_any_overlap_arrives_as_sent(cuts: list[tuple[int, int]]) -> None:
    data = bytes(range(140))
    end = established()
    for start, size in cuts:
        end.send(".", data[start : start + size], seq=1 + start)
    end.send("F.", data, seq=1)
    assert end.read() == data
    assert end.connection.at_eof


def test_blocks_that_touch_are_one() -> None:
    queue = Reassembly()
    for at in range(0, 1000, 10):
        queue.add(at, b"x" * 10)
    assert len(queue) == 1
    assert queue.blocks(4) == ((0, 1000),)


def test_slivers_do_not_hold_their_packets() -> None:
    """The new tail of a large overlapping segment is copied out of it."""
    queue = Reassembly()
    queue.add(0, b"a" * 60_000)
    queue.add(0, memoryview(b"b" * 60_100))
    kept = queue.take(0)
    assert [len(piece) for piece in kept] == [60_000, 100]
    assert isinstance(kept[1], bytes)


def test_small_pieces_are_joined() -> None:
    """Single bytes in order, ahead of a gap: memory stays near their number."""
    queue = Reassembly()
    for at in range(20_000):
        queue.add(at, b"x")
    pieces = queue.take(0)
    assert sum(map(len, pieces)) == 20_000
    assert sum(map(sys.getsizeof, pieces)) < 21_000
    assert len(pieces) <= 20_000 // (COLLAPSED - SMALL) + 1


def test_a_flood_of_tiny_pieces_is_bounded() -> None:
    """gVisor OutOfOrderFlood: every other byte; the holes are counted, and once they are filled the rest comes again."""
    end = established(max_out_of_order=100)
    reasons = [end.send(".", b"x", seq=2 + 2 * i) for i in range(200)]
    assert reasons == [Match.CONNECTION] * 100 + [Drop.REASSEMBLY_FULL] * 100
    assert end.connection.reassembly is not None
    assert end.connection.reassembly.bytes == 100
    assert end.send(".", b"y" * 300, seq=1) is Match.CONNECTION
    assert len(end.read()) == 300


def test_single_bytes_to_an_application_that_does_not_read() -> None:
    """The receive buffer's memory stays near the number of bytes, and the window closes."""
    end = established(rcvbuf=20_000, wnd=1000)
    while end.connection.rcv_adv > end.connection.rcv_nxt:
        end.send(".", b"x")
        end.pull()
    assert end.connection.received_bytes == 20_000
    assert len(end.connection.received) <= 20_000 // (COLLAPSED - SMALL) + 1


def test_single_bytes_with_a_scaled_window() -> None:
    """Rounding the window to its unit must not let the edge run ahead of what is read (RFC 7323 2.4)."""
    end = established(rcvbuf=1 << 20, wscale=0)
    buffered = 0
    for _ in range(40):
        while (room := end.connection.rcv_adv - end.connection.rcv_nxt) > 0 and buffered < 2 << 20:
            size = min(room, 60_001)
            end.send(".", b"x" * size)
            buffered += size
            end.pull()
        for _ in range(20):
            end.send(".", b"x")
            end.pull()
    assert end.connection.received_bytes <= (1 << 20) + 16


def test_reading_in_small_pieces() -> None:
    end = established()
    end.send(".", bytes(range(200)))
    assert b"".join(bytes(end.connection.read(7)) for _ in range(29)) == bytes(range(200))
    assert end.connection.read(7) == b""
    assert end.connection.received_bytes == 0
