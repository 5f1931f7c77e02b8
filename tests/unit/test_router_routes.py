"""The longest prefix wins; routes from a graph; routes as text; loops are found."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from router_bench import RouterBench

from netemu.router.graph import GraphError, GraphLink, Hop, check_loops, compute
from netemu.router.routes import Network, Route, RouteError, RouteTable, parse_route, words_of
from netemu.router.rows import port_rows, route_rows
from netemu.wire.ip import parse_address

NET = ip_network


# -- the table ----------------------------------------------------------------------------------------------------------


def prefixes(size: int) -> st.SearchStrategy[Network]:
    """Prefixes that often hold each other."""
    few = st.sampled_from([0, 1, 2, 0b1010 << (size - 4), 0b1011 << (size - 4), (1 << size) - 1])
    return st.builds(
        lambda bits, length: ip_network((bits.to_bytes(size // 8, "big"), length), strict=False),
        few | st.integers(0, (1 << size) - 1),
        st.integers(0, size),
    )


@given(st.lists(prefixes(32) | prefixes(128), max_size=20), st.data())
def test_as_a_slow_search_would_find_it(networks: list[Network], draw: st.DataObject) -> None:
    table, known = RouteTable(), {}
    for port, network in enumerate(networks):
        table.add(Route(network, port))
        known[network] = port
    for network in list(known)[::3]:
        table.remove(network)
        del known[network]
    assert len(table) == len(known)
    assert {route.prefix: route.port for route in table} == known
    for network in [*known, NET("0.0.0.0/0"), NET("::/0")]:
        offset = draw.draw(st.integers(0, network.num_addresses - 1))
        address = network[offset]
        holding = [n for n in known if n.version == address.version and address in n]
        best = max(holding, key=lambda n: n.prefixlen, default=None)
        for _ in range(2):  # the second time from the cache
            found = table.lookup(address.packed)
            assert (found.port if found else None) == (known[best] if best is not None else None)


def test_a_new_route_replaces_the_old_one_at_once() -> None:
    table = RouteTable()
    table.add(Route(NET("10.0.0.0/8"), 1))
    assert table.lookup(parse_address("10.1.2.3")) == Route(NET("10.0.0.0/8"), 1)
    table.add(Route(NET("10.1.0.0/16"), 2))
    assert table.lookup(parse_address("10.1.2.3")) == Route(NET("10.1.0.0/16"), 2)
    table.remove(NET("10.1.0.0/16"))
    table.add(Route(NET("10.0.0.0/8"), 3))
    assert table.lookup(parse_address("10.1.2.3")) == Route(NET("10.0.0.0/8"), 3)
    assert len(table) == 1


# -- text ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "10.0.9.0/24 via 10.0.3.2",
        "10.0.9.0/24 dev wan",
        "10.0.9.0/24 via 10.0.3.2 dev wan",
        "default via 10.0.3.2",
        "default dev wan",
        "default via 2001:db8::2",
        "2001:db8::/32 dev wan",
        "blackhole 10.9.0.0/16",
        "prohibit 10.9.0.0/16",
        "unreachable 2001:db8::/32",
    ],
)
def test_routes_are_read_and_written(words: str) -> None:
    prefix, kind, via, dev = parse_route(words)
    text = words_of(Route(prefix, 1, via, kind), "wan")
    assert parse_route(text)[:3] == (prefix, kind, via)
    assert text == words or (not dev and text == f"{words} dev wan")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "give a prefix"),
        ("blackhole", "give a prefix"),
        ("10.0.9.0/24", "needs 'via ADDRESS' or 'dev PORT'"),
        ("10.0.9.1/24 dev wan", "host bits"),
        ("10.0.9.0/24 via", "come 'via ADDRESS' or 'dev PORT'"),
        ("10.0.9.0/24 by wan", "come 'via ADDRESS' or 'dev PORT'"),
        ("10.0.9.0/24 via nobody", "nobody"),
        ("10.0.9.0/24 via 2001:db8::1", "not of one family"),
        ("10.0.9.0/24 dev a dev b", "come 'via ADDRESS' or 'dev PORT'"),
        ("blackhole 10.0.0.0/8 dev wan", "takes no gateway"),
    ],
)
def test_what_is_no_route(words: str, says: str) -> None:
    with pytest.raises(RouteError, match=says) as caught:
        parse_route(words)
    assert "\n" not in str(caught.value)


def test_routes_of_a_router() -> None:
    router = RouterBench().router
    router.add_route(parse_route("203.0.113.0/24 dev wan"))
    router.add_route(parse_route("blackhole 203.0.113.0/25"))
    rows = [(row.prefix, row.kind, row.port, row.via, row.origin) for row in route_rows(router)]
    assert rows == [
        ("10.0.1.0/24", "unicast", "lan", "", "connected"),
        ("192.0.2.0/24", "unicast", "wan", "", "connected"),
        ("198.51.100.0/24", "unicast", "wan", "192.0.2.2", "static"),
        ("203.0.113.0/24", "unicast", "wan", "", "static"),
        ("203.0.113.0/25", "blackhole", "", "", "static"),
        ("2001:db8:1::/64", "unicast", "lan", "", "connected"),
        ("2001:db8:2::/64", "unicast", "wan", "", "connected"),
        ("2001:db8:ffff::/48", "unicast", "wan", "2001:db8:2::2", "static"),
    ]
    assert [(row.name, row.addresses, row.mtu) for row in port_rows(router)] == [
        ("lan", ["10.0.1.1/24", "2001:db8:1::1/64"], 1500),
        ("wan", ["192.0.2.1/24", "2001:db8:2::1/64"], 1500),
    ]
    with pytest.raises(RouteError, match="r1 has no port 'dmz'; it has lan, wan"):
        router.add_route(parse_route("203.0.113.0/24 dev dmz"))
    with pytest.raises(RouteError, match="gateway is on no link"):
        router.add_route(parse_route("203.0.113.0/24 via 198.51.100.1"))


def test_ports_that_contradict_each_other() -> None:
    router = RouterBench().router
    for name, address, says in (
        ("lan", "10.0.5.1/24", "called 'lan'"),
        ("self", "10.0.5.1/24", "called 'self'"),
        ("dmz", "10.0.1.1/16", "another port has the address"),
        ("dmz", "10.0.1.9/24", "lan and dmz are both in 10.0.1.0/24"),
        ("dmz", "10.0.1", "10.0.1"),
    ):
        with pytest.raises(ValueError, match=says):
            router.add_port(name, [address])


# -- the graph ----------------------------------------------------------------------------------------------------------

ROUTERS = ("r1", "r2", "r3")
LINKS = [GraphLink("lan", "client", "r1"), GraphLink("wan", "r3", "web")]
LINKS += [GraphLink("a", "r1", "r2"), GraphLink("b", "r2", "r3"), GraphLink("c", "r1", "r3", cost_in=1, cost_out=5)]
C, W = NET("10.0.1.0/24"), NET("10.0.2.0/24")
OWN = {"client": [C], "r1": [C], "r3": [W], "web": [W]}


def test_costs_that_differ_make_the_paths_differ() -> None:
    """There over the direct link, back over r2: 1 against 2, and 5 against 2."""
    tables, unreachable = compute(LINKS, ROUTERS, OWN)
    assert unreachable == []
    assert tables["r1"][W] == Hop("c", "r3")
    assert (tables["r3"][C], tables["r2"][C]) == (Hop("b", "r2"), Hop("a", "r1"))
    assert (tables["client"][W], tables["web"][C]) == (Hop("lan", "r1"), Hop("wan", "r3"))
    assert C not in tables["r1"]
    check_loops(tables, ROUTERS, OWN)


def test_hosts_pass_nothing_on_and_what_no_path_leads_to_is_told() -> None:
    links = [GraphLink("x", "r1", "host"), GraphLink("y", "host", "r2")]
    tables, unreachable = compute(links, ("r1", "r2"), {"r1": [C], "r2": [W], "host": [NET("10.0.3.1/32")]})
    assert unreachable == [("r2", C), ("r1", W)]
    assert tables["r1"] == {NET("10.0.3.1/32"): Hop("x", "host")}
    assert tables["host"] == {C: Hop("x", "r1"), W: Hop("y", "r2")}


def test_what_is_equally_cheap_goes_by_the_order_of_the_links() -> None:
    first, second = GraphLink("first", "r1", "r2"), GraphLink("second", "r2", "r1")
    for links in ([first, second], [second, first]):
        tables, _ = compute(links, ("r1", "r2"), {"r2": [W]})
        assert tables["r1"][W] == Hop(links[0].name, "r2")


def test_a_cost_below_one_is_refused() -> None:
    with pytest.raises(GraphError, match="link z: a cost of 0: give 1 or more"):
        compute([GraphLink("z", "r1", "r2", cost_out=0)], ROUTERS, {})


def distances(links: list[GraphLink], routers: list[str], owner: str, nodes: list[str]) -> dict[str, int]:
    """Bellman and Ford's way, slow and sure."""
    far = 10**9
    cost = dict.fromkeys(nodes, far)
    cost[owner] = 0
    for _ in nodes:
        for link in links:
            for a, b, price in ((link.first, link.second, link.cost_in), (link.second, link.first, link.cost_out)):
                if b == owner or b in routers:
                    cost[a] = min(cost[a], price + cost[b])
    return {node: c for node, c in cost.items() if c < far}


@given(st.integers(0, 10**6))
def test_every_path_is_as_cheap_as_can_be(seed: int) -> None:
    random = Random(seed)
    nodes = [f"n{n}" for n in range(random.randrange(2, 8))]
    routers = [node for node in nodes if random.random() < 0.7]
    links = []
    for number in range(random.randrange(1, 12)):
        a, b = random.sample(nodes, 2)
        links.append(GraphLink(f"l{number}", a, b, random.randrange(1, 9), random.randrange(1, 9)))
    owner = random.choice(nodes)
    tables, unreachable = compute(links, routers, {owner: [W], **{n: [] for n in nodes if n != owner}})
    best = distances(links, routers, owner, nodes)
    assert {node for node, _ in unreachable} == set(nodes) - set(best)
    by_name = {link.name: link for link in links}
    for node in set(best) - {owner}:
        spent, at = 0, node
        while at != owner:
            hop = tables[at][W]
            link = by_name[hop.link]
            assert {at, hop.node} == {link.first, link.second}
            spent += link.cost_in if at == link.first else link.cost_out
            at = hop.node
        assert spent == best[node]
    check_loops(tables, routers, {owner: [W]})


# -- loops --------------------------------------------------------------------------------------------------------------


def test_written_routes_that_go_round_in_a_circle() -> None:
    tables, _ = compute(LINKS, ROUTERS, OWN)
    tables["r3"][NET("203.0.113.0/24")] = Hop("c", "r1")
    tables["r1"][NET("203.0.0.0/16")] = Hop("a", "r2")
    check_loops(tables, ROUTERS, OWN)
    tables["r2"][NET("203.0.113.0/24")] = Hop("b", "r3")
    with pytest.raises(GraphError, match=r"203.0.113.0/24 go round in a circle: r1 -> r2 -> r3 -> r1; change"):
        check_loops(tables, ROUTERS, OWN)


def test_a_default_route_that_loops_only_for_what_nobody_knows() -> None:
    whole = NET("0.0.0.0/0")
    tables: dict[str, dict[Network, Hop | None]] = {
        "r1": {whole: Hop("a", "r2"), C: Hop("lan", "client")},
        "r2": {whole: Hop("a", "r1"), C: Hop("a", "r1")},
    }
    with pytest.raises(GraphError, match=r"0.0.0.0/0 go round in a circle: r1 -> r2 -> r1"):
        check_loops(tables, ("r1", "r2"), {"client": [C]})
    tables["r2"][whole] = None  # it refuses
    check_loops(tables, ("r1", "r2"), {"client": [C]})
    tables["r2"][whole] = Hop("a", "r1")
    halves: list[IPv4Network] = [IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")]
    tables["r1"] |= dict.fromkeys(halves)  # more specific routes cover all of it
    check_loops(tables, ("r1", "r2"), {"client": [C]})
