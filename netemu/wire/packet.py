"""The unit that host, link, capture and device hand to each other."""

from __future__ import annotations

from netemu.wire.buffer import Buffer
from netemu.wire.checksum import fold


class Packet:
    """One IP packet, or one super-packet that stands for several of a TCP flow.

    ``head`` starts with the IP header. A received packet is all in ``head``; one that the host makes has its headers in
    ``head`` and the payload in ``body``, which is never copied on the way to the device.

    ``gso_size`` is the number of TCP payload bytes of each packet on the wire, or 0 when this is one packet.

    ``csum_start`` is 0 when every checksum is final. Otherwise it is the offset of the transport header whose checksum
    field, ``csum_offset`` bytes on, holds only the folded sum of the pseudo header, as in virtio_net_hdr with
    VIRTIO_NET_HDR_F_NEEDS_CSUM. Such a packet comes from (or goes to) the local kernel and cannot have been damaged.
    """

    __slots__ = ("body", "csum_offset", "csum_start", "gso_size", "head")

    def __init__(
        self, head: Buffer, body: tuple[Buffer, ...] = (), gso_size: int = 0, csum_start: int = 0, csum_offset: int = 0
    ) -> None:
        self.head = head
        self.body = body
        self.gso_size = gso_size
        self.csum_start = csum_start
        self.csum_offset = csum_offset

    def __len__(self) -> int:
        """Bytes of the IP packet, headers included; a super-packet counts its headers once."""
        length = len(self.head)
        for part in self.body:
            length += len(part)
        return length

    def __bytes__(self) -> bytes:
        """The packet as the wire carries it, every checksum final."""
        joined = b"".join((self.head, *self.body))
        if not self.csum_start:
            return joined
        start, field = self.csum_start, self.csum_start + self.csum_offset
        final = -fold(joined[start:]) % 65535  # the field's partial sum takes part, as virtio has it
        if not final and self.csum_offset == 6:  # UDP: a zero would mean 'no checksum' (RFC 768)
            final = 0xFFFF
        return joined[:field] + final.to_bytes(2, "big") + joined[field + 2 :]

    def __repr__(self) -> str:
        return f"Packet({len(self)} B{f', gso {self.gso_size}' if self.gso_size else ''})"
