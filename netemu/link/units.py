"""Times, rates, sizes and shares in the words of tc(8): '20ms', '10mbit', '64kb', '0.1%'.

Each is a pair: ``time``, ``rate``, ``size`` and ``share`` read a word (ValueError with what to give instead), ``time_text`` and
the others write the shortest word that reads as exactly the same. Case does not matter, and what is written as the field writes
it is read too: '10Mbit/s', '5 MB/s' without its space.
"""

from __future__ import annotations

import re
from decimal import Decimal

MICROSECOND, MILLISECOND, SECOND = 1_000, 1_000_000, 1_000_000_000
MAX_TIME = 366 * 86_400 * SECOND
MAX_RATE = 10**13
MAX_SIZE = 1 << 40

_TIMES = {
    "ns": 1, "nsec": 1, "nsecs": 1, "us": MICROSECOND, "usec": MICROSECOND, "usecs": MICROSECOND, "": MICROSECOND,
    "ms": MILLISECOND, "msec": MILLISECOND, "msecs": MILLISECOND, "s": SECOND, "sec": SECOND, "secs": SECOND,
    "min": 60 * SECOND, "h": 3600 * SECOND,
}  # fmt: skip
"""tc(8) has a bare number be microseconds; minutes and hours are ours."""
_SI = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
_PREFIXES = _SI | _BINARY
_RATES = (
    {f"{prefix}bit": factor for prefix, factor in _PREFIXES.items()}
    | {f"{prefix}bps": 8 * factor for prefix, factor in _PREFIXES.items()}
    | {f"{prefix}b/s": 8 * factor for prefix, factor in _PREFIXES.items()}
    | {"": 1}
)
"""Bits a second. 'bps' is bytes a second in tc(8)."""
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}
_SIZES |= {"kbit": 125, "mbit": 125_000, "gbit": 125_000_000}
"""Bytes; a kilobyte is 1024 of them, as in tc(8)."""

_NUMBER = re.compile(r"(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:e([+-]?\d{1,3}))?([a-z/%]*)", re.ASCII | re.IGNORECASE)


def _split(word: str, example: str) -> tuple[Decimal, str]:
    found = _NUMBER.fullmatch(word)
    if found is None:
        if word.startswith("-") and _NUMBER.fullmatch(word[1:]):
            raise ValueError(f"it is negative; give 0 or more, such as {example}")
        raise ValueError(f"give a number with a unit, such as {example}")
    return Decimal(f"{found[1]}e{found[2] or 0}"), found[3].lower()


def time(word: str) -> int:
    """Nanoseconds of '20ms', '1.5s', '250us', '2min'; a bare number is microseconds."""
    number, unit = _split(word, "20ms")
    if unit not in _TIMES:
        raise ValueError(f"{unit!r} is no unit of time; give ns, us, ms, s, min or h, such as 20ms")
    value = round(number * _TIMES[unit])
    if value > MAX_TIME:
        raise ValueError("that is more than 366 days; give less")
    return value


def rate(word: str) -> int:
    """Bits a second of '10mbit', '2.5Gbit/s', '64kbit', '1mbps' (bytes a second in tc); a bare number is bits a second."""
    number, unit = _split(word, "10mbit")
    unit = unit.removesuffix("/s") if unit.endswith("bit/s") else unit
    if unit not in _RATES:
        raise ValueError(f"{unit!r} is no unit of a rate; give bit, kbit, mbit or gbit (bps: bytes), such as 10mbit")
    value = round(number * _RATES[unit])
    if not 1 <= value <= MAX_RATE:
        raise ValueError("a rate is between 1bit and 10tbit; use the word 'down' for a link that carries nothing")
    return value


def size(word: str) -> int:
    """Bytes of '1500', '64kb', '2mb'."""
    number, unit = _split(word, "64kb")
    if unit not in _SIZES:
        raise ValueError(f"{unit!r} is no unit of a size; give b, kb or mb, such as 64kb")
    value = round(number * _SIZES[unit])
    if value > MAX_SIZE:
        raise ValueError("that is more than 1 TiB; give less")
    return value


def share(word: str) -> float:
    """0 to 1 of '0.1%' or '0.1', which are the same."""
    number, unit = _split(word, "0.1%")
    if unit not in ("", "%"):
        raise ValueError(f"{unit!r} is no percent sign; give a share such as 0.1%")
    if number > 100:
        raise ValueError("a share is between 0% and 100%")
    return float(number / 100)


def time_text(value: int) -> str:
    """'20ms', '1.5s', '3ns'."""
    for unit, factor in (("s", SECOND), ("ms", MILLISECOND), ("us", MICROSECOND)):
        if value >= factor:
            return _plain(Decimal(value) / factor) + unit
    return f"{value}ns" if value else "0s"


def rate_text(value: int) -> str:
    """'10mbit', '1.5gbit', '999bit'."""
    for prefix in "tgmk":
        if value >= _SI[prefix]:
            return f"{_plain(Decimal(value) / _SI[prefix])}{prefix}bit"
    return f"{value}bit"


def size_text(value: int) -> str:
    """'64kb', '1500b'."""
    for unit in ("gb", "mb", "kb"):
        if value and not value % _SIZES[unit]:
            return f"{value // _SIZES[unit]}{unit}"
    return f"{value}b"


def share_text(value: float) -> str:
    """'0.1%'."""
    percent = Decimal(repr(value)) * 100
    return f"{percent:e}%" if 0 < percent < Decimal("1e-9") else _plain(percent) + "%"


def _plain(number: Decimal) -> str:
    """Without an exponent and without zeros at the end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
