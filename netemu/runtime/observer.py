"""What captures see: each packet at each point that it passes, with all that was decided there as one comment.

A point is where a node meets a link: a device (`netemu0`), a host (`web`) or a router's port (`r1.wan`). A link that does
something to packets is seen at both of its ends. Between a host and something else a link that does nothing has one side
only, and what the host says of the packet stands there.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.runtime.engine import Tap as EngineTap
from netemu.runtime.network import Attachment, End, HostNode, Lane, Network, RouterNode
from netemu.wire.packet import Packet

Tap = Callable[[Packet, int, bool, str, str], None]
"""(packet, wall clock ns, inbound?, what was decided, point). Inbound is towards the emulated: out of a device, into a host
or a router."""


class Observer:
    """Has engines and links tell it what they do, as long as there are taps to tell."""

    def __init__(self, network: Network) -> None:
        self.taps: list[Tap] = []
        self._network = network
        self._notes: dict[int, list[tuple[Packet, str]]] = {}
        """What a link did to packets that their host will tell of when it takes them, by id; a packet may come twice."""
        self._sending: list[str] = []
        """What a link does to the packet that a host is sending, and will tell of next."""
        self._told_by: list[tuple[list[EngineTap], EngineTap]] = []

    def add(self, tap: Tap) -> None:
        self.taps.append(tap)
        if len(self.taps) == 1:
            self._start()

    def remove(self, tap: Tap) -> None:
        self.taps.remove(tap)
        if not self.taps:
            self._stop()

    def _start(self) -> None:
        for node in self._network.hosts.values():
            tap = self._of_host(node)
            node.engine.taps.append(tap)
            self._told_by.append((node.engine.taps, tap))
        for lane in self._network.lanes:
            lane.direction.watch = self._of_lane(lane)
            lane.on_crossing = self._crossing

    def _stop(self) -> None:
        for taps, tap in self._told_by:
            taps.remove(tap)
        self._told_by.clear()
        for lane in self._network.lanes:
            lane.direction.watch = lane.on_crossing = None
        self._notes.clear()

    def _note(self, packet: Packet, comment: str) -> None:
        self._notes.setdefault(id(packet), []).append((packet, comment))

    def _note_of(self, packet: Packet) -> str:
        notes = self._notes.get(id(packet))
        if not notes:
            return ""
        _, comment = notes.pop(0)
        if not notes:
            del self._notes[id(packet)]
        return comment

    def _of_host(self, node: HostNode) -> EngineTap:
        def tap(packet: Packet, wall_ns: int, inbound: bool, why: str) -> None:
            note = self._note_of(packet) if inbound else "; ".join(filter(None, self._sending))
            self._sending.clear()
            lane = node.end.lane
            has_one_side = lane is not None and lane.is_plain and not isinstance(lane.far.node, HostNode)
            point = point_of(lane.far if lane is not None and has_one_side else node.end)
            parts = (note, why) if inbound else (why, note)
            comment = "; ".join(filter(None, parts))
            for told in self.taps:
                told(packet, wall_ns, inbound, comment, point)

        return tap

    def _of_lane(self, lane: Lane) -> Callable[[Packet, int, str, str], None]:
        from_host, to_host = isinstance(lane.near.node, HostNode), isinstance(lane.far.node, HostNode)

        def watch(packet: Packet, now: int, event: str, comment: str) -> None:
            if event == "left":
                if to_host:
                    self._note(packet, comment)
                else:
                    self._tell(packet, now, lane.far, comment, arriving=True)
            elif from_host and event == "answered":
                self._note(packet, comment)
            elif from_host and packet is lane.sending:
                self._sending.append(comment)
            elif event != "entered" or not from_host:  # of the slices of a super-packet the host has told already
                self._tell(packet, now, lane.near, comment, arriving=event == "answered")

        return watch

    def _crossing(self, lane: Lane, packet: Packet) -> None:
        """A packet passes by a direction that does nothing."""
        ends = [end for end in (lane.near, lane.far) if not isinstance(end.node, HostNode)]
        if len(ends) == 1 and lane.is_plain:
            return  # its host tells
        for end in ends:
            self._tell(packet, self._network.now, end, "", arriving=end is lane.far)

    def _tell(self, packet: Packet, now: int, end: End, comment: str, *, arriving: bool) -> None:
        """``arriving``: out of the link, at the node."""
        inbound = arriving != isinstance(end.node, Attachment)
        for tap in self.taps:
            tap(packet, self._network.epoch_ns + now, inbound, comment, point_of(end))


def point_of(end: End) -> str:
    """What a capture calls this end of a link."""
    node = end.node
    if isinstance(node, RouterNode) and end.lane is not None:
        return f"{node.name}.{end.lane.link.name}"
    return node.point
