"""The listings of a router as rows (row.py)."""

from __future__ import annotations

from netemu.router.nat import Inside
from netemu.router.router import Router
from netemu.router.row import FirewallRow, NatRow, PortRow, RouteRow, RouterRow, SessionRow
from netemu.router.transit import Endpoint
from netemu.wire.ip import ICMP, ICMPV6, TCP, UDP, text, text_port

SECOND = 1_000_000_000
PROTOCOLS = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMPV6: "icmpv6"}


def router_row(router: Router, now: int) -> RouterRow:
    """Everything, as it is at ``now``, ns."""
    return RouterRow(
        router.name,
        port_rows(router),
        route_rows(router),
        nat_rows(router),
        firewall_rows(router),
        session_rows(router, now),
        {reason.name: count for reason, count in router.counters.items() if count},
    )


def port_rows(router: Router) -> list[PortRow]:
    return [
        PortRow(
            port.name,
            [f"{text(a)}/{prefix.prefixlen}" for a, prefix in zip(port.addresses, port.prefixes, strict=True)],
            port.mtu,
            port.packets_in,
            port.bytes_in,
            port.packets_out,
            port.bytes_out,
        )
        for port in router.ports
    ]


def route_rows(router: Router) -> list[RouteRow]:
    return [
        RouteRow(
            str(route.prefix),
            route.kind,
            router.ports[route.port].name if route.kind == "unicast" else "",
            text(route.via) if route.via else "",
            route.origin,
        )
        for route in router.routes
    ]


def session_rows(router: Router, now: int) -> list[SessionRow]:
    """Tracked connections that are still remembered at ``now``, ns."""
    box = router.middlebox
    return [
        SessionRow(
            _protocol(session.flow.protocol),
            text_port(session.flow.src, session.flow.sport),
            text_port(session.flow.dst, session.flow.dport),
            session.state,
            (session.deadline - now) / SECOND,
        )
        for session in (box.conntrack if box is not None else ())
        if session.deadline > now
    ]


def nat_rows(router: Router) -> list[NatRow]:
    nat = router.middlebox.nat if router.middlebox is not None else None
    return [
        NatRow(
            _protocol(mapping.inside.protocol),
            text_port(*mapping.inside.endpoint),
            text_port(*mapping.outside.endpoint),
            _remote(mapping.inside),
            mapping.sessions,
            "forward" if mapping.is_forward else "dynamic",
        )
        for mapping in nat or ()
    ]


def firewall_rows(router: Router) -> list[FirewallRow]:
    """The rules by their numbers from 1 on, and last the policy, number 0."""
    firewall = router.middlebox.firewall if router.middlebox is not None else None
    if firewall is None:
        return []
    numbered = [*enumerate(firewall.rules, 1), (0, firewall.policy)]
    return [FirewallRow(number, rule.text, rule.packets, rule.bytes) for number, rule in numbered]


def _protocol(number: int) -> str:
    return PROTOCOLS.get(number, str(number))


def _remote(inside: Inside) -> str:
    address, port = inside.remote
    if not address:
        return "*"
    return text_port(*Endpoint(address, port)) if port else text(address)
