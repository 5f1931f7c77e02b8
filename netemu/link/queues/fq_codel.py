"""FlowQueue-CoDel (RFC 8290): flows take turns by deficit round robin, new ones first, each under CoDel's control."""

from __future__ import annotations

from collections import deque
from hashlib import blake2s
from operator import itemgetter
from random import Random

from netemu.link.ecn import common_head
from netemu.link.queues.base import MEMORY_LIMIT, Bytes, Fifo, Flag, Number, Packets, Queue, Time, at_least
from netemu.link.queues.codel import INTERVAL, TARGET, Control, Settings
from netemu.reasons import LinkDrop
from netemu.wire import ipv6
from netemu.wire.ip import TCP, UDP
from netemu.wire.packet import Packet

LIMIT = 10240
FLOWS = 1024
QUANTUM = 1514
DROP_BATCH = 64
_REMEMBERED = 4096
_SKIPPED = (ipv6.HOP_BY_HOP, ipv6.ROUTING, ipv6.DESTINATION)


class Flow(Fifo):
    """What hashes to one number, with its credit."""

    __slots__ = ("control", "deficit", "is_listed")

    def __init__(self, queue: Queue, settings: Settings) -> None:
        super().__init__()
        self.control = Control(queue, self, settings)
        self.deficit = 0
        self.is_listed = False


class FqCodel(Queue):
    """Parameters and defaults of tc-fq_codel(8); the key of its hash is drawn from ``random``."""

    def __init__(
        self,
        random: Random,
        *,
        limit: Packets = LIMIT,
        memory_limit: Bytes = MEMORY_LIMIT,
        flows: Number = FLOWS,
        target: Time = TARGET,
        interval: Time = INTERVAL,
        quantum: Bytes = QUANTUM,
        ecn: Flag = True,
        ce_threshold: Time | None = None,
        drop_batch: Packets = DROP_BATCH,
    ) -> None:
        super().__init__(limit, memory_limit)
        at_least(1, flows=flows, quantum=quantum, drop_batch=drop_batch)
        self.quantum, self.drop_batch = quantum, drop_batch
        self._settings = Settings(target, interval, ecn, ce_threshold)
        self._secret = random.randbytes(16)
        self._buckets = flows
        self._numbers: dict[bytes, int] = {}  # of keys that were seen lately: hashing costs more than looking up
        self._flows: dict[int, Flow] = {}
        self._new: deque[Flow] = deque()
        self._old: deque[Flow] = deque()

    @property
    def head_since(self) -> int | None:
        return min((flow.head[1] for flow in self._flows.values() if flow.head), default=None)

    def _arrive(self, packet: Packet, now: int) -> None:
        self.adopt(packet, now)
        while self._length > self.limit or self.bytes > self.memory_limit:
            self._relieve(now)

    def adopt(self, packet: Packet, since: int) -> None:
        flow = self._flow_of(packet)
        self.append(flow, packet, since, len(packet))
        if not flow.is_listed:  # RFC 8290 4.1: a flow that had nothing waiting is new
            flow.is_listed = True
            flow.deficit = self.quantum
            self._new.append(flow)

    def pop(self, now: int) -> Packet | None:
        """RFC 8290 4.2."""
        while self._new or self._old:
            turn = self._new or self._old
            flow = turn[0]
            if flow.deficit <= 0:
                flow.deficit += self.quantum
                self._old.append(turn.popleft())
                continue
            packet = flow.control.next(now)
            if packet is not None:
                flow.deficit -= self.size
                return packet
            turn.popleft()
            if turn is self._new:  # through the old ones first, so that coming and going gains it nothing
                self._old.append(flow)
            else:
                flow.is_listed = False
        return None

    def drain(self) -> list[tuple[Packet, int]]:
        kept = [entry for flow in self._flows.values() for entry in flow.drain()]
        self._flows.clear()
        self._new.clear()
        self._old.clear()
        self._length = self.bytes = 0
        return sorted(kept, key=itemgetter(1))

    def _relieve(self, now: int) -> None:
        """Drop from the head of the fattest flow, up to half of it: to find it costs more than to drop one (RFC 8290 4.1)."""
        fattest = max((*self._new, *self._old), key=lambda flow: flow.bytes)
        half = fattest.bytes // 2
        for _ in range(self.drop_batch):
            self.drop_head(fattest, now, LinkDrop.QUEUE_FULL)
            if fattest.bytes <= half:
                break

    def _flow_of(self, packet: Packet) -> Flow:
        key = flow_key(packet)
        number = self._numbers.get(key)
        if number is None:
            if len(self._numbers) >= _REMEMBERED:
                self._numbers.clear()
            digest = blake2s(key, key=self._secret, digest_size=8).digest()
            number = self._numbers[key] = int.from_bytes(digest, "big") % self._buckets
        flow = self._flows.get(number)
        if flow is None:
            flow = self._flows[number] = Flow(self, self._settings)
        return flow


def flow_key(packet: Packet) -> bytes:
    """Addresses, protocol and, where it has any, ports (RFC 8290 3): the same for all packets of one direction of a flow.

    Fragments have none, not even the first, so that all of a packet's stay in order; what is no IP packet is one flow.
    """
    head = common_head(packet)
    version = head[0] >> 4 if len(head) >= 20 else 0
    if version == 4:
        protocol, start, key = head[9], (head[0] & 15) * 4, bytes(head[12:20])
        is_fragment = bool(int.from_bytes(head[6:8], "big") & 0x3FFF)  # more of them, or an offset
    elif version == 6 and len(head) >= ipv6.SIZE:
        protocol, start, key = head[6], ipv6.SIZE, bytes(head[8:40])
        while protocol in _SKIPPED and start + 8 <= len(head):
            protocol, start = head[start], start + head[start + 1] * 8 + 8
        is_fragment = protocol == ipv6.FRAGMENT_HEADER
    else:
        return b""
    key += bytes((protocol,))
    return key if is_fragment or protocol not in (TCP, UDP) else key + bytes(head[start : start + 4])
