"""The app `trouble`: all of them on one host, each at its port, and at an address of its own where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from netemu.apps.base import App, Clock, Network, Service, UsageError
from netemu.apps.options import check_known, port_number
from netemu.apps.trouble.addresses import PORT, PREFIX, address_in, parse_prefixes
from netemu.apps.trouble.table import BASE, SPAN, TROUBLES, Trouble

if TYPE_CHECKING:
    from netemu.apps.trouble.connection import Troubled

LIFETIME = 600_000_000_000
"""Of a connection, ns: what never ends ends with a RST then, so that an instance may run for weeks."""
ROUND = LIFETIME // 10
"""Between two looks at which have come to that age."""


class TroubleApp(App):
    """Its port is that of the first trouble.

    Options: ``addresses``, PREFIX[+PREFIX]...: trouble n has the nth address too; there it is at ``port`` (80).
    """

    kind = "trouble"
    port = BASE + 1
    span = SPAN
    summary = "ports each of which misbehaves in one known way (`netemu trouble --list`)"

    def __init__(self, options: Mapping[str, str], clock: Clock) -> None:
        super().__init__(options, clock)
        check_known(self.kind, options, "addresses", "port")
        self._prefixes = self.prefixes(options)
        self._port_there = port_number(self.kind, options, "port", PORT)
        if "port" in options and not self._prefixes:
            raise UsageError(f"trouble: port= is for addresses; give addresses={PREFIX} with it, or trouble:PORT")
        self._open: dict[Troubled, float] = {}
        """Connections, with when they began; the oldest first."""
        self._going_round = False

    @classmethod
    def prefixes(cls, options: Mapping[str, str]) -> tuple[Network, ...]:
        return parse_prefixes(options["addresses"], SPAN) if "addresses" in options else ()

    def services(self, port: int) -> Iterator[Service]:
        for trouble in TROUBLES:
            yield self._service(trouble, port + trouble.number - 1)
            for prefix in self._prefixes:
                yield self._service(trouble, self._port_there, str(address_in(prefix, trouble.number)))

    def _service(self, trouble: Trouble, port: int, address: str = "") -> Service:
        stream = partial(trouble.stream, self, trouble) if trouble.stream else None
        rules = tuple(rule.format(port=port) for rule in trouble.rules)
        return Service(port, stream, None, trouble.prepare, trouble.accepts, rules, trouble.bend, address)

    def remember(self, connection: Troubled) -> None:
        self._open[connection] = self.clock.time()
        if not self._going_round:
            self._going_round = True
            self.clock.call_later(ROUND, self._go_round)

    def forget(self, connection: Troubled) -> None:
        self._open.pop(connection, None)

    def _go_round(self) -> None:
        """End what is too old."""
        oldest = self.clock.time() - LIFETIME / 1e9
        for connection in [connection for connection, began in self._open.items() if began <= oldest]:
            connection.transport.abort()
        self._going_round = bool(self._open)
        if self._going_round:
            self.clock.call_later(ROUND, self._go_round)
