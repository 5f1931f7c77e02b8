"""`netemu doctor`: what this machine has, what it lacks, and how to mend that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import msgspec

from netemu.cli.common import Json, print_json, printable, python_command

CAP_NET_ADMIN = 12
TOOLS = {
    "curl": "curl",
    "nc": "netcat-openbsd",
    "ncat": "ncat",
    "ping": "iputils-ping",
    "tshark": "tshark",
    "ip": "iproute2",
}
"""Command to its Debian package. netemu itself needs none of them."""
PROBE = "from tun import Tun; sys.exit(0 if Tun('probe0').offload else 3)"


class Check(msgspec.Struct):
    """One line of the answer."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    needed: str = ""
    """The verb that cannot do without; empty: only a convenience."""


def doctor(json: Json = False) -> int:
    """Say what this machine has and lacks.

    Each line that misses something says what to do about it. Nothing is changed: what has to be tried out is tried in a
    private network namespace. The exit status is 1 when something is missing that `netemu up` needs.
    """
    checks = list(examine())
    if json:
        print_json(checks)
    else:
        for check in checks:
            print_check(check)
    return int(any(check.needed == "up" and not check.ok for check in checks))


def print_check(check: Check) -> None:
    word = "ok" if check.ok else "MISSING" if check.needed else "missing"
    fix = f"; {check.fix}" if check.fix and not check.ok else ""
    print(printable(f"{word:<8} {check.name:<14} {check.detail}{fix}"))


def examine() -> Iterator[Check]:
    python, machine = sys.version.split()[0], os.uname()
    yield Check("python", sys.version_info >= (3, 11), f"{python} ({sys.executable})", "3.11 or later is needed", "up")
    yield Check("kernel", machine.sysname == "Linux", f"{machine.sysname} {machine.release}", "Linux is needed", "up")
    yield tun_node()
    yield rights()
    namespace = private_namespace()
    yield namespace
    yield offload(namespace)
    yield address_range()
    for tool, package in TOOLS.items():
        path = shutil.which(tool)
        yield Check(tool, path is not None, path or "not installed", f"apt install {package}")


def tun_node() -> Check:
    node = "/dev/net/tun"
    try:
        os.close(os.open(node, os.O_RDWR))
    except PermissionError:
        return Check(node, False, "this user may not open it", f"use sudo, or `sudo chmod 666 {node}`", "up")
    except OSError as error:
        fix = f"`sudo modprobe tun`, or `sudo mknod {node} c 10 200`; in a container, give it --device {node}"
        return Check(node, False, f"{error.strerror}", fix, "up")
    return Check(node, True, "opens", needed="up")


def rights() -> Check:
    if effective_capabilities() >> CAP_NET_ADMIN & 1:
        who = "root" if os.geteuid() == 0 else "CAP_NET_ADMIN"
        return Check("rights", True, f"{who}: `netemu up` may make a TUN device", needed="up")
    fix = "use `sudo netemu up`; in a container, give it --cap-add NET_ADMIN"
    return Check("rights", False, "no CAP_NET_ADMIN", fix, "up")


def effective_capabilities() -> int:
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return -1 if os.geteuid() == 0 else 0  # all or none


def private_namespace() -> Check:
    from netemu.runtime.namespace import can_unshare

    problem = can_unshare()
    detail = "root" if os.geteuid() == 0 else "user namespaces"
    return Check("namespaces", problem is None, problem or f"`netemu run` works ({detail})", needed="run")


def offload(namespace: Check) -> Check:
    """Whether the kernel grants offload to a TUN: without it, netemu is some ten times slower."""
    from netemu.runtime.namespace import private_namespace_command

    if not namespace.ok:
        return Check("offload", False, "not tried without a private namespace")
    command = private_namespace_command(python_command(PROBE))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode == 0:
        return Check("offload", True, "checksums and segmentation (super-packets of up to 64 KiB)")
    said = (done.stderr.strip().splitlines() or [""])[-1]
    return Check("offload", False, said if said else "refused by this kernel", "netemu works without, only slower")


def address_range() -> Check:
    from netemu.cli.settings import DEFAULT_HOST_ADDRESSES
    from tun import TunError, find_conflict, free_range

    name, choose = "address range", "choose one with --host-addr and --addr"
    try:
        problem = next(filter(None, map(find_conflict, DEFAULT_HOST_ADDRESSES)), None)
        if problem:
            return Check(name, False, problem, f"{choose}; {free_range()} is free", "up")
    except TunError as error:
        return Check(name, False, str(error), choose, "up")
    return Check(name, True, f"{' and '.join(DEFAULT_HOST_ADDRESSES)} are free", needed="up")
