"""From a scenario to a plan, which an instance makes real on TUN devices, and a simulation in virtual time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from netemu.link.reader import WordsError
from netemu.link.rules.parse import parse_rule
from netemu.runtime.network import Network
from netemu.runtime.plan import HostPlan, LinkPlan, Plan, RouterPlan, Step, TunPlan
from netemu.scenario.checks import Tables, own_networks, route_tables
from netemu.scenario.model import Change, Host, Link, Router, Scenario, Tun
from netemu.scenario.routers import make_router
from netemu.scenario.show import change_text
from netemu.scenario.timeline import after


def plan_of(scenario: Scenario, *, seed: int = 0, real: bool = True) -> Plan:
    """The plan of a checked scenario; ``seed`` is taken where it has none.

    ``real``: TUNs are devices. Without, an emulated host of the same name and addresses stands for whoever is behind one, as
    virtual time needs it. Python that the file names is run here, once.
    """
    tables, _ = route_tables(scenario)
    hosts = [_host(host) for host in scenario.hosts()]
    tuns = [_tun(scenario, tun) for tun in scenario.tuns()]
    if not real:
        hosts += [HostPlan(tun.name, tuple(map(str, tun.addresses)), tun.mtu) for tun in scenario.tuns()]
    return Plan(
        tuple(hosts),
        tuple(tuns) if real else (),
        tuple(_router(scenario, router, tables) for router in scenario.routers()),
        tuple(_link(scenario, link) for link in scenario.links.values()),
        tuple(_steps(scenario)),
        seed if scenario.seed is None else scenario.seed,
    )


def _host(host: Host) -> HostPlan:
    return HostPlan(host.name, tuple(map(str, host.addresses)), host.mtu, host.flavour, host.sysctl, host.apps)


def _tun(scenario: Scenario, tun: Tun) -> TunPlan:
    """The kernel sends to it what is for any network of the scenario."""
    own = own_networks(scenario)
    prefixes = dict.fromkeys(network for node in own for network in own[node] if network not in own[tun.name])
    versions = {address.version for address in tun.addresses}
    return TunPlan(
        tun.name,
        tun.name,
        tuple(map(str, tun.addresses)),
        tuple(str(prefix) for prefix in prefixes if prefix.version in versions),
        tun.mtu,
        netns=tun.namespace,
        makes_netns=tun.namespace is not None,
    )


def _link(scenario: Scenario, link: Link) -> LinkPlan:
    rules = tuple(parse_rule(str(rule), scenario.files.load) for rule in link.rules)
    return LinkPlan(link.name, (link.first.node, link.second.node), link.inward, link.outward, rules)


def _router(scenario: Scenario, router: Router, tables: Tables) -> RouterPlan:
    ports = len(scenario.links_of(router.name))
    return RouterPlan(router.name, ports, lambda seed: make_router(scenario, router, tables, seed))


# -- what happens when --------------------------------------------------------------------------------------------------------


def _steps(scenario: Scenario) -> list[Step]:
    steps = [_step(scenario, change) for change in scenario.timeline]
    if scenario.script:
        steps.insert(0, Step(0, f"script {scenario.script}", _scripted(scenario)))
    return [Step(0, "traces and flapping begin", _begin), *steps]


def _begin(network: Network) -> None:
    """A direction's time begins with the first that it hears of the time; without this it would be a packet."""
    for link in network.links.values():
        for direction in link.directions():
            if direction.impairments.trace or direction.impairments.flap:
                direction.change(direction.impairments, network.now)


def _scripted(scenario: Scenario) -> Callable[[Network], None]:
    """A script that fails is told of; the network goes on."""
    name = scenario.script or ""
    function: Callable[[Network], Any] = scenario.files.load(name)

    def do(network: Network) -> None:
        try:
            function(network)
        except Exception as error:
            _tell(f"script {name} raised {type(error).__name__}: {error}")

    return do


def _tell(text: str) -> None:
    print(f"netemu: {text}", file=sys.stderr, flush=True)


def _step(scenario: Scenario, change: Change) -> Step:
    what = f"{change.link}: {change_text(change)}"
    initial = scenario.links[change.link].inward, scenario.links[change.link].outward
    rule = parse_rule(change.text, scenario.files.load) if change.action == "rule" else None

    def do(network: Network) -> None:
        link = network.links[change.link]
        if rule is not None:
            link.add_rule(rule)
        else:
            now = link.inward.impairments, link.outward.impairments
            try:
                wanted = after(change, now, initial, scenario.files)
            except WordsError as error:  # only if somebody changed the link by hand
                return _tell(f"{what}: {error}")
            for direction, impairments in zip(link.directions(), wanted, strict=True):
                direction.change(impairments, network.now)
        return network.rewire()

    return Step(change.time, what, do)
