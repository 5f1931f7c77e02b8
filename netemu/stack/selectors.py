"""Who of a group gets a flow, when somebody else than the hash decides: a callable, classic BPF, or a rule by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from netemu.stack.bpf import Program
from netemu.wire.buffer import Buffer

NAMES = (b"hash", b"cpu", b"round-robin")


class Arrival(NamedTuple):
    """A packet that opens a flow."""

    flow: bytes
    """Source and destination address, source and destination port."""
    data: Buffer
    """From the IP header on."""
    payload: int
    """Offset of what TCP or UDP carry."""


class Selector(Protocol):
    name: str

    def select(self, arrival: Arrival, count: int, peek: bool) -> int:
        """The index of a member among ``count``; outside of that range the hash decides. ``peek``: it is only asked."""


class RoundRobin:
    """One after the other."""

    name = "round-robin"

    def __init__(self) -> None:
        self._next = 0

    def select(self, arrival: Arrival, count: int, peek: bool) -> int:
        index = self._next % count
        if not peek:
            self._next = index + 1
        return index


class Cpu:
    """The number of the CPU that handles the packet: the stack is one loop, so that is 0."""

    name = "cpu"

    def select(self, arrival: Arrival, count: int, peek: bool) -> int:
        return 0


class Bpf:
    """Classic BPF over the payload (SO_ATTACH_REUSEPORT_CBPF)."""

    name = "bpf"

    def __init__(self, program: Program) -> None:
        self._program = program

    def select(self, arrival: Arrival, count: int, peek: bool) -> int:
        return self._program.run(arrival.data, arrival.payload)


class ByCallable:
    """A function of this process."""

    name = "callable"

    def __init__(self, function: Callable[[Arrival], int]) -> None:
        self._function = function

    def select(self, arrival: Arrival, count: int, peek: bool) -> int:
        return self._function(arrival)


def selector_of(what: str | bytes | Callable[[Arrival], int]) -> Selector | None:
    """'hash' (None), 'cpu', 'round-robin', a BPF program, or a callable. ValueError for anything else.

    A name may be bytes too: no program is that long (8 bytes an instruction).
    """
    if isinstance(what, bytes):
        if what not in NAMES:
            return Bpf(Program(what))
        what = what.decode()
    if not isinstance(what, str):
        return ByCallable(what)
    match what:
        case "hash":
            return None
        case "cpu":
            return Cpu()
        case "round-robin":
            return RoundRobin()
    raise ValueError(f"no selector {what!r}: there are hash, cpu and round-robin")
