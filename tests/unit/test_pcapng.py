"""The pcapng writer and its reader agree, and the writer's bytes are what the format asks for."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.capture.pcapng import PcapngWriter, Record, read_blocks

NS = 1_700_000_000_123_456_789


def written(*packets: tuple[bytes, int, bool, str], snaplen: int = 262_144) -> bytes:
    out = io.BytesIO()
    writer = PcapngWriter(out, "netemu0", snaplen)
    for packet in packets:
        writer.packet(*packet)
    writer.close(dropped=3, comment="3 packets lost")
    return out.getvalue()


def read(data: bytes) -> list[Record]:
    return list(read_blocks(io.BytesIO(data).read))


def test_starts_with_a_section_and_a_raw_ip_interface_in_nanoseconds() -> None:
    section, interface = [record.block for record in read(written())][:2]
    assert section[:16] == struct.pack("<IIIHH", 0x0A0D0D0A, len(section), 0x1A2B3C4D, 1, 0)
    assert b"netemu 0.1.0" in section
    assert struct.unpack_from("<HHI", interface, 8) == (101, 0, 262_144)
    assert b"\x02\x00\x07\x00netemu0\x00" in interface
    assert b"\x09\x00\x01\x00\x09\x00\x00\x00" in interface


def test_every_block_is_aligned_and_repeats_its_length() -> None:
    for record in read(written((b"E" * 21, NS, True, "åäö"), (b"E" * 22, NS, False, ""))):
        length = len(record.block)
        assert length % 4 == 0
        assert record.block[4:8] == record.block[-4:] == struct.pack("<I", length)


def test_each_block_is_one_write() -> None:
    writes: list[bytes] = []

    class Out:
        def write(self, data: bytes) -> None:
            writes.append(data)

    writer = PcapngWriter(Out(), "x")
    writer.packet(b"abc", NS, True)
    writer.close()
    assert len(writes) == 3
    assert [len(read(chunk)) for chunk in writes] == [2, 1, 1]


@given(st.binary(max_size=90), st.integers(0, 2**63), st.booleans(), st.text(max_size=20))
def test_what_is_written_is_read_back(data: bytes, wall_ns: int, inbound: bool, comment: str) -> None:
    record = read(written((data, wall_ns, inbound, comment)))[2]
    assert record[1:5] == (data, wall_ns, inbound, comment.encode(errors="replace").decode())


def test_snaplen_keeps_the_original_length() -> None:
    record = read(written((b"x" * 100, NS, True, ""), snaplen=33))[2]
    assert record.data == b"x" * 33
    assert struct.unpack_from("<II", record.block, 20) == (33, 100)


def test_statistics_count_written_and_dropped() -> None:
    last = read(written((b"x", NS, True, ""), (b"y", NS + 5, True, "")))[-1]
    assert (last.data, last.dropped, last.comment) == (None, 3, "3 packets lost")
    assert struct.pack("<HHQ", 4, 8, 5) in last.block  # received: two written, three dropped


def test_a_comment_too_long_for_the_format_is_cut_between_characters() -> None:
    record = read(written((b"x", NS, True, "é" * 40_000)))[2]
    assert record.comment == "é" * 32_767


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_stream_cut_within_a_block_says_so(cut: int) -> None:
    whole = written((b"x" * 40, NS, True, ""))
    with pytest.raises(EOFError, match="within a block"):
        read(whole[:-cut])


def test_a_memoryview_is_as_good_as_bytes() -> None:
    assert written((memoryview(b"x" * 9), NS, True, "")) == written((b"x" * 9, NS, True, ""))  # type: ignore[arg-type]
