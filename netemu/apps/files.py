"""A web site made of the files below a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from html import escape
from http import HTTPStatus
from itertools import count
from mimetypes import guess_type
from urllib.parse import quote

from netemu.apps.resources import Path, Refused, Resource, page
from netemu.wire.buffer import Buffer

READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""The path is resolved already, so no link is followed; a FIFO must not stop the world until someone writes to it."""
CREATE = os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL

PACKED_TYPES = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
OTHER_TYPE = "application/octet-stream"

LAST_DATE = 253402300799
"""The end of the year 9999."""


class File:
    """An open regular file."""

    __slots__ = ("fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size

    def read(self, offset: int, count: int) -> Buffer:
        return os.pread(self.fd, count, offset)

    def close(self) -> None:
        os.close(self.fd)


class FileUpload:
    """A temporary file beside its target, so that putting it in place is one rename."""

    __slots__ = ("fd", "part", "target")

    def __init__(self, fd: int, part: str, target: str) -> None:
        self.fd = fd
        self.part = part
        self.target = target

    def write(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.fd, rest) :]

    def commit(self) -> bool:
        created = not os.path.lexists(self.target)
        self._close()
        os.replace(self.part, self.target)
        return created

    def drop(self) -> None:
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            os.unlink(self.part)

    def _close(self) -> None:
        fd, self.fd = self.fd, -1  # closed even when close() reports that the last bytes found no room
        if fd >= 0:
            os.close(fd)


class FileSite:
    """GET, HEAD and, if ``write``, PUT of what lies below ``root``. No link leads out of it."""

    def __init__(self, root: str, write: bool) -> None:
        self.root = os.path.realpath(root)
        self.methods = ("GET", "HEAD", "OPTIONS", "PUT") if write else ("GET", "HEAD", "OPTIONS")
        self.parts = count()

    def find(self, path: Path) -> Resource:
        fd = os.open(self._inside(*path.segments), READ)
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and not path.slash:
            etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            name = path.segments[-1] if path.segments else ""
            return Resource(File(fd, status.st_size), content_type(name), etag, modified(status))
        os.close(fd)
        if stat.S_ISDIR(status.st_mode):
            return self._directory(path)
        raise Refused(HTTPStatus.NOT_FOUND if path.slash else HTTPStatus.FORBIDDEN, "not a file one can read")

    def _directory(self, path: Path) -> Resource:
        if not path.slash:  # else the page's relative links would lead to its parent
            there = "".join(f"/{quote(os.fsencode(segment))}" for segment in path.segments) + "/"
            raise Refused(HTTPStatus.MOVED_PERMANENTLY, there, [("Location", there)])
        index = (*path.segments, "index.html")
        if os.path.isfile(self._inside(*index)):
            return self.find(Path(index, slash=False))
        title = "/" + "".join(f"{escape(segment)}/" for segment in path.segments)
        rows = "".join(listing(self._inside(*path.segments), parent=bool(path.segments)))
        return page(title, f"<table>\n{rows}</table>\n")

    def upload(self, path: Path) -> FileUpload:
        if path.slash or not path.segments:
            raise Refused(HTTPStatus.CONFLICT, "this names a directory")
        parent = self._inside(*path.segments[:-1])
        target = os.path.join(parent, path.segments[-1])
        if os.path.isdir(target):
            raise Refused(HTTPStatus.CONFLICT, "this is a directory")
        if not os.path.isdir(parent):
            raise Refused(HTTPStatus.CONFLICT, "there is no such directory to put it in")
        part = os.path.join(parent, f".netemu-{os.getpid()}-{next(self.parts)}.part")
        return FileUpload(os.open(part, CREATE, 0o666), part, target)

    def _inside(self, *segments: str) -> str:
        """The real path, links resolved; raise Refused if it lies outside the root."""
        real = os.path.realpath(os.path.join(self.root, *segments))
        if os.path.commonpath((self.root, real)) != self.root:
            raise Refused(HTTPStatus.FORBIDDEN, "this leads out of the site")
        return real


def modified(status: os.stat_result) -> int:
    """The time of the last change, as far as a date can say it."""
    return int(min(max(status.st_mtime, 0), LAST_DATE))


def content_type(name: str) -> str:
    """By the name's ending. A packed file is served as what it is: a Content-Encoding would have clients unpack it."""
    kind, packing = guess_type("/" + name)  # it takes URLs: a file called data:x,y would name its own type
    return PACKED_TYPES.get(packing, OTHER_TYPE) if packing else kind or OTHER_TYPE


def listing(directory: str, parent: bool) -> Iterator[str]:
    """The rows of a directory's table: directories first, then by name. Hidden files, uploads under way too, are left out."""
    entries = []
    with os.scandir(directory) as found:
        for entry in found:
            with suppress(OSError):  # gone meanwhile, or a link that leads nowhere
                status = entry.stat()
                if not entry.name.startswith("."):
                    entries.append((not stat.S_ISDIR(status.st_mode), entry.name, status))
    if parent:
        yield '<tr><td><a href="../">../</a>\n'
    for is_file, name, status in sorted(entries):
        slash, size = ("", f"{status.st_size}") if is_file else ("/", "")
        when = datetime.fromtimestamp(modified(status), UTC).strftime("%Y-%m-%d %H:%M")
        link = quote(os.fsencode(name)) + slash
        yield f'<tr><td><a href="./{link}">{escape(name)}{slash}</a><td>{when}<td>{size}\n'
