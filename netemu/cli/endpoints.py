"""What the verbs that make sockets share: being an app, addresses as people write them, sockets of the host and of the kernel."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from netemu.apps.base import UsageError
from netemu.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from netemu.attached.host import AttachedHost
    from netemu.attached.socket import AttachedSocket

AppName = Annotated[
    str | None,
    typer.Option(
        "--app", metavar="NAME", help="Name of the app that owns the sockets [default: the verb's, or the program's]."
    ),
]
OnHost = Annotated[
    str | None,
    typer.Option(
        "--host", metavar="NAME", help="On which emulated host, where there are several [default: the first]."
    ),
]
ReusePort = Annotated[
    bool, typer.Option("--reuseport", help="Share the port with other apps of this user (SO_REUSEPORT).")
]


class Endpoint(NamedTuple):
    address: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    def __str__(self) -> str:
        return shown(self)


def shown(name: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """ADDRESS:PORT, as a person writes it."""
    address, port = name[0].removeprefix("::ffff:") if "." in name[0] else name[0], name[1]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def address_of(text: str) -> str:
    """An address, in numbers; there is no DNS on the emulated host."""
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise UsageError(f"{text!r} is no IP address (names are not looked up)") from None


def port_of(text: str, *, least: int = 0) -> int:
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= 65535:
        raise UsageError(f"{text!r} is no port: a number from {least} to 65535")
    return int(text)


def endpoint(text: str, default: str, *, least: int = 0) -> Endpoint:
    """Of PORT, ADDRESS:PORT or [ADDRESS]:PORT."""
    address, colon, port = text.rpartition(":")
    if colon and ":" in address and not address.startswith("["):
        raise UsageError(f"{text!r}: write an IPv6 address as [ADDRESS]:PORT")
    return Endpoint(address_of(address) if colon else default, port_of(port, least=least))


def attach(app: str, name: str | None, on: str | None = None) -> AttachedHost:
    """Become an app of the running instance, on its host ``on``."""
    import netemu

    try:
        return netemu.attach(app=app, name=name, host=on)
    except OSError as error:
        if error.errno == errno.EINVAL:  # the app's name
            raise UsageError(f"--app: {error.strerror}") from None
        raise


def listen(
    sock: socket.socket, where: Endpoint, *, reuse_port: bool = False, v6only: bool = False, backlog: int = 128
) -> None:
    """Bind and listen; RuntimeFailure says why not."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if where.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
    bind(sock, where, reuse_port=reuse_port)
    try:
        sock.listen(backlog)
    except OSError as error:
        raise _cannot_bind(where, error, reuse_port) from None


def bind(sock: socket.socket, where: Endpoint, *, reuse_port: bool = False) -> None:
    if reuse_port:
        share(sock)
    try:
        sock.bind(where)
    except OSError as error:
        raise _cannot_bind(where, error, reuse_port) from None


def share(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        raise RuntimeFailure("--reuseport: there is no SO_REUSEPORT in this instance's flavour") from None


def _cannot_bind(where: Endpoint, error: OSError, reuse_port: bool) -> RuntimeFailure:
    shares = reuse_port or error.errno != errno.EADDRINUSE
    advice = "" if shares else "; apps of one user share a port if all of them ask for it (--reuseport)"
    return RuntimeFailure(f"{where}: {text_of(error)}{advice}")


def text_of(error: OSError) -> str:
    """In words; a timeout has no errno."""
    return (error.strerror or os.strerror(error.errno or errno.ETIMEDOUT)).lower()


def accept(listener: AttachedSocket | socket.socket) -> tuple[socket.socket, tuple[str, int]] | None:
    """The next connection, None when another process was faster. RuntimeFailure when the instance has ended."""
    try:
        return listener.accept()
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.ENETDOWN:
            raise RuntimeFailure("the instance has ended") from None
        raise
