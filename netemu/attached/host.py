"""The emulated host, seen from an attached process."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_STREAM
from typing import Self

from netemu.attached.channel import Channel
from netemu.attached.socket import AttachedSocket
from netemu.runtime.broker.protocol import SOCKET, Made
from netemu.runtime.errors import RuntimeFailure
from netemu.runtime.paths import find

Address = tuple[str, int]


def attach(app: str | None = None, *, name: str | None = None, host: str | None = None) -> AttachedHost:
    """Become app ``app`` (default: the program's name) of the running instance ``name`` (default: the only one).

    ``host``: on which of its emulated hosts, where it has several (default: the first of its scenario).

    RuntimeFailure, in one line, when there is no such instance or this user may not attach; OSError (EINVAL) when the
    app's name is not one word.
    """
    if not isinstance(app, str | None):
        raise TypeError(f"app must be a str, not {type(app).__name__}")
    path = find(name, SOCKET)
    if host is not None:
        path = at_host(path, host)
    return attach_at(path, own_name() if app is None else app)


def at_host(path: Path, host: str) -> Path:
    """The socket of an instance's host, from that of its first."""
    found = path.parent / host / SOCKET
    if "/" in host or not found.exists():
        known = ", ".join(sorted(child.parent.name for child in path.parent.glob(f"*/{SOCKET}"))) or "none with a name"
        raise RuntimeFailure(f"the instance {path.parent.name!r} has no host {host!r}; it has {known}")
    return found


def own_name() -> str:
    """The program's, in one word."""
    return "-".join(Path("/proc/self/comm").read_text().split()) or "app"


def attach_at(path: Path, app: str) -> AttachedHost:
    """As attach, for the socket at ``path``."""
    try:
        return AttachedHost(Channel(path, app))
    except PermissionError:
        raise RuntimeFailure(
            f"the instance {path.parent.name!r} is another user's: start it with --shared, or try sudo"
        ) from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise RuntimeFailure(f"no instance named {path.parent.name!r} is running") from None


def fromfd(descriptor: int, *, app: str | None = None, name: str | None = None) -> AttachedSocket:
    """The socket behind a descriptor that another process passed on (SCM_RIGHTS, inheritance); a duplicate, as socket.fromfd."""
    return attach(app, name=name).fromfd(descriptor)


class AttachedHost:
    """Makes sockets of the emulated host. Threads may share it, and so may what is forked.

    At the end of a ``with`` block it is closed.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def __repr__(self) -> str:
        return f"<app {self.app} of netemu {self.name}: {' '.join(self.addresses)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    @property
    def app(self) -> str:
        return self.channel.app

    @property
    def name(self) -> str:
        """Of the instance."""
        return self.channel.welcome.instance

    @property
    def addresses(self) -> list[str]:
        """Of the emulated host."""
        return self.channel.welcome.addresses

    def socket(self, family: int = AF_INET, type: int = SOCK_STREAM, proto: int = 0) -> AttachedSocket:
        """A fresh TCP or UDP socket, as socket.socket makes one; SOCK_NONBLOCK and SOCK_CLOEXEC are understood."""
        kind = type & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        fresh = AttachedSocket(self.channel, *self.make(int(family), int(kind), proto), proto)
        if type & socket.SOCK_NONBLOCK:
            fresh.setblocking(False)
        return fresh

    def make(self, family: int, kind: int, proto: int) -> tuple[Made, int]:
        """A fresh socket, and its descriptor."""
        if proto not in (0, socket.IPPROTO_UDP if kind == socket.SOCK_DGRAM else socket.IPPROTO_TCP):
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        return self.channel.ask(Made, "socket", family, kind)

    def look_at(self, descriptor: int) -> Made:
        """What is behind a descriptor. ENOTSOCK: no socket of this instance."""
        return self.channel.show(Made, "adopt", descriptor)

    def fromfd(self, descriptor: int) -> AttachedSocket:
        """The socket behind a descriptor that was passed on; a duplicate of it."""
        return AttachedSocket(self.channel, self.look_at(descriptor), os.dup(descriptor))

    def create_connection(
        self, address: Address, timeout: float | None = None, source_address: Address | None = None
    ) -> AttachedSocket:
        """Connect to ``address``, as socket.create_connection does; numbers and 'localhost' only, there is no DNS."""
        made = self.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            made.settimeout(timeout)
            if source_address:
                made.bind(source_address)
            made.connect(address)
        except OSError:
            made.close()
            raise
        return made

    def create_server(
        self,
        address: Address,
        *,
        family: int = AF_INET,
        backlog: int | None = None,
        reuse_port: bool = False,
        dualstack_ipv6: bool = False,
    ) -> AttachedSocket:
        """A listening socket, as socket.create_server makes one."""
        made = self.socket(family)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dualstack_ipv6))
            made.bind(address)
            made.listen(128 if backlog is None else backlog)
        except OSError:
            made.close()
            raise
        return made

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Meanwhile socket.socket makes sockets of this host, so that programs that know nothing of netemu use it too.

        Only TCP and UDP over IPv4 and IPv6, and what is made from a descriptor of the host; all others stay the kernel's.
        """
        from netemu.attached.patch import patched_class

        real = socket.socket
        socket.socket = patched_class(self, real)  # type: ignore[misc]  # that is the point
        try:
            yield
        finally:
            socket.socket = real  # type: ignore[misc]  # as it was

    def fileno(self) -> int:
        """A descriptor that hangs up once the instance has ended; it is not for reading."""
        return self.channel.fileno()

    def close(self) -> None:
        """End the session. Sockets that are open stay so."""
        self.channel.close()
