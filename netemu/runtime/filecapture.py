"""`netemu up --pcap FILE`: a tap that writes what it sees to a file, and never stops the stack."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from netemu.capture.pcapng import PcapngWriter
from netemu.runtime.errors import RuntimeFailure
from netemu.wire.packet import Packet


class FileCapture:
    """A Tap. Every packet reaches the kernel at once, so the file is whole up to the last packet even after a kill -9.

    ``on_error`` gets one line when writing fails (a full disk); the capture has ended then, at its last whole packet.
    """

    def __init__(
        self, path: str, name: str, on_error: Callable[[str], None], owner: tuple[int, int] | None = None
    ) -> None:
        self._path = path
        self._on_error = on_error
        self._fd = _open(path, owner)
        self._size = 0
        self._writer = PcapngWriter(self, name)

    def __call__(self, packet: Packet, wall_ns: int, inbound: bool, comment: str) -> None:
        if self._fd >= 0:
            self._writer.packet(bytes(packet), wall_ns, inbound, comment)

    def write(self, data: bytes) -> None:
        """Append one block (for PcapngWriter)."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self._give_up(error)
        else:
            self._size += len(data)

    def close(self) -> None:
        """End the file in good order. Safe to call twice."""
        if self._fd >= 0:
            self._writer.close()
            self._shut()

    def _give_up(self, error: OSError) -> None:
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.ftruncate(self._fd, self._size)  # no half block at the end
        self._shut()
        self._on_error(f"{self._path}: {error.strerror}: the capture has ended; the stack goes on")

    def _shut(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _open(path: str, owner: tuple[int, int] | None) -> int:
    """A descriptor of an empty file, which belongs to ``owner`` (uid, gid) if it is new."""
    try:
        is_new = not os.path.lexists(path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise RuntimeFailure(f"--pcap {path}: {error.strerror}") from None
    kind = os.fstat(fd).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISCHR(kind):  # a pipe's reader could stop the stack
        os.close(fd)
        raise RuntimeFailure(f"--pcap {path}: not a file; to pipe a capture use `netemu capture -w - | ...`")
    if is_new and owner:
        os.fchown(fd, *owner)
    return fd
