"""Words for both directions of a link: `[in|out|both] WORDS`, once or for each direction.

delay 20ms loss 1%                        both, each direction by itself
in delay 20ms out rate 10mbit delay 40ms  each its own
"""

from __future__ import annotations

from collections.abc import Sequence

from netemu.link.impairments import CLEAR, Impairments
from netemu.link.profiles import ProfileError, find_profile
from netemu.link.reader import ReadFile, WordsError
from netemu.link.words import parse_words

WAYS = ("in", "out", "both")
Both = tuple[Impairments, Impairments]
"""Inward and outward."""


def parse_ways(
    words: Sequence[str], now: Both = (CLEAR, CLEAR), *, adds: bool = False, read_file: ReadFile | None = None
) -> Both:
    """What a link is asked for after ``words``; WordsError.

    A direction that is not named stays as it is ``now``. One that is named forgets what was, or keeps it where the words
    say nothing else (``adds``).
    """
    inward, outward = now
    for way, part in split_ways(words):
        if not part:
            raise WordsError(
                f"{way}: words are missing; give what the link shall do, such as {way} delay 20ms, or clear"
            )
        if way != "out":
            inward = parse_way(part, inward if adds else CLEAR, "in", read_file)
        if way != "in":
            outward = parse_way(part, outward if adds else CLEAR, "out", read_file)
    return inward, outward


def parse_way(words: Sequence[str], base: Impairments, way: str, read_file: ReadFile | None = None) -> Impairments:
    """Words for one direction, in or out; a profile has words of its own for each."""

    def profile(name: str) -> str:
        try:
            found = find_profile(name)
        except ProfileError as error:
            raise ValueError(str(error)) from None
        return found.inward if way == "in" else found.outward

    return parse_words(words, base, read_file=read_file, profile=profile)


def split_ways(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The words of each direction; those before any direction is named are for both."""
    parts: list[tuple[str, list[str]]] = []
    for word in words:
        if word.lower() in WAYS:
            if any(way in (word.lower(), "both") or word.lower() == "both" for way, _ in parts):
                raise WordsError(f"{word}: that direction has had its words; name each once")
            parts.append((word.lower(), []))
        elif not parts:
            parts.append(("both", [word]))
        else:
            parts[-1][1].append(word)
    return parts
