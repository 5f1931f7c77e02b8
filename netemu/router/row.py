"""Rows of the listings of a router: routes, sessions, NAT's mappings, the firewall's counters."""

from __future__ import annotations

import msgspec


class PortRow(msgspec.Struct, frozen=True):
    """One port."""

    name: str
    addresses: list[str]
    mtu: int
    """bytes"""
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int


class RouteRow(msgspec.Struct, frozen=True):
    """One route, in the words of ip-route(8)."""

    prefix: str
    kind: str
    """unicast, unreachable, prohibit or blackhole"""
    port: str
    via: str
    origin: str
    """connected, static or computed"""


class SessionRow(msgspec.Struct, frozen=True):
    """One tracked connection, as its first packet had it (`conntrack -L`)."""

    protocol: str
    src: str
    dst: str
    state: str
    expires_s: float


class NatRow(msgspec.Struct, frozen=True):
    """One mapping of NAT."""

    protocol: str
    inside: str
    outside: str
    remote: str
    """For whom it is: '*', an address, or address and port."""
    sessions: int
    kind: str
    """dynamic, or forward for one that was set up"""


class FirewallRow(msgspec.Struct, frozen=True):
    """One rule, or the policy (number 0)."""

    number: int
    rule: str
    packets: int
    bytes: int


class RouterRow(msgspec.Struct, frozen=True):
    """All that a router tells of itself."""

    name: str
    ports: list[PortRow]
    routes: list[RouteRow]
    nat: list[NatRow]
    firewall: list[FirewallRow]
    sessions: list[SessionRow]
    counters: dict[str, int]
    """By the name of the reason: what was done with packets, or why they were dropped."""
