"""`netemu ss`: the socket table, as ss(8) prints the kernel's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from netemu.cli.common import Instance, Json, client, print_json, print_table, printable, warn

if TYPE_CHECKING:
    from netemu.runtime.messages import Info, SocketRow

HEADER = ("Netid", "State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port", "App", "Socket")
BYTES = ("cwnd", "ssthresh", "mss", "snd_wnd", "rcv_wnd", "unacked")
UNITS = {"_us": "us", "_ms": "ms", "_bytes": "B"}
"""What the end of a detail's name says about its unit."""


def ss(
    show_all: Annotated[bool, typer.Option("-a", "--all", help="Listening sockets too.")] = False,
    listening: Annotated[bool, typer.Option("-l", "--listening", help="Only listening sockets.")] = False,
    tcp: Annotated[bool, typer.Option("-t", "--tcp", help="Only TCP.")] = False,
    udp: Annotated[bool, typer.Option("-u", "--udp", help="Only UDP.")] = False,
    ipv4: Annotated[bool, typer.Option("-4", "--ipv4", help="Only IPv4.")] = False,
    ipv6: Annotated[bool, typer.Option("-6", "--ipv6", help="Only IPv6.")] = False,
    info: Annotated[bool, typer.Option("-i", "--info", help="Details of TCP: round trip, windows, timers.")] = False,
    numeric: Annotated[bool, typer.Option("-n", "--numeric", help="As in ss(8); it is always so.")] = False,
    name: Instance = None,
    json: Json = False,
) -> None:
    """List the sockets and the apps that own them.

    Without -a or -l: all but those that listen. Queues are in bytes; for a listener they are the connections that wait
    for accept, and how many may.

    \b
    Examples:
      netemu ss -a
      netemu ss -ti
      netemu ss --json | jq '.[] | select(.app == "echo")'
    """
    rows = client(name).sockets()
    protocols = {word for word, wanted in (("tcp", tcp), ("udp", udp)) if wanted} or {"tcp", "udp"}
    families = {number for number, wanted in ((4, ipv4), (6, ipv6)) if wanted} or {4, 6}
    rows = [row for row in rows if row.protocol in protocols and family(row) in families]
    chosen = rows if show_all else [row for row in rows if is_listening(row) == listening]
    if json:
        return print_json(chosen)
    if info:
        return print_details(chosen)
    print_sockets(chosen)
    if not chosen and rows and sys.stderr.isatty():
        warn(f"no such sockets now; -a shows the {len(rows)} others")
    return None


def is_listening(row: SocketRow) -> bool:
    """ss(8) counts unconnected UDP sockets among those that listen."""
    return row.state in ("LISTEN", "UNCONN")


def family(row: SocketRow) -> int:
    """An IPv6 socket that takes both families stands there as '*', and is one of IPv6, as for ss(8)."""
    return 4 if row.local[0].isdigit() else 6


def print_sockets(rows: list[SocketRow]) -> None:
    cells = [(r.protocol, r.state, r.recv_q, r.send_q, r.local, r.peer, r.app, r.id) for r in rows]
    print_table(HEADER, cells, right=("Recv-Q", "Send-Q"))


def print_details(rows: list[SocketRow]) -> None:
    """One socket to a paragraph; a table of so many columns fits no terminal."""
    for row in rows:
        ends = f"{row.protocol} {row.state} {row.local} {row.peer}"
        print(printable(f"{row.id}  {row.app}  {ends}  recv-q {row.recv_q} send-q {row.send_q}"))
        if row.info:
            print(printable(f"      {details(row.info)}"))


def details(info: Info) -> str:
    return "  ".join(detail(name, value) for name, value in info.items())


def detail(name: str, value: object) -> str:
    for ending, unit in UNITS.items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending)} {value} {unit}"
    return f"{name} {value} B" if name in BYTES else f"{name} {value}"
