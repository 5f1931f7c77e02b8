"""TCP segments (RFC 9293 3.1): bytes to Segment and back.

The logic above never sees a malformed segment: ``parse`` gives a Segment or the reason why there is none. Sequence and
acknowledgement numbers are 32-bit as parsed; the connection that a segment belongs to unwraps them (DESIGN: plain, unbounded
ints inside, masked only on emit).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from netemu.reasons import Drop
from netemu.wire.buffer import Buffer

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80
FLAG_LETTERS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "."), (URG, "U"), (ECE, "E"), (CWR, "W"))

MASK = 0xFFFFFFFF
HALF = 0x80000000

FIXED = Struct(">HHIIHHHH")  # sport dport seq ack offset+flags window checksum urgent
_TIMESTAMPS = Struct(">III")  # NOP NOP kind length, TSval, TSecr: the layout of RFC 7323 appendix A
NOP_NOP_TIMESTAMP = 0x0101080A
_EDGES = Struct(">II")

HEADER = 20
MAX_OPTIONS = 40


class Options(NamedTuple):
    """What a segment carries beside timestamps; most segments share NO_OPTIONS."""

    mss: int | None = None
    wscale: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    """(left, right) edges, at most four, as on the wire: the first is the most recent (RFC 2018)."""


NO_OPTIONS = Options()


class Segment:
    """A valid TCP segment, or a super-segment that stands for several (``gso_size`` payload bytes each)."""

    __slots__ = (
        "ack",
        "ecn",
        "flags",
        "gso_size",
        "length",
        "options",
        "payload",
        "seq",
        "ts_ecr",
        "ts_val",
        "urg",
        "wnd",
    )

    def __init__(
        self,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        payload: tuple[Buffer, ...] = (),
        length: int = 0,
        ts_val: int | None = None,
        ts_ecr: int = 0,
        options: Options = NO_OPTIONS,
        gso_size: int = 0,
        urg: int = 0,
        ecn: int = 0,
    ) -> None:
        self.seq = seq
        self.ack = ack
        self.flags = flags
        self.wnd = wnd
        """As on the wire: not scaled."""
        self.payload = payload
        self.length = length
        """Payload bytes, without the sequence numbers that SYN and FIN take."""
        self.ts_val = ts_val
        self.ts_ecr = ts_ecr
        self.options = options
        self.gso_size = gso_size
        self.urg = urg
        self.ecn = ecn
        """The two bits of the IP header's field (RFC 3168 section 5) that it came with, or is to go with."""

    @property
    def end(self) -> int:
        """SEG.SEQ + SEG.LEN: the sequence number after the segment, SYN and FIN counted."""
        return self.seq + self.length + (self.flags & SYN and 1) + (self.flags & FIN)

    def data(self) -> bytes:
        """The payload in one piece."""
        return b"".join(self.payload)

    def __repr__(self) -> str:
        text = f"{flag_letters(self.flags)} {self.seq}:{self.seq + self.length}({self.length})"
        text += f" ack {self.ack}" if self.flags & ACK else ""
        text += f" win {self.wnd}" + (f" gso {self.gso_size}" if self.gso_size else "")
        if self.options is not NO_OPTIONS:
            text += f" {self.options}"
        return f"<{text}{f' TS {self.ts_val} ecr {self.ts_ecr}' if self.ts_val is not None else ''}>"


def flag_letters(flags: int) -> str:
    """'S.', 'P.', 'R' …: tcpdump's letters; '-' for none."""
    return "".join(letter for bit, letter in FLAG_LETTERS if flags & bit) or "-"


def unwrap(raw: int, near: int) -> int:
    """The unbounded number that ``raw`` (32 bits) stands for: the one closest to ``near``."""
    return near + ((raw - near + HALF) & MASK) - HALF


def parse(data: Buffer, offset: int, end: int, gso_size: int = 0) -> Segment | Drop:
    """The segment at ``data[offset:end]``; its checksum is the caller's business."""
    if end - offset < HEADER:
        return Drop.TRUNCATED
    _, _, seq, ack, offset_flags, wnd, _, urg = FIXED.unpack_from(data, offset)
    return parse_rest(data, offset, end, seq, ack, offset_flags, wnd, urg, gso_size)


def parse_rest(
    data: Buffer, offset: int, end: int, seq: int, ack: int, offset_flags: int, wnd: int, urg: int, gso_size: int
) -> Segment | Drop:
    """The part of ``parse`` after the fixed fields, for a caller that has unpacked them together with the IP header's."""
    start = offset + (offset_flags >> 12) * 4
    if start > end or start < offset + HEADER:
        return Drop.BAD_TCP_HEADER
    ts_val: int | None = None
    ts_ecr = 0
    options = NO_OPTIONS
    if start != offset + HEADER:
        if start == offset + 32:
            layout, ts_val, ts_ecr = _TIMESTAMPS.unpack_from(data, offset + HEADER)
            if layout != NOP_NOP_TIMESTAMP:
                ts_val, ts_ecr, options = parse_options(bytes(data[offset + HEADER : start]))
        else:
            ts_val, ts_ecr, options = parse_options(bytes(data[offset + HEADER : start]))
    length = end - start
    payload: tuple[Buffer, ...] = (data[start:end],) if length else ()
    return Segment(seq, ack, offset_flags & 0xFF, wnd, payload, length, ts_val, ts_ecr, options, gso_size, urg)


def parse_options(data: bytes) -> tuple[int | None, int, Options]:
    """(TSval or None, TSecr, Options) of an option area.

    Unknown options are skipped; an illegal length ends the reading, and what came before it counts (RFC 9293 MUST-6, MUST-7).
    A known option of the wrong length is skipped as if it were unknown.
    """
    mss = wscale = ts_val = None
    sack_permitted = False
    sack: tuple[tuple[int, int], ...] = ()
    ts_ecr = at = 0
    while at < len(data):
        kind = data[at]
        if kind == 0:  # end of options
            break
        if kind == 1:  # no operation
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            break
        if kind == 2 and size == 4:
            mss = int.from_bytes(data[at + 2 : at + 4], "big")
        elif kind == 3 and size == 3:
            wscale = data[at + 2]
        elif kind == 4 and size == 2:
            sack_permitted = True
        elif kind == 5 and size >= 10 and (size - 2) % 8 == 0:
            sack = tuple(_EDGES.iter_unpack(data[at + 2 : at + size]))
        elif kind == 8 and size == 10:
            ts_val, ts_ecr = _EDGES.unpack_from(data, at + 2)
        at += size
    if mss is None and wscale is None and not sack_permitted and not sack:
        return ts_val, ts_ecr, NO_OPTIONS
    return ts_val, ts_ecr, Options(mss, wscale, sack_permitted, sack)


def emit_options(segment: Segment) -> bytes:
    """The option area of a segment, padded to whole words; in the order that Linux has them."""
    ts_val, options = segment.ts_val, segment.options
    if options is NO_OPTIONS:
        if ts_val is None:
            return b""
        return _TIMESTAMPS.pack(NOP_NOP_TIMESTAMP, ts_val & MASK, segment.ts_ecr & MASK)
    out = b""
    if options.mss is not None:
        out += b"\x02\x04" + options.mss.to_bytes(2, "big")
    if ts_val is not None:
        out += b"\x04\x02" if options.sack_permitted else b"\x01\x01"
        out += b"\x08\x0a" + _EDGES.pack(ts_val & MASK, segment.ts_ecr & MASK)
    elif options.sack_permitted:
        out += b"\x01\x01\x04\x02"
    if options.wscale is not None:
        out += b"\x01\x03\x03" + options.wscale.to_bytes(1, "big")
    if options.sack:
        out += b"\x01\x01\x05" + (2 + 8 * len(options.sack)).to_bytes(1, "big")
        out += b"".join(_EDGES.pack(left & MASK, right & MASK) for left, right in options.sack)
    return out


def reset_for(segment: Segment) -> Segment:
    """The RST for a segment that belongs to no connection (RFC 9293 3.10.7.1). Numbers are 32-bit; never call it for a RST."""
    if segment.flags & ACK:
        return Segment(segment.ack, 0, RST, 0)
    return Segment(0, segment.end, RST | ACK, 0)
