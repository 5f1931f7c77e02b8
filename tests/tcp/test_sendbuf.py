"""The send buffer against a naive model."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.tcp.sendbuf import SendBuffer

START = (1 << 32) - 100
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("acknowledge"), st.integers(0, 80), st.just(0)),
        st.tuples(st.just("slice"), st.integers(0, 200), st.integers(1, 120)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps)
def test_against_a_model(todo: list[tuple[str, int, int]]) -> None:
    buffer, model, start = SendBuffer(START), b"", 0
    written = 0
    for what, a, b in todo:
        if what == "append":
            piece = bytes((written + i) % 251 for i in range(a))
            buffer.append(piece)
            model += piece
            written += a
        elif what == "acknowledge":
            a = min(a, len(model) + 1)  # the FIN's number lies one behind
            buffer.acknowledge(buffer.start + a)
            start += min(a, len(model))
            model = model[a:]
        elif model:
            at = a % len(model)
            size = min(b, len(model) - at)
            pieces = buffer.slice(buffer.start + at, size)
            assert b"".join(pieces) == model[at : at + size]
            assert all(pieces)
        assert (buffer.start, buffer.end, len(buffer)) == (START + start, START + start + len(model), len(model))


def test_nothing_is_copied() -> None:
    """A segment's payload refers to what the application wrote."""
    data = b"x" * 100_000
    buffer = SendBuffer(1)
    buffer.append(data)
    (whole,) = buffer.slice(1, 100_000)
    assert whole is data
    (part,) = buffer.slice(1001, 1000)
    assert isinstance(part, memoryview)
    assert part.obj is data


def test_acknowledging_again_and_less() -> None:
    buffer = SendBuffer(1)
    buffer.append(b"abcdef")
    buffer.acknowledge(4)
    buffer.acknowledge(4)
    buffer.acknowledge(2)
    assert b"".join(buffer.slice(4, 3)) == b"def"


def test_chunks_are_given_up_one_by_one() -> None:
    buffer = SendBuffer(1)
    for _ in range(100):
        buffer.append(b"x" * 10)
    for at in range(1, 1002, 7):
        buffer.acknowledge(at)
    buffer.acknowledge(1001)
    assert (len(buffer), buffer.start, buffer.end) == (0, 1001, 1001)
