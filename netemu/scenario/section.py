"""A table of the file, read key by key; whatever is wrong becomes one line that names file, line and key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

from netemu.apps.base import UsageError
from netemu.scenario.lines import Path


class ScenarioError(UsageError):
    """A file that is wrong. Its text is the first problem, in one line; ``problems`` has all that were found."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = f" ({len(problems) - 1} more: see `netemu scenario check`)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = tuple(problems)


class Wrong(Exception):
    """One problem, told in full."""


class Source:
    """The file as it was read, and what was found wrong in it."""

    def __init__(self, name: str, data: Mapping[str, object], lines: Mapping[Path, int]) -> None:
        self.name = name
        self.data = data
        self._lines = lines
        self.problems: list[str] = []

    def wrong(self, path: Path, text: str) -> Wrong:
        """To be raised: FILE:LINE: KEY: text. The line is that of the nearest key above where the key itself is not there."""
        known = next((path[:length] for length in range(len(path), 0, -1) if path[:length] in self._lines), ())
        line = self._lines.get(known, 1)
        key = ".".join(part for part in path if isinstance(part, str))
        return Wrong(f"{self.name}:{line}: {key + ': ' if key else ''}{text}")

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """What is wrong within is kept, and reading goes on after it."""
        try:
            yield
        except Wrong as wrong:
            self.problems.append(str(wrong))

    def check(self) -> None:
        """ScenarioError if anything was wrong so far."""
        if self.problems:
            raise ScenarioError(sorted(self.problems, key=_line_of))


def _line_of(problem: str) -> int:
    """For the order of a file; its name may have colons too."""
    return next((int(part) for part in problem.split(":") if part.isdecimal()), 0)


class Section:
    """One table."""

    def __init__(self, source: Source, path: Path, data: object, *, keys: Sequence[str]) -> None:
        self.source = source
        self.path = path
        if not isinstance(data, dict):
            raise source.wrong(path, "give a table, with keys of its own")
        self._data: dict[str, object] = data
        for key in data:
            if key not in keys:
                raise self.wrong(key, unknown(f"no such key{_place(path)}", key, keys))

    def wrong(self, key: str | int | Path, text: str) -> Wrong:
        """To be raised: what is wrong with a key (or, with a path, an element below it) of this table."""
        return self.source.wrong((*self.path, *(key if isinstance(key, tuple) else (key,))), text)

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def value(self, key: str) -> object:
        return self._data.get(key)

    def text(self, key: str, default: str = "") -> str:
        value = self._data.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "give a text, in quotes")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts; a single one may stand for itself."""
        value = self._data.get(key, [])
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            raise self.wrong(key, "give a list of texts, in brackets and quotes")
        for number, element in enumerate(value):
            if not isinstance(element, str):
                raise self.wrong((key, number), "give texts, in quotes")
        return value

    def integer(self, key: str, default: int, low: int, high: int, unit: str = "") -> int:
        value = self._data.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(key, f"{value!r} will not do; give a whole number from {low} to {high}{unit}")
        return value

    def tables(self, key: str) -> dict[str, object]:
        """The tables [key.NAME]."""
        value = self._data.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"give tables with names, such as [{key}.one]")
        return value


def _place(path: Path) -> str:
    """' in [link.…]' for ('link', 'wan'), ' in [[at]]' for ('at', 0); nothing for the whole file and what is in a line."""
    match path:
        case (str(kind), str()):
            return f" in [{kind}.…]"
        case (str(kind), int()):
            return f" in [[{kind}]]"
    return ""


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """'no such …; did you mean …': the near one, or all where there is none."""
    near = get_close_matches(name, known, n=1)
    return f"{what}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}")
