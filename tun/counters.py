"""What the kernel counts of a device, read where the device is."""

from __future__ import annotations

import os
from contextlib import suppress

from tun.netns import call_in

_SENT = 8
"""Columns about what came in, of /proc/net/dev; those about what went out follow."""
_DROPPED = 3
"""Of each half: bytes packets errs drop."""


class Counters:
    """Of one device. Where there is no /proc, nothing is counted."""

    def __init__(self, name: str, netns: str | None) -> None:
        self._name = name
        self._fd = -1
        with suppress(OSError):  # a descriptor of this file goes on telling of the namespace in which it was opened
            self._fd = call_in(netns, _open) if netns else _open()
        self._before = self._dropped()

    def unread(self) -> int:
        """Packets (a super-packet is one) that the kernel threw away because nobody read them in time: its queue was full."""
        return self._dropped() - self._before

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _dropped(self) -> int:
        if self._fd < 0:
            return 0
        data = b""
        while part := os.pread(self._fd, 1 << 16, len(data)):
            data += part
        for line in data.decode(errors="replace").splitlines():
            name, colon, numbers = line.partition(":")
            if colon and name.strip() == self._name:
                return int(numbers.split()[_SENT + _DROPPED])
        return 0


def _open() -> int:
    return os.open("/proc/thread-self/net/dev", os.O_RDONLY | os.O_CLOEXEC)
