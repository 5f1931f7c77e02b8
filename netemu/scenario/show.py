"""A scenario as rows for people and programs, as a diagram, and as the file that says it all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netemu.apps.registry import DEFAULT_APPS, AppSpec
from netemu.link.units import time_text
from netemu.link.words import words_of
from netemu.scenario.checks import own_networks, route_tables
from netemu.scenario.model import DEFAULT_MTU, Change, Host, Link, Node, Router, Scenario, Tun

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class NodeRow(msgspec.Struct, frozen=True):
    name: str
    kind: str
    """host, tun or router"""
    addresses: list[str]
    notes: list[str]


class LinkRow(msgspec.Struct, frozen=True):
    name: str
    first: str
    second: str
    inward: str
    """Words of the direction from first to second; '' where nothing is asked."""
    outward: str
    rules: list[str]
    cost_in: int
    cost_out: int


class RouteRow(msgspec.Struct, frozen=True):
    router: str
    prefix: str
    link: str
    """'' for a route that refuses"""
    next: str
    """The node that is next; '' where the prefix is the link's own."""


class ChangeRow(msgspec.Struct, frozen=True):
    time: str
    link: str
    change: str


class ScenarioRows(msgspec.Struct, frozen=True):
    """All that `netemu scenario show` has to say."""

    title: str
    seed: int | None
    script: str | None
    nodes: list[NodeRow]
    links: list[LinkRow]
    routes: list[RouteRow]
    timeline: list[ChangeRow]


def rows(scenario: Scenario) -> ScenarioRows:
    return ScenarioRows(
        scenario.title,
        scenario.seed,
        scenario.script,
        [_node_row(scenario, node) for node in scenario.nodes.values()],
        [_link_row(link) for link in scenario.links.values()],
        list(_route_rows(scenario)),
        [_change_row(change) for change in scenario.timeline],
    )


def _node_row(scenario: Scenario, node: Node) -> NodeRow:
    ends = [end for link in scenario.links_of(node.name) for end in link.ends if end.node == node.name]
    addresses = [str(address) for end in ends for address in end.addresses]
    return NodeRow(node.name, type(node).__name__.lower(), addresses, list(_notes(node)))


def _notes(node: Node) -> Iterator[str]:
    if isinstance(node, Router):
        if node.nat is not None:
            inside = node.nat.get("inside")
            yield f"NAT for {' '.join(inside) if isinstance(inside, list) else inside}"
        if node.firewall:
            yield f"firewall of {len(node.firewall)} lines"
        yield from (f"route {route}" for route in node.routes)
        return
    if isinstance(node, Tun):
        yield f"namespace {node.namespace}" if node.namespace else "this namespace"
    else:
        yield from (f"{app.name}:{app.port}" for app in node.apps)
        yield from (f"addresses of {app.name} {prefix}" for app in node.apps for prefix in app.prefixes)
        if node.flavour != "linux":
            yield f"flavour {node.flavour}"
        yield from (f"{name}={value}" for name, value in node.sysctl.items())
    if node.mtu != DEFAULT_MTU:
        yield f"mtu {node.mtu}"


def _link_row(link: Link) -> LinkRow:
    return LinkRow(
        link.name,
        link.first.node,
        link.second.node,
        words_of(link.inward),
        words_of(link.outward),
        [str(rule) for rule in link.rules],
        link.cost_in,
        link.cost_out,
    )


def _route_rows(scenario: Scenario) -> Iterator[RouteRow]:
    tables, _ = route_tables(scenario)
    own = own_networks(scenario)
    for router in scenario.routers():
        for link in scenario.links_of(router.name):
            for end in link.ends:
                if end.node == router.name:
                    for address in end.addresses:
                        yield RouteRow(router.name, str(address.network), link.name, "")
        for prefix, hop in tables[router.name].items():
            if prefix not in own[router.name]:
                link_name, node = hop or ("", "")
                yield RouteRow(router.name, str(prefix), link_name, node)


def _change_row(change: Change) -> ChangeRow:
    return ChangeRow(time_text(change.time), change.link, change_text(change))


def change_text(change: Change) -> str:
    """'set in loss 5%', 'down both'."""
    return f"{change.action} {change.text}"


# -- diagrams ---------------------------------------------------------------------------------------------------------------

_MERMAID = {Host: ("[", "]"), Tun: ("([", "])"), Router: ("{{", "}}")}
_DOT = {Host: "box", Tun: "oval", Router: "hexagon"}


def mermaid(scenario: Scenario) -> str:
    """A flowchart in mermaid's language."""
    number = {name: f"n{index}" for index, name in enumerate(scenario.nodes)}
    lines = ["graph LR"]
    for node in scenario.nodes.values():
        left, right = _MERMAID[type(node)]
        row = _node_row(scenario, node)
        lines.append(f'  {number[node.name]}{left}"{"<br/>".join((node.name, *row.addresses))}"{right}')
    for link in scenario.links.values():
        label = "<br/>".join(_label(link)).replace('"', "#quot;")
        lines.append(f'  {number[link.first.node]} ---|"{label}"| {number[link.second.node]}')
    return "\n".join(lines) + "\n"


def dot(scenario: Scenario) -> str:
    """A graph in graphviz' language."""
    lines = ["graph scenario {", "  rankdir = LR;"]
    for node in scenario.nodes.values():
        label = "\n".join((node.name, *_node_row(scenario, node).addresses))
        lines.append(f"  {_quoted(node.name)} [shape = {_DOT[type(node)]}, label = {_quoted(label)}];")
    for link in scenario.links.values():
        ends = f"{_quoted(link.first.node)} -- {_quoted(link.second.node)}"
        label = "\n".join(_label(link))
        lines.append(f"  {ends} [label = {_quoted(label)}];")
    return "\n".join([*lines, "}"]) + "\n"


def _label(link: Link) -> Iterator[str]:
    yield link.name
    inward, outward = words_of(link.inward), words_of(link.outward)
    if inward == outward:
        yield from [inward] if inward else []
    else:
        yield f"in: {inward or '-'}"
        yield f"out: {outward or '-'}"


# -- the file ---------------------------------------------------------------------------------------------------------------


def toml(scenario: Scenario) -> str:
    """The file that `netemu.scenario.reader` reads as this very scenario: without profiles, words in their shortest form."""
    blocks = [_block("", {"title": scenario.title, "seed": scenario.seed, "script": scenario.script})]
    blocks += [
        _block(f"{type(node).__name__.lower()}.{_key(node.name)}", _node(node)) for node in scenario.nodes.values()
    ]
    blocks += [_block(f"link.{_key(link.name)}", _link(scenario, link)) for link in scenario.links.values()]
    blocks += [_block("[at]", _change(change)) for change in scenario.timeline]
    return "\n".join(block for block in blocks if block)


def _block(header: str, values: Mapping[str, object]) -> str:
    lines = [f"{_key(key)} = {_value(value)}\n" for key, value in values.items() if value not in (None, "", {})]
    return "".join([f"[{header}]\n" if header else "", *lines])


def _node(node: Node) -> dict[str, object]:
    if isinstance(node, Router):
        return {"routes": node.routes or None, "nat": node.nat, "firewall": node.firewall or None}
    mtu = None if node.mtu == DEFAULT_MTU else node.mtu
    addresses = [str(address) for address in node.addresses]
    if isinstance(node, Tun):
        return {"address": addresses, "namespace": node.namespace, "mtu": mtu}
    apps = None if node.apps == DEFAULT_APPS else [_app(app) for app in node.apps]
    flavour = None if node.flavour == "linux" else node.flavour
    return {"address": addresses, "app": apps, "flavour": flavour, "sysctl": node.sysctl, "mtu": mtu}


def _app(app: AppSpec) -> str:
    return ",".join([f"{app.name}={app.kind}:{app.port}", *(f"{key}={value}" for key, value in app.options.items())])


def _link(scenario: Scenario, link: Link) -> dict[str, object]:
    ends = []
    for end in link.ends:
        is_router = isinstance(scenario.nodes[end.node], Router)
        ends.append(" ".join([end.node, *map(str, end.addresses if is_router else ())]))
    inward, outward = words_of(link.inward), words_of(link.outward)
    words = {"both": inward} if inward == outward else {"in": inward, "out": outward}
    cost: object = link.cost_in if link.cost_in == link.cost_out else {"in": link.cost_in, "out": link.cost_out}
    rules = [str(rule) for rule in link.rules]
    return {"ends": ends, **words, "rules": rules or None, "cost": None if cost == 1 else cost}


def _change(change: Change) -> dict[str, object]:
    switched = change.action in ("down", "up", "reset") and change.text == "both"
    return {"time": time_text(change.time), "link": change.link, change.action: True if switched else change.text}


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(below)}" for key, below in value.items()) + " }"
    if isinstance(value, Iterable):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
