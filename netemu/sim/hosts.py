"""What a simulation's hosts and links are to their user."""

from __future__ import annotations

import socket as real
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from netemu.apps.registry import make_app, parse_app
from netemu.link.impairments import CLEAR
from netemu.link.link import Link
from netemu.link.rules.function import Function
from netemu.link.rules.parse import parse_rule
from netemu.link.rules.row import RuleRow
from netemu.link.stats import DirectionStats
from netemu.link.ways import Both, parse_way, parse_ways
from netemu.router.router import Router
from netemu.runtime.links import Links
from netemu.runtime.network import Call, HostNode
from netemu.runtime.serving import serve
from netemu.sim.runner import Runner
from netemu.sim.sockets import SimSocket
from netemu.stack import constants as so
from netemu.stack.row import SocketRow
from netemu.stack.streams import StreamProtocol, serve_stream
from netemu.wire.ip import text
from netemu.wire.packet import Packet

if TYPE_CHECKING:
    from netemu.sim.simulation import Simulation


class SimHost:
    """An emulated host in virtual time."""

    def __init__(self, simulation: Simulation, node: HostNode) -> None:
        self.runner: Runner = simulation.runner
        self.name = node.name
        self.node = node
        self.engine = node.engine
        self.host = node.engine.host
        """The stack itself: counters, table, sysctls. Call ``touch`` when you did something to it."""
        self._simulation = simulation

    def __repr__(self) -> str:
        return f"<host {self.name} {' '.join(self.addresses)}>"

    @property
    def addresses(self) -> list[str]:
        """Those that are not for an app alone."""
        return [text(address) for address in self.host.addresses if address not in self.host.set_aside]

    def socket(self, family: int = so.AF_INET, kind: int = so.SOCK_STREAM, *, app: str = "", uid: int = 0) -> SimSocket:
        """A fresh socket of app ``app``, created by effective user ``uid``; its calls block in virtual time."""
        self.touch()
        return SimSocket(self, self.host.socket(family, kind, app=app, uid=uid))

    def serve(self, app: str | Callable[[], StreamProtocol], port: int = 0) -> None:
        """Start a built-in app ('web=http:80', as --app takes it), or listen at ``port`` with protocols of asyncio's shape
        that ``app`` makes, one for each connection.

        UsageError for words that --app would not take, RuntimeFailure where a port is taken.
        """
        self.touch()
        if isinstance(app, str):
            spec = parse_app(app)
            self._simulation.add_app(self.name, spec)
            serve(self.engine, spec, make_app(spec, self.engine))
        else:
            serve_stream(self.host, app, port, app=getattr(app, "__name__", "app"))

    def sockets(self) -> list[SocketRow]:
        """The rows of `netemu ss`."""
        return self.host.sockets()

    def inject(self, packet: bytes | Packet) -> None:
        """Send a packet made elsewhere (from its IP header on: of a capture, or scapy's) as if this host had."""
        made = packet if isinstance(packet, Packet) else Packet(packet)
        self.runner.schedule(Call(lambda: self.node.inject(made)), self.runner.network.now)

    def touch(self) -> None:
        """Something is done to ``host``: it has this moment's time, and a turn before anything else happens."""
        now = self.runner.network.now
        self.engine.now = self.host.now = now
        self.runner.touch(self.node)

    def resolve(self, name: str, family: int) -> str:
        """The address that ``name`` means: itself, or the first of this family that the host of that name has."""
        return self._simulation.resolve(name, family)


class SimRouter:
    """A router. Its routes are computed from the whole topology when the simulation first goes on."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.name = name
        self._simulation = simulation

    def __str__(self) -> str:
        """For an end of a link: f"{router} 10.0.1.1/24"."""
        return self.name

    def __repr__(self) -> str:
        return f"<router {self.name}>"

    @property
    def router(self) -> Router:
        """The router itself: counters, routes, tables of NAT."""
        return self._simulation.live_router(self.name)


class SimLink:
    """A link that may be changed at any time; what is under way stays so."""

    def __init__(self, simulation: Simulation, link: Link) -> None:
        self.name = link.name
        self.link = link
        self._simulation = simulation

    def __repr__(self) -> str:
        return f"<link {self.name} {' - '.join(self.link.ends)}>"

    def set(self, words: str) -> None:
        """As `netemu link set`: '[in|out|both] WORDS' are all that those directions do from now on. WordsError."""
        self._change("set", words)

    def add(self, words: str) -> None:
        """As `netemu link add`: they do it beside what they do already."""
        self._change("add", words)

    def reset(self, which: str = "both") -> None:
        """'in', 'out' or 'both' do nothing any more, and count from 0."""
        self._change("reset", which)

    def add_rule(self, text: str, function: Function | None = None, *, before: int | None = None) -> int:
        """As `netemu rule add`: '[in|out|both:] EXPRESSION ACTION [LIMITS]'; its number. RuleError.

        ``function``: what an action 'call NAME' calls, with each packet as scapy has it (netemu.link.rules.function).
        """
        rule = parse_rule(text, None if function is None else lambda name: function)
        number = self._links().add_rule(self.name, rule, before)
        self._simulation.runner.rewire()
        return number

    def delete_rule(self, number: int) -> None:
        """As `netemu rule del`. ValueError."""
        self._links().delete_rules(self.name, [number])
        self._simulation.runner.rewire()

    def rules(self) -> list[RuleRow]:
        """What rules did so far, a row for each direction that a rule is for."""
        return self.link.rule_rows(self._simulation.now)

    def _links(self) -> Links:
        network = self._simulation.runner.network
        return Links(network, lambda: network.now)

    def _change(self, action: str, words: str) -> None:
        self._links().change(self.name, action, words.split(), Texts())
        self._simulation.runner.rewire()

    def stats(self, which: str) -> DirectionStats:
        """What one direction, 'in' or 'out', has done so far."""
        direction, *others = self.link.directions(which)
        if others:
            raise ValueError("each direction counts for itself; give in or out")
        return direction.stats


class Texts(Mapping[str, str]):
    """The files that words name, by their paths."""

    def __getitem__(self, path: str) -> str:
        return read_file(path)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def parse(words: list[str], back: str | None) -> Both:
    """What the words of ``Simulation.link`` ask of both directions."""
    asked = parse_ways(words, read_file=read_file) if words else (CLEAR, CLEAR)
    return asked if back is None else (asked[0], parse_way(back.split(), CLEAR, "out", read_file))


def read_file(path: str) -> str:
    return Path(path).read_text()


def knobs_as_words(knobs: dict[str, str | int | float | bool]) -> list[str]:
    """delay="20ms 5ms", limit=100, keep_order=True: the words of a link."""
    words: list[str] = []
    for knob, value in knobs.items():
        if value is not False:
            words += [knob.replace("_", "-"), *([] if value is True else str(value).split())]
    return words


def address_family(address: str) -> int | None:
    """AF_INET or AF_INET6 for what is an address, None for what is not."""
    for family in (real.AF_INET, real.AF_INET6):
        try:
            real.inet_pton(family, address.partition("%")[0])
        except OSError:
            continue
        return family
    return None
