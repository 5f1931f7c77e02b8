"""The one scheduler: packets in, timers, apps, packets out. The same in real and in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from netemu.reasons import Match, Reason
from netemu.stack.host import Host
from netemu.stack.sockets import Socket
from netemu.wire.packet import Packet

if TYPE_CHECKING:
    from netemu.runtime.between import Between

Tap = Callable[[Packet, int, bool, str], None]
"""(packet, wall clock ns, inbound?, what was decided)"""


class Device(Protocol):
    """Where packets go."""

    def write(self, packet: Packet) -> bool:
        """False: full, nothing was taken; the same packet is offered again later."""


class Engine:
    """Runs one host on one device. Whoever drives it calls ``turn`` with what arrived, and again at the deadline it returns."""

    def __init__(self, host: Host, device: Device, epoch_ns: int = 0) -> None:
        """``epoch_ns``: wall clock time at ``now`` = 0, for captures and for people."""
        self.host = host
        self.device = device
        self.epoch_ns = epoch_ns
        self.taps: list[Tap] = []
        self.between: Between | None = None
        """What apps have done to packets on their way between host and device, if anything (see ``insert``)."""
        self.transmit: Callable[[int], Packet | None] = host.transmit
        """Where packets for the device are pulled from."""
        self.now = 0
        self._stuck: tuple[Packet, str] | None = None
        self._calls: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._due = 0

    def insert(self, between: Between) -> None:
        """Put this between host and device. An engine without one pays nothing for it."""
        self.between, self.transmit = between, between.transmit
        between.on_drop = self.tell

    # -- the clock of apps (netemu.apps.base.Clock) -----------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the epoch."""
        return (self.epoch_ns + self.now) / 1e9

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._calls, (self.now + delay_ns, self._order, call))

    # -- the turn ---------------------------------------------------------------------------------------------------------

    def turn(self, now: int, packets: Iterable[Packet] = ()) -> int:
        """Take ``packets``, do all that is due at ``now`` (ns), send what may be sent. The next deadline, ns, or NEVER.

        Work that can wait for the end of a batch does: apps are told, ACKs are sent once for all packets (MUST-58, MUST-59).
        """
        self.now = now
        host, between = self.host, self.between
        if between is not None:
            packets = between.receive(packets, now)
        if self.taps:
            for packet in packets:
                reason = host.receive(packet, now)
                self._tap(packet, True, self._noted(explain(reason, host.matched)))
        else:
            for packet in packets:
                host.receive(packet, now)
        if now >= self._due:
            host.on_timer(now)
            while self._calls and self._calls[0][0] <= now:
                heapq.heappop(self._calls)[2]()
        self.flush()
        due = host.deadline()
        if self._calls and self._calls[0][0] < due:
            due = self._calls[0][0]
        if between is not None and between.deadline < due:
            due = between.deadline
        self._due = due
        return due

    def flush(self) -> None:
        """Tell the apps their news and send until there is nothing more, or the device is full."""
        host, device, transmit, now = self.host, self.device, self.transmit, self.now
        if self._stuck is not None:
            if not device.write(self._stuck[0]):
                return
            packet, why = self._stuck
            self._stuck = None
            self._tap(packet, False, why)
        while True:
            if host.news:
                host.dispatch()
            next_packet = transmit(now)
            if next_packet is None:
                if host.news:
                    continue  # a packet to ourselves
                return
            why = self._noted(explain_sent(host.sent_for, host.matched)) if self.taps else ""
            if not device.write(next_packet):
                self._stuck = next_packet, why
                return
            if self.taps:
                self._tap(next_packet, False, why)

    @property
    def is_stuck(self) -> bool:
        """The device was full; call ``turn`` when it is writable again."""
        return self._stuck is not None

    def _noted(self, why: str) -> str:
        """With what was done to the packet between host and device."""
        note = self.between.note if self.between is not None else ""
        return f"{why}; {note}" if note else why

    def tell(self, packet: Packet, inbound: bool, why: str) -> None:
        """Have the taps see a packet that does not come to the host, or not from it."""
        if self.taps:
            self._tap(packet, inbound, why)

    def _tap(self, packet: Packet, inbound: bool, why: str) -> None:
        wall = self.epoch_ns + self.now
        for tap in self.taps:
            tap(packet, wall, inbound, why)


def explain(reason: Reason, matched: object) -> str:
    """What a capture says of an arriving packet."""
    whose = owner(matched)
    if isinstance(reason, Match):
        return f"delivered to {whose} by {reason.name}" if whose else f"taken: {reason.name}"
    return f"dropped: {reason.name} ({reason.value})" + (f", at {whose}" if whose else "")


def explain_sent(reason: Reason | None, matched: object) -> str:
    """What a capture says of a packet that leaves."""
    whose = owner(matched)
    if reason is not None:
        return f"sent: {reason.name} ({reason.value})"
    return f"sent by {whose}" if whose else "sent"


def owner(matched: object) -> str:
    """'s3 of app web'."""
    if not isinstance(matched, Socket):
        return ""
    return f"s{matched.id} of app {matched.app}" if matched.app else f"s{matched.id}"
