"""Rates from traces: what the files may say, and when bytes leave."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.link.traces import DeliveryTrace, Step, StepTrace, TraceError, parse_trace
from netemu.tcp.config import NEVER

MS, SECOND = 1_000_000, 1_000_000_000


def departures(text: str, packets: list[tuple[int, int]], start: int = 0, loops: bool | None = None) -> list[float]:
    """When packets of (size, arrival in ms) are through, in ms."""
    schedule = parse_trace(text, "t", loops).schedule(start)
    assert schedule is not None
    return [schedule.departure(size, arrival * MS) / MS for size, arrival in packets]


# -- packet-delivery traces ---------------------------------------------------------------------------------------------------


def test_a_full_packet_takes_one_opportunity() -> None:
    assert departures("2\n5\n9\n", [(1500, 0), (1500, 0), (1500, 0)]) == [2, 5, 9]


def test_several_small_packets_share_one() -> None:
    assert departures("2\n5\n9\n", [(500, 0)] * 4) == [2, 2, 2, 5]


def test_a_packet_that_does_not_fit_the_rest_takes_it_and_goes_with_the_next() -> None:
    assert departures("2\n5\n9\n", [(1000, 0), (1000, 0), (1000, 0)]) == [2, 5, 5]


def test_a_large_packet_takes_several() -> None:
    assert departures("2\n5\n9\n", [(4500, 0)]) == [9]
    assert departures("2\n5\n9\n", [(4501, 0)]) == [9 + 2]


def test_what_finds_nothing_to_carry_is_lost_and_so_is_the_rest_of_one() -> None:
    assert departures("2\n5\n9\n", [(100, 0), (100, 3), (100, 5), (100, 6)]) == [2, 5, 5, 9]


def test_the_trace_wraps_around_at_its_last_time() -> None:
    """The opportunity of 0 ms comes again at 10 ms, beside that of the end."""
    assert departures("0\n10\n", [(1500, 0)] * 5) == [0, 10, 10, 20, 20]
    assert departures("0\n10\n", [(1500, 10)] * 3) == [10, 10, 20]


def test_the_same_time_twice_is_twice_the_bytes() -> None:
    assert departures("1\n1\n1\n4\n", [(1500, 0)] * 4) == [1, 1, 1, 4]


def test_a_trace_begins_when_it_is_set() -> None:
    assert departures("2\n5\n", [(1500, 100)], start=100 * MS) == [102]
    assert departures("2\n5\n", [(1500, 0)], start=100 * MS) == [102]


def test_the_rate_of_a_trace() -> None:
    trace = parse_trace("\n".join(map(str, range(1, 1001))), "12mbit")
    assert isinstance(trace, DeliveryTrace)
    assert trace.mean_rate == 12_000_000
    assert trace.at(5) == Step(0)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=8).map(sorted).filter(lambda times: times[-1] > 0),
    st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 40)), max_size=12),
)
def test_as_if_each_opportunity_were_played(times: list[int], gaps: list[tuple[int, int]]) -> None:
    """Against mm-link's own way: walk through all opportunities, and let each carry what is there."""
    packets, arrival = [], 0
    for size, gap in gaps:
        arrival += gap
        packets.append((size, arrival))
    expected, queue = [], list(packets)
    for when in (lap * times[-1] + time for lap in range(1000) for time in times):
        room = 1500
        while room and queue and queue[0][1] <= when:
            size, there = queue.pop(0)
            if size > room:
                queue.insert(0, (size - room, there))
                room = 0
            else:
                room -= size
                expected.append(when)
        if not queue:
            break
    assert departures("\n".join(map(str, times)), packets) == expected


# -- tables -------------------------------------------------------------------------------------------------------------------

TABLE = """time_s,rate_mbit,delay_ms,loss_percent
# a tunnel
0,12,20,0

2,0,20,100
3,6,80.5,1.5
"""


def test_a_table_of_steps() -> None:
    trace = parse_trace(TABLE, "t.csv")
    assert trace == StepTrace(
        "t.csv",
        (
            Step(0, 12_000_000, 20 * MS, 0.0),
            Step(2 * SECOND, 0, 20 * MS, 1.0),
            Step(3 * SECOND, 6_000_000, 80_500_000, 0.015),
        ),
    )
    assert trace.at(0).rate == trace.at(2 * SECOND - 1).rate == 12_000_000
    assert trace.at(2 * SECOND).loss == 1.0
    assert trace.at(9999 * SECOND).delay == 80_500_000
    assert trace.mean_rate == 8_000_000


def test_values_may_carry_their_units() -> None:
    assert parse_trace("time,rate,delay,loss\n0,10mbit,20ms,0\n500ms,2500 kbit,.1s,1%\n", "t") == StepTrace(
        "t", (Step(0, 10**7, 20 * MS, 0.0), Step(500 * MS, 2_500_000, 100 * MS, 0.01))
    )
    assert parse_trace("time_ms,rate_kbit\n0,1e3\n10,2mbit\n", "t").at(10 * MS).rate == 2_000_000


def test_bytes_take_their_time_over_the_steps() -> None:
    assert departures(TABLE, [(1500, 0), (1500, 0), (1500, 5)]) == [1, 2, 6]
    assert departures(TABLE, [(1500, 2500)]) == [3002]  # it waits for the outage's end, and then goes at 6 mbit
    assert departures(TABLE, [(3000, 1999)]) == [3002]  # half of it before, half of it after
    assert departures(TABLE, [(1500, 100_000)]) == [100_002]  # the last step holds


def test_a_table_may_loop() -> None:
    text = "time_ms,rate_mbit\n0,12\n10,6\n20,0\n"
    assert departures(text, [(1500, 100)], loops=True) == [101]
    assert departures(text, [(1500, 110)], loops=True) == [112]
    assert departures(text, [(22_500, 0)] * 2, loops=True) == [20, 40]
    assert departures(text, [(2_250_000, 0)], loops=True) == [2000]
    trace = parse_trace(text, "t", loops=True)
    assert (trace.at(15 * MS).rate, trace.at(20 * MS).rate, trace.mean_rate) == (6_000_000, 12_000_000, 9_000_000)


def test_a_table_that_ends_in_silence_lets_nothing_more_through() -> None:
    schedule = parse_trace("time_ms,rate_mbit\n0,12\n10,0\n", "t").schedule(0)
    assert schedule is not None
    assert schedule.departure(1500, 0) == MS
    assert schedule.departure(1500, 10 * MS) == NEVER
    assert schedule.departure(1, 0) == NEVER


def test_a_table_need_not_speak_of_rates() -> None:
    trace = parse_trace("time_s,delay_ms\n0,10\n1,20\n", "t")
    assert trace.schedule(0) is None
    assert trace.mean_rate is None
    assert trace.at(SECOND) == Step(SECOND, None, 20 * MS, None)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20)), min_size=2, max_size=6).filter(
        lambda steps: sum(rate for _, rate in steps[:-1]) > 0
    ),
    st.booleans(),
    st.integers(1, 200),
    st.integers(0, 100),
)
def test_bytes_as_if_counted_each_millisecond(
    steps: list[tuple[int, int]], loops: bool, size: int, arrival: int
) -> None:
    """At 8 kbit a byte takes a millisecond, so that n times 8 kbit let n bytes through in each."""
    starts = [0]
    for length, _ in steps:
        starts.append(starts[-1] + length)
    text = "time_ms,rate_kbit\n" + "".join(
        f"{start},{rate * 8}\n" for start, (_, rate) in zip(starts, steps, strict=False)
    )
    period, left, now = starts[len(steps) - 1], size, arrival
    while left > 0 and now < 5000:
        at = now % period if loops else now
        left -= next(rate for start, (_, rate) in reversed(list(zip(starts, steps, strict=False))) if start <= at)
        now += 1
    (found,) = departures(text, [(size, arrival)], loops=loops)
    assert found == NEVER / MS if left > 0 else now - 1 < found <= now


# -- files that lie -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "t:1: the trace is empty"),
        ("# nothing\n\n", "t:1: the trace is empty"),
        ("5\n-3\n", "t:2: '-3' is negative; give the time of one delivery"),
        ("5\n\n3\n", "t:3: 3 ms comes after 5 ms; put times in order"),
        ("5\n7.5\n", "t:2: '7.5' is not a whole number of milliseconds"),
        ("5\n6 7\n", "t:2: '6 7' is not a whole number"),
        ("1\nx\n", "t:2: 'x' is not a whole number"),
        ("0\n0\n", "t:2: the last time is 0 ms, so the trace has no length"),
        ("99999999999\n", "t:1: '99999999999' ms is more than 366 days"),
        ("1" * 5000, "is more than 366 days"),
        ("hello\n", "t:1: column 'hello' is not known; give a line such as time_s,rate_mbit,delay_ms,loss_percent"),
        ("0,10\n1,20\n", "t:1: column '0' is not known"),
        ("time_s\n0\n", "t:1: nothing but times"),
        ("rate_mbit,delay_ms\n", "t:1: no column 'time'"),
        ("time_s,time_ms,rate_mbit\n", "t:1: column 'time' is there twice"),
        (
            "time_s,rate_mbps\n0,1\n",
            "t:1: column 'rate_mbps': 'bps' may be bits or bytes; give bits as kbit, mbit or gbit",
        ),
        ("time_s,rate_furlongs\n0,1\n", "t:1: column 'rate_furlongs': 'furlongs' is no unit of a rate; give bit, kbit"),
        ("time_s,rate_mbit\n", "t:1: a header and no step"),
        ("time_s,rate_mbit\n1,5\n", "t:2: the first step is at 1; begin at time 0"),
        ("time_s,rate_mbit\n0,5\n0,6\n", "t:3: the time does not grow"),
        ("time_s,rate_mbit\n0,5\n2,6\n1,6\n", "t:4: the time does not grow"),
        ("time_s,rate_mbit\n0,5\n1\n", "t:3: 1 values under 2 columns"),
        ("time_s,rate_mbit\n0,5\n1,-6\n", "t:3: rate '-6': it is negative; give 0 or more"),
        ("time_s,rate_mbit\n0,5\n1,fast\n", "t:3: rate 'fast': give a number with a unit, such as 10mbit"),
        ("time_s,rate_mbit\n0,5\n1,nan\n", "t:3: rate 'nan': give a number"),
        ("time_s,rate_mbit\n0,5\n1,inf\n", "t:3: rate 'inf': give a number"),
        ("time_s,rate_mbit\n0,5\n1,\n", "t:3: rate '': give a number"),
        ("time_s,rate_mbit\n0,5\n1,1e300\n", "t:3: rate '1e300': "),
        ("time_s,rate\n0,0\n1,0 parsec\n", "t:3: rate '0 parsec': 'parsec' is no unit of a rate"),
        ("time_s,rate_mbit\n0,5\n1,1e9\n", "t:3: rate '1e9': a rate is between 1bit and 10tbit"),
        ("time_s,rate\n0,5\n", "t:2: rate '5' has no unit; name the column 'rate_mbit', or write it behind"),
        ("time_s,rate\n0,5 parsec\n", "t:2: rate '5 parsec': 'parsec' is no unit of a rate"),
        ("time_s,loss_percent\n0,120\n", "t:2: loss '120': a share is between 0% and 100%"),
        ("time_s,delay_s\n0,7200\n", "t:2: delay '7200': that is more than an hour; is the unit right?"),
        ("time_h,delay_s\n0,1\n9000,1\n", "t:3: time '9000': that is more than 366 days"),
        ("time_s,rate_mbit\n0,0\n5,0\n", "t:3: the rate is 0 all the time"),
    ],
)
def test_a_trace_that_lies_is_one_line(text: str, says: str) -> None:
    with pytest.raises(TraceError) as raised:
        parse_trace(text, "t")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_cannot_loop_or_hold() -> None:
    with pytest.raises(TraceError, match="t:2: one step cannot loop"):
        parse_trace("time_s,rate_mbit\n0,5\n", "t", loops=True)
    with pytest.raises(TraceError, match="t:3: the rate is 0 all the time"):
        parse_trace("time_s,rate_mbit\n0,0\n5,9\n", "t", loops=True)
    with pytest.raises(TraceError, match="always begins anew; leave 'hold' out"):
        parse_trace("1\n", "t", loops=False)


@settings(deadline=None)
@given(st.text(alphabet="0123456789,.-_#e\n timeratedelayloss%mbit", max_size=200))
def test_any_text_is_a_trace_or_one_line(text: str) -> None:
    try:
        schedule = parse_trace(text, "t").schedule(0)
    except TraceError as error:
        text = str(error)
        schedule = None
    else:
        text = "t:"
    assert text.startswith("t:")
    assert "\n" not in text
    assert schedule is None or schedule.departure(1500, 0) >= 0
