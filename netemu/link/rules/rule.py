"""A rule as it was given."""

from __future__ import annotations

from dataclasses import dataclass

from netemu.link.rules.actions import Action
from netemu.link.rules.filter import Filter
from netemu.link.rules.limits import Limits


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do with which packets of which direction. It counts nothing: a table does, so one rule can stand in several."""

    direction: str
    """in, out or both"""
    match: Filter
    actions: tuple[Action, ...]
    limits: Limits = Limits()  # noqa: RUF009 - frozen

    def __str__(self) -> str:
        """The canonical text; ``parse_rule`` reads it back."""
        words = [f"{self.direction}: {self.match}", ", ".join(map(str, self.actions)), str(self.limits)]
        return " ".join(word for word in words if word)
