"""Real time: an engine on a TUN device in an asyncio loop."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from netemu.runtime.engine import Engine
from netemu.runtime.loop import DeviceLoop
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet
from tun import Tun, TunError

BATCH = 64
"""Packets read before the apps run and the answers leave."""


PAUSE_NS = 5_000
"""The device was silent for so long: it is not in the middle of a burst."""


class TunDevice:
    """The engine's device: packets to the TUN."""

    def __init__(self, tun: Tun) -> None:
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
    """Reads the device when it is readable, turns the engine, and wakes it at its deadlines."""

    def __init__(self, engine: Engine, tun: Tun, loop: DeviceLoop, on_failure: Callable[[TunError], None]) -> None:
        """``on_failure`` is told when the device is gone; the driver has stopped then."""
        self._engine = engine
        self._tun = tun
        self._device = loop.device
        self._on_failure = on_failure
        self._beside: list[int] = []
        self._waiting_to_write = False
        self._limit = 1
        self._finished = 0

    def start(self) -> None:
        self._device.watch(self._tun.fileno(), self._serve)
        self.kick()

    def stop(self) -> None:
        for fd in self._beside:
            self._device.unwatch_beside(fd)
        self._beside.clear()
        self._device.unwatch()

    def serve_beside(self, fd: int, serve: Callable[[], None]) -> None:
        """Call ``serve`` when ``fd`` is readable, and turn the engine for what it did to the host."""

        def serve_and_turn() -> int:
            try:
                self._engine.now = self._engine.host.now = time.monotonic_ns()
                serve()
                return self._turn([], time.monotonic_ns())
            except TunError as error:
                self._fail(error)
                return NEVER

        self._device.watch_beside(fd, serve_and_turn)
        self._beside.append(fd)

    def kick(self) -> None:
        """Something was done to the host from outside a turn."""
        try:
            self._device.deadline = self._turn([], time.monotonic_ns())
        except TunError as error:
            self._fail(error)

    def _serve(self) -> int:
        try:
            now = time.monotonic_ns()
            # A read of nothing costs 2 us (15 after a context switch), the selector's word that there is more half a
            # microsecond. So after a pause one packet is asked for, and ever more while they keep coming.
            self._limit = 1 if now - self._finished > PAUSE_NS else min(4 * self._limit, BATCH)
            packets = [Packet(head, (), gso, start, offset) for head, gso, start, offset in self._tun.read(self._limit)]
            deadline = self._turn(packets, now)
            self._finished = time.monotonic_ns()
            return deadline
        except TunError as error:
            self._fail(error)
            return NEVER

    def _turn(self, packets: list[Packet], now: int) -> int:
        deadline = self._engine.turn(now, packets)
        if self._engine.is_stuck != self._waiting_to_write:
            self._waiting_to_write = self._engine.is_stuck
            self._device.want_write(self._waiting_to_write)
        return deadline

    def _fail(self, error: TunError) -> None:
        self.stop()
        self._on_failure(error)
