"""`netemu up --pcap FILE`: a tap that writes what it sees to a file, and never stops the stack."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from netemu.capture.pcapng import PcapngWriter
from netemu.runtime.blockfile import BlockFile
from netemu.runtime.errors import RuntimeFailure
from netemu.wire.packet import Packet


class FileCapture:
    """A Tap. RuntimeFailure when the file cannot be opened; a new one belongs to ``owner`` (uid, gid).

    ``on_error`` gets one line when writing fails (a full disk); the capture has ended then, at its last whole packet.
    """

    def __init__(
        self, path: str, name: str, on_error: Callable[[str], None], owner: tuple[int, int] | None = None
    ) -> None:
        self._path = path
        self._on_error = on_error
        self._file = _open(path, owner)
        self._is_open = True
        self._writer = PcapngWriter(self, name)

    def __call__(self, packet: Packet, wall_ns: int, inbound: bool, comment: str, point: str) -> None:
        if self._is_open:
            self._writer.packet(bytes(packet), wall_ns, inbound, comment, point)

    def write(self, block: bytes) -> None:
        """Append one block (for PcapngWriter)."""
        try:
            self._file.write(block)
        except OSError as error:
            self._shut()
            self._on_error(f"{self._path}: {error.strerror}: the capture has ended; the stack goes on")

    def close(self) -> None:
        """End the file in good order. Safe to call twice."""
        if self._is_open:
            self._writer.close()
            self._shut()

    def _shut(self) -> None:
        self._is_open = False
        self._file.close()


def _open(path: str, owner: tuple[int, int] | None) -> BlockFile:
    try:
        file = BlockFile(path)
    except OSError as error:
        raise RuntimeFailure(f"--pcap {path}: {error.strerror}") from None
    if not file.is_regular and not stat.S_ISCHR(os.fstat(file.fd).st_mode):  # a pipe's reader could stop the stack
        file.close()
        raise RuntimeFailure(f"--pcap {path}: not a file; to pipe a capture use `netemu capture -w - | ...`")
    if file.is_new and owner:
        os.fchown(file.fd, *owner)
    return file
