"""What only the whole of a scenario shows: who is connected, whose address is whose, and where packets would go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_interface

from netemu.router.firewall import Firewall
from netemu.router.graph import GraphError, GraphLink, Hop, check_loops, compute
from netemu.router.nat_config import parse_nat
from netemu.router.routes import Network, parse_route
from netemu.scenario.lines import Path
from netemu.scenario.model import End, Interface, Link, Router, Scenario
from netemu.scenario.section import Source, Wrong, unknown

PORTS: dict[int, Network] = {4: IPv4Network("198.19.0.0/16"), 6: IPv6Network("2001:2:0:f000::/52")}
"""For ports of routers: of what RFC 2544 C.2.2 and RFC 5180 8 set aside for tests; `netemu up` uses other parts of it."""


Tables = dict[str, dict[Network, Hop | None]]
"""The routes of each node by prefix; None: the prefix is refused."""


def check_topology(source: Source, scenario: Scenario) -> None:
    """Collect what is wrong with a scenario whose tables are each right."""
    for check in (_links_of_nodes, _ports_of_routers, _addresses, _networks, _prefixes):
        for wrong in check(source, scenario):
            source.problems.append(str(wrong))
    source.check()
    for wrong in _routes(source, with_default_addresses(scenario)):
        source.problems.append(str(wrong))


def place(scenario: Scenario, node: str) -> Path:
    """Where a node's table is."""
    return type(scenario.nodes[node]).__name__.lower(), node


def _links_of_nodes(source: Source, scenario: Scenario) -> Iterator[Wrong]:
    for name, node in scenario.nodes.items():
        links = scenario.links_of(name)
        if not links:
            yield source.wrong(place(scenario, name), f"no link ends at it; give one with ends = [{name!r}, …]")
        elif len(links) > 1 and not isinstance(node, Router):
            names = " and ".join(link.name for link in links)
            yield source.wrong(
                ("link", links[1].name, "ends"),
                f"{name!r} has more than one link, {names}; only a router may have several: put one between",
            )


def _ports_of_routers(source: Source, scenario: Scenario) -> Iterator[Wrong]:
    """NAT and firewall speak of links that end at their router: its ports are called so."""
    for router in scenario.routers():
        ports = [link.name for link in scenario.links_of(router.name)]
        inside = sorted(parse_nat(router.nat).inside) if router.nat is not None else []
        for key, names in (("nat", inside), ("firewall", sorted(Firewall(router.firewall).ports()))):
            for name in names:
                if name not in ports:
                    text = unknown(f"no link {name!r} ends at {router.name!r}", name, ports)
                    yield source.wrong(("router", router.name, key), text)


def _places(scenario: Scenario) -> Iterator[tuple[Path, str, Interface]]:
    """(where it is written, whose it is, address) of every address that is written."""
    for name, node in scenario.nodes.items():
        if not isinstance(node, Router):
            for number, address in enumerate(node.addresses):
                yield (*place(scenario, name), "address", number), name, address
    for link in scenario.links.values():
        for number, end in enumerate(link.ends):
            if isinstance(scenario.nodes[end.node], Router):
                for address in end.addresses:
                    yield ("link", link.name, "ends", number), end.node, address


def _addresses(source: Source, scenario: Scenario) -> Iterator[Wrong]:
    owners: dict[object, str] = {}
    for path, owner, address in _places(scenario):
        if address.ip in owners:
            yield source.wrong(path, f"{address.ip} is an address of {owners[address.ip]!r} already; give another")
        owners.setdefault(address.ip, owner)


def _networks(source: Source, scenario: Scenario) -> Iterator[Wrong]:
    """Networks of different links do not overlap, and the ends of one link share one where both are given any."""
    seen: list[tuple[Network, str]] = []
    for link in scenario.links.values():
        for network in dict.fromkeys(address.network for end in link.ends for address in end.addresses):
            for other, name in seen:
                if name != link.name and network.version == other.version and network.overlaps(other):
                    yield source.wrong(
                        ("link", link.name, "ends"),
                        f"{network} overlaps {other} of link {name!r}; give it another network",
                    )
            seen.append((network, link.name))
        yield from _strangers(source, scenario, link)


def _prefixes(source: Source, scenario: Scenario) -> Iterator[Wrong]:
    """Addresses that apps have for themselves are nobody else's, and the host speaks their family."""
    networks = {
        a.network: f"link {link.name!r}" for link in scenario.links.values() for e in link.ends for a in e.addresses
    }
    for host in scenario.hosts():
        for prefix in host.prefixes:
            path = (*place(scenario, host.name), "app")
            if not any(address.version == prefix.version for address in host.addresses):
                yield source.wrong(path, f"{prefix}: the host has no address of IPv{prefix.version}; give it one")
            for other, owner in networks.items():
                if prefix.overlaps(other):
                    yield source.wrong(path, f"{prefix} overlaps {other} of {owner}; give another prefix")
            networks[prefix] = f"an app of {host.name!r}"


def _strangers(source: Source, scenario: Scenario, link: Link) -> Iterator[Wrong]:
    first, second = link.ends
    for number, (end, far) in enumerate(((first, second), (second, first))):
        if not isinstance(scenario.nodes[end.node], Router):
            continue
        for address in end.addresses:
            theirs = [other for other in far.addresses if other.version == address.version]
            if address in PORTS[address.version]:
                continue  # as one of those that we give
            if theirs and not any(other.network == address.network for other in theirs):
                yield source.wrong(
                    ("link", link.name, "ends", number),
                    f"{address} and {theirs[0]} of {far.node!r} are not of one network; give them the same prefix",
                )


# -- routes -----------------------------------------------------------------------------------------------------------------


def graph_links(scenario: Scenario) -> list[GraphLink]:
    return [
        GraphLink(link.name, link.first.node, link.second.node, link.cost_in, link.cost_out)
        for link in scenario.links.values()
    ]


def own_networks(scenario: Scenario) -> dict[str, list[Network]]:
    """What each node is connected to."""
    own: dict[str, list[Network]] = {name: [] for name in scenario.nodes}
    for link in scenario.links.values():
        for end in link.ends:
            own[end.node] += [a.network for a in end.addresses if a.network not in own[end.node]]
    for host in scenario.hosts():
        own[host.name] += [prefix for prefix in host.prefixes if prefix not in own[host.name]]
    return own


def neighbour(scenario: Scenario, router: str, text: str) -> Hop | None:
    """Where a written route goes; None for one that refuses. ValueError if there is nobody."""
    route = parse_route(text)
    if route.kind != "unicast":
        return None
    for link in scenario.links_of(router):
        far = link.second if link.first.node == router else link.first
        if link.name == route.dev or any(address.ip.packed == route.via for address in far.addresses):
            return Hop(link.name, far.node)
    known = ", ".join(link.name for link in scenario.links_of(router))
    raise ValueError(f"route {text!r}: nobody with that address is next to {router!r}; give 'dev' and one of {known}")


def route_tables(scenario: Scenario) -> tuple[Tables, list[tuple[str, Network]]]:
    """(routes, (node, prefix) where no path leads). ValueError for a written route to nobody."""
    routers = [router.name for router in scenario.routers()]
    computed = compute(graph_links(scenario), routers, own_networks(scenario))
    tables: Tables = {node: dict(table) for node, table in computed.tables.items()}
    for router in scenario.routers():
        for text in router.routes:
            tables[router.name][parse_route(text).prefix] = neighbour(scenario, router.name, text)
    return tables, computed.unreachable


def _routes(source: Source, scenario: Scenario) -> Iterator[Wrong]:
    for router in scenario.routers():
        for number, text in enumerate(router.routes):
            try:
                neighbour(scenario, router.name, text)
            except ValueError as error:
                yield source.wrong(("router", router.name, "routes", number), str(error))
                return
    tables, unreachable = route_tables(scenario)
    told: set[str] = set()
    for node, network in unreachable:
        if node not in told and not isinstance(scenario.nodes[node], Router):
            told.add(node)
            yield source.wrong(
                place(scenario, node), f"no way leads from here to {network}; connect it with links and routers"
            )
    written = [router.name for router in scenario.routers() if router.routes]
    if not written:
        return  # shortest paths have no circles
    try:
        check_loops(tables, [router.name for router in scenario.routers()], own_networks(scenario))
    except GraphError as error:
        yield source.wrong(("router", written[0], "routes"), str(error))


# -- defaults ---------------------------------------------------------------------------------------------------------------


def with_default_addresses(scenario: Scenario) -> Scenario:
    """Ports of routers that were given no address get one, so that traceroute has something to show.

    Each link has a network of its own then, of IPv4 and of IPv6 as they are in use.
    """
    addresses = [address for _, _, address in _places(scenario)]
    taken = [*(address.network for address in addresses), *(p for host in scenario.hosts() for p in host.prefixes)]
    versions = {address.version for address in addresses} or {4}
    free = [_free(PORTS[version], length, taken) for version, length in ((4, 30), (6, 64)) if version in versions]
    links: dict[str, Link] = {}
    for name, link in scenario.links.items():
        bare = [isinstance(scenario.nodes[end.node], Router) and not end.addresses for end in link.ends]
        networks = [network for pool in free if any(bare) and (network := next(pool, None))]
        first, second = (
            End(end.node, tuple(_address(network, number) for network in networks)) if is_bare else end
            for number, (end, is_bare) in enumerate(zip(link.ends, bare, strict=True))
        )
        links[name] = replace(link, first=first, second=second)
    return replace(scenario, links=links)


def _free(within: Network, length: int, taken: list[Network]) -> Iterator[Network]:
    """The networks that overlap none that are taken."""
    for network in within.subnets(new_prefix=length):
        if not any(network.version == other.version and network.overlaps(other) for other in taken):
            yield network


def _address(network: Network, number: int) -> Interface:
    return ip_interface(f"{network[number + 1]}/{network.prefixlen}")
