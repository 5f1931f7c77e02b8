"""What the application wrote and the peer has not acknowledged: a queue of immutable chunks, never copied."""

from __future__ import annotations

from collections import deque

from netemu.wire.buffer import Buffer


class SendBuffer:
    """Bytes ``start`` to ``end`` in sequence numbers.

    Reading is mostly sequential, so a cursor remembers where the last ``slice`` ended; a retransmission looks from the front.
    (A bytearray with a live memoryview cannot be resized, hence chunks.)
    """

    __slots__ = ("_chunks", "_cursor", "_cursor_seq", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self._chunks: deque[Buffer] = deque()
        self._cursor = 0  # index of the chunk that starts at _cursor_seq
        self._cursor_seq = start

    def __len__(self) -> int:
        return self.end - self.start

    def append(self, data: Buffer) -> None:
        if data:
            self._chunks.append(data)
            self.end += len(data)

    def acknowledge(self, seq: int) -> None:
        """Forget everything before ``seq``; a chunk that is partly acknowledged is cut."""
        chunks = self._chunks
        if seq >= self.end:  # all of it, as for request and response
            if chunks:
                chunks.clear()
                self.start = self._cursor_seq = self.end
                self._cursor = 0
            return
        gone = seq - self.start
        if gone <= 0:
            return
        self.start += gone
        while chunks and gone >= (size := len(chunks[0])):
            chunks.popleft()
            gone -= size
            if self._cursor:
                self._cursor -= 1
            else:
                self._cursor_seq += size
        if gone:
            chunks[0] = memoryview(chunks[0])[gone:]
            if not self._cursor:
                self._cursor_seq = self.start

    def slice(self, seq: int, length: int) -> tuple[Buffer, ...]:
        """``length`` bytes from ``seq`` on, as pieces of the chunks; both must lie within the buffer."""
        chunks = self._chunks
        if seq >= self._cursor_seq:
            index, at = self._cursor, self._cursor_seq
        else:
            index, at = 0, self.start
        while seq - at >= (size := len(chunks[index])):
            at += size
            index += 1
        self._cursor, self._cursor_seq = index, at
        offset = seq - at
        chunk = chunks[index]
        if not offset and len(chunk) == length:  # the common case of a small write
            return (chunk,)
        if len(chunk) - offset >= length:
            return (memoryview(chunk)[offset : offset + length],)
        pieces: list[Buffer] = [memoryview(chunk)[offset:] if offset else chunk]
        missing = length - len(chunk) + offset
        while missing:
            at += len(chunk)
            index += 1
            chunk = chunks[index]
            pieces.append(chunk if len(chunk) <= missing else memoryview(chunk)[:missing])
            missing -= min(missing, len(chunk))
        self._cursor, self._cursor_seq = index, at
        return tuple(pieces)
