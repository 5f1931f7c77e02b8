"""Real time: an engine on a TUN device in an asyncio loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from netemu.runtime.engine import Engine
from netemu.wire.packet import Packet
from tun import Tun, TunError

BATCH = 64
"""Packets read before the apps run and the answers leave."""
BATCHES = 16
"""Batches in a row before the rest of the loop (control API, signals) gets its turn."""


class TunDevice:
    """The engine's device: packets to the TUN."""

    def __init__(self, tun: Tun) -> None:
        self._write = tun.write

    def write(self, packet: Packet) -> bool:
        return self._write(packet.head, packet.body, packet.gso_size, packet.csum_start, packet.csum_offset)


class Driver:
    """Reads the device when it is readable, turns the engine, and wakes it at its deadlines."""

    def __init__(self, engine: Engine, tun: Tun, on_failure: Callable[[TunError], None]) -> None:
        """``on_failure`` is told when the device is gone; the driver has stopped then."""
        self._engine = engine
        self._tun = tun
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0
        self._waiting_to_write = False

    def start(self) -> None:
        self._loop.add_reader(self._tun.fileno(), self._on_readable)
        self.kick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._tun.fileno() >= 0:
            self._loop.remove_reader(self._tun.fileno())
            self._loop.remove_writer(self._tun.fileno())

    def kick(self) -> None:
        """Something was done to the host from outside a turn."""
        self._guard(self._turn)

    def _on_readable(self) -> None:
        self._guard(self._read)

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except TunError as error:
            self.stop()
            self._on_failure(error)

    def _read(self) -> None:
        engine, read, monotonic = self._engine, self._tun.read, time.monotonic_ns
        deadline: int | None = None
        for _ in range(BATCHES):
            frames = read(BATCH)
            if not frames:
                break
            deadline = engine.turn(monotonic(), [Packet(head, (), *rest) for head, *rest in frames])
        self._arm(deadline)

    def _turn(self) -> None:
        self._timer = None
        self._arm(self._engine.turn(time.monotonic_ns()))

    def _arm(self, deadline: int | None) -> None:
        """Call back at ``deadline``; a timer that is set for earlier does as well, it will arm the next."""
        if self._engine.is_stuck != self._waiting_to_write:
            self._waiting_to_write = self._engine.is_stuck
            if self._waiting_to_write:
                self._loop.add_writer(self._tun.fileno(), self.kick)
            else:
                self._loop.remove_writer(self._tun.fileno())
        if deadline is None or (self._timer is not None and self._armed <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = deadline
        self._timer = self._loop.call_at(deadline / 1e9, self.kick)
