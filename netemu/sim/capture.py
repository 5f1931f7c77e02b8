"""A simulation's packets in a file."""

from __future__ import annotations

from os import PathLike

from netemu.capture.pcapng import PcapngWriter
from netemu.wire.packet import Packet


class Capture:
    """A Tap that writes a pcapng file. It is whole after every packet; ``close`` adds the statistics. OSError."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115  # it is open as long as the simulation writes to it
        self._writer: PcapngWriter | None = None

    def __call__(self, packet: Packet, wall_ns: int, inbound: bool, comment: str, point: str) -> None:
        if self._file.closed:
            return
        if self._writer is None:
            self._writer = PcapngWriter(self._file, point)
        self._writer.packet(bytes(packet), wall_ns, inbound, comment, point)

    def close(self) -> None:
        """End the file. Safe to call twice."""
        if not self._file.closed:
            if self._writer is not None:
                self._writer.close()
            self._file.close()
