"""`netemu run -- COMMAND`: a command, a host to talk to, and a network that nobody else sees."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from netemu.cli.common import (
    Addr,
    App,
    Config,
    Flavour,
    HostAddr,
    Mtu,
    NoApps,
    NoOffload,
    Pcap,
    Seed,
    Shared,
    Sysctl,
    python_command,
)
from netemu.runtime.errors import RuntimeFailure


def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The command and its arguments.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the instance [default: run-PID].")
    ] = None,
    tun: Annotated[
        str | None,
        typer.Option("--tun", metavar="NAME", help="Name of the TUN device [default: netemu0, or --name's]."),
    ] = None,
    mtu: Mtu = None,
    addr: Addr = None,
    host_addr: HostAddr = None,
    app: App = None,
    no_apps: NoApps = False,
    pcap: Pcap = None,
    seed: Seed = None,
    flavour: Flavour = None,
    sysctl: Sysctl = None,
    config: Config = None,
    no_offload: NoOffload = False,
    shared: Shared = False,
    inside: Annotated[bool, typer.Option("--inside", hidden=True)] = False,
) -> int:
    """Run a command against the host, in a private network.

    Both are in a network namespace of their own, of which nothing is left afterwards. It needs root, or user
    namespaces and a /dev/net/tun that this user may open (`netemu doctor` tells). The exit status is the command's; 127
    when it is not found, 126 when it cannot be run, 128 + N when signal N killed it.

    \b
    Examples:
      netemu run -- curl http://198.18.0.2/
      netemu run --pcap all.pcapng -- ping -c 3 198.18.0.2
      netemu run -- sh -c 'echo hello | nc -N 198.18.0.2 7; netemu ss -a'
      netemu run -- bash                                   # look around
    """
    from netemu.cli.settings import DEFAULT_NAME, Settings, build_config, read_file

    settings = Settings(
        name,
        tun,
        mtu,
        addr,
        host_addr,
        app,
        no_apps,
        pcap,
        seed,
        None,
        no_offload,
        shared=shared,
        flavour=flavour,
        sysctl=sysctl,
    )
    settings = settings.over(read_file(config)) if config else settings
    if settings.name is None:  # any number of them may run beside each other, each in its own namespace
        settings.name, settings.tun = f"run-{os.getpid()}", settings.tun or DEFAULT_NAME
    checked = build_config(settings)
    if not inside:
        enter_private_namespace()

    from netemu.runtime.instance import run_command

    settle(checked.name)
    own = os.path.dirname(os.path.abspath(sys.executable))  # and is found, though this one came from .venv/bin
    os.environ["PATH"] = os.pathsep.join(filter(None, (os.environ.get("PATH"), own)))
    return run_command(checked, command)


def enter_private_namespace(verb: str = "run") -> None:
    """Become this very command, ``verb``, in a network namespace of its own; returns never."""
    from netemu.runtime.namespace import can_unshare, private_namespace_command
    from netemu.runtime.paths import own_base

    problem = can_unshare()
    if problem:
        raise RuntimeFailure(problem)
    # In a user namespace we shall look like root; what is ours must stay where we look for it.
    os.environ["NETEMU_DIR"] = os.fspath(own_base())
    again = python_command("from netemu.cli import main; sys.exit(main())", verb, "--inside", *sys.argv[2:])
    argv = private_namespace_command(again)
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # ^C waits until the next Python is ready for it: settle
    os.execvp(argv[0], argv)


def settle(name: str) -> None:
    """The first thing to do in the private namespace; ``name`` is the instance's, which `netemu ss` in there will mean."""
    from netemu.runtime.namespace import bring_up_loopback

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    bring_up_loopback()
    os.environ["NETEMU_NAME"] = name
