"""Impairments as the words that ask for them: each says all of a thing, in the order of tc-netem(8)."""

from __future__ import annotations

from collections.abc import Iterator

from netemu.link.impairments import Chance, Delay, GemodelLoss, Impairments, Loss, QueueSpec, Rate, Slot, Value
from netemu.link.queues.base import Kind
from netemu.link.queues.registry import parameters_of
from netemu.link.traces import StepTrace, Trace
from netemu.link.units import rate_text, share_text, size_text, time_text


def words_of(impairments: Impairments) -> str:
    """The shortest words that `netemu.link.words.parse_words` reads as exactly the same; '' where nothing is asked."""
    return " ".join(_words(impairments))


def _words(asked: Impairments) -> Iterator[str]:
    if asked.limit is not None:
        yield f"limit {asked.limit}"
    if asked.delay:
        yield _delay(asked.delay)
    if asked.keep_order:
        yield "keep-order"
    if asked.loss:
        yield _loss(asked.loss)
    if asked.ecn:
        yield "ecn"
    if asked.corrupt:
        yield f"corrupt {_chance(asked.corrupt)}"
    if asked.duplicate:
        yield f"duplicate {_chance(asked.duplicate)}"
    if asked.reorder:
        chance = _chance(Chance(asked.reorder.share, asked.reorder.correlation))
        yield f"reorder {chance}" + (f" gap {asked.reorder.gap}" if asked.reorder.gap != 1 else "")
    if asked.rate:
        yield _rate(asked.rate)
    if asked.trace:
        yield _trace(asked.trace)
    if asked.slot:
        yield _slot(asked.slot)
    if asked.mtu:
        yield f"mtu {asked.mtu.bytes}" + (" silent" if asked.mtu.silent else "")
    if asked.down:
        yield "down"
    if asked.flap:
        yield f"flap {time_text(asked.flap.up)} {time_text(asked.flap.down)}"
    if asked.seed is not None:
        yield f"seed {asked.seed}"
    if asked.queue:
        yield _queue(asked.queue)


def _delay(delay: Delay) -> str:
    text = f"delay {time_text(delay.time)}"
    if delay.jitter:
        text += f" {time_text(delay.jitter)}"
        text += f" {share_text(delay.correlation)}" if delay.correlation else ""
        text += f" distribution {delay.distribution.name}" if delay.distribution else ""
    return text


def _chance(chance: Chance) -> str:
    return share_text(chance.share) + (f" {share_text(chance.correlation)}" if chance.correlation else "")


def _loss(loss: Loss) -> str:
    if isinstance(loss, Chance):
        return f"loss {_chance(loss)}"
    if isinstance(loss, GemodelLoss):
        return "loss gemodel " + _shares([loss.p, loss.r, loss.h1, loss.k1], [1 - loss.p, 1.0, 0.0])
    return "loss state " + _shares([loss.p13, loss.p31, loss.p32, loss.p23, loss.p14], [1 - loss.p13, 0.0, 1.0, 0.0])


def _shares(values: list[float], defaults: list[float]) -> str:
    """Values at the end that are as by default are left out."""
    while defaults and values[-1] == defaults[-1]:
        values, defaults = values[:-1], defaults[:-1]
    return " ".join(map(share_text, values))


def _rate(rate: Rate) -> str:
    more = [rate.overhead, rate.cell, rate.cell_overhead]
    while more and not more[-1]:
        more.pop()
    return " ".join(["rate", rate_text(rate.bits), *map(str, more)])


def _trace(trace: Trace) -> str:
    return f"trace {trace.source}" + (" loop" if isinstance(trace, StepTrace) and trace.loops else "")


def _slot(slot: Slot) -> str:
    if slot.distribution:
        text = f"slot distribution {slot.distribution.name} {time_text(slot.low)} {time_text(slot.high)}"
    else:
        text = f"slot {time_text(slot.low)}" + (f" {time_text(slot.high)}" if slot.high != slot.low else "")
    text += f" packets {slot.packets}" if slot.packets else ""
    return text + (f" bytes {size_text(slot.bytes)}" if slot.bytes else "")


def _queue(queue: QueueSpec) -> str:
    kinds = parameters_of(queue.discipline)
    return " ".join(
        ["queue", queue.discipline, *(_parameter(name, kinds[name], value) for name, value in queue.parameters)]
    )


def _parameter(name: str, kind: Kind, value: Value) -> str:
    if kind is Kind.FLAG:
        return name if value else f"no{name}"
    if kind is Kind.CHANCE:
        return f"{name} {share_text(float(value))}"
    number = int(value)
    if kind is Kind.PACKETS and name == "limit":
        return f"limit {number}p"
    write = {Kind.TIME: time_text, Kind.BYTES: size_text, Kind.RATE: rate_text}.get(kind, str)
    return f"{name} {write(number)}"
