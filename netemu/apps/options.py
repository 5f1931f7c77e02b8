"""Checks of the key=value options of --app."""

from __future__ import annotations

from collections.abc import Mapping

from netemu.apps.base import UsageError


def check_known(kind: str, options: Mapping[str, str], *known: str) -> None:
    """Raise UsageError for the first option that is not among ``known``."""
    for key in options:
        if key not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UsageError(f"{kind}: there is no option {key!r}; {takes}")


def yes_or_no(kind: str, options: Mapping[str, str], key: str) -> bool:
    """The value of a switch; absent means no."""
    value = options.get(key, "no")
    if value not in ("yes", "no"):
        raise UsageError(f"{kind}: {key}={value} is neither yes nor no; write {key}=yes or {key}=no")
    return value == "yes"


def port_number(kind: str, options: Mapping[str, str], key: str, default: int) -> int:
    """The value of an option that is a port."""
    text = options.get(key, str(default))
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise UsageError(f"{kind}: {key}={text} is not a port; give a number from 1 to 65535")
