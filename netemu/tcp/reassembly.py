"""Out-of-order data that waits for the gap before it to close, and the SACK blocks that tell the peer of it (RFC 2018)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from netemu.wire.buffer import Buffer

SMALL, COLLAPSED = 256, 4096
"""Pieces below SMALL bytes are joined while they wait, up to COLLAPSED: a peer that sends single bytes must not cost 60 times
their size."""
REMEMBERED = 8
"""Blocks whose order of arrival is known; RFC 2018 wants the three last reported ones repeated."""


class Reassembly:
    """Blocks of contiguous data, sorted, with gaps between them. The caller trims to the receive window, which bounds them."""

    __slots__ = ("_ends", "_pieces", "_recent", "_starts", "bytes", "fin")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._pieces: list[list[Buffer]] = []
        self._recent: list[int] = []  # a sequence number in each of the blocks last added to, newest first
        self.bytes = 0
        self.fin: int | None = None
        """Sequence number of a FIN that arrived ahead of its data."""

    def __len__(self) -> int:
        """Blocks, each with a gap before it."""
        return len(self._starts)

    def add(self, seq: int, data: Buffer) -> int:
        """Keep what of ``data`` is new; the number of bytes that was. What had come first wins."""
        starts, ends = self._starts, self._ends
        before, end = self.bytes, seq + len(data)
        # the blocks that data touches: they become one
        first, behind = bisect_left(ends, seq), bisect_right(starts, end)
        if first < behind and starts[first] <= seq:
            pieces, at, left, rest = self._pieces[first], ends[first], starts[first], first + 1
        else:
            pieces, at, left, rest = [], seq, seq, first
        for index in range(rest, behind):
            self._keep(pieces, data, at - seq, starts[index] - seq)
            pieces += self._pieces[index]
            at = ends[index]
        self._keep(pieces, data, at - seq, end - seq)
        starts[first:behind], ends[first:behind], self._pieces[first:behind] = [left], [max(at, end)], [pieces]
        recent = self._recent
        recent.insert(0, seq)
        del recent[REMEMBERED:]
        return self.bytes - before

    def _keep(self, pieces: list[Buffer], data: Buffer, start: int, end: int) -> None:
        """Append ``data[start:end]``, if there is anything of it."""
        size = end - start
        if size <= 0:
            return
        self.bytes += size
        piece = data[start:end]
        if size < len(data) >> 1:
            piece = bytes(piece)  # do not let a sliver hold a whole super-packet in memory
        append(pieces, piece, size)

    def take(self, seq: int) -> list[Buffer]:
        """Remove and return what is contiguous from ``seq``, RCV.NXT, on."""
        if not self._starts or self._starts[0] != seq:
            return []
        self.bytes -= self._ends[0] - seq
        del self._starts[0], self._ends[0]
        return self._pieces.pop(0)

    def known(self, seq: int, end: int) -> tuple[int, int] | None:
        """The first part of ``seq`` to ``end`` that is here already."""
        index = bisect_right(self._ends, seq)
        if index < len(self._starts) and self._starts[index] < end:
            return max(seq, self._starts[index]), min(end, self._ends[index])
        return None

    def blocks(self, limit: int) -> tuple[tuple[int, int], ...]:
        """Up to ``limit`` SACK blocks, the one last added to first, then the ones reported before (RFC 2018 section 4)."""
        starts, ends = self._starts, self._ends
        order: list[int] = []
        for recent in self._recent:
            index = bisect_right(starts, recent) - 1
            if index >= 0 and recent < ends[index] and index not in order:
                order.append(index)
        for index in range(min(limit, len(starts))):  # older ones, as far as there is room
            if index not in order:
                order.append(index)
        return tuple((starts[index], ends[index]) for index in order[:limit])


def append(pieces: list[Buffer], data: Buffer, length: int) -> None:
    """Add to a list of pieces that wait, joining small ones."""
    if length < SMALL and pieces and len(pieces[-1]) < COLLAPSED:
        pieces[-1] = b"".join((pieces[-1], data))
    else:
        pieces.append(data)
