"""What the routers of the link are told of the host's groups: IGMP and MLD, the host's side (RFC 3376, RFC 3810).

A change is told at once and again within a second; a query is answered after a random delay. While a router of an older
version asks, the host speaks that version (RFC 2236, 2710, 1112), in which one member's report spares the others theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from netemu.reasons import Drop, Match, Reason
from netemu.stack.multicast import ALL_HOSTS, NO_RECEPTION, Reception, reception_of
from netemu.tcp.config import NEVER, SECOND
from netemu.wire import icmp, igmp, ipv4, ipv6, mld
from netemu.wire.buffer import Buffer
from netemu.wire.igmp import ALLOW, BLOCK, IS_EX, IS_IN, TO_EX, TO_IN, Heard, Query, Record
from netemu.wire.ip import ICMPV6, IGMP, IpPacket, is_link_local, is_multicast
from netemu.wire.packet import Packet

if TYPE_CHECKING:
    from netemu.stack.host import Host

ROBUSTNESS, INTERVAL = 2, 125 * SECOND
"""RFC 3376 8.1 and 8.2, until a router says otherwise: how often a change is told, and how often routers ask."""
REPEAT_WITHIN, OLD_REPEAT_WITHIN = SECOND, 10 * SECOND
"""Unsolicited report interval (RFC 3376 8.11, RFC 3810 9.11), and that of the older versions (RFC 2236 8.10, RFC 2710 7.10)."""
CONTROL = 0xC0
"""TOS of IGMP: internetwork control (RFC 3376 4)."""
MOST_CHANGES = 1024
"""Groups of which a change waits to be told again; of more it is told once, and the next query finds out."""
MOST_SOURCES = 512
"""Of a group, that were asked for and wait for their answer; where there are more, it is about the whole group."""


class Answer(NamedTuple):
    """A report of one group that is to be sent."""

    due: int
    sources: frozenset[bytes]
    """Those that were asked for; none: the whole group."""
    why: Match


class Change:
    """What of a group's reception is still to be told, and how often (RFC 3376 5.1)."""

    __slots__ = ("modes", "sources")

    def __init__(self) -> None:
        self.modes = 0
        """Reports that are to say which mode it is in, with all its sources."""
        self.sources: dict[bytes, int] = {}
        """Those that were added or taken away, with the number of reports that are to say so."""

    def note(self, before: Reception, after: Reception, times: int) -> None:
        if before.excludes is after.excludes:
            self.sources.update(dict.fromkeys(before.sources ^ after.sources, times))
        else:
            self.modes, self.sources = times, {}

    def told(self, group: bytes, now: Reception) -> list[Record]:
        """The records of the next report, which is counted."""
        listed = self.sources
        self.sources = {source: times - 1 for source, times in listed.items() if times > 1}
        if self.modes:
            self.modes -= 1
            return [Record(TO_EX if now.excludes else TO_IN, group, tuple(sorted(now.sources)))]
        wanted = tuple(sorted(source for source in listed if now.takes(source)))
        unwanted = tuple(sorted(source for source in listed if not now.takes(source)))
        return [Record(kind, group, sources) for kind, sources in ((ALLOW, wanted), (BLOCK, unwanted)) if sources]


class Reporter:
    """One family's side, on the wire."""

    def __init__(self, host: Host, size: int) -> None:
        self._host, self._size = host, size
        self.groups: dict[bytes, Reception] = {}
        """Those that are reported."""
        self.version = 3
        """Spoken now, in IGMP's numbers."""
        self._older = {1: 0, 2: 0}
        """Version to the time until when a router counts as speaking it."""
        self.robustness, self.interval = ROBUSTNESS, INTERVAL
        self._forget()

    def _forget(self) -> None:
        self.changes: dict[bytes, Change] = {}
        self.repeat = NEVER
        """When ``changes`` are told again."""
        self.general = NEVER
        """When all groups are reported."""
        self.answers: dict[bytes, Answer] = {}
        self._timers: list[tuple[int, bytes]] = []
        """Of ``answers``, a heap; one that is not its group's any more is passed over."""
        self._reported: set[bytes] = set()
        """In an older version: the groups whose last report was ours, so that we have to say farewell (RFC 2236 6)."""

    def next_timer(self) -> int:
        """When on_timer is due; may be early."""
        return min(self.repeat, self.general, self._timers[0][0] if self._timers else NEVER)

    # -- changes ----------------------------------------------------------------------------------------------------------

    def changed(self, group: bytes, after: Reception, now: int) -> None:
        """Something happened to a socket's membership in ``group``."""
        before = self.groups.get(group, NO_RECEPTION)
        if before == after:
            return
        if after == NO_RECEPTION:
            del self.groups[group]
            self.answers.pop(group, None)
        else:
            self.groups[group] = after
        self._adapt(now)
        if self.version == 3:
            self._tell_change(group, before, after, now)
        elif before == NO_RECEPTION:
            self._report_older(group, Match.MEMBERSHIP_CHANGE)
            self._schedule(group, self._within(OLD_REPEAT_WITHIN, now), frozenset(), Match.MEMBERSHIP_CHANGE)
        elif after == NO_RECEPTION:
            self._leave_older(group)

    def _tell_change(self, group: bytes, before: Reception, after: Reception, now: int) -> None:
        """At once, together with what was still to be told of the group; the rest of the times later (RFC 3376 5.1)."""
        change = self.changes.pop(group, None) or Change()
        change.note(before, after, self.robustness)
        self._send(change.told(group, after), Match.MEMBERSHIP_CHANGE)
        if (change.modes or change.sources) and len(self.changes) < MOST_CHANGES:
            self.changes[group] = change
            if self.repeat == NEVER:
                self.repeat = self._within(REPEAT_WITHIN, now)

    def _tell_again(self, now: int) -> None:
        records: list[Record] = []
        for group, change in list(self.changes.items()):
            records += change.told(group, self.groups.get(group, NO_RECEPTION))
            if not (change.modes or change.sources):
                del self.changes[group]
        self._send(records, Match.MEMBERSHIP_CHANGE)
        self.repeat = self._within(REPEAT_WITHIN, now) if self.changes else NEVER

    # -- queries ----------------------------------------------------------------------------------------------------------

    def asked(self, query: Query, now: int) -> Reason:
        """Schedule what answers a router's ``query`` (RFC 3376 5.2, RFC 3810 6.2)."""
        self._learn(query, now)
        if not query.is_general and query.group not in self.groups:
            return Drop.NOT_JOINED
        why = Match.MEMBERSHIP_QUERY
        if self.version < 3:
            for group in self.groups if query.is_general else (query.group,):
                self._schedule(group, self._within(query.delay, now), frozenset(), why)
        elif self.groups:
            due = self._within(query.delay, now)
            if self.general <= due:
                pass  # all will be told before
            elif query.is_general:
                self.general = due
            else:
                self._schedule(query.group, due, query.sources, why)
        return why

    def _learn(self, query: Query, now: int) -> None:
        """Which version the routers speak, and their numbers (RFC 3376 4.1.6, 7.2.1, 8.12, RFC 3810 8.2.1)."""
        if query.version == 3:
            self.robustness = query.robustness or ROBUSTNESS
            self.interval = query.interval or INTERVAL
        elif query.version == 1 or query.is_general or self._size == 16:
            self._older[query.version] = now + self.robustness * self.interval + query.delay
        self._adapt(now)

    def _adapt(self, now: int) -> None:
        """Speak the oldest version that is heard; whatever was to be said in another is not said (RFC 3376 7.2.1)."""
        version = next((old for old, until in self._older.items() if until > now), 3)
        if version != self.version:
            self.version = version
            self._forget()

    def _within(self, ns: int, now: int) -> int:
        return now + self._host.random.randrange(ns + 1)

    def _schedule(self, group: bytes, due: int, sources: frozenset[bytes], why: Match) -> None:
        """One answer of a group at a time, to all who asked (RFC 3376 5.2, rules 3 to 5; RFC 2236 3)."""
        pending = self.answers.get(group)
        if pending is not None:
            sources = pending.sources | sources if pending.sources and sources else frozenset()
        if len(sources) > MOST_SOURCES:
            sources = frozenset()
        if pending is None or due < pending.due:
            heappush(self._timers, (due, group))
        else:
            due = pending.due
        self.answers[group] = Answer(due, sources, why)
        if len(self._timers) > 2 * len(self.answers) + 64:
            self._timers = [(answer.due, group) for group, answer in self.answers.items()]
            heapify(self._timers)

    def heard(self, group: bytes) -> Reason:
        """Another member has reported the group: once is enough, in the older versions (RFC 2236 3, RFC 2710 4)."""
        if self.version == 3 or self.answers.pop(group, None) is None:
            return Drop.NEIGHBOUR_CHATTER
        self._reported.discard(group)
        return Match.MEMBERSHIP_REPORT

    # -- time -------------------------------------------------------------------------------------------------------------

    def on_timer(self, now: int) -> None:
        """Send what is due."""
        self._adapt(now)
        if self.repeat <= now:
            self._tell_again(now)
        if self.general <= now:
            self.general = NEVER
            self._send((_current(*entry) for entry in self.groups.items()), Match.MEMBERSHIP_QUERY)
        while self._timers and self._timers[0][0] <= now:
            due, group = heappop(self._timers)
            answer = self.answers.get(group)
            if answer is not None and answer.due == due:
                del self.answers[group]
                self._answer(group, answer)

    def _answer(self, group: bytes, answer: Answer) -> None:
        reception = self.groups[group]
        if self.version < 3:
            self._report_older(group, answer.why)
        elif not answer.sources:
            self._send((_current(group, reception),), answer.why)
        else:
            wanted = tuple(sorted(source for source in answer.sources if reception.takes(source)))
            if wanted:
                self._send((Record(IS_IN, group, wanted),), answer.why)

    # -- out --------------------------------------------------------------------------------------------------------------

    def _send(self, records: Iterable[Record], why: Match) -> None:
        """Reports of version 3."""
        if self._size == 4:
            for batch in igmp.batches(records, self._host.mtu - ipv4.SIZE - len(ipv4.ROUTER_ALERT) - igmp.SIZE):
                self._send_message(igmp.V3_ROUTERS, igmp.emit_report(batch), why)
            return
        for batch in igmp.batches(records, self._host.mtu - ipv6.SIZE - 8 - icmp.SIZE):
            self._send_message(mld.V2_ROUTERS, mld.emit_report(self._source(), mld.V2_ROUTERS, batch), why)

    def _report_older(self, group: bytes, why: Match) -> None:
        self._reported.add(group)
        if self._size == 16:
            self._send_message(group, mld.emit(self._source(), group, mld.V1_REPORT, group), why)
        else:
            self._send_message(group, igmp.emit(igmp.V1_REPORT if self.version == 1 else igmp.V2_REPORT, group), why)

    def _leave_older(self, group: bytes) -> None:
        """Say farewell, which version 1 does not know, if it was we who reported last."""
        if group not in self._reported:
            return
        self._reported.remove(group)
        if self._size == 16:
            farewell = mld.emit(self._source(), mld.ALL_ROUTERS, mld.DONE, group)
            self._send_message(mld.ALL_ROUTERS, farewell, Match.MEMBERSHIP_CHANGE)
        elif self.version == 2:
            self._send_message(igmp.ALL_ROUTERS, igmp.emit(igmp.LEAVE, group), Match.MEMBERSHIP_CHANGE)

    def _source(self) -> bytes:
        """An address of the host, link-local in IPv6; none where it has none (RFC 3376 4.2.13, RFC 3810 5.2.13, RFC 3590)."""
        usable = (a for a in self._host.addresses if len(a) == self._size and (self._size == 4 or is_link_local(a)))
        return next(usable, bytes(self._size))

    def _send_message(self, dst: bytes, message: bytes, why: Match) -> None:
        """To the link alone, and with the option that has routers look at it (RFC 3376 4, RFC 3810 5)."""
        src, size = self._source(), len(message)
        if self._size == 4:
            head = ipv4.header_with_options(src, dst, IGMP, size, ipv4.ROUTER_ALERT, ttl=1, tos=CONTROL)
        else:
            extension = ipv6.hop_by_hop(ICMPV6, ipv6.ROUTER_ALERT)
            head = ipv6.header(src, dst, ipv6.HOP_BY_HOP, size + len(extension), ttl=1) + extension
        self._host.queue(Packet(head + message), False, why)
        if why is Match.MEMBERSHIP_CHANGE:
            self._host.counters[why] += 1


class Reporting:
    """Both families of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.reporters = {size: Reporter(host, size) for size in (4, 16)}
        self.due = NEVER
        """When on_timer is due, ns; may be early."""

    def changed(self, group: bytes, device: str) -> None:
        """A socket's membership of ``group`` on ``device`` is not what it was."""
        if device != self._host.device or group in ALL_HOSTS or (len(group) == 16 and group[1] & 15 <= 1):
            return  # never told: nobody else could send to it, or everybody is in it (RFC 3376 5, RFC 3810 6)
        reception = reception_of(self._host.udp.members.at.get((group, device), ()))
        self.reporters[len(group)].changed(group, reception, self._host.now)
        self._set_due()

    def receive(self, ip: IpPacket, data: Buffer, checked: bool) -> Reason:
        """IGMP, or ICMPv6 to a group or about neighbours."""
        if ip.is_fragment or (ip.version == 6 and bytes(data[ip.start : ip.end][:1]) not in _MLD):
            return Drop.NEIGHBOUR_CHATTER
        if ip.version == 4:
            message = igmp.parse(data, ip)
        else:
            parsed = icmp.parse(data, ip, checked)
            message = parsed if isinstance(parsed, Drop) else mld.parse(parsed)
        if isinstance(message, Drop):
            return message
        reporter = self.reporters[len(ip.dst)]
        if isinstance(message, Heard):
            forged = ip.dst != message.group or not self._is_of_this_link(ip)
            return Drop.NEIGHBOUR_CHATTER if forged else reporter.heard(message.group)
        if not self._is_of_this_link(ip) or not _is_a_routers(message, ip, data):
            return Drop.BAD_QUERY
        if is_multicast(ip.dst) and ip.dst not in ALL_HOSTS and ip.dst not in reporter.groups:
            return Drop.NOT_JOINED
        reason = reporter.asked(message, self._host.now)
        self._set_due()
        return reason

    def _is_of_this_link(self, ip: IpPacket) -> bool:
        """By its source; IPv4's may have none yet (RFC 3376 4.2.13), IPv6's is link-local and its hop limit 1 (RFC 3810 6.2)."""
        if ip.version == 6:
            return is_link_local(ip.src) and ip.hop_limit == 1 and ip.src not in self._host.addresses
        return ip.hop_limit > 0 and (not any(ip.src) or not self._host.cannot_be_a_source(ip.src))

    def on_timer(self, now: int) -> None:
        """Send what is due."""
        for reporter in self.reporters.values():
            reporter.on_timer(now)
        self._set_due()

    def _set_due(self) -> None:
        self.due = min(reporter.next_timer() for reporter in self.reporters.values())


_MLD = frozenset(bytes((kind,)) for kind in mld.TYPES)


def _is_a_routers(query: Query, ip: IpPacket, data: Buffer) -> bool:
    """With the router alert, which IGMPv1 did not have; IGMP's about all groups to no single one (RFC 3376 9.1, RFC 3810 6.2).

    In IGMP Linux asks for neither.
    """
    if ip.version == 6:
        return ipv6.has_router_alert(data)
    if query.is_general and is_multicast(ip.dst) and ip.dst != igmp.ALL_SYSTEMS:
        return False
    return query.version == 1 or ipv4.has_router_alert(data, ip.start)


def _current(group: bytes, reception: Reception) -> Record:
    return Record(IS_EX if reception.excludes else IS_IN, group, tuple(sorted(reception.sources)))
