"""A capture with several points has an interface for each, and says so to whoever reads it."""

from __future__ import annotations

import io

from netemu.capture.pcapng import PcapngWriter, read_blocks


def test_each_point_is_an_interface() -> None:
    out = io.BytesIO()
    writer = PcapngWriter(out, "netemu0")
    writer.packet(b"Eone", 5, True, "delayed 1 ms", "web")
    writer.packet(b"Etwo", 7, False, "sent", "netemu0")
    writer.packet(b"Ethree", 9, False, "sent", "web")
    writer.packet(b"Efour", 11, False)
    writer.close(3, "too slow")
    records = list(read_blocks(io.BytesIO(out.getvalue()).read))
    assert [(r.data, r.wall_ns, r.point) for r in records if r.data] == [
        (b"Eone", 5, "web"),
        (b"Etwo", 7, "netemu0"),
        (b"Ethree", 9, "web"),
        (b"Efour", 11, "netemu0"),
    ]
    assert [r.dropped for r in records if r.data is None] == [0, 0, 0, 3, 0]  # section, two interfaces, two statistics
