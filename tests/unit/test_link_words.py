"""The words of a link: read and written, and what wrong ones are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.link import distributions, units
from netemu.link.impairments import (
    CLEAR,
    Chance,
    Delay,
    Flap,
    GemodelLoss,
    Impairments,
    Mtu,
    QueueSpec,
    Rate,
    Reorder,
    Slot,
    StateLoss,
    Value,
)
from netemu.link.queues.base import Kind
from netemu.link.queues.registry import DISCIPLINES, parameters_of
from netemu.link.traces import parse_trace
from netemu.link.words import WordsError, parse_words, words_of

MS, SECOND = 1_000_000, 1_000_000_000
FILES = {
    "lte.trace": "0\n3\n3\n12\n",
    "steps.csv": "time_s,delay_ms\n0,10\n5,20\n",
    "rates.csv": "time_s,rate_mbit\n0,10\n5,20\n",
    "own.dist": "# mine\n-8192 0\n8192\n",
    "bad.dist": "1 2 x\n",
}


def read_file(path: str) -> str:
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def parsed(text: str, base: Impairments = CLEAR) -> Impairments:
    return parse_words(text.split(), base, read_file=read_file, profile={"slow": "rate 1mbit delay 1s"}.__getitem__)


def i(**asked: object) -> Impairments:
    return Impairments(**asked)  # type: ignore[arg-type]  # a short name for tables: the dataclass' own keywords


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("", CLEAR),
        ("delay 20ms", i(delay=Delay(20 * MS))),
        ("DELAY 1.5s 10ms 25%", i(delay=Delay(1_500 * MS, 10 * MS, 0.25))),
        ("delay 100", i(delay=Delay(100_000))),  # tc(8): a bare number is microseconds
        ("latency 20ms", i(delay=Delay(20 * MS))),
        ("delay 20ms 5ms distribution uniform", i(delay=Delay(20 * MS, 5 * MS))),
        ("delay 20ms 5ms distribution pareto", i(delay=Delay(20 * MS, 5 * MS, 0.0, distributions.named("pareto")))),
        ("delay 20ms 5ms 1% distribution normal", i(delay=Delay(20 * MS, 5 * MS, 0.01, distributions.named("normal")))),
        ("delay 2ms 1ms keep-order", i(delay=Delay(2 * MS, MS), keep_order=True)),
        ("loss 1%", i(loss=Chance(0.01))),
        ("loss 0.3", i(loss=Chance(0.003))),  # tc(8): percent, with the sign or without
        ("loss random 1% 25%", i(loss=Chance(0.01, 0.25))),
        ("loss 5% ecn", i(loss=Chance(0.05), ecn=True)),
        ("loss state 10%", i(loss=StateLoss(0.1, 0.9))),
        ("loss state 10% 20% 30% 40% 50%", i(loss=StateLoss(0.1, 0.2, 0.3, 0.4, 0.5))),
        ("loss gemodel 1% 10%", i(loss=GemodelLoss(0.01, 0.1))),
        ("loss gemodel 1% 10% 70% 0.1%", i(loss=GemodelLoss(0.01, 0.1, 0.7, 0.001))),
        ("corrupt 0.1% duplicate 2% 5%", i(corrupt=Chance(0.001), duplicate=Chance(0.02, 0.05))),
        ("delay 10ms reorder 25% 50% gap 5", i(delay=Delay(10 * MS), reorder=Reorder(0.25, 0.5, 5))),
        ("delay 10ms gap 5", i(delay=Delay(10 * MS), reorder=Reorder(1.0, 0.0, 5))),
        ("rate 10mbit", i(rate=Rate(10**7))),
        ("rate 2.5Gbit/s -14 48 5", i(rate=Rate(2_500_000_000, -14, 48, 5))),
        ("rate 1mbps", i(rate=Rate(8_000_000))),  # tc(8): bytes a second
        ("rate 512kibit", i(rate=Rate(524_288))),
        ("slot 20ms", i(slot=Slot(20 * MS, 20 * MS))),
        ("slot 800us 1ms packets 32 bytes 64k", i(slot=Slot(800_000, MS, None, 32, 65536))),
        ("slot distribution normal 20ms 5ms", i(slot=Slot(20 * MS, 5 * MS, distributions.named("normal")))),
        ("limit 100 seed 7", i(limit=100, seed=7)),
        ("mtu 1400", i(mtu=Mtu(1400))),
        ("mtu 1280 silent", i(mtu=Mtu(1280, True))),
        ("down", i(down=True)),
        ("flap 10s 500ms", i(flap=Flap(10 * SECOND, 500 * MS))),
        ("queue codel", i(queue=QueueSpec("codel"))),
        ("queue droptail limit 50p", i(queue=QueueSpec("droptail", (("limit", 50),)))),
        ("queue droptail limit 64kb", i(queue=QueueSpec("droptail", (("memory_limit", 65536),)))),
        ("queue fq_codel noecn", i(queue=QueueSpec("fq_codel", (("ecn", False),)))),
        ("queue codel ecn target 10ms", i(queue=QueueSpec("codel", (("target", 10 * MS), ("ecn", True))))),
        ("limit 9 queue codel limit 7 down", i(limit=9, queue=QueueSpec("codel", (("limit", 7),)), down=True)),
        ("trace lte.trace", i(trace=parse_trace(FILES["lte.trace"], "lte.trace"))),
        ("trace steps.csv loop", i(trace=parse_trace(FILES["steps.csv"], "steps.csv", True))),
        ("profile slow loss 1%", i(rate=Rate(10**6), delay=Delay(SECOND), loss=Chance(0.01))),
    ],
)  # fmt: skip
def test_words(text: str, asked: Impairments) -> None:
    assert parsed(text) == asked
    assert parsed(words_of(asked)) == asked


def test_a_distribution_comes_from_a_file() -> None:
    delay = parsed("delay 5ms 1ms distribution own.dist").delay
    assert delay is not None
    assert delay.distribution is not None
    assert delay.distribution.table == (-1.0, 0.0, 1.0)
    assert words_of(Impairments(delay=delay)) == "delay 5ms 1ms distribution own.dist"


def test_words_change_only_what_they_name() -> None:
    base = parsed("delay 20ms loss 1%")
    assert parsed("loss 2%", base) == parsed("delay 20ms loss 2%")
    assert parsed("loss 0%", base) == parsed("delay 20ms")
    assert parsed("clear rate 1mbit", base) == parsed("rate 1mbit")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("loss 120%", "loss 120%: a share is between 0% and 100%"),
        ("loss -1%", "loss -1%: it is negative; give 0 or more, such as 0.1%"),
        ("loss abc", "loss abc: give a number with a unit, such as 0.1%"),
        ("loss", "loss: a value is missing; give a share such as 0.1%"),
        ("loss 1% 100%", "loss 100%: a correlation of 100% would repeat the first decision for ever; give less"),
        ("delay", "delay: a value is missing; give a time such as 20ms"),
        ("delay 20mz", "delay 20mz: 'mz' is no unit of time; give ns, us, ms, s, min or h, such as 20ms"),
        ("delay 20ms distribution normal", "distribution: there is no jitter to spread; give one, such as "
         "delay 20ms 5ms distribution normal"),
        ("distribution normal", "distribution belongs right behind a delay with jitter: delay 20ms 5ms distribution normal"),
        ("delay 2ms 1ms distribution gone", "distribution gone: cannot be read (No such file or directory); give a file that "
         "can, or one of uniform, normal, pareto, paretonormal"),
        ("delay 2ms 1ms distribution bad.dist", "distribution bad.dist:1: 'x'; give whole numbers from -32768 to 32767"),
        ("rate 10", None),
        ("rate 0", "rate 0: a rate is between 1bit and 10tbit; use the word 'down' for a link that carries nothing"),
        ("rate 10furlong", "rate 10furlong: 'furlong' is no unit of a rate; give bit, kbit, mbit or gbit (bps: bytes), such as "
         "10mbit"),
        ("rate 1mbit 0 5 -5", "rate: cells of 5 bytes with an overhead of -5 are nothing; give larger ones"),
        ("loss state 60% 1% 0% 100% 50%", "loss state: P13 and P14 together are 110%; they share one state, give 100% at most"),
        ("reorder 5%", "reorder: nothing overtakes where nothing waits; give a delay too, such as delay 10ms"),
        ("ecn", "ecn: nothing is lost that could be marked; give loss too, or 'queue codel ecn'"),
        ("delay 1ms delay 2ms", "delay is there twice; leave one out"),
        ("delay 1ms latency 2ms", "delay is there twice; leave one out"),
        ("loss 1% clear", "clear stands behind other words; put it first, they change what it says"),
        ("slot 2ms 1ms", "slot: 1ms is less than 2ms; give the least first"),
        ("mtu 20", "mtu 20: give a whole number from 68 to 65535"),
        ("limit 0", "limit 0: give a whole number from 1 to 2147483648"),
        ("limit ten", "limit ten: give a whole number"),
        ("flap 1s", "flap: a value is missing; give two times, up and down, such as 10s 500ms"),
        ("flap 0s 1s", "flap 0s: give more than 0"),
        ("down flap 1s 1s", "down: a link that is down cannot flap; leave one of down and flap out"),
        ("queue fifo", f"queue fifo: there is no such discipline; give one of {', '.join(DISCIPLINES)}"),
        ("queue codel target x", "queue codel target x: give a number with a unit, such as 20ms"),
        ("queue codel limit 5x", "queue codel limit 5x: 'x' is no unit of a size; give b, kb or mb, such as 64kb"),
        ("queue codel target 5ms target 5ms", "queue codel target is there twice; leave one out"),
        ("trace rates.csv rate 1mbit", "rate: the trace says how fast the link is; leave one of rate and trace out"),
        ("trace own.dist", "trace own.dist:2: '-8192 0' is not a whole number of milliseconds; give the time of one delivery, "
         "such as 12"),
        ("trace gone", "trace gone: cannot be read (No such file or directory); give a file that can"),
    ],
)  # fmt: skip
def test_wrong_words_are_told_what_to_give(text: str, told: str | None) -> None:
    if told is None:
        parsed(text)
        return
    with pytest.raises(WordsError) as caught:
        parsed(text)
    assert str(caught.value) == told


def test_an_unknown_word_is_told_the_known_ones() -> None:
    with pytest.raises(WordsError, match="'dealy' is no word of a link; give some of delay, "):
        parsed("dealy 5ms")


@given(
    st.lists(
        st.text(max_size=12) | st.sampled_from(["delay", "loss", "queue", "5ms", "1%", "slot", "rate"]), max_size=6
    )
)
def test_any_words_are_read_or_told_of_in_one_line(words: list[str]) -> None:
    told = "one line"
    try:
        asked = parse_words(words, read_file=read_file)
    except WordsError as error:
        told = str(error)
    else:
        assert parsed(words_of(asked)) == asked
    assert told.isprintable()


times = st.integers(0, 10**13)
some_time = st.integers(1, 10**13)
shares = st.floats(1e-12, 1) | st.integers(1, 10_000).map(lambda n: n / 10_000)
correlations = st.just(0.0) | st.floats(1e-9, 0.999999)
chances = st.builds(Chance, shares, correlations)
tables = st.sampled_from(["normal", "pareto", "paretonormal"]).map(distributions.named)
delays = st.builds(Delay, some_time) | st.builds(Delay, times, some_time, correlations, st.none() | tables)
halves = st.floats(0, 0.5)
losses = (
    chances
    | st.builds(StateLoss, halves, halves, halves, shares, halves)
    | st.builds(GemodelLoss, *[st.floats(0, 1)] * 4)
)
slots = st.builds(lambda a, b, *rest: Slot(min(a, b), max(a, b), None, *rest), times, times, times, times) | st.builds(
    Slot, times, times, tables
)
VALUES: dict[Kind, st.SearchStrategy[Value]] = {
    Kind.TIME: st.integers(10**6, 10**10),
    Kind.BYTES: st.integers(1000, 10**9),
    Kind.RATE: st.integers(1, 10**12),
    Kind.CHANCE: st.floats(1e-6, 1),
    Kind.PACKETS: st.integers(1, 100_000),
    Kind.NUMBER: st.integers(1, 100),
    Kind.FLAG: st.booleans(),
}


@st.composite
def queues(draw: st.DrawFn) -> QueueSpec:
    """Any discipline with any one of its parameters (what goes together is the disciplines' own business)."""
    name = draw(st.sampled_from(sorted(set(DISCIPLINES) - {"red"})))
    kinds = parameters_of(name)
    chosen = draw(st.sets(st.sampled_from(sorted(kinds)), max_size=1))
    return QueueSpec(name, tuple((each, draw(VALUES[kinds[each]])) for each in kinds if each in chosen))


@st.composite
def impairments(draw: st.DrawFn) -> Impairments:
    delay, loss = draw(st.none() | delays), draw(st.none() | losses)
    down = draw(st.booleans())
    return Impairments(
        delay=delay,
        keep_order=draw(st.booleans()),
        loss=loss,
        ecn=loss is not None and draw(st.booleans()),
        corrupt=draw(st.none() | chances),
        duplicate=draw(st.none() | chances),
        reorder=draw(st.none() | st.builds(Reorder, shares, correlations, st.integers(1, 99))) if delay else None,
        rate=draw(st.none() | st.builds(Rate, st.integers(1, 10**13), st.integers(-2000, 2000), st.integers(50, 999))),
        slot=draw(st.none() | slots.filter(lambda slot: slot.packets < 1 << 31 and slot.bytes < 1 << 40)),
        limit=draw(st.none() | st.integers(1, 1 << 31)),
        queue=draw(st.none() | queues()),
        mtu=draw(st.none() | st.builds(Mtu, st.integers(68, 65535), st.booleans())),
        down=down,
        flap=None if down else draw(st.none() | st.builds(Flap, some_time, some_time)),
        seed=draw(st.none() | st.integers(0, (1 << 64) - 1)),
    )


@given(impairments())
def test_words_say_everything(asked: Impairments) -> None:
    assert parse_words(words_of(asked).split()) == asked


@given(some_time, st.integers(1, 10**13), st.integers(0, 1 << 40), st.floats(0, 1))
def test_units_are_written_as_they_are_read(time: int, rate: int, size: int, share: float) -> None:
    assert units.time(units.time_text(time)) == time
    assert units.rate(units.rate_text(rate)) == rate
    assert units.size(units.size_text(size)) == size
    assert units.share(units.share_text(share)) == share


@pytest.mark.parametrize(
    ("value", "text"),
    [(51_200_000, "51.2ms"), (SECOND, "1s"), (1500, "1.5us"), (7, "7ns"), (0, "0s"), (90 * SECOND, "90s")],
)
def test_times_are_written_in_the_unit_that_fits(value: int, text: str) -> None:
    assert units.time_text(value) == text
