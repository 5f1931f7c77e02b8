"""Packets as an app may bend them: outside of its host, where TCP on neither end knows of it."""

from __future__ import annotations

from struct import Struct

from netemu.wire.checksum import checksum
from netemu.wire.ip import TCP, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.tcp import FIN, MASK, SYN

_FIELDS = Struct(">IIBBH")  # seq ack offset flags window, four bytes into the TCP header


class Seg:
    """A TCP packet, whole and alone (no super-packet), with what a Bend asks of it. Numbers are the wire's, 32 bits."""

    __slots__ = ("_data", "_start", "ack", "flags", "packet", "payload", "seq", "window")

    def __init__(self, packet: Packet, start: int) -> None:
        """``start``: where the TCP header begins."""
        self.packet = packet
        self._start = start
        data = bytes(packet)
        offset: int
        self.seq: int
        self.ack: int
        self.flags: int
        self.window: int
        self.seq, self.ack, offset, self.flags, self.window = _FIELDS.unpack_from(data, start + 4)
        payload_at = start + (offset >> 4) * 4
        self._data, self.payload = data[:payload_at], data[payload_at:]

    @property
    def end(self) -> int:
        """The sequence number after it."""
        return self.seq + len(self.payload) + (self.flags & SYN and 1) + (self.flags & FIN) & MASK

    def remade(
        self, *, seq: int | None = None, ack: int | None = None, flags: int | None = None, payload: bytes | None = None
    ) -> Packet:
        """The same with other numbers, flags or payload; its lengths and checksums are right."""
        head, start = bytearray(self._data), self._start
        _FIELDS.pack_into(
            head,
            start + 4,
            (self.seq if seq is None else seq) & MASK,
            (self.ack if ack is None else ack) & MASK,
            head[start + 12],
            self.flags if flags is None else flags,
            self.window,
        )
        payload = self.payload if payload is None else payload
        size = len(head) - start + len(payload)
        if head[0] >> 4 == 4:
            src, dst = bytes(head[12:16]), bytes(head[16:20])
            head[2:4], head[10:12] = (start + size).to_bytes(2, "big"), bytes(2)
            head[10:12] = checksum(bytes(head[:start])).to_bytes(2, "big")
        else:
            src, dst = bytes(head[8:24]), bytes(head[24:40])
            head[4:6] = (start - 40 + size).to_bytes(2, "big")
        head[start + 16 : start + 18] = bytes(2)
        final = checksum(bytes(head[start:]) + payload, pseudo_sum(src, dst, TCP, size))
        head[start + 16 : start + 18] = final.to_bytes(2, "big")
        return Packet(bytes(head) + payload)


class Bend:
    """One connection: what goes on in place of each of its packets, towards the host and from it. Here nothing is done to them.

    It is for what no rule of a link can say (netemu.link.rules): what depends on both directions, and packets made up.
    """

    __slots__ = ()

    def inward(self, seg: Seg) -> list[Packet]:
        return [seg.packet]

    def outward(self, seg: Seg) -> list[Packet]:
        return [seg.packet]
