"""`netemu run -- COMMAND`: a command, a host to talk to, and a network that nobody else sees."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import (
    Addr,
    App,
    Config,
    Flavour,
    HostAddr,
    LinkWords,
    Mtu,
    NoApps,
    NoOffload,
    Pcap,
    Seed,
    Shared,
    Sysctl,
    python_command,
)
from netemu.cli.dashes import CommandOrWire
from netemu.cli.wire import CURRENT, Serve, WireSettings, run_wired
from netemu.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from netemu.cli.settings import Settings
    from netemu.runtime.plan import InstanceConfig, TunPlan

Command = CommandOrWire


def run(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND...", help="The command and its arguments; with --wire the link's words."),
    ] = None,
    wire: Annotated[
        bool, typer.Option("--wire", help="Between two kernels: `run --wire [WORDS]... [--serve COMMAND] -- COMMAND`.")
    ] = False,
    serve: Serve = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario", metavar="FILE.toml", help="A whole network instead of one host, as `netemu up` has it."
        ),
    ] = None,
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
    link: LinkWords = None,
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
      netemu run --scenario home.toml -- traceroute 203.0.113.10

    With a scenario the command is where its TUN devices are that have no namespace or, where all have one, in that of the
    first.

    \b
    With --wire there is no emulated host, but a server and a client of yours (see `netemu wire --help`):
      netemu run --wire loss 2% delay 20ms --serve 'python3 -m http.server 80' -- curl http://198.18.0.2/
    """
    if wire:
        refuse_with_wire(
            tun=tun, addr=addr, host_addr=host_addr, app=app, no_apps=no_apps, flavour=flavour, sysctl=sysctl,
            link=link, config=config, shared=shared, scenario=scenario,
        )  # fmt: skip
        return run_wire_privately(
            WireSettings(name, mtu, pcap, seed, no_offload, client=CURRENT), command or [], context.obj, serve, inside
        )
    if serve is not None:
        raise UsageError("--serve: only with --wire; an emulated host has its apps (--app)")
    if not command:
        raise UsageError("the command is missing: netemu run [OPTIONS] -- COMMAND... (`netemu run --help` explains)")
    from netemu.cli.settings import Settings, read_file

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
        link=link,
    )
    settings = settings.over(read_file(config)) if config else settings
    checked = checked_config(settings, scenario, inside=inside)
    if not inside:
        enter_private_namespace()

    from netemu.runtime.running import run_command

    settle(checked.name)
    own = os.path.dirname(os.path.abspath(sys.executable))  # and is found, though this one came from .venv/bin
    os.environ["PATH"] = os.pathsep.join(filter(None, (os.environ.get("PATH"), own)))
    return run_command(checked, command)


def checked_config(settings: Settings, scenario: str | None, *, inside: bool) -> InstanceConfig:
    """``inside``: the private network namespace is there, and we look like root in it."""
    from netemu.cli.settings import DEFAULT_NAME, build_config, scenario_config

    if settings.name is None:  # any number of them may run beside each other, each in its own namespace
        settings.name = f"run-{os.getpid()}"
        settings.tun = settings.tun or (DEFAULT_NAME if scenario is None else None)
    if scenario is None:
        return build_config(settings)
    checked = scenario_config(scenario, settings)
    tuns = in_private_namespace(checked.plan.tuns)
    if not inside and os.geteuid():
        for tun in tuns:
            if tun.netns is not None:
                raise UsageError(
                    f"{scenario}: tun {tun.name}: another namespace, {tun.netns!r}, takes root; run it with sudo"
                )
    return replace(checked, plan=replace(checked.plan, tuns=tuns))


def in_private_namespace(tuns: Sequence[TunPlan]) -> tuple[TunPlan, ...]:
    """The private namespace, where the command runs, stands for that of the first, if none is without."""
    if not all(tun.netns for tun in tuns):
        return tuple(tuns)
    return tuple(replace(tun, netns=None, makes_netns=False) if tun.netns == tuns[0].netns else tun for tun in tuns)


def refuse_with_wire(**options: object) -> None:
    """UsageError for an option that is given and speaks of the emulated host, of which there is none."""
    for name, given in options.items():
        if given:
            says = (
                "the link's words stand behind --wire" if name == "link" else "there is no emulated host; leave it out"
            )
            raise UsageError(f"--{name.replace('_', '-')}: with --wire {says}")


def run_wire_privately(
    settings: WireSettings, words: list[str], command: list[str], serve: str | None, inside: bool
) -> int:
    """The client is in the private namespace with us; the server's is made from there."""
    from netemu.cli.wiring import wire_config

    if not (command or serve):
        raise UsageError("--wire: the command is missing: netemu run --wire [WORDS]... -- COMMAND...")
    checked = wire_config(settings, words, runs=True)
    if not inside:
        enter_private_namespace()
    settle(checked.name)
    return run_wired(checked, command, serve)


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
