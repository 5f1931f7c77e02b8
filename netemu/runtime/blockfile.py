"""A capture file that holds whole blocks only, whatever happens to its disk."""

from __future__ import annotations

import os
import stat


class BlockFile:
    """An empty file at ``path``; OSError when it cannot be opened.

    Each block reaches the kernel at once, so that the file is whole up to the last packet even after a kill -9.
    """

    def __init__(self, path: str) -> None:
        self.is_new = not os.path.lexists(path)
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
        os.set_blocking(self.fd, True)  # only the opening of a pipe must not wait for its reader
        self._size = 0

    def write(self, block: bytes) -> None:
        """Append a block. After an OSError (a full disk) the file ends where it ended before."""
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[os.write(self.fd, rest) :]
        except OSError:
            if self.is_regular:
                os.ftruncate(self.fd, self._size)
            raise
        self._size += len(block)

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(os.fstat(self.fd).st_mode)

    def close(self) -> None:
        """Safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
