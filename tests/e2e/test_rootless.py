"""Giving up root, and the private namespace of one who never had it: in forked children that really are somebody
else."""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from netns import PATIENCE, ROOT, Namespace

import tun.device
from netemu.runtime import namespace
from netemu.runtime.namespace import bring_up_loopback, can_unshare, private_namespace_command
from netemu.runtime.privileges import drop_root
from tun import Tun, TunError
from tun.netns import call_in

pytestmark = pytest.mark.e2e

NOBODY = pwd.getpwnam("nobody")


def in_child(call: Callable[[], object], user: pwd.struct_passwd | None = None) -> str:
    """What ``call`` returns in a forked child, which first becomes ``user``, as text.

    Not a fresh interpreter: this one may be where only root can read it.
    """
    result, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if user is not None:
                os.setgroups([])
                os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
                os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
            os.write(write, str(call()).encode())
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(result) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def identity() -> tuple[object, ...]:
    with open("/proc/self/status") as lines:
        capabilities = {line.split()[0]: line.split()[1] for line in lines if line.startswith("Cap")}
    held = [int(capabilities[f"{name}:"], 16) for name in ("CapPrm", "CapEff", "CapAmb")]
    return os.getresuid(), os.getresgid(), sorted(set(os.getgroups())), held


@pytest.mark.parametrize("how", ["sudo", "name", "uid"])
def test_root_is_given_up_for_good(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    monkeypatch.setenv("SUDO_UID", str(uid))
    monkeypatch.setenv("SUDO_GID", str(gid))
    user = {"sudo": None, "name": "nobody", "uid": str(uid)}[how]

    def drop() -> object:
        name = drop_root(user)
        try:
            os.setuid(0)
        except PermissionError:
            return name, *identity()
        return "root again"

    assert in_child(drop) == str(("nobody", (uid,) * 3, (gid,) * 3, [gid], [0, 0, 0]))


def test_a_uid_without_a_name() -> None:
    assert in_child(lambda: (drop_root("54321"), *identity())) == str(
        ("54321", (54321,) * 3, (54321,) * 3, [54321], [0, 0, 0])
    )


def test_root_in_a_user_namespace_has_nobody_to_become() -> None:
    """SUDO_UID may be left over from outside, where it means somebody who does not exist in here."""
    code = (
        "from netemu.runtime.privileges import drop_root\n"
        "print(drop_root(None))\n"
        "try: drop_root('nobody')\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--", sys.executable, "-c", code],
        env={**os.environ, "SUDO_UID": "1000", "SUDO_GID": "1000"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=ROOT,
    )
    assert done.stdout == "None\nnobody does not exist in this user namespace: leave out --user\n", done.stderr


def run_in_private_namespace() -> str:
    command = private_namespace_command(["sh", "-c", "id -u; ip -br link | cut -d' ' -f1; exit 7"])
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd="/")
    return f"{done.stdout}{done.stderr}{done.returncode}"


@pytest.mark.parametrize("user", [None, NOBODY], ids=["root", "nobody"])
def test_a_private_namespace(user: pwd.struct_passwd | None) -> None:
    """In it one is root, there is a loopback and nothing else, and the exit status is the command's."""
    assert in_child(run_in_private_namespace, user) == "0\nlo\n7"


def test_can_unshare_without_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A node that everybody may open, as udev makes /dev/net/tun; and one that only root may."""
    monkeypatch.setattr(namespace, "_DEVICE", "/dev/null")
    assert in_child(can_unshare, NOBODY) == "None"
    private = tmp_path / "tun"
    private.touch(mode=0o600)
    monkeypatch.setattr(namespace, "_DEVICE", str(private))
    assert in_child(can_unshare, NOBODY) == (
        f"this user may not open {private}: 'chmod 666 {private}' (as root), or run netemu with sudo"
    )


def test_can_unshare_as_root() -> None:
    assert can_unshare() is None


def test_opening_a_tun_without_root_says_what_to_do() -> None:
    """Where only root may open the node, that is the obstacle; else, making a device is."""

    def open_tun() -> str:
        try:
            Tun().close()
        except TunError as error:
            return str(error)
        return "opened"

    answer = in_child(open_tun, NOBODY)
    everybody = os.stat("/dev/net/tun").st_mode & 0o006 == 0o006
    assert answer.startswith("may not make a TUN device" if everybody else "may not open /dev/net/tun"), answer


@pytest.fixture
def open_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A node for TUN devices that everybody may open, whatever the rights of /dev/net/tun on this machine."""
    import pyroute2  # noqa: F401  (somebody else may not be able to read it)

    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        node = f"{directory}/tun"
        os.mknod(node, stat.S_IFCHR, os.makedev(10, 200))
        os.chmod(node, 0o666)
        monkeypatch.setattr(tun.device, "_NODE", node)
        yield


@pytest.mark.usefixtures("open_node")
def test_a_tun_in_a_user_namespace() -> None:
    """Where everybody may open the node, a user namespace is all it takes: device, address, loopback, a packet."""

    def device_in_namespace() -> object:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x10000000 | 0x40000000) == 0, os.strerror(ctypes.get_errno())  # CLONE_NEWUSER, NEWNET
        bring_up_loopback()
        with Tun("t0") as device, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            device.configure(["198.18.0.1/24", "2001:2::1/64"])
            sender.sendto(b"hello", ("198.18.0.2", 9))
            return device.offload, [bytes(packet[-5:]) for packet, *_ in device.read() if packet[9] == 17]

    assert in_child(device_in_namespace, NOBODY) == "(True, [b'hello'])"


@pytest.mark.usefixtures("open_node")
def test_a_device_made_for_somebody(netns: Namespace) -> None:
    """Its owner attaches and configures what is so already; more than that, and another's device, he may not."""
    for line in (
        f"tuntap add dev his mode tun user {NOBODY.pw_uid}",
        "addr add 198.18.0.1/24 dev his",
        "link set his up",
        "tuntap add dev roots mode tun user 0",
    ):
        netns.run("ip", *line.split())

    def attach() -> object:
        answers: list[object] = []
        with Tun("his") as device:
            answers.append(device.offload)
            device.configure(["198.18.0.1/24"])
            for forbidden in (lambda: device.configure(["198.18.1.1/24"]), lambda: Tun("roots")):
                try:
                    forbidden()
                except TunError as error:
                    answers.append((error.errno, str(error)[:40]))
        return answers

    answers = call_in(netns.name, lambda: in_child(attach, NOBODY))
    assert answers == str(
        [
            True,
            (errno.EPERM, "cannot add 198.18.1.1/24 to 'his': Opera"),
            (errno.EPERM, "may not make a TUN device: run as root, "),
        ]
    )


def test_bring_up_loopback(netns: Namespace) -> None:
    netns.run("ip", "link", "set", "lo", "down")
    call_in(netns.name, bring_up_loopback)
    assert "LOOPBACK,UP" in netns.run("ip", "link", "show", "lo").stdout
    netns.run("ping", "-c", "1", "-W", "1", "127.0.0.1")
