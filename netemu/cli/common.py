"""What several verbs share: options, tables, JSON."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from netemu.runtime.client import Client


def complete_name(incomplete: str) -> list[str]:
    """Names of running instances, for the shell."""
    from netemu.runtime.paths import running

    return [path.name for path in running() if path.name.startswith(incomplete)]


# Of commands that talk to a running instance

Instance = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        envvar="NETEMU_NAME",
        show_envvar=False,
        autocompletion=complete_name,
        help="Which instance; not needed while only one is running.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# Of commands that start one

Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the instance [default: netemu0].")]
TunName = Annotated[
    str | None, typer.Option("--tun", metavar="NAME", help="Name of the TUN device [default: the instance's name].")
]
Mtu = Annotated[int | None, typer.Option("--mtu", metavar="BYTES", help="MTU of the TUN device [default: 1500].")]
Addr = Annotated[
    list[str] | None,
    typer.Option(
        "--addr",
        metavar="ADDRESS",
        help="Address of the emulated host; repeat for more [default: 198.18.0.2 and 2001:2::2].",
    ),
]
HostAddr = Annotated[
    list[str] | None,
    typer.Option(
        "--host-addr",
        metavar="ADDRESS/PREFIX",
        help="Address of this machine's end of the TUN; repeat for more [default: 198.18.0.1/24 and 2001:2::1/64].",
    ),
]
App = Annotated[
    list[str] | None,
    typer.Option(
        "--app",
        metavar="[NAME=]KIND[:PORT][,KEY=VALUE]...",
        help="Serve an app; repeat for more. It joins the default ones (http:80 echo:7 discard:9 daytime:13 "
        "chargen:19) and replaces one of its name or port.",
    ),
]
NoApps = Annotated[bool, typer.Option("--no-apps", help="Leave the default apps out.")]
Pcap = Annotated[
    str | None,
    typer.Option("--pcap", metavar="FILE", help="Write every packet and what became of it to FILE (pcapng)."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed of everything random, to see the same twice.")
]
Config = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE.toml", help="Read options from a file: its keys are their long names."),
]
Flavour = Annotated[
    str | None,
    typer.Option(
        "--flavour",
        metavar="NAME",
        help="Whose rules of bind, listen and delivery: linux, freebsd, macos, windows or classic [default: linux].",
    ),
]
Sysctl = Annotated[
    list[str] | None,
    typer.Option(
        "--sysctl",
        metavar="NAME=VALUE",
        help="A setting of the stack under Linux' name, such as net.ipv4.tcp_migrate_req=1; repeat for more.",
    ),
]
LinkWords = Annotated[
    str | None,
    typer.Option(
        "--link",
        metavar="WORDS",
        help="What the link to the host does, as `netemu link set` takes it: 'delay 20ms loss 1%'.",
    ),
]
NoOffload = Annotated[bool, typer.Option("--no-offload", help="Do without checksum and segmentation offload.")]

Shared = Annotated[
    bool,
    typer.Option("--shared", help="Let every user of this machine attach apps, not only the instance's own and root."),
]


def client(name: str | None) -> Client:
    """A client for the instance called ``name``, or for the only one."""
    from netemu.runtime.client import Client
    from netemu.runtime.paths import find

    return Client(find(name))


def print_json(value: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Columns as wide as they need to be; those named in ``right`` are aligned to the right."""
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(header, row, widths, strict=True)
        )
        print("  ".join(aligned).rstrip())


def printable(value: object) -> str:
    """Text that may come from another process, without anything that a terminal would act upon."""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def warn(text: str) -> None:
    print(f"netemu: {text}", file=sys.stderr)


def status_of_missing(command: str) -> int:
    """0 when there is such a command; else what a shell's exit status would be, and it is said why."""
    if shutil.which(command) is not None:
        return 0
    is_there = os.sep in command and os.path.exists(command)
    warn(f"{command}: {'permission denied' if is_there else 'command not found'}")
    return 126 if is_there else 127


def python_command(statement: str, *arguments: str) -> list[str]:
    """The command that runs a statement in another Python, with this very netemu.

    Neither the directory we stand in (-P) nor a changed environment takes part.
    """
    home = os.fspath(Path(__file__).parents[2])
    return [sys.executable, "-P", "-c", f"import sys; sys.path.append({home!r}); {statement}", *arguments]
