"""Explicit congestion notification in the IP header (RFC 3168 5): what a queue, a rule or a lossy link marks."""

from __future__ import annotations

from netemu.wire.buffer import Buffer
from netemu.wire.packet import Packet
from netemu.wire.slices import Slice

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3


def codepoint(packet: Packet) -> int:
    """The two bits of the IPv4 type of service or the IPv6 traffic class; NOT_ECT for what is no IP packet."""
    head = common_head(packet)
    version = head[0] >> 4 if len(head) >= 20 else 0
    if version == 4:
        return head[1] & 3
    return head[1] >> 4 & 3 if version == 6 else NOT_ECT


def is_capable(packet: Packet) -> bool:
    """Do its ends understand a mark (ECT or CE)? Others learn of congestion by a loss only."""
    return codepoint(packet) != NOT_ECT


def marked(packet: Packet) -> Packet:
    """The packet with Congestion Experienced: itself when it had that; a super-packet as a whole. It must be capable."""
    old = codepoint(packet)
    if old == CE:
        return packet
    head = bytearray(packet.head)
    if head[0] >> 4 == 4:
        head[1] |= CE
        # RFC 1624 eqn. 3: a checksum that was right stays right, and one that was wrong does not become right
        total = (~int.from_bytes(head[10:12], "big") & 0xFFFF) + CE - old
        head[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    else:
        head[1] |= CE << 4
    return Packet(bytes(head), packet.body, packet.gso_size, packet.csum_start, packet.csum_offset)


def common_head(packet: Packet) -> Buffer:
    """Headers in which a slice does not differ from its super-packet, so that its own need not be made to look at these."""
    return packet.whole.head if isinstance(packet, Slice) else packet.head
