"""`netemu wire`: an emulated link between two network namespaces, for real programs at both ends."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Mtu, Name, NoOffload, Pcap, Seed, status_of_missing
from netemu.cli.dashes import CommandBehindDashes

if TYPE_CHECKING:
    from netemu.runtime.messages import Status
    from netemu.runtime.plan import InstanceConfig

CLIENT, SERVER = "client", "server"
CLIENT_ADDRESSES = ("198.18.0.1/24", "2001:2::1/64")
SERVER_ADDRESSES = ("198.18.0.2/24", "2001:2::2/64")
CURRENT = "."

Serve = Annotated[
    str | None,
    typer.Option("--serve", metavar="COMMAND", help="Run this server first, in the server's namespace."),
]


Command = CommandBehindDashes


@dataclass
class WireSettings:
    """The options as they are given."""

    name: str | None = None
    mtu: int | None = None
    pcap: str | None = None
    seed: int | None = None
    no_offload: bool = False
    client: str | None = None
    server: str | None = None
    client_addr: list[str] | None = None
    server_addr: list[str] | None = None


def wire(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[in|out|both] [WORDS]...", help="What the link does; see `netemu link set --help`."),
    ] = None,
    serve: Serve = None,
    client: Annotated[
        str | None,
        typer.Option(
            "--client", metavar="NETNS", help="The client's namespace; . is the one we are in [default: made]."
        ),
    ] = None,
    server: Annotated[
        str | None, typer.Option("--server", metavar="NETNS", help="The server's; likewise [default: made].")
    ] = None,
    client_addr: Annotated[
        list[str] | None,
        typer.Option("--client-addr", metavar="ADDRESS/PREFIX", help=f"[default: {' and '.join(CLIENT_ADDRESSES)}]"),
    ] = None,
    server_addr: Annotated[
        list[str] | None,
        typer.Option("--server-addr", metavar="ADDRESS/PREFIX", help=f"[default: {' and '.join(SERVER_ADDRESSES)}]"),
    ] = None,
    name: Name = None,
    mtu: Mtu = None,
    pcap: Pcap = None,
    seed: Seed = None,
    no_offload: NoOffload = False,
) -> int:
    """Put an emulated link between real programs.

    Two TUN devices, one for a client and one for a server, each in a network namespace of its own, and netemu as the
    network between them. in is towards the server, out towards the client. With a COMMAND behind -- it is run in the
    client's namespace, and nothing is left afterwards; without one the wire stays until ^C. Needs root; `netemu run --wire`
    may not.

    \b
    Examples:
      sudo netemu wire delay 20ms loss 1%                  # then `ip netns exec ... COMMAND` at either end
      sudo netemu wire rate 10mbit --serve 'iperf3 -s' -- iperf3 -c 198.18.0.2
      sudo netemu wire profile lte --serve 'python3 -m http.server 80' -- curl -O http://198.18.0.2/file
      netemu link set delay 100ms                          # from elsewhere, while it runs
    """
    from netemu.cli.wiring import wire_config

    command: list[str] = context.obj or []
    settings = WireSettings(name, mtu, pcap, seed, no_offload, client, server, client_addr, server_addr)
    runs = bool(command or serve)
    checked = wire_config(settings, words or [], runs=runs)
    if runs:
        return run_wired(checked, command, serve)

    from netemu.runtime.running import run

    return run(checked, lambda status: print(welcome(status), flush=True))


def run_wired(config: InstanceConfig, command: list[str], serve: str | None) -> int:
    """Both commands on a wire; the exit status."""
    from netemu.runtime.running import run_wire

    try:
        server = shlex.split(serve or "")
    except ValueError as error:
        raise UsageError(f"--serve {serve}: {error}") from None
    for argv in (server, command):
        if argv and (status := status_of_missing(argv[0])):
            return status
    os.environ["NETEMU_NAME"] = config.name
    return run_wire(config, command, server)


def welcome(status: Status) -> str:
    from netemu.cli.up import choice, enter

    first, second = status.tuns
    address = second.addresses[0].partition("/")[0]
    lines = [
        f"netemu {status.version}: a wire between {place(first.netns)} ({' and '.join(first.addresses)}) and "
        f"{place(second.netns)} ({' and '.join(second.addresses)}), pid {status.pid}.",
        "In other terminals:",
        "",
        f"  {enter(second.netns)}iperf3 -s",
        f"  {enter(first.netns)}iperf3 -c {address}",
        f"  netemu link show{choice(status)}",
        f"  netemu link set{choice(status)} delay 50ms loss 1%",
        "",
        "^C ends it.",
    ]
    return "\n".join(lines)


def place(netns: str | None) -> str:
    return "this namespace" if netns is None else netns
