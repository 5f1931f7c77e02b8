"""The ports of one protocol: who holds them, who may have them, and ephemeral ones (RFC 6056). The rules are the flavour's."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from hashlib import blake2s
from itertools import chain, count
from typing import TYPE_CHECKING, NamedTuple

from netemu.stack.names import ANY, Name, name_for

if TYPE_CHECKING:
    from netemu.stack.holders import Holder
    from netemu.stack.host import Host
    from netemu.stack.sockets import Socket

PERTURBATIONS = 1024
"""Counters of RFC 6056 3.3.4, so that two runs of destinations seldom push each other on."""


class Trusted(NamedTuple):
    """A user and a name: whoever has SO_REUSEPORT and fits is let in without a look at the others."""

    uid: int
    name: Name
    is_ipv6: bool

    def includes(self, other: Name) -> bool:
        """Is this name the other's, or a wildcard over it? Of an IPv4 socket only the IPv4 part of both counts."""
        mine = self.name
        covers_ipv4 = other.v4 is not None and mine.v4 in (ANY, other.v4)
        if not self.is_ipv6:
            return covers_ipv4
        if mine.v6 is None:
            return other.v6 is None and covers_ipv4
        if mine.v6 == ANY:
            return other.v6 is not None or mine.v4 is not None
        return mine.v6 == other.v6


class Port:
    """One port: who holds it, and the SO_REUSEPORT socket that Linux remembers of those who bound it."""

    __slots__ = ("by_connect", "holders", "trusted")

    def __init__(self) -> None:
        self.holders: dict[Holder, None] = {}
        self.by_connect = 0
        """How many of them got it by connecting."""
        self.trusted: Trusted | None = None

    def remember(self, socket: Holder, name: Name) -> None:
        """``socket`` is let in (facts T6)."""
        known = self.trusted
        if not socket.reuseport:
            self.trusted = None
        elif known is None or known.uid != socket.uid or not known.includes(name):
            self.trusted = Trusted(socket.uid, name, socket.is_ipv6)


class Ports:
    """The bound ports of one protocol and those who hold them: sockets, those that a listener accepted too, and TIME-WAIT."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._random = host.random
        self._ports: dict[int, Port] = {}
        self._secret = host.random.randbytes(16)
        self._perturbation = [0] * PERTURBATIONS
        self._order = count(1)

    def bind(self, socket: Socket, address: bytes, port: int) -> None:
        """Give ``socket`` the name (address, port), port 0 for one that is free; EADDRINUSE."""
        if port:
            self.check(socket, name_for(socket, address, port), False)
        else:
            port = self._free_port(socket, name_for(socket, address, 0))
        name = name_for(socket, address, port)
        self._port(port).remember(socket, name)
        self.hold(socket, port)
        socket.bind_order = next(self._order)
        socket.take_name(address, name)

    def check(self, socket: Socket, name: Name, listening: bool) -> None:
        """May ``socket`` hold ``name``, or listen there? EADDRINUSE (where the flavour has it so: EACCES)."""
        flavour, known = self._host.flavour, self._ports.get(name.port)
        if known is None or flavour.trusts(known, socket, name):
            return
        for other in known.holders:
            if other is not socket and self._meet(other, name):
                number = flavour.refuses(socket, name, other, listening)
                if number:
                    raise OSError(number, f"port {name.port} is held by s{other.id} of app {other.app or '-'}")

    def listen(self, socket: Socket) -> None:
        """``socket``, which is bound, wants to listen: the check once more (facts T1)."""
        assert socket.name is not None
        if self._host.flavour.checks_at_listen:
            self.check(socket, socket.name, True)
            self._port(socket.lport).remember(socket, socket.name)

    def hold(self, holder: Holder, port: int) -> None:
        known = self._port(port)
        known.holders[holder] = None
        known.by_connect += holder.port_by_connect

    def release(self, holder: Holder, port: int) -> None:
        known = self._ports.get(port)
        if known is None or holder not in known.holders:
            return
        del known.holders[holder]
        known.by_connect -= holder.port_by_connect
        if not known.holders:
            del self._ports[port]
        elif known.by_connect == len(known.holders):
            known.trusted = None

    def _port(self, port: int) -> Port:
        return self._ports.get(port) or self._ports.setdefault(port, Port())

    # -- ephemeral ports --------------------------------------------------------------------------------------------------

    def _free_port(self, socket: Socket, wanted: Name) -> int:
        """A port for bind(0), from a random start (RFC 6056 3.3.1); EADDRINUSE when there is none."""
        low, high = socket.local_ports
        start = self._random.randrange(high - low + 1)
        for relaxed in (False, True) if self._host.config.autobind_reuse else (False,):
            for port in _round(low, high, start):
                if self._is_free(socket, wanted, port, relaxed):
                    return port
        raise OSError(errno.EADDRINUSE, "all ephemeral ports are taken")

    def _is_free(self, socket: Socket, wanted: Name, port: int, relaxed: bool) -> bool:
        known, flavour = self._ports.get(port), self._host.flavour
        return known is None or all(
            flavour.is_free(socket, wanted, other, relaxed) for other in known.holders if self._meet(other, wanted)
        )

    def _meet(self, holder: Holder, name: Name) -> bool:
        """Is there an address that both hold?"""
        return holder.name is not None and holder.name.overlaps(name, self._host.set_aside)

    def for_connect(self, socket: Socket, ends: bytes, is_unique: Callable[[int], bool]) -> int:
        """A port for a connection between ``ends`` (addresses and the peer's port), by double hash (RFC 6056 3.3.4).

        It may share one with others that got it by connecting, when ``is_unique`` (facts T10); EADDRNOTAVAIL.
        """
        low, high = socket.local_ports
        hash_ = int.from_bytes(blake2s(ends, key=self._secret, digest_size=8).digest(), "big")
        at = hash_ % PERTURBATIONS
        start = (hash_ >> 32) + self._perturbation[at]
        for tried, port in enumerate(_round(low, high, start)):
            known = self._ports.get(port)
            if (known is None or known.by_connect == len(known.holders)) and is_unique(port):
                self._perturbation[at] += tried + 1
                return port
        raise OSError(errno.EADDRNOTAVAIL, "all ephemeral ports are taken")


def _round(low: int, high: int, start: int) -> Iterator[int]:
    """All from ``low`` to ``high``, beginning somewhere."""
    first = low + start % (high - low + 1)
    return chain(range(first, high + 1), range(low, first))
