"""Who holds a port: a socket, or what is left of one in TIME-WAIT."""

from __future__ import annotations

from typing import Protocol

from netemu.stack.names import Name


class Holder(Protocol):
    """What the rules of binding look at."""

    @property
    def id(self) -> int: ...
    @property
    def app(self) -> str: ...
    @property
    def uid(self) -> int: ...
    @property
    def name(self) -> Name | None: ...
    @property
    def is_ipv6(self) -> bool: ...
    @property
    def is_stream(self) -> bool: ...
    @property
    def is_listening(self) -> bool: ...
    @property
    def is_connected(self) -> bool: ...
    @property
    def in_time_wait(self) -> bool: ...
    @property
    def reuseaddr(self) -> bool: ...
    @property
    def reuseport(self) -> bool: ...
    @property
    def reuseport_lb(self) -> bool: ...
    @property
    def exclusive(self) -> bool: ...
    @property
    def has_own_group(self) -> bool: ...
    @property
    def port_by_connect(self) -> bool: ...


class Remains:
    """A connection in TIME-WAIT holds its port with its socket's options, whether or not there still is a socket (facts T4)."""

    __slots__ = (
        "app", "exclusive", "id", "is_ipv6", "name", "port_by_connect", "reuseaddr", "reuseport", "reuseport_lb", "uid",
    )  # fmt: skip
    is_stream = is_connected = in_time_wait = True
    is_listening = has_own_group = False

    def __init__(self, socket: Holder) -> None:
        self.id, self.app, self.uid = socket.id, socket.app, socket.uid
        self.name: Name | None = socket.name
        self.is_ipv6, self.port_by_connect = socket.is_ipv6, socket.port_by_connect
        self.reuseaddr, self.reuseport = socket.reuseaddr, socket.reuseport
        self.reuseport_lb, self.exclusive = socket.reuseport_lb, socket.exclusive
