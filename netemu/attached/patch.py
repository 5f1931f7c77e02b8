"""socket.socket for programs that know nothing of netemu."""

from __future__ import annotations

import socket
from functools import cache
from typing import TYPE_CHECKING, Any

from netemu.attached.socket import AttachedSocket

if TYPE_CHECKING:
    from netemu.attached.host import AttachedHost

_INET = (socket.AF_INET, socket.AF_INET6)
_KIND = ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def patched_class(host: AttachedHost, real: type[socket.socket]) -> type[socket.socket]:
    """A class that makes the host's sockets for TCP and UDP, and of the host's descriptors; the kernel's for everything else.

    An instance of a subclass (ssl.SSLSocket is one) is the host's in the same cases, with the subclass's methods in front.
    """

    class Fresh(AttachedSocket):
        """Made by the arguments of socket.socket."""

        def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
            if fileno is None:
                family, kind, proto = with_defaults(family, type, proto)
                super().__init__(host.channel, *host.make(family, kind, proto), proto)
            else:
                made = host.look_at(fileno)
                known = socket.IPPROTO_TCP if made.kind == socket.SOCK_STREAM else socket.IPPROTO_UDP
                super().__init__(host.channel, made, fileno, known if proto == -1 else proto)
            if type > 0 and type & socket.SOCK_NONBLOCK:
                self.setblocking(False)

    class AnySocket(type(real)):  # type: ignore[misc]  # mypy wants a name; it is type, unless one patches twice
        """What is no kernel socket is an instance of socket.socket all the same."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real) if cls is PatchedSocket else super().__instancecheck__(instance)

    class PatchedSocket(real, metaclass=AnySocket):  # type: ignore[valid-type, misc]  # the class as it was before
        def __new__(
            cls, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None, **more: Any
        ) -> Any:
            if not (is_ours(host, fileno, family) if fileno is not None else is_inet(family, type, proto)):
                return super().__new__(cls, family, type, proto, fileno)
            if cls is PatchedSocket:
                return Fresh(family, type, proto, fileno)
            return real.__new__(both(cls))

    @cache
    def both(cls: type[socket.socket]) -> Any:
        return AnySocket(cls.__name__, (cls, Fresh), {"__module__": cls.__module__})

    return PatchedSocket


def with_defaults(family: int, type: int, proto: int) -> tuple[int, int, int]:
    """As socket.socket's."""
    kind = socket.SOCK_STREAM if type == -1 else type & _KIND
    return socket.AF_INET if family == -1 else family, kind, max(proto, 0)


def is_inet(family: int, type: int, proto: int) -> bool:
    """Would a socket made so be one of TCP or UDP?"""
    family, kind, proto = with_defaults(family, type, proto)
    protocols: dict[int, tuple[int, ...]] = {
        socket.SOCK_STREAM: (0, socket.IPPROTO_TCP),
        socket.SOCK_DGRAM: (0, socket.IPPROTO_UDP),
    }
    return family in _INET and proto in protocols.get(kind, (-1,))


def is_ours(host: AttachedHost, descriptor: int, family: int) -> bool:
    """Is it a socket of the host? Whoever says AF_UNIX means one of this machine."""
    if family not in (-1, *_INET):
        return False
    try:
        host.look_at(descriptor)
    except OSError:
        return False
    return True
