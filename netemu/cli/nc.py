"""`netemu nc`: the command line of nc(1), on sockets of the emulated host."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Instance, printable
from netemu.cli.endpoints import AppName, OnHost, ReusePort, address_of, attach, port_of


def nc(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[HOST] [PORT[-PORT]]", help="HOST is an address or localhost.")
    ] = None,
    is_listening: Annotated[bool, typer.Option("-l", help="Listen for a connection, on HOST if given.")] = False,
    keep: Annotated[bool, typer.Option("-k", help="With -l: one connection after the other.")] = False,
    udp: Annotated[bool, typer.Option("-u", help="UDP.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "-w", metavar="SECONDS", min=0, help="Give up connecting, or a silent connection or port, after so long."
        ),
    ] = None,
    shut: Annotated[bool, typer.Option("-N", help="Shut the sending side down at the end of standard input.")] = False,
    quit_after: Annotated[
        float | None, typer.Option("-q", metavar="SECONDS", help="As -N, and so long afterwards end.")
    ] = None,
    source: Annotated[str | None, typer.Option("-s", metavar="ADDRESS", help="Source address.")] = None,
    source_port: Annotated[
        str | None, typer.Option("-p", metavar="PORT", help="Source port; with -l the port to listen on.")
    ] = None,
    ipv4: Annotated[bool, typer.Option("-4", help="IPv4 only.")] = False,
    ipv6: Annotated[bool, typer.Option("-6", help="IPv6 only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", help="Say what happens, on standard error.")] = False,
    scan: Annotated[bool, typer.Option("-z", help="Connect and send nothing: which ports are open?")] = False,
    numeric: Annotated[bool, typer.Option("-n", help="No names; it is always so.")] = False,
    no_input: Annotated[bool, typer.Option("-d", help="Do not read standard input.")] = False,
    reuseport: ReusePort = False,
    app: AppName = None,
    on: OnHost = None,
    name: Instance = None,
) -> int:
    """Talk from the emulated host, or listen there, as nc(1) does.

    Its options mean what they mean in OpenBSD's nc, and so does the exit status: 0 when there was a connection (with -z:
    to any port), 1 when there was none.

    \b
    Examples:
      netemu nc -l 12345                          # and from outside: nc 198.18.0.2 12345
      netemu nc -N 198.18.0.1 8000 <request.txt   # to a server on this machine
      netemu nc -p 12345 --reuseport 198.18.0.1 8000
      netemu nc -zv 198.18.0.1 1-1024
      netemu nc -u -l 5353
    """
    from netemu.cli.netcat import Options, converse_out, listen_in, scan_ports

    del numeric
    if ipv4 and ipv6:
        raise UsageError("give -4 or -6, not both")
    if keep and not is_listening:
        raise UsageError("-k needs -l")
    if scan and is_listening:
        raise UsageError("-z and -l exclude each other")
    if source is not None and is_listening:
        raise UsageError("-s and -l exclude each other: write `nc -l ADDRESS PORT`")
    host_word, ports = targets(words or [], source_port if is_listening else None, is_listening)
    address = address_of(host_word) if host_word is not None else "::" if ipv6 else "0.0.0.0"
    if host_word == "localhost" and ipv6:
        address = "::1"
    check_family(address, ipv4, ipv6)
    if source is not None:
        source = address_of(source)
        if (":" in source) != (":" in address):
            raise UsageError("-s is of another family than HOST")
    options = Options(
        address,
        udp,
        timeout or None,
        shut,
        quit_after,
        source,
        port_of(source_port) if source_port is not None else 0,
        keep,
        reuseport,
        not no_input,
        say if verbose else hush,
    )
    host = attach(app or "nc", name, on)
    if is_listening:
        return listen_in(host, options, ports[0], v6only=ipv6)
    return scan_ports(host, options, ports) if scan else converse_out(host, options, ports[0])


def targets(words: list[str], listen_port: str | None, is_listening: bool) -> tuple[str | None, list[int]]:
    """(host, ports) of what stands behind the options."""
    if listen_port is not None:
        if len(words) > 1:
            raise UsageError("give the port to listen on once: `nc -l [HOST] PORT` or `nc -l -p PORT [HOST]`")
        words = [*words, listen_port]
    if is_listening and len(words) == 1:
        return None, [port_of(words[0])]
    if len(words) != 2:
        raise UsageError("give HOST and PORT, or -l and PORT (`netemu nc --help` explains)")
    first, dash, last = words[1].partition("-")
    ports = range(port_of(first, least=0 if is_listening else 1), port_of(last if dash else first) + 1)
    if not ports or (is_listening and dash):
        raise UsageError(f"{words[1]!r}: give one port" if is_listening else f"{words[1]!r}: no port is in this range")
    return words[0], list(ports)


def check_family(address: str, ipv4: bool, ipv6: bool) -> None:
    if (ipv4 and ":" in address) or (ipv6 and ":" not in address):
        raise UsageError(f"{address} is not of the family that -{4 if ipv4 else 6} asks for")


def say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


def hush(text: str) -> None:
    pass
