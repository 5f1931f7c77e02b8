"""A copy of a host that a packet can be given to without consequence: what the stack would do, asked of the stack itself.

Only what the packet can touch is copied: the host's own machinery, the sockets on its port, the connection of its 4-tuple and
who owns it. Everything else is shared, and the copy gets an empty outbox, no timers and counters of its own, so that nothing
reaches those. Nobody's app is told anything either.
"""

from __future__ import annotations

import copy
import pickle
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import count
from random import Random
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, NamedTuple

from netemu.reasons import Drop, Reason
from netemu.stack.demux import flow_key
from netemu.stack.holders import Remains
from netemu.stack.listener import Listener
from netemu.stack.sockets import Socket
from netemu.tcp.config import Config
from netemu.tcp.connection import Connection
from netemu.tcp.timewait import TimeWait
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire.buffer import Buffer
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, IpPacket
from netemu.wire.output import Template
from netemu.wire.packet import Packet

if TYPE_CHECKING:
    from netemu.stack.host import Host

_UNCHANGING = (bytes, memoryview, Config, Template, Remains, FunctionType, count)
"""Shared with the original: nothing of it changes, or no packet changes it."""


class Heads(NamedTuple):
    """What a packet is about, fragments put together."""

    ip: IpPacket
    data: Buffer
    flow: bytes | None
    """As it stands in the packet, if it has ports."""
    quoted: bytes | None
    """That of the packet that an ICMP error quotes, as its answers would have it."""


class Outcome(NamedTuple):
    reason: Reason
    matched: Socket | None
    """The copy of whom it belonged to; its ``id`` is the original's."""
    sent: list[tuple[Packet, Reason | None]]
    """What the host would send then, and why where no socket sends it."""
    host: Host
    """The copy, afterwards."""
    connection: Connection | TimeWait | None
    """The copy of the connection with the packet's 4-tuple, or that its ICMP error quotes; or the one that it began."""


def rehearse(host: Host, packet: Packet, now: int) -> Outcome:
    """Give ``packet`` to a copy of ``host``."""
    heads = heads_of(host, packet, now)
    flows = [flow for flow in (heads.flow, heads.quoted) if flow is not None] if heads else []
    twin, connections = _twin(host, flows)
    reason = twin.receive(packet, now)
    matched = twin.matched
    sent = list(_sent(twin, now))
    newest = [c for flow in flows if (c := twin.table.connections.get(flow)) is not None]
    connection = next(iter(newest + connections), None)
    return Outcome(reason, matched if isinstance(matched, Socket) else None, sent, twin, connection)


def _sent(twin: Host, now: int) -> Iterator[tuple[Packet, Reason | None]]:
    while (packet := twin.transmit(now)) is not None:
        yield packet, twin.sent_for


def heads_of(host: Host, packet: Packet, now: int) -> Heads | None:
    """The addresses and ports of a packet; None for one that makes no sense, or that is not whole yet."""
    data: Buffer = packet.head
    try:
        ip = ipv4.parse(data) if data[:1] and data[0] >> 4 == 4 else ipv6.parse(data)
    except ipv6.OptionProblem:
        return None
    if isinstance(ip, Drop):
        return None
    if ip.is_fragment:
        whole = copy.deepcopy(host.fragments).add(ip, data, now)
        if whole is None or isinstance(whole, Drop):
            return None
        ip, data = whole
    has_ports = ip.protocol in (TCP, UDP) and ip.end - ip.start >= 4
    flow = ip.src + ip.dst + bytes(data[ip.start : ip.start + 4]) if has_ports else None
    is_icmp = ip.protocol in (ICMP, ICMPV6)
    return Heads(ip, data, flow, _quoted(bytes(data[ip.start + icmp.SIZE : ip.end])) if is_icmp else None)


def _quoted(data: bytes) -> bytes | None:
    """The flow of the packet that an ICMP error quotes, seen from its sender."""
    if len(data) >= ipv4.SIZE and data[0] >> 4 == 4:
        src, dst, start = data[12:16], data[16:20], (data[0] & 15) * 4
    elif len(data) >= ipv6.SIZE and data[0] >> 4 == 6:
        src, dst, start = data[8:24], data[24:40], ipv6.upper_layer(data)[1]
    else:
        return None
    ports = data[start : start + 4]
    if len(ports) < 4:
        return None
    return flow_key(dst, src, int.from_bytes(ports[2:], "big"), int.from_bytes(ports[:2], "big"))


def _twin(host: Host, flows: Iterable[bytes]) -> tuple[Host, list[Connection | TimeWait]]:
    table = host.table
    ports = {int.from_bytes(flow[-2:], "big") for flow in flows}
    concerned: set[object] = {s for s in table.sockets.values() if s.lport in ports and not (s.is_stream and s.peer)}
    known = [c for flow in flows if (c := table.connections.get(flow)) is not None]
    concerned.update(known)
    concerned.update(c.owner for c in known)
    file = BytesIO()
    copier = _Copier(file, host, concerned)
    copier.dump((host, known))
    twin: Host
    twin, connections = _Paster(file, copier.shared).load()
    for c in connections:
        twin.table.connections[c.flow] = c
        c.queued = False
    return twin, connections


class _Copier(pickle.Pickler):
    """Writes a host down. What is to be shared, or is another thing in the copy, is only named: by its place in ``shared``."""

    def __init__(self, file: BytesIO, host: Host, concerned: set[object]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._concerned = concerned
        self.shared: list[object] = []
        random = Random()
        random.setstate(host.random.getstate())
        table, tcp = host.table, host.tcp
        # a friend of theirs: what waits to be sent or told, and all of the table that is not concerned, has no place in the copy
        self._instead: dict[int, object] = {
            id(host.random): random,
            id(host.counters): Counter(),
            id(host.news): [],
            id(host.faults): [],
            id(host._output): deque(),
            id(host._loopback): deque(),
            id(tcp._ready): deque(),
            id(tcp.timers): [],
            id(table.connections): {},
            id(table.sockets): {},
            id(host.flavour): host.flavour,
        }

    def persistent_id(self, thing: object) -> int | None:
        if id(thing) in self._instead:
            return self._name(self._instead[id(thing)])
        if isinstance(thing, Socket | Connection | TimeWait):
            return None if thing in self._concerned else self._name(thing)
        if isinstance(thing, Listener):
            return None if thing.socket in self._concerned else self._name(thing)
        if isinstance(thing, _UNCHANGING) or (isinstance(thing, MethodType) and _belongs_to_an_app(thing)):
            return self._name(thing)
        return None

    def _name(self, thing: object) -> int:
        self.shared.append(thing)
        return len(self.shared) - 1


class _Paster(pickle.Unpickler):
    def __init__(self, file: BytesIO, shared: list[object]) -> None:
        file.seek(0)
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, name: int) -> object:
        return self._shared[name]


def _belongs_to_an_app(method: MethodType) -> bool:
    """An event handler, not a method of the stack itself. In the copy nobody calls it."""
    room = type(method.__self__).__module__
    return room == "netemu.stack.streams" or not room.startswith(("netemu.stack.", "netemu.tcp."))
