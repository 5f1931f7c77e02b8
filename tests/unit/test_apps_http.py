"""The web server's HTTP: framing, keep-alive, ranges, conditions, backpressure."""

from __future__ import annotations

from itertools import pairwise

import pytest
from apps_http_client import Reply, Web, replies
from apps_transport import FakeTransport
from hypothesis import example, given
from hypothesis import strategies as st

from netemu.apps.builtin_site import PERIOD
from netemu.apps.http_connection import LINGER, PIECE

GET = b"GET /bytes/10 HTTP/1.1\r\nHost: x\r\n\r\n"


def content(start: int, stop: int) -> bytes:
    """Bytes start to stop of any /bytes/N."""
    return bytes(PERIOD[index % len(PERIOD)] for index in range(start, stop))


@pytest.fixture
def web() -> Web:
    return Web()


# -- what is there -----------------------------------------------------------------------------------------------------


def test_the_index_says_where_you_are(web: Web) -> None:
    reply = web.ask("/")
    assert reply.status == 200
    assert b"netemu" in reply.body
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["date"] == "Sun, 22 Nov 2026 13:26:40 GMT"


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 65536, len(PERIOD) * 4, len(PERIOD) * 4 + 1, 1_000_003])
def test_any_number_of_bytes(web: Web, size: int) -> None:
    reply = web.ask(f"/bytes/{size}")
    assert (reply.status, reply.headers["content-length"]) == (200, str(size))
    assert reply.body == (PERIOD * (size // len(PERIOD) + 1))[:size]


@pytest.mark.parametrize(("target", "size"), [("3K", 3072), ("2M", 2 << 20), ("1T", 1 << 40)])
def test_sizes_with_units(web: Web, target: str, size: int) -> None:
    assert web.ask(f"/bytes/{target}", "HEAD").headers["content-length"] == str(size)


@pytest.mark.parametrize(
    "target",
    ["/nothing", "/bytes", "/bytes/", "/bytes/x", "/bytes/-1", "/bytes/1/", "/bytes/2T", "/bytes/" + "9" * 5000],
)
def test_nothing_else_is_there(web: Web, target: str) -> None:
    assert web.ask(target).status == 404


# -- methods and targets -----------------------------------------------------------------------------------------------


def test_head_is_get_without_the_body(web: Web) -> None:
    get, head = web.ask("/bytes/100"), web.ask("/bytes/100", "HEAD")
    assert head == Reply(200, get.headers, b"")
    missing = web.ask("/nothing", "HEAD")
    assert (missing.status, missing.body) == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "CONNECT", "get", "BREW"])
def test_other_methods_are_told_which_there_are(web: Web, method: str) -> None:
    reply = web.ask("/", method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("target", ["*", "/"])
def test_options(web: Web, target: str) -> None:
    reply = web.ask(target, "OPTIONS")
    assert (reply.status, reply.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert "content-length" not in reply.headers


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://elsewhere/bytes/3", 200),
        ("HTTP://x:8080", 200),
        ("http://x?a", 200),
        ("/bytes/3?a=b/../c", 200),
        ("//bytes//3", 200),
        ("/./bytes/3", 200),
        ("/%62ytes/3", 200),
        ("*", 400),
        ("bytes/3", 400),
        ("ftp://x/", 400),
        ("/%00", 400),
        ("/..", 403),
        ("/bytes/%2e%2e/3", 403),
        ("/bytes%2F3", 403),
        ("/%ff%fe", 404),
        ("/%", 404),
        ("/%zz", 404),
        ("/" + "a" * 7999, 404),
        ("/" + "a" * 8000, 414),
    ],
)
def test_targets(web: Web, target: str, status: int) -> None:
    assert web.ask(target).status == status


# -- ranges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=5-9", 5, 10),
        ("bytes=90-", 90, 100),
        ("bytes=99-", 99, 100),
        ("bytes=90-1000", 90, 100),
        ("bytes=-1", 99, 100),
        ("bytes=-100", 0, 100),
        ("bytes=-1000", 0, 100),
        ("bytes=0-" + "9" * 20, 0, 100),
        ("Bytes= 5-9 ", 5, 10),
    ],
)
def test_ranges(web: Web, asked: str, start: int, stop: int) -> None:
    reply = web.ask("/bytes/100", range=asked)
    assert (reply.status, reply.body) == (206, content(start, stop))
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/100"


def test_a_range_far_in(web: Web) -> None:
    start, stop = 1_000_000_000_007, 1_000_000_001_000
    reply = web.ask("/bytes/1T", range=f"bytes={start}-{stop - 1}")
    assert (reply.status, reply.body) == (206, content(start, stop))


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_ranges_that_cannot_be_had(web: Web, asked: str) -> None:
    reply = web.ask("/bytes/100", range=asked)
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */100")


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=9-5",
        "bytes=-",
        "bytes=",
        "bytes",
        "lines=1-2",
        "bytes=1-2,4-5",
        "bytes=a-b",
        "bytes=1-2x",
        f"bytes={'9' * 5000}-",
    ],
)
def test_ranges_that_are_ignored(web: Web, asked: str) -> None:
    reply = web.ask("/bytes/100", range=asked)
    assert (reply.status, reply.body) == (200, content(0, 100))


def test_range_is_for_get_only(web: Web) -> None:
    assert web.ask("/bytes/100", "HEAD", range="bytes=0-1").status == 200


@pytest.mark.parametrize(
    ("tag", "status"), [('"bytes-100"', 206), ('"other"', 200), ('W/"bytes-100"', 200), ("nonsense", 200)]
)
def test_if_range_with_a_tag(web: Web, tag: str, status: int) -> None:
    assert web.ask("/bytes/100", range="bytes=0-1", if_range=tag).status == status


# -- conditions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("if_none_match", '"bytes-100"', 304),
        ("if_none_match", 'W/"bytes-100"', 304),
        ("if_none_match", '"a", "bytes-100"', 304),
        ("if_none_match", "*", 304),
        ("if_none_match", '"a"', 200),
        ("if_match", '"bytes-100"', 200),
        ("if_match", "*", 200),
        ("if_match", 'W/"bytes-100"', 412),
        ("if_match", '"a"', 412),
        ("if_modified_since", "Sun, 22 Nov 2026 13:26:40 GMT", 200),
    ],
)
def test_conditions(web: Web, name: str, value: str, status: int) -> None:
    reply = web.ask("/bytes/100", **{name: value})
    assert reply.status == status
    if status == 304:
        assert reply.headers["etag"] == '"bytes-100"'
        assert reply.body == b""


# -- connections -------------------------------------------------------------------------------------------------------


def test_keep_alive(web: Web) -> None:
    transport = web.connect()
    for size in (1, 100_000, 0, 7):
        transport.feed(b"GET /bytes/%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
        (reply,) = replies(transport.take_all(), ["GET"], closed=False)
        assert len(reply.body) == size
    assert not transport.closing
    transport.feed_eof()
    assert transport.closing


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
)
def test_close_when_asked_to(web: Web, request_: bytes) -> None:
    transport = web.connect()
    transport.feed(request_ + GET)
    (reply,) = replies(transport.take_all(), ["GET"])
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert transport.lost


def test_pipelined_requests_are_answered_in_turn(web: Web) -> None:
    transport = web.connect(high=1000)
    transport.feed(b"".join(b"GET /bytes/%d HTTP/1.1\r\nHost: x\r\n\r\n" % size for size in range(0, 3000, 100)))
    found = replies(transport.take_all(), ["GET"] * 30, closed=False)
    assert [len(reply.body) for reply in found] == list(range(0, 3000, 100))


def test_a_fin_behind_the_request_does_not_cut_the_answer_short(web: Web) -> None:
    transport = web.connect()
    transport.feed(b"GET /bytes/1M HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    transport.feed_eof()
    first, second = replies(transport.take_all(), ["GET", "GET"])
    assert (len(first.body), len(second.body)) == (1 << 20, 10)
    assert transport.lost


def test_a_body_that_nobody_wants_ends_the_connection_in_two_steps(web: Web) -> None:
    transport = web.connect()
    transport.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    (reply,) = replies(transport.take_all(), ["POST"])
    assert (reply.status, reply.headers["connection"]) == (405, "close")
    assert transport.eof_sent
    assert not transport.closing, "closed now, the rest of the body would be answered with a RST"
    for _ in range(10):
        transport.feed(b"x" * 100_000)
    assert transport.reading
    transport.feed_eof()
    assert transport.closing


def test_lingering_ends_when_the_peer_does_not(web: Web) -> None:
    transport = web.connect()
    transport.feed(b"garbage\r\n\r\n")
    transport.take()
    web.clock.advance(LINGER - 1)
    assert not transport.closing
    web.clock.advance(1)
    assert transport.closing


# -- memory ------------------------------------------------------------------------------------------------------------


def test_a_large_answer_is_written_as_the_peer_reads_it(web: Web) -> None:
    transport = web.connect(high=100_000)
    transport.feed(b"GET /bytes/100G HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(20):
        transport.take(100_000)
    assert transport.peak <= 100_000 + PIECE + 1000
    transport.reset()


def test_requests_wait_outside_while_an_answer_is_under_way(web: Web) -> None:
    transport = web.connect()
    transport.feed(b"GET /bytes/1M HTTP/1.1\r\nHost: x\r\n\r\n")
    transport.feed(GET)
    assert not transport.reading
    assert len(transport.inbox) == 1
    transport.take_all()
    assert transport.reading
    assert len(replies(bytes(transport.output), ["GET", "GET"], closed=False)[1].body) == 10


def test_small_answers_that_nobody_reads_do_not_pile_up(web: Web) -> None:
    transport = web.connect(high=10_000)
    for _ in range(1000):
        transport.feed(GET * 10)
    assert transport.peak < 11_000
    assert len(replies(transport.take_all(), ["GET"] * 10_000, closed=False)) == 10_000


# -- what a peer can send ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01", 400),  # somebody tries TLS
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000), 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000, 431),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505),
    ],
)
def test_what_is_not_http_gets_a_status_and_the_door(web: Web, data: bytes, status: int) -> None:
    transport = web.connect()
    transport.feed(data)
    (reply,) = replies(transport.take_all(), ["GET"], closed=False)
    assert reply.status == status
    transport.feed_eof()
    assert transport.closing


def test_garbage_after_a_good_request(web: Web) -> None:
    good, bad = replies(web.raw(GET + b"\0\0\0\0"), ["GET", "GET"])
    assert (good.status, bad.status) == (200, 400)


WORDS = [
    b"GET ", b"PUT ", b"HEAD ", b"CONNECT ", b"/", b"/bytes/9", b"*", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Host: x\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n",
    b"Connection: close\r\n", b"Range: bytes=", b"-5\r\n", b"If-Modified-Since: Mon, 99 Foo 99999 25:61:61 +9999\r\n",
    b"If-Range: x\r\n", b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"5\r\n", b"hello", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=20)), max_size=20))
@example([b"GET / HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: Mon, 99 Foo 99999 25:61:61 +9999\r\n\r\n"])
def test_nothing_that_a_peer_sends_is_our_error(parts: list[bytes]) -> None:
    web = Web()
    transport = FakeTransport(web.app.stream())
    for part in parts:
        if part:
            transport.feed(part)
    transport.feed_eof()
    transport.take_all()
    web.clock.advance(LINGER)
    transport.take_all()
    assert transport.lost
    assert not transport.aborted
    assert not transport.output or transport.output.startswith(b"HTTP/1.1 ")


@given(st.text(max_size=60))
def test_no_date_is_our_error(text: str) -> None:
    value = "".join(char for char in text if " " <= char < "\x7f").strip() or "x"
    assert (
        Web()
        .ask("/bytes/9", if_modified_since=value, if_unmodified_since=value, range="bytes=0-1", if_range=value)
        .status
        < 500
    )


REQUESTS = (
    GET
    + b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    + b"GET /bytes/300000 HTTP/1.1\r\nHost: x\r\nRange: bytes=-200000\r\n\r\n"
    + b"OPTIONS * HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n"
    + b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
)


@given(st.lists(st.integers(0, len(REQUESTS)), max_size=12))
def test_the_answer_does_not_depend_on_where_segments_end(cuts: list[int]) -> None:
    edges = sorted({0, len(REQUESTS), *cuts})
    transport = Web().connect()
    for start, stop in pairwise(edges):
        transport.feed(REQUESTS[start:stop])
    assert transport.take_all() == Web().raw(REQUESTS)
