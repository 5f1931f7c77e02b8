"""Moves bytes one way, with no more held than one piece: backpressure is whoever does not take that."""

from __future__ import annotations

from collections.abc import Callable

PIECE = 256 << 10


class Flow:
    """From ``read`` to ``write``, which raise BlockingIOError where they would wait; ``finish`` passes the end on."""

    __slots__ = ("_finish", "_held", "_read", "_write", "finished", "moved", "read_all")

    def __init__(
        self,
        read: Callable[[int], bytes],
        write: Callable[[memoryview], int],
        finish: Callable[[], object] = lambda: None,
    ) -> None:
        self._read = read
        self._write = write
        self._finish = finish
        self._held = memoryview(b"")
        self.moved = 0
        """Bytes written."""
        self.read_all = False
        """The end of what there is to read was seen."""
        self.finished = False
        """And all of it is written."""

    @property
    def wants_input(self) -> bool:
        return not self._held and not self.read_all

    @property
    def wants_output(self) -> bool:
        return bool(self._held)

    def take(self) -> None:
        """Read a piece."""
        try:
            data = self._read(PIECE)
        except BlockingIOError:
            return
        self._held = memoryview(data)
        if not data:
            self.end_input()

    def give(self) -> None:
        """Write what is held, as much as goes."""
        try:
            size = self._write(self._held)
        except BlockingIOError:
            return
        self.moved += size
        self._held = self._held[size:]
        if self.read_all:
            self.end_input()

    def end_input(self) -> None:
        """Nothing more is to be read."""
        self.read_all = True
        if not self._held and not self.finished:
            self.finished = True
            self._finish()

    def stop(self) -> None:
        """Nobody takes it any more: what is held is lost."""
        self._held = memoryview(b"")
        self.read_all = self.finished = True
