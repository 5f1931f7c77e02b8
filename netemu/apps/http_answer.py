"""What HTTP means, apart from how it travels: from a request to the answer (RFC 9110)."""

from __future__ import annotations

import errno
import os
import re
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import h11

from netemu.apps.resources import Path, Refused, Resource, Site, Source, Text, Upload

MAX_TARGET = 8000
"""Bytes of a request target; RFC 9110 section 4.1 wants at least that many."""

ORIGIN = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
RANGE = re.compile(r"bytes=[ \t]*(\d{0,20})-(\d{0,20})[ \t]*", re.ASCII | re.IGNORECASE)

STATUS_OF_ERRNO = {
    errno.ENOENT: HTTPStatus.NOT_FOUND,
    errno.ENOTDIR: HTTPStatus.NOT_FOUND,
    errno.ELOOP: HTTPStatus.NOT_FOUND,
    errno.ENAMETOOLONG: HTTPStatus.NOT_FOUND,
    errno.EACCES: HTTPStatus.FORBIDDEN,
    errno.EPERM: HTTPStatus.FORBIDDEN,
    errno.EROFS: HTTPStatus.FORBIDDEN,
    errno.ENXIO: HTTPStatus.FORBIDDEN,  # open() of a unix socket
    errno.EISDIR: HTTPStatus.CONFLICT,
    errno.ENOSPC: HTTPStatus.INSUFFICIENT_STORAGE,
    errno.EDQUOT: HTTPStatus.INSUFFICIENT_STORAGE,
    errno.EFBIG: HTTPStatus.INSUFFICIENT_STORAGE,
    errno.EMFILE: HTTPStatus.SERVICE_UNAVAILABLE,
    errno.ENFILE: HTTPStatus.SERVICE_UNAVAILABLE,
}

Fields = dict[str, str]


class Answer(NamedTuple):
    """A response: head, and bytes ``start`` to ``stop`` of ``source``. Whoever holds it closes the source."""

    status: HTTPStatus
    headers: list[tuple[str, str]]
    source: Source | None = None
    start: int = 0
    stop: int = 0


def answer(site: Site, request: h11.Request, now: float) -> Answer:
    """Answer a GET, HEAD or OPTIONS, or raise Refused or OSError. A HEAD's body is as a GET's; it is not sent."""
    check(site, request)
    if request.method == b"OPTIONS":
        return Answer(HTTPStatus.NO_CONTENT, [allow(site)])
    resource = site.find(path_of(request.target))
    made = represent(resource, fields_of(request), get=request.method == b"GET", now=now)
    if made.source is not resource.source:
        resource.source.close()
    return made


def begin_upload(site: Site, request: h11.Request) -> Upload:
    """Make ready for the body of a PUT, or raise Refused or OSError."""
    check(site, request)
    path, fields = path_of(request.target), fields_of(request)
    if "content-range" in fields:  # RFC 9110 section 14.5: who cannot do a partial PUT must say so
        raise Refused(HTTPStatus.BAD_REQUEST, "a part of a file cannot be PUT")
    if fields.keys() & {"if-match", "if-none-match", "if-unmodified-since"}:
        try:
            resource = site.find(path)
        except (Refused, OSError):
            failed = failed_precondition(fields, None, get=False)
        else:
            resource.source.close()
            failed = failed_precondition(fields, resource, get=False)
        if failed:
            raise Refused(failed)
    return site.upload(path)


def finish_upload(upload: Upload) -> Answer:
    """RFC 9110 section 9.3.4: 201 for a new file, 204 for a replaced one."""
    if upload.commit():
        return Answer(HTTPStatus.CREATED, [("Content-Length", "0")])
    return Answer(HTTPStatus.NO_CONTENT, [])


def refusal(error: h11.RemoteProtocolError | Refused | OSError) -> Answer:
    """The answer to a request that failed so."""
    headers: list[tuple[str, str]] = []
    if isinstance(error, Refused):
        status, text, headers = error.status, error.text, error.headers
    elif isinstance(error, OSError):
        status, text = STATUS_OF_ERRNO.get(error.errno or 0, HTTPStatus.INTERNAL_SERVER_ERROR), ""
    else:
        status, text = HTTPStatus(error.error_status_hint), str(error)[:200]
    body = Text(f"{status.value} {status.phrase}" + (f": {text}\n" if text else "\n"))
    about = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(body.size))]
    return Answer(status, headers + about, body, 0, body.size)


def check(site: Site, request: h11.Request) -> None:
    """Raise Refused for what no path can answer."""
    if not request.http_version.startswith(b"1."):
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this server speaks HTTP/1.1")
    if len(request.target) > MAX_TARGET:
        raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG)
    if request.method.decode("ascii") not in site.methods:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, headers=[allow(site)])


def allow(site: Site) -> tuple[str, str]:
    return "Allow", ", ".join(site.methods)


def path_of(target: bytes) -> Path:
    """The path in a request target of the origin or absolute form (RFC 9112 section 3.2).

    Percent codes are resolved per segment, after splitting: a coded slash is no separator, and no file's name has one.
    """
    path = ORIGIN.sub(b"", target, count=1).partition(b"?")[0] or b"/"
    if not path.startswith(b"/"):
        raise Refused(HTTPStatus.BAD_REQUEST, "a path starts with /")
    parts = [unquote_to_bytes(part) for part in path.split(b"/")[1:]]
    for part in parts:
        if b"\0" in part:
            raise Refused(HTTPStatus.BAD_REQUEST, "NUL in the path")
        if part == b".." or b"/" in part:
            raise Refused(HTTPStatus.FORBIDDEN, "this leads out of the site")
    names = tuple(os.fsdecode(part) for part in parts if part not in (b"", b"."))
    return Path(names, slash=parts[-1] in (b"", b"."))


def fields_of(request: h11.Request) -> Fields:
    """Header fields by lower-case name; lines of one name are one list (RFC 9110 section 5.3)."""
    fields: Fields = {}
    for raw, value in request.headers:
        name, text = raw.decode("ascii"), value.decode("latin-1")
        fields[name] = f"{fields[name]}, {text}" if name in fields else text
    return fields


def represent(resource: Resource, fields: Fields, get: bool, now: float) -> Answer:
    """The answer that shows ``resource``, all or part of it, or says that the client has it."""
    size = resource.source.size
    validators = [("ETag", resource.etag)] if resource.etag else []
    if resource.modified is not None:
        validators.append(("Last-Modified", formatdate(min(resource.modified, now), usegmt=True)))  # RFC 9110 8.8.2.1
    failed = failed_precondition(fields, resource, get=True)
    if failed is HTTPStatus.NOT_MODIFIED:
        return Answer(failed, validators)
    if failed:
        return refusal(Refused(failed))
    about = [("Content-Type", resource.content_type), ("Accept-Ranges", "bytes"), *validators]
    status, start, stop = HTTPStatus.OK, 0, size
    # RFC 9110 section 14.2: Range means something for GET only.
    if get and (span := asked_range(fields, resource, now)):
        start, stop = span
        if start >= stop:
            beyond = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            return refusal(Refused(beyond, headers=[("Content-Range", f"bytes */{size}")]))
        status = HTTPStatus.PARTIAL_CONTENT
        about.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    return Answer(status, [*about, ("Content-Length", str(stop - start))], resource.source, start, stop)


def failed_precondition(fields: Fields, resource: Resource | None, get: bool) -> HTTPStatus | None:
    """RFC 9110 section 13.2.2, in its order. ``resource`` is None if there is none yet."""
    modified = resource.modified if resource else None
    if "if-match" in fields:
        if not names(fields["if-match"], resource, weak=False):
            return HTTPStatus.PRECONDITION_FAILED
    elif is_later(modified, fields.get("if-unmodified-since")) is True:
        return HTTPStatus.PRECONDITION_FAILED
    if "if-none-match" in fields:
        if names(fields["if-none-match"], resource, weak=True):
            return HTTPStatus.NOT_MODIFIED if get else HTTPStatus.PRECONDITION_FAILED
    elif get and is_later(modified, fields.get("if-modified-since")) is False:
        return HTTPStatus.NOT_MODIFIED
    return None


def names(tags: str, resource: Resource | None, weak: bool) -> bool:
    """Whether a list of entity tags, or '*', names it. Ours are strong and without commas (section 8.8.3)."""
    if resource is None:
        return False
    listed = [tag.strip() for tag in tags.split(",")]
    if weak:
        listed = [tag.removeprefix("W/") for tag in listed]
    return listed == ["*"] or (bool(resource.etag) and resource.etag in listed)


def is_later(modified: int | None, date: str | None) -> bool | None:
    """None when there is nothing to compare, or no valid date: then the condition does not count (section 13.1.3)."""
    if modified is None or date is None:
        return None
    try:
        parsed = parsedate_to_datetime(date)  # all three forms of section 5.6.7
        return modified > parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def asked_range(fields: Fields, resource: Resource, now: float) -> tuple[int, int] | None:
    """The half-open range that is asked for, empty if it cannot be had; None for everything (RFC 9110 section 14.1.2).

    A list of ranges, and what cannot be understood, is answered with everything, as section 14.2 allows.
    """
    found = RANGE.fullmatch(fields.get("range", ""))
    if not found or not (found[1] or found[2]) or not range_still_holds(fields.get("if-range"), resource, now):
        return None
    size = resource.source.size
    if not found[1]:
        return max(0, size - int(found[2])), size
    first = int(found[1])
    if not found[2]:
        return first, size
    last = int(found[2])
    return (first, min(last + 1, size)) if first <= last else None


def range_still_holds(validator: str | None, resource: Resource, now: float) -> bool:
    """If-Range (RFC 9110 section 13.1.5): the exact tag, or the exact date if that is over a second old."""
    if validator is None:
        return True
    if validator.startswith('"'):
        return validator == resource.etag
    modified = resource.modified
    return modified is not None and modified < now - 1 and validator == formatdate(modified, usegmt=True)
