"""The web server's files: reading, writing, and not leaving the root."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from pathlib import Path

import pytest
from apps_http_client import Web, replies
from hypothesis import given, settings
from hypothesis import strategies as st

WHEN = 1_700_000_000
"""Tue, 14 Nov 2023 22:13:20 GMT"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "site").mkdir()
    (root / "hello.txt").write_bytes(b"hello, world")
    (root / "sub" / "a&b <c>.html").write_bytes(b"<p>")
    (root / "site" / "index.html").write_bytes(b"<h1>site")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root-not").mkdir()
    (tmp_path / "root-not" / "secret").write_bytes(b"secret")
    os.utime(root / "hello.txt", (WHEN, WHEN))
    return root


@pytest.fixture
def web(root: Path) -> Web:
    return Web(root=str(root), write="yes")


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_file(web: Web) -> None:
    reply = web.ask("/hello.txt")
    assert (reply.status, reply.body) == (200, b"hello, world")
    assert reply.headers["content-type"] == "text/plain"
    assert reply.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert reply.headers["accept-ranges"] == "bytes"
    assert web.ask("/hello.txt", range="bytes=-5").body == b"world"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt.xz", "application/x-xz"),
        ("a.PNG", "image/png"),
        ("a", "application/octet-stream"),
        ("data:,", "application/octet-stream"),
        ("data:a\r\nb,", "application/octet-stream"),
        ("http:a.html", "text/html"),
        ("\udcff.html", "text/html"),
    ],
)
def test_content_types(web: Web, root: Path, name: str, kind: str) -> None:
    (root / name).write_bytes(b"")
    target = "".join(f"%{byte:02x}" for byte in os.fsencode(name))
    assert web.ask(f"/{target}").headers["content-type"] == kind


def test_a_large_file_in_bounded_memory(web: Web, root: Path) -> None:
    data = os.urandom(1000) * 3000
    (root / "large").write_bytes(data)
    transport = web.connect()
    transport.feed(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    (reply,) = replies(transport.take_all(), ["GET"], closed=False)
    assert reply.body == data
    assert transport.peak < 65536 + 2 * 256 * 1024


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("if_modified_since", "Tue, 14 Nov 2023 22:13:20 GMT", 304),
        ("if_modified_since", "Tuesday, 14-Nov-23 22:13:20 GMT", 304),
        ("if_modified_since", "Tue Nov 14 22:13:20 2023", 304),
        ("if_modified_since", "Tue, 14 Nov 2023 22:13:19 GMT", 200),
        ("if_modified_since", "yesterday", 200),
        ("if_unmodified_since", "Tue, 14 Nov 2023 22:13:20 GMT", 200),
        ("if_unmodified_since", "Tue, 14 Nov 2023 22:13:19 GMT", 412),
    ],
)
def test_conditions_on_the_date(web: Web, name: str, value: str, status: int) -> None:
    assert web.ask("/hello.txt", **{name: value}).status == status


def test_a_tag_outweighs_a_date(web: Web) -> None:
    date = "Tue, 14 Nov 2023 22:13:20 GMT"
    etag = web.ask("/hello.txt").headers["etag"]
    assert web.ask("/hello.txt", if_none_match=etag).status == 304
    assert web.ask("/hello.txt", if_none_match='"x"', if_modified_since=date).status == 200
    assert web.ask("/hello.txt", if_match=etag, if_unmodified_since="Tue, 14 Nov 2000 22:13:20 GMT").status == 200


@pytest.mark.parametrize(
    ("date", "status"), [("Tue, 14 Nov 2023 22:13:20 GMT", 206), ("Tue, 14 Nov 2023 22:13:21 GMT", 200)]
)
def test_if_range_with_a_date(web: Web, date: str, status: int) -> None:
    assert web.ask("/hello.txt", range="bytes=0-1", if_range=date).status == status


def test_a_date_within_the_last_second_is_no_strong_validator(web: Web, root: Path) -> None:
    os.utime(root / "hello.txt", (web.clock.time(), web.clock.time()))
    date = web.ask("/hello.txt").headers["last-modified"]
    assert web.ask("/hello.txt", range="bytes=0-1", if_range=date).status == 200


@pytest.mark.parametrize("when", [-1, 0, 2**33, 2**40])
def test_strange_dates(web: Web, root: Path, when: int) -> None:
    os.utime(root / "hello.txt", (when, when))
    reply = web.ask("/hello.txt")
    assert reply.status == 200
    if when > web.clock.time():
        assert reply.headers["last-modified"] == reply.headers["date"], "RFC 9110 section 8.8.2.1"
    assert web.ask("/").status == 200


def test_a_directory(web: Web) -> None:
    reply = web.ask("/sub/")
    assert reply.status == 200
    assert b'<a href="./a%26b%20%3Cc%3E.html">a&amp;b &lt;c&gt;.html</a>' in reply.body
    assert b'<a href="../">' in reply.body
    assert b"<td>3\n" in reply.body
    top = web.ask("/").body
    assert top.index(b"sub/") < top.index(b"hello.txt"), "directories first"
    assert b"../" not in top


def test_a_listing_of_awkward_names(web: Web, root: Path) -> None:
    for name in ("\udcff", "a:b", "'\"", ".hidden"):
        (root / "sub" / name).write_bytes(b"")
    (root / "sub" / "nowhere").symlink_to("/nowhere/at/all")
    (root / "sub" / "round").symlink_to("round")
    body = web.ask("/sub/").body
    assert b'href="./%FF"' in body
    assert b'href="./a%3Ab"' in body
    assert b"hidden" not in body
    assert b"nowhere" not in body
    assert b"round" not in body


def test_index_html_stands_for_its_directory(web: Web, root: Path) -> None:
    reply = web.ask("/site/")
    assert (reply.body, reply.headers["content-type"]) == (b"<h1>site", "text/html")
    (root / "sub" / "index.html").mkdir()
    assert web.ask("/sub/").status == 200


def test_a_directory_without_its_slash(web: Web, root: Path) -> None:
    (root / "sub" / "a b").mkdir()
    for target, there in [("/sub", "/sub/"), ("//sub", "/sub/"), ("/sub/a%20b?x", "/sub/a%20b/")]:
        reply = web.ask(target)
        assert (reply.status, reply.headers["location"]) == (301, there)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/../secret", 403),
        ("/sub/../../secret", 403),
        ("/%2e%2e/secret", 403),
        ("/.%2E/secret", 403),
        ("/..%2fsecret", 403),
        ("/sub%2f..%2f..%2fsecret", 403),
        ("/out", 403),
        ("/outdir/secret", 403),
        ("/sibling/secret", 403),
        ("//etc/passwd", 404),
        ("/%2fetc%2fpasswd", 403),
        ("/..\\secret", 404),
        ("/hello.txt%00.png", 400),
        ("/hello.txt/", 404),
        ("/hello.txt/x", 404),
        ("/loop", 404),
        ("/nothing", 404),
        ("/" + "a" * 300, 404),
        ("/fifo", 403),
        ("/socket", 403),
        ("/in", 200),
    ],
)
@pytest.mark.timeout(5)
def test_no_way_out(web: Web, root: Path, target: str, status: int) -> None:
    (root / "out").symlink_to("../secret")
    (root / "outdir").symlink_to("..")
    (root / "sibling").symlink_to("../root-not")
    (root / "in").symlink_to("sub/../hello.txt")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    os.mknod(root / "socket", 0o140644)
    before = open_files()
    reply = web.ask(target)
    assert reply.status == status
    assert b"secret" not in reply.body
    assert open_files() == before


def test_a_file_that_may_not_be_read(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, status in [(errno.EACCES, 403), (errno.EMFILE, 503), (errno.EIO, 500)]:

        def fail(*_: object, number: int = number) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", fail)
            assert web.ask("/hello.txt").status == status


def test_a_file_that_shrinks_under_way_ends_in_a_reset(web: Web, root: Path) -> None:
    (root / "large").write_bytes(bytes(1_000_000))
    before = open_files()
    transport = web.connect()
    transport.feed(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    os.truncate(root / "large", 1000)
    transport.take_all()
    assert transport.aborted
    assert open_files() == before


def test_a_lost_connection_closes_its_file(web: Web, root: Path) -> None:
    (root / "large").write_bytes(bytes(1_000_000))
    before = open_files()
    transport = web.connect()
    transport.feed(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    assert open_files() == before + 1
    transport.reset()
    assert open_files() == before


@pytest.mark.parametrize("headers", [{"if_none_match": "*"}, {"if_match": '"x"'}, {"range": "bytes=50-"}, {}])
def test_an_answer_without_the_file_closes_it(web: Web, headers: dict[str, str]) -> None:
    before = open_files()
    web.ask("/hello.txt", "GET" if headers else "HEAD", **headers)
    assert open_files() == before


# -- writing -----------------------------------------------------------------------------------------------------------


def test_put(web: Web, root: Path) -> None:
    before = open_files()
    assert web.ask("/new", "PUT", b"one").status == 201
    assert (root / "new").read_bytes() == b"one"
    assert web.ask("/new", "PUT", b"").status == 204
    assert (root / "new").read_bytes() == b""
    assert web.ask("/sub/deep%20er", "PUT", b"x" * 1_000_000).status == 201
    assert (root / "sub" / "deep er").stat().st_size == 1_000_000
    assert not any(name.endswith(".part") for name in files(root))
    assert open_files() == before
    umask = os.umask(0)
    os.umask(umask)
    assert (root / "new").stat().st_mode & 0o777 == 0o666 & ~umask


def test_put_in_chunks_then_get_on_the_same_connection(web: Web) -> None:
    transport = web.connect()
    transport.feed(b"PUT /new HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    transport.feed(b"5\r\nhello\r\n7;a=b\r\n, world\r\n0\r\nTrailer: x\r\n\r\n")
    transport.feed(b"GET /new HTTP/1.1\r\nHost: x\r\n\r\n")
    put, get = replies(transport.take_all(), ["PUT", "GET"], closed=False)
    assert (put.status, get.body) == (201, b"hello, world")


def test_expect_100_continue(web: Web) -> None:
    head = b"PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    transport = web.connect()
    transport.feed(head % b"/new")
    assert transport.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    transport.feed(b"hello")
    assert transport.take().startswith(b"HTTP/1.1 201 ")
    transport.feed(head % b"/nowhere/new")
    assert transport.take().startswith(b"HTTP/1.1 409 "), "no body is asked for that would be thrown away"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 409), ("/sub", 409), ("/new/", 409), ("/nowhere/new", 409), ("/hello.txt/new", 409), ("/../new", 403),
        ("/outdir/new", 403), ("/%00", 400), ("/" + "a" * 300, 404), ("/" + "a" * 9000, 414),
    ],
)  # fmt: skip
def test_where_nothing_can_be_put(web: Web, root: Path, target: str, status: int) -> None:
    (root / "outdir").symlink_to("..")
    before = files(root.parent)
    assert web.ask(target, "PUT", b"x").status == status
    assert files(root.parent) == before


def test_put_replaces_a_link_not_what_it_leads_to(web: Web, root: Path) -> None:
    (root / "out").symlink_to("../secret")
    assert web.ask("/out", "PUT", b"x").status == 204
    assert (root / "out").read_bytes() == b"x"
    assert (root.parent / "secret").read_bytes() == b"secret"


def test_put_needs_to_be_allowed(root: Path) -> None:
    reply = Web(root=str(root)).ask("/new", "PUT", b"x")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert Web(root=str(root), write="yes").ask("*", "OPTIONS").headers["allow"] == "GET, HEAD, OPTIONS, PUT"


def test_conditions_on_put(web: Web, root: Path) -> None:
    etag = web.ask("/hello.txt").headers["etag"]
    assert web.ask("/hello.txt", "PUT", b"x", if_none_match="*").status == 412
    assert web.ask("/hello.txt", "PUT", b"x", if_match='"y"').status == 412
    assert web.ask("/new", "PUT", b"x", if_match="*").status == 412
    assert web.ask("/new", "PUT", b"x", content_range="bytes 0-0/2").status == 400
    assert (root / "hello.txt").read_bytes() == b"hello, world"
    assert web.ask("/hello.txt", "PUT", b"x", if_match=etag).status == 204
    assert web.ask("/new", "PUT", b"x", if_none_match="*").status == 201


@pytest.mark.parametrize("end", ["reset", "fin", "nonsense"])
def test_a_put_that_breaks_off_leaves_nothing(web: Web, root: Path, end: str) -> None:
    before, descriptors = files(root), open_files()
    transport = web.connect()
    transport.feed(b"PUT /hello.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
    assert len(files(root)) == len(before) + 1
    if end == "reset":
        transport.reset()
    elif end == "fin":
        transport.feed_eof()
    else:
        transport.feed(b"lo!!\r\n")
    assert files(root) == before
    assert (root / "hello.txt").read_bytes() == b"hello, world"
    assert open_files() == descriptors
    if end != "reset":
        assert replies(transport.take_all(), ["PUT"])[0].status == 400


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 500)])
@pytest.mark.parametrize("call", ["write", "close", "replace", "open"])
def test_a_full_disk(
    web: Web, root: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, status: int
) -> None:
    before, descriptors = files(root), open_files()
    original = os.close

    def fail(*arguments: int) -> int:
        if call == "close":
            original(*arguments)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        reply = web.ask("/hello.txt", "PUT", b"x" * 100_000)
    assert reply.status == status
    assert files(root) == before
    assert (root / "hello.txt").read_bytes() == b"hello, world"
    assert open_files() == descriptors


def test_a_write_that_takes_only_a_part_is_gone_on_with(web: Web, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
        assert web.ask("/new", "PUT", bytes(range(100))).status == 201
    assert (root / "new").read_bytes() == bytes(range(100))


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=300), st.lists(st.integers(0, 600), max_size=10), st.booleans())
def test_a_put_does_not_depend_on_where_segments_end(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, cuts: list[int], chunked: bool
) -> None:
    root = tmp_path_factory.getbasetemp() / "put"
    root.mkdir(exist_ok=True)
    web = Web(root=str(root), write="yes")
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    data = b"PUT /f HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n"
    parts = [body[:100], body[100:]]
    data += b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n" if chunked else body
    data += b"GET /f HTTP/1.1\r\nHost: x\r\n\r\n"
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    transport = web.connect()
    for start, stop in pairwise(edges):
        transport.feed(data[start:stop])
    put, get = replies(transport.take_all(), ["PUT", "GET"], closed=False)
    assert put.status in (201, 204)
    assert get.body == body
