"""One line of `netemu rule show`; by itself, so that the command line can print rows without the rules behind them."""

from __future__ import annotations

import msgspec


class RuleRow(msgspec.Struct, frozen=True):
    """A rule of one direction of a link, and what it has done."""

    link: str
    number: int
    """Of the rule, in both directions of its link."""
    direction: str
    """in or out"""
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
