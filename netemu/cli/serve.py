"""`netemu serve PORT -- COMMAND`: a command for each connection, as inetd has it."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Annotated

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Instance, status_of_missing, warn
from netemu.cli.endpoints import (
    AppName,
    Endpoint,
    OnHost,
    ReusePort,
    accept,
    address_of,
    attach,
    listen,
    port_of,
    shown,
)
from netemu.cli.watching import IN, Loop

if TYPE_CHECKING:
    from netemu.attached.socket import AttachedSocket


def serve(
    port: Annotated[str, typer.Argument(metavar="PORT", help="0 lets the host choose one.")],
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The command and its arguments.")],
    app: AppName = None,
    addr: Annotated[
        str | None, typer.Option("--addr", metavar="ADDRESS", help="Listen on this address [default: all of IPv4].")
    ] = None,
    ipv6: Annotated[bool, typer.Option("-6", "--ipv6", help="Listen on all addresses, IPv6 and IPv4.")] = False,
    reuseport: ReusePort = False,
    most: Annotated[
        int, typer.Option("--max", metavar="N", min=1, help="Commands at once; further connections wait.")
    ] = 256,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="A line for each connection that ends.")] = False,
    on: OnHost = None,
    name: Instance = None,
) -> int:
    """Run a command for each connection, as inetd does.

    The connection is its standard input and output; its standard error stays ours. It finds the two ends in NETEMU_PEER
    and NETEMU_LOCAL. ^C or SIGTERM ends it, and with it the commands that still run.

    \b
    Examples:
      netemu serve 7777 -- cat
      netemu serve 8080 -v -- sh -c 'echo hello, $NETEMU_PEER'
      netemu serve 12345 --reuseport --app C -- ./worker   # several of them share the port
    """
    if addr is not None and ipv6:
        raise UsageError("-6 means --addr ::, so give only one of them")
    where = Endpoint(address_of(addr) if addr is not None else "::" if ipv6 else "0.0.0.0", port_of(port))
    status = status_of_missing(command[0])
    if status:
        return status
    host = attach(app or "serve", name, on)
    with host.socket(where.family) as listener:
        listen(listener, where, reuse_port=reuseport)
        listener.setblocking(False)
        print(f"listening on {shown(listener.getsockname())} as app {host.app}; ^C ends it", flush=True)
        loop = Loop()
        server = Server(loop, listener, command, most, verbose)
        try:
            return loop.run()
        finally:
            server.end()


class Server:
    """Starts commands, and reaps them."""

    def __init__(self, loop: Loop, listener: AttachedSocket, command: list[str], most: int, verbose: bool) -> None:
        self._loop = loop
        self._listener = listener
        self._command = command
        self._most = most
        self._verbose = verbose
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        """By their pidfds."""
        self._accept_more()

    def _accept_more(self) -> None:
        self._loop.watch(self._listener.fileno(), IN, lambda _: self._connected())

    def _connected(self) -> None:
        accepted = accept(self._listener)
        if accepted is None:
            return
        connection, peer = accepted
        local = connection.getsockname()
        end = connection.detach()  # the command's now: to close it here says nothing of how the connection ends
        try:
            self._start(end, shown(peer), shown(local))
        finally:
            os.close(end)
        if len(self._children) >= self._most:
            self._loop.forget(self._listener.fileno())

    def _start(self, end: int, peer: str, local: str) -> None:
        environment = {**os.environ, "NETEMU_PEER": peer, "NETEMU_LOCAL": local}
        try:
            child = subprocess.Popen(self._command, stdin=end, stdout=end, env=environment)
        except OSError as error:
            warn(f"{peer}: {self._command[0]}: {error.strerror}")
            return
        pidfd, began = os.pidfd_open(child.pid), time.monotonic()
        self._children[pidfd] = child
        self._loop.watch(pidfd, IN, lambda _: self._ended(pidfd, peer, began))

    def _ended(self, pidfd: int, peer: str, began: float) -> None:
        self._loop.forget(pidfd)
        os.close(pidfd)
        child = self._children.pop(pidfd)
        status = child.wait()
        if self._verbose:
            how = f"exit status {status}" if status >= 0 else f"killed by signal {-status}"
            warn(f"{peer}: {how} after {time.monotonic() - began:.2f} s")
        if len(self._children) < self._most:
            self._accept_more()

    def end(self) -> None:
        """End the commands that still run."""
        for child in self._children.values():
            child.terminate()
