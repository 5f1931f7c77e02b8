"""A rule as it was given, and the row that is shown of it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

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


class RuleRow(msgspec.Struct, frozen=True):
    """One line of `netemu rule show`."""

    number: int
    direction: str
    match: str
    action: str
    limits: str
    packets: int
    """That matched, while the rule was not at rest."""
    bytes: int
    """IP bytes of those."""
    acted: int
    """Packets to which something was done."""
    rests: bool
    """``first`` or ``for`` is used up."""
    errors: int = 0
    """Packets at which its Python function failed."""
    error: str = ""
    """The last of those failures."""
