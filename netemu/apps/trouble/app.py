"""The app `trouble`: all of them on one host, each at its port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from netemu.apps.base import App, Clock, Service
from netemu.apps.options import check_known
from netemu.apps.trouble.table import BASE, SPAN, TROUBLES

if TYPE_CHECKING:
    from netemu.apps.trouble.connection import Troubled

LIFETIME = 600_000_000_000
"""Of a connection, ns: what never ends ends with a RST then, so that an instance may run for weeks."""
ROUND = LIFETIME // 10
"""Between two looks at which have come to that age."""


class TroubleApp(App):
    """Takes no options. Its port is that of the first trouble."""

    kind = "trouble"
    port = BASE + 1
    span = SPAN
    summary = "ports each of which misbehaves in one known way (`netemu trouble --list`)"

    def __init__(self, options: Mapping[str, str], clock: Clock) -> None:
        super().__init__(options, clock)
        check_known(self.kind, options)
        self._open: dict[Troubled, float] = {}
        """Connections, with when they began; the oldest first."""
        self._going_round = False

    def services(self, port: int) -> Iterator[Service]:
        for trouble in TROUBLES:
            stream = partial(trouble.stream, self, trouble) if trouble.stream else None
            here = port + trouble.number - 1
            rules = tuple(rule.format(port=here) for rule in trouble.rules)
            yield Service(here, stream, None, trouble.prepare, trouble.accepts, rules, trouble.bend)

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
