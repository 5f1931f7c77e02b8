"""The words of `netemu link set`, those of tc-netem(8) and some more, read into Impairments.

    delay TIME [JITTER [CORR]] [distribution uniform|normal|pareto|paretonormal|FILE]    keep-order
    loss [random] P [CORR] | loss state P13 [P31 [P32 [P23 [P14]]]] | loss gemodel P [R [1-H [1-K]]]    ecn
    corrupt P [CORR]    duplicate P [CORR]    reorder P [CORR] [gap N]
    rate RATE [OVERHEAD [CELLSIZE [CELLOVERHEAD]]]    trace FILE [loop|hold]
    slot MIN [MAX] | slot distribution NAME DELAY JITTER, each with [packets N] [bytes N]
    limit N    queue DISCIPLINE [PARAMETER VALUE]... [limit Np|SIZE] [ecn]
    mtu N [silent]    down    flap UP DOWN    seed N    profile NAME    clear

`netemu.link.wording` writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random

from netemu.link import distributions, units
from netemu.link.impairments import (
    CLEAR,
    Chance,
    Delay,
    Distribution,
    Flap,
    GemodelLoss,
    Impairments,
    Loss,
    Mtu,
    QueueSpec,
    Rate,
    Reorder,
    Slot,
    StateLoss,
    Value,
)
from netemu.link.queues.base import Kind
from netemu.link.queues.registry import DISCIPLINES, make_queue, parameters_of
from netemu.link.reader import Reader, ReadFile, WordsError, count, positive_time, read_correlation, short
from netemu.link.traces import parse_trace
from netemu.link.wording import words_of

__all__ = ["WordsError", "parse_words", "words_of"]

MIN_MTU, MAX_MTU = 68, 65535  # RFC 791 3.2: every link carries 68 bytes


def parse_words(
    words: Sequence[str],
    base: Impairments = CLEAR,
    *,
    read_file: ReadFile | None = None,
    profile: Callable[[str], str] | None = None,
) -> Impairments:
    """What ``words`` ask for; what they do not name is as in ``base``. Raises WordsError.

    ``read_file`` reads the files that words name, ``profile`` gives the words of a named profile (ValueError: there is none).
    """
    reader = Reader(words, read_file, profile)
    asked = base
    seen: set[str] = set()
    while (word := reader.next()) is not None:
        handle = _WORDS.get(word.lower())
        if handle is None:
            raise WordsError(f"{word!r} is no word of a link; give some of {', '.join(_WORDS)}")
        word = _SAME.get(word.lower(), word.lower())
        if word in seen:
            raise WordsError(f"{word} is there twice; leave one out")
        if word in ("clear", "profile") and seen:
            raise WordsError(f"{word} stands behind other words; put it first, they change what it says")
        seen.add(word)
        asked = handle(reader, asked)
    _check(asked)
    return asked


def _check(asked: Impairments) -> None:
    """What goes together."""
    if asked.reorder and not asked.delay and not asked.trace:
        raise WordsError("reorder: nothing overtakes where nothing waits; give a delay too, such as delay 10ms")
    if asked.ecn and not asked.loss:
        raise WordsError("ecn: nothing is lost that could be marked; give loss too, or 'queue codel ecn'")
    if asked.rate and asked.trace and asked.trace.mean_rate is not None:
        raise WordsError("rate: the trace says how fast the link is; leave one of rate and trace out")
    if asked.down and asked.flap:
        raise WordsError("down: a link that is down cannot flap; leave one of down and flap out")


# -- values -----------------------------------------------------------------------------------------------------------------


_POSITIVE = count(1)
_OVERHEAD = count(-2000, 65535)
_KINDS: dict[Kind, tuple[Callable[[str], Value], str]] = {
    Kind.TIME: (units.time, "5ms"),
    Kind.BYTES: (units.size, "64kb"),
    Kind.RATE: (units.rate, "10mbit"),
    Kind.CHANCE: (units.share, "2%"),
    Kind.PACKETS: (count(0), "100"),
    Kind.NUMBER: (count(0), "2"),
}


# -- words ------------------------------------------------------------------------------------------------------------------


def _delay(reader: Reader, asked: Impairments) -> Impairments:
    time = reader.value("delay", units.time, "a time such as 20ms")
    jitter = reader.maybe("delay", units.time, 0)
    correlation = reader.maybe("delay", read_correlation, 0.0) if jitter else 0.0
    spread = None
    if reader.follows("distribution"):
        spread = _distribution(reader)
        if not jitter:
            raise WordsError(
                "distribution: there is no jitter to spread; give one, such as delay 20ms 5ms distribution normal"
            )
    return replace(asked, delay=Delay(time, jitter, correlation, spread) if time or jitter else None)


def _distribution(reader: Reader) -> Distribution | None:
    name = reader.value("distribution", str, f"{', '.join(distributions.NAMES)} or a file")
    if name in distributions.NAMES:
        return distributions.named(name)
    try:
        return distributions.from_file(reader.file("distribution", name), name)
    except WordsError as error:
        raise WordsError(f"{error}, or one of {', '.join(distributions.NAMES)}") from None
    except ValueError as error:
        raise WordsError(f"distribution {error}") from None


def _lone_distribution(reader: Reader, asked: Impairments) -> Impairments:
    raise WordsError("distribution belongs right behind a delay with jitter: delay 20ms 5ms distribution normal")


def _corrupt(reader: Reader, asked: Impairments) -> Impairments:
    return replace(asked, corrupt=_share_and_correlation(reader, "corrupt"))


def _duplicate(reader: Reader, asked: Impairments) -> Impairments:
    return replace(asked, duplicate=_share_and_correlation(reader, "duplicate"))


def _share_and_correlation(reader: Reader, name: str) -> Chance | None:
    share = reader.value(name, units.share, "a share such as 0.1%")
    correlation = reader.maybe(name, read_correlation, 0.0)
    return Chance(share, correlation) if share else None


def _loss(reader: Reader, asked: Impairments) -> Impairments:
    model = reader.follows("random", "state", "gemodel")
    loss: Loss | None
    if model == "state":
        loss = _state_loss(reader)
    elif model == "gemodel":
        p = reader.value("loss gemodel", units.share, "shares: P [R [1-H [1-K]]], such as 1% 10%")
        r = reader.maybe("loss gemodel", units.share, 1 - p)
        h1 = reader.maybe("loss gemodel", units.share, 1.0)
        loss = GemodelLoss(p, r, h1, reader.maybe("loss gemodel", units.share, 0.0))
    else:
        loss = _share_and_correlation(reader, "loss")
    return replace(asked, loss=loss)


def _state_loss(reader: Reader) -> StateLoss:
    p13 = reader.value("loss state", units.share, "shares: P13 [P31 [P32 [P23 [P14]]]], such as 1% 30%")
    p31 = reader.maybe("loss state", units.share, 1 - p13)
    p32 = reader.maybe("loss state", units.share, 0.0)
    p23 = reader.maybe("loss state", units.share, 1.0)
    p14 = reader.maybe("loss state", units.share, 0.0)
    for name, total in (("P13 and P14", p13 + p14), ("P31 and P32", p31 + p32)):
        if total > 1:
            raise WordsError(
                f"loss state: {name} together are {total * 100:g}%; they share one state, give 100% at most"
            )
    return StateLoss(p13, p31, p32, p23, p14)


def _reorder(reader: Reader, asked: Impairments) -> Impairments:
    chance = _share_and_correlation(reader, "reorder")
    gap = reader.value("gap", _POSITIVE, "a number of packets such as 5") if reader.follows("gap") else 1
    return replace(asked, reorder=Reorder(chance.share, chance.correlation, gap) if chance else None)


def _gap(reader: Reader, asked: Impairments) -> Impairments:
    """As tc-netem(8) has it for old times' sake: every N-th packet, for sure."""
    return replace(asked, reorder=Reorder(1.0, 0.0, reader.value("gap", _POSITIVE, "a number of packets such as 5")))


def _rate(reader: Reader, asked: Impairments) -> Impairments:
    bits = reader.value("rate", units.rate, "a rate such as 10mbit")
    overhead = reader.maybe("rate: overhead", _OVERHEAD, 0)
    cell = reader.maybe("rate: cell size", count(0, 65535), 0)
    cell_overhead = reader.maybe("rate: cell overhead", _OVERHEAD, 0)
    if cell_overhead and cell + cell_overhead <= 0:
        raise WordsError(
            f"rate: cells of {cell} bytes with an overhead of {cell_overhead} are nothing; give larger ones"
        )
    return replace(asked, rate=Rate(bits, overhead, cell, cell_overhead))


def _slot(reader: Reader, asked: Impairments) -> Impairments:
    if reader.follows("distribution"):
        spread = _distribution(reader)
        low = reader.value("slot distribution", units.time, "a mean time and its jitter, such as 20ms 5ms")
        high = reader.value("slot distribution", units.time, "the jitter too, such as 5ms")
        slot = Slot(low, high, spread) if spread else Slot(max(0, low - high), low + high)
    else:
        low = reader.value("slot", units.time, "a time such as 20ms, or the least and the most")
        slot = Slot(low, reader.maybe("slot", units.time, low))
        if slot.high < slot.low:
            raise WordsError(
                f"slot: {units.time_text(slot.high)} is less than {units.time_text(low)}; give the least first"
            )
    while limit := reader.follows("packets", "bytes"):
        if limit == "packets":
            slot = replace(slot, packets=reader.value("slot packets", _POSITIVE, "a number of packets such as 10"))
        else:
            slot = replace(slot, bytes=reader.value("slot bytes", units.size, "a size such as 15kb"))
    return replace(asked, slot=slot)


def _trace(reader: Reader, asked: Impairments) -> Impairments:
    path = reader.value("trace", str, "the file of a trace")
    mode = reader.follows("loop", "hold")
    try:
        trace = parse_trace(reader.file("trace", path), path, {"loop": True, "hold": False}.get(mode))
    except WordsError:
        raise
    except ValueError as error:
        raise WordsError(f"trace {error}") from None
    return replace(asked, trace=trace)


def _queue(reader: Reader, asked: Impairments) -> Impairments:
    name = reader.value("queue", str.lower, f"one of {', '.join(DISCIPLINES)}")
    if name not in DISCIPLINES:
        raise WordsError(f"queue {short(name)}: there is no such discipline; give one of {', '.join(DISCIPLINES)}")
    kinds = parameters_of(name)
    given: dict[str, Value] = {}
    off = {f"no{name}": name for name, kind in kinds.items() if kind is Kind.FLAG and f"no{name}" not in kinds}
    while parameter := reader.follows(*kinds, "limit", *off):
        where = f"queue {name} {parameter}"
        if parameter == "limit":
            parameter, value = reader.value(where, lambda word: _queue_limit(word, kinds), "100p or 64kb")
        elif parameter in off:
            parameter, value = off[parameter], False
        elif kinds[parameter] is Kind.FLAG:
            value = True
        else:
            read, example = _KINDS[kinds[parameter]]
            value = reader.value(where, read, f"{kinds[parameter].value} such as {example}")
        if parameter in given:
            raise WordsError(f"{where} is there twice; leave one out")
        given[parameter] = value
    try:
        make_queue(name, given, Random(0))  # it knows what goes together
    except ValueError as error:
        raise WordsError(str(error)) from None
    return replace(asked, queue=QueueSpec(name, tuple((key, given[key]) for key in kinds if key in given)))


def _queue_limit(word: str, kinds: Mapping[str, Kind]) -> tuple[str, Value]:
    """'100p' or '100' are packets, '64kb' bytes; each discipline has both bounds, under one name or two."""
    digits = word.lower().removesuffix("p")
    is_packets = digits.isascii() and digits.isdecimal()
    wanted = Kind.PACKETS if is_packets else Kind.BYTES
    for parameter in ("limit", "memory_limit"):
        if kinds.get(parameter) is wanted:
            return parameter, count(1)(digits) if is_packets else units.size(word)
    if is_packets and kinds.get("limit") is Kind.BYTES and word == digits:
        return "limit", units.size(word)
    raise ValueError(f"this discipline counts no {'packets' if is_packets else 'bytes'}; give the other, 100p or 64kb")


def _mtu(reader: Reader, asked: Impairments) -> Impairments:
    size = reader.value("mtu", count(MIN_MTU, MAX_MTU), "a number of bytes such as 1400")
    return replace(asked, mtu=Mtu(size, bool(reader.follows("silent"))))


def _flap(reader: Reader, asked: Impairments) -> Impairments:
    example = "two times, up and down, such as 10s 500ms"
    up = reader.value("flap", positive_time, example)
    return replace(asked, flap=Flap(up, reader.value("flap", positive_time, example)))


def _profile(reader: Reader, asked: Impairments) -> Impairments:
    name = reader.value("profile", str, "the name of one (`netemu profile list`)")
    if reader.profile is None:
        raise WordsError(f"profile {short(name)}: profiles are not known here")
    try:
        words = reader.profile(name)
    except ValueError as error:
        raise WordsError(f"profile {short(name)}: {error}") from None
    return parse_words(words.split())


def _limit(reader: Reader, asked: Impairments) -> Impairments:
    return replace(asked, limit=reader.value("limit", _POSITIVE, "a number of packets such as 1000"))


def _seed(reader: Reader, asked: Impairments) -> Impairments:
    return replace(asked, seed=reader.value("seed", count(0, (1 << 64) - 1), "a whole number"))


_WORDS: dict[str, Callable[[Reader, Impairments], Impairments]] = {
    "delay": _delay,
    "latency": _delay,
    "distribution": _lone_distribution,
    "keep-order": lambda _, asked: replace(asked, keep_order=True),
    "loss": _loss,
    "drop": _loss,
    "ecn": lambda _, asked: replace(asked, ecn=True),
    "corrupt": _corrupt,
    "duplicate": _duplicate,
    "reorder": _reorder,
    "gap": _gap,
    "rate": _rate,
    "trace": _trace,
    "slot": _slot,
    "limit": _limit,
    "queue": _queue,
    "mtu": _mtu,
    "down": lambda _, asked: replace(asked, down=True),
    "flap": _flap,
    "seed": _seed,
    "profile": _profile,
    "clear": lambda _, asked: CLEAR,
}
_SAME = {"latency": "delay", "drop": "loss", "gap": "reorder"}
