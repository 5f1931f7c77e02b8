"""A packet as rules see it: where its headers are. One View a packet; fields are read from it when a rule asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netemu.wire import ipv6
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP
from netemu.wire.packet import Packet

if TYPE_CHECKING:
    from netemu.link.rules.flows import Flow

_LEAST = {(4, TCP): 20, (6, TCP): 20, (4, UDP): 8, (6, UDP): 8, (4, ICMP): 8, (6, ICMPV6): 8}
"""Bytes of the transport headers that rules know, by IP version and protocol."""


class View:
    """Offsets into a packet; never raises, whatever the packet is. What is not there is -1, or None.

    Only the headers of the packet itself are seen, never those that an ICMP error quotes. Of a fragmented packet, only the
    first fragment has ports.
    """

    __slots__ = (
        "destination", "end", "flow", "head", "later", "now", "packet", "payload_at", "protocol", "source", "start",
        "transport", "version",
    )  # fmt: skip

    def __init__(self, packet: Packet, now: int = 0) -> None:
        self.packet = packet
        self.now = now
        self.flow: Flow | None = None
        head = self.head = packet.head
        size = len(packet)
        version = head[0] >> 4 if head else 0
        self.source = self.destination = b""
        self.later = 0
        if version == 4 and len(head) >= 20:
            protocol, start = head[9], (head[0] & 15) * 4
            self.later = (head[6] & 0x1F) << 8 | head[7]
            self.source, self.destination = bytes(head[12:16]), bytes(head[16:20])
            end = head[2] << 8 | head[3]
        elif version == 6 and len(head) >= 40:
            protocol, start = ipv6.upper_layer(bytes(head[:512]))
            self.source, self.destination = bytes(head[8:24]), bytes(head[24:40])
            end = 40 + (head[4] << 8 | head[5])
        else:
            version, protocol, start, end = 0, -1, size, size
        if end > size:
            end = size
        self.version, self.protocol, self.start, self.end = version, protocol, start, end
        self.transport = -1
        """The protocol number, where its whole header is there."""
        self.payload_at = min(start, end)
        least = _LEAST.get((version, protocol))
        if least is not None and not self.later and start + least <= min(end, len(head)):
            self.transport = protocol
            self.payload_at = start + least
            if protocol == TCP:
                self.payload_at = min(max(start + (head[start + 12] >> 4) * 4, start + least), end)

    @property
    def length(self) -> int:
        """Bytes behind the transport header."""
        return self.end - self.payload_at

    def payload(self) -> bytes:
        """The bytes behind the transport header."""
        packet = self.packet
        whole = packet.head if not packet.body else b"".join((packet.head, *packet.body))
        return bytes(whole[self.payload_at : self.end])

    @property
    def slices(self) -> int:
        """How many packets of the wire this one stands for."""
        size = self.packet.gso_size
        return -(-self.length // size) if size and self.length > size else 1

    @property
    def last_slice(self) -> int:
        """Payload bytes of the last (the shortest) of them."""
        size = self.packet.gso_size
        return (self.length - 1) % size + 1 if size and self.length else self.length

    def key(self) -> bytes:
        """What the packets of one flow, in this direction, have in common."""
        ports = bytes(self.head[self.start : self.start + 4]) if self.transport in (TCP, UDP) else b""
        return self.source + self.destination + ports + bytes((self.protocol & 0xFF,))
