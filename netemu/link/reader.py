"""One word after the other, and the values that words have; what is wrong is told in one line that names the word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from netemu.link import units

T = TypeVar("T")
ReadFile = Callable[[str], str]
"""The text of a file; OSError where it cannot be read."""
_BEGINS_NUMBER = frozenset("0123456789-.")


class WordsError(ValueError):
    """Words that make no sense; the text is one line: which word, and what to give."""


class Reader:
    """The words that are still to be read."""

    def __init__(self, words: Sequence[str], read_file: ReadFile | None, profile: Callable[[str], str] | None) -> None:
        self._words = words
        self._at = 0
        self._read_file = read_file
        self.profile = profile

    def next(self) -> str | None:
        if self._at == len(self._words):
            return None
        self._at += 1
        return self._words[self._at - 1]

    def follows(self, *words: str) -> str:
        """The next word, read, if it is one of these; else ''."""
        if self._at < len(self._words) and self._words[self._at].lower() in words:
            self._at += 1
            return self._words[self._at - 1].lower()
        return ""

    def value(self, name: str, read: Callable[[str], T], what: str) -> T:
        """The next word as a value of ``name``; ``what`` is an example of all that the name takes."""
        word = self.next()
        if word is None:
            raise WordsError(f"{name}: a value is missing; give {what}")
        try:
            return read(word)
        except ValueError as error:
            raise WordsError(f"{name} {short(word)}: {error}") from None

    def maybe(self, name: str, read: Callable[[str], T], default: T) -> T:
        """The next word as a value where it begins like a number; else ``default``."""
        if self._at == len(self._words) or self._words[self._at][:1] not in _BEGINS_NUMBER:
            return default
        return self.value(name, read, "")

    def file(self, name: str, path: str) -> str:
        if self._read_file is None:
            raise WordsError(f"{name} {short(path)}: files cannot be read here")
        if not path or path.split() != [path]:
            raise WordsError(f"{name} {short(path)}: give a file whose name has no blanks")
        try:
            return self._read_file(path)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "is no text"
            raise WordsError(f"{name} {short(path)}: cannot be read ({reason}); give a file that can") from None


def short(word: str) -> str:
    """A word for one line of an error; it may hold anything."""
    word = word if len(word) <= 60 else word[:57] + "..."
    return word if word.isprintable() and word else repr(word)


def count(least: int, most: int = 1 << 31) -> Callable[[str], int]:
    def read(word: str) -> int:
        digits = word.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()):
            raise ValueError("give a whole number")
        if len(digits) > 20 or not least <= int(word) <= most:
            raise ValueError(f"give a whole number from {least} to {most}")
        return int(word)

    return read


def read_correlation(word: str) -> float:
    value = units.share(word)
    if value >= 1:
        raise ValueError("a correlation of 100% would repeat the first decision for ever; give less")
    return value


def positive_time(word: str) -> int:
    value = units.time(word)
    if not value:
        raise ValueError("give more than 0")
    return value
