"""Connection tracking: which flows belong together, who began, and when they are forgotten. Firewall and NAT share it.

Flows are those of the inside: what NAT translates is tracked as the inside host sees it. Timeouts are those of RFC 4787 (UDP),
RFC 5382 (TCP) and RFC 5508 (ICMP); other protocols have Linux' nf_conntrack_generic_timeout.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netemu.router.transit import Flow, Transit
from netemu.tcp.config import NEVER
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP
from netemu.wire.tcp import ACK, FIN, RST, SYN

if TYPE_CHECKING:
    from netemu.router.nat import Mapping

SECOND = 1_000_000_000
MAX_SESSIONS = 65536  # as Linux' nf_conntrack_max on a machine of 4 GiB
STATES = ("new", "established", "related", "invalid")
_ORIGINAL, _REPLY, _BOTH = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Timeouts:
    """ns without a packet until a session is forgotten."""

    udp: int = 300 * SECOND  # RFC 4787 REQ-5: 5 minutes are recommended, 2 are the least
    tcp_established: int = 7440 * SECOND  # RFC 5382 REQ-5: not less than 2 h 4 min
    tcp_transitory: int = 240 * SECOND  # RFC 5382 REQ-5: not less than 4 min
    icmp: int = 60 * SECOND  # RFC 5508 REQ-2
    other: int = 600 * SECOND


class Session:
    """A connection, or what looks like one. Its ``flow`` is that of the first packet."""

    __slots__ = ("acked", "deadline", "finished", "flow", "holds", "mapping", "queued", "reset", "seen_reply", "synced")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.deadline = self.queued = NEVER
        """When it is forgotten, and where its entry in the heap of deadlines stands."""
        self.seen_reply = False
        self.mapping: Mapping | None = None
        self.holds = False
        """NAT's mapping, and whether it lives as long as this session."""
        # Of TCP, bits _ORIGINAL and _REPLY for who sent it:
        self.synced = self.acked = self.finished = 0
        self.reset = False

    @property
    def is_established(self) -> bool:
        """Of TCP: both have acknowledged without a SYN, and neither reset nor both finished (RFC 5382 section 5)."""
        return self.acked == _BOTH and self.finished != _BOTH and not self.reset

    @property
    def state(self) -> str:
        """In the words of `conntrack -L`; '' where the protocol has none."""
        if self.flow.protocol != TCP:
            return "" if self.seen_reply else "UNREPLIED"
        if self.reset:
            return "CLOSE"
        if self.finished:
            return "TIME_WAIT" if self.finished == _BOTH else "FIN_WAIT"
        if self.is_established:
            return "ESTABLISHED"
        return "SYN_RECV" if self.synced == _BOTH or self.seen_reply else "SYN_SENT"

    def follow(self, flags: int, is_reply: bool) -> None:
        """A TCP segment of it."""
        who = _REPLY if is_reply else _ORIGINAL
        if flags & RST:
            self.reset = True
            return
        if flags & SYN:
            if not flags & ACK and (self.reset or self.finished == _BOTH):  # the ports are used again
                self.synced = self.acked = self.finished = 0
                self.reset, self.seen_reply = False, is_reply
            self.synced |= who
        elif flags & ACK:
            self.acked |= who
        if flags & FIN:
            self.finished |= who


class Conntrack:
    """The table of sessions."""

    def __init__(self, timeouts: Timeouts | None = None, limit: int = MAX_SESSIONS) -> None:
        self.timeouts = timeouts or Timeouts()
        self.limit = limit
        self.on_end: Callable[[Session], None] | None = None
        self._sessions: dict[Flow, Session] = {}
        """By the flow of either direction."""
        self._count = 0
        self._due: list[tuple[int, int, Session]] = []
        """A heap of (when, order, session); lazy: a session that was used since is looked at again."""
        self._order = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Session]:
        """In the order of their beginnings."""
        return (session for flow, session in self._sessions.items() if flow is session.flow)

    @property
    def is_full(self) -> bool:
        return self._count >= self.limit

    def find(self, flow: Flow, now: int) -> Session | None:
        """The session that a packet of ``flow`` belongs to."""
        session = self._sessions.get(flow)
        if session is not None and session.deadline <= now:
            self._end(session)
            return None
        return session

    def state_of(self, transit: Transit, session: Session | None, now: int) -> str:
        """One of STATES, as nf_conntrack has them."""
        if session is not None:
            return "established" if session.seen_reply or transit.flow != session.flow else "new"
        if transit.quoted is not None and self.find(transit.quoted, now) is not None:
            return "related"
        return "new" if transit.can_open else "invalid"

    def open(self, flow: Flow) -> Session:
        """A new session, which ``use`` has to follow; ask ``is_full`` before."""
        session = Session(flow)
        self._sessions[flow.reversed] = session
        self._sessions[flow] = session
        self._count += 1
        return session

    def use(self, session: Session, transit: Transit, now: int, refreshes: bool = True) -> None:
        """A packet of it passes. ``refreshes``: the time until it is forgotten begins anew."""
        is_reply = transit.flow != session.flow
        session.seen_reply |= is_reply
        was_established = session.is_established
        if session.flow.protocol == TCP:
            session.follow(transit.tcp_flags, is_reply)
        if not refreshes and session.deadline != NEVER and was_established == session.is_established:
            return
        session.deadline = now + self._lifetime(session)
        if session.deadline < session.queued:
            self._queue(session)

    def _queue(self, session: Session) -> None:
        self._order += 1
        session.queued = session.deadline
        heapq.heappush(self._due, (session.deadline, self._order, session))

    def _lifetime(self, session: Session) -> int:
        protocol, timeouts = session.flow.protocol, self.timeouts
        if protocol == TCP:
            return timeouts.tcp_established if session.is_established else timeouts.tcp_transitory
        if protocol == UDP:
            return timeouts.udp
        return timeouts.icmp if protocol in (ICMP, ICMPV6) else timeouts.other

    def deadline(self) -> int:
        """When the next session may have to be forgotten, ns; NEVER."""
        return self._due[0][0] if self._due else NEVER

    def expire(self, now: int) -> None:
        """Forget what was not used for too long."""
        while self._due and self._due[0][0] <= now:
            when, _, session = heapq.heappop(self._due)
            if when != session.queued or self._sessions.get(session.flow) is not session:
                continue  # it has a sooner entry, or it ended
            if session.deadline <= now:
                self._end(session)
            else:
                self._queue(session)

    def _end(self, session: Session) -> None:
        self._sessions.pop(session.flow, None)
        self._sessions.pop(session.flow.reversed, None)
        self._count -= 1
        if self.on_end is not None:
            self.on_end(session)
