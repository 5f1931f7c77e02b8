"""Who might get a packet, in the order in which the table looks at them, and why each wins or loses. Nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from netemu.stack.demux import Slot, hears, probes, slots_of
from netemu.stack.groups import Choice
from netemu.stack.names import ANY
from netemu.stack.rehearsal import Heads
from netemu.stack.rows import flow_row, socket_row
from netemu.stack.sockets import Socket
from netemu.stack.verdict import Candidate
from netemu.tcp.connection import Connection
from netemu.tcp.timewait import TimeWait
from netemu.wire import tcp as tcp_wire
from netemu.wire import udp
from netemu.wire.ip import TCP, text_port

if TYPE_CHECKING:
    from netemu.stack.host import Host
    from netemu.stack.row import SocketRow

NOBODY = 1 << 30
"""The rank of a socket that is not looked at for this packet."""


class _Ranked(NamedTuple):
    rank: int
    order: int
    socket: Socket
    reason: str


def candidates(host: Host, heads: Heads, matched: int) -> list[Candidate]:
    """For a TCP segment or a UDP datagram. ``matched``: the number of the socket that gets it, 0 for none."""
    assert heads.flow is not None
    if heads.ip.protocol == TCP:
        return _of_tcp(host, heads)
    return _of_udp(host, heads, matched)


# -- TCP ------------------------------------------------------------------------------------------------------------------


def _of_tcp(host: Host, heads: Heads) -> list[Candidate]:
    flow = heads.flow
    assert flow is not None
    address, port = heads.ip.dst, int.from_bytes(flow[-2:], "big")
    payload = heads.ip.start + (heads.data[heads.ip.start + 12] >> 4) * 4 if heads.ip.end - heads.ip.start > 12 else 0
    found = host.table.choose_listener(address, port, flow, host.device_of(address), heads.data, payload, peek=True)
    c = host.table.connections.get(flow)
    first: list[Candidate] = []
    if c is not None:
        reopens = found is not None and isinstance(c, TimeWait) and _may_reopen(c, heads)
        reason = (
            "TIME-WAIT, but this SYN may begin a new connection (RFC 6191)"
            if reopens
            else "its 4-tuple is exactly this"
        )
        first.append(_candidate(_row_of(host, c), not reopens, reason))
        if not reopens:
            found = None
    chosen = found[0] if found else None
    ranked = [_rank_listener(host, s, heads, chosen, c is not None) for s in _bound(host, port)]
    return first + [_candidate(socket_row(r.socket, host.now), r.rank < 0, r.reason) for r in sorted(ranked, key=_rank)]


def _may_reopen(c: TimeWait, heads: Heads) -> bool:
    segment = tcp_wire.parse(heads.data, heads.ip.start, heads.ip.end)
    return isinstance(segment, tcp_wire.Segment) and c.may_reopen(segment)


def _bound(host: Host, port: int) -> list[Socket]:
    """TCP sockets that bind or listen gave this port."""
    found = {socket: None for slot, sockets in host.table.bound.items() if slot[2] == port for socket in sockets}
    return list(found)


def _row_of(host: Host, c: Connection | TimeWait) -> SocketRow:
    owner = c.owner
    if isinstance(owner, Socket) and not owner.closed and getattr(owner, "connection", None) is c:
        return socket_row(owner, host.now)
    return flow_row(c.flow, owner, c.state.value, {})


def _rank_listener(host: Host, socket: Socket, heads: Heads, chosen: Choice | None, connected: bool) -> _Ranked:
    address, port = heads.ip.dst, socket.lport
    slot = _slot(host, socket, address, port)
    if slot is None:
        return _Ranked(NOBODY, socket.id, socket, _why_not_covered(socket, address))
    if not hears(socket, host.device_of(address)):
        return _Ranked(NOBODY, socket.id, socket, f"bound to another device ({socket.device})")
    if not socket.is_listening:
        if socket.is_connected:
            return _Ranked(NOBODY, socket.id, socket, f"connected: gets what comes from {_peer(socket)} only")
        return _Ranked(NOBODY, socket.id, socket, "bound only, not in LISTEN")
    order = _walk_order(host, slot, socket)
    rank = probes(address, port, True).index(slot)
    if chosen is None:
        reason = "a connection's 4-tuple comes before every listener" if connected else "listens"
        return _Ranked(rank, order, socket, reason)
    if socket is chosen.member:
        return _Ranked(-1, 0, socket, f"{_what_it_is(slot)}{_by(chosen)}")
    return _Ranked(rank, order, socket, _why_beaten(host, socket, slot, chosen.member, address))


def _walk_order(host: Host, slot: Slot, socket: Socket) -> int:
    walk = [listener.socket for listener in host.table.listeners.get(slot, ())]
    return walk.index(socket) if socket in walk else NOBODY


# -- UDP ------------------------------------------------------------------------------------------------------------------


def _of_udp(host: Host, heads: Heads, matched: int) -> list[Candidate]:
    flow = heads.flow
    assert flow is not None
    port = int.from_bytes(flow[-2:], "big")
    sockets = [s for s in host.table.sockets.values() if not s.is_stream and s.name is not None and s.lport == port]
    if host.is_for_many(heads.ip.dst):
        return _of_many(host, heads, sockets)
    winner = next((s for s in sockets if s.id == matched), None)
    ranked = [_rank_datagram(host, s, heads, winner) for s in sockets]
    return [_candidate(socket_row(r.socket, host.now), r.rank < 0, r.reason) for r in sorted(ranked, key=_rank)]


def _of_many(host: Host, heads: Heads, sockets: list[Socket]) -> list[Candidate]:
    """A group's or a broadcast's: every socket that hears it gets a copy."""
    assert heads.flow is not None
    sport, dport = int.from_bytes(heads.flow[-4:-2], "big"), int.from_bytes(heads.flow[-2:], "big")
    takers = set(host.udp.takers(heads.ip, sport, dport, host.device))
    told = []
    for socket in sorted(sockets, key=lambda s: (s not in takers, s.id)):
        if socket in takers:
            reason = "hears it: gets a copy"
        elif _slot(host, socket, heads.ip.dst, socket.lport) is None:
            reason = _why_not_covered(socket, heads.ip.dst)
        elif not hears(socket, host.device):
            reason = f"bound to another device ({socket.device})"
        elif socket.peer is not None:
            reason = f"connected: gets what comes from {_peer(socket)} only"
        else:
            reason = "has not joined the group, or not this source"
        told.append(_candidate(socket_row(socket, host.now), socket in takers, reason))
    return told


def _rank_datagram(host: Host, socket: Socket, heads: Heads, winner: Socket | None) -> _Ranked:
    address, flow = heads.ip.dst, heads.flow
    assert flow is not None
    slot = _slot(host, socket, address, socket.lport)
    if socket is winner:
        return _Ranked(-1, 0, socket, _why_udp_wins(host, socket, slot, heads))
    if slot is None:
        return _Ranked(NOBODY, socket.id, socket, _why_not_covered(socket, address))
    if not hears(socket, host.device_of(address)):
        return _Ranked(NOBODY, socket.id, socket, f"bound to another device ({socket.device})")
    if socket.peer is not None:
        if _is_from(socket, flow):
            return _Ranked(0, -socket.id, socket, "connected to the sender too, but another one is preferred")
        return _Ranked(NOBODY, socket.id, socket, f"connected: gets what comes from {_peer(socket)} only")
    rank = 1 + probes(address, socket.lport, True).index(slot)
    if winner is None:
        return _Ranked(rank, socket.id, socket, "bound here")
    return _Ranked(rank, socket.id, socket, _why_beaten(host, socket, slot, winner, address))


def _why_udp_wins(host: Host, socket: Socket, slot: Slot | None, heads: Heads) -> str:
    address, flow = heads.ip.dst, heads.flow
    if socket.peer is not None:
        return "connected to exactly this sender"
    if slot is None or flow is None:
        return "it is its packet"
    payload = heads.ip.start + udp.SIZE
    found = host.udp.choose(address, slot[2], flow, host.device_of(address), heads.data, payload, peek=True)
    return f"{_what_it_is(slot)}{_by(found[0])}" if found else _what_it_is(slot)


def _is_from(socket: Socket, flow: bytes) -> bool:
    size = 4 if len(flow) == 12 else 16
    return socket.peer == (flow[:size], int.from_bytes(flow[-4:-2], "big"))


# -- both -----------------------------------------------------------------------------------------------------------------


def _rank(ranked: _Ranked) -> tuple[int, int]:
    return ranked.rank, ranked.order


def _slot(host: Host, socket: Socket, address: bytes, port: int) -> Slot | None:
    """The best place where the table finds ``socket`` for a packet to ``address``; None: it does not cover that."""
    if socket.name is None:
        return None
    mine = slots_of(socket.name, socket.is_ipv6, socket.reuseport_lb)
    return next((slot for slot in probes(address, port, True) if slot in mine), None)


def _what_it_is(slot: Slot) -> str:
    if slot[1] != ANY:
        return "on exactly this address and port"
    return "on this port of any address, dual stack" if slot[0] == 46 else "on this port of any address"


def _by(choice: Choice, members: int = 0) -> str:
    """How a group came to its member."""
    group = choice.member.group
    members = members or (len(group.members) if group is not None else 1)
    if choice.by == "alone" or members < 2:
        return ""
    how = f"hash 0x{choice.hash:08x}" if choice.hash is not None else choice.by
    return f", one of a group of {members}: {how} chose index {choice.index}"


def _why_beaten(host: Host, socket: Socket, slot: Slot, winner: Socket, address: bytes) -> str:
    """Both cover the address; ``winner`` gets the packet."""
    best = _slot(host, winner, address, socket.lport)
    if winner.peer is not None and not winner.is_stream:
        return "a socket connected to the sender comes first"
    if best is None or best == slot:
        group = winner.group
        if group is not None and group is socket.group:
            return f"another member of its group was chosen; its own index is {group.members.index(socket)}"
        if socket.is_stream or not (socket.reuseport and winner.reuseport and socket.uid == winner.uid):
            return "an equal, but the other one is looked at first"
        return "another member of its group was chosen"
    if best[0] > 100:
        return "a SO_REUSEPORT_LB group comes first"
    if slot[1] == ANY and best[1] != ANY:
        return "a wildcard loses to a specific address"
    return "dual stack loses to AF_INET"


def _why_not_covered(socket: Socket, address: bytes) -> str:
    name = socket.name
    mine = None if name is None else name.v4 if len(address) == 4 else name.v6
    if mine is not None:
        return "bound to another address"
    if len(address) == 16:
        return "an IPv4 socket" if not socket.is_ipv6 else "bound to an IPv4 address"
    return "v6only: it takes no IPv4" if name is not None and name.v6 == ANY else "bound to an IPv6 address"


def _peer(socket: Socket) -> str:
    return text_port(*socket.peer) if socket.peer is not None else "its peer"


def _candidate(row: SocketRow, wins: bool, reason: str) -> Candidate:
    return Candidate(row.id, row.app, row.state, row.local, row.peer, wins, reason)
