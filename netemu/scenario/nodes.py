"""The nodes of a file: [host.NAME], [tun.NAME] and [router.NAME]."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface, ip_interface

from netemu.apps.base import UsageError
from netemu.apps.registry import DEFAULT_APPS, AppSpec, parse_apps
from netemu.router.firewall import Firewall, FirewallError
from netemu.router.nat_config import NatError, parse_nat
from netemu.router.routes import RouteError, parse_route
from netemu.runtime import plugins  # noqa: F401  # so that a user's congestion control is found
from netemu.scenario.model import DEFAULT_MTU, Host, Interface, Node, Router, Tun
from netemu.scenario.section import Section, Source, unknown
from netemu.stack.flavours import FLAVOURS
from netemu.stack.sysctl import PORT_RANGE, SETTINGS, configure, wanted
from netemu.tcp.config import Config

KEYS = {
    "host": ("address", "app", "flavour", "sysctl", "mtu"),
    "tun": ("address", "namespace", "mtu"),
    "router": ("nat", "firewall", "routes"),
}
MIN_MTU, MIN_MTU_IPV6, MAX_MTU = 576, 1280, 65535
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", re.ASCII)
_DEVICE = 15
"""The longest name of a device in Linux (IFNAMSIZ)."""


def read_nodes(source: Source, document: Section) -> dict[str, Node]:
    """All of them by name; what is wrong is collected."""
    nodes: dict[str, Node] = {}
    for kind, keys in KEYS.items():
        with source.collecting():
            for name, data in document.tables(kind).items():
                with source.collecting():
                    section = Section(source, (kind, name), data, keys=keys)
                    check_name(section, name)
                    if name in nodes:
                        raise section.wrong((), f"there is another node called {name!r}; change one of the two")
                    nodes[name] = _READ[kind](section, name)
    return nodes


def check_name(section: Section, name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise section.wrong((), f"{name!r} is no name; give up to 31 letters, digits or '_', '-', '.'")


def _host(section: Section, name: str) -> Host:
    addresses = _addresses(section)
    return Host(
        name,
        addresses,
        apps=_apps(section),
        flavour=_flavour(section),
        sysctl=_sysctl(section),
        mtu=_mtu(section, addresses),
    )


def _tun(section: Section, name: str) -> Tun:
    if len(name) > _DEVICE:
        raise section.wrong((), f"{name!r} is too long for a device; give {_DEVICE} letters at most")
    addresses = _addresses(section)
    namespace = section.text("namespace")
    if "namespace" in section and (not namespace or "/" in namespace or namespace in (".", "..")):
        raise section.wrong("namespace", f"{namespace!r} will not do; give a name as `ip netns` lists them")
    return Tun(name, addresses, namespace or None, _mtu(section, addresses))


def _router(section: Section, name: str) -> Router:
    nat = section.value("nat")
    if nat is not None:
        if not isinstance(nat, dict):
            raise section.wrong("nat", 'give a table, such as { inside = ["lan"] }')
        try:
            parse_nat(nat)
        except NatError as error:
            raise section.wrong("nat", str(error).removeprefix("nat: ")) from None
    routes = tuple(_route(section, number, text) for number, text in enumerate(section.texts("routes")))
    return Router(name, routes, nat, _firewall(section))


def _firewall(section: Section) -> tuple[str, ...]:
    lines = section.texts("firewall")
    for number in range(len(lines)):
        try:
            Firewall(lines[: number + 1])
        except FirewallError as error:
            raise section.wrong(("firewall", number), str(error).removeprefix("firewall ")) from None
    return tuple(lines)


def _route(section: Section, number: int, text: str) -> str:
    try:
        parse_route(text)
    except RouteError as error:
        raise section.wrong(("routes", number), str(error)) from None
    return text


def parse_interface(text: str) -> Interface | None:
    """An address with its prefix; None where it is none, or has none."""
    try:
        return ip_interface(text) if "/" in text else None
    except ValueError:
        return None


def check_interface(section: Section, key: tuple[str | int, ...], text: str) -> Interface:
    """An address that a node may have."""
    interface = parse_interface(text)
    if interface is None:
        what = "has no prefix" if "/" not in text and parse_interface(text + "/0") else "is no address with its prefix"
        raise section.wrong(key, f"{text!r} {what}; give one such as 10.0.1.2/24 or 2001:db8::2/64")
    ip, network = interface.ip, interface.network
    if ip.is_multicast or ip.is_loopback or ip.is_unspecified or str(ip) == "255.255.255.255":
        raise section.wrong(key, f"no node can have the address {ip}; give one such as 10.0.1.2/24")
    if isinstance(interface, IPv4Interface) and network.prefixlen < 31:
        if ip == network.network_address:
            raise section.wrong(key, f"{text} is the network itself; give one of its addresses")
        if ip == network.broadcast_address:
            raise section.wrong(key, f"{text} is the network's broadcast address; give another of its addresses")
    return interface


def _addresses(section: Section) -> tuple[Interface, ...]:
    texts = section.texts("address")
    if not texts:
        raise section.wrong("address", 'it needs one; give one such as address = ["10.0.1.2/24"]')
    return tuple(check_interface(section, ("address", number), text) for number, text in enumerate(texts))


def _apps(section: Section) -> tuple[AppSpec, ...]:
    if "app" not in section:
        return DEFAULT_APPS
    try:
        return parse_apps(section.texts("app"))
    except UsageError as error:
        raise section.wrong("app", str(error).removeprefix("--app").lstrip(" :")) from None


def _flavour(section: Section) -> str:
    flavour = section.text("flavour", "linux")
    if flavour not in FLAVOURS:
        raise section.wrong("flavour", unknown(f"there is no flavour {flavour!r}", flavour, list(FLAVOURS)))
    return flavour


def _sysctl(section: Section) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for path, value in _leaves(section.value("sysctl") or {}):
        name, key = ".".join(path), ("sysctl", *path)
        if name not in SETTINGS and name != PORT_RANGE:
            raise section.wrong(key, unknown("there is no such setting", name, [*SETTINGS, PORT_RANGE]))
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise section.wrong(key, "give a number, or a text in quotes")
        try:
            configure(Config(), {name: str(value)})
        except ValueError:
            raise section.wrong(key, f"{value!r} will not do; give {wanted(name)}") from None
        chosen[name] = str(value).strip()
    return chosen


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """What stands at the ends of dotted keys: TOML has net.ipv4.tcp_sack be three tables, unless it is in quotes."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, (*path, key))
    else:
        yield path, value


def _mtu(section: Section, addresses: tuple[Interface, ...]) -> int:
    low = MIN_MTU_IPV6 if any(address.version == 6 for address in addresses) else MIN_MTU
    return section.integer("mtu", DEFAULT_MTU, low, MAX_MTU, " bytes" + (" (IPv6)" if low == MIN_MTU_IPV6 else ""))


_READ: dict[str, Callable[[Section, str], Node]] = {"host": _host, "tun": _tun, "router": _router}
