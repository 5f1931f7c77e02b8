"""An emulated network: hosts, routers and devices, links between them, and the one scheduler of them all.

``turn`` is the same in real time, where the driver calls it with what a device has read, and in virtual time, where a
simulation calls it at each deadline. Within a turn nobody calls his neighbour: what arrives waits in the node's inbox until
the node is served, so that packets may go round in circles without the stack of Python growing.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from netemu.link.direction import Direction
from netemu.link.link import Link
from netemu.reasons import Reason
from netemu.runtime.engine import Device, Engine
from netemu.stack.host import Host
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet

PASSES = 16
"""Times in one turn that all who got something are served; packets that still go to and fro wait for the next turn."""


class Router(Protocol):
    """What the network needs of a router (netemu.router.router.Router)."""

    def receive(self, port: int, packet: Packet, now: int) -> Reason: ...

    def transmit(self, now: int) -> tuple[int, Packet] | None: ...

    def on_timer(self, now: int) -> None: ...

    def deadline(self) -> int: ...


class Item:
    """Something with a deadline."""

    scheduled = NEVER
    """When it is on the agenda; at the latest when it is due."""

    def on_due(self, now: int) -> None:
        raise TypeError


class Call(Item):
    """A function for later: a timeline's."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def on_due(self, now: int) -> None:
        self._call()


class Node(Item):
    """Something that links end at."""

    def __init__(self, network: Network, name: str) -> None:
        self.network = network
        self.name = name
        self.point = name
        """What captures call it."""
        self.ends: list[End] = []
        self.is_awake = False
        """It is among those that are served next."""

    def offer(self, packet: Packet, number: int) -> bool:
        """Take what came out of the link at end ``number``. False: full, nothing was taken."""
        raise TypeError

    def hold(self, packet: Packet) -> None:
        """Take what was just refused, until there is room."""
        raise TypeError

    def serve(self, now: int) -> None:
        raise TypeError

    def on_due(self, now: int) -> None:
        self.serve(now)


class End:
    """Where a node meets a link: what the node sends, it writes here. A host's engine has it as its device."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.number = len(node.ends)
        self.lane: Lane | None = None
        """The link's direction away from the node; None while nothing is plugged in."""
        node.ends.append(self)

    def write(self, packet: Packet) -> bool:
        """False: the other end is full and nothing is in between; nothing was taken."""
        return self.lane is None or self.lane.send(packet)

    def push(self, packet: Packet) -> None:
        """For who cannot keep a packet: it waits at the far end."""
        lane = self.lane
        if lane is not None and not lane.send(packet):
            lane.far.node.hold(packet)


class Lane(Item):
    """One direction of a link, from one end to another."""

    def __init__(self, network: Network, link: Link, direction: Direction, near: End, far: End) -> None:
        self.network = network
        self.link = link
        self.direction = direction
        self.on_crossing: Callable[[Lane, Packet], None] | None = None
        """Told of packets that pass by a direction which does nothing."""
        self.sending: Packet | None = None
        """What is being sent at this moment."""
        self.near = near
        self.far = far
        near.lane = self
        direction.on_answer = lambda packet, _: near.node.hold(packet)
        direction.on_pass = lambda packet, _: far.node.hold(packet)
        direction.on_steer = self._steer

    def send(self, packet: Packet) -> bool:
        direction = self.direction
        if direction.is_clear:
            if not self.far.node.offer(packet, self.far.number):
                return False
            if self.on_crossing is not None:
                self.on_crossing(self, packet)
            return True
        self.sending = packet
        direction.send(packet, self.network.now)
        self.sending = None
        self.reschedule()
        return True

    def _steer(self, packet: Packet, now: int, link: str) -> bool:
        """Have a packet travel another link: from the same node, or else in the same direction. False: there is none.

        Nor may it go round in a circle, back to a link that is steering it.
        """
        inward = self.direction is self.link.inward
        others = [lane for lane in self.network.lanes if lane.link.name == link]
        others.sort(
            key=lambda lane: (lane.near.node is not self.near.node, (lane.direction is lane.link.inward) != inward)
        )
        if not others or others[0].sending is not None:
            return False
        if not others[0].send(packet):
            others[0].far.node.hold(packet)
        return True

    @property
    def is_plain(self) -> bool:
        """The link does nothing, either way."""
        return self.link.inward.is_clear and self.link.outward.is_clear

    def on_due(self, now: int) -> None:
        """Deliver what has come out."""
        node, number = self.far.node, self.far.number
        for packet in self.direction.take(now):
            if not node.offer(packet, number):
                node.hold(packet)
        self.reschedule()

    def reschedule(self) -> None:
        self.network.schedule(self, self.direction.deadline)


class HostNode(Node):
    """An emulated host, run by an engine."""

    def __init__(self, network: Network, name: str, host: Host) -> None:
        super().__init__(network, name)
        self.end = End(self)
        self.engine = Engine(host, self.end, network.epoch_ns)
        self._inbox: list[Packet] = []

    def offer(self, packet: Packet, number: int) -> bool:
        self.hold(packet)
        return True

    def hold(self, packet: Packet) -> None:
        if packet.body:  # another host's: a host receives packets in one piece, as a device hands them over
            packet.head, packet.body = b"".join((packet.head, *packet.body)), ()
        self._inbox.append(packet)
        self.network.wake(self)

    def inject(self, packet: Packet) -> None:
        """Send what the host knows nothing of."""
        self.end.push(packet)
        self.engine.tell(packet, False, "injected")

    def serve(self, now: int) -> None:
        packets, self._inbox = self._inbox, []
        self.network.schedule(self, self.engine.turn(now, packets))


class RouterNode(Node):
    """A router, one end for each of its ports."""

    def __init__(self, network: Network, name: str, router: Router, ports: int) -> None:
        super().__init__(network, name)
        self.router = router
        self._inbox: list[tuple[int, Packet]] = []
        for _ in range(ports):
            End(self)

    def offer(self, packet: Packet, number: int) -> bool:
        self._inbox.append((number, packet))
        self.network.wake(self)
        return True

    def serve(self, now: int) -> None:
        router, inbox, self._inbox = self.router, self._inbox, []
        if router.deadline() <= now:
            router.on_timer(now)
        self._send(now)
        for number, packet in inbox:
            router.receive(number, packet, now)
            self._send(now)
        self.network.schedule(self, router.deadline())

    def _send(self, now: int) -> None:
        while sent := self.router.transmit(now):
            port, packet = sent
            self.ends[port].push(packet)


class Attachment(Node):
    """A device behind which real programs (or a test) take part."""

    def __init__(self, network: Network, name: str, device: Device) -> None:
        super().__init__(network, name)
        self.device = device
        self.end = End(self)
        self.held: deque[Packet] = deque()
        """What the device had no room for. While there is any, the driver reads from no device: what does not fit waits
        in the kernel's queue and not here."""
        self.is_full = False
        """The device refused a packet, and was not tried again since."""

    def offer(self, packet: Packet, number: int) -> bool:
        if not self.is_full and self.device.write(packet):
            return True
        self.is_full = True
        return False

    def hold(self, packet: Packet) -> None:
        self.held.append(packet)
        self.network.wake(self)

    def serve(self, now: int) -> None:
        """Write what waits, then let a host that was refused try again."""
        held = self.held
        while held and self.device.write(held[0]):
            held.popleft()
        self.is_full = bool(held)
        lane = self.end.lane
        if not held and lane is not None and isinstance(lane.far.node, HostNode):
            self.network.wake(lane.far.node)


class Network:
    """What there is, by name, and what happens next."""

    def __init__(self, epoch_ns: int = 0) -> None:
        """``epoch_ns``: wall clock time at ``now`` = 0, for captures and for people."""
        self.epoch_ns = epoch_ns
        self.now = 0
        self.hosts: dict[str, HostNode] = {}
        self.routers: dict[str, RouterNode] = {}
        self.attachments: dict[str, Attachment] = {}
        self.links: dict[str, Link] = {}
        self.lanes: list[Lane] = []
        self.on_rewire: Callable[[], object] = lambda: None
        """Called when links have been changed."""
        self._direct: Engine | None = None
        self._may_be_direct = False
        self._agenda: list[tuple[int, int, Item]] = []
        self._order = 0
        self._awake: list[Node] = []

    # -- putting it together ----------------------------------------------------------------------------------------------

    def add_host(self, name: str, host: Host) -> HostNode:
        node = self.hosts[name] = HostNode(self, name, host)
        return node

    def add_router(self, name: str, router: Router, ports: int) -> RouterNode:
        node = self.routers[name] = RouterNode(self, name, router, ports)
        return node

    def attach(self, name: str, device: Device) -> Attachment:
        node = self.attachments[name] = Attachment(self, name, device)
        return node

    def connect(self, first: End, second: End, link: Link) -> None:
        """Plug ``link`` in: its inward direction leads to ``second``."""
        assert link.name not in self.links
        assert first.lane is None
        assert second.lane is None
        self.links[link.name] = link
        self.lanes += Lane(self, link, link.inward, first, second), Lane(self, link, link.outward, second, first)
        self.rewire()

    def rewire(self) -> None:
        """Call this after a link was changed."""
        for lane in self.lanes:
            lane.reschedule()
        self.on_rewire()
        self._direct = None
        for node in self.hosts.values():
            node.engine.device = node.end
            self.wake(node)
        self._may_be_direct = len(self.hosts) == len(self.attachments) == len(self.links) == 1 and not self.routers

    def _try_direct(self) -> None:
        """One host on one device, and nothing in between, is what most instances are: the engine gets the device itself, and
        turns without us."""
        if (
            all(lane.direction.is_clear for lane in self.lanes)
            and not self.is_full
            and not any(isinstance(item, Call) for _, _, item in self._agenda)
        ):
            (node,), (attachment,) = self.hosts.values(), self.attachments.values()
            node.engine.device = attachment.device
            self._direct = node.engine

    # -- what happens next ------------------------------------------------------------------------------------------------

    def schedule(self, item: Item, due: int) -> None:
        """``item.on_due`` is called at ``due``, or earlier."""
        if due < item.scheduled:
            item.scheduled = due
            self._order += 1
            heapq.heappush(self._agenda, (due, self._order, item))

    def call_at(self, when: int, call: Callable[[], None]) -> None:
        """Call ``call`` at ``when``, ns: a timeline's next step."""
        self.schedule(Call(call), when)
        self.rewire()

    def wake(self, node: Node) -> None:
        """Serve ``node`` in this turn, or in the next."""
        if not node.is_awake:
            node.is_awake = True
            self._awake.append(node)

    def set_time(self, now: int) -> None:
        """Something will be done to hosts from outside of a turn, at ``now``; ``kick`` follows it."""
        self.now = now
        for node in self.hosts.values():
            node.engine.now = node.engine.host.now = now

    def kick(self, now: int) -> int:
        """Something was done to hosts or links from outside of a turn: let them all have a turn; the next deadline."""
        if self._direct is None:
            for node in self.hosts.values():
                self.wake(node)
        return self.turn(now)

    def turn(self, now: int, source: Attachment | None = None, packets: Iterable[Packet] = ()) -> int:
        """Take what ``source`` has read, do all that is due at ``now``, ns; the next deadline, or NEVER."""
        if self._direct is not None:
            return self._direct.turn(now, packets)
        self.now = now
        for attachment in self.attachments.values():
            if attachment.is_full:
                self.wake(attachment)
        if source is not None:
            push = source.end.push
            for packet in packets:
                push(packet)
        agenda = self._agenda
        for _ in range(PASSES):
            while agenda and agenda[0][0] <= now:
                self._do_next(now)
            if not self._awake:
                break
            served, self._awake = self._awake, []
            for node in served:
                node.is_awake = False
                node.serve(now)
        else:
            return now
        if self._may_be_direct:
            self._try_direct()
        while agenda and agenda[0][2].scheduled != agenda[0][0]:
            heapq.heappop(agenda)  # it was done earlier
        if not agenda:
            return NEVER
        return agenda[0][0]

    def _do_next(self, now: int) -> None:
        when, _, item = heapq.heappop(self._agenda)
        if item.scheduled == when:
            item.scheduled = NEVER
            item.on_due(now)

    @property
    def is_full(self) -> bool:
        """A device has no room: nothing is read until it is writable, and then ``turn`` is called."""
        if self._direct is not None:
            return self._direct.is_stuck
        return any(attachment.is_full for attachment in self.attachments.values())
