"""`netemu up`: start the host on a TUN device."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from netemu.cli.common import (
    Addr,
    App,
    Config,
    Flavour,
    HostAddr,
    LinkWords,
    Mtu,
    Name,
    NoApps,
    NoOffload,
    Pcap,
    Seed,
    Shared,
    Sysctl,
    TunName,
)

if TYPE_CHECKING:
    from netemu.runtime.messages import Status
    from netemu.runtime.plan import InstanceConfig


def up(
    scenario: Annotated[
        str | None,
        typer.Argument(
            metavar="[SCENARIO.toml]", help="A whole network instead of one host (`netemu scenario --help`)."
        ),
    ] = None,
    name: Name = None,
    tun: TunName = None,
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
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="USER", help="Who to be once the TUN is set up [default: the one who called sudo]."
        ),
    ] = None,
    no_offload: NoOffload = False,
    shared: Shared = False,
    netns: Annotated[
        str | None, typer.Option("--netns", metavar="NAME", help="Put the TUN into this named network namespace.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", help="Go on in the background; return once the host answers.")
    ] = False,
) -> int:
    """Start the host on a TUN device.

    It needs root (`netemu run` may not), and stays in the foreground until ^C unless it is detached.

    \b
    Examples:
      sudo netemu up
      sudo netemu up -d                                    # and `netemu down` to end it
      sudo netemu up --app web=http:8080,root=/srv/www     # serve files
      sudo netemu up --addr 10.9.0.2 --host-addr 10.9.0.1/24 --pcap all.pcapng
      sudo netemu up --name two --addr 10.9.0.2 --host-addr 10.9.0.1/24   # a second one
      sudo netemu up --link 'delay 20ms loss 1%'           # and `netemu link set` while it runs
      sudo netemu up scenario.toml                         # hosts, routers and links of a file
    \b
    A file for --config:
      mtu = 9000
      app = ["web=http:8080,root=/srv/www"]
    """
    from netemu.cli.settings import Settings, build_config, read_file, scenario_config

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
        user,
        no_offload,
        netns,
        shared,
        flavour,
        sysctl,
        link,
    )
    settings = settings.over(read_file(config)) if config else settings
    checked = build_config(settings) if scenario is None else scenario_config(scenario, settings)
    if detach:
        return run_detached(checked)

    from netemu.runtime.running import run

    return run(checked, lambda status: print(welcome(status), flush=True))


def run_detached(config: InstanceConfig) -> int:
    """Run in a child. Until it is ready it complains on our stderr and ends with our exit status; then it has its log."""
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.close(ready)
        return run_in_background(config, tell)
    os.close(tell)
    try:
        with open(ready) as answer:
            line = answer.read()
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    if line:
        print(line)
        return 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or 1


def run_in_background(config: InstanceConfig, tell: int) -> int:
    from netemu.runtime.running import run

    def on_ready(status: Status) -> None:
        detach_from_terminal(status)
        ends = f"`netemu down{choice(status)}` ends it"
        on = f" on {' and '.join(status.addresses)}" if status.addresses else ""  # a scenario may have real hosts only
        says = f"{status.name} is up{on} (pid {status.pid}, log {log_path(status)}); {ends}"
        os.write(tell, says.encode())
        os.close(tell)

    return run(config, on_ready)


def detach_from_terminal(status: Status) -> None:
    for path, flags, descriptors in (
        (os.devnull, os.O_RDONLY, (0,)),
        (log_path(status), os.O_WRONLY | os.O_CREAT | os.O_APPEND, (1, 2)),
    ):
        opened = os.open(path, flags, 0o600)
        for descriptor in descriptors:
            os.dup2(opened, descriptor)
        os.close(opened)


def log_path(status: Status) -> str:
    from netemu.runtime.paths import LOG

    return os.path.join(status.directory, LOG) if status.directory else os.devnull


def choice(status: Status) -> str:
    """The option that names this instance, where it has not the default's name."""
    from netemu.cli.settings import DEFAULT_NAME

    return "" if status.name == DEFAULT_NAME else f" --name {status.name}"


def welcome(status: Status) -> str:
    """What to type next, on one screen."""
    name = choice(status)
    rules = "" if status.flavour == "linux" else f", flavour {status.flavour}"
    lines = [
        f"netemu {status.version} is up on {status.tun}: {' and '.join(status.addresses)} (pid {status.pid}{rules}).",
        "In another terminal:",
        "",
        *(f"  {command:<38} {what}".rstrip() for command, what in suggestions(status)),
        f"  {f'netemu ss -a{name}':<38} # the sockets and whose they are",
        f"  {f'netemu capture{name}':<38} # every packet and what becomes of it",
        "",
        "^C ends it.",
    ]
    return "\n".join(lines)


def enter(netns: str | None) -> str:
    """What stands before a command that shall run in a namespace."""
    return "" if netns is None else f"sudo ip netns exec {netns} "


def suggestions(status: Status) -> list[tuple[str, str]]:
    """Commands that will work against these addresses and apps."""
    found = []
    inside = enter(status.tuns[0].netns) if status.tuns else ""
    for address in status.addresses[:2]:
        is_ipv6 = ":" in address
        found.append((f"{inside}ping {'-6 ' if is_ipv6 else ''}-c 3 {address}", ""))
        for app in status.apps:
            if app.kind == "http":
                port = "" if app.port == 80 else f":{app.port}"
                command = f"curl 'http://[{address}]{port}/'" if is_ipv6 else f"curl http://{address}{port}/"
                found.append((inside + command, f"# app {app.name}"))
            elif app.kind in ("echo", "daytime") and not is_ipv6:
                found.append((f"{inside}nc {address} {app.port}", f"# app {app.name}"))
            elif app.kind == "trouble" and not is_ipv6:
                found.append(("netemu trouble --list", f"# ports {app.port} to {app.port + app.span - 1} of {address}"))
                if app.prefixes:
                    found.append((f"netemu trouble --hosts --addresses {'+'.join(app.prefixes)}", "# their addresses"))
    return found
