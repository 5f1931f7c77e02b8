"""`netemu ls`: the instances that are running."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from netemu.cli.common import Json, print_json, print_table, warn
from netemu.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from netemu.runtime.messages import AppRow, Status


def ls(json: Json = False) -> None:
    """List the running instances.

    They are yours, and those that root started for you; root sees everybody's.
    """
    found = statuses()
    if json:
        return print_json(found)
    header = ("NAME", "PID", "TUN", "ADDRESSES", "APPS", "USER", "UP")
    return print_table(header, [row(status) for status in found], right=("PID",))


def statuses() -> list[Status]:
    from netemu.runtime import paths
    from netemu.runtime.client import Client

    found = []
    for path in paths.running():
        try:
            found.append(Client(path / paths.SOCKET).status())
        except RuntimeFailure as problem:
            warn(str(problem))
    return found


def row(status: Status) -> list[object]:
    apps = " ".join(f"{app.name}:{ports(app)}" for app in status.apps) or "-"
    up = duration(time.time() - status.started)
    return [status.name, status.pid, status.tun, " ".join(status.addresses), apps, status.user, up]


def ports(app: AppRow) -> str:
    return f"{app.port}-{app.port + app.span - 1}" if app.span > 1 else str(app.port)


def duration(seconds: float) -> str:
    """The two largest units: 3 d 4 h, 12 min 5 s."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    units = [(days, "d"), (hour, "h"), (minute, "min"), (second, "s")]
    while len(units) > 1 and not units[0][0]:
        del units[0]
    return " ".join(f"{value} {unit}" for value, unit in units[:2])
