"""The packet that somebody asks about in words: `netemu why tcp 198.18.0.1:40000 198.18.0.2:80 --flags S`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netemu.stack.demux import flow_key
from netemu.tcp.connection import Connection
from netemu.tcp.timewait import TimeWait
from netemu.wire import udp
from netemu.wire.fragments import fragments
from netemu.wire.ip import TCP, UDP, parse_address
from netemu.wire.output import Template
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, MASK, PSH, RST, SYN, URG, Options, Segment

if TYPE_CHECKING:
    from netemu.stack.host import Host

PROTOCOLS = {"tcp": TCP, "udp": UDP}
LETTERS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "U": URG, ".": ACK, "A": ACK}
WORDS = {"syn": SYN, "fin": FIN, "rst": RST, "psh": PSH, "push": PSH, "urg": URG, "ack": ACK}
LONGEST = 1 << 16
"""Bytes of a packet, exclusive."""


class Wanted(NamedTuple):
    """A packet as it was asked about. ValueError in ``wanted`` for what makes no sense."""

    protocol: int
    src: bytes
    sport: int
    dst: bytes
    dport: int
    flags: int | None
    seq: int | None
    ack: int | None
    length: int


def wanted(
    protocol: str, src: str, dst: str, flags: str = "", seq: int | None = None, ack: int | None = None, length: int = 0
) -> Wanted:
    """Read the words; ValueError says in one line what is wrong with them."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"{protocol!r} is no protocol: tcp or udp")
    if protocol == "udp" and (flags or seq is not None or ack is not None):
        raise ValueError("a UDP datagram has no flags, no sequence and no acknowledgement number")
    (source, sport), (destination, dport) = _end("SRC", src), _end("DST", dst)
    if len(source) != len(destination):
        raise ValueError(f"{src} and {dst} are not of one family")
    if not 0 <= length <= 60_000:
        raise ValueError(f"a payload of {length} bytes: 0 to 60000")
    bits = flags_of(flags) if flags else None
    return Wanted(PROTOCOLS[protocol], source, sport, destination, dport, bits, seq, ack, length)


def _end(name: str, text: str) -> tuple[bytes, int]:
    """(address, port) of ADDR:PORT or [ADDR]:PORT."""
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        if not (port.isascii() and port.isdecimal() and int(port) <= 65535 and is_bracketed == (":" in host)):
            raise ValueError
        return parse_address(host.strip("[]")), int(port)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not ADDRESS:PORT, such as 198.18.0.2:80 or [2001:2::2]:80") from None


def flags_of(text: str) -> int:
    """'S', 'S.', 'FPA', 'syn,ack' …; ValueError."""
    bits = 0
    parts = text.lower().split(",")
    if all(part in WORDS for part in parts):
        for part in parts:
            bits |= WORDS[part]
        return bits
    for letter in text.upper():
        if letter not in LETTERS:
            raise ValueError(f"--flags: {letter!r} is no flag: letters of SFRPU. or words such as syn,ack")
        bits |= LETTERS[letter]
    return bits


def craft(host: Host, want: Wanted, now: int) -> Packet:
    """The packet, with what was left open as an existing connection's peer would have it now."""
    if want.protocol == UDP:
        payload = udp.emit(want.src, want.dst, want.sport, want.dport, bytes(want.length))
        return next(fragments(want.src, want.dst, UDP, payload, LONGEST, 0, 64))
    c = host.table.connections.get(flow_key(want.src, want.dst, want.sport, want.dport))
    flags = want.flags if want.flags is not None else (SYN if c is None else ACK | (PSH if want.length else 0))
    segment = _segment(c, flags, want, now)
    template = Template(want.src, want.dst, want.sport, want.dport, 64, 0)
    return template.packet(segment, 0, False)


def _segment(c: Connection | TimeWait | None, flags: int, want: Wanted, now: int) -> Segment:
    seq, ack, wnd, ts_val, ts_ecr = 1, 0, 64240, None, 0
    options = Options(mss=1460 if len(want.src) == 4 else 1440) if flags & SYN else Options()
    if c is not None:
        seq, ack = c.rcv_nxt, c.snd_nxt
        if c.ts_on and not flags & RST:
            ts_val, ts_ecr = c.ts_recent, (now // 1_000_000 + c.ts_offset) & MASK
    if isinstance(c, Connection) and c.snd_wnd:
        wnd = min(c.snd_wnd >> c.snd_wscale, 0xFFFF)
    if want.seq is not None:
        seq = want.seq
    if want.ack is not None:
        ack = want.ack
    payload = (bytes(want.length),) if want.length else ()
    return Segment(seq, ack if flags & ACK else 0, flags, wnd, payload, want.length, ts_val, ts_ecr, options)
