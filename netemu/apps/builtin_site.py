"""The web site that needs no directory: a page that says where you are, and /bytes/N to measure with."""

from __future__ import annotations

import re
from http import HTTPStatus

from netemu.apps.resources import Path, Refused, Resource, Upload, page
from netemu.wire.buffer import Buffer

LINE = 16
PERIOD = b"".join(b"%0*x\n" % (LINE - 1, number * LINE) for number in range(4093))
"""Byte i of every /bytes/N is PERIOD[i % len(PERIOD)]. Each line tells its own offset. Their number is a prime, so data
that lands a power of two too far is seen to be wrong."""

BLOCK = PERIOD * 4
"""What is read at a time; the very same object every time, so no byte is copied."""

MAX_SIZE = 1 << 40

SIZE = re.compile(r"(\d{1,13})([KMGT]?)", re.ASCII)
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

INDEX = """\
<p>This page comes from <b>netemu</b>, a TCP/IP host that lives in a Python process. Its TCP is its own: the packets
that carry these words came through a TUN device, and no kernel socket is behind them.</p>
<p>Something to download: <a href="/bytes/1K">/bytes/1K</a>, <a href="/bytes/1M">/bytes/1M</a>,
<a href="/bytes/1G">/bytes/1G</a>, or any number of bytes up to 1T. Ranges work too.</p>
<p>Unless told otherwise, echo (7), discard (9), daytime (13) and chargen (19) are served as well, over TCP and UDP.</p>
"""


class Pattern:
    """``size`` bytes of the pattern, none of them stored."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, offset: int, count: int) -> Buffer:
        start = offset % len(BLOCK)
        if start == 0 and count >= len(BLOCK):
            return BLOCK
        return memoryview(BLOCK)[start : start + count]

    def close(self) -> None:
        pass


class BuiltinSite:
    methods = ("GET", "HEAD", "OPTIONS")

    def find(self, path: Path) -> Resource:
        match path.segments:
            case ():
                return page("netemu", INDEX)
            case ("bytes", size) if (found := SIZE.fullmatch(size)) and not path.slash:
                count = int(found[1]) * UNITS[found[2]]
                if count <= MAX_SIZE:
                    return Resource(Pattern(count), "text/plain; charset=us-ascii", f'"bytes-{count}"')
        raise Refused(HTTPStatus.NOT_FOUND, "there are / and /bytes/N, N up to 1T")

    def upload(self, path: Path) -> Upload:
        raise Refused(HTTPStatus.FORBIDDEN)
