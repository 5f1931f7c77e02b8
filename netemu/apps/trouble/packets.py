"""What only packets show, as far as no rule of a link can say it."""

from __future__ import annotations

from netemu.apps.bend import Bend, Seg
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, HALF, MASK, RST, SYN

OVERLAP = 100
"""Bytes."""


class HalfOpen(Bend):
    """Dead once so many bytes have left: nothing comes, nothing goes, as if the host's power had failed."""

    __slots__ = ("_dead", "_first")
    after = 2048

    def __init__(self) -> None:
        self._first: int | None = None
        self._dead = False

    def inward(self, seg: Seg) -> list[Packet]:
        return [] if self._dead else [seg.packet]

    def outward(self, seg: Seg) -> list[Packet]:
        if self._dead:
            return []
        if seg.payload:
            if self._first is None:
                self._first = seg.seq
            self._dead = (seg.end - self._first) & MASK >= self.after
        return [seg.packet]


class MuteKeepalive(Bend):
    """Keep-alive probes (RFC 9293 3.8.4: one number before what comes next) never reach the host."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: int | None = None

    def inward(self, seg: Seg) -> list[Packet]:
        plain = not seg.flags & (SYN | FIN | RST) and len(seg.payload) <= 1
        if plain and self._next is not None and seg.seq == (self._next - 1) & MASK:
            return []
        if self._next is None or 0 < (seg.end - self._next) & MASK < HALF:
            self._next = seg.end
        return [seg.packet]


class LostUpdate(Bend):
    """The ACK that opens a closed window is lost, once each time."""

    __slots__ = ("_closed",)

    def __init__(self) -> None:
        self._closed = False

    def outward(self, seg: Seg) -> list[Packet]:
        was_closed, self._closed = self._closed, not seg.window
        opens = was_closed and seg.window and not seg.payload and not seg.flags & (SYN | FIN | RST)
        return [] if opens else [seg.packet]


class Overlap(Bend):
    """Each segment begins with the last bytes of the one before it."""

    __slots__ = ("_end", "_tail")

    def __init__(self) -> None:
        self._end, self._tail = -1, b""

    def outward(self, seg: Seg) -> list[Packet]:
        payload = seg.payload
        if not payload:
            return [seg.packet]
        follows = seg.seq == self._end and not seg.flags & SYN
        tail, self._end, self._tail = self._tail, seg.end, payload[-OVERLAP:]
        if not follows:
            return [seg.packet]
        return [seg.remade(seq=seg.seq - len(tail), payload=tail + payload)]


class Once(Bend):
    """Something goes out before the first segment of the answer, once."""

    __slots__ = ("_done",)

    def __init__(self) -> None:
        self._done = False

    def outward(self, seg: Seg) -> list[Packet]:
        if self._done or not seg.payload:
            return [seg.packet]
        self._done = True
        return [*self.before(seg), seg.packet]

    def before(self, seg: Seg) -> list[Packet]:
        raise NotImplementedError


class WrongAcks(Once):
    """An ACK of what was never sent, and one from a window long past: RFC 5961 5.2."""

    __slots__ = ()
    far = 1 << 30

    def before(self, seg: Seg) -> list[Packet]:
        return [seg.remade(ack=seg.ack + way * self.far, flags=ACK, payload=b"") for way in (1, -1)]


class BlindReset(Once):
    """A RST inside the window, not where the next byte is expected: RFC 5961 3.2."""

    __slots__ = ()

    def before(self, seg: Seg) -> list[Packet]:
        return [seg.remade(seq=seg.seq + 1000, ack=0, flags=RST, payload=b"")]


class BlindSyn(Once):
    """A SYN on a connection that is there already: RFC 5961 4.2."""

    __slots__ = ()

    def before(self, seg: Seg) -> list[Packet]:
        return [seg.remade(seq=seg.seq + 1000, flags=SYN | ACK, payload=b"")]
