"""The world that a script runs in: a host, its wire, and a clock that goes on only when nothing is left to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from netemu.packetdrill.flow import Flow
from netemu.packetdrill.live import Live, live
from netemu.packetdrill.outcome import Failure
from netemu.packetdrill.settings import Settings
from netemu.reasons import Match, Reason
from netemu.stack.host import Host
from netemu.stack.sockets import Socket
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet

EPOCH = 1_000_000_000_000
"""Where the host's clock stands when a script begins, ns: nothing in a host is new at 0."""
MOST_STEPS = 100_000
"""Turns in one wait; more of them would be a timer that never comes to rest."""


class Machine:
    """``now`` is virtual time, ns; a script's 0 is ``begin``."""

    def __init__(self, settings: Settings, seed: int = 1) -> None:
        ours, _ = settings.addresses
        self.settings = settings
        prefix = 64 if settings.is_ipv6 else 16
        self.host = Host([f"{ours}/{prefix}"], mtu=settings.mtu, seed=seed)
        self.now = self.begin = EPOCH
        self.flow: Flow | None = None
        """The one under test: inbound packets are of it, outbound ones of others are nobody's business."""
        self.sent: deque[Live] = deque()
        """What left the host, and no line has spoken of yet."""
        self.trace: list[tuple[int, bytes, bool, str]] = []
        """Every packet: (when, bytes, inbound?, the host's reason)."""
        self.last_reason = ""
        """What the host made of the last packet that it got."""
        self.watch: Callable[[Live], None] | None = None
        """Is shown each packet that leaves."""
        self.changed: Callable[[], None] | None = None
        """Is called after the host has done something: what waited may go on."""
        self.due: Callable[[], int] = lambda: NEVER
        """When those who wait want to be asked again at the latest."""
        self._ident = 0

    @property
    def time(self) -> int:
        """In the script's terms, ns."""
        return self.now - self.begin

    # -- packets ------------------------------------------------------------------------------------------------------------

    def ident(self) -> int:
        self._ident = (self._ident + 1) & 0xFFFF
        return self._ident

    def inject(self, packet: Packet) -> Reason:
        reason = self.host.receive(packet, self.now)
        self.last_reason = f"{reason.name}: {reason.value}"
        self.trace.append((self.now, bytes(packet), True, reason.name))
        self.pump()
        return reason

    def pump(self) -> None:
        """Take what the host has to send now, and let go on what waited for that."""
        host = self.host
        for _ in range(MOST_STEPS):
            while (packet := host.transmit(self.now)) is not None:
                self._take(packet)
            host.dispatch()
            if self.changed is not None:
                self.changed()
            if (packet := host.transmit(self.now)) is None:
                return
            self._take(packet)
        raise Failure(None, "the host never comes to rest")

    def _take(self, packet: Packet) -> None:
        data, host = bytes(packet), self.host
        why = host.sent_for.name if host.sent_for is not None else ""
        found = live(self.now, data, why)
        self.trace.append((self.now, data, False, why))
        if isinstance(found, str):
            raise Failure(None, found)
        if found.ip.protocol in (2, 58) and host.sent_for is Match.MEMBERSHIP_CHANGE:
            return
        self.sent.append(found)
        if self.watch is not None:
            self.watch(found)

    def next_sent(self, until: int) -> Live | None:
        """The next packet of the flow under test, waiting for it up to ``until``, ns."""
        while True:
            while self.sent:
                packet = self.sent.popleft()
                if self.flow is None or packet.belongs_to(self.flow):
                    return packet
            if not self.step(until):
                return None

    # -- time ---------------------------------------------------------------------------------------------------------------

    def step(self, until: int) -> bool:
        """Go to the next timer, if there is one not later than ``until``, and do what is due."""
        due = min(self.host.deadline(), self.due())
        if due > until:
            return False
        self.now = max(self.now, due)
        if self.host.deadline() <= self.now:
            self.host.on_timer(self.now)
        self.pump()
        return True

    def go_to(self, when: int) -> None:
        """Let time pass up to ``when``, ns. A timer that is due exactly then comes after what the script does then."""
        for _ in range(MOST_STEPS):
            if when <= self.now or not self.step(when - 1):
                break
        else:
            raise Failure(None, "the host never comes to rest")
        self.now = max(self.now, when)

    # -- which flow ---------------------------------------------------------------------------------------------------------

    def connection_owner(self) -> Socket | None:
        """The socket that the host has for the flow under test."""
        if self.flow is None:
            return None
        owner = getattr(self.host.table.connections.get(self.flow.key), "owner", None)
        return owner if isinstance(owner, Socket) else None
