"""`netemu ss`: the socket table, as ss(8) prints the kernel's."""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from netemu.cli.common import Instance, Json, client, print_json, print_table, printable, warn
from netemu.cli.ssfilter import Filter, compile_filter

if TYPE_CHECKING:
    from netemu.runtime.messages import Info, SocketRow

BYTES = ("cwnd", "ssthresh", "mss", "snd_wnd", "rcv_wnd", "unacked", "sndbuf", "rcvbuf")
UNITS = {"_us": "us", "_ms": "ms", "_bytes": "B"}
"""What the end of a detail's name says about its unit."""
CLEAR = "\x1b[H\x1b[2J\x1b[3J"


class Command(TyperCommand):
    """--watch may stand without its number."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's is click's
        return super().parse_args(ctx, list(with_interval(args)))


def with_interval(arguments: Iterable[str]) -> Iterator[str]:
    """Give --watch the second that it means when no number follows."""
    words = [*arguments, ""]
    for word, following in itertools.pairwise(words):
        yield "--watch=1" if word == "--watch" and not following.replace(".", "", 1).isdecimal() else word


def ss(
    expression: Annotated[
        list[str] | None, typer.Argument(metavar="[FILTER]...", help="Which sockets, in the words of ss(8).")
    ] = None,
    show_all: Annotated[bool, typer.Option("-a", "--all", help="Listening and unconnected sockets too.")] = False,
    listening: Annotated[bool, typer.Option("-l", "--listening", help="Only listening sockets.")] = False,
    tcp: Annotated[bool, typer.Option("-t", "--tcp", help="Only TCP.")] = False,
    udp: Annotated[bool, typer.Option("-u", "--udp", help="Only UDP.")] = False,
    ipv4: Annotated[bool, typer.Option("-4", "--ipv4", help="Only IPv4.")] = False,
    ipv6: Annotated[bool, typer.Option("-6", "--ipv6", help="Only IPv6.")] = False,
    info: Annotated[bool, typer.Option("-i", "--info", help="Details of TCP: round trip, windows, timers.")] = False,
    processes: Annotated[bool, typer.Option("-p", "--processes", help="The programs that hold them.")] = False,
    extended: Annotated[bool, typer.Option("-e", "--extended", help="The users who made them.")] = False,
    numeric: Annotated[bool, typer.Option("-n", "--numeric", help="As in ss(8); it is always so.")] = False,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch", metavar="[SECONDS]", min=0.05, help="Again and again, until ^C [default: every second]."
        ),
    ] = None,
    name: Instance = None,
    json: Json = False,
) -> None:
    """List the sockets and the apps that own them.

    Without -a, -l or a state: all that are connected, or about to be. Queues are in bytes; for a listener they are the
    connections that wait for accept, and how many may. A TCP socket that is merely bound is CLOSED.

    \b
    Filters: state STATE, exclude STATE; src, dst ADDRESS[:PORT]; sport, dport = :PORT (!= < > too); and or not ( ).
    Examples:
      netemu ss -a
      netemu ss -tip dport = :443 or src 198.18.0.2:80
      netemu ss state listening sport = :12345
      netemu ss --watch 0.5 -a exclude time-wait
      netemu ss --json | jq '.[] | select(.app == "echo")'
    """
    chosen = compile_filter(" ".join(expression or []))
    protocols = {word for word, wanted in (("tcp", tcp), ("udp", udp)) if wanted} or {"tcp", "udp"}
    families = {number for number, wanted in ((4, ipv4), (6, ipv6)) if wanted} or {4, 6}
    instance = client(name)

    def show() -> None:
        rows = [row for row in instance.sockets() if row.protocol in protocols and family(row) in families]
        kept = [row for row in rows if is_wanted(row, chosen, show_all, listening) and chosen.keeps(row)]
        if json:
            print_json(kept)
        elif info:
            print_details(kept, processes, extended)
        else:
            print_sockets(kept, processes, extended)
            if not kept and rows and watch is None and sys.stderr.isatty():
                warn(f"no such sockets now; -a shows the {len(rows)} others")

    if watch is None:
        return show()
    return keep_showing(show, watch)


def is_wanted(row: SocketRow, chosen: Filter, show_all: bool, listening: bool) -> bool:
    """ss(8) counts unconnected UDP sockets among those that listen; a state that was asked for overrides the options."""
    if chosen.states is not None or show_all:
        return True
    if listening:
        return row.state in ("LISTEN", "UNCONN")
    return row.state not in ("LISTEN", "UNCONN", "CLOSED")


def family(row: SocketRow) -> int:
    """An IPv6 socket that takes both families stands there as '*', and is one of IPv6, as for ss(8)."""
    return 4 if row.local[0].isdigit() else 6


def keep_showing(show: Callable[[], None], seconds: float) -> None:
    """Until ^C: on a terminal each time over the last one, elsewhere one block after the other."""
    is_terminal = sys.stdout.isatty()
    while True:
        block = io.StringIO()
        with contextlib.redirect_stdout(block):
            show()
        print(fitted(block.getvalue()) if is_terminal else block.getvalue(), flush=True)
        time.sleep(seconds)


def fitted(block: str) -> str:
    """As many lines of ``block`` as the terminal has, behind what clears it."""
    from shutil import get_terminal_size

    lines, room = block.splitlines(), get_terminal_size().lines - 2
    if len(lines) > room:
        lines[room:] = [f"… {len(lines) - room} more lines"]
    return CLEAR + "\n".join(lines)


def print_sockets(rows: list[SocketRow], processes: bool, extended: bool) -> None:
    columns: dict[str, Callable[[SocketRow], object]] = {
        "Host": lambda r: r.host,
        "Netid": lambda r: r.protocol,
        "State": lambda r: r.state,
        "Recv-Q": lambda r: r.recv_q,
        "Send-Q": lambda r: r.send_q,
        "Local Address:Port": lambda r: r.local,
        "Peer Address:Port": lambda r: r.peer,
        "App": lambda r: r.app,
        "Socket": lambda r: r.id,
        "User": lambda r: f"uid:{r.uid}",
        "Process": users,
    }
    shown = {"Host": any(row.host for row in rows), "User": extended, "Process": processes}
    header = [name for name in columns if shown.get(name, True)]
    cells = [[columns[name](row) for name in header] for row in rows]
    print_table(header, cells, right=("Recv-Q", "Send-Q"))


def users(row: SocketRow) -> str:
    """As ss(8) names a process; nothing for what is built in."""
    return f'users:(("{row.program}",pid={row.pid}))' if row.pid else ""


def print_details(rows: list[SocketRow], processes: bool, extended: bool) -> None:
    """One socket to a paragraph; a table of so many columns fits no terminal."""
    for row in rows:
        ends = f"{row.protocol} {row.state} {row.local} {row.peer}"
        more = (f"  uid:{row.uid}" if extended else "") + (f"  {users(row)}" if processes and row.pid else "")
        host = f"{row.host}  " if row.host else ""
        queues = f"recv-q {row.recv_q} send-q {row.send_q}"
        print(printable(f"{host}{row.id}  {row.app}  {ends}  {queues}{more}"))
        if row.info:
            print(printable(f"      {details(row.info)}"))


def details(info: Info) -> str:
    return "  ".join(detail(name, value) for name, value in info.items())


def detail(name: str, value: object) -> str:
    for ending, unit in UNITS.items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending)} {value} {unit}"
    return f"{name} {value} B" if name in BYTES else f"{name} {value}"
