"""The one exception of this package."""

from __future__ import annotations


class TunError(OSError):
    """What went wrong with a device and what to do about it: ``errno`` is the kernel's, ``str()`` is one line for
    people."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)

    def __str__(self) -> str:
        return str(self.strerror)
