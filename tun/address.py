"""Addresses, routes and link state of an interface through netlink, and finding a range that is free.

pyroute2 is imported inside the functions: importing any part of it imports all of it, 0.11-0.2 s. Everything else
here takes about 10 ms.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network
from socket import AF_INET, AF_INET6
from typing import Any, NamedTuple, TypeVar

from tun.errors import TunError
from tun.netns import call_in

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
T = TypeVar("T")

MIN_MTU, MAX_MTU = 68, 65535  # RFC 791; the TUN driver's limit
MIN_MTU_IPV6 = 1280  # RFC 8200, 5

_IFF_UP = 1  # linux/if.h
_IFA_F_NODAD = 2  # linux/if_addr.h
_RTN_UNICAST = 1  # linux/rtnetlink.h
_TABLE_MAIN = 254
_ADDR_GEN_MODE_NONE = 1  # IN6_ADDR_GEN_MODE_NONE, linux/if_link.h

# A VPN replaces the default route by two routes of half the Internet each (0.0.0.0/1 and 128.0.0.0/1): a prefix as
# short as that is no claim to our range.
_SHORTEST_PREFIX = 8


class Range(NamedTuple):
    """A prefix that somebody else has, and on which interface."""

    network: Network
    interface: str
    connected: bool = True
    """Its hosts are on that interface's link. False: behind a gateway, or a route to nowhere."""


# Pure functions


def check_mtu(mtu: int, addresses: Iterable[Interface] = ()) -> None:
    """Raise TunError unless a TUN with these addresses may have this MTU (bytes)."""
    if not MIN_MTU <= mtu <= MAX_MTU:
        raise TunError(
            errno.EINVAL, f"an MTU of {mtu} is impossible: choose one from {MIN_MTU} to {MAX_MTU} with --mtu"
        )
    if mtu < MIN_MTU_IPV6 and any(address.version == 6 for address in addresses):
        raise TunError(
            errno.EINVAL, f"IPv6 needs an MTU of at least {MIN_MTU_IPV6}: raise --mtu {mtu} or leave out IPv6 addresses"
        )


def parse_address(text: str) -> Interface:
    """'198.18.0.1/24' -> an address with its prefix; without '/24' it is a single host's."""
    try:
        return ip_interface(text)
    except ValueError:
        raise TunError(
            errno.EINVAL, f"{text!r} is no address with prefix length; write it like 198.18.0.1/24"
        ) from None


def parse_route(text: str) -> Network:
    """'10.0.0.0/8' -> a prefix; 'default' is IPv4's."""
    try:
        return ip_network("0.0.0.0/0" if text == "default" else text)
    except ValueError:
        raise TunError(errno.EINVAL, f"{text!r} is no prefix; write it like 10.0.0.0/8") from None


def overlap(wanted: Network, taken: Iterable[Range]) -> Range | None:
    """The first range of ``taken`` that cannot be beside ``wanted``.

    A connected range must not overlap at all. One behind a gateway may be wider, since the longest prefix wins, but
    not equal or narrower: it would take packets away from ``wanted``. Link-local ranges are each link's own.
    """
    if wanted.is_link_local:
        return None
    for entry in taken:
        network = entry.network
        if network.version != wanted.version or network.prefixlen < _SHORTEST_PREFIX or not network.overlaps(wanted):
            continue
        if entry.connected or network.prefixlen >= wanted.prefixlen:
            return entry
    return None


def conflict(address: Interface | Network, taken: Iterable[Range]) -> str | None:
    """'198.18.0.0/24 is in use on eth0', or None when the address and its prefix are free."""
    wanted = address.network if isinstance(address, IPv4Interface | IPv6Interface) else address
    entry = overlap(wanted, taken)
    return None if entry is None else f"{entry.network} is in use on {entry.interface}"


# What the namespace has


def find_conflict(address: str, *, interface: str = "", netns: str | None = None) -> str | None:
    """Who has this address or range ('198.18.0.1/24'): '198.18.0.0/24 is in use on eth0', or None when it is free.

    ``interface`` is left out of account: it is the one that the address is meant for.
    """
    wanted = parse_address(address)
    return conflict(wanted, _netlink(lambda ip: _taken(ip, interface), netns))


def free_range(within: str = "198.18.0.0/15", prefix: int = 24, *, netns: str | None = None) -> str:
    """The first prefix of that length that nobody has: '198.18.0.0/24'.

    By default from the benchmark range of RFC 2544; that of IPv6 is 2001:2::/48 (RFC 5180). Raises TunError
    (EADDRNOTAVAIL) when all are taken.
    """
    taken = _netlink(_taken, netns)
    for candidate in parse_route(within).subnets(new_prefix=prefix):
        if overlap(candidate, taken) is None:
            return str(candidate)
    raise TunError(errno.EADDRNOTAVAIL, f"no /{prefix} is free in {within}: choose a range with --host-addr and --addr")


def configure(
    interface: str, mtu: int, addresses: Sequence[str], routes: Sequence[str], *, up: bool, netns: str | None = None
) -> None:
    """Make ``interface`` so; see Tun.configure."""
    wanted = [parse_address(text) for text in addresses]
    prefixes = [parse_route(text) for text in routes]
    check_mtu(mtu, wanted)
    _netlink(lambda ip: _configure(ip, interface, mtu, wanted, prefixes, up), netns)


def _configure(
    ip: Any, interface: str, mtu: int, wanted: Sequence[Interface], routes: Sequence[Network], up: bool
) -> None:
    with _step(f"find the interface {interface!r}"):
        link = ip.link("get", ifname=interface)[0]
    index = link["index"]
    present = {_address(entry) for entry in ip.get_addr(index=index)}
    missing = [address for address in wanted if address not in present]
    taken = _taken(ip, interface) if missing else []
    for address in missing:
        if problem := conflict(address, taken):
            raise TunError(errno.EADDRINUSE, f"{problem}: choose another range with --host-addr and --addr")

    if link.get("mtu") != mtu:
        with _step(f"set the MTU of {interface!r} to {mtu}"):
            ip.link("set", index=index, mtu=mtu)
    if up != bool(link["flags"] & _IFF_UP):
        with _step(f"bring {interface!r} {'up' if up else 'down'}"):
            if up:
                _no_link_local(ip, index)
            ip.link("set", index=index, state="up" if up else "down")
    for address in missing:
        with _step(f"add {address} to {interface!r}", address.version):
            # Nobody else is on this link: an IPv6 address needs no duplicate detection and may be used at once.
            flags = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
            ip.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **flags)
    there = {_route(entry) for entry in ip.get_routes(table=_TABLE_MAIN, oif=index)} if routes else set()
    for prefix in routes:
        if prefix not in there:
            with _step(f"add the route {prefix} to {interface!r}", prefix.version):
                ip.route("add", dst=str(prefix), oif=index)


def _no_link_local(ip: Any, index: int) -> None:
    """Without a link-local address the kernel sends no router solicitations into the device."""
    from pyroute2.netlink.exceptions import NetlinkError

    mode = [["AF_INET6", {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE]]}]]
    try:
        ip.link("set", index=index, IFLA_AF_SPEC={"attrs": mode})
    except NetlinkError as error:
        # without IPv6 in this kernel, or with an MTU below IPv6's least, there is nothing to turn off
        if error.code not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise


def _taken(ip: Any, own: str = "") -> list[Range]:
    """All addresses and routes (main table) of this namespace but those of the interface ``own``."""
    names = {link["index"]: str(link.get("ifname")) for link in ip.get_links()}
    taken: list[Range] = []
    for entry in ip.get_addr():
        name, prefixlen = names.get(entry["index"], "another interface"), entry["prefixlen"]
        if name != own:
            # IFA_ADDRESS is the peer's on a point-to-point link; IFA_LOCAL, IPv4 only, is our own
            taken.append(Range(ip_network(f"{entry.get('address')}/{prefixlen}", strict=False), name))
            taken.append(Range(ip_network(entry.get("local") or entry.get("address")), name))
    for entry in ip.get_routes(table=_TABLE_MAIN):
        name = names.get(entry.get("oif"), "another route")
        if name != own and entry["family"] in (AF_INET, AF_INET6):  # not MPLS
            direct = entry["type"] == _RTN_UNICAST and not any(map(entry.get, ("gateway", "via", "multipath")))
            taken.append(Range(_route(entry), name, direct))
    return taken


def _address(entry: Any) -> Interface:
    return ip_interface(f"{entry.get('local') or entry.get('address')}/{entry['prefixlen']}")


def _route(entry: Any) -> Network:
    everything = "0.0.0.0" if entry["family"] == AF_INET else "::"
    return ip_network(f"{entry.get('dst') or everything}/{entry['dst_len']}")


# Netlink


def _netlink(call: Callable[[Any], T], netns: str | None) -> T:
    """``call(IPRoute)`` in the namespace, inside a running asyncio loop too.

    IPRoute runs a loop of its own, which may not be within another: then, as for a namespace, a fresh thread does it.
    """

    def run() -> T:
        from pyroute2 import IPRoute

        with IPRoute() as ip:
            return call(ip)

    return run() if netns is None and not _in_loop() else call_in(netns, run)


def _in_loop() -> bool:
    import asyncio  # 35 ms that `import tun` need not pay; pyroute2 brings it along

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextmanager
def _step(what: str, version: int = 0) -> Iterator[None]:
    """Turn pyroute2's error in this step into a TunError that says what to do."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        hint = ""
        if error.code == errno.EPERM:
            hint = ": run as root, or in a user namespace ('unshare --user --map-root-user --net')"
        elif version == 6 and error.code in (errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
            hint = ": IPv6 is off here ('sysctl net.ipv6.conf.all.disable_ipv6=0', or leave out IPv6 addresses)"
        elif error.code == errno.EEXIST:
            hint = ": another interface has it"
        raise TunError(error.code, f"cannot {what}: {os.strerror(error.code)}{hint}") from error
