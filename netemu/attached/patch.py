"""socket.socket for programs that know nothing of netemu."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netemu.attached.host import AttachedHost

_KIND = ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def patched_class(host: AttachedHost, real: type[socket.socket]) -> type[socket.socket]:
    """A class that makes the host's sockets for TCP and UDP, and the kernel's for everything else."""

    class AnySocket(type(real)):  # type: ignore[misc]  # mypy wants a name; it is type, unless one patches twice
        """What is no kernel socket is an instance of socket.socket all the same."""

        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real) if cls is PatchedSocket else super().__instancecheck__(instance)

    class PatchedSocket(real, metaclass=AnySocket):  # type: ignore[valid-type, misc]  # the class as it was before
        def __new__(cls, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> Any:
            family = socket.AF_INET if family == -1 else family
            type = socket.SOCK_STREAM if type == -1 else type
            inet = family in (socket.AF_INET, socket.AF_INET6) and type & _KIND in (
                socket.SOCK_STREAM,
                socket.SOCK_DGRAM,
            )
            if fileno is None and inet:
                return host.socket(family, type, max(proto, 0))
            return super().__new__(cls, family, type, proto, fileno)

    return PatchedSocket
