"""Two makers of sockets, the kernel and netemu, behind one small face, for programs whose transcripts are compared."""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from netns import PATIENCE

V4, V6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
ANY_EVENT = select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP
_BITS = {"IN": 1, "PRI": 2, "OUT": 4, "ERR": 8, "HUP": 16, "NVAL": 32, "RDHUP": 0x2000}
Line = tuple[str, object]
Program = Callable[["Net"], Iterator[Line]]


class Net:
    """Sockets of one maker, all of one family, that talk to each other over loopback. ``close`` closes them all."""

    def __init__(self, make: Callable[[int, int], Any], family: int, seconds: float) -> None:
        """``seconds``: how long to wait until everything has arrived."""
        self._make, self.family, self._seconds = make, family, seconds
        self.address = "127.0.0.1" if family == V4 else "::1"
        self.any = "0.0.0.0" if family == V4 else "::"
        self._open = ExitStack()

    def pause(self) -> None:
        time.sleep(self._seconds)

    def socket(self, kind: int, *, timeout: float | None = None, family: int | None = None) -> Any:
        made = self._make(family or self.family, kind)
        self._open.callback(made.close)
        made.settimeout(timeout)
        return made

    def tcp(self, **how: Any) -> Any:
        return self.socket(TCP, **how)

    def udp(self, **how: Any) -> Any:
        return self.socket(UDP, **how)

    def listener(self, backlog: int = 8) -> Any:
        made = self.tcp()
        made.bind((self.address, 0))
        made.listen(backlog)
        return made

    def accept(self, listener: Any) -> Any:
        before = listener.gettimeout()
        listener.settimeout(PATIENCE)
        made = listener.accept()[0]
        listener.settimeout(before)
        self._open.callback(made.close)
        return made

    def pair(self) -> tuple[Any, Any]:
        """(who connected, who accepted)."""
        listener, client = self.listener(), self.tcp()
        client.connect(listener.getsockname())
        server = self.accept(listener)
        listener.close()
        return client, server

    def udp_pair(self) -> tuple[Any, Any]:
        """The first is connected to the second."""
        one, other = self.udp(), self.udp()
        other.bind((self.address, 0))
        one.connect(other.getsockname())
        return one, other

    def unused(self) -> Any:
        """The name of a socket that nobody has."""
        with self._make(self.family, TCP) as made:
            made.bind((self.address, 0))
            return made.getsockname()

    def close(self) -> None:
        self._open.close()


def tried(call: Callable[..., Any], *arguments: Any) -> object:
    """What the call returns, or the name of its error; of names and sockets only that there is one."""
    try:
        result = call(*arguments)
    except TimeoutError as problem:
        return errno.errorcode.get(problem.errno or 0, "timed out")
    except OSError as problem:
        return errno.errorcode[problem.errno or 0]
    return result if isinstance(result, int | bytes | type(None)) else type(result).__name__


def bits(sock: Any) -> str:
    """What poll says of it now."""
    poll = select.poll()
    poll.register(sock.fileno(), ANY_EVENT)
    found = dict(poll.poll(0)).get(sock.fileno(), 0)
    return " ".join(name for name, bit in _BITS.items() if found & bit)


def reset(sock: Any) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def option(sock: Any, level: int, name: int) -> object:
    return tried(sock.getsockopt, level, name)


def so_error(sock: Any) -> str:
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.errorcode.get(number, "") if number else "0"
