"""Who is connected to whom, as it is put together call by call; routers are made when all of it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_interface

from netemu.apps.registry import AppSpec
from netemu.link.link import Link
from netemu.runtime.network import End, Network
from netemu.scenario import model
from netemu.scenario.build import plan_of
from netemu.scenario.checks import with_default_addresses


class Topology:
    """A scenario's nodes and links, some of them in ``network`` already."""

    def __init__(self, network: Network, seed: Callable[[str], int]) -> None:
        """``seed``: of a part, by what it is."""
        self._network = network
        self._seed = seed
        self._nodes: dict[str, model.Node] = {}
        self._links: dict[str, model.Link] = {}
        self._unplugged: list[Link] = []
        self._is_wired = False

    def add_host(self, name: str, addresses: tuple[str, ...], mtu: int) -> None:
        self._nodes[name] = model.Host(name, tuple(map(ip_interface, addresses)), mtu=mtu)

    def add_app(self, name: str, spec: AppSpec) -> None:
        """An app of a host; routers have a route to addresses that it has for itself. ValueError where they are at work."""
        node = self._nodes.get(name)
        if not spec.prefixes or not isinstance(node, model.Host):
            return
        if self._is_wired and any(isinstance(other, model.Router) for other in self._nodes.values()):
            raise ValueError(
                f"routers are at work; serve {spec.name}, which has addresses, before the simulation goes on"
            )
        self._nodes[name] = replace(node, apps=(*node.apps, spec))

    def add_router(
        self, name: str, routes: tuple[str, ...], nat: Mapping[str, object] | None, firewall: tuple[str, ...]
    ) -> None:
        self._nodes[name] = model.Router(name, routes, nat, firewall)

    def add_link(self, name: str, ends: tuple[str, str], cost: int | tuple[int, int]) -> None:
        """ValueError where it cannot be."""
        if name in self._links or name in self._network.links:
            raise ValueError(f"there is a link {name!r} already; give this one another name")
        first, second = (self._end(text) for text in ends)
        if first.node == second.node:
            raise ValueError(f"both ends are {first.node!r}; a link joins two nodes")
        there, back = (cost, cost) if isinstance(cost, int) else cost
        self._links[name] = model.Link(name, first, second, cost_in=there, cost_out=back)

    def _end(self, text: str) -> model.End:
        name, *addresses = text.split() or [""]
        node = self._nodes.get(name)
        if node is None:
            raise ValueError(f"there is no node {name!r} here; it has {', '.join(self._nodes) or 'none'}")
        if isinstance(node, model.Router):
            if self._is_wired:
                raise ValueError(
                    f"router {name} is at work; give it its links before the simulation goes on, or anybody asks for it"
                )
            return model.End(name, tuple(map(ip_interface, addresses)))
        if addresses:
            raise ValueError(f"the addresses of {name!r} are given where it is made; leave {addresses[0]} out")
        if any(name in (link.first.node, link.second.node) for link in self._links.values()):
            raise ValueError(f"host {name} has its link already; put a router between it and the others")
        return model.End(name, node.addresses)

    def plug(self, link: Link) -> bool:
        """Plug ``link`` in, now or, where it ends at a router, when that is there: False."""
        if any(isinstance(self._nodes[name], model.Router) for name in link.ends):
            self._unplugged.append(link)
            return False
        self._connect(link)
        return True

    def _connect(self, link: Link) -> None:
        first, second = (self._free_end(name) for name in link.ends)
        self._network.connect(first, second, link)

    def _free_end(self, name: str) -> End:
        node = self._network.hosts.get(name) or self._network.routers[name]
        return next(end for end in node.ends if end.lane is None)

    def wire(self) -> None:
        """Make the routers; their ports are numbered as their links were added."""
        if self._is_wired:
            return
        self._is_wired = True
        scenario = with_default_addresses(model.Scenario("simulation", nodes=self._nodes, links=self._links))
        for router in plan_of(scenario).routers:
            self._network.add_router(router.name, router.make(self._seed(f"router/{router.name}")), router.ports)
        for link in self._unplugged:
            self._connect(link)
