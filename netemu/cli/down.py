"""`netemu down`: end a running instance."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Annotated

import typer

from netemu.cli.common import Instance
from netemu.runtime.errors import RuntimeFailure

PATIENCE = 10.0
"""Seconds that an instance gets to end connections and remove what it made."""


def down(
    name: Instance = None,
    everything: Annotated[bool, typer.Option("--all", help="End all instances.")] = False,
) -> None:
    """End a running instance.

    It closes its connections and removes its TUN device; the command returns once it is gone.
    """
    from netemu.runtime import paths

    sockets = [path / paths.SOCKET for path in paths.running()] if everything else [paths.find(name)]
    for socket in sockets:
        stop(socket)


def stop(socket: Path) -> None:
    from netemu.runtime.client import Client

    client = Client(socket)
    pid = client.status().pid
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # it has ended just now
    with open(process, "rb") as handle:  # a pidfd is readable once the process has ended
        client.stop()
        if not select.select([handle], [], [], PATIENCE)[0]:
            raise RuntimeFailure(f"{client.name} has not ended within {PATIENCE:g} s: end it with `kill -9 {pid}`")
