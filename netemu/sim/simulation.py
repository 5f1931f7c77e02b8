"""Virtual time: engines on paths, run by the next thing that is due. No TUN, no root, no waiting."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from random import Random

from netemu.runtime.engine import Engine
from netemu.stack.host import Host
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet

Path = Callable[[Packet, int], Iterable[tuple[int, Packet]]]
"""What becomes of a packet sent at ``now`` (ns): (arrival time, packet), none, one or more of them."""

EPOCH_NS = 1_700_000_000 * 1_000_000_000
"""Wall clock time at virtual time 0."""


class Wire:
    """An engine's device: its packets travel a path to another engine."""

    def __init__(self, simulation: Simulation, path: Path, far: Engine | None) -> None:
        self._simulation = simulation
        self.path = path
        self.far = far

    def write(self, packet: Packet) -> bool:
        far = self.far
        if far is not None:
            for when, arriving in self.path(packet, self._simulation.now):
                self._simulation.at(when, far, arriving)
        return True


class Simulation:
    """Hosts, the paths between them, and a clock that jumps to the next event."""

    def __init__(self, seed: int = 0) -> None:
        self.random = Random(seed)
        self.now = 0
        self._events: list[tuple[int, int, Engine, Packet | None]] = []
        self._order = 0
        self._due: dict[Engine, int] = {}

    def host(
        self,
        *addresses: str,
        mtu: int = 1500,
        offload: bool = False,
        sysctl: dict[str, int] | None = None,
        flavour: str = "linux",
    ) -> Engine:
        """A host on an engine of its own, connected to nothing yet."""
        host = Host(
            addresses, mtu=mtu, seed=self.random.getrandbits(64), offload=offload, sysctl=sysctl, flavour=flavour
        )
        return Engine(host, Wire(self, delay_of(0), None), EPOCH_NS)

    def link(self, a: Engine, b: Engine, there: Path, back: Path | None = None) -> None:
        """Connect two hosts; ``back`` is the path from b to a, the same as ``there`` by default."""
        a.device, b.device = Wire(self, there, b), Wire(self, back or there, a)

    def at(self, when: int, engine: Engine, packet: Packet | None = None) -> None:
        """Turn ``engine`` at ``when``, with what arrives then."""
        self._order += 1
        heapq.heappush(self._events, (when, self._order, engine, packet))

    def kick(self, engine: Engine) -> None:
        """Something was done to the engine's host from outside a turn."""
        self._turn(engine, ())

    def step(self) -> bool:
        """Go to the next event; False when there is none."""
        if not self._events:
            return False
        when, _, engine, packet = heapq.heappop(self._events)
        if packet is None and self._due.get(engine) != when:
            return True  # a deadline that was replaced by an earlier one
        self.now = max(self.now, when)
        arrived = [packet] if packet is not None else []
        # whatever arrives at the very same time is one batch, as a device would hand it over
        while self._events:
            when, _, other, following = self._events[0]
            if when > self.now or other is not engine or following is None:
                break
            heapq.heappop(self._events)
            arrived.append(following)
        self._turn(engine, arrived)
        return True

    def run(self, until: Callable[[], bool] | None = None, limit_ns: int = 3600 * 1_000_000_000) -> bool:
        """Go on until ``until()`` holds, nothing is left to do or ``limit_ns`` have passed; ``until()``'s last answer."""
        end = self.now + limit_ns
        while not (until and until()):
            if not self._events or self._events[0][0] > end:
                self.now = max(self.now, min(end, self._events[0][0] if self._events else end))
                return bool(until and until())
            self.step()
        return True

    def _turn(self, engine: Engine, packets: Iterable[Packet]) -> None:
        if self._due.get(engine, self.now + 1) <= self.now:
            del self._due[engine]
        deadline = engine.turn(self.now, packets)
        known = self._due.get(engine)
        if deadline < NEVER and (known is None or deadline < known):
            self._due[engine] = deadline
            self.at(deadline, engine)


def delay_of(delay_ns: int) -> Path:
    """A path that only takes time."""
    return lambda packet, now: ((now + delay_ns, packet),)
