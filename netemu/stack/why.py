"""Why a packet would go where it would go, and what the stack would answer: `netemu why`. It changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from netemu.reasons import Close, Drop, Match, Reason, Reset
from netemu.stack.candidates import candidates
from netemu.stack.demux import flow_key
from netemu.stack.rehearsal import Outcome, heads_of, rehearse
from netemu.stack.sockets import Socket
from netemu.stack.verdict import Answer, Verdict
from netemu.tcp.config import NEVER
from netemu.tcp.connection import Connection
from netemu.tcp.timewait import TimeWait
from netemu.wire import ipv4, ipv6
from netemu.wire import tcp as tcp_wire
from netemu.wire.describe import ICMP_NAMES, ICMPV6_NAMES, describe
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, IpPacket
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, FIN, RST, SYN

if TYPE_CHECKING:
    from netemu.stack.host import Host

CHALLENGED = (Drop.RST_CHALLENGED, Drop.SYN_CHALLENGED, Drop.BAD_ACK, Drop.OLD_ACK)
FOUND_NOBODY = (Drop.NO_SOCKET, Drop.ONLY_BOUND, Drop.OTHER_DEVICE, Drop.UDP_NO_SOCKET, Drop.UDP_NOBODY)
OPENING = (Match.LISTEN_SPECIFIC, Match.LISTEN_WILDCARD, Match.LISTEN_DUAL_STACK)
MOST_ANSWERS = 64
"""Packets that are told of; an ACK may set free more."""


def why(host: Host, packet: Packet, now: int) -> Verdict:
    """What would become of ``packet`` if it arrived now."""
    heads = heads_of(host, packet, now)
    before = host.table.connections.get(heads.flow) if heads is not None and heads.flow is not None else None
    outcome = rehearse(host, packet, now)
    matched = outcome.matched
    # else it did not come as far as to the table: a wrong checksum, say
    asked = heads is not None and heads.flow is not None and (matched is not None or outcome.reason in FOUND_NOBODY)
    verdict = Verdict(
        packet=describe(packet.head),
        kind="match" if isinstance(outcome.reason, Match) else "drop",
        reason=outcome.reason.name,
        meaning=outcome.reason.value,
        candidates=candidates(host, heads, matched.id if matched else 0) if heads and asked else [],
        answers=[_answer(sent, reason, outcome.reason) for sent, reason in outcome.sent[:MOST_ANSWERS]],
        effects=_effects(before, outcome, now),
    )
    return _with_owner(verdict, matched)


def why_sent(host: Host, packet: Packet) -> Verdict:
    """Whose a packet is that the host has sent: who owns its flow now."""
    heads = heads_of(host, packet, host.now)
    whose: Socket | None = None
    effects = ["it has no ports that belong to a socket"]
    if heads is not None and heads.flow is not None:
        src, dst = heads.ip.src, heads.ip.dst
        sport, dport = int.from_bytes(heads.flow[-4:-2], "big"), int.from_bytes(heads.flow[-2:], "big")
        whose, text = _owner_now(host, heads.ip.protocol, flow_key(dst, src, dport, sport), src, sport)
        effects = [text]
    return _with_owner(Verdict(packet=describe(packet.head), direction="out", effects=effects), whose)


def _owner_now(host: Host, protocol: int, flow: bytes, src: bytes, sport: int) -> tuple[Socket | None, str]:
    if protocol == TCP:
        c = host.table.connections.get(flow)
        if c is None:
            return None, "no connection has this 4-tuple now"
        owner = c.owner if isinstance(c.owner, Socket) else None
        return owner, f"this 4-tuple is now that of a connection in {c.state.value}"
    found = host.udp.find(src, sport, flow, host.device_of(src), peek=True) if protocol == UDP else None
    if found is None:
        return None, "no UDP socket has this port now"
    return found[0], "an answer to it would now go to this socket"


def _with_owner(verdict: Verdict, socket: Socket | None) -> Verdict:
    if socket is None:
        return verdict
    return replace(verdict, socket=f"s{socket.id}", app=socket.app, pid=socket.pid, program=socket.program)


# -- answers --------------------------------------------------------------------------------------------------------------


def _answer(packet: Packet, why_sent: Reason | None, reason: Reason) -> Answer:
    raw = bytes(packet)
    kind, text = _kind(raw, reason), describe(raw)
    if kind == "SYN-ACK":
        text = re.sub(r"seq \d+", "seq chosen when it is sent", text)
    if why_sent is None:
        return Answer(kind, text)
    return Answer(kind, text, why_sent.name, why_sent.value)


def _kind(raw: bytes, reason: Reason) -> str:
    ip = ipv4.parse(raw) if raw[0] >> 4 == 4 else ipv6.parse(raw)
    if not isinstance(ip, IpPacket):
        return "packet"
    if ip.protocol in (ICMP, ICMPV6) and not ip.fragment:
        names, code = (ICMP_NAMES if ip.protocol == ICMP else ICMPV6_NAMES), (raw[ip.start], raw[ip.start + 1])
        name = names.get(code) or names.get((code[0], None), "message")
        return f"ICMP {' '.join(reversed(name.split())) if name.startswith('unreachable ') else name}"
    if ip.protocol != TCP:
        return "datagram" if ip.protocol == UDP else "fragment"
    segment = tcp_wire.parse(raw, ip.start, ip.end)
    return "segment" if isinstance(segment, Drop) else _kind_of_segment(segment.flags, segment.length, reason)


def _kind_of_segment(flags: int, length: int, reason: Reason) -> str:
    if flags & SYN:
        return "SYN-ACK" if flags & ACK else "SYN"
    if flags & RST:
        return "RST"
    if flags & FIN:
        return "data and FIN" if length else "FIN"
    if length:
        return "data"
    return "challenge ACK" if reason in CHALLENGED else "ACK"


# -- what else happens ----------------------------------------------------------------------------------------------------


def _effects(before: Connection | TimeWait | None, outcome: Outcome, now: int) -> list[str]:
    """Of a TCP connection: its state, what its app gets, an answer that comes later. And what is counted beside the reason."""
    after = outcome.connection
    found: list[str] = []
    if isinstance(before, Connection) and isinstance(after, Connection):
        if before.state is not after.state:
            found.append(f"the connection goes from {before.state.value} to {after.state.value}")
        if after.received_bytes > before.received_bytes:
            found.append(f"{after.received_bytes - before.received_bytes} bytes for the app to read")
        if after.fin_received and not before.fin_received:
            found.append("the app sees the end of the stream")
        if after.deadline_ack < NEVER and not outcome.sent:
            found.append(f"an ACK follows within {(after.deadline_ack - now) / 1e6:.0f} ms")
    elif isinstance(outcome.reason, Match) and outcome.reason in OPENING:
        found.append("a connection begins, in SYN-RECEIVED")
        if isinstance(after, Connection) and after.held:
            found.append("no answer yet: its app is asked first (HOLD_SYNACK)")
    elif isinstance(before, TimeWait) and isinstance(after, TimeWait) and after.ended:
        found.append("TIME-WAIT ends")
    if outcome.reason is Match.MEMBERSHIP_QUERY:
        due = outcome.host.reporting.due
        found.append(f"the next report follows in {(due - now) / 1e9:.1f} s" if due < NEVER else "no group to report")
    if outcome.reason in CHALLENGED and not outcome.sent:
        found.append("no challenge ACK: one was sent a moment ago (RFC 5961 section 7)")
    for reason, times in outcome.host.counters.items():
        if isinstance(reason, Close) and times:
            found.append(f"a connection ends: {reason.name} ({reason.value})")
        elif reason is Drop.ICMP_RATE_LIMITED:
            found.append(f"no ICMP error: {reason.value}")
        elif isinstance(reason, Reset) and not outcome.sent:
            found.append(f"RST: {reason.name} ({reason.value})")
    return found
