"""One frame out of a capture file: netemu's own pcapng with its comments, or anything that scapy reads (pcap, pcapng)."""

from __future__ import annotations

from itertools import islice
from typing import BinaryIO, NamedTuple

from netemu.capture.pcapng import read_blocks

ETHERNET, RAW, SLL, SLL2 = 1, 101, 113, 276
RAW_KINDS = (RAW, 12, 14, 228, 229)
"""LINKTYPE_RAW, what some systems write for it, LINKTYPE_IPV4 and LINKTYPE_IPV6."""
NULL_KINDS = (0, 108)
VLAN_TAGS = (0x8100, 0x88A8)
IP_TYPES = (0x0800, 0x86DD)


class FrameError(ValueError):
    """The file, or the frame in it, cannot be used; one line."""


class Frame(NamedTuple):
    data: bytes
    """From the IP header on."""
    length: int
    """What it had on the wire; ``data`` may be cut."""
    comment: str
    inbound: bool | None
    """Towards the emulated host; None where the file does not say."""
    wall_ns: int


def read_frame(file: BinaryIO, number: int) -> Frame:
    """Frame ``number``, counted from 1 as Wireshark does. FrameError."""
    try:
        frame = _own(file, number) if _is_own(file) else _by_scapy(file, number)
    except EOFError:
        raise FrameError("the file ends within a block, before that frame") from None
    if frame is None:
        raise FrameError(f"there is no frame {number} in it")
    return frame


def _is_own(file: BinaryIO) -> bool:
    """Does it begin as PcapngWriter begins a section?"""
    head = file.read(48)
    file.seek(0)
    return head[:4] == b"\x0a\x0d\x0d\x0a" and head[8:12] == b"\x4d\x3c\x2b\x1a" and head[28:35] == b"netemu "


def _own(file: BinaryIO, number: int) -> Frame | None:
    packets = (record for record in read_blocks(file.read) if record.data is not None)
    record = next(islice(packets, number - 1, None), None)
    if record is None or record.data is None:
        return None
    length = int.from_bytes(record.block[24:28], "little")
    return Frame(record.data, length, record.comment, record.inbound, record.wall_ns)


def _by_scapy(file: BinaryIO, number: int) -> Frame | None:
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapReader

    try:
        reader = RawPcapReader(file)
        found = next(islice(reader, number - 1, None), None)
    except Scapy_Exception as problem:
        raise FrameError(f"no capture that can be read: {problem}") from None
    if found is None:
        return None
    data, about = found
    linktype = getattr(about, "linktype", None)
    ip = _from_ip_on(bytes(data), reader.linktype if linktype is None else linktype)
    if linktype is None:
        wall = about.sec * 1_000_000_000 + about.usec * (1 if reader.nano else 1000)
    else:
        wall = (about.tshigh << 32 | about.tslow) * 1_000_000_000 // int(about.tsresol or 1_000_000)
    inbound = {1: True, 2: False}.get(getattr(about, "direction", None) or 0)
    comments = getattr(about, "comments", None) or []
    comment = "; ".join(c.decode(errors="replace") if isinstance(c, bytes) else str(c) for c in comments)
    return Frame(ip, about.wirelen - (len(data) - len(ip)), comment, inbound, wall)


def _from_ip_on(data: bytes, linktype: int) -> bytes:
    """Without the link layer's header. FrameError when there is no IP behind it."""
    if linktype in RAW_KINDS:
        return data
    if linktype in NULL_KINDS:
        return data[4:]
    if linktype == ETHERNET:
        at = 12
        while int.from_bytes(data[at : at + 2], "big") in VLAN_TAGS:
            at += 4
    elif linktype == SLL:
        at = 14
    elif linktype == SLL2:
        if int.from_bytes(data[:2], "big") not in IP_TYPES:
            raise FrameError("the frame is not IP")
        return data[20:]
    else:
        raise FrameError(f"link type {linktype} is not known: Ethernet, raw IP, cooked and loopback are")
    if int.from_bytes(data[at : at + 2], "big") not in IP_TYPES:
        raise FrameError("the frame is not IP")
    return data[at + 2 :]
