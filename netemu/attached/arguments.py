"""What callers hand to a socket, checked as Python's socket module checks it and in the shape that the host takes."""

from __future__ import annotations

import errno
import operator
import os
import struct
from collections.abc import Iterable
from socket import AF_INET6
from typing import Any

Address = tuple[str, int]
Item = tuple[int, int, bytes]
_FPROG = struct.Struct("H6xQ")  # linux/filter.h
_LEAST_POINTER = 1 << 40
"""No 64-bit process has its memory below; as two instructions it would return an index that no group has."""
INT_MAX = (1 << 31) - 1
FLOW_MAX = (1 << 20) - 1
"""RFC 6437 section 3: 20 bits."""


def checked(address: Any, family: int) -> Address:
    """(address, port) of what socket.connect and bind take; TypeError and OverflowError as they raise."""
    if not isinstance(address, tuple) or len(address) < 2 or not isinstance(address[0], str):
        raise TypeError(f"address must be a tuple (host, port), not {type(address).__name__}")
    host, port, *rest = address
    if not isinstance(port, int):
        raise TypeError("port must be an int")
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")
    if rest and not 0 <= rest[0] <= FLOW_MAX:
        raise OverflowError("flowinfo must be 0-1048575.")
    if host == "localhost":
        host = "::1" if family == AF_INET6 else "127.0.0.1"
    elif host == "<broadcast>":
        host = "255.255.255.255"
    return host, port


def as_bytes(data: Any) -> bytes:
    """Of anything with the buffer protocol; TypeError for the rest, an int and a str among them."""
    try:
        return memoryview(data).tobytes()
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not '{type(data).__name__}'") from None


def joined(buffers: Iterable[Any]) -> bytes:
    return b"".join(map(as_bytes, buffers))


def as_items(ancillary: Iterable[Any]) -> list[Item]:
    """(level, type, data) each; TypeError for anything else."""
    items = []
    for found in ancillary:
        if not isinstance(found, tuple) or len(found) != 3 or not all(isinstance(n, int) for n in found[:2]):
            raise TypeError("ancillary data must be tuples (level, type, data)")
        items.append((found[0], found[1], as_bytes(found[2])))
    return items


def whole(number: Any) -> int:
    """What C takes for an int; TypeError and OverflowError as socket.socket raises them."""
    found = operator.index(number)
    if not -INT_MAX - 1 <= found <= INT_MAX:
        raise OverflowError("Python int too large to convert to C int")
    return found


def size_of(number: int, what: str) -> int:
    """Of a buffer."""
    if number < 0:
        raise ValueError(f"negative buffer size in {what}")
    return number


def room_in(view: memoryview, wanted: int, what: str) -> int:
    """Bytes to receive into ``view``: ``wanted``, or all of it for 0."""
    if size_of(wanted, what) > len(view):
        raise ValueError("buffer too small for requested bytes")
    return wanted or len(view)


def bytecode(value: bytes) -> bytes:
    """The instructions themselves, where ``value`` is the kernel's struct sock_fprog: their number, and a pointer to them."""
    if len(value) != _FPROG.size:
        return value
    count, pointer = _FPROG.unpack(value)
    if value[2:8] != bytes(6) or pointer < _LEAST_POINTER:
        return value  # two instructions
    try:
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            return os.pread(memory.fileno(), 8 * count, pointer)
    except (OSError, OverflowError):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None
