"""TCP segments: bytes to Segment and back."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netemu.reasons import Drop
from netemu.wire import tcp
from netemu.wire.tcp import ACK, FIN, NO_OPTIONS, PSH, SYN, Options, Segment, emit_options, parse_options, unwrap

U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
BLOCKS = st.lists(st.tuples(U32, U32), min_size=1, max_size=4).map(tuple)
OPTIONS = st.builds(
    Options,
    mss=st.none() | U16,
    wscale=st.none() | st.integers(0, 255),
    sack_permitted=st.booleans(),
    sack=st.just(()) | BLOCKS,
)


def emitted(options: Options, ts: tuple[int, int] | None) -> bytes:
    val, ecr = ts or (None, 0)
    if options == NO_OPTIONS:
        options = NO_OPTIONS  # the emitter's short way looks at identity
    return emit_options(Segment(0, 0, 0, 0, ts_val=val, ts_ecr=ecr or 0, options=options))


def header(options: bytes = b"", offset: int | None = None, flags: int = ACK) -> bytes:
    words = 5 + (len(options) + 3) // 4 if offset is None else offset
    return tcp.FIXED.pack(1, 2, 3, 4, words << 12 | flags, 5, 6, 7) + options


def segment(data: bytes) -> Segment:
    parsed = tcp.parse(data, 0, len(data))
    assert isinstance(parsed, Segment)
    return parsed


# -- options ---------------------------------------------------------------------------------------------------------


@given(OPTIONS, st.none() | st.tuples(U32, U32))
def test_options_there_and_back(options: Options, ts: tuple[int, int] | None) -> None:
    out = emitted(options, ts)
    if len(out) > tcp.MAX_OPTIONS:
        return
    assert len(out) % 4 == 0
    val, ecr, read = parse_options(out)
    assert read == options
    assert (val, ecr) == (ts or (None, 0))
    assert (read is NO_OPTIONS) == (options == NO_OPTIONS)
    whole = segment(header(out))
    assert (whole.options, whole.ts_val, whole.ts_ecr, whole.length) == (options, val, ecr, 0)


@pytest.mark.parametrize("mss", [None, 1460])
@pytest.mark.parametrize("wscale", [None, 7])
@pytest.mark.parametrize("sack_permitted", [False, True])
@pytest.mark.parametrize("ts", [None, (1, 0)])
@pytest.mark.parametrize("blocks", range(5))
def test_every_combination_of_options(
    mss: int | None, wscale: int | None, sack_permitted: bool, ts: tuple[int, int] | None, blocks: int
) -> None:
    options = Options(mss, wscale, sack_permitted, tuple((n * 10, n * 10 + 5) for n in range(blocks)))
    out = emitted(options, ts)
    val, ecr, read = parse_options(out)
    assert (read, val, ecr) == (options, *(ts or (None, 0)))
    assert (
        all(kind not in out[-3:] for kind in (0,)) or out[-4] in (2, 3, 8) or blocks or ts
    )  # no padding after EOL needed


def kinds(area: bytes) -> list[int]:
    found, at = [], 0
    while at < len(area):
        found.append(area[at])
        at += 1 if area[at] < 2 else area[at + 1]
    assert at == len(area)
    return found


def test_as_linux_orders_them() -> None:
    syn = Options(1460, 7, True)
    assert emitted(syn, (9, 0)).hex() == "020405b40402080a000000090000000001030307"
    assert emitted(syn, None).hex() == "020405b40101040201030307"
    assert emitted(NO_OPTIONS, (9, 8)).hex() == "0101080a0000000900000008"
    assert emitted(Options(sack=((1, 2),)), (9, 8)).hex() == "0101080a00000009000000080101050a0000000100000002"
    assert emitted(NO_OPTIONS, None) == b""


def test_numbers_wider_than_32_bits_are_masked() -> None:
    """The core's numbers are unbounded."""
    wide = 5 << 32
    out = emitted(Options(sack=((wide + 1, wide + 2),)), (wide + 3, wide + 4))
    assert parse_options(out) == (3, 4, Options(sack=((1, 2),)))


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
@pytest.mark.parametrize("pad", [0, 1, 2, 3])
def test_order_and_alignment_do_not_matter(order: tuple[int, ...], pad: int) -> None:
    """MUST-64, and MUST-4: NOP and EOL."""
    pieces = [b"\x02\x04\x05\xb4", b"\x03\x03\x07", b"\x04\x02", b"\x08\x0a\0\0\0\x01\0\0\0\x02"]
    data = b"\x01" * pad + b"".join(pieces[n] for n in order) + b"\0" + b"\x02\x04\x01\x01"  # not read behind EOL
    assert parse_options(data) == (1, 2, Options(1460, 7, True))


@given(st.integers(9, 255).filter(lambda kind: kind not in (0, 1, 2, 3, 4, 5, 8)), st.binary(max_size=10))
def test_unknown_options_are_skipped(kind: int, value: bytes) -> None:
    """MUST-6, MUST-68: all options but EOL and NOP have a length."""
    data = bytes([kind, 2 + len(value)]) + value + b"\x02\x04\x05\xb4"
    assert parse_options(data) == (None, 0, Options(mss=1460))


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 8, 77])
@pytest.mark.parametrize("length", [0, 1, 200])
def test_an_illegal_length_ends_the_reading(kind: int, length: int) -> None:
    """MUST-7: what stands before it counts."""
    data = b"\x02\x04\x05\xb4" + bytes([kind, length]) + b"\x03\x03\x07\x01"
    assert parse_options(data) == (None, 0, Options(mss=1460))


@pytest.mark.parametrize(
    "data", ["02", "0205", "030207", "0403", "040301", "0506aabbccdd", "050300", "0809" + "00" * 7]
)
def test_known_options_of_a_wrong_length_are_skipped(data: str) -> None:
    ts, _, options = parse_options(bytes.fromhex(data))
    assert (ts, options) == (None, NO_OPTIONS)
    if len(bytes.fromhex(data)) == bytes.fromhex(data + "00")[1]:
        assert parse_options(bytes.fromhex(data) + b"\x03\x03\x07")[2] == Options(wscale=7)


def test_the_last_of_two_counts() -> None:
    assert parse_options(b"\x02\x04\x00\x01\x02\x04\x00\x02")[2] == Options(mss=2)


def test_zero_values_are_values() -> None:
    assert parse_options(b"\x02\x04\0\0\x03\x03\0\x01")[2] == Options(mss=0, wscale=0)
    assert parse_options(b"\x08\x0a" + bytes(8)) == (0, 0, NO_OPTIONS)


@given(st.binary(max_size=40))
@example(b"\x01" * 40)
@example(b"\0" * 40)
def test_any_option_area_is_survived(data: bytes) -> None:
    padded = data + bytes(-len(data) % 4)
    whole = segment(header(padded))
    assert (whole.ts_val, whole.ts_ecr, whole.options) == parse_options(padded)


def test_options_in_any_segment() -> None:
    """MUST-5: the parser does not care; whoever takes them does (MUST-65 is about sending)."""
    assert segment(header(b"\x02\x04\x05\xb4", flags=FIN)).options.mss == 1460


# -- segments --------------------------------------------------------------------------------------------------------


@given(U32, U32, st.integers(0, 255), U16, U16, OPTIONS, st.none() | st.tuples(U32, U32), st.binary(max_size=30))
def test_segments_there_and_back(
    seq: int, ack: int, flags: int, wnd: int, urg: int, options: Options, ts: tuple[int, int] | None, data: bytes
) -> None:
    out = emitted(options, ts)[:40]
    raw = tcp.FIXED.pack(1, 2, seq, ack, (5 + len(out) // 4) << 12 | flags, wnd, 0, urg) + out + data
    read = tcp.parse(b"ip" * 10 + raw + b"padding", 20, 20 + len(raw))
    assert isinstance(read, Segment)
    assert (read.seq, read.ack, read.flags, read.wnd, read.urg) == (seq, ack, flags, wnd, urg)
    assert read.data() == data
    assert read.length == len(data)
    assert read.end == seq + len(data) + bool(flags & SYN) + bool(flags & FIN)
    assert len(read.payload) == bool(data)


@pytest.mark.parametrize("size", range(20))
def test_shorter_than_a_header(size: int) -> None:
    assert tcp.parse(bytes(40), 0, size) is Drop.TRUNCATED


def test_shorter_than_a_header_behind_an_ip_header() -> None:
    assert tcp.parse(bytes(60), 20, 39) is Drop.TRUNCATED
    assert tcp.parse(bytes(60), 40, 40) is Drop.TRUNCATED


def test_flags_and_their_letters() -> None:
    assert [tcp.flag_letters(1 << n) for n in range(8)] == list("FSRP.UEW")
    assert tcp.flag_letters(0) == "-"
    assert tcp.flag_letters(0xFF) == "SFRP.UEW"
    assert tuple(1 << n for n in range(8)) == (tcp.FIN, SYN, tcp.RST, PSH, ACK, tcp.URG, tcp.ECE, tcp.CWR)


@pytest.mark.parametrize("offset", range(16))
@pytest.mark.parametrize("room", [0, 1, 4, 12, 39, 40, 100])
def test_every_data_offset(offset: int, room: int) -> None:
    read = tcp.parse(header(bytes(room), offset), 0, 20 + room)
    if 20 <= offset * 4 <= 20 + room:
        assert isinstance(read, Segment)
        assert read.length == 20 + room - offset * 4
    else:
        assert read is Drop.BAD_TCP_HEADER


def test_a_bare_twelve_byte_option_area_need_not_be_timestamps() -> None:
    """The short way for NOP NOP timestamps must not take others for it."""
    assert segment(header(b"\x02\x04\x05\xb4" + b"\x01" * 8)).options == Options(mss=1460)
    assert segment(header(b"\x01\x01\x05\x0a" + bytes(7) + b"\x01")).options.sack == ((0, 1),)
    assert segment(header(b"\x08\x0a\0\0\0\x01\0\0\0\x02\x01\x01")).ts_val == 1


def test_gso_size_and_repr() -> None:
    read = tcp.parse(header(flags=PSH | ACK) + bytes(3000), 0, 3020, 1460)
    assert isinstance(read, Segment)
    assert read.gso_size == 1460
    assert repr(read) == "<P. 3:3003(3000) ack 4 win 5 gso 1460>"
    assert repr(Segment(1, 0, 0, 2)) == "<- 1:1(0) win 2>"
    assert "TS 8 ecr 9" in repr(Segment(1, 0, SYN, 2, ts_val=8, ts_ecr=9, options=Options(mss=4)))


# -- sequence numbers ------------------------------------------------------------------------------------------------


@given(U32, st.integers(0, 1 << 40))
@example(0, 0x80000000)
@example(0x80000000, 0)
@example(0xFFFFFFFF, 1 << 32)
def test_unwrap_finds_the_nearest(raw: int, near: int) -> None:
    number = unwrap(raw, near)
    assert number % (1 << 32) == raw
    assert -(1 << 31) <= number - near < 1 << 31


def test_unwrap_follows_a_whole_stream() -> None:
    random, number = Random(7), 0xFFFFF000
    for _ in range(10_000):
        number += random.randrange(1 << 20)
        assert unwrap(number & 0xFFFFFFFF, number - random.randrange(1 << 30)) == number
