"""The virtio_net_hdr, and a device's reads and writes on a socket pair that stands for it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from struct import pack as struct_pack

import pytest

import tun.device
from tun import Tun, TunError
from tun.offload import COPY_BELOW, PLAIN, pack, unpack

IPV4, IPV6 = b"\x45" + bytes(39), b"\x60" + bytes(59)


def header(flags: int, gso_type: int, hdr_len: int, gso_size: int, csum_start: int, csum_offset: int) -> bytes:
    return struct_pack("<BBHHHH", flags, gso_type, hdr_len, gso_size, csum_start, csum_offset)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (pack(IPV4, 0, 20, 16), header(1, 0, 40, 0, 20, 16)),
        (pack(IPV4, 1460, 20, 16), header(1, 1, 40, 1460, 20, 16)),
        (pack(IPV6, 1440, 40, 16), header(1, 4, 60, 1440, 40, 16)),
        (pack(memoryview(IPV4), 536, 20, 16), header(1, 1, 40, 536, 20, 16)),
        (PLAIN, header(0, 0, 0, 0, 0, 0)),
    ],
)
def test_pack(written: bytes, expected: bytes) -> None:
    assert written == expected


def test_pack_refuses_segmentation_without_a_checksum() -> None:
    with pytest.raises(ValueError, match="gso_size needs csum_start"):
        pack(IPV4, 1460, 0, 0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((0, 0, 0, 0, 0, 0), (0, 0, 0)),
        ((1, 0, 40, 0, 20, 16), (0, 20, 16)),
        ((1, 1, 999, 1460, 20, 16), (1460, 20, 16)),  # hdr_len is not looked at
        ((1, 4, 72, 1428, 40, 16), (1428, 40, 16)),
        ((1, 0x81, 72, 1448, 20, 16), (1448, 20, 16)),  # with the ECN bit
        ((2, 0, 0, 0, 20, 16), (0, 0, 0)),  # DATA_VALID, not NEEDS_CSUM: nothing to finish
        ((0, 0, 40, 1460, 20, 16), (0, 0, 0)),  # fields that the flags do not speak of
    ],
)
def test_unpack(fields: tuple[int, int, int, int, int, int], expected: tuple[int, int, int]) -> None:
    packet, *rest = unpack(header(*fields) + IPV4)
    assert packet == IPV4
    assert tuple(rest) == expected


def test_unpack_copies_only_what_is_small() -> None:
    assert isinstance(unpack(PLAIN + bytes(COPY_BELOW - 11))[0], bytes)
    large = unpack(PLAIN + bytes(COPY_BELOW - 10))[0]
    assert isinstance(large, memoryview)
    assert len(large) == COPY_BELOW - 10


@pytest.fixture(params=[True, False], ids=["offload", "plain"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Tun, socket.socket]]:
    """A Tun on one end of a socket pair, which keeps packet boundaries as the device does, and the other end."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    monkeypatch.setattr(tun.device, "_open", lambda name, offload, owner: (ours.detach(), name, offload))
    with Tun("fake0", offload=request.param) as device, kernels:
        yield device, kernels


def test_write_gathers_the_parts(pair: tuple[Tun, socket.socket]) -> None:
    device, kernel = pair
    before = PLAIN if device.offload else b""
    assert device.write(IPV4)
    assert kernel.recv(100) == before + IPV4
    assert device.write(IPV4, (b"abc", memoryview(b"def")))
    assert kernel.recv(100) == before + IPV4 + b"abcdef"
    assert device.write(IPV4, (b"x",) * 2000)  # more than writev takes
    assert kernel.recv(4000) == before + IPV4 + b"x" * 2000


def test_write_with_work_for_the_kernel(pair: tuple[Tun, socket.socket]) -> None:
    device, kernel = pair
    if device.offload:
        assert device.write(IPV4, (b"abcdef",), 3, 20, 16)
        assert kernel.recv(100) == header(1, 1, 40, 3, 20, 16) + IPV4 + b"abcdef"
        with pytest.raises(ValueError, match="gso_size needs csum_start"):
            device.write(IPV4, (b"abcdef",), 3)
    else:
        for arguments in ((0, 20, 16), (3, 20, 16), (3, 0, 0)):
            with pytest.raises(ValueError, match="'fake0' has no offload"):
                device.write(IPV4, (b"abcdef",), *arguments)


def test_a_full_device_says_false_and_takes_the_packet_later(pair: tuple[Tun, socket.socket]) -> None:
    device, kernel = pair
    written = 0
    while device.write(IPV4, (written.to_bytes(4, "big"),)):
        written += 1
        assert written < 10_000
    received = [int.from_bytes(kernel.recv(100)[-4:], "big") for _ in range(written)]
    assert device.write(IPV4, (written.to_bytes(4, "big"),))
    assert int.from_bytes(kernel.recv(100)[-4:], "big") == written
    assert received == list(range(written))


def test_read_until_empty_or_the_limit(pair: tuple[Tun, socket.socket]) -> None:
    device, kernel = pair
    before = header(1, 0, 40, 0, 20, 16) if device.offload else b""
    for number in range(5):
        kernel.send(before + IPV4 + bytes([number]))
    rest = (20, 16) if device.offload else (0, 0)
    assert device.read(2) == [(IPV4 + b"\0", 0, *rest), (IPV4 + b"\1", 0, *rest)]
    assert [frame[0][-1] for frame in device.read()] == [2, 3, 4]
    assert device.read() == []


@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.ENOMEM])
def test_no_memory_is_as_good_as_full(
    pair: tuple[Tun, socket.socket], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", fail)
    monkeypatch.setattr(os, "writev", fail)
    assert not pair[0].write(IPV4)


def test_close_is_final_and_may_be_repeated(pair: tuple[Tun, socket.socket]) -> None:
    device, _ = pair
    device.close()
    device.close()
    assert device.fileno() == -1
    for use in (device.read, lambda: device.write(IPV4)):
        with pytest.raises(TunError, match="'fake0' is closed"):
            use()
