"""The routers of a scenario, as they run."""

from __future__ import annotations

from netemu.router.nat_config import parse_nat
from netemu.router.router import Router as LiveRouter
from netemu.router.routes import Route, parse_route
from netemu.scenario.checks import Tables, neighbour
from netemu.scenario.model import DEFAULT_MTU, Link, Router, Scenario


def make_router(scenario: Scenario, router: Router, tables: Tables, seed: int) -> LiveRouter:
    """A router with its ports (in the order of its links, and called as they are), routes, NAT and firewall.

    ``tables``: of netemu.scenario.checks.route_tables. ValueError, in one line, for what only a router knows to be impossible:
    a NAT without an address outside, for one.
    """
    live = LiveRouter(router.name, seed)
    numbers = {link.name: _port(scenario, live, link) for link in scenario.links_of(router.name)}
    for prefix, hop in tables[router.name].items():
        if hop is not None and live.routes.get(prefix) is None:
            live.routes.add(Route(prefix, numbers[hop.link], origin="computed"))
    for text in router.routes:
        prefix, kind, via, _ = parse_route(text)
        hop = neighbour(scenario, router.name, text)
        live.routes.add(Route(prefix, kind=kind) if hop is None else Route(prefix, numbers[hop.link], via))
    if router.nat is not None:
        live.use_nat(parse_nat(router.nat))
    if router.firewall:
        live.use_firewall(router.firewall)
    return live


def _port(scenario: Scenario, live: LiveRouter, link: Link) -> int:
    """Only who is at the link's other end is there to be reached."""
    near, far = link.ends if link.first.node == live.name else link.ends[::-1]
    addresses = [address.ip.packed for address in far.addresses]
    return live.add_port(link.name, map(str, near.addresses), _mtu(scenario, far.node), addresses)


def _mtu(scenario: Scenario, node: str) -> int:
    """Between routers passes whatever any end can send; what a link shall not carry, its words say."""
    far = scenario.nodes[node]
    if not isinstance(far, Router):
        return far.mtu
    mtus = [node.mtu for node in scenario.nodes.values() if not isinstance(node, Router)]
    return max(mtus, default=DEFAULT_MTU)
