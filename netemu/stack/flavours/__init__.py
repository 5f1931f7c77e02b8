"""Whose rules a host follows: systems differ in who may bind, listen and hear what. One small policy object each."""

from __future__ import annotations

from netemu.stack.flavours.classic import Classic
from netemu.stack.flavours.freebsd import FreeBSD
from netemu.stack.flavours.linux import Linux
from netemu.stack.flavours.macos import MacOS
from netemu.stack.flavours.windows import Windows

Flavour = Linux
FLAVOURS: dict[str, Flavour] = {
    flavour.name: flavour for flavour in (Linux(), FreeBSD(), MacOS(), Windows(), Classic())
}


def flavour_of(name: str) -> Flavour:
    """ValueError for an unknown name."""
    if name not in FLAVOURS:
        raise ValueError(f"no flavour {name!r}: there are {', '.join(FLAVOURS)}")
    return FLAVOURS[name]
