"""`netemu exec -- COMMAND`: a Python program as it is, on sockets of the emulated host."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from netemu.cli.common import Instance, status_of_missing, warn
from netemu.cli.endpoints import AppName, OnHost, attach

LONGEST_APP = 32


def exec(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The command and its arguments.")],
    app: AppName = None,
    on: OnHost = None,
    name: Instance = None,
) -> int:
    """Run a Python program on the emulated host.

    Its TCP and UDP sockets, and those of the Python programs that it starts, are sockets of the emulated host; the
    program itself stays as it is. That goes for sockets that Python's socket module makes: not for those of C libraries
    (uvloop, curl), nor for Python started with -I, -E or -S. On any other program it has no effect. Names are looked up
    by this machine. TLS works too, also on a listening socket that is wrapped.
    The exit status is the command's; 127 when it is not found, 126 when it cannot be run.

    \b
    Examples:
      netemu exec -- python3 -m http.server 8080
      netemu exec --app web -- uvicorn --loop asyncio site:app --host 0.0.0.0
      netemu exec -- python3 -c 'import urllib.request as u; print(u.urlopen("http://198.18.0.1:8000/").status)'
    """
    status = status_of_missing(command[0])
    if status:
        return status
    host = attach(app or Path(command[0]).name[:LONGEST_APP], name, on)
    environment = {**os.environ, **settings(host.app, host.channel.path)}
    host.close()
    sys.stdout.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what is ignored is inherited
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        warn(f"{command[0]}: {error.strerror}")
        return 126


def settings(app: str, socket: Path) -> dict[str, str]:
    """What makes a Python run netemu/attached/startup/sitecustomize.py before anything else."""
    import msgspec

    import netemu.attached

    startup = Path(netemu.attached.__file__).parent / "startup"
    home, needed = startup.parents[2], Path(msgspec.__file__).parents[1]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, (os.fspath(startup), os.environ.get("PYTHONPATH")))),
        "NETEMU_EXEC_SOCKET": os.fspath(socket.absolute()),
        "NETEMU_EXEC_APP": app,
        "NETEMU_EXEC_PATH": os.pathsep.join(map(os.fspath, (home, needed))),
        "NETEMU_EXEC_PYTHON": sys.executable,
    }
