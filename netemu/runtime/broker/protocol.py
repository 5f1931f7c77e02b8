"""What an attached process and the broker say to each other: one msgpack array to a message, descriptors beside it.

request   [number, operation, argument ...]     number 0: no answer is wanted
answer    [number, errno, text, result]         errno 0: it went well
on a listener's descriptor       Accepted, with the connection's descriptor
on a UDP socket's descriptor     Arrived, or a Poke: 'ask for SO_ERROR'
"""

from __future__ import annotations

import socket
import struct

import msgspec

SOCKET = "attach.sock"
"""In the instance's directory."""
VERSION = 1
LARGEST = 80 << 10
"""Bytes of a message: the longest datagram and what goes with it."""
DESCRIPTORS = 4
"""That a message may carry at most; more are closed unseen."""


class Accepted(msgspec.Struct, array_like=True, frozen=True):
    """A connection that was accepted."""

    id: int
    local: tuple[str, int]
    peer: tuple[str, int]
    pid: int
    """Whose it is unless another process claims it: the listener's."""
    state: str = "connected"
    """'connecting' while the SYN-ACK is held back."""


class Arrived(msgspec.Struct, array_like=True, frozen=True, tag="d"):
    """A datagram."""

    data: bytes
    address: tuple[str, int]
    ancillary: list[tuple[int, int, bytes]] = []
    flags: int = 0


class Queued(msgspec.Struct, array_like=True, frozen=True):
    """What a UDP socket's error queue holds (IP_RECVERR)."""

    data: bytes
    ancillary: list[tuple[int, int, bytes]]
    flags: int
    address: tuple[str, int]


class Poke(msgspec.Struct, array_like=True, frozen=True, tag="p"):
    """No datagram: an error waits (SO_ERROR), or something in the error queue."""


class Welcome(msgspec.Struct, array_like=True, frozen=True):
    """The answer to 'hello'."""

    instance: str
    app: str
    uid: int
    addresses: list[str]


class Made(msgspec.Struct, array_like=True, frozen=True):
    """A socket, as its owner sees it."""

    id: int
    family: int
    kind: int
    state: str
    """'fresh', 'connected', 'listening' or 'datagram'."""
    local: tuple[str, int]
    peer: tuple[str, int] | None = None


def descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """All descriptors that came with a message; they are ours to close."""
    found: list[int] = []
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.extend(struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4]))
    return found
