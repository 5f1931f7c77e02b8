"""Out-of-order data that waits for the gap before it to close, and the SACK blocks that tell the peer of it (RFC 2018)."""

from __future__ import annotations

from bisect import bisect_right

from netemu.wire.buffer import Buffer


class Reassembly:
    """Disjoint pieces, sorted by sequence number. The caller trims to the receive window, which bounds the bytes."""

    __slots__ = ("_data", "_recent", "_starts", "bytes", "fin")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._data: list[Buffer] = []
        self._recent: list[int] = []  # a sequence number in each of the blocks last added to, newest first
        self.bytes = 0
        self.fin: int | None = None
        """Sequence number of a FIN that arrived ahead of its data."""

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, seq: int, data: Buffer) -> int:
        """Keep what of ``data`` is new; the number of bytes that was. What had come first wins."""
        starts, kept = self._starts, self._data
        before, end = self.bytes, seq + len(data)
        index = bisect_right(starts, seq)
        at = seq
        if index and (previous_end := starts[index - 1] + len(kept[index - 1])) > at:
            at = previous_end
        while at < end:
            following = starts[index] if index < len(starts) else end
            if at < following:
                piece_end = min(end, following)
                piece = data[at - seq : piece_end - seq]
                if len(piece) < len(data) >> 1:
                    piece = bytes(piece)  # do not let a sliver hold a whole super-packet in memory
                starts.insert(index, at)
                kept.insert(index, piece)
                self.bytes += piece_end - at
                index += 1
                at = piece_end
            else:
                at = max(at, following + len(kept[index]))
                index += 1
        self._recent = [seq, *(r for r in self._recent if r != seq)][:8]
        return self.bytes - before

    def take(self, seq: int) -> list[Buffer]:
        """Remove and return what is contiguous from ``seq`` on."""
        taken: list[Buffer] = []
        starts, kept = self._starts, self._data
        count = 0
        for start, data in zip(starts, kept, strict=True):
            end = start + len(data)
            if start > seq:
                break
            count += 1
            self.bytes -= len(data)
            if end > seq:
                taken.append(data[seq - start :] if start < seq else data)
                seq = end
        del starts[:count], kept[:count]
        return taken

    def blocks(self, limit: int) -> tuple[tuple[int, int], ...]:
        """Up to ``limit`` SACK blocks, the one last added to first, then the ones reported before (RFC 2018 section 4)."""
        ranges: list[tuple[int, int]] = []
        for start, data in zip(self._starts, self._data, strict=True):
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], start + len(data))
            else:
                ranges.append((start, start + len(data)))
        first: list[tuple[int, int]] = []
        for recent in self._recent:
            block = next((r for r in ranges if r[0] <= recent < r[1]), None)
            if block and block not in first:
                first.append(block)
        return tuple((first + [r for r in ranges if r not in first])[:limit])
