"""`netemu router`: the routers of a scenario: ports, routes, NAT, firewall, and what became of packets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Instance, Json, client, print_json, print_table
from netemu.cli.quantities import bytes_text, packets_text

if TYPE_CHECKING:
    from netemu.runtime.messages import RouterRow


def router(
    which: Annotated[str | None, typer.Argument(metavar="[ROUTER]", help="Only this one.")] = None,
    name: Instance = None,
    json: Json = False,
) -> None:
    """Show the routers of a scenario that is running.

    Their ports with what passed them, their routes, the mappings of their NAT, the rules of their firewall with what met
    them, the connections that they track, and what was done with packets or why they were dropped.

    \b
    Examples:
      netemu router
      netemu router home --json | jq '.[0].nat'
    """
    rows = client(name).routers()
    if which is not None:
        known = ", ".join(row.name for row in rows) or "none"
        rows = [row for row in rows if row.name == which]
        if not rows:
            raise UsageError(f"there is no router {which!r}; there is {known}")
    if json:
        return print_json(rows)
    for number, row in enumerate(rows):
        print(f"{chr(10) if number else ''}router {row.name}")
        print_router(row)
    if not rows:
        print("no routers: this instance is no scenario, or one without (`netemu scenario --help`)")
    return None


def print_router(row: RouterRow) -> None:
    """One table after the other; what is empty is left out."""
    tables: list[tuple[tuple[str, ...], list[tuple[object, ...]]]] = [
        (
            ("PORT", "ADDRESSES", "MTU", "IN", "OUT"),
            [
                (
                    port.name,
                    " ".join(port.addresses),
                    f"{port.mtu} B",
                    f"{packets_text(port.packets_in)} ({bytes_text(port.bytes_in)})",
                    f"{packets_text(port.packets_out)} ({bytes_text(port.bytes_out)})",
                )
                for port in row.ports
            ],
        ),
        (
            ("ROUTE", "KIND", "PORT", "VIA", "ORIGIN"),
            [(route.prefix, route.kind, route.port, route.via, route.origin) for route in row.routes],
        ),
        (
            ("NAT", "INSIDE", "OUTSIDE", "FOR", "CONNECTIONS", "KIND"),
            [(nat.protocol, nat.inside, nat.outside, nat.remote, nat.sessions, nat.kind) for nat in row.nat],
        ),
        (
            ("FIREWALL", "RULE", "MATCHED"),
            [
                (rule.number or "policy", rule.rule, f"{packets_text(rule.packets)} ({bytes_text(rule.bytes)})")
                for rule in row.firewall
            ],
        ),
        (
            ("TRACKED", "FROM", "TO", "STATE", "EXPIRES"),
            [(s.protocol, s.src, s.dst, s.state, f"{s.expires_s:.0f} s") for s in row.sessions],
        ),
        (("COUNTER", "PACKETS"), [(reason, count) for reason, count in row.counters.items()]),
    ]
    for header, cells in tables:
        if cells:
            print_table(header, cells)
