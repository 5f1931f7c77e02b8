"""The links of a file: [link.NAME]."""

from __future__ import annotations

from collections.abc import Mapping

from netemu.link.impairments import CLEAR, Impairments
from netemu.link.profiles import ProfileError, find_profile
from netemu.link.reader import WordsError
from netemu.link.rules.actions import Steer
from netemu.link.rules.nodes import RuleError
from netemu.link.rules.parse import parse_rule
from netemu.link.rules.rule import Rule
from netemu.link.ways import parse_way, parse_ways
from netemu.scenario.files import Files
from netemu.scenario.model import End, Link, Node, Router
from netemu.scenario.nodes import check_interface, check_name
from netemu.scenario.section import Section, Source, unknown

KEYS = ("ends", "profile", "both", "in", "out", "rules", "cost")
MAX_COST = 65535


def read_links(source: Source, document: Section, nodes: Mapping[str, Node], files: Files) -> dict[str, Link]:
    """All of them by name; what is wrong is collected."""
    links: dict[str, Link] = {}
    with source.collecting():
        tables = document.tables("link")
        for name, data in tables.items():
            with source.collecting():
                section = Section(source, ("link", name), data, keys=KEYS)
                check_name(section, name)
                links[name] = _link(section, name, nodes, list(tables), files)
    return links


def _link(section: Section, name: str, nodes: Mapping[str, Node], names: list[str], files: Files) -> Link:
    first, second = _ends(section, nodes)
    inward, outward = _impairments(section, files)
    texts = section.texts("rules")
    rules = tuple(read_rule(section, ("rules", number), text, names, files) for number, text in enumerate(texts))
    cost_in, cost_out = _cost(section)
    return Link(name, first, second, inward, outward, rules, cost_in, cost_out)


def _ends(section: Section, nodes: Mapping[str, Node]) -> tuple[End, End]:
    texts = section.texts("ends")
    if len(texts) != 2:
        raise section.wrong("ends", f'{len(texts)} of them; a link has two, such as ["laptop", "r1 10.0.1.1/24"]')
    ends = [_end(section, ("ends", number), text, nodes) for number, text in enumerate(texts)]
    if ends[0].node == ends[1].node:
        raise section.wrong("ends", f"both are {ends[0].node!r}; a link joins two nodes")
    return ends[0], ends[1]


def _end(section: Section, key: tuple[str | int, ...], text: str, nodes: Mapping[str, Node]) -> End:
    name, *addresses = text.split() or [""]
    node = nodes.get(name)
    if node is None:
        raise section.wrong(key, unknown(f"there is no node {name!r}", name, list(nodes)))
    if isinstance(node, Router):
        return End(name, tuple(check_interface(section, key, address) for address in addresses))
    if addresses:
        raise section.wrong(key, f"the addresses of {name!r} stand under it, with 'address'; leave {addresses[0]} out")
    return End(name, node.addresses)


def _impairments(section: Section, files: Files) -> tuple[Impairments, Impairments]:
    """Of both directions: what stands for both, then what stands for one, on top of the profile."""
    inward = outward = CLEAR
    if "profile" in section:
        try:
            profile = find_profile(section.text("profile"))
        except ProfileError as error:
            raise section.wrong("profile", str(error)) from None
        inward, outward = parse_ways(["profile", profile.name])
    for key in ("both", "in", "out"):
        if key in section:
            text = section.text(key)
            inward = inward if key == "out" else _parse(section, key, "in", text, inward, files)
            outward = outward if key == "in" else _parse(section, key, "out", text, outward, files)
    return inward, outward


def _parse(section: Section, key: str, way: str, text: str, base: Impairments, files: Files) -> Impairments:
    """The words ``text`` of ``key`` for the direction ``way``."""
    try:
        return parse_way(text.split(), base, way, files.read)
    except WordsError as error:
        raise section.wrong(key, str(error)) from None


def read_rule(section: Section, key: tuple[str | int, ...], text: str, names: list[str], files: Files) -> Rule:
    try:
        rule = parse_rule(text, files.promise)
    except RuleError as error:
        raise section.wrong(key, str(error)) from None
    for action in rule.actions:
        if isinstance(action, Steer) and action.link not in names:
            raise section.wrong(key, unknown(f"steer: there is no link {action.link!r}", action.link, names))
    return rule


def _cost(section: Section) -> tuple[int, int]:
    """Of the two directions: a number for both, or { in = 1, out = 5 }."""
    if not isinstance(section.value("cost"), dict):
        cost = section.integer("cost", 1, 1, MAX_COST)
        return cost, cost
    costs = Section(section.source, (*section.path, "cost"), section.value("cost"), keys=("in", "out"))
    return costs.integer("in", 1, 1, MAX_COST), costs.integer("out", 1, 1, MAX_COST)
