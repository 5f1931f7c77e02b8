"""NAPT for IPv4 (RFC 3022): TCP, UDP, ICMP echo by its identifier, and the ICMP errors about them (RFC 4787, 5382, 5508).

A mapping binds an inside endpoint to an outside one, for everybody, for one remote address or for one remote endpoint. It
lives as long as a session that an inside host keeps alive (conntrack.py), and the sessions are what filtering asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from netemu.reasons import RouterDrop
from netemu.router.conntrack import Conntrack, Session
from netemu.router.nat_config import ADDRESS, ADDRESS_AND_PORT, ENDPOINT, NatConfig
from netemu.router.transit import Endpoint, Flow, Transit
from netemu.wire.ip import ICMP, TCP, UDP
from netemu.wire.tcp import ACK, RST, SYN

TRANSLATED = (TCP, UDP, ICMP)
WELL_KNOWN = (1, 1023)
_NOBODY = b""


class Inside(NamedTuple):
    """What a mapping is found by from inside; ``remote`` is as much of the other end as it is for."""

    protocol: int
    endpoint: Endpoint
    address: bytes
    """The outside address."""
    remote: tuple[bytes, int] = (_NOBODY, 0)


class Outside(NamedTuple):
    """What a mapping is found by from outside."""

    protocol: int
    endpoint: Endpoint


class Mapping:
    """See the module. ``remotes`` counts its sessions by the remote address; one that ``is_forward`` was set up and stays."""

    __slots__ = ("inside", "is_forward", "outside", "remotes", "sessions")

    def __init__(self, inside: Inside, outside: Outside, is_forward: bool = False) -> None:
        self.inside, self.outside, self.is_forward = inside, outside, is_forward
        self.sessions = 0
        self.remotes: Counter[bytes] = Counter()


class Nat:
    """The translations of one router."""

    def __init__(self, config: NatConfig, conntrack: Conntrack, random: Random) -> None:
        self.config = config
        self._conntrack = conntrack
        self._random = random
        self._from_inside: dict[Inside, Mapping] = {}
        self._from_outside: dict[Outside, Mapping] = {}
        conntrack.on_end = self._session_ended

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._from_outside.values())

    def own(self, address: bytes) -> None:
        """An outside address of the router: the forwards begin there."""
        for forward in self.config.forward:
            outside = Outside(forward.protocol, Endpoint(address, forward.port))
            self._add(Mapping(Inside(forward.protocol, forward.inside, address), outside, is_forward=True))

    # -- from outside -----------------------------------------------------------------------------------------------------

    def enter(self, transit: Transit, now: int) -> RouterDrop | None:
        """A packet to an outside address: to the inside host that it stands for, if any. Why it must not go there, or None."""
        if transit.is_error:
            return self._error_enters(transit, now)
        flow = transit.flow
        if not transit.has_ports or (flow.protocol == ICMP and transit.can_open):
            return None  # an echo request from outside is for the router
        mapping = self._from_outside.get(Outside(flow.protocol, Endpoint(flow.dst, flow.dport)))
        if mapping is None or not self._may_enter(mapping, flow, now):
            if transit.tcp_flags & (SYN | ACK | RST) == SYN:
                return RouterDrop.NAT_UNSOLICITED
            return RouterDrop.NAT_FILTERED if mapping is not None else None
        transit.translate(dst=mapping.inside.endpoint)
        transit.entered = mapping
        return None

    def _may_enter(self, mapping: Mapping, flow: Flow, now: int) -> bool:
        """RFC 4787 section 5, RFC 5508 section 3.3."""
        filtering = self.config.filtering
        if mapping.is_forward or filtering == ENDPOINT:
            return True
        if filtering == ADDRESS:
            return mapping.remotes[flow.src] > 0
        return self._session(mapping, flow, now) is not None

    def _session(self, mapping: Mapping, flow: Flow, now: int) -> Session | None:
        """The inside host's session that a packet from outside is of."""
        return self._conntrack.find(Flow(flow.protocol, flow.src, flow.sport, *mapping.inside.endpoint), now)

    def knows(self, transit: Transit) -> bool:
        """Is an outside endpoint that stands for an inside host what the packet, or what the error quotes, is about?"""
        flow = transit.flow
        if transit.is_error:
            quoted = transit.quoted
            return (
                quoted is not None
                and Outside(quoted.protocol, Endpoint(quoted.src, quoted.sport)) in self._from_outside
            )
        if not transit.has_ports or (flow.protocol == ICMP and transit.can_open):
            return False
        return Outside(flow.protocol, Endpoint(flow.dst, flow.dport)) in self._from_outside

    def is_expected(self, transit: Transit, now: int) -> bool:
        """Did an inside host send a SYN to meet this one from outside? (RFC 5382 REQ-4)"""
        mapping = self._from_outside.get(Outside(transit.flow.protocol, Endpoint(transit.flow.dst, transit.flow.dport)))
        return mapping is not None and self._session(mapping, transit.flow, now) is not None

    def _error_enters(self, transit: Transit, now: int) -> RouterDrop | None:
        """An ICMP error about a packet that went out (RFC 5508 REQ-4)."""
        quoted = transit.quoted
        if quoted is None:
            return None
        mapping = self._from_outside.get(Outside(quoted.protocol, Endpoint(quoted.src, quoted.sport)))
        if mapping is None:
            return None
        if self._session(mapping, quoted.reversed, now) is None:
            return RouterDrop.NAT_FILTERED
        inside = mapping.inside.endpoint
        transit.translate_error(None, inside.address, inside, None)
        transit.entered = mapping
        return None

    # -- to outside -------------------------------------------------------------------------------------------------------

    def leave(self, transit: Transit, session: Session | None, address: bytes) -> RouterDrop | Mapping:
        """The mapping by which a packet from inside leaves from outside ``address``, or why it cannot."""
        flow = transit.flow
        if transit.is_error:
            known = self._find(transit.quoted.reversed, address) if transit.quoted is not None else None
            return known or RouterDrop.NAT_NO_MAPPING
        if flow.protocol not in TRANSLATED or not transit.has_ports:
            return RouterDrop.NAT_PROTOCOL
        if session is not None and session.mapping is not None:
            bound = session.mapping
            if bound.outside.endpoint.address == address and self._from_outside.get(bound.outside) is bound:
                return bound
        if session is None and not transit.can_open:
            return RouterDrop.NAT_NO_MAPPING
        return self._find(flow, address) or self._new(flow, address)

    def translate(self, transit: Transit, mapping: Mapping) -> None:
        """Let it leave by a mapping that ``leave`` gave."""
        outside = mapping.outside.endpoint
        if transit.is_error:
            transit.translate_error(outside.address, None, None, outside)
        else:
            transit.translate(src=outside)

    def bind(self, session: Session, mapping: Mapping, holds: bool) -> None:
        """A packet of the session passes by the mapping. ``holds``: it leaves, so the mapping lives at least as long as it.

        A session that only enters shows its answers the way back, and keeps nothing open (RFC 4787 REQ-6).
        """
        if session.mapping is mapping and session.holds >= holds:
            return
        self._session_ended(session)
        session.mapping, session.holds = mapping, holds
        if not holds:
            return
        mapping.sessions += 1
        mapping.remotes[self._remote(session, mapping).address] += 1

    def _remote(self, session: Session, mapping: Mapping) -> Endpoint:
        flow = session.flow
        is_ours = (flow.src, flow.sport) == mapping.inside.endpoint
        return Endpoint(flow.dst, flow.dport) if is_ours else Endpoint(flow.src, flow.sport)

    def _session_ended(self, session: Session) -> None:
        mapping, session.mapping = session.mapping, None
        if mapping is None or not session.holds:
            return
        session.holds = False
        mapping.sessions -= 1
        remote = self._remote(session, mapping).address
        mapping.remotes[remote] -= 1
        if not mapping.remotes[remote]:
            del mapping.remotes[remote]
        if not mapping.sessions and not mapping.is_forward:
            del self._from_inside[mapping.inside], self._from_outside[mapping.outside]

    # -- mappings ---------------------------------------------------------------------------------------------------------

    def _key(self, flow: Flow, address: bytes) -> Inside:
        endpoint = Endpoint(flow.src, flow.sport)
        kind = self.config.mapping
        if kind == ENDPOINT:
            return Inside(flow.protocol, endpoint, address)
        return Inside(flow.protocol, endpoint, address, (flow.dst, flow.dport if kind == ADDRESS_AND_PORT else 0))

    def _find(self, flow: Flow, address: bytes) -> Mapping | None:
        known = self._from_inside.get(self._key(flow, address))
        if known is None and self.config.forward:  # for everybody, whatever the mapping behaviour
            known = self._from_inside.get(Inside(flow.protocol, Endpoint(flow.src, flow.sport), address))
        return known

    def _new(self, flow: Flow, address: bytes) -> RouterDrop | Mapping:
        port = self._choose(flow.protocol, address, flow.sport)
        if port is None:
            return RouterDrop.NAT_EXHAUSTED
        mapping = Mapping(self._key(flow, address), Outside(flow.protocol, Endpoint(address, port)))
        self._add(mapping)
        return mapping

    def _add(self, mapping: Mapping) -> None:
        self._from_inside.setdefault(mapping.inside, mapping)
        self._from_outside[mapping.outside] = mapping

    def _choose(self, protocol: int, address: bytes, wanted: int) -> int | None:
        """A free outside port or identifier: the inside's own if it can be (RFC 4787 4.2, REQ-3), else one at random."""
        config = self.config
        low, high = (0, 65535) if protocol == ICMP else config.port_range
        if protocol != ICMP and 0 < wanted <= WELL_KNOWN[1] and low <= WELL_KNOWN[1] + 1:
            low, high = WELL_KNOWN  # REQ-3 b
        elif protocol != ICMP and wanted > WELL_KNOWN[1] and high > WELL_KNOWN[1]:
            low = max(low, WELL_KNOWN[1] + 1)
        taken = self._from_outside
        is_free = Outside(protocol, Endpoint(address, wanted)) not in taken
        if config.port_preservation and low <= wanted <= high and is_free:
            return wanted
        step = 2 if config.port_parity else 1
        candidates = range(low + ((wanted - low) % step), high + 1, step)
        first = self._random.randrange(len(candidates)) if candidates else 0
        for at in range(len(candidates)):
            port = candidates[(first + at) % len(candidates)]
            if Outside(protocol, Endpoint(address, port)) not in taken:
                return port
        return None
