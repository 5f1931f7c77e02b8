"""Which ranges conflict: pure functions over what a namespace has."""

from __future__ import annotations

import errno
from ipaddress import ip_interface, ip_network

import pytest

from tun import TunError
from tun.address import Range, check_mtu, conflict, parse_address, parse_route


def taken(text: str, interface: str = "eth0", connected: bool = True) -> Range:
    return Range(ip_network(text), interface, connected)


HOME = [
    taken("0.0.0.0/0", connected=False),
    taken("192.0.2.0/24"),
    taken("192.0.2.2/32"),
    taken("10.0.0.0/8", "vpn0", connected=False),
    taken("10.9.8.0/24", "vpn0"),
    taken("0.0.0.0/1", "vpn0"),
    taken("128.0.0.0/1", "vpn0"),
    taken("::/0", connected=False),
    taken("2000::/3", "vpn0"),
    taken("fd00::/64"),
    taken("fe80::/64"),
]


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("198.18.0.1/24", None),  # neither a default route nor a VPN's two halves are in the way
        ("192.0.2.1/24", "192.0.2.0/24 is in use on eth0"),
        ("192.0.2.200/32", "192.0.2.0/24 is in use on eth0"),
        ("192.0.0.1/16", "192.0.2.0/24 is in use on eth0"),
        ("192.0.3.1/24", None),
        ("10.1.0.1/16", None),  # behind a gateway, and wider: ours is the longer prefix
        ("10.0.0.1/8", "10.0.0.0/8 is in use on vpn0"),  # behind a gateway, and as wide
        ("10.9.0.1/16", "10.9.8.0/24 is in use on vpn0"),
        ("2001:2::1/64", None),
        ("fd00::9/64", "fd00::/64 is in use on eth0"),
        ("fd00::/48", "fd00::/64 is in use on eth0"),
        ("fe80::1/64", None),  # each link has its own
    ],
)
def test_conflict(wanted: str, answer: str | None) -> None:
    assert conflict(ip_interface(wanted), HOME) == answer
    assert conflict(ip_interface(wanted).network, HOME) == answer


def test_a_longer_route_behind_a_gateway_takes_our_packets_away() -> None:
    routes = [taken("198.18.0.128/25", connected=False)]
    assert conflict(ip_interface("198.18.0.1/24"), routes) == "198.18.0.128/25 is in use on eth0"


def test_parsing() -> None:
    assert parse_address("198.18.0.1/24").network == ip_network("198.18.0.0/24")
    assert parse_address("2001:2::1").network.prefixlen == 128
    assert parse_route("default") == ip_network("0.0.0.0/0")
    assert parse_route("2001:db8::/32") == ip_network("2001:db8::/32")


@pytest.mark.parametrize("text", ["", "198.18.0", "198.18.0.1/33", "eth0", "198.18.0.1/24/24"])
def test_no_address(text: str) -> None:
    with pytest.raises(TunError, match=r"write it like 198.18.0.1/24") as caught:
        parse_address(text)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "defaults"])
def test_no_route(text: str) -> None:
    with pytest.raises(TunError, match=r"write it like 10.0.0.0/8"):
        parse_route(text)


def test_the_least_mtu_of_ipv6() -> None:
    four, six = ip_interface("198.18.0.1/24"), ip_interface("2001:2::1/64")
    check_mtu(68, [four])
    check_mtu(1280, [four, six])
    with pytest.raises(TunError, match="IPv6 needs an MTU of at least 1280: raise --mtu 1279 or leave out"):
        check_mtu(1279, [four, six])
