"""From the options of `up` and `run`, and a file of them, to an InstanceConfig: all that can be wrong is found here."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface

import msgspec

from netemu.apps.base import Network, UsageError
from netemu.apps.registry import DEFAULT_APPS, AppSpec, parse_apps
from netemu.link.impairments import Impairments
from netemu.link.reader import WordsError
from netemu.link.ways import parse_ways
from netemu.runtime import plugins  # noqa: F401  # so that a user's congestion control is found
from netemu.runtime.errors import RuntimeFailure
from netemu.runtime.paths import check_name
from netemu.runtime.plan import HostPlan, InstanceConfig, LinkPlan, Plan, TunPlan
from netemu.runtime.privileges import target_user
from netemu.stack.flavours import FLAVOURS
from netemu.stack.sysctl import PORT_RANGE, SETTINGS, configure, wanted
from netemu.tcp.config import Config

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface

HOST, TUN, LINK = "host", "tun", "link"
"""What the nodes of a plain instance are called, and what is between them."""
DEFAULT_NAME = "netemu0"
DEFAULT_MTU = 1500
DEFAULT_FLAVOUR = "linux"
DEFAULT_ADDRESSES = ("198.18.0.2", "2001:2::2")
DEFAULT_HOST_ADDRESSES = ("198.18.0.1/24", "2001:2::1/64")
MTU_RANGE = range(576, 65536)
"""From what every IPv4 host takes (RFC 791) to the longest packet."""
MIN_MTU_IPV6 = 1280
SEED_RANGE = range(2**64)


class Settings(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    """Options as they are given; a name with '-' for '_' is the option and the key in a file."""

    name: str | None = None
    tun: str | None = None
    mtu: int | None = None
    addr: list[str] | None = None
    host_addr: list[str] | None = None
    app: list[str] | None = None
    no_apps: bool = False
    pcap: str | None = None
    seed: int | None = None
    user: str | None = None
    no_offload: bool = False
    netns: str | None = None
    shared: bool = False
    flavour: str | None = None
    sysctl: list[str] | None = None
    link: str | None = None

    def over(self, other: Settings) -> Settings:
        """These settings, and the other's where these say nothing."""
        pairs = [(getattr(self, field), getattr(other, field)) for field in self.__struct_fields__]
        return Settings(*(theirs if mine is None or mine is False or mine == [] else mine for mine, theirs in pairs))


def read_file(path: str) -> Settings:
    """The settings in a TOML file. RuntimeFailure when it cannot be read, UsageError when it is wrong."""
    import tomllib

    try:
        with open(path, "rb") as file:
            return msgspec.convert(tomllib.load(file), Settings)
    except OSError as error:
        raise RuntimeFailure(f"--config {path}: {error.strerror}") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"--config {path}: {_explain(error)}") from None


def build_config(settings: Settings) -> InstanceConfig:
    """The checked configuration. UsageError names the option that is wrong; RuntimeFailure what the machine lacks."""
    name = check_name(settings.name or DEFAULT_NAME)
    addresses = [_address(text) for text in settings.addr or DEFAULT_ADDRESSES]
    interfaces = _host_addresses(settings, addresses)
    _check_distinct(addresses, interfaces)
    target_user(settings.user)
    mtu = check_mtu(DEFAULT_MTU if settings.mtu is None else settings.mtu, [*addresses, *interfaces])
    apps = _apps(settings.app or [], settings.no_apps)
    _check_prefixes(apps, addresses, interfaces)
    prefixes = [prefix for app in apps for prefix in app.prefixes]
    host = HostPlan(
        HOST,
        tuple(_with_prefix(address, interfaces) for address in addresses),
        mtu,
        _flavour(settings.flavour or DEFAULT_FLAVOUR),
        _sysctl(settings.sysctl or []),
        apps,
    )
    tun = TunPlan(
        TUN,
        _tun(settings.tun or name),
        tuple(map(str, interfaces)),
        (
            *(str(a) for a in addresses if not any(a in interface.network for interface in interfaces)),
            *(str(p) for p in prefixes if not any(_is_within(p, interface.network) for interface in interfaces)),
        ),
        mtu,
        not settings.no_offload,
        _netns(settings.netns),
    )
    link = LinkPlan(LINK, (TUN, HOST), *read_link((settings.link or "").split()))
    plan = Plan((host,), (tun,), links=(link,), seed=choose_seed(settings.seed))
    return InstanceConfig(name, plan, settings.pcap, settings.user, settings.shared)


def read_link(words: Sequence[str]) -> tuple[Impairments, Impairments]:
    """What both directions of a link are asked for; files are read. UsageError."""
    try:
        return parse_ways(words, read_file=read_text)
    except WordsError as error:
        raise UsageError(str(error)) from None


def read_text(path: str) -> str:
    """A file that words of a link name."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _with_prefix(address: Address, interfaces: list[Interface]) -> str:
    """An address of the host with the prefix of the kernel's end that covers it."""
    return next((f"{address}/{i.network.prefixlen}" for i in interfaces if address in i.network), str(address))


def scenario_config(path: str, settings: Settings) -> InstanceConfig:
    """The configuration of an instance that is a scenario's network. UsageError has a line for each thing that is wrong."""
    from netemu.scenario.build import plan_of
    from netemu.scenario.reader import read_scenario

    goes_with = ("name", "pcap", "seed", "user", "shared")
    for field in settings.__struct_fields__:
        if field not in goes_with and getattr(settings, field) not in (None, False, []):
            option = "--" + field.replace("_", "-")
            raise UsageError(f"{option}: with a scenario, the file says it; put it into {path}, or leave {option} out")
    name = check_name(settings.name or DEFAULT_NAME)
    target_user(settings.user)
    chosen = choose_seed(settings.seed)
    plan = plan_of(read_scenario(path), seed=chosen)
    if settings.seed is not None:
        plan = replace(plan, seed=chosen)
    return InstanceConfig(name, plan, settings.pcap, settings.user, settings.shared)


def _explain(error: Exception) -> str:
    """msgspec's and tomllib's words, in the words of a person with a file before him."""
    text, _, where = str(error).replace(" | null", "").partition(" - at `$.")
    if text.startswith("Object contains unknown field `"):
        known = ", ".join(Settings.__struct_encode_fields__)
        return f"unknown key {text.split('`')[1]!r}; known: {known}"
    return f"{where.rstrip('`')}: {text}" if where else text


def _tun(name: str) -> str:
    if (
        not 0 < len(os.fsencode(name)) <= 15
        or name in (".", "..")
        or any(c in "/:%" or not c.isprintable() or c == " " for c in name)
    ):
        raise UsageError(f"--tun {name!r}: give 1 to 15 letters, digits or '_', '-', '.'")
    return name


def check_mtu(mtu: int, addresses: Sequence[Address | Interface]) -> int:
    if mtu not in MTU_RANGE:
        raise UsageError(f"--mtu {mtu}: give {MTU_RANGE[0]} to {MTU_RANGE[-1]} bytes")
    if mtu < MIN_MTU_IPV6 and any(address.version == 6 for address in addresses):
        raise UsageError(f"--mtu {mtu}: IPv6 needs {MIN_MTU_IPV6} bytes or more; give only IPv4 with --addr")
    return mtu


def _address(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError:
        advice = "leave the prefix to --host-addr" if "/" in text else "give one such as 198.18.0.2 or 2001:2::2"
        raise UsageError(f"--addr {text}: not an IPv4 or IPv6 address; {advice}") from None
    if address.is_multicast or address.is_loopback or address.is_unspecified or str(address) == "255.255.255.255":
        raise UsageError(f"--addr {text}: no host can have this address; give one such as 198.18.0.2")
    return address


def _host_addresses(settings: Settings, addresses: list[Address]) -> list[Interface]:
    if settings.host_addr:
        return [_interface(text) for text in settings.host_addr]
    families = {address.version for address in addresses}
    return [interface for interface in map(ip_interface, DEFAULT_HOST_ADDRESSES) if interface.version in families]


def _interface(text: str) -> Interface:
    try:
        interface = ip_interface(text)
    except ValueError:
        interface = None
    if interface is None or "/" not in text:
        raise UsageError(f"--host-addr {text}: not an address with its prefix; give one such as 198.18.0.1/24")
    return interface


def _check_distinct(addresses: list[Address], interfaces: list[Interface]) -> None:
    seen: set[Address] = {interface.ip for interface in interfaces}
    for address in addresses:
        if address in seen:
            who = "this machine's (--host-addr)" if any(address == i.ip for i in interfaces) else "given twice"
            raise UsageError(f"--addr {address}: the address is {who}; give another")
        seen.add(address)


def _apps(specs: list[str], no_defaults: bool) -> tuple[AppSpec, ...]:
    chosen = parse_apps(specs)
    names, ports = {spec.name for spec in chosen}, {port for spec in chosen for port in spec.ports}
    defaults = () if no_defaults else DEFAULT_APPS
    return tuple(spec for spec in defaults if spec.name not in names and spec.port not in ports) + chosen


def _check_prefixes(apps: Sequence[AppSpec], addresses: list[Address], interfaces: list[Interface]) -> None:
    """Addresses that apps have for themselves are nobody else's."""
    for app in apps:
        for prefix in app.prefixes:
            if not any(address.version == prefix.version for address in addresses):
                raise UsageError(
                    f"--app {app.name}: {prefix}: the host has no IPv{prefix.version}; give it with --addr"
                )
            for address in (*addresses, *(interface.ip for interface in interfaces)):
                if address in prefix:
                    raise UsageError(f"--app {app.name}: {prefix} has {address} in it, which is taken; give another")


def _is_within(prefix: Network, other: Network) -> bool:
    return prefix.prefixlen >= other.prefixlen and prefix.network_address in other


def choose_seed(seed: int | None) -> int:
    """One that nobody chose is short, so that people can give it again."""
    if seed is None:
        return secrets.randbelow(2**32)
    if seed not in SEED_RANGE:
        raise UsageError(f"--seed {seed}: give a number from 0 to 2**64 - 1")
    return seed


def _flavour(name: str) -> str:
    if name not in FLAVOURS:
        raise UsageError(f"--flavour {name}: give one of {', '.join(FLAVOURS)}")
    return name


def _sysctl(texts: list[str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError(f"--sysctl {text}: give NAME=VALUE, such as net.ipv4.tcp_migrate_req=1")
        try:
            configure(Config(), {name: value})
        except KeyError:
            raise UsageError(
                f"--sysctl {name}: not known; known: {', '.join(sorted([*SETTINGS, PORT_RANGE]))}"
            ) from None
        except ValueError:
            raise UsageError(f"--sysctl {text}: give {wanted(name)}") from None
        chosen[name] = value.strip()
    return chosen


def _netns(name: str | None) -> str | None:
    if name is None:
        return None
    if "/" in name or name in ("", ".", ".."):
        raise UsageError(f"--netns {name!r}: give a name, as `ip netns` lists it")
    if not os.path.exists(f"/run/netns/{name}"):
        raise RuntimeFailure(f"--netns {name}: no such network namespace; make it with `ip netns add {name}`")
    return name
