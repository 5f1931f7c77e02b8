"""Super-packets and the slices that they stand for: links decide per packet of the wire, and routers by its size.

A slice gets the headers that segmentation offload would give it (Linux' tcp_gso_segment): its own sequence number and IPv4
identification; PSH and FIN go with the last, CWR with the first; the checksum is partial where the super-packet's was.
"""

from __future__ import annotations

from itertools import pairwise
from struct import Struct

from netemu.wire import ipv6
from netemu.wire.buffer import Buffer
from netemu.wire.checksum import checksum
from netemu.wire.ip import TCP, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.tcp import CWR, FIN, MASK, PSH

_WORD, _LONG = Struct(">H"), Struct(">I")
_SEQ, _FLAGS, _CHECKSUM = 4, 13, 16  # offsets in a TCP header
_LAST_ONLY = PSH | FIN


def headers(packet: Packet) -> tuple[int, int]:
    """(offset of the TCP header, offset of the payload) of a super-packet."""
    head = packet.head
    start = packet.csum_start or _transport(head)
    return start, start + (head[start + 12] >> 4) * 4


def _transport(head: Buffer) -> int:
    return (head[0] & 15) * 4 if head[0] >> 4 == 4 else ipv6.upper_layer(head)[1]


def count(packet: Packet) -> int:
    """How many packets of the wire it stands for."""
    if not packet.gso_size:
        return 1
    return max(1, -((headers(packet)[1] - len(packet)) // packet.gso_size))


def wire_bytes(packet: Packet) -> int:
    """IP bytes of all that it stands for: each has headers of its own."""
    length = len(packet)
    if not packet.gso_size:
        return length
    start = headers(packet)[1]
    return length + (max(1, -((start - length) // packet.gso_size)) - 1) * start


def largest(packet: Packet) -> int:
    """IP bytes of the largest that it stands for."""
    length = len(packet)
    return min(length, headers(packet)[1] + packet.gso_size) if packet.gso_size else length


class Slice(Packet):
    """One of a super-packet's packets. Its bytes are made when someone first looks at them.

    Most are never looked at: those that are let out together leave as one super-packet again (``join``).
    """

    __slots__ = ("index", "length", "whole")

    def __init__(self, whole: Packet, index: int, length: int) -> None:
        self.whole = whole
        self.index = index
        self.length = length
        self.gso_size = 0

    def __len__(self) -> int:
        return self.length

    def __getattr__(self, name: str) -> object:
        """A slot that is empty still: ``head``, ``body``, ``csum_start`` or ``csum_offset``."""
        if name not in Packet.__slots__:
            raise AttributeError(name)
        made = _cut_out(self.whole, self.index, 1)
        self.head, self.body = made.head, made.body
        self.csum_start, self.csum_offset = made.csum_start, made.csum_offset
        return getattr(self, name)


def split(packet: Packet) -> list[Packet]:
    """The packets that it stands for, in order; itself where it is one."""
    size = packet.gso_size
    if not size:
        return [packet]
    data_at, length = headers(packet)[1], len(packet)
    last = -((data_at - length) // size) - 1
    if last < 1:
        return [packet]
    slices: list[Packet] = [Slice(packet, index, data_at + size) for index in range(last)]
    slices.append(Slice(packet, last, length - last * size))
    return slices


def part(packet: Packet, first: int, number: int) -> Packet:
    """``number`` of its packets from the ``first`` on, again as one super-packet; all of them are the packet itself."""
    if not packet.gso_size:
        return packet
    data_at, length, size = headers(packet)[1], len(packet), packet.gso_size
    if not first and data_at + number * size >= length:
        return packet
    if number == 1:
        return Slice(packet, first, min(length - first * size, data_at + size))
    return _cut_out(packet, first, number)


def _cut_out(packet: Packet, first: int, number: int) -> Packet:
    """Headers and payload of a part, made new."""
    start, data_at = headers(packet)
    size, payload = packet.gso_size, len(packet) - data_at
    low, high = first * size, min((first + number) * size, payload)
    gso_size = size if high - low > size else 0
    head = bytearray(packet.head[:data_at])
    _LONG.pack_into(head, start + _SEQ, (_LONG.unpack_from(head, start + _SEQ)[0] + low) & MASK)
    if high < payload:
        head[start + _FLAGS] &= ~_LAST_ONLY & 0xFF
    if first:
        head[start + _FLAGS] &= ~CWR & 0xFF
    _set_length(head, data_at + high - low, first)
    pieces = _payload(packet, data_at, low, high)
    pseudo = _pseudo(head, data_at - start + high - low)
    if packet.csum_start:
        _WORD.pack_into(head, start + _CHECKSUM, pseudo % 65535)
        return Packet(bytes(head), pieces, gso_size, packet.csum_start, packet.csum_offset)
    head[start + _CHECKSUM : start + _CHECKSUM + 2] = b"\0\0"
    total = checksum(b"".join((head[start:], *pieces)), pseudo)
    _WORD.pack_into(head, start + _CHECKSUM, total)
    return Packet(bytes(head), pieces, gso_size)


def _set_length(head: bytearray, length: int, first: int) -> None:
    if head[0] >> 4 == 6:
        _WORD.pack_into(head, 4, length - ipv6.SIZE)
        return
    _WORD.pack_into(head, 2, length)
    _WORD.pack_into(head, 4, (_WORD.unpack_from(head, 4)[0] + first) & 0xFFFF)
    head[10:12] = b"\0\0"
    _WORD.pack_into(head, 10, checksum(bytes(head[: (head[0] & 15) * 4])))


def _pseudo(head: bytearray, length: int) -> int:
    addresses = (12, 16, 20) if head[0] >> 4 == 4 else (8, 24, 40)
    src, dst = (bytes(head[a:b]) for a, b in pairwise(addresses))
    return pseudo_sum(src, dst, TCP, length)


def _payload(packet: Packet, data_at: int, low: int, high: int) -> tuple[Buffer, ...]:
    """Payload bytes ``low`` to ``high``, not copied."""
    pieces: list[Buffer] = []
    at = 0
    chunks = (memoryview(packet.head)[data_at:], *packet.body) if len(packet.head) > data_at else packet.body
    for chunk in chunks:
        end = at + len(chunk)
        if end > low and at < high:
            pieces.append(memoryview(chunk)[max(0, low - at) : high - at])
        at = end
    return tuple(pieces)


def join(packets: list[Packet]) -> list[Packet]:
    """Slices of one super-packet that follow each other, as super-packets again; the rest as it is."""
    joined: list[Packet] = []
    at, end = 0, len(packets)
    while at < end:
        packet = packets[at]
        after = at + 1
        if isinstance(packet, Slice):
            whole, following = packet.whole, packet.index + 1
            while after < end:
                other = packets[after]
                if not isinstance(other, Slice) or other.whole is not whole or other.index != following:
                    break
                following += 1
                after += 1
            if after - at > 1:
                packet = part(whole, packet.index, after - at)
        joined.append(packet)
        at = after
    return joined
