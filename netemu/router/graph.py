"""Routes computed from the graph of a network: the cheapest path from every node to every prefix (Dijkstra).

A link may cost more one way than the other, and then the paths there and back differ. Only routers pass packets on. What is
equally cheap is decided by the order of the links, so the same graph always has the same routes.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from netemu.router.routes import Network

Table = dict[Network, "Hop"]


class GraphError(ValueError):
    """What is wrong with a graph or its routes, in one line with the names."""


class GraphLink(NamedTuple):
    """A link and what it costs: ``cost_in`` from ``first`` to ``second``, ``cost_out`` back."""

    name: str
    first: str
    second: str
    cost_in: int = 1
    cost_out: int = 1


class Hop(NamedTuple):
    """The next one on a path: out by ``link`` to ``node``."""

    link: str
    node: str


class Computed(NamedTuple):
    tables: dict[str, Table]
    """Node to its routes. A node has none to prefixes of its own."""
    unreachable: list[tuple[str, Network]]
    """(node, prefix) where no path leads."""


def compute(
    links: Sequence[GraphLink], routers: Collection[str], prefixes: Mapping[str, Iterable[Network]]
) -> Computed:
    """Routes of all nodes to all ``prefixes`` (node to those that are its own). GraphError for a cost below 1."""
    for link in links:
        if link.cost_in < 1 or link.cost_out < 1:
            raise GraphError(f"link {link.name}: a cost of {min(link.cost_in, link.cost_out)}: give 1 or more")
    owners: dict[Network, list[str]] = {}
    for node, own in prefixes.items():
        for prefix in own:
            owners.setdefault(prefix, []).append(node)
    nodes = dict.fromkeys((*(end for link in links for end in (link.first, link.second)), *prefixes))
    tables: dict[str, Table] = {node: {} for node in nodes}
    unreachable = []
    for prefix, its_owners in owners.items():
        hops = _towards(its_owners, links, routers)
        for node in nodes:
            if node in hops:
                tables[node][prefix] = hops[node]
            elif node not in its_owners:
                unreachable.append((node, prefix))
    return Computed(tables, unreachable)


def _towards(owners: Sequence[str], links: Sequence[GraphLink], routers: Collection[str]) -> dict[str, Hop]:
    """Each node's next hop to the nearest of ``owners``: Dijkstra from there, against the direction of the links."""
    into: dict[str, list[tuple[str, int, int, str]]] = {}
    for order, link in enumerate(links):
        into.setdefault(link.second, []).append((link.first, link.cost_in, order, link.name))
        into.setdefault(link.first, []).append((link.second, link.cost_out, order, link.name))
    hops: dict[str, Hop] = {}
    settled: set[str] = set()
    heap = [(0, -1, node, "", "") for node in owners]
    heapq.heapify(heap)
    while heap:
        distance, _, node, link_name, next_node = heapq.heappop(heap)
        if node in settled:
            continue
        settled.add(node)
        if next_node:
            hops[node] = Hop(link_name, next_node)
            if node not in routers:
                continue  # a host is an end: nothing passes through it
        for before, cost, order, name in into.get(node, ()):
            if before not in settled:
                heapq.heappush(heap, (distance + cost, order, before, name, node))
    return hops


def check_loops(
    tables: Mapping[str, Mapping[Network, Hop | None]],
    routers: Collection[str],
    prefixes: Mapping[str, Iterable[Network]],
) -> None:
    """Follow every route of routers to its end. GraphError names the prefix and the routers that send it round in a circle.

    ``tables`` are those of ``compute`` with what was written over it; None is a route that refuses.
    """
    own = {node: set(networks) for node, networks in prefixes.items()}
    every = sorted({prefix for table in tables.values() for prefix in table}, key=_order)
    for prefix in every:
        address = _only_in(prefix, every)
        if address is None:
            continue  # more specific prefixes cover all of it
        for start in tables:
            path: list[str] = []
            node = start
            while node in routers and not any(_holds(network, address) for network in own.get(node, ())):
                if node in path:
                    circle = " -> ".join((*path[path.index(node) :], node))
                    raise GraphError(f"packets to {prefix} go round in a circle: {circle}; change one of these routes")
                path.append(node)
                hop = _longest(tables.get(node, {}), address)
                if hop is None:
                    break
                node = hop.node


def _order(prefix: Network) -> tuple[int, bytes, int]:
    return prefix.version, prefix.network_address.packed, prefix.prefixlen


def _holds(prefix: Network, address: tuple[int, int]) -> bool:
    version, number = address
    return prefix.version == version and int(prefix.network_address) <= number <= int(prefix.broadcast_address)


def _only_in(prefix: Network, every: Sequence[Network]) -> tuple[int, int] | None:
    """(version, number) of an address of ``prefix`` that is in no more specific one."""
    inner = [p for p in every if p.version == prefix.version and p != prefix and p.subnet_of(prefix)]  # type: ignore[arg-type]  # one version
    number = int(prefix.network_address)
    for other in sorted(inner, key=lambda p: int(p.network_address)):
        if int(other.network_address) > number:
            break
        number = max(number, int(other.broadcast_address) + 1)
    return (prefix.version, number) if number <= int(prefix.broadcast_address) else None


def _longest(table: Mapping[Network, Hop | None], address: tuple[int, int]) -> Hop | None:
    best = max((p for p in table if _holds(p, address)), key=lambda p: p.prefixlen, default=None)
    return table[best] if best is not None else None
