"""`up --pcap FILE`: whole files, and one line when writing fails."""

from __future__ import annotations

import io
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netemu.capture.pcapng import read_blocks
from netemu.runtime.errors import RuntimeFailure
from netemu.runtime.filecapture import FileCapture
from netemu.wire.packet import Packet


def read(path: Path) -> list[bytes]:
    return [record.data for record in read_blocks(io.BytesIO(path.read_bytes()).read) if record.data is not None]


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Writing past ``size`` bytes fails, as on a full disk."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_every_packet_is_in_the_file_at_once(tmp_path: Path) -> None:
    path, errors = tmp_path / "out.pcapng", list[str]()
    path.write_bytes(b"what was there before" * 100)
    capture = FileCapture(str(path), "netemu0", errors.append)
    capture(Packet(b"Eone"), 1, True, "", "")
    assert read(path) == [b"Eone"]
    capture(Packet(b"E", (b"two",)), 2, False, "", "")
    capture.close()
    capture.close()
    capture(Packet(b"Ethree"), 3, True, "", "")
    assert read(path) == [b"Eone", b"Etwo"]
    assert errors == []


def test_a_full_disk_ends_the_capture_at_a_whole_packet(tmp_path: Path) -> None:
    path, errors = tmp_path / "out.pcapng", list[str]()
    with limited_file_size(4096):
        capture = FileCapture(str(path), "netemu0", errors.append)
        for number in range(100):
            capture(Packet(b"E" * 1000), number, True, "", "")
        capture.close()
    assert read(path) == [b"E" * 1000] * 3
    assert errors == [f"{path}: File too large: the capture has ended; the stack goes on"]


def test_a_path_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, says in [(tmp_path, "Is a directory"), (tmp_path / "no" / "x", "No such file"), (pipe, "No such device")]:
        with pytest.raises(RuntimeFailure, match=f"--pcap {path}: {says}"):
            FileCapture(str(path), "netemu0", print)


def test_a_pipe_with_a_reader_is_refused_too(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(RuntimeFailure, match="netemu capture -w -"):
        FileCapture(str(pipe), "netemu0", print)
    os.close(reader)


def test_dev_full_is_a_full_disk() -> None:
    errors = list[str]()
    FileCapture("/dev/full", "netemu0", errors.append)
    assert errors == ["/dev/full: No space left on device: the capture has ended; the stack goes on"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_new_file_belongs_to_the_user_we_become(tmp_path: Path) -> None:
    FileCapture(str(tmp_path / "new"), "netemu0", print, owner=(12345, 12345)).close()
    assert (tmp_path / "new").stat().st_uid == 12345
