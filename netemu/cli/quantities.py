"""Numbers for people, each with its unit."""

from __future__ import annotations


def milliseconds(ns: float | None) -> str:
    return "-" if ns is None else f"{ns / 1e6:.3g} ms" if ns < 999.5e6 else f"{ns / 1e9:.4g} s"


def bit_rate(bits: float) -> str:
    """Per second, of three digits."""
    for size, unit in ((10**9, "Gbit/s"), (10**6, "Mbit/s"), (10**3, "kbit/s")):
        if bits >= size:
            return f"{bits / size:.4g} {unit}"
    return f"{bits:.4g} bit/s"


def packets_text(number: int) -> str:
    return f"{number} packet{'' if number == 1 else 's'}"


def bytes_text(size: float) -> str:
    """In powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.4g} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
