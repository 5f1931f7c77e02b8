"""Real time: a network on TUN devices in an asyncio loop."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable

from netemu.link.impairments import CLEAR
from netemu.runtime.loop import DeviceLoop, Serve
from netemu.runtime.network import Attachment, Network
from netemu.runtime.priority import raise_priority
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet
from tun import Tun, TunError

BATCH = 64
"""Packets read before the apps run and the answers leave."""


PAUSE_NS = 5_000
"""The device was silent for so long: it is not in the middle of a burst."""


GRAIN_NS = 200_000
"""What comes out of a link within so much of the last waits for what follows it. At 1 Gbit/s a packet is due every 12 us, and
without this the loop would spend its time on turns: iperf3 saw 470 Mbit/s so, 880 with 100 us, 963 with 200 us."""


class TunDevice:
    """A network's device: packets to the TUN."""

    def __init__(self, tun: Tun) -> None:
        self.tun = tun
        self._write = tun.write
        self.refused = 0

    def write(self, packet: Packet) -> bool:
        try:
            return self._write(packet.head, packet.body, packet.gso_size, packet.csum_start, packet.csum_offset)
        except TunError as error:
            if error.errno != errno.EINVAL:
                raise
            self.refused += 1  # this one packet makes no sense to the kernel; the device is as good as before
            return True


class Driver:
    """Reads the devices when they are readable, turns the network, and wakes it at its deadlines."""

    def __init__(
        self,
        network: Network,
        devices: Iterable[tuple[Attachment, Tun]],
        loop: DeviceLoop,
        on_failure: Callable[[TunError], None],
    ) -> None:
        """``on_failure`` is told when a device is gone; the driver has stopped then."""
        self._network = network
        self._devices = list(devices)
        self._selector = loop.device
        self._on_failure = on_failure
        self._is_full = False

    def start(self) -> None:
        for attachment, tun in self._devices:
            self._selector.watch(tun.fileno(), self._reader(attachment, tun))
        for link in self._network.links.values():
            for direction in link.directions():
                direction.grain = GRAIN_NS
        self._selector.at_deadline = self._at_deadline
        self._network.on_rewire = self._adjust_priority
        self._adjust_priority()
        self.kick()

    def stop(self) -> None:
        self._selector.unwatch()
        raise_priority(False)

    def _adjust_priority(self) -> None:
        raise_priority(any(lane.direction.impairments is not CLEAR for lane in self._network.lanes))

    def serve_beside(self, fd: int, serve: Callable[[], None]) -> None:
        """Call ``serve`` when ``fd`` is readable, and turn the network for what it did to a host."""

        def serve_and_turn() -> int:
            try:
                self._network.set_time(time.monotonic_ns())
                serve()
                return self._after(self._network.kick(time.monotonic_ns()))
            except TunError as error:
                return self._fail(error)

        self._selector.watch(fd, serve_and_turn)

    def kick(self) -> None:
        """Something was done to a host or a link from outside a turn."""
        try:
            self._selector.deadline = self._after(self._network.kick(time.monotonic_ns()))
        except TunError as error:
            self._fail(error)

    def _at_deadline(self) -> int:
        try:
            return self._after(self._network.turn(time.monotonic_ns()))
        except TunError as error:
            return self._fail(error)

    def _reader(self, attachment: Attachment, tun: Tun) -> Serve:
        """Reads a batch of ``tun``, turns the network, and returns the next deadline."""
        network, read, clock = self._network, tun.read, time.monotonic_ns
        limit, finished = 1, 0

        def serve() -> int:
            nonlocal limit, finished
            try:
                now = clock()
                # A read of nothing costs 2 us (15 after a context switch), the selector's word that there is more half a
                # microsecond. So after a pause one packet is asked for, and ever more while they keep coming.
                limit = 1 if now - finished > PAUSE_NS else min(4 * limit, BATCH)
                packets = (
                    [Packet(head, (), gso, start, offset) for head, gso, start, offset in read(limit)]
                    if not self._is_full
                    else ()
                )
                deadline = network.turn(now, attachment, packets)
                if network.is_full != self._is_full:
                    self._after(deadline)
                finished = clock()
                return deadline
            except TunError as error:
                return self._fail(error)

        return serve

    def _after(self, deadline: int) -> int:
        """Read no more while a device is full, and wait until it is writable."""
        if self._network.is_full != self._is_full:
            self._is_full = self._network.is_full
            for _, tun in self._devices:
                self._selector.want(tun.fileno(), read=not self._is_full, write=self._is_full)
        return deadline

    def _fail(self, error: TunError) -> int:
        self.stop()
        self._on_failure(error)
        return NEVER
