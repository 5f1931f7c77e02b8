"""One router: packets come in by a port and leave by another, by the route to their destination. IPv4 and IPv6.

Sans-I/O. ``receive`` takes a packet, ``on_timer`` the time; ``transmit`` is pulled until it returns None after either.
``deadline`` says when ``on_timer`` is due. What becomes of a packet has a Reason, which is counted.

A packet goes this way, as on Linux: NAT's outside endpoint to inside host, route, TTL, MTU, firewall, inside host to NAT's
outside endpoint. An ICMP error therefore quotes the packet as it arrived. With NAT or a firewall, fragments are put together
first, and cut again where they have to be.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from ipaddress import ip_interface
from random import Random

from netemu.reasons import Drop, Reason, RouterDrop, RouterMatch
from netemu.router.firewall import SELF, Firewall, FirewallError
from netemu.router.local import TTL, Local
from netemu.router.middlebox import Middlebox
from netemu.router.nat_config import NatConfig, NatError
from netemu.router.routes import Network, Route, RouteError, RouteTable, WrittenRoute
from netemu.router.transit import Transit, read
from netemu.tcp.config import NEVER
from netemu.wire import icmp, ipv4, ipv6, slices
from netemu.wire.fragments import Fragments, cut, fragments
from netemu.wire.ip import ICMPV6, IGMP, IpPacket, is_forwardable, is_impossible_source, is_multicast, text
from netemu.wire.packet import Packet

BROADCAST = b"\xff\xff\xff\xff"
MAX_QUEUED_OUTPUT = 4096
"""Packets that may wait for ``transmit``."""


class Port:
    """Where a link ends at a router. Numbers are its place in ``Router.ports``."""

    __slots__ = (
        "addresses",
        "bytes_in",
        "bytes_out",
        "mtu",
        "name",
        "neighbours",
        "packets_in",
        "packets_out",
        "prefixes",
    )

    def __init__(self, name: str, addresses: Iterable[str], mtu: int, neighbours: Iterable[bytes] | None) -> None:
        interfaces = [ip_interface(address) for address in addresses]
        self.name = name
        self.mtu = mtu
        """Bytes."""
        self.addresses = [interface.packed for interface in interfaces]
        self.prefixes: list[Network] = [interface.network for interface in interfaces]
        self.neighbours = None if neighbours is None else frozenset(neighbours)
        self.packets_in = self.bytes_in = self.packets_out = self.bytes_out = 0

    def first_address(self, version: int) -> bytes | None:
        """The address of a family that it speaks from."""
        size = 4 if version == 4 else 16
        return next((address for address in self.addresses if len(address) == size), None)


class Router:
    """See the module."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self._random = Random(f"{seed}/router/{name}")
        self.ports: list[Port] = []
        self.routes = RouteTable()
        self.counters: Counter[Reason] = Counter()
        self.middlebox: Middlebox | None = None
        """Its firewall and its NAT, if it has any."""
        self.local = Local(self)
        self.fragments = Fragments()
        self._addresses: set[bytes] = set()
        self._broadcasts = {BROADCAST}
        self._output: deque[tuple[int, Packet]] = deque()
        self._ident = self._random.randrange(1 << 16)

    # -- setting up -------------------------------------------------------------------------------------------------------

    def add_port(
        self, name: str, addresses: Iterable[str], mtu: int = 1500, neighbours: Iterable[bytes] | None = None
    ) -> int:
        """A port with addresses such as '10.0.1.1/24', whose prefixes it leads to; its number. ValueError.

        ``neighbours``: all addresses that are on the link; other addresses of its prefixes are unreachable. None: anybody.
        """
        port, number = Port(name, addresses, mtu, neighbours), len(self.ports)
        if name == SELF or self._number(name) is not None:
            raise ValueError(f"router {self.name}: a port cannot be called {name!r}, or is already")
        for address, prefix in zip(port.addresses, port.prefixes, strict=True):
            if address in self._addresses:
                raise ValueError(
                    f"router {self.name}: port {name}: another port has the address {text(address)} already"
                )
            known = self.routes.get(prefix)
            if known is not None and known.origin == "connected":
                other = self.ports[known.port].name
                raise ValueError(f"router {self.name}: ports {other} and {name} are both in {prefix}")
        for prefix in port.prefixes:
            self.routes.add(Route(prefix, number, origin="connected"))
            if prefix.version == 4 and prefix.prefixlen < 31:
                self._broadcasts.add(prefix.broadcast_address.packed)
        self._addresses.update(port.addresses)
        self.ports.append(port)
        return number

    def add_route(self, written: WrittenRoute) -> None:
        """A route as ``parse_route`` reads it; RouteError for a port or a gateway that is not there."""
        prefix, kind, via, dev = written
        if kind != "unicast":
            self.routes.add(Route(prefix, kind=kind))
            return
        number = self._number(dev) if dev else None
        if dev and number is None:
            raise RouteError(f"route {prefix}: router {self.name} has no port {dev!r}; it has {self._names()}")
        if via is not None and number is None:
            to_gateway = self.routes.lookup(via)
            if to_gateway is None or to_gateway.origin != "connected":
                raise RouteError(f"route {prefix}: its gateway is on no link of router {self.name}")
            number = to_gateway.port
        assert number is not None  # parse_route wants one of them
        self.routes.add(Route(prefix, number, via))

    def use_nat(self, config: NatConfig) -> None:
        """Translate between the ports that are inside and all others; NatError. All ports have to be there."""
        for name in sorted(config.inside):
            if self._number(name) is None:
                raise NatError(f"nat: inside: router {self.name} has no port {name!r}; it has {self._names()}")
        ports = [port for port in self.ports if port.name not in config.inside]
        outside = [address for port in ports if (address := port.first_address(4)) is not None]
        if not outside:
            raise NatError(f"nat: router {self.name} has no port with an IPv4 address that is not inside")
        self._box().use_nat(config, outside, self._random)

    def use_firewall(self, lines: Sequence[str]) -> None:
        """Rules and policy (firewall.py); FirewallError. All ports have to be there."""
        firewall = Firewall(lines)
        for name in sorted(firewall.ports()):
            if self._number(name) is None:
                raise FirewallError(f"firewall: router {self.name} has no port {name!r}; it has {self._names()}")
        self._box().firewall = firewall

    def _box(self) -> Middlebox:
        if self.middlebox is None:
            self.middlebox = Middlebox(self.local, self.fragments)
        return self.middlebox

    def _number(self, name: str) -> int | None:
        return next((number for number, port in enumerate(self.ports) if port.name == name), None)

    def _names(self) -> str:
        return ", ".join(port.name for port in self.ports) or "none"

    # -- packets in -------------------------------------------------------------------------------------------------------

    def receive(self, port: int, packet: Packet, now: int) -> Reason:
        """A packet comes in by a port. What became of it; never raises for what a peer can send."""
        reason = self._receive(port, packet, now)
        self.counters[reason] += 1
        return reason

    def _receive(self, number: int, packet: Packet, now: int) -> Reason:
        data = memoryview(bytearray(packet.head) if not packet.body else bytearray().join((packet.head, *packet.body)))
        port = self.ports[number]
        port.packets_in += slices.count(packet)
        port.bytes_in += slices.wire_bytes(packet)
        ip = read(data)
        if isinstance(ip, Drop):
            return ip
        if is_multicast(ip.dst) or ip.dst in self._broadcasts:
            kind = data[ip.start] if ip.protocol == ICMPV6 and ip.start < ip.end else -1
            is_chatter = ip.protocol == IGMP or kind in icmp.NEIGHBOUR_TYPES
            return Drop.NEIGHBOUR_CHATTER if is_chatter else RouterDrop.NOT_FORWARDED
        if is_impossible_source(ip.src) or ip.src in self._addresses or ip.src in self._broadcasts:
            return Drop.BAD_SOURCE
        transit = Transit(packet, ip, data[: ip.end], number)
        box = self.middlebox
        if box is not None:
            refused = box.whole(transit, now) if ip.is_fragment else None
            refused = refused or box.enter(transit, port, now)
            if refused is not None:
                return refused
        if transit.ip.dst not in self._addresses:
            return self._forward(transit, port, now)
        return (box and box.to_router(transit, port, now)) or self.local.receive(transit, now)

    # -- forwarding -------------------------------------------------------------------------------------------------------

    def _forward(self, transit: Transit, port: Port, now: int) -> Reason:
        ip, local = transit.ip, self.local
        if not (is_forwardable(ip.src) and is_forwardable(ip.dst)):
            return RouterDrop.NOT_FORWARDED
        route = self.routes.lookup(ip.dst)
        if route is None:
            local.unreachable(transit, icmp.NET, icmp.V6_NO_ROUTE, now)
            return RouterDrop.NO_ROUTE
        if route.kind != "unicast":
            return self._refuse(transit, route, now)
        out = self.ports[route.port]
        if out.neighbours is not None and route.origin == "connected" and ip.dst not in out.neighbours:
            local.unreachable(transit, icmp.HOST, icmp.V6_ADDRESS, now)
            return RouterDrop.HOST_UNREACHABLE
        if ip.hop_limit <= 1:
            local.time_exceeded(transit, now)
            return RouterDrop.TTL_EXPIRED
        longest = slices.largest(transit.arrived) if transit.arrived.gso_size else len(transit.data)
        is_too_big = longest > out.mtu
        if is_too_big and not self._may_cut(transit):
            local.too_big(transit, out.mtu, now)
            return RouterDrop.TOO_BIG
        refused = self.middlebox.leave(transit, port, out, now) if self.middlebox is not None else None
        if refused is not None:
            return refused
        transit.decrement()
        return self._send_on(transit, route.port, is_too_big)

    def _refuse(self, transit: Transit, route: Route, now: int) -> Reason:
        if route.kind == "blackhole":
            return RouterDrop.BLACKHOLE
        if route.kind == "prohibit":
            self.local.unreachable(transit, icmp.PROHIBITED, icmp.V6_PROHIBITED, now)
            return RouterDrop.PROHIBITED
        self.local.unreachable(transit, icmp.HOST, icmp.V6_ADDRESS, now)
        return RouterDrop.HOST_UNREACHABLE

    @staticmethod
    def _may_cut(transit: Transit) -> bool:
        """IPv4 without DF; of IPv6 only what came in fragments."""
        if transit.ip.version == 6:
            return transit.ident is not None
        return not transit.data[6] & ipv4.DONT_FRAGMENT >> 8

    # -- packets out ------------------------------------------------------------------------------------------------------

    def _send_on(self, transit: Transit, number: int, is_too_big: bool) -> Reason:
        packet, out = transit.packet(), self.ports[number]
        if not is_too_big:
            if not self._queue(number, packet):
                return Drop.OUTPUT_FULL
            return RouterMatch.HAIRPINNED if transit.is_hairpinned else RouterMatch.FORWARDED
        mtu = out.mtu if transit.ip.version == 4 else min(out.mtu, ipv6.MIN_MTU)
        for whole in slices.split(packet):
            for piece in cut(bytes(whole), mtu, transit.ident or 0):
                if not self._queue(number, piece):
                    return Drop.OUTPUT_FULL
        return RouterMatch.FRAGMENTED

    def send(self, src: bytes, dst: bytes, protocol: int, payload: bytes, tos: int = 0) -> None:
        """A packet of the router's own."""
        route = self.routes.lookup(dst)
        if route is None or route.kind != "unicast":
            self.counters[RouterDrop.NO_ROUTE] += 1
            return
        self._ident = (self._ident + 1) & 0xFFFF
        ident = self._ident if len(src) == 4 else self._random.getrandbits(32)
        for packet in fragments(src, dst, protocol, payload, self.ports[route.port].mtu, ident, TTL, tos):
            if not self._queue(route.port, packet):
                self.counters[Drop.OUTPUT_FULL] += 1
                return

    def send_packet(self, packet: Packet, dst: bytes) -> None:
        """The same for a packet that is ready and small."""
        route = self.routes.lookup(dst)
        if route is None or route.kind != "unicast":
            self.counters[RouterDrop.NO_ROUTE] += 1
        elif not self._queue(route.port, packet):
            self.counters[Drop.OUTPUT_FULL] += 1

    def source_for(self, ip: IpPacket, number: int) -> bytes | None:
        """Whose an ICMP error about a packet is: the address that it was sent to where that is ours, else that of its port."""
        if ip.dst in self._addresses:
            return ip.dst
        own = self.ports[number].first_address(ip.version)
        return own or next((address for port in self.ports if (address := port.first_address(ip.version))), None)

    def _queue(self, number: int, packet: Packet) -> bool:
        if len(self._output) >= MAX_QUEUED_OUTPUT:
            return False
        self._output.append((number, packet))
        return True

    def transmit(self, now: int) -> tuple[int, Packet] | None:
        """(port, packet) of the next that leaves, or None: ask again after the next call of anything else."""
        if not self._output:
            return None
        number, packet = self._output.popleft()
        port = self.ports[number]
        port.packets_out += slices.count(packet)
        port.bytes_out += slices.wire_bytes(packet)
        return number, packet

    # -- time -------------------------------------------------------------------------------------------------------------

    def deadline(self) -> int:
        """When ``on_timer`` is due, ns; NEVER. May be early, never late."""
        due = self.middlebox.deadline() if self.middlebox is not None else NEVER
        if self.fragments.partial:
            due = min(due, self.fragments.next_timer() or NEVER)
        return due

    def on_timer(self, now: int) -> None:
        """Do what is due."""
        if self.middlebox is not None:
            self.middlebox.on_timer(now)
        if self.fragments.partial:
            for partial in self.fragments.expire(now):
                self.counters[Drop.FRAGMENT_TIMEOUT] += 1
                if partial.first is not None and partial.ip is not None and partial.ip.dst in self._addresses:
                    self._reassembly_timeout(partial.first, partial.ip, now)

    def _reassembly_timeout(self, first: bytes, ip: IpPacket, now: int) -> None:
        """Only the destination tells the sender (RFC 792, RFC 8200 4.5)."""
        whole = memoryview(bytearray(first))
        again = read(whole)
        route = self.routes.lookup(ip.src)
        if isinstance(again, IpPacket) and route is not None:
            transit = Transit(Packet(first), again, whole, max(route.port, 0))
            self.local.time_exceeded(transit, now, icmp.TIME_EXCEEDED_REASSEMBLY)
