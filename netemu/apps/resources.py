"""What a web site is made of: resources, the bytes behind them, and a polite no."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple, Protocol

from netemu.wire.buffer import Buffer


class Refused(Exception):
    """This request gets no more than a status and a line of text."""

    def __init__(self, status: HTTPStatus, text: str = "", headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = list(headers)


class Path(NamedTuple):
    """The path of a request, decoded. No segment is empty, '.', '..' or contains '/' or NUL."""

    segments: tuple[str, ...]
    slash: bool
    """It ends in '/': a directory is meant."""


class Source(Protocol):
    """Bytes that can be read from anywhere, a piece at a time."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, count: int) -> Buffer:
        """At most ``count`` bytes, and at least one unless the source has become shorter than it was."""

    def close(self) -> None: ...


class Resource(NamedTuple):
    """The selected representation (RFC 9110 section 3.2) and what its validators say (section 8.8)."""

    source: Source
    content_type: str
    etag: str = ""
    modified: int | None = None
    """Seconds since the epoch."""


class Upload(Protocol):
    """The body of a PUT on its way in. Until ``commit`` nobody sees any of it; ``drop`` undoes what was done."""

    def write(self, data: bytes | bytearray) -> None: ...

    def commit(self) -> bool:
        """Put it in its place; true if there was nothing before."""

    def drop(self) -> None: ...


class Site(Protocol):
    """Where answers come from."""

    @property
    def methods(self) -> tuple[str, ...]:
        """What may be asked of it, for the Allow header."""

    def find(self, path: Path) -> Resource:
        """Raise Refused or OSError if there is none."""

    def upload(self, path: Path) -> Upload:
        """Raise Refused or OSError if nothing can be put there."""


class Text:
    """A source that is all there."""

    __slots__ = ("data",)

    def __init__(self, text: str) -> None:
        self.data = text.encode("utf-8", "replace")  # a file's name may be no UTF-8

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, count: int) -> Buffer:
        return self.data[offset : offset + count]

    def close(self) -> None:
        pass


def page(title: str, body: str) -> Resource:
    """An HTML page; title and body are HTML already."""
    html = (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<h1>{title}</h1>\n{body}</html>\n"
    )
    return Resource(Text(html), "text/html; charset=utf-8")
