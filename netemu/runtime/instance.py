"""A running instance: TUNs, network, apps, capture and control API, put together and taken apart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from ipaddress import ip_address

import msgspec
from msgspec.structs import astuple

import netemu
from netemu.reasons import Close, Drop, Match, Reason, Reset
from netemu.router.router import Router
from netemu.router.rows import router_row
from netemu.runtime.assemble import Assembly
from netemu.runtime.broker.broker import Broker
from netemu.runtime.child import ENDING
from netemu.runtime.driver import Driver, TunDevice
from netemu.runtime.filecapture import FileCapture
from netemu.runtime.links import Links
from netemu.runtime.loop import DeviceLoop
from netemu.runtime.messages import (
    AppRow,
    Counters,
    DirectionRow,
    HostRow,
    LinkChange,
    Question,
    RouterRow,
    RuleChange,
    RuleRow,
    SocketRow,
    Status,
    TunRow,
    Verdict,
)
from netemu.runtime.namespace import make_named_namespace, make_namespace
from netemu.runtime.network import HostNode
from netemu.runtime.observer import Observer, Tap
from netemu.runtime.paths import InstanceDirectory, claim
from netemu.runtime.plan import HostPlan, InstanceConfig, TunPlan
from netemu.runtime.priority import keep_right
from netemu.runtime.privileges import drop_root, target_user
from netemu.runtime.through import why_through
from netemu.stack.craft import craft, wanted
from netemu.stack.why import why_sent
from netemu.wire.packet import Packet
from tun import Tun, TunError

Command = Callable[[], Coroutine[object, object, None]]


class Instance:
    """An emulated network on TUN devices; implements netemu.runtime.messages.InstanceView."""

    def __init__(self, config: InstanceConfig) -> None:
        """Take what it needs of the machine: the instance's directory, the TUNs, the capture file. Then give up root."""
        self.config = config
        self.name = config.name
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            self._set_up(undo)
            self._undo = undo.pop_all()
        self._stopping = asyncio.Event()
        self.failure: str | None = None
        self.signal = 0
        """The signal that ended it."""

    def _set_up(self, undo: contextlib.ExitStack) -> None:
        config, plan = self.config, self.config.plan
        target = target_user(config.user)
        uid, gid = (target.uid, target.gid) if target else (None, None)
        self.directory: InstanceDirectory = claim(config.name, uid, gid, shared=config.shared)
        undo.callback(self.directory.release)
        self.tuns = {tun.name: _open(tun, undo) for tun in plan.tuns}
        capture = None
        if config.pcap:
            owner = (target.uid, target.gid) if target else None
            capture = FileCapture(config.pcap, self._first_point(), warn, owner)
            undo.callback(capture.close)
        self.started = time.time()
        self.assembly = Assembly(
            plan,
            {name: TunDevice(tun) for name, tun in self.tuns.items()},
            epoch_ns=time.time_ns() - time.monotonic_ns(),
            now=time.monotonic_ns(),
            offload=any(tun.offload for tun in self.tuns.values()),
            device_name=self._device_name,
        )
        self.network = self.assembly.network
        for name, tun in self.tuns.items():
            self.network.attachments[name].point = tun.name
        self._observer = Observer(self.network)
        self._links = Links(self.network, time.monotonic_ns, {name: tun.unread for name, tun in self.tuns.items()})
        if capture is not None:
            self._observer.add(capture)
        from netemu.runtime.control import (
            ControlServer,  # while root can read the interpreter's files, and the user may not
        )

        self._server = ControlServer(self, self.directory.socket)
        keep_right()
        self.user = drop_root(config.user) or _user_name()
        self._brokers = [self._broker(node, number, undo) for number, node in enumerate(self.network.hosts.values())]

    def _first_point(self) -> str:
        return next((tun.name for tun in self.tuns.values()), self.config.name)

    def _device_name(self, host: str) -> str:
        """What a host's sockets know their wire by: the TUN, where the host's link leads to one."""
        for link in self.config.plan.links:
            if host in link.ends:
                other = link.ends[link.ends[0] == host]
                return self.tuns[other].name if other in self.tuns else "eth0"
        return "eth0"

    def _broker(self, node: HostNode, number: int, undo: contextlib.ExitStack) -> Broker:
        """Each host's is in a directory of the host's name; that of the first is the instance's own."""
        path = self.directory.path / node.name
        if number == 0:
            path.symlink_to(".")
            path = self.directory.path
        else:
            path.mkdir(mode=0o755 if self.config.shared else 0o700)
        broker = Broker(node.engine.host, node.engine, self.name, path, shared=self.config.shared)
        undo.callback(broker.stop)
        return broker

    # -- running ----------------------------------------------------------------------------------------------------------

    async def serve(self, on_ready: Callable[[Status], None], until: Command | None = None) -> None:
        """Run until stop(), a signal, the device's failure or, if given, the end of ``until()``."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, DeviceLoop)
        devices = [(self.network.attachments[name], tun) for name, tun in self.tuns.items()]
        self._driver = driver = Driver(self.network, devices, loop, self._device_failed)
        driver.start()
        for broker in self._brokers:
            driver.serve_beside(broker.fileno(), broker.serve)
        for number in (signal.SIGINT, *ENDING):
            loop.add_signal_handler(number, self._on_signal, number, until is not None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        try:
            await self._server.start()
            self.directory.write_info(msgspec.json.encode(self.status()))
            on_ready(self.status())
            await self._wait(until)
        finally:
            await self._end(driver)

    async def _wait(self, until: Command | None) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        waiting = [stopping] + ([asyncio.ensure_future(until())] if until is not None else [])
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _end(self, driver: Driver) -> None:
        """Reset the connections that are open, let the packets out, then stop answering."""
        if self.failure is None:
            for node in self.network.hosts.values():
                node.engine.host.shutdown()
            driver.kick()
        driver.stop()
        await self._server.stop()

    def close(self) -> None:
        """Give everything back: capture, TUN, directory."""
        self._undo.close()

    def _on_signal(self, number: int, has_command: bool) -> None:
        if has_command and number == signal.SIGINT:
            return  # ^C goes to the command too, and what it means is the command's business
        self.signal = number
        self.stop()

    def _device_failed(self, error: TunError) -> None:
        self.failure = str(error)
        self._stopping.set()

    # -- InstanceView -----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        self._stopping.set()

    def status(self) -> Status:
        plan = self.config.plan
        hosts = [self._host_row(host) for host in plan.hosts]
        tuns = [self._tun_row(tun) for tun in plan.tuns]
        return Status(
            name=self.name,
            pid=os.getpid(),
            version=netemu.__version__,
            tun=tuns[0].device if tuns else "",
            mtu=tuns[0].mtu if tuns else 0,
            offload=bool(tuns) and tuns[0].offload,
            user=self.user,
            addresses=[address.partition("/")[0] for host in hosts for address in host.addresses],
            host_addresses=[address for tun in tuns for address in tun.addresses],
            started=self.started,
            apps=[app for host in hosts for app in host.apps],
            flavour=hosts[0].flavour if hosts else "linux",
            directory=os.fspath(self.directory.path),
            seed=plan.seed,
            hosts=hosts,
            tuns=tuns,
            routers=list(self.network.routers),
            links=list(self.network.links),
        )

    def _host_row(self, host: HostPlan) -> HostRow:
        apps = [
            AppRow(
                spec.name,
                spec.kind,
                spec.port,
                ["tcp", "udp"] if app.udp else ["tcp"],
                app.span,
                list(map(str, spec.prefixes)),
            )
            for spec, app in self.assembly.services[host.name]
        ]
        return HostRow(host.name, list(host.addresses), host.mtu, host.flavour, apps)

    def _tun_row(self, plan: TunPlan) -> TunRow:
        tun = self.tuns[plan.name]
        return TunRow(plan.name, tun.name, list(plan.addresses), plan.mtu, tun.offload, plan.netns)

    def sockets(self) -> list[SocketRow]:
        hosts = self.network.hosts
        if len(hosts) == 1:
            return [row for node in hosts.values() for row in node.engine.host.sockets()]
        return [
            msgspec.structs.replace(row, host=name)
            for name, node in hosts.items()
            for row in node.engine.host.sockets()
        ]

    def counters(self) -> Counters:
        groups = {"match": Match, "drop": Drop, "reset": Reset, "close": Close}
        counted: Counter[Reason] = Counter()
        for node in self.network.hosts.values():
            counted.update(node.engine.host.counters)
        return {
            group: {reason.name: counted[reason] for reason in kinds if counted[reason]}
            for group, kinds in groups.items()
        }

    def why(self, question: Question) -> Verdict:
        now = time.monotonic_ns()
        node = self._owner(question.dst.rpartition(":")[0].strip("[]"))
        host = node.engine.host
        return why_through(node, craft(host, wanted(*astuple(question)), now), now)

    def why_packet(self, data: bytes, length: int, sent: bool) -> Verdict:
        cut = len(data) < length  # then nothing can be said about checksums, and what is missing is taken for zeros
        packet = Packet(data + bytes(length - len(data)), csum_start=1) if cut else Packet(data)
        first, size = (12, 4) if data[:1] and data[0] >> 4 == 4 else (8, 16)
        address = data[first if sent else first + size :][:size]
        node = self._owner(str(ip_address(address)) if len(address) == size else "")
        return why_sent(node.engine.host, packet) if sent else why_through(node, packet, time.monotonic_ns())

    def _owner(self, address: str) -> HostNode:
        """The host with this address, or else the first one: it will say that the packet is not for it."""
        hosts = list(self.network.hosts.values())
        if not hosts:
            raise ValueError("there is no emulated host in this instance")
        try:
            packed = ip_address(address).packed
        except ValueError:
            return hosts[0]
        return next((node for node in hosts if packed in node.engine.host.addresses), hosts[0])

    def links(self) -> list[DirectionRow]:
        return self._links.rows()

    def change_link(self, change: LinkChange) -> list[DirectionRow]:
        self._links.change(change.link, change.action, change.words, change.files)
        self._driver.kick()
        name = self._links.find(change.link).name
        return [row for row in self.links() if row.link == name]

    def routers(self) -> list[RouterRow]:
        now = time.monotonic_ns()
        return [
            router_row(node.router, now) for node in self.network.routers.values() if isinstance(node.router, Router)
        ]

    def rules(self) -> list[RuleRow]:
        return self._links.rules()

    def change_rules(self, change: RuleChange) -> list[RuleRow]:
        if change.rule:
            self._links.add_rule(change.link, change.rule, change.before)
        else:
            self._links.delete_rules(change.link, change.numbers)
        self._driver.kick()
        name = self._links.find(change.link).name
        return [row for row in self.rules() if row.link == name]

    def add_tap(self, tap: Tap) -> None:
        self._observer.add(tap)

    def remove_tap(self, tap: Tap) -> None:
        self._observer.remove(tap)


def _open(plan: TunPlan, undo: contextlib.ExitStack) -> Tun:
    """A TUN device, configured, in its namespace."""
    netns = plan.netns
    if plan.makes_netns and netns is None:
        netns = make_namespace()
    elif plan.makes_netns and netns is not None and not os.path.exists(f"/run/netns/{netns}"):
        undo.callback(make_named_namespace(netns))
    tun = Tun(plan.device, mtu=plan.mtu, offload=plan.offload, netns=netns)
    undo.callback(tun.close)
    tun.configure(plan.addresses, plan.routes)
    return tun


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def warn(text: str) -> None:
    print(f"netemu: {text}", file=sys.stderr, flush=True)
