"""From the options of `wire` and `run --wire` to a network of two devices and a link."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import ip_interface

from netemu.apps.base import UsageError
from netemu.cli.settings import DEFAULT_MTU, DEFAULT_NAME, LINK, check_mtu, choose_seed, read_link
from netemu.cli.wire import CLIENT, CLIENT_ADDRESSES, CURRENT, SERVER, SERVER_ADDRESSES, WireSettings
from netemu.runtime.paths import check_name
from netemu.runtime.plan import InstanceConfig, LinkPlan, Plan, TunPlan


def wire_config(settings: WireSettings, words: Sequence[str], *, runs: bool) -> InstanceConfig:
    """The checked configuration; ``runs``: commands of ours are run on it. UsageError."""
    name = check_name(settings.name or (f"wire-{os.getpid()}" if runs else DEFAULT_NAME))
    inward, outward = read_link(words)
    addresses = [
        [_address(option, text) for text in given or default]
        for option, given, default in (
            ("--client-addr", settings.client_addr, CLIENT_ADDRESSES),
            ("--server-addr", settings.server_addr, SERVER_ADDRESSES),
        )
    ]
    both = [ip_interface(text).ip for side in addresses for text in side]
    for address in both:
        if both.count(address) > 1:
            raise UsageError(f"{address} is an address of both ends; give each its own")
    mtu = check_mtu(DEFAULT_MTU if settings.mtu is None else settings.mtu, [ip_interface(str(a)) for a in both])
    if settings.client == settings.server is not None:
        raise UsageError("client and server have the same namespace: then they need no wire; give one of them another")
    tuns = tuple(
        _tun(side, number, given, addresses, name, mtu, not settings.no_offload, runs)
        for number, (side, given) in enumerate(((CLIENT, settings.client), (SERVER, settings.server)))
    )
    plan = Plan(tuns=tuns, links=(LinkPlan(LINK, (CLIENT, SERVER), inward, outward),), seed=choose_seed(settings.seed))
    # commands run as who types this, in namespaces that only root may enter: then we stay root, too
    return InstanceConfig(name, plan, settings.pcap, "root" if runs and os.geteuid() == 0 else None)


def _tun(
    side: str,
    number: int,
    given: str | None,
    addresses: list[list[str]],
    name: str,
    mtu: int,
    offload: bool,
    runs: bool,
) -> TunPlan:
    own, others = addresses[number], addresses[1 - number]
    networks = [ip_interface(text).network for text in own]
    routes = tuple(str(a) for a in (ip_interface(text).ip for text in others) if not any(a in n for n in networks))
    device = f"netemu{number}"
    if given == CURRENT:
        return TunPlan(side, device, tuple(own), routes, mtu, offload)
    if given is not None and ("/" in given or given == ".."):
        raise UsageError(f"--{side} {given!r}: give a name, as `ip netns` lists it, or . for the namespace we are in")
    netns = given or (None if runs else f"{name}-{side}")
    return TunPlan(side, device, tuple(own), routes, mtu, offload, netns, makes_netns=True)


def _address(option: str, text: str) -> str:
    try:
        interface = ip_interface(text)
    except ValueError:
        raise UsageError(f"{option} {text}: give an address with its prefix, such as 198.18.0.1/24") from None
    if "/" not in text:
        raise UsageError(f"{option} {text}: the prefix is missing, as in {text}/{24 if interface.version == 4 else 64}")
    return text
