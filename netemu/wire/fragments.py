"""Packets are cut into fragments, and fragments wait until their packet is whole (RFC 791, 815, 8200 4.5), within bounds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from netemu.reasons import Drop
from netemu.wire import ipv4, ipv6
from netemu.wire.buffer import Buffer
from netemu.wire.ip import IpPacket
from netemu.wire.packet import Packet

SECOND = 1_000_000_000
TIMEOUT = {
    4: 30 * SECOND,
    6: 60 * SECOND,
}  # RFC 1122 3.3.2 recommends 60 to 120 s for IPv4; Linux waits 30. RFC 8200: 60 s
MAX_BYTES = 4 << 20  # as Linux' ipfrag_high_thresh
MAX_PACKETS = 256
MAX_PIECES = 8192  # of one packet: eight bytes each is the least that a fragment can carry
COST = 200  # bytes that a fragment takes beside its payload
MAX_TOTAL = 65535

Key = tuple[bytes, bytes, int, int]


class Partial:
    """The fragments of one packet."""

    __slots__ = ("bytes", "deadline", "end", "given_up", "head", "ip", "pieces", "starts", "version")

    def __init__(self, version: int, deadline: int) -> None:
        self.version = version
        self.deadline = deadline
        self.starts: list[int] = []
        self.pieces: list[bytes] = []
        self.bytes = 0
        self.end: int | None = None
        """Length of the whole payload, once the last fragment is here."""
        self.head = b""
        self.ip: IpPacket | None = None
        """Headers of the first fragment, once it is here: those that the whole packet gets."""
        self.given_up = False
        """Two fragments overlapped: the others are not taken either (RFC 5722)."""

    def add(self, start: int, data: bytes, more: bool) -> bool:
        """Take a piece; False when it contradicts another. The very same piece again does not (RFC 8200 4.5)."""
        starts, pieces, end = self.starts, self.pieces, start + len(data)
        if self.end is not None:
            if end > self.end or more == (end == self.end):
                return False
        elif not more:
            if starts and starts[-1] + len(pieces[-1]) >= end:
                return False
            self.end = end
        index = bisect_left(starts, start)
        if index < len(starts) and starts[index] == start and pieces[index] == data:
            return True
        if index and starts[index - 1] + len(pieces[index - 1]) > start:
            return False
        if index < len(starts) and end > starts[index]:
            return False
        starts.insert(index, start)
        pieces.insert(index, data)
        self.bytes += len(data)
        return True

    def give_up(self) -> None:
        self.given_up = True
        self.starts, self.pieces, self.bytes, self.head, self.ip = [], [], 0, b"", None

    @property
    def first(self) -> bytes | None:
        """The first fragment as it came, which an ICMP error quotes; None when it did not come."""
        return self.head + self.pieces[0] if self.ip is not None else None

    @property
    def is_whole(self) -> bool:
        return self.end == self.bytes

    @property
    def cost(self) -> int:
        return self.bytes + COST * (len(self.pieces) + 1)

    def joined(self) -> tuple[IpPacket, bytes] | Drop:
        """The packet as if it had never been cut."""
        assert self.ip is not None
        fixed = 0 if self.version == 4 else ipv6.SIZE + ipv6.FRAGMENT.size  # what the length field does not count
        if len(self.head) - fixed + self.bytes > MAX_TOTAL:
            return Drop.FRAGMENT_BAD  # the first fragment's headers are longer than the others'
        if self.version == 4:
            head = ipv4.unfragmented(self.head, self.bytes)
            ip = self.ip._replace(end=len(head) + self.bytes, fragment=0, more=False)
            return ip, b"".join((head, *self.pieces))
        if self.ip.protocol == ipv6.HOP_BY_HOP:
            return Drop.BAD_IP_HEADER
        whole = b"".join((ipv6.without_fragment_header(self.head, self.bytes), *self.pieces))
        try:
            parsed = ipv6.parse(whole)
        except ipv6.OptionProblem as problem:
            # DEVIATION: RFC 8200 4.2 wants an answer; a sender that hides its options in fragments gets none
            return problem.reason
        if isinstance(parsed, IpPacket) and parsed.is_fragment:
            return Drop.FRAGMENT_BAD  # fragments of a fragment
        return parsed if isinstance(parsed, Drop) else (parsed, whole)


class Fragments:
    """The packets that are not whole yet."""

    def __init__(self) -> None:
        self.partial: dict[Key, Partial] = {}
        self._cost = 0
        self._next: int | None = None

    def add(self, ip: IpPacket, data: Buffer, now: int) -> tuple[IpPacket, bytes] | Drop | None:
        """Take a fragment: the whole packet and its header if it was the last, None if more is to come, or why not."""
        payload = bytes(data[ip.start : ip.end])
        if not payload or (ip.more and len(payload) % 8):
            return Drop.FRAGMENT_BAD
        if ip.version == 4 and ip.start + ip.fragment + len(payload) > MAX_TOTAL:  # for IPv6 the parser has seen to it
            return Drop.FRAGMENT_BAD
        key = (ip.src, ip.dst, ip.ident, ip.protocol if ip.version == 4 else 0)
        partial = self.partial.get(key)
        if partial is None:
            if len(self.partial) >= MAX_PACKETS or self._cost >= MAX_BYTES:
                return Drop.FRAGMENT_LIMIT
            partial = self.partial[key] = Partial(ip.version, now + TIMEOUT[ip.version])
            self._cost += partial.cost
            if self._next is None or partial.deadline < self._next:
                self._next = partial.deadline
        if partial.given_up:
            return Drop.FRAGMENT_OVERLAP
        before = partial.cost
        if not partial.add(ip.fragment, payload, ip.more):
            partial.give_up()
            self._cost += partial.cost - before
            return Drop.FRAGMENT_OVERLAP
        self._cost += partial.cost - before
        if len(partial.pieces) > MAX_PIECES or self._cost > MAX_BYTES:
            self._forget(key)
            return Drop.FRAGMENT_LIMIT
        if not ip.fragment and partial.ip is None:
            partial.ip, partial.head = ip, bytes(data[: ip.start])
        if not partial.is_whole:
            return None
        self._forget(key)
        return partial.joined()

    def _forget(self, key: Key) -> None:
        self._cost -= self.partial.pop(key).cost

    def next_timer(self) -> int | None:
        """When the oldest packet is given up, ns; may be early."""
        return self._next

    def expire(self, now: int) -> list[Partial]:
        """Give up what waited too long; the packets that were not given up before."""
        late = [(key, p) for key, p in self.partial.items() if p.deadline <= now]
        for key, _ in late:
            self._forget(key)
        self._next = min((p.deadline for p in self.partial.values()), default=None)
        return [p for _, p in late if not p.given_up]


def fragments(
    src: bytes,
    dst: bytes,
    protocol: int,
    payload: Buffer,
    mtu: int,
    ident: int,
    ttl: int,
    tos: int = 0,
    dont_fragment: bool = False,
) -> Iterator[Packet]:
    """``payload`` in as many packets as the MTU (bytes) asks for; ``dont_fragment``: a single one says so to the routers."""
    is_whole = len(payload) + (ipv6.SIZE if len(src) == 16 else ipv4.SIZE) <= mtu
    if len(src) == 16:
        head = ipv6.header(src, dst, protocol, len(payload), ttl=ttl, tos=tos)
    else:
        flags = ipv4.DONT_FRAGMENT if dont_fragment and is_whole else 0
        head = ipv4.header(src, dst, protocol, len(payload), ident=ident & 0xFFFF, ttl=ttl, tos=tos, fragment=flags)
    whole = head + payload
    if is_whole:
        yield Packet(whole)
    else:
        yield from cut(whole, mtu, ident)


def cut(data: Buffer, mtu: int, ident: int = 0) -> Iterator[Packet]:
    """An IP packet that is longer than ``mtu`` (bytes) as fragments; one of IPv4 may be a fragment itself.

    ``ident`` is for IPv6, where only the source cuts (and who put the source's own fragments together again); a packet of IPv4
    has its own.
    """
    return _cut_v6(data, mtu, ident) if data[0] >> 4 == 6 else _cut_v4(data, mtu)


def _cut_v4(data: Buffer, mtu: int) -> Iterator[Packet]:
    """RFC 791 3.2: the options that are to be copied are in each, the others in the first only."""
    start, end = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
    head, later = bytes(data[:start]), ipv4.for_later_fragments(bytes(data[:start]))
    word = int.from_bytes(head[6:8], "big")
    offset, more_behind = word & 0x1FFF, word & ipv4.MORE_FRAGMENTS
    at = start
    while at < end:
        room = max(8, (mtu - len(head)) & ~7)
        more = ipv4.MORE_FRAGMENTS if at + room < end else more_behind
        piece = data[at : min(at + room, end)]
        yield Packet(ipv4.as_fragment(head, len(piece), more | offset + (at - start >> 3)) + piece)
        at += room
        head = later


def _cut_v6(data: Buffer, mtu: int, ident: int) -> Iterator[Packet]:
    """RFC 8200 4.5: behind the headers that routers on the way may look at comes the fragment header."""
    next_at, start = ipv6.unfragmentable(data)
    end = ipv6.SIZE + int.from_bytes(data[4:6], "big")
    head, protocol = bytearray(data[:start]), data[next_at]
    head[next_at] = ipv6.FRAGMENT_HEADER
    room = (mtu - start - ipv6.FRAGMENT.size) & ~7
    for at in range(start, end, room):
        piece = data[at : min(at + room, end)]
        head[4:6] = (start - ipv6.SIZE + ipv6.FRAGMENT.size + len(piece)).to_bytes(2, "big")
        extension = ipv6.FRAGMENT.pack(protocol, 0, at - start | (at + room < end), ident)
        yield Packet(b"".join((head, extension, piece)))
