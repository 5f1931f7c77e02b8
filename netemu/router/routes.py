"""A table of routes: the longest prefix that holds the destination wins.

A route as text is ip-route(8)'s: ``10.0.9.0/24 via 10.0.3.2``, ``10.0.9.0/24 dev wan``, ``default via 10.0.3.2``,
``2001:db8::/32 via 2001:db8:3::2``, and for what is not to be reached ``unreachable 10.9.0.0/16`` (ICMP host unreachable),
``prohibit 10.9.0.0/16`` (ICMP administratively prohibited) or ``blackhole 10.9.0.0/16`` (silence). ``default`` is 0.0.0.0/0, or
::/0 where the gateway's address is of IPv6. ``dev`` names a port of the router.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from netemu.wire.ip import parse_address, text

Network = IPv4Network | IPv6Network
REFUSALS = ("unreachable", "prohibit", "blackhole")
DEFAULT = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
CACHE_SIZE = 4096


class RouteError(ValueError):
    """What is wrong with a route, in one line."""


class Route(NamedTuple):
    """Where packets to ``prefix`` go: out by ``port``, or nowhere (``kind`` is one of REFUSALS then)."""

    prefix: Network
    port: int = -1
    via: bytes | None = None
    """The next router's address, where somebody gave it."""
    kind: str = "unicast"
    origin: str = "static"
    """'connected', 'static' or 'computed'."""


class WrittenRoute(NamedTuple):
    """A route as somebody wrote it: the gateway or the name of the port, or neither for a refusal."""

    prefix: Network
    kind: str = "unicast"
    via: bytes | None = None
    dev: str = ""


def parse_route(words: str) -> WrittenRoute:
    """See the module; RouteError."""
    parts = words.split()
    kind = parts.pop(0) if parts and parts[0] in REFUSALS else "unicast"
    if not parts:
        raise RouteError(f"route {words!r}: give a prefix, such as '10.0.9.0/24 via 10.0.3.2'")
    prefix, rest = parts[0], parts[1:]
    given = dict(zip(rest[::2], rest[1::2], strict=False))
    if len(rest) != 2 * len(given) or not set(given) <= {"via", "dev"}:
        raise RouteError(f"route {words!r}: after the prefix come 'via ADDRESS' or 'dev PORT'")
    if bool(given) == (kind != "unicast"):
        needs = "takes no gateway" if given else "needs 'via ADDRESS' or 'dev PORT'"
        raise RouteError(f"route {words!r}: a route of kind {kind} {needs}")
    try:
        via = parse_address(given["via"]) if "via" in given else None
        network = DEFAULT[6 if via and len(via) == 16 else 4] if prefix == "default" else ip_network(prefix)
    except ValueError as error:
        raise RouteError(f"route {words!r}: {error}") from None
    if via is not None and len(via) * 8 != network.max_prefixlen:
        raise RouteError(f"route {words!r}: prefix and gateway are not of one family")
    return WrittenRoute(network, kind, via, given.get("dev", ""))


class RouteTable:
    """Routes by prefix. One prefix has one route: the last that was added."""

    def __init__(self) -> None:
        self._by_length: dict[tuple[int, int], dict[int, Route]] = {}
        """(address bytes, prefix length) to the routes by the bits that count; longest first."""
        self._cache: dict[bytes, Route | None] = {}

    def add(self, route: Route) -> None:
        size, length = route.prefix.max_prefixlen // 8, route.prefix.prefixlen
        self._by_length.setdefault((size, length), {})[_bits(route.prefix)] = route
        self._by_length = dict(sorted(self._by_length.items(), reverse=True))
        self._cache.clear()

    def remove(self, prefix: Network) -> None:
        """KeyError where there is none."""
        key = prefix.max_prefixlen // 8, prefix.prefixlen
        del self._by_length[key][_bits(prefix)]
        if not self._by_length[key]:
            del self._by_length[key]
        self._cache.clear()

    def get(self, prefix: Network) -> Route | None:
        """The route to exactly this prefix."""
        return self._by_length.get((prefix.max_prefixlen // 8, prefix.prefixlen), {}).get(_bits(prefix))

    def lookup(self, dst: bytes) -> Route | None:
        """The route to an address, 4 or 16 bytes."""
        try:
            return self._cache[dst]
        except KeyError:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            found = self._cache[dst] = self._find(dst)
            return found

    def _find(self, dst: bytes) -> Route | None:
        size, number = len(dst), int.from_bytes(dst, "big")
        for (of, length), routes in self._by_length.items():
            if of == size:
                route = routes.get(number >> (size * 8 - length))
                if route is not None:
                    return route
        return None

    def __iter__(self) -> Iterator[Route]:
        """IPv4 first, then by address, the shortest prefix first."""
        routes = (route for of_length in self._by_length.values() for route in of_length.values())
        return iter(
            sorted(routes, key=lambda r: (r.prefix.version, r.prefix.network_address.packed, r.prefix.prefixlen))
        )

    def __len__(self) -> int:
        return sum(map(len, self._by_length.values()))


def _bits(prefix: Network) -> int:
    return int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)


def words_of(route: Route, port: str) -> str:
    """As ``parse_route`` reads it."""
    prefix = (
        "default" if route.prefix == DEFAULT[4] or (route.prefix == DEFAULT[6] and route.via) else str(route.prefix)
    )
    if route.kind != "unicast":
        return f"{route.kind} {route.prefix}"
    return f"{prefix} via {text(route.via)} dev {port}" if route.via else f"{prefix} dev {port}"
