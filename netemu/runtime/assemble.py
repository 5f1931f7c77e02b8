"""From a plan to a network: hosts with their apps, routers, links and the timeline. The devices are the caller's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from netemu.apps.base import App
from netemu.apps.registry import AppSpec, make_app
from netemu.link.link import Link
from netemu.runtime import plugins  # noqa: F401  # so that a user's congestion control is found
from netemu.runtime.engine import Device
from netemu.runtime.network import End, Network
from netemu.runtime.plan import HostPlan, LinkPlan, Plan
from netemu.runtime.serving import serve
from netemu.stack.host import Host

Service = tuple[AppSpec, App]


class Assembly:
    """A network made after a plan, and what runs on its hosts."""

    def __init__(
        self,
        plan: Plan,
        devices: Mapping[str, Device],
        *,
        epoch_ns: int = 0,
        now: int = 0,
        offload: bool = False,
        device_name: Callable[[str], str] = lambda host: "netemu0",
    ) -> None:
        """``devices``: one for each TUN of the plan, by the name of its node. ``offload``: hosts may emit super-packets.

        ``device_name``: what sockets of a host know their wire by. RuntimeFailure when an app cannot have its port.
        """
        self.plan = plan
        self.network = network = Network(epoch_ns)
        self.services: dict[str, list[Service]] = {}
        for tun in plan.tuns:
            network.attach(tun.name, devices[tun.name])
        for host in plan.hosts:
            network.add_host(host.name, self._host(host, offload, device_name(host.name)))
        for router in plan.routers:
            network.add_router(router.name, router.make(self._seed(f"router/{router.name}")), router.ports)
        for link in plan.links:
            self._connect(link)
        network.set_time(now)
        for step in plan.steps:
            network.call_at(now + step.at, lambda step=step: step.do(network))  # type: ignore[misc]  # a default binds it
        for host in plan.hosts:
            engine = network.hosts[host.name].engine
            self.services[host.name] = services = [(spec, make_app(spec, engine)) for spec in host.apps]
            for spec, app in services:
                serve(engine, spec, app)

    def _seed(self, what: str) -> int:
        """A seed for a part: the same whatever else there is."""
        return Random(f"{self.plan.seed}/{what}").getrandbits(64)

    def _host(self, plan: HostPlan, offload: bool, device: str) -> Host:
        return Host(
            plan.addresses,
            mtu=plan.mtu,
            seed=self._seed(f"host/{plan.name}"),
            offload=offload,
            device=device,
            flavour=plan.flavour,
            sysctl=plan.sysctl,
        )

    def _connect(self, plan: LinkPlan) -> None:
        link = Link(plan.name, plan.ends, self._seed(f"link/{plan.name}"), plan.inward, plan.outward)
        for rule in plan.rules:
            link.add_rule(rule)
        first, second = (self._free_end(name) for name in plan.ends)
        self.network.connect(first, second, link)

    def _free_end(self, name: str) -> End:
        network = self.network
        node = network.hosts.get(name) or network.attachments.get(name) or network.routers[name]
        return next(end for end in node.ends if end.lane is None)
