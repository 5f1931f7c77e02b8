"""How often a rule acts. Of the packets that match it passes over ``skip N``; of what follows it takes ``every N``-th, that with
``probability P``, and of those the ``first N``. ``for TIME`` ends it that long after its first match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from random import Random

from netemu.link.rules.grammar import Call
from netemu.link.rules.nodes import RuleError
from netemu.link.rules.values import number_of, share_of, time_of
from netemu.link.units import share_text, time_text


@dataclass(frozen=True, slots=True)
class Limits:
    """What was asked; None: no such limit."""

    skip: int | None = None
    every: int | None = None
    probability: float | None = None
    first: int | None = None
    time: int | None = None
    """ns"""

    def __str__(self) -> str:
        words = [
            f"{_WORDS.get(field.name, field.name)} {_TEXTS.get(field.name, str)(value)}"
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        ]
        return " ".join(words)


_WORDS = {"time": "for"}
_TEXTS = {"time": time_text, "probability": share_text}


class Meter:
    """How far a rule has come with its limits."""

    __slots__ = ("_limits", "_random", "acted", "matched", "since")

    def __init__(self, limits: Limits, random: Random) -> None:
        self._limits = limits
        self._random = random
        self.matched = 0
        self.acted = 0
        """Counted by whoever acts."""
        self.since: int | None = None

    def rests(self, now: int) -> bool:
        """The rule has done all that it was to do."""
        limits = self._limits
        if limits.first is not None and self.acted >= limits.first:
            return True
        return limits.time is not None and self.since is not None and now >= self.since + limits.time

    def takes(self, now: int) -> bool:
        """Count a match in: is it one to act on?"""
        limits = self._limits
        if self.since is None:
            self.since = now
        self.matched += 1
        after = self.matched - (limits.skip or 0)
        if after <= 0 or (limits.every is not None and after % limits.every):
            return False
        return limits.probability is None or self._random.random() < limits.probability


def limits_of(calls: Sequence[Call]) -> Limits:
    """The limits that the words of a rule give; RuleError."""
    found: dict[str, int | float] = {}
    for call in calls:
        name, (word,) = call.name.text, call.arguments
        key = "time" if name == "for" else name
        if key in found:
            raise RuleError(f"{name} stands twice", call.name.column)
        if name == "for":
            found[key] = time_of(word, name)
        elif name == "probability":
            found[key] = share_of(word, name)
        else:
            found[key] = number_of(word, name, 0 if name == "skip" else 1)
    return Limits(**found)  # type: ignore[arg-type]  # each word's type is its field's
