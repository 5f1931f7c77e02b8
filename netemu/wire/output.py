"""From segments to packets: headers and checksums."""

from __future__ import annotations

from struct import Struct

from netemu.wire import ipv4, ipv6
from netemu.wire.checksum import fold
from netemu.wire.ip import TCP, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.tcp import MASK, NO_OPTIONS, NOP_NOP_TIMESTAMP, Segment, emit_options

_V4 = Struct(">BBHHHBBH12sIIHHHH")  # an IPv4 and a TCP header in one; the 12 bytes are addresses and ports
_V6 = Struct(">IHBB36sIIHHHH")
_TIMESTAMPS = Struct(">III")
_FIVE_WORDS, _EIGHT_WORDS = 5 << 12, 8 << 12  # data offsets, as they stand beside the flags
_CSUM_OFFSET = 16


class Template:
    """What all segments of a connection have in common, with its share of the checksums added up beforehand."""

    __slots__ = ("_ip_sum", "_pseudo", "flow", "is_ipv6", "local", "tos", "ttl")

    def __init__(self, src: bytes, dst: bytes, sport: int, dport: int, ttl: int, tos: int, local: bool = False) -> None:
        self.flow = src + dst + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
        self.is_ipv6 = len(src) == 16
        self.ttl, self.tos = ttl, tos & ~3  # what is below belongs to ECN (RFC 3168 section 5)
        self.local = local
        """The peer is this host itself."""
        self._pseudo = pseudo_sum(src, dst, TCP, 0)
        self._ip_sum = 0x4500 + self.tos + ipv4.DONT_FRAGMENT + (ttl << 8) + TCP + fold(src + dst)

    def packet(self, seg: Segment, ident: int, offload: bool) -> Packet:
        """The packet for ``seg``; with ``offload`` its TCP checksum is left partial, as virtio_net_hdr wants it."""
        if (
            seg.options is NO_OPTIONS and seg.ts_val is not None
        ):  # emit_options in short: 0.3 us for nearly every segment
            options = _TIMESTAMPS.pack(NOP_NOP_TIMESTAMP, seg.ts_val, seg.ts_ecr)
            length, offset_flags = 32 + seg.length, _EIGHT_WORDS | seg.flags
        else:
            options = emit_options(seg)
            length, offset_flags = 20 + len(options) + seg.length, _FIVE_WORDS + (len(options) << 10) | seg.flags
        partial = (self._pseudo + length) % 65535
        seq, ack, wnd, urg = seg.seq & MASK, seg.ack & MASK, seg.wnd, seg.urg
        if self.is_ipv6:
            word = 0x60000000 | (self.tos | seg.ecn) << 20
            head = _V6.pack(word, length, TCP, self.ttl, self.flow, seq, ack, offset_flags, wnd, partial, urg) + options
            start = ipv6.SIZE
        else:
            total = length + 20
            ip_sum = -(self._ip_sum + total + ident + seg.ecn) % 65535
            head = (
                _V4.pack(
                    0x45, self.tos | seg.ecn, total, ident, 0x4000, self.ttl, TCP, ip_sum,
                    self.flow, seq, ack, offset_flags, wnd, partial, urg,
                )
                + options
            )  # fmt: skip
            start = ipv4.SIZE
        packet = Packet(head, seg.payload, seg.gso_size, start, _CSUM_OFFSET)
        if offload:
            return packet
        return Packet(bytes(packet))
