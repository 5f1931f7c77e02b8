"""Running an instance: until it is told to stop, or for as long as a command beside it."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
from collections.abc import Callable, Coroutine, Sequence

from netemu.runtime.child import ENDING, listens, status_of
from netemu.runtime.instance import Instance, warn
from netemu.runtime.loop import DeviceLoop
from netemu.runtime.messages import Status
from netemu.runtime.namespace import command_in, path_of
from netemu.runtime.plan import InstanceConfig

Started = subprocess.Popen[bytes] | int

SERVER_GRACE = 0.3
"""Seconds in which a server may end of its own accord once the client has, as `iperf3 -s -1` does."""
SERVER_PATIENCE = 5.0
"""Seconds in which a server has to listen before the client begins anyway: it may be no TCP server."""


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


def run_wire(config: InstanceConfig, client: Sequence[str], server: Sequence[str]) -> int:
    """Run ``client`` beside a wire in the namespace of its first device, ``server`` in that of its second (either may be empty);
    the exit status is the client's, or the server's where there is no client."""

    async def main() -> int:
        instance = Instance(config)
        first, second = (tun.netns for tun in instance.tuns.values())
        status = 0

        async def commands() -> None:
            nonlocal status
            await ready.wait()
            if not server:
                status = await _run(command_in(first, client))
                return
            served = _start(command_in(second, server))
            serving = asyncio.ensure_future(_status_of(served))
            try:
                if client:
                    await _listening(served, path_of(second), serving)
                    if serving.done() and serving.result():
                        warn(f"--serve: the server has ended, with status {serving.result()}")
                    status = await _run(command_in(first, client))
                else:
                    status = await asyncio.shield(serving)
            finally:
                await asyncio.wait([serving], timeout=SERVER_GRACE)
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

        ready = asyncio.Event()
        try:
            await instance.serve(lambda _: ready.set(), commands)
        finally:
            instance.close()
        return _report(instance) or (128 + instance.signal if instance.signal else status)

    return _run_loop(main())


async def _listening(server: Started, netns: str, serving: asyncio.Future[int]) -> None:
    """Wait until the server listens, has ended, or has had its time."""
    for _ in range(int(SERVER_PATIENCE / 0.02)):
        if serving.done() or (isinstance(server, subprocess.Popen) and listens(server, netns)):
            return
        await asyncio.sleep(0.02)


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
    return await _status_of(_start(argv))


def _start(argv: Sequence[str]) -> Started:
    """The command, or the status that a shell gives to what cannot be started."""
    try:
        return subprocess.Popen(argv)
    except FileNotFoundError:
        warn(f"{argv[0]}: command not found")
        return 127
    except OSError as error:
        warn(f"{argv[0]}: {error.strerror}")
        return 126


async def _status_of(started: Started) -> int:
    return started if isinstance(started, int) else await status_of(started)


def _report(instance: Instance) -> int:
    for node in instance.network.hosts.values():
        for fault in node.engine.host.faults:
            warn(f"a bug in netemu ended a connection: {fault}")
    if instance.failure is not None:
        warn(instance.failure)
        return 1
    return 0
