"""Times as users write them: '1.5s', or ns as an int."""

from __future__ import annotations

from netemu.link import units


def span(written: str | int) -> int:
    """ns of '20ms', '1.5s', '2min', or of an int that is ns already. ValueError, TypeError."""
    if isinstance(written, bool) or not isinstance(written, str | int):
        raise TypeError(f"{written!r} is no time; give a text such as '1.5s', or an int of nanoseconds")
    if isinstance(written, int):
        if written < 0:
            raise ValueError(f"{written} ns is negative; give 0 or more")
        return written
    if written.replace(".", "").isdecimal():
        raise ValueError(f"{written!r} has no unit; give ns, us, ms, s, min or h, such as '1.5s'")
    try:
        return units.time(written)
    except ValueError as problem:
        raise ValueError(f"{written!r}: {problem}") from None
