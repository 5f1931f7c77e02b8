"""pcapng files (draft-ietf-opsawg-pcapng) with nanoseconds, directions and a comment per packet: writer and reader.

Every block leaves in one ``write``, so that whatever was written so far is a whole file, and a reader that is too slow
can be made to miss whole packets and nothing less.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from netemu import __version__
from netemu.wire.buffer import Buffer

LINKTYPE_RAW = 101
SNAPLEN = 262_144
"""Bytes kept of a packet unless told otherwise: the most that tshark accepts, four times the largest super-packet."""

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D
COMMENT = 1
SHB_USERAPPL = 4
IF_NAME, IF_TSRESOL = 2, 9
EPB_FLAGS = 2
ISB_STARTTIME, ISB_ENDTIME, ISB_IFRECV, ISB_IFDROP = 2, 3, 4, 5
INBOUND, OUTBOUND = 1, 2
LONGEST_OPTION = 0xFFFF


class Writable(Protocol):
    """Whatever takes bytes: an open file, a queue, a list in disguise."""

    def write(self, data: bytes, /) -> object: ...


class PcapngWriter:
    """One section, an interface for each point where packets were seen; times are nanoseconds since the epoch."""

    def __init__(self, out: Writable, name: str, snaplen: int = SNAPLEN) -> None:
        """``name``: of the first interface, which is there even without packets."""
        self.packets = 0
        self._out = out
        self._snaplen = snaplen
        self._points: dict[str, Point] = {}
        section = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1) + _text(SHB_USERAPPL, f"netemu {__version__}") + _END
        self._start = _block(SECTION, section)
        self._first = self._add(name)

    def _add(self, name: str) -> Point:
        """A new interface. The first leaves together with the section's head."""
        interface = struct.pack("<HHI", LINKTYPE_RAW, 0, self._snaplen) + _text(IF_NAME, name)
        self._out.write(self._start + _block(INTERFACE, interface + _option(IF_TSRESOL, b"\x09") + _END))
        self._start = b""
        point = self._points[name] = Point(len(self._points))
        return point

    def packet(self, data: Buffer, wall_ns: int, inbound: bool, comment: str = "", name: str = "") -> None:
        """Add one IP packet, seen at the point ``name``, or at the first. ``inbound`` is towards the emulated host."""
        point = (self._points.get(name) or self._add(name)) if name else self._first
        self.packets += 1
        point.packets += 1
        point.first, point.last = point.first or wall_ns, wall_ns
        kept = data[: self._snaplen]
        options = _option(EPB_FLAGS, struct.pack("<I", INBOUND if inbound else OUTBOUND))
        if comment:
            options += _text(COMMENT, comment)
        head = struct.pack("<IIIII", point.number, wall_ns >> 32, wall_ns & 0xFFFFFFFF, len(kept), len(data))
        self._out.write(_block(PACKET, b"".join((head, kept, bytes(-len(kept) % 4), options, _END))))

    def close(self, dropped: int = 0, comment: str = "") -> None:
        """Add the statistics: packets written, and ``dropped`` ones for which the reader was too slow (at the first point)."""
        for point in self._points.values():
            lost, says = (dropped, comment) if point is self._first else (0, "")
            options = b"".join(
                (
                    _option(ISB_STARTTIME, _time(point.first)),
                    _option(ISB_ENDTIME, _time(point.last)),
                    _option(ISB_IFRECV, struct.pack("<Q", point.packets + lost)),
                    _option(ISB_IFDROP, struct.pack("<Q", lost)),
                    _text(COMMENT, says) if says else b"",
                    _END,
                )
            )
            self._out.write(_block(STATISTICS, struct.pack("<I", point.number) + _time(point.last) + options))


class Point:
    """An interface of the file."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.packets = 0
        self.first = self.last = 0


class Record(NamedTuple):
    """One block of a file that PcapngWriter wrote. ``data`` is None for all blocks but packets."""

    block: bytes
    data: bytes | None
    wall_ns: int = 0
    inbound: bool = False
    comment: str = ""
    dropped: int = 0
    point: str = ""
    """Where it was seen."""


def read_blocks(read: Callable[[int], bytes]) -> Iterator[Record]:
    """The blocks of a stream in PcapngWriter's own dialect; ``read(n)`` gives n bytes, or fewer at the end.

    Raises EOFError when the stream ends within a block.
    """
    points: list[str] = []
    while head := read(8):
        if len(head) < 8:
            raise EOFError("the capture ends within a block")
        kind, length = struct.unpack("<II", head)
        block = head + read(length - 8)
        if len(block) < length or length < 12:
            raise EOFError("the capture ends within a block")
        if kind == INTERFACE:
            points.append(_options(block[16:-4]).get(IF_NAME, b"").decode(errors="replace"))
        yield _record(kind, block, points)


def _record(kind: int, block: bytes, points: list[str]) -> Record:
    if kind == PACKET:
        number, high, low, kept, _ = struct.unpack_from("<IIIII", block, 8)
        options = _options(block[28 + kept + -kept % 4 : -4])
        inbound = options.get(EPB_FLAGS, b"\0")[0] & 3 == INBOUND
        comment = options.get(COMMENT, b"").decode(errors="replace")
        point = points[number] if number < len(points) else ""
        return Record(block, block[28 : 28 + kept], high << 32 | low, inbound, comment, point=point)
    if kind == STATISTICS:
        options = _options(block[20:-4])
        comment = options.get(COMMENT, b"").decode(errors="replace")
        return Record(block, None, comment=comment, dropped=int.from_bytes(options.get(ISB_IFDROP, b""), "little"))
    return Record(block, None)


def _options(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from("<HH", data, at)
        found[code] = data[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4
    return found


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return b"".join((struct.pack("<I", kind), length, body, length))


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _text(code: int, text: str) -> bytes:
    value = text.encode(errors="replace")
    if len(value) > LONGEST_OPTION:
        value = value[:LONGEST_OPTION].decode(errors="ignore").encode()  # never half a character
    return _option(code, value)


def _time(wall_ns: int) -> bytes:
    return struct.pack("<II", wall_ns >> 32, wall_ns & 0xFFFFFFFF)


_END = bytes(4)
