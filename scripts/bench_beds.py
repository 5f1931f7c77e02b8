"""Where scripts/bench.py measures: servers that are up, and the namespaces of their clients."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_table import Sample

HERE = Path(__file__).resolve().parent
CLIENT, SERVER = "198.18.0.1", "198.18.0.2"
MTU = 1500
PATIENCE = 10
"""Seconds in which netemu has to be up."""
CORE = 0
"""Where both ends run when they are pinned: then no scheduler's choice is in the figures."""


class Failed(Exception):
    """A workload that could not be measured; one line."""


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Failed(f"{' '.join(argv[:6])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextmanager
def namespace(name: str) -> Iterator[str]:
    """With its loopback up, and ports enough for a client that opens thousands of connections a second."""
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        settings = "echo '1024 65535' >/proc/sys/net/ipv4/ip_local_port_range; echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse"
        run("ip", "netns", "exec", name, "sh", "-c", settings)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], timeout=10)


@contextmanager
def server(netns: str, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the namespace, ended in good order."""
    with tempfile.TemporaryFile("w+") as log:
        command = ["ip", "netns", "exec", netns, *argv]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True)
        try:
            yield process
            if process.poll() is not None:
                log.seek(0)
                raise Failed(f"{argv[0]} ended: {log.read().strip()}")
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Bed:
    """A server that is up, and the namespace of its clients."""

    clients: str
    servers: str
    process: subprocess.Popen[str]
    started: float
    """Seconds from its being typed to its first answer."""
    ss: tuple[str, ...] = ()
    """The command that lists its sockets, if it is netemu's."""
    set_link: Callable[[str], bool] | None = None
    """Has the link towards the server do as these words say; False: it cannot."""

    def load(self, kind: str, count: int, seconds: float, *, pinned: bool) -> Sample:
        """What the client measures with ``count`` connections."""
        argv = ["--count", str(count), "--seconds", str(seconds), "--pid", str(self.process.pid)]
        everywhere = os.sched_getaffinity(0)
        if pinned:
            os.sched_setaffinity(self.process.pid, {CORE})
            argv += ["--cpu", str(CORE)]
        try:
            sample: Sample = json.loads(run(*load_command(self.clients, kind, *argv)))
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{kind}: no end after {error.timeout:g} s") from None
        finally:
            if pinned:
                os.sched_setaffinity(self.process.pid, everywhere)
        return sample


def load_command(netns: str, kind: str, *options: str) -> list[str]:
    return ["ip", "netns", "exec", netns, sys.executable, str(HERE / "bench_load.py"), kind, SERVER, *options]


@contextmanager
def started(clients: str, servers: str, *argv: str) -> Iterator[Bed]:
    """Start a server with a client before its door, who takes the time of the first answer."""
    knock = subprocess.Popen(
        load_command(clients, "first-answer", "--seconds", "20"), stdout=subprocess.PIPE, text=True
    )
    with knock, ExitStack() as stack:
        assert knock.stdout is not None
        knock.stdout.readline()
        typed = time.monotonic()
        process = stack.enter_context(server(servers, *argv))
        answer = knock.stdout.read()
        if not answer:
            raise Failed(f"{argv[0]} does not answer")
        yield Bed(clients, servers, process, json.loads(answer)["at"] - typed)


@contextmanager
def kernel(peer: list[str]) -> Iterator[Bed]:
    """Two namespaces and a veth pair between them."""
    with namespace(f"bench{os.getpid()}c") as near, namespace(f"bench{os.getpid()}s") as far:
        pair = ["type", "veth", "peer", "name", "v1", "mtu", str(MTU), "netns", far]
        run("ip", "-n", near, "link", "add", "v0", "mtu", str(MTU), *pair)
        for netns, device, address in ((near, "v0", CLIENT), (far, "v1", SERVER)):
            run("ip", "-n", netns, "address", "add", f"{address}/24", "dev", device)
            run("ip", "-n", netns, "link", "set", device, "up")
        with started(near, far, *peer, SERVER) as bed:
            bed.set_link = lambda words: _shape(near, words)
            yield bed


def _shape(netns: str, words: str) -> bool:
    """Have the kernel do as ``words`` say, as far as it can and has the module: tbf for a rate (which counts 14 bytes more of
    each packet: Ethernet's), netem for a delay."""
    kinds = {"rate": ["tbf", *words.split(), "burst", "64kb", "limit", "1500000"], "delay": ["netem", *words.split()]}
    kind, _, queue = words.partition(" queue ")
    tc = ["tc", "-n", netns, "qdisc"]
    subprocess.run([*tc, "delete", "dev", "v0", "root"], capture_output=True)
    asked = kinds.get(kind.split()[0])
    if queue or asked is None or not shutil.which("tc"):
        return False
    return not subprocess.run([*tc, "add", "dev", "v0", "root", *asked], capture_output=True).returncode


@contextmanager
def netemu(command: str) -> Iterator[Bed]:
    name = f"bench{os.getpid()}"
    with (
        namespace(f"{name}c") as near,
        started(near, near, command, "up", "--name", name, "--mtu", str(MTU), "--user", "root") as bed,
    ):
        bed.ss = (command, "ss", "--name", name)
        yield bed


@contextmanager
def attached(command: str) -> Iterator[Bed]:
    """The same services from a process of its own."""
    name = f"bench{os.getpid()}"
    app = [sys.executable, str(HERE / "bench_app.py"), name]
    options = ["up", "--name", name, "--mtu", str(MTU), "--user", "root", "--no-apps"]
    with namespace(f"{name}c") as near, server(near, command, *options):
        _until_up(command, "ss", "--name", name)
        with started(near, near, *app) as bed:
            yield bed


@contextmanager
def wire(command: str, peer: list[str]) -> Iterator[Bed]:
    """As the kernel's, with netemu in place of the veth pair."""
    name = f"bench{os.getpid()}"

    def ask(words: str) -> bool:
        run(command, "link", "set", "--name", name, "in", *words.split())
        return True

    with namespace(f"{name}c") as near, namespace(f"{name}s") as far:
        options = ["--name", name, "--mtu", str(MTU), "--client", near, "--server", far]
        addresses = ["--client-addr", f"{CLIENT}/24", "--server-addr", f"{SERVER}/24"]
        with server(near, command, "wire", *options, *addresses):
            _until_up(command, "link", "show", "--name", name)
            with started(near, far, *peer, SERVER) as bed:
                bed.set_link = ask
                yield bed


def _until_up(*argv: str) -> None:
    """Until the command succeeds."""
    deadline = time.monotonic() + PATIENCE
    while subprocess.run(argv, capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise Failed(f"{' '.join(argv)}: netemu does not answer")
