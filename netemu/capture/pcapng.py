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
    """One section with one interface; times are nanoseconds since the epoch."""

    def __init__(self, out: Writable, name: str, snaplen: int = SNAPLEN) -> None:
        self.packets = 0
        self._out = out
        self._snaplen = snaplen
        self._first = self._last = 0
        section = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1) + _text(SHB_USERAPPL, f"netemu {__version__}") + _END
        interface = (
            struct.pack("<HHI", LINKTYPE_RAW, 0, snaplen) + _text(IF_NAME, name) + _option(IF_TSRESOL, b"\x09") + _END
        )
        out.write(_block(SECTION, section) + _block(INTERFACE, interface))

    def packet(self, data: Buffer, wall_ns: int, inbound: bool, comment: str = "") -> None:
        """Add one IP packet. ``inbound`` is towards the emulated host."""
        self.packets += 1
        self._first, self._last = self._first or wall_ns, wall_ns
        kept = data[: self._snaplen]
        options = _option(EPB_FLAGS, struct.pack("<I", INBOUND if inbound else OUTBOUND))
        if comment:
            options += _text(COMMENT, comment)
        head = struct.pack("<IIIII", 0, wall_ns >> 32, wall_ns & 0xFFFFFFFF, len(kept), len(data))
        self._out.write(_block(PACKET, b"".join((head, kept, bytes(-len(kept) % 4), options, _END))))

    def close(self, dropped: int = 0, comment: str = "") -> None:
        """Add the statistics: packets written, and ``dropped`` ones for which the reader was too slow."""
        options = b"".join(
            (
                _option(ISB_STARTTIME, _time(self._first)),
                _option(ISB_ENDTIME, _time(self._last)),
                _option(ISB_IFRECV, struct.pack("<Q", self.packets + dropped)),
                _option(ISB_IFDROP, struct.pack("<Q", dropped)),
                _text(COMMENT, comment) if comment else b"",
                _END,
            )
        )
        self._out.write(_block(STATISTICS, struct.pack("<I", 0) + _time(self._last) + options))


class Record(NamedTuple):
    """One block of a file that PcapngWriter wrote. ``data`` is None for all blocks but packets."""

    block: bytes
    data: bytes | None
    wall_ns: int = 0
    inbound: bool = False
    comment: str = ""
    dropped: int = 0


def read_blocks(read: Callable[[int], bytes]) -> Iterator[Record]:
    """The blocks of a stream in PcapngWriter's own dialect; ``read(n)`` gives n bytes, or fewer at the end.

    Raises EOFError when the stream ends within a block.
    """
    while head := read(8):
        if len(head) < 8:
            raise EOFError("the capture ends within a block")
        kind, length = struct.unpack("<II", head)
        block = head + read(length - 8)
        if len(block) < length or length < 12:
            raise EOFError("the capture ends within a block")
        yield _record(kind, block)


def _record(kind: int, block: bytes) -> Record:
    if kind == PACKET:
        _, high, low, kept, _ = struct.unpack_from("<IIIII", block, 8)
        options = _options(block[28 + kept + -kept % 4 : -4])
        inbound = options.get(EPB_FLAGS, b"\0")[0] & 3 == INBOUND
        comment = options.get(COMMENT, b"").decode(errors="replace")
        return Record(block, block[28 : 28 + kept], high << 32 | low, inbound, comment)
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
