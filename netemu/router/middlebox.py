"""What a router may do beyond forwarding (RFC 3234): firewall and NAT, over one table of connections.

``enter`` comes before the route is looked up, ``leave`` when it is known and the packet may go that way.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING

from netemu.reasons import Drop, Match, Reason, RouterDrop
from netemu.router.conntrack import Conntrack, Session
from netemu.router.firewall import SELF, Firewall
from netemu.router.local import Local
from netemu.router.nat import Nat
from netemu.router.nat_config import NatConfig
from netemu.router.transit import Transit, read
from netemu.wire import icmp
from netemu.wire.fragments import Fragments
from netemu.wire.ip import TCP, IpPacket
from netemu.wire.packet import Packet

if TYPE_CHECKING:
    from netemu.router.router import Port

MAX_HELD = 1024
"""SYNs from outside that wait for their answer (RFC 5382 REQ-4)."""


class Middlebox:
    """See the module. ``firewall`` and ``nat`` are None where there is none."""

    def __init__(self, local: Local, fragments: Fragments) -> None:
        self.conntrack = Conntrack()
        self.firewall: Firewall | None = None
        self.nat: Nat | None = None
        self._local = local
        self._fragments = fragments
        self._outside: frozenset[bytes] = frozenset()
        """Addresses by which NAT's inside hosts are known outside."""
        self._held: deque[tuple[int, Transit]] = deque()

    def use_nat(self, config: NatConfig, outside: list[bytes], random: Random) -> None:
        """Translate to addresses ``outside``. What was tracked before is forgotten."""
        self.conntrack = Conntrack(config.timeouts)
        self.nat = Nat(config, self.conntrack, random)
        self._outside = frozenset(outside)
        for address in outside:
            self.nat.own(address)

    def whole(self, transit: Transit, now: int) -> Reason | None:
        """Put fragments together: None when ``transit`` is the whole packet now."""
        joined = self._fragments.add(transit.ip, transit.data, now)
        if joined is None or isinstance(joined, Drop):
            return joined or Match.FRAGMENT
        data = memoryview(bytearray(joined[1]))
        ip = read(data)  # as who passes it on reads it
        assert isinstance(ip, IpPacket)
        transit.arrived = Packet(joined[1])
        transit.ident = transit.ip.ident if ip.version == 6 else None
        transit.take(ip, data)
        return None

    # -- before the route -------------------------------------------------------------------------------------------------

    def enter(self, transit: Transit, port: Port, now: int) -> Reason | None:
        """NAT, for what is sent to an outside address: from outside, or from inside to be turned round (RFC 4787 REQ-9)."""
        nat = self.nat
        if nat is None or transit.ip.dst not in self._outside:
            return None
        if port.name in nat.config.inside:
            if not nat.knows(transit):
                return None
            if not nat.config.hairpinning:
                return RouterDrop.NAT_HAIRPIN
            refused = self._to_outside(transit, self.conntrack.find(transit.flow, now), transit.ip.dst, now)
            if refused is not None:
                return refused
            transit.is_hairpinned = True
        refused = nat.enter(transit, now)
        delay = nat.config.unsolicited_syn
        if refused is RouterDrop.NAT_UNSOLICITED and delay is not None and len(self._held) < MAX_HELD:
            self._held.append((now + delay, transit))
        return refused

    def to_router(self, transit: Transit, port: Port, now: int) -> Reason | None:
        """The firewall, for what is sent to the router itself."""
        return self._judge(transit, port, SELF, self.conntrack.find(transit.flow, now), now)

    # -- after the route --------------------------------------------------------------------------------------------------

    def leave(self, transit: Transit, port: Port, out: Port, now: int) -> Reason | None:
        """Why a packet that came in by ``port`` must not go out by ``out``; None when it may, translated where it has to be."""
        nat = self.nat
        is_leaving = False
        if nat is not None and transit.ip.version == 4:
            from_inside, to_inside = port.name in nat.config.inside, out.name in nat.config.inside
            is_leaving = from_inside and not to_inside
            if to_inside and not from_inside and transit.entered is None:
                return RouterDrop.NAT_PRIVATE
        session = self.conntrack.find(transit.flow, now)
        refused = self._judge(transit, port, out.name, session, now)
        if refused is not None:
            return refused
        if is_leaving:
            address = out.first_address(4)
            return self._to_outside(transit, session, address, now) if address is not None else RouterDrop.NO_ADDRESS
        if session is None and not transit.can_open:
            return None
        session = self._track(transit, session, now)
        if session is None:
            return RouterDrop.TABLE_FULL
        if nat is not None and transit.entered is not None and session.mapping is None:
            nat.bind(session, transit.entered, holds=False)
        return None

    def _judge(
        self, transit: Transit, port: Port, out_name: str, session: Session | None, now: int
    ) -> RouterDrop | None:
        """The firewall's word."""
        if self.firewall is None:
            return None
        state = self.conntrack.state_of(transit, session, now)
        action = self.firewall.judge(transit, port.name, out_name, state)
        if action == "allow":
            return None
        if action == "deny":
            return RouterDrop.DENIED
        if transit.flow.protocol == TCP and transit.has_ports:
            self._local.reset(transit.as_arrived())
        else:
            self._local.unreachable(transit, icmp.PROHIBITED, icmp.V6_PROHIBITED, now)
        return RouterDrop.REJECTED

    def _track(self, transit: Transit, session: Session | None, now: int) -> Session | None:
        """The session of a packet that passes; None when it is new and there is no room."""
        if session is None:
            if self.conntrack.is_full:
                return None
            session = self.conntrack.open(transit.flow)
        refreshes = True
        if self.nat is not None and transit.entered is not None and transit.flow.protocol != TCP:
            refreshes = self.nat.config.inbound_refresh or transit.is_hairpinned
        self.conntrack.use(session, transit, now, refreshes)
        return session

    def _to_outside(self, transit: Transit, session: Session | None, address: bytes, now: int) -> RouterDrop | None:
        """NAT, for a packet from inside that is to come from outside ``address``."""
        nat = self.nat
        assert nat is not None
        if session is None and not transit.is_error and self.conntrack.is_full:
            return RouterDrop.TABLE_FULL
        mapping = nat.leave(transit, session, address)
        if isinstance(mapping, RouterDrop):
            return mapping
        if not transit.is_error:
            session = self._track(transit, session, now)
            assert session is not None  # there is room
            nat.bind(session, mapping, holds=True)
        nat.translate(transit, mapping)
        return None

    # -- time -------------------------------------------------------------------------------------------------------------

    def deadline(self) -> int:
        """When ``on_timer`` is due, ns; NEVER."""
        due = self.conntrack.deadline()
        return min(due, self._held[0][0]) if self._held else due

    def on_timer(self, now: int) -> None:
        """Forget what is idle, and answer SYNs that nobody asked for."""
        self.conntrack.expire(now)
        while self._held and self._held[0][0] <= now:
            _, transit = self._held.popleft()
            if self.nat is not None and not self.nat.is_expected(transit, now):
                self._local.error(transit, icmp.UNREACHABLE, icmp.PORT, now=now)
