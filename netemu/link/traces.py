"""Rates from traces: mahimahi's packet-delivery traces, and tables (CSV) of time, rate, delay and loss.

Sans-I/O: text in, a trace out. A trace is data and never changes; its `schedule` is what a bottleneck asks, once per packet,
when the last byte of it may leave.

A packet-delivery trace is what mm-link(1) reads: each line is a time in milliseconds, at which 1500 bytes may leave. One such
opportunity may carry several small packets, and a large packet may take several; one that finds nothing to carry is lost. At
its end the trace begins anew: the last line's time is its period. (mahimahi counts 1504 bytes, since its packets have the four
bytes of a TUN's header before them; ours are IP packets.)

A table has a line that names the columns, each with its unit, and then a line per step:

    time_s,rate_mbit,delay_ms,loss_percent
    0,10,20,0
    5,2.5,80,1
    9,10,20,0

or the values carry the units (`5s,2500kbit,80ms,1%` under `time,rate,delay,loss`). Each line holds until the time of the next.
The last one holds for ever; in a trace that loops it is only the end: there the first line comes again. A column that is not
there leaves to the other words of the link what it would say. Empty lines and those that begin with '#' count for nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from netemu.link.units import MAX_TIME, MILLISECOND, SECOND, rate, share, time
from netemu.tcp.config import NEVER

OPPORTUNITY = 1500
"""Bytes that one line of a packet-delivery trace lets through."""

MAX_DELAY = 3_600 * SECOND
"""ns; what goes beyond it is a slip of the pen, or has a wrong unit."""

_HEADER = "time_s,rate_mbit,delay_ms,loss_percent"
_READ: dict[str, Callable[[str], float]] = {"time": time, "rate": rate, "delay": time, "loss": share}
"""How a column's values are read, once they have their unit."""
_ZERO = re.compile(r"0+(\.0*)?(?![\d.])", re.ASCII)
_EXAMPLE = {name.partition("_")[0]: name for name in _HEADER.split(",")}


class TraceError(ValueError):
    """A trace that cannot be true; its text is one line: FILE:LINE: what is wrong, and what to give."""


class Schedule(Protocol):
    """One direction's way through a trace."""

    def departure(self, size: int, now: int) -> int:
        """When the last of ``size`` bytes is through, if their turn comes at ``now`` (ns); NEVER if the trace lets nothing pass
        any more. Every call takes its share: ask once per packet, in the order in which they leave."""


@dataclass(frozen=True, slots=True)
class Step:
    """What holds from ``time`` (ns since the trace's beginning) on; None where the trace says nothing of it."""

    time: int
    rate: int | None = None
    """Bits a second."""
    delay: int | None = None
    """ns."""
    loss: float | None = None
    """0 to 1."""


@dataclass(frozen=True, slots=True)
class DeliveryTrace:
    """A packet-delivery trace. It loops."""

    source: str
    """The file, as it was named."""
    times: tuple[int, ...]
    """Of the opportunities, ns since the beginning, in order."""
    loops: bool = True

    @property
    def mean_rate(self) -> int:
        """Bits a second over one period."""
        return len(self.times) * OPPORTUNITY * 8 * SECOND // self.times[-1]

    def schedule(self, start: int) -> Schedule:
        """The opportunities of a trace that begins at ``start`` (ns)."""
        return _Opportunities(self.times, start)

    def at(self, elapsed: int) -> Step:
        """What a packet meets beside the rate: nothing."""
        return Step(0)


@dataclass(frozen=True, slots=True)
class StepTrace:
    """A table of steps; the first is at time 0."""

    source: str
    steps: tuple[Step, ...]
    loops: bool = False
    """Whether the last step is where the first comes again; else it holds for ever."""

    @property
    def mean_rate(self) -> int | None:
        """Bits a second over the whole of it, what follows the last step not counted; None if it says nothing of rates."""
        period = self.steps[-1].time
        if self.steps[0].rate is None:
            return None
        return sum(_bits(self.steps)) // period if period else self.steps[0].rate

    def schedule(self, start: int) -> Schedule | None:
        """The rates of a trace that begins at ``start`` (ns); None if it says nothing of them."""
        return None if self.steps[0].rate is None else _Rates(self, start)

    def at(self, elapsed: int) -> Step:
        """What holds ``elapsed`` ns after the beginning."""
        if self.loops:
            elapsed %= self.steps[-1].time
        return self.steps[max(0, bisect_right(self.steps, elapsed, key=_time_of) - 1)]


Trace = DeliveryTrace | StepTrace


class _Opportunities:
    """Opportunity k is at ``start + k // n * period + times[k % n]``; those before the k-th are used up or lost."""

    def __init__(self, times: tuple[int, ...], start: int) -> None:
        self._times, self._start, self._period = times, start, times[-1]
        self._next = 0
        self._when = start
        """Of the one that was used last,"""
        self._left = 0
        """and the bytes that it still lets through, at that very time."""

    def departure(self, size: int, now: int) -> int:
        if now > self._when:
            self._left = 0
            self._next = max(self._next, self._first_at(now))
        if size > self._left:
            taken = -(-(size - self._left) // OPPORTUNITY)
            self._next += taken
            self._left += taken * OPPORTUNITY
            self._when = self._time(self._next - 1)
        self._left -= size
        return self._when

    def _time(self, number: int) -> int:
        lap, index = divmod(number, len(self._times))
        return self._start + lap * self._period + self._times[index]

    def _first_at(self, now: int) -> int:
        lap, elapsed = divmod(max(0, now - self._start), self._period)
        if not elapsed and lap:  # the end of a lap is the beginning of the next: both have opportunities then
            lap, elapsed = lap - 1, self._period
        return lap * len(self._times) + bisect_left(self._times, elapsed)


class _Rates:
    """How long bytes take over steps of different rates, to the nanosecond."""

    def __init__(self, trace: StepTrace, start: int) -> None:
        self._steps, self._loops = trace.steps, trace.loops
        self._start = self._free = start
        self._period = trace.steps[-1].time
        self._lap = sum(_bits(trace.steps))

    def departure(self, size: int, now: int) -> int:
        now = max(now, self._free)
        self._free = NEVER if now >= NEVER else self._through(size * 8 * SECOND, now)
        return self._free

    def _through(self, need: int, now: int) -> int:
        """When ``need`` (in bits times nanoseconds a second) is through."""
        if self._loops:  # whole laps first: they bring us to the same place of the trace
            laps, rest = divmod(need - 1, self._lap)
            now, need = now + laps * self._period, rest + 1
        while need > 0:
            rate, end = self._segment(now)
            if end >= NEVER and not rate:
                return NEVER
            if end >= NEVER or rate * (end - now) >= need:
                return now - (-need // rate)
            need -= rate * (end - now)
            now = end
        return now

    def _segment(self, now: int) -> tuple[int, int]:
        """The rate at ``now``, and until when it holds."""
        elapsed = max(0, now - self._start)
        lap, elapsed = divmod(elapsed, self._period) if self._loops else (0, elapsed)
        after = bisect_right(self._steps, elapsed, key=_time_of)
        rate = self._steps[after - 1].rate
        assert rate is not None
        if after == len(self._steps):
            return rate, NEVER
        return rate, self._start + lap * self._period + self._steps[after].time


def _time_of(step: Step) -> int:
    return step.time


def _bits(steps: tuple[Step, ...]) -> Iterator[int]:
    """What each step but the last lets through, in bits times nanoseconds a second."""
    for step, following in pairwise(steps):
        yield (step.rate or 0) * (following.time - step.time)


# -- reading ----------------------------------------------------------------------------------------------------------------


def parse_trace(text: str, source: str, loops: bool | None = None) -> Trace:
    """The trace in ``text``, which came from ``source``; TraceError where it is wrong.

    ``loops``: whether it begins anew at its end; by default a packet-delivery trace does, and a table holds its last line.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise TraceError(f"{source}:1: the trace is empty; give times in ms, one a line, or a table under '{_HEADER}'")
    if "," in lines[0][1] or lines[0][1][0].isalpha():
        return _parse_table(lines, source, bool(loops))
    if loops is False:
        raise TraceError(f"{source}:{lines[0][0]}: a packet-delivery trace always begins anew; leave 'hold' out")
    return _parse_deliveries(lines, source)


def _parse_deliveries(lines: list[tuple[int, str]], source: str) -> DeliveryTrace:
    times: list[int] = []
    for number, line in lines:
        if not (line.isascii() and line.isdecimal()):
            sign = line.startswith("-") and line[1:].isdecimal()
            wrong = "is negative" if sign else "is not a whole number of milliseconds"
            raise TraceError(f"{source}:{number}: {_short(line)} {wrong}; give the time of one delivery, such as 12")
        if len(line) > 15 or int(line) * MILLISECOND > MAX_TIME:
            raise TraceError(f"{source}:{number}: {_short(line)} ms is more than 366 days; times are in milliseconds")
        times.append(int(line) * MILLISECOND)
        if len(times) > 1 and times[-1] < times[-2]:
            raise TraceError(
                f"{source}:{number}: {line} ms comes after {times[-2] // MILLISECOND} ms; put times in order"
            )
    if not times[-1]:
        raise TraceError(f"{source}:{lines[-1][0]}: the last time is 0 ms, so the trace has no length; end it later")
    return DeliveryTrace(source, tuple(times))


def _parse_table(lines: list[tuple[int, str]], source: str, loops: bool) -> StepTrace:
    columns = _parse_header(f"{source}:{lines[0][0]}", lines[0][1])
    steps: list[Step] = []
    for number, line in lines[1:]:
        where = f"{source}:{number}"
        step = _parse_row(where, columns, line)
        if not steps and step.time:
            raise TraceError(f"{where}: the first step is at {line.split(',')[0].strip()}; begin at time 0")
        if steps and step.time <= steps[-1].time:
            raise TraceError(f"{where}: the time does not grow from the line before; put each step after the last")
        steps.append(step)
    if not steps:
        raise TraceError(f"{source}:{lines[0][0]}: a header and no step; give lines such as 0,10,20,0")
    trace = StepTrace(source, tuple(steps), loops)
    if loops and len(steps) < 2:
        raise TraceError(f"{source}:{lines[-1][0]}: one step cannot loop; give a last line, which says when it ends")
    if steps[0].rate is not None and not (sum(_bits(trace.steps)) or (steps[-1].rate and not loops)):
        raise TraceError(f"{source}:{lines[-1][0]}: the rate is 0 all the time; use the word 'down' for a dead link")
    return trace


def _parse_header(where: str, line: str) -> list[tuple[str, str]]:
    """(what, unit or "") of each column."""
    columns: list[tuple[str, str]] = []
    for cell in (cell.strip().lower() for cell in line.split(",")):
        what, _, unit = cell.partition("_")
        if what not in _READ:
            raise TraceError(f"{where}: column {_short(cell)} is not known; give a line such as {_HEADER}")
        if any(what == other for other, _ in columns):
            raise TraceError(f"{where}: column '{what}' is there twice; leave one out")
        if unit:
            _value(f"{where}: column '{cell}'", what, f"1{unit}")
        columns.append((what, unit))
    if not any(what == "time" for what, _ in columns):
        raise TraceError(f"{where}: no column 'time'; give a line such as {_HEADER}")
    if len(columns) < 2:
        raise TraceError(f"{where}: nothing but times; give a line such as {_HEADER}")
    return columns


def _parse_row(where: str, columns: list[tuple[str, str]], line: str) -> Step:
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(columns):
        raise TraceError(f"{where}: {len(cells)} values under {len(columns)} columns; give one for each")
    values = {what: _parse_value(where, what, unit, cell) for (what, unit), cell in zip(columns, cells, strict=True)}
    rate, delay = values.get("rate"), values.get("delay")
    return Step(
        round(values["time"]),
        None if rate is None else round(rate),
        None if delay is None else round(delay),
        values.get("loss"),
    )


def _parse_value(where: str, what: str, unit: str, cell: str) -> float:
    """In ns, bits a second, or a share from 0 to 1."""
    is_bare = cell[-1:].isdigit() or cell[-1:] == "."
    if is_bare and not unit and cell.strip("0.-"):
        raise TraceError(
            f"{where}: {what} {_short(cell)} has no unit; name the column '{_EXAMPLE[what]}', or write it behind"
        )
    return _value(f"{where}: {what} {_short(cell)}", what, cell + unit if is_bare else cell)


def _value(where: str, what: str, word: str) -> float:
    word = word.replace(" ", "").lower().replace("percent", "%")
    if what == "rate" and word.endswith("bps"):  # bytes to tc(8), bits to everybody else
        raise TraceError(f"{where}: 'bps' may be bits or bytes; give bits as kbit, mbit or gbit")
    try:
        zero = _ZERO.match(word) if what == "rate" else None  # an outage; as a word of a link it would be none
        value = _READ[what](f"1{word[zero.end() :]}" if zero else word)
        value = 0 if zero else value
    except ValueError as error:
        raise TraceError(f"{where}: {error}") from None
    if what == "delay" and value > MAX_DELAY:
        raise TraceError(f"{where}: that is more than an hour; is the unit right?")
    return value


def _short(text: str) -> str:
    """A value of a file that may hold anything, for one line of an error."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
