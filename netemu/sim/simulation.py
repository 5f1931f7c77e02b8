"""Hosts, links and programs in virtual time: no TUN, no root, no waiting.

>>> import netemu
>>> sim = netemu.Simulation(seed=7)
>>> a, b = sim.host("198.18.0.1"), sim.host("198.18.0.2")
>>> link = sim.link(a, b, delay="20ms", loss="1%")
>>> b.serve("echo:7")
>>> c = a.socket()
>>> c.connect(("198.18.0.2", 7))                # goes on with the simulation until it can return
>>> c.sendall(b"hello")
>>> c.recv(100)
b'hello'
>>> sim.now // 10**6                            # ms: two round trips
80

The network is the one of `netemu up` (netemu.runtime.network); here its clock jumps to whatever happens next. All chance
follows from the seed, and from nothing else: the same seed has the same ``digest``, on any machine.
"""

from __future__ import annotations

import socket as real
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from inspect import isgeneratorfunction
from ipaddress import ip_interface
from os import PathLike, fspath
from random import Random
from typing import Any

from netemu.apps.registry import AppSpec
from netemu.link.link import Link
from netemu.router.router import Router
from netemu.runtime.assemble import Assembly
from netemu.runtime.network import Call, Network
from netemu.runtime.observer import Observer, Tap
from netemu.scenario.build import plan_of
from netemu.scenario.reader import read_scenario
from netemu.sim.capture import Capture
from netemu.sim.hosts import SimHost, SimLink, SimRouter, address_family, knobs_as_words, parse
from netemu.sim.programs import Program, program_of
from netemu.sim.runner import Main, Runner
from netemu.sim.times import span
from netemu.sim.topology import Topology
from netemu.stack.host import Host
from netemu.tcp.config import NEVER
from netemu.wire.packet import Packet

EPOCH_NS = 1_700_000_000 * 1_000_000_000
"""Wall clock time at virtual time 0."""


class Simulation:
    """See the module. Times are texts such as '1.5s', or ints of ns."""

    def __init__(self, seed: int = 0, *, patience: str | int = "24h", network: Network | None = None) -> None:
        """``patience``: what a call without a timeout, or ``run``, may take of virtual time where things never end to happen.

        ``network``: one that is there already; ``load`` makes it.
        """
        self.seed = seed
        self.network = Network(EPOCH_NS) if network is None else network
        self.runner = Runner(self.network, span(patience))
        self.hosts = {name: SimHost(self, node) for name, node in self.network.hosts.items()}
        self.routers = {name: SimRouter(self, name) for name in self.network.routers}
        self.links = {name: SimLink(self, link) for name, link in self.network.links.items()}
        self._topology = Topology(self.network, self._seed)
        self._observer = Observer(self.network)
        self._digest = blake2b(digest_size=16)
        self._captures: list[Capture] = []
        self._observer.add(self._digested)

    @classmethod
    def load(cls, path: str | PathLike[str], *, seed: int = 0, patience: str | int = "24h") -> Simulation:
        """The network of a scenario's file (netemu.scenario.reader), with its timeline.

        A host of the same name and addresses stands for whoever is behind a TUN. ``seed`` is taken where the file has none.
        Chance and rules decide as they do in real time (`netemu up`) about the same packets in the same order; who overtakes
        whom, and what a queue does, is a matter of times, which a real machine keeps to some 0.1 ms.
        ScenarioError where the file is wrong, RuntimeFailure where it cannot be read.
        """
        plan = plan_of(read_scenario(fspath(path)), seed=seed, real=False)
        network = Assembly(plan, {}, epoch_ns=EPOCH_NS).network
        return cls(plan.seed, patience=patience, network=network)

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the captures' files."""
        for capture in self._captures:
            capture.close()

    # -- what there is ----------------------------------------------------------------------------------------------------

    def host(
        self,
        *name_and_addresses: str,
        mtu: int = 1500,
        offload: bool = False,
        sysctl: Mapping[str, int | str] | None = None,
        flavour: str = "linux",
    ) -> SimHost:
        """A host: ``sim.host("198.18.0.1")``, ``sim.host("web", "10.0.0.2/24", "2001:db8::2/64")``. Connected to nothing yet.

        Without a name it is h1, h2 … ``offload``: it may send super-packets. ``sysctl``, ``flavour``: as netemu.Host.
        """
        name, addresses = self._name_of(name_and_addresses)
        host = Host(
            addresses, mtu=mtu, seed=self._seed(f"host/{name}"), offload=offload, sysctl=sysctl, flavour=flavour
        )
        self._topology.add_host(name, addresses, mtu)
        made = self.hosts[name] = SimHost(self, self.network.add_host(name, host))
        self._watch_again()
        return made

    def router(
        self,
        name: str,
        *,
        routes: Sequence[str] = (),
        nat: Mapping[str, object] | None = None,
        firewall: Sequence[str] = (),
    ) -> SimRouter:
        """A router: its ports are the links that end at it, its routes follow from the topology; ``routes``, ``nat`` and
        ``firewall`` are as in a scenario's file (netemu.router.routes, nat_config, firewall).
        """
        self._check_free(name)
        self._topology.add_router(name, tuple(routes), nat, tuple(firewall))
        made = self.routers[name] = SimRouter(self, name)
        return made

    def live_router(self, name: str) -> Router:
        self._wire()
        router = self.network.routers[name].router
        assert isinstance(router, Router)
        return router

    def link(
        self,
        first: SimHost | SimRouter | str,
        second: SimHost | SimRouter | str,
        words: str = "",
        *,
        back: str | None = None,
        name: str = "",
        cost: int | tuple[int, int] = 1,
        **knobs: str | int | float | bool,
    ) -> SimLink:
        """Connect two: ``sim.link(a, b, "delay 20ms 5ms loss 1%")`` or ``sim.link(a, b, delay="20ms 5ms", loss="1%")``.

        The words are those of `netemu link set`: for both directions unless they say in (to ``second``) or out, or ``back``
        says what the link does from ``second`` to ``first``. An end is a host, a router, or a router's name and the addresses
        that it has there: "r1 10.0.1.1/24"; without, it gets one. ``cost``: of a path this way, for routes; a pair: there and
        back. WordsError, ValueError.
        """
        ends = (
            str(first) if isinstance(first, SimRouter) else first,
            str(second) if isinstance(second, SimRouter) else second,
        )
        texts = [end if isinstance(end, str) else end.name for end in ends]
        nodes = [text.partition(" ")[0] for text in texts]
        name = name or "-".join(nodes)
        asked = parse([*words.split(), *knobs_as_words(knobs)], back)
        self._topology.add_link(name, (texts[0], texts[1]), cost)
        link = Link(name, (nodes[0], nodes[1]), self._seed(f"link/{name}"), *asked)
        if self._topology.plug(link):
            self._watch_again()
            self.runner.rewire()
        else:
            self.runner.before_step = self._wire
        made = self.links[name] = SimLink(self, link)
        return made

    def _wire(self) -> None:
        """Make the routers, and plug in the links that end at them."""
        self._topology.wire()
        self._watch_again()
        self.runner.rewire()

    def add_app(self, host: str, spec: AppSpec) -> None:
        """Something runs on a host now; ValueError where it comes too late for the routers."""
        self._topology.add_app(host, spec)

    def _name_of(self, words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """The name and the addresses of a host."""
        if not words:
            raise TypeError('give the host an address, such as sim.host("198.18.0.1")')
        try:
            ip_interface(words[0])
            name = f"h{len(self.hosts) + 1}"
        except ValueError:
            name, *rest = words
            words = tuple(rest)
        self._check_free(name)
        return name, words

    def _check_free(self, name: str) -> None:
        if name in self.hosts or name in self.routers:
            raise ValueError(f"there is a node {name!r} already; give this one another name")

    def _seed(self, what: str) -> int:
        """A seed for a part: the same whatever else there is."""
        return Random(f"{self.seed}/{what}").getrandbits(64)

    def resolve(self, name: str, family: int) -> str:
        """The address that ``name`` means to a socket of ``family``: socket.gaierror where it means none."""
        if not name or address_family(name) is not None:
            return name
        if name == "localhost":
            return "::1" if family == real.AF_INET6 else "127.0.0.1"
        host = self.hosts.get(name)
        for address in host.addresses if host is not None else ():
            if address_family(address) == family:
                return address
        raise real.gaierror(real.EAI_NONAME, f"{name!r} is no address, and no host here that has one of this family")

    # -- what happens -----------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Virtual time since the start, ns."""
        return self.network.now

    def run(self, until: Callable[[], bool] | str | int | None = None, *, for_: str | int | None = None) -> bool:
        """Go on until ``until()`` holds or, where it is a time, until then; at most ``for_`` long; or until nothing is left.

        True: what was asked for was reached: ``until()`` holds, or it is the time that was given.
        """
        self._check_main("run")
        limit = self._limit(until, for_)
        condition = until if callable(until) else None
        while condition is None or not condition():
            if not self.runner.step(limit):
                is_timed = for_ is not None or isinstance(until, str | int)
                if is_timed:
                    self.runner.go_to(limit)
                return condition() if condition else is_timed or self.runner.due == NEVER
        return True

    def _limit(self, until: object, for_: str | int | None) -> int:
        limit = self.now + (self.runner.patience if for_ is None else span(for_))
        if isinstance(until, str | int):
            end = span(until)
            if end < self.now:
                raise ValueError(f"until={until!r}: that has passed, it is {self.now / 1e9:g} s")
            limit = min(limit, end) if for_ is not None else end
        return limit

    def sleep(self, duration: str | int) -> Any:
        """Let virtual time pass: for whoever calls, while everything else goes on. Returns None (a generator yields it)."""
        return self.runner.perform(self.runner.time.sleep(span(duration)))

    def at(self, when: str | int, function: Callable[..., object], *arguments: object) -> None:
        """Call ``function`` at the time ``when``: a timeline's step, such as ``link.set``. What has to wait is for ``spawn``."""
        due = span(when)
        if due < self.now:
            raise ValueError(f"at {when!r}: that has passed, it is {self.now / 1e9:g} s")
        if isgeneratorfunction(function):
            raise TypeError(f"{function.__name__} is a generator, which may wait: spawn(…, at={when!r})")

        def call() -> None:
            function(*arguments)

        self.runner.schedule(Call(call), due)

    def spawn(self, function: Callable[..., Any], *arguments: Any, name: str = "", at: str | int = 0) -> Program:
        """Start ``function(*arguments)`` beside all else, now or ``at`` a time: a plain function whose calls block, or a
        generator that yields them (netemu.sim.programs).
        """
        name = name or getattr(function, "__name__", "program")
        program = program_of(self.runner, name, function, arguments)
        self.runner.start(program, max(0, span(at) - self.now))
        return program

    def _check_main(self, what: str) -> None:
        if not isinstance(self.runner.current, Main):
            raise RuntimeError(f"{what} goes on with the simulation, which is at it already; in a program use sleep")

    # -- what is seen -----------------------------------------------------------------------------------------------------

    def capture(self, path: str | PathLike[str]) -> Capture:
        """Write each packet from now on to a pcapng file, at both sides of each link, with what was decided as its comment."""
        capture = Capture(path)
        self._captures.append(capture)
        self.tap(capture)
        return capture

    def tap(self, tap: Tap) -> None:
        """Have ``tap`` told of each packet at each point from now on (netemu.runtime.observer)."""
        self._observer.add(tap)

    def digest(self) -> str:
        """Of all packets so far, at every point, with their times: the same for the same seed and the same calls.

        It is always taken: a quarter to half of what a simulation costs, and a failing seed can always be told.
        """
        return self._digest.copy().hexdigest()

    def _digested(self, packet: Packet, wall_ns: int, inbound: bool, comment: str, point: str) -> None:
        data = bytes(packet)
        self._digest.update(b"%d %d %d %b\n" % (wall_ns, inbound, len(data), point.encode()) + data)

    def _watch_again(self) -> None:
        """There are new points: the taps are told of them too."""
        taps = self._observer.taps[:]
        for tap in taps:
            self._observer.remove(tap)
        for tap in taps:
            self._observer.add(tap)
