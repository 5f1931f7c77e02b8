"""Fragments wait here until their packet is whole (RFC 791, 815, 8200 4.5), within bounds."""

from __future__ import annotations

from bisect import bisect_left

from netemu.reasons import Drop
from netemu.wire.buffer import Buffer
from netemu.wire.ip import IpPacket

SECOND = 1_000_000_000
TIMEOUT = {
    4: 30 * SECOND,
    6: 60 * SECOND,
}  # RFC 1122 3.3.2 recommends 60 to 120 s for IPv4; Linux waits 30. RFC 8200: 60 s
MAX_BYTES = 4 << 20  # as Linux' ipfrag_high_thresh
MAX_PACKETS = 256
MAX_PIECES = 8192  # of one packet: eight bytes each is the least that a fragment can carry
COST = 200  # bytes that a fragment takes beside its payload

Key = tuple[bytes, bytes, int, int]


class Partial:
    """The fragments of one packet."""

    __slots__ = ("bytes", "deadline", "end", "first", "pieces", "protocol", "starts", "version")

    def __init__(self, version: int, deadline: int) -> None:
        self.version = version
        self.deadline = deadline
        self.starts: list[int] = []
        self.pieces: list[Buffer] = []
        self.bytes = 0
        self.end: int | None = None  # length of the whole payload, once the last fragment is here
        self.first: bytes | None = None  # headers and start of the first fragment: what an ICMP error quotes
        self.protocol = 0

    def add(self, start: int, data: bytes) -> bool:
        """Take a piece; False when it overlaps another. The very same piece again is no overlap (RFC 8200 4.5)."""
        index = bisect_left(self.starts, start)
        if index < len(self.starts) and self.starts[index] == start and len(self.pieces[index]) == len(data):
            return True
        if index and self.starts[index - 1] + len(self.pieces[index - 1]) > start:
            return False
        if index < len(self.starts) and start + len(data) > self.starts[index]:
            return False
        self.starts.insert(index, start)
        self.pieces.insert(index, data)
        self.bytes += len(data)
        return True

    @property
    def cost(self) -> int:
        return self.bytes + COST * (len(self.pieces) + 1)


class Fragments:
    """The packets that are not whole yet."""

    def __init__(self) -> None:
        self.partial: dict[Key, Partial] = {}
        self._cost = 0

    def add(self, ip: IpPacket, data: Buffer, now: int) -> tuple[IpPacket, bytes] | Drop | None:
        """Take a fragment: the whole packet's header and payload if it was the last, None if more is to come, or why not."""
        key = (ip.src, ip.dst, ip.ident, ip.protocol if ip.version == 4 else 0)
        payload = bytes(data[ip.start : ip.end])
        end = ip.fragment + len(payload)
        if not payload or end > 65535 or (ip.more and len(payload) % 8):
            return Drop.FRAGMENT_BAD
        partial = self.partial.get(key)
        if partial is None:
            if len(self.partial) >= MAX_PACKETS or self._cost >= MAX_BYTES:
                return Drop.FRAGMENT_LIMIT
            partial = self.partial[key] = Partial(ip.version, now + TIMEOUT[ip.version])
            self._cost += partial.cost
        before = partial.cost
        beyond = partial.end is not None and (end > partial.end or (not ip.more and end != partial.end))
        inside = not ip.more and partial.starts and partial.starts[-1] + len(partial.pieces[-1]) > end
        if beyond or inside or not partial.add(ip.fragment, payload):
            self._forget(key)
            return Drop.FRAGMENT_OVERLAP
        self._cost += partial.cost - before
        if len(partial.pieces) > MAX_PIECES or self._cost > MAX_BYTES:
            self._forget(key)
            return Drop.FRAGMENT_LIMIT
        if not ip.fragment:
            partial.protocol = ip.protocol
            partial.first = bytes(data[: ip.end])
        if not ip.more:
            partial.end = end
        if partial.end != partial.bytes:
            return None
        self._forget(key)
        whole = b"".join(partial.pieces)
        return ip._replace(protocol=partial.protocol, fragment=0, more=False, start=0, end=len(whole)), whole

    def _forget(self, key: Key) -> None:
        self._cost -= self.partial.pop(key).cost

    def next_timer(self) -> int | None:
        """When the oldest packet is given up, ns."""
        return min((p.deadline for p in self.partial.values()), default=None)

    def expire(self, now: int) -> list[Partial]:
        """Give up what waited too long; the packets that were."""
        late = [(key, p) for key, p in self.partial.items() if p.deadline <= now]
        for key, _ in late:
            self._forget(key)
        return [p for _, p in late]
