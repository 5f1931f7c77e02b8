"""A running instance: TUN, host, apps, capture and control API, put together and taken apart."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_address, ip_interface

import msgspec
from msgspec.structs import astuple

import netemu
from netemu.apps.registry import make_app
from netemu.reasons import Close, Drop, Match, Reset
from netemu.runtime.broker.broker import Broker
from netemu.runtime.driver import Driver, TunDevice
from netemu.runtime.engine import Engine
from netemu.runtime.filecapture import FileCapture
from netemu.runtime.loop import DeviceLoop
from netemu.runtime.messages import AppRow, Counters, InstanceConfig, Question, SocketRow, Status, Tap, Verdict
from netemu.runtime.paths import InstanceDirectory, claim
from netemu.runtime.privileges import drop_root, target_user
from netemu.runtime.serving import serve
from netemu.stack.craft import craft, wanted
from netemu.stack.host import Host
from netemu.stack.why import why, why_sent
from netemu.wire.packet import Packet
from tun import Tun, TunError

ENDING = (signal.SIGTERM, signal.SIGHUP)
Command = Callable[[], Coroutine[object, object, None]]

GRACE = 2.0
"""Seconds that a command gets to end once it is told to."""


class Instance:
    """One emulated host on one TUN device; implements netemu.runtime.messages.InstanceView."""

    def __init__(self, config: InstanceConfig) -> None:
        """Take what it needs of the machine: the instance's directory, the TUN, the capture file. Then give up root."""
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
        config = self.config
        target = target_user(config.user)
        uid, gid = (target.uid, target.gid) if target else (None, None)
        self.directory: InstanceDirectory = claim(config.name, uid, gid, shared=config.shared)
        undo.callback(self.directory.release)
        self.tun = Tun(config.tun, mtu=config.mtu, offload=config.offload, netns=config.netns)
        undo.callback(self.tun.close)
        self.tun.configure(config.host_addresses, _routes(config))
        capture = None
        if config.pcap:
            owner = (target.uid, target.gid) if target else None
            capture = FileCapture(config.pcap, self.tun.name, warn, owner)
            undo.callback(capture.close)
        self.started = time.time()
        self.host = Host(
            _with_prefixes(config),
            mtu=config.mtu,
            seed=config.seed,
            offload=self.tun.offload,
            device=self.tun.name,
            flavour=config.flavour,
            sysctl=config.sysctl,
        )
        self.engine = Engine(self.host, TunDevice(self.tun), time.time_ns() - time.monotonic_ns())
        self.engine.now = self.host.now = time.monotonic_ns()
        if capture is not None:
            self.engine.taps.append(capture)
        self._apps = [(spec, make_app(spec, self.engine)) for spec in config.apps]
        self._serve()
        from netemu.runtime.control import (
            ControlServer,  # while root can read the interpreter's files, and the user may not
        )

        self._server = ControlServer(self, self.directory.socket)
        self.user = drop_root(config.user) or _user_name()
        self._broker = Broker(self.host, self.engine, self.name, self.directory.path, shared=config.shared)
        undo.callback(self._broker.stop)

    def _serve(self) -> None:
        for spec, app in self._apps:
            serve(self.engine, spec, app)

    # -- running ----------------------------------------------------------------------------------------------------------

    async def serve(self, on_ready: Callable[[Status], None], until: Command | None = None) -> None:
        """Run until stop(), a signal, the device's failure or, if given, the end of ``until()``."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, DeviceLoop)
        driver = Driver(self.engine, self.tun, loop, self._device_failed)
        driver.start()
        driver.serve_beside(self._broker.fileno(), self._broker.serve)
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
            self.host.shutdown()
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
        return Status(
            name=self.name,
            pid=os.getpid(),
            version=netemu.__version__,
            tun=self.tun.name,
            mtu=self.config.mtu,
            offload=self.tun.offload,
            user=self.user,
            addresses=list(self.config.addresses),
            host_addresses=list(self.config.host_addresses),
            started=self.started,
            apps=[
                AppRow(spec.name, spec.kind, spec.port, ["tcp", "udp"] if app.udp else ["tcp"], app.span)
                for spec, app in self._apps
            ],
            flavour=self.config.flavour,
            directory=os.fspath(self.directory.path),
        )

    def sockets(self) -> list[SocketRow]:
        return self.host.sockets()

    def counters(self) -> Counters:
        groups = {"match": Match, "drop": Drop, "reset": Reset, "close": Close}
        counted = self.host.counters
        return {
            group: {reason.name: counted[reason] for reason in kinds if counted[reason]}
            for group, kinds in groups.items()
        }

    def why(self, question: Question) -> Verdict:
        now = time.monotonic_ns()
        return why(self.host, craft(self.host, wanted(*astuple(question)), now), now)

    def why_packet(self, data: bytes, length: int, sent: bool) -> Verdict:
        cut = len(data) < length  # then nothing can be said about checksums, and what is missing is taken for zeros
        packet = Packet(data + bytes(length - len(data)), csum_start=1) if cut else Packet(data)
        return why_sent(self.host, packet) if sent else why(self.host, packet, time.monotonic_ns())

    def add_tap(self, tap: Tap) -> None:
        self.engine.taps.append(tap)

    def remove_tap(self, tap: Tap) -> None:
        self.engine.taps.remove(tap)


def run(config: InstanceConfig, on_ready: Callable[[Status], None]) -> int:
    """Run an instance until it is told to stop; the exit status. RuntimeFailure or TunError when it cannot start."""

    async def main() -> int:
        instance = Instance(config)
        try:
            await instance.serve(on_ready)
        finally:
            instance.close()
        return _report(instance)

    return _run_loop(main())


def run_command(config: InstanceConfig, argv: Sequence[str]) -> int:
    """Run ``argv`` beside an instance; its exit status as a shell gives it."""

    async def main() -> int:
        instance = Instance(config)
        status = 0

        async def command() -> None:
            nonlocal status
            await ready.wait()
            status = await _run(argv)

        ready = asyncio.Event()
        try:
            await instance.serve(lambda _: ready.set(), command)
        finally:
            instance.close()
        return _report(instance) or (128 + instance.signal if instance.signal else status)

    return _run_loop(main())


def _run_loop(main: Coroutine[object, object, int]) -> int:
    # What is alive now lives as long as the instance: the collector need not look at it again and again. What comes and goes
    # with packets and connections is freed by reference counts; the collector is there for cycles that apps may leave.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    signal.pthread_sigmask(
        signal.SIG_BLOCK, ENDING
    )  # until ``serve`` listens to them: what is half made could not be undone
    try:
        with asyncio.Runner(loop_factory=DeviceLoop) as runner:
            return runner.run(main)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


async def _run(argv: Sequence[str]) -> int:
    try:
        child = subprocess.Popen(argv)  # noqa: ASYNC220  # a fork and an exec; asyncio would wait for its end in a thread
    except FileNotFoundError:
        warn(f"{argv[0]}: command not found")
        return 127
    except OSError as error:
        warn(f"{argv[0]}: {error.strerror}")
        return 126
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(
        child.pid
    )  # asyncio's own watcher is a thread, which would fight the stack for the interpreter
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    except asyncio.CancelledError:
        await _terminate(child, ended)
        raise
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
    status = child.wait()
    return status if status >= 0 else 128 - status


async def _terminate(child: subprocess.Popen[bytes], ended: asyncio.Event) -> None:
    """End a command, by force if need be, while the stack still answers it."""
    child.terminate()
    try:
        async with asyncio.timeout(GRACE):
            await ended.wait()
    except TimeoutError:
        child.kill()
    child.wait()


def _report(instance: Instance) -> int:
    for fault in instance.host.faults:
        warn(f"a bug in netemu ended a connection: {fault}")
    if instance.failure is not None:
        warn(instance.failure)
        return 1
    return 0


def _with_prefixes(config: InstanceConfig) -> list[str]:
    """The host's addresses, with the prefix of the kernel's end that covers each."""
    interfaces = [ip_interface(text) for text in config.host_addresses]
    return [
        next((f"{a}/{i.network.prefixlen}" for i in interfaces if ip_address(a) in i.network), a)
        for a in config.addresses
    ]


def _routes(config: InstanceConfig) -> list[str]:
    """A route for each address of the host that no prefix of the kernel's end covers."""
    networks = [ip_interface(text).network for text in config.host_addresses]
    return [a for a in config.addresses if not any(ip_address(a) in network for network in networks)]


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def warn(text: str) -> None:
    print(f"netemu: {text}", file=sys.stderr, flush=True)
