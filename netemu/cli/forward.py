"""`netemu forward LISTEN TO TARGET`: a port of the emulated host that is a kernel's, or the other way round."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Instance, warn
from netemu.cli.endpoints import AppName, Endpoint, OnHost, ReusePort, accept, attach, endpoint, listen, shown, text_of
from netemu.cli.relay import HOLD, RESET_ON_CLOSE, Relay
from netemu.cli.watching import IN, Loop
from netemu.runtime.errors import RuntimeFailure

SIDES = ("emulated", "kernel")
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def forward(
    words: Annotated[list[str], typer.Argument(metavar="LISTEN [TO] TARGET", help="Each [SIDE:][ADDRESS:]PORT.")],
    app: AppName = None,
    reuseport: ReusePort = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="A line for each connection's end.")] = False,
    on: OnHost = None,
    name: Instance = None,
) -> int:
    """Forward TCP connections, to the emulated host or from it.

    The other end is in this machine's own network. SIDE is emulated or kernel. LISTEN is on the emulated host unless it
    says kernel:, and TARGET is on the other side. Without an ADDRESS, LISTEN is 0.0.0.0 on the emulated side and
    127.0.0.1 on the kernel's; TARGET is 127.0.0.1, or the emulated host's first address. [::]:PORT listens on IPv6 and
    IPv4.

    An emulated port looks closed while TARGET does not answer: a SYN is answered once the connection to TARGET is made,
    or with a RST when it cannot be. In the other direction the kernel has answered by then, so the client sees a
    reset. The ends of the two streams and resets are passed on, each by itself. TCP only.

    \b
    Examples:
      netemu forward 8080 TO 127.0.0.1:3000                # the emulated port 8080 is a server of this machine
      netemu forward '[::]:8081' TO '[::1]:8000'
      netemu forward kernel:127.0.0.1:9000 TO 198.18.0.2:80   # a port of this machine is one of the emulated host
      netemu forward kernel:9000 TO 80                     # the same
    """
    sides, listen_at, target = parse(words)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host = attach(app or "forward", name, on)
    if not target.address:
        target = target._replace(address=host.addresses[0] if sides[1] == "emulated" else "127.0.0.1")

    def make(side: str, family: int) -> socket.socket:
        return host.socket(family) if side == "emulated" else socket.socket(family)

    with make(sides[0], listen_at.family) as listener:
        if sides[0] == "emulated":
            listener.setsockopt(*HOLD, 1)
        listen(listener, listen_at, reuse_port=reuseport, backlog=1024)
        listener.setblocking(False)
        ends = f"{sides[0]} {shown(listener.getsockname())} to {sides[1]} {target}"
        print(f"forwarding {ends} as app {host.app}; ^C ends it", flush=True)
        loop = Loop()
        loop.watch(host.fileno(), 0, lambda _: instance_ended())
        Forwarder(loop, listener, lambda: make(sides[1], target.family), target, sides[0] == "emulated", verbose)
        return loop.run()


def instance_ended() -> NoReturn:
    raise RuntimeFailure("the instance has ended")


def parse(words: list[str]) -> tuple[tuple[str, str], Endpoint, Endpoint]:
    """(the sides, LISTEN, TARGET); a TARGET without an address has none yet."""
    if len(words) == 3 and words[1].lower() == "to":
        words = [words[0], words[2]]
    if len(words) != 2:
        raise UsageError("give LISTEN and TARGET, as in `netemu forward 8080 TO 127.0.0.1:3000`")
    here, listen_word = side_of(words[0])
    there, target_word = side_of(words[1])
    here = here or ("kernel" if there == "emulated" else "emulated")
    if there == here:
        raise UsageError(f"both ends are {here}: one of them has to be {SIDES[here == 'emulated']}")
    target = endpoint(target_word, "", least=1)
    listen_at = endpoint(listen_word, "0.0.0.0" if here == "emulated" else "127.0.0.1")
    return (here, SIDES[here == "emulated"]), listen_at, target


def side_of(word: str) -> tuple[str, str]:
    """'kernel:9000' -> ('kernel', '9000'); without a side it is ''."""
    side, colon, rest = word.partition(":")
    return (side, rest) if colon and side in SIDES else ("", word)


class Forwarder:
    """Accepts, and makes a relay of each connection."""

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        make: Callable[[], socket.socket],
        target: Endpoint,
        is_held: bool,
        verbose: bool,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._make = make
        self._target = target
        self._is_held = is_held
        self._say = warn if verbose else lambda _: None
        self._accept_more()

    def _accept_more(self) -> None:
        self._loop.watch(self._listener.fileno(), IN, lambda _: self._connected())

    def _connected(self) -> None:
        try:
            accepted = accept(self._listener)
            if accepted is None:
                return
            client, peer = accepted
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:  # until a connection has ended
                self._loop.forget(self._listener.fileno())
            return
        name = shown(peer)
        try:
            target = self._make()
        except OSError as error:
            if error.errno == errno.ENETDOWN:
                instance_ended()
            self._say(f"{name}: {text_of(error)}")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            client.close()
            return
        Relay(self._loop, client, target, is_held=self._is_held, on_end=lambda how: self._ended(name, how)).start(
            self._target
        )

    def _ended(self, name: str, how: str) -> None:
        self._say(f"{name}: {how}")
        self._accept_more()
