"""Which apps there are, and how --app names one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netemu.apps.base import App, Clock, Network, UsageError
from netemu.apps.chargen import ChargenApp
from netemu.apps.daytime import DaytimeApp
from netemu.apps.discard import DiscardApp
from netemu.apps.echo import EchoApp
from netemu.apps.http import HttpApp
from netemu.apps.trouble.app import TroubleApp

KINDS: dict[str, type[App]] = {
    app.kind: app for app in (HttpApp, EchoApp, DiscardApp, DaytimeApp, ChargenApp, TroubleApp)
}

FORM = "[NAME=]KIND[:PORT][,key=value]..."


class AppSpec(NamedTuple):
    """One app that shall run."""

    name: str
    """Whose sockets these are, in `netemu ss`."""
    kind: str
    port: int
    """The first, where it has several."""
    options: Mapping[str, str]

    @property
    def ports(self) -> range:
        return range(self.port, self.port + KINDS[self.kind].span)

    @property
    def prefixes(self) -> tuple[Network, ...]:
        """Out of which its host gets addresses for it alone; whoever shall reach those needs a way to them."""
        return KINDS[self.kind].prefixes(self.options)


DEFAULT_APPS = tuple(AppSpec(kind, kind, app.port, {}) for kind, app in KINDS.items() if kind != TroubleApp.kind)
"""What `netemu up` serves unless told otherwise."""


def parse_app(spec: str) -> AppSpec:
    """Read the argument of --app: [NAME=]KIND[:PORT][,key=value]...; raise UsageError where it is wrong.

    An app that is given no name has that of its kind.
    """
    head, *pairs = spec.split(",")
    name, equals, service = head.partition("=")
    if not equals:
        service, name = head, head.partition(":")[0] or "app"
    if not name or name != "".join(name.split()):
        raise UsageError(f"--app {spec}: the name is {'not one word' if name else 'empty'}; write {FORM}")
    kind, colon, port = service.partition(":")
    if kind not in KINDS:
        raise UsageError(f"--app {spec}: {no_such_kind(kind)}")
    options = dict(parse_pair(spec, pair) for pair in pairs)
    if len(options) < len(pairs):
        raise UsageError(f"--app {spec}: an option stands there twice; give each key once")
    first = parse_port(spec, port) if colon else KINDS[kind].port
    if first + KINDS[kind].span > 1 << 16:
        raise UsageError(
            f"--app {spec}: {kind} takes {KINDS[kind].span} ports; give {65536 - KINDS[kind].span} at most"
        )
    return AppSpec(name, kind, first, options)


def parse_apps(specs: Iterable[str]) -> tuple[AppSpec, ...]:
    """The apps of one host, their options too; UsageError also where two of them want the same name, port or addresses."""
    chosen: list[AppSpec] = []
    for spec in map(parse_app, specs):
        for other in chosen:
            if port := next((port for port in spec.ports if port in other.ports), None):
                raise UsageError(f"--app: port {port} is taken twice, by {other.name} and {spec.name}; change one")
            if spec.name == other.name:
                raise UsageError(f"--app: the name {spec.name!r} is taken twice; change one")
        make_app(spec, _NoClock())  # it checks its options
        for other in chosen:
            if any(mine.overlaps(theirs) for mine in spec.prefixes for theirs in other.prefixes):
                raise UsageError(f"--app: the addresses of {other.name} and {spec.name} overlap; change one prefix")
        chosen.append(spec)
    return tuple(chosen)


class _NoClock:
    """An app that is only made to be checked lives in no time."""

    def time(self) -> float:
        return 0.0

    def call_later(self, delay_ns: int, call: object) -> None:
        pass


def make_app(spec: AppSpec, clock: Clock) -> App:
    """The app itself; raise UsageError for an option that it does not know or cannot take."""
    return KINDS[spec.kind](spec.options, clock)


def parse_port(spec: str, text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise UsageError(f"--app {spec}: {text!r} is not a port; give a number from 1 to 65535")


def parse_pair(spec: str, pair: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not key or not equals:
        raise UsageError(f"--app {spec}: {pair!r} is not an option; write key=value")
    return key, value


def no_such_kind(kind: str) -> str:
    from difflib import get_close_matches  # only a mistake pays for it

    near = get_close_matches(kind, KINDS, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"there is no kind {kind!r}; {guess}kinds: {', '.join(sorted(KINDS))}"
