"""A private network namespace for `netemu run`: as root, or without by a user namespace (network_namespaces(7))."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence

from netemu.runtime.errors import RuntimeFailure

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_SIOCGIFFLAGS = 0x8913  # linux/sockios.h
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("16sH22x")  # struct ifreq: name, flags

_DEVICE = "/dev/net/tun"

_NET_LIMIT = [("user.max_net_namespaces", "0", "10000")]  # setting, the value that forbids, one that allows
_USER_LIMITS = [
    ("user.max_user_namespaces", "0", "10000"),
    ("kernel.unprivileged_userns_clone", "0", "1"),  # Debian before 11
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu since 23.10
]


def private_namespace_command(argv: list[str]) -> list[str]:
    """The command that runs ``argv`` in a fresh network namespace, in which it is root.

    unshare(1) execs: pid, signals and exit status are those of ``argv``. All that is in the namespace goes with its
    last process.
    """
    if os.geteuid() == 0:
        return ["unshare", "--net", "--", *argv]
    return ["unshare", "--user", "--map-root-user", "--net", "--", *argv]


def can_unshare() -> str | None:
    """None when ``private_namespace_command`` and a TUN device in it will work, else one line: why not, what to do.

    Tries both, in some 5 ms: what may forbid them is too various to predict.
    """
    if shutil.which("unshare") is None:
        return "no 'unshare' command: install util-linux"
    try:
        os.close(os.open(_DEVICE, os.O_RDWR))
    except PermissionError:
        if os.geteuid() == 0:
            return f"{_DEVICE} is forbidden here: give the container --device {_DEVICE}"
        return f"this user may not open {_DEVICE}: 'chmod 666 {_DEVICE}' (as root), or run netemu with sudo"
    except OSError:
        return f"no {_DEVICE}: 'modprobe tun', or 'mkdir -p /dev/net && mknod {_DEVICE} c 10 200' (as root)"
    trial = subprocess.run(private_namespace_command(["true"]), capture_output=True, text=True, timeout=10)
    return explain_refusal(trial.stderr, os.geteuid() == 0, _sysctl) if trial.returncode else None


def explain_refusal(stderr: str, root: bool, sysctl: Callable[[str], str | None]) -> str:
    """Why unshare(1) failed with ``stderr``: the setting that forbids it, else its own words.

    ``sysctl`` reads one: 'user.max_user_namespaces' -> '0', or None where there is no such setting.
    """
    for name, forbidding, wanted in _NET_LIMIT if root else _USER_LIMITS + _NET_LIMIT:
        if sysctl(name) == forbidding:
            return f"{name} = {forbidding} forbids a private namespace: 'sysctl {name}={wanted}' (as root)"
    said = (stderr.strip().splitlines() or ["unshare failed"])[-1]
    if root:
        return f"{said}: root lacks CAP_SYS_ADMIN; give the container --cap-add SYS_ADMIN"
    return f"{said}: no user namespaces here; run netemu with sudo"


def bring_up_loopback() -> None:
    """Set the interface ``lo`` of this namespace up: a fresh namespace has it down, and much needs 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        _, flags = _IFREQ.unpack(fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0)))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))


def make_namespace() -> str:
    """A fresh network namespace, with loopback up; the path that tun and nsenter(1) know it by in this process.

    It has no name, and is gone with the last process that is in it or has this descriptor. EPERM without rights.
    """
    from concurrent.futures import ThreadPoolExecutor

    def unshare() -> int:  # in a thread that ends: this one alone is moved
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            code = ctypes.get_errno()
            raise RuntimeFailure(f"no network namespace can be made: {os.strerror(code)}; run as root")
        bring_up_loopback()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    with ThreadPoolExecutor(1) as pool:
        return f"/proc/{os.getpid()}/fd/{pool.submit(unshare).result()}"


def make_named_namespace(name: str) -> Callable[[], None]:
    """Make the namespace ``name``, as `ip netns add` does; what removes it again.

    Whoever removes it needs root, which we give up: a child waits for the end of this process, whatever way that comes.
    """
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        why = made.stderr.strip() or "ip netns add failed"
        hint = "; run as root" if "not permitted" in why or "denied" in why else ""
        raise RuntimeFailure(f"no namespace {name!r} can be made: {why}{hint}")
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=False)
    waiting = 'read -r _; exec ip netns del "$1"'
    janitor = subprocess.Popen(["sh", "-c", waiting, "sh", name], stdin=subprocess.PIPE, start_new_session=True)

    def remove() -> None:
        janitor.communicate()

    return remove


def command_in(netns: str | None, argv: Sequence[str]) -> list[str]:
    """The command that runs ``argv`` in a namespace: a name, a path of make_namespace, or None for ours."""
    return list(argv) if netns is None else ["nsenter", f"--net={path_of(netns)}", "--", *argv]


def path_of(netns: str | None) -> str:
    """Where a namespace is: a name, a path of make_namespace, or None for ours."""
    return "/proc/self/ns/net" if netns is None else os.path.join("/run/netns", netns)


def _sysctl(name: str) -> str | None:
    try:
        with open("/proc/sys/" + name.replace(".", "/")) as value:
            return value.read().strip()
    except OSError:
        return None
