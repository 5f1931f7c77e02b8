"""What a rule knows of a flow beside the packet at hand: how many came before it, and whether it was sent before.

A flow is one direction of a TCP connection or of a UDP exchange: addresses, ports, protocol. The tracker belongs to one
direction of a link and sees a packet before any rule has touched it. It counts from when it was first asked to: rules that ask
nothing of flows cost nothing.
"""

from __future__ import annotations

from copy import copy

from netemu.link.rules.view import View
from netemu.wire.ip import TCP
from netemu.wire.tcp import ACK, FIN, RST, SYN, parse_options, unwrap

MOST_FLOWS = 65_536
"""Flows that are remembered; then the one that was silent longest is forgotten."""
MOST_REPEATED = 256
"""Sequence numbers per flow whose transmissions are counted one by one; then the oldest is forgotten."""
MOST_SHIFT = 14
"""RFC 7323 2.3."""


class Flow:
    """One direction of a flow, as it stands once its latest packet is counted in."""

    __slots__ = (
        "ack_base", "attempt", "base", "before", "bytes", "data", "first", "idle", "is_repeat", "last", "packets",
        "repeated", "repeats", "shift", "syns", "top",
    )  # fmt: skip

    def __init__(self, now: int) -> None:
        self.first = self.last = now
        self.idle = 0
        """ns between the packet and the one before it."""
        self.packets = 0
        self.data = 0
        """Packets with payload."""
        self.bytes = 0
        """Payload bytes; of TCP, each byte of the stream once, however often it was sent."""
        self.before = 0
        """The same before the packet."""
        # TCP only
        self.syns = 0
        self.base: int | None = None
        """The first sequence number; that of the SYN, where it was seen (RFC 9293: ISS)."""
        self.ack_base: int | None = None
        self.top = 0
        """The highest sequence number that was sent, plus one; unwrapped."""
        self.shift = 0
        """The window scale that the SYN offered (RFC 7323)."""
        self.is_repeat = False
        self.repeats = 0
        self.attempt: int | None = None
        self.repeated: dict[int, int] = {}


class FlowTracker:
    """The flows of one direction, at most ``most`` of them."""

    def __init__(self, most: int = MOST_FLOWS) -> None:
        self._flows: dict[bytes, Flow] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._flows)

    def peek(self, view: View) -> None:
        """Give ``view`` its flow as it stood before this packet."""
        view.flow = self._flows.get(view.key()) or Flow(view.now)

    def foresee(self, view: View) -> None:
        """Give ``view`` its flow as it will stand once this packet is counted in; it is not."""
        alone, key = FlowTracker(1), view.key()
        if key in self._flows:
            flow = alone._flows[key] = copy(self._flows[key])
            flow.repeated = flow.repeated.copy()
        alone.note(view)

    def note(self, view: View) -> None:
        """Count a packet in, a super-packet as so many packets, and give ``view`` its flow."""
        flows, key = self._flows, view.key()
        flow = flows.pop(key, None)
        if flow is None:
            if len(flows) >= self._most:
                del flows[next(iter(flows))]
            flow = Flow(view.now)
        if view.transport == TCP:
            flow = _note_tcp(flow, view)
        else:
            flow.before = flow.bytes
            flow.bytes += view.length
        flows[key] = flow  # the end of the dictionary is the most recently seen
        slices = view.slices
        flow.packets += slices
        flow.data += slices if view.length else 0
        flow.idle, flow.last = view.now - flow.last, view.now
        view.flow = flow


def _note_tcp(flow: Flow, view: View) -> Flow:
    head, at, length = view.head, view.start, view.length
    flags, raw = head[at + 13], int.from_bytes(head[at + 4 : at + 8], "big")
    syn = flags & SYN and 1
    if flow.base is None or (syn and unwrap(raw, flow.base) != flow.base):  # the first packet, or old ports used anew
        flow = Flow(view.now)
        flow.base = raw if syn else raw - 1  # an unseen SYN stood before it, as Wireshark supposes
        flow.top = raw
        flow.shift = _shift(view) if syn else 0
    if flags & ACK and flow.ack_base is None:
        flow.ack_base = int.from_bytes(head[at + 8 : at + 12], "big") - 1
    flow.syns += syn
    flow.before = flow.bytes
    flow.is_repeat, flow.attempt = False, None
    space = syn + length + (flags & FIN)
    if space and not flags & RST:
        seq = unwrap(raw, flow.top)
        _note_sent(flow, seq, seq + space, view.packet.gso_size or space)
        assert flow.base is not None
        flow.bytes = max(flow.bytes, seq + syn + length - flow.base - 1)
    return flow


def _note_sent(flow: Flow, seq: int, end: int, step: int) -> None:
    """Sequence numbers from ``seq`` to ``end`` are sent, ``step`` at a time. What starts below ``top`` was sent before."""
    flow.attempt = 1
    while seq < min(end, flow.top):
        flow.is_repeat = True
        flow.repeats += 1
        flow.attempt = flow.repeated.pop(seq, 1) + 1
        if len(flow.repeated) >= MOST_REPEATED:
            del flow.repeated[next(iter(flow.repeated))]
        flow.repeated[seq] = flow.attempt
        seq += step
    flow.top = max(flow.top, end)


def _shift(view: View) -> int:
    options = parse_options(bytes(view.head[view.start + 20 : view.payload_at]))[2]
    return min(options.wscale or 0, MOST_SHIFT)
