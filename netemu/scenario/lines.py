"""On which line of a TOML file each key stands: what tomllib does not tell, and every complaint about a file needs.

The text is one that tomllib has taken, so that little can go wrong here: what is looked for are keys, not values.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]
"""('link', 'wan', 'ends', 0): keys, and indices into arrays."""

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r'[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?""""{0,2}|\'\'\'.*?\'\'\'\'{0,2}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'',
    re.DOTALL,
)
"""In one of several lines, up to two quotes may stand right before those that end it."""
_SCALAR = re.compile(r"[^,\]}#\r\n]+")


def key_lines(text: str) -> dict[Path, int]:
    """The line (the first is 1) of each key, table and element of an array in a valid TOML text."""
    return _Scanner(text).lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._tables: dict[Path, int] = {}
        """How many tables an array of tables has."""
        self.lines: dict[Path, int] = {}
        self._document()

    def _document(self) -> None:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            if self._at >= len(self._text):
                return
            if self._text.startswith("[[", self._at):
                table = self._header(2)
                number = self._tables.get(table, 0)
                self._tables[table] = number + 1
                table = (*table, number)
                self._note(table)
            elif self._text[self._at] == "[":
                table = self._header(1)
                self._note(table)
            else:
                self._pair(table)

    def _header(self, brackets: int) -> Path:
        self._at += brackets
        path: Path = ()
        *upper, last = self._keys()
        for key in upper:  # [at.more] belongs to the last [[at]]
            path = self._last((*path, key))
            self._note(path)
        self._at += brackets
        return (*path, last) if brackets == 2 else self._last((*path, last))

    def _last(self, path: Path) -> Path:
        return (*path, self._tables[path] - 1) if path in self._tables else path

    def _pair(self, table: Path) -> None:
        path = (*table, *self._keys())
        for length in range(len(table) + 1, len(path) + 1):  # a.b = 1 makes a too
            self._note(path[:length])
        self._at += 1  # the '='
        self._value(path)

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            found = _KEY.match(self._text, self._at)
            assert found is not None, "this is no TOML that tomllib would take"
            self._at = found.end()
            keys.append(_unquoted(found[0]))
            self._skip(_SPACE)
            if self._text[self._at : self._at + 1] != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        start = self._text[self._at : self._at + 1]
        if start == "[":
            self._array(path)
        elif start == "{":
            self._inline(path)
        else:
            self._skip(_STRING if start in ('"', "'") else _SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        for number in range(len(self._text)):
            self._skip(_BLANK)
            if self._text[self._at] == "]":
                break
            self._note((*path, number))
            self._value((*path, number))
            self._skip(_BLANK)
            self._at += self._text[self._at] == ","
        self._at += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "}":
                break
            self._pair(path)
            self._skip(_BLANK)
            self._at += self._text[self._at] == ","
        self._at += 1

    def _note(self, path: Path) -> None:
        self.lines.setdefault(path, self._text.count("\n", 0, self._at) + 1)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()


def _unquoted(key: str) -> str:
    """A key without its quotes; tomllib itself undoes escapes."""
    if key[0] == "'":
        return key[1:-1]
    if key[0] == '"':
        import tomllib

        return str(tomllib.loads(f"key = {key}")["key"])
    return key
