"""How an instance begins and ends, what it leaves, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from emulated import ADDRESS4, NETEMU, READY, Emulated, emulated, inside, scratch, unique_name, until
from everybody import AS_NOBODY, NOBODY, readable_by_everybody
from netns import PATIENCE, Namespace

pytestmark = pytest.mark.e2e


def echo_answers(address: str = ADDRESS4) -> bool:
    with socket.create_connection((address, 7), timeout=PATIENCE) as client:
        client.sendall(b"x")
        return client.recv(1) == b"x"


def devices(netns: Namespace) -> list[str]:
    return [line.split()[0] for line in netns.run("ip", "-br", "link").stdout.splitlines()]


def netemu(netns: Namespace, *argv: str, wrap: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    return netns.run(*(wrap or []), NETEMU, *argv, timeout=PATIENCE, check=False)


def directory_of(host: Emulated) -> Path:
    path = Path(host.status()["directory"])
    assert (path / "control.sock").is_socket()
    return path


MOMENTS: dict[str, Callable[[Path, Path], bool]] = {
    "it loads": lambda process, _: "/msgspec/" in (process / "maps").read_text(),
    "its directory is there": lambda _, directory: directory.exists(),
    "its device is there": lambda process, directory: f"{directory.name}:" in (process / "net/dev").read_text(),
    "its device has addresses": lambda process, directory: directory.name in (process / "net/if_inet6").read_text(),
    "its control socket is there": lambda _, directory: (directory / "control.sock").exists(),
}
"""What there is to see of one that starts: its directory in /proc, and its own."""


# -- the end ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detached", [[], ["-d"]], ids=["foreground", "detached"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_ended_while_it_starts_it_leaves_nothing(netns: Namespace, moment: str, detached: list[str]) -> None:
    """Ended by SIGTERM in the foreground; by ^C where it is to go on in the background."""
    with scratch() as directory:
        name = unique_name()
        process = netns.start("env", f"NETEMU_DIR={directory}", NETEMU, "up", "--name", name, *detached)
        has_come = MOMENTS[moment]
        until(lambda: has_come(Path(f"/proc/{process.pid}"), directory / name), step=0.001)
        process.send_signal(signal.SIGINT if detached else signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
        assert err == ""
        if detached and out:  # it was up already
            netns.run("env", f"NETEMU_DIR={directory}", NETEMU, "down")
        assert list(directory.iterdir()) == []
        assert devices(netns) == ["lo"]


@pytest.mark.parametrize("how", ["down", "SIGINT", "SIGTERM", "SIGHUP"])
def test_the_end(netns: Namespace, how: str) -> None:
    """Connections hear of it; device, directory and socket are gone."""
    host = Emulated(netns)
    directory = directory_of(host)
    with inside(netns, lambda: socket.create_connection((ADDRESS4, 7), timeout=PATIENCE)) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        if how == "down":
            assert host.netemu("down").stdout == ""
            assert host.process.poll() is not None, "`down` returns when it is over"
        status = host.end(getattr(signal, how, signal.SIGINT))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert (status, host.complaints()) == (0, "")
    assert devices(netns) == ["lo"]
    assert not directory.exists()
    assert netemu(netns, "ss", "--name", host.name).returncode == 1


def test_kill_9_leaves_nothing_that_stops_the_next(netns: Namespace) -> None:
    host = Emulated(netns)
    directory = directory_of(host)
    os.kill(host.pid, signal.SIGKILL)
    host.process.wait(PATIENCE)
    until(lambda: devices(netns) == ["lo"])
    assert host.name not in netemu(netns, "ls").stdout
    said = netemu(netns, "ss", "--name", host.name)
    assert (said.returncode, said.stdout) == (1, "")
    assert "no instance named" in said.stderr
    again = Emulated(netns, name=host.name)
    assert directory_of(again) == directory
    assert inside(netns, echo_answers)
    again.close()
    assert not directory.exists()


def test_in_the_background(netns: Namespace) -> None:
    name = unique_name()
    started = netemu(netns, "up", "-d", "--name", name)
    assert started.returncode == 0, started.stderr
    try:
        assert inside(netns, echo_answers), "it answers once `up -d` has returned"
        pid, log = re.search(rf"{name} is up .*\(pid (\d+), log (\S+)\)", started.stdout).groups()  # type: ignore[union-attr]
        assert os.getsid(int(pid)) == int(pid), "a session of its own: the terminal's end is not its end"
        assert Path(log).read_text() == ""
        assert name in netemu(netns, "ls").stdout
    finally:
        assert netemu(netns, "down", "--name", name).returncode == 0
    assert devices(netns) == ["lo"]
    assert not Path(log).exists()


# -- what cannot be -----------------------------------------------------------------------------------------------------------


def one_line(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("netemu: ")
    for word in words:
        assert word in line


def test_what_is_taken(netns: Namespace) -> None:
    with emulated(netns) as host:
        one_line(netemu(netns, "up", "--name", host.name), 1, "already running", str(host.pid), "netemu down")
        other = unique_name()
        free = ("--name", other, "--addr", "198.18.5.2", "--host-addr", "198.18.5.1/24")
        one_line(netemu(netns, "up", *free, "--tun", host.name), 1, host.name)
        overlapping = ("--name", other, "--addr", "198.18.0.130", "--host-addr", "198.18.0.129/25")
        one_line(netemu(netns, "up", *overlapping), 1, "198.18.0", "--host-addr")
        one_line(netemu(netns, "up", "--name", other), 1, "--host-addr")
        assert devices(netns) == ["lo", host.name], "nothing is left half made"
        assert inside(netns, echo_answers), "and the first one goes on"
        second = Emulated(netns, *free[2:])
        assert inside(netns, lambda: echo_answers("198.18.5.2"))
        second.close()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("up", "--mtu", "10"), ("--mtu 10", "576")),
        (("up", "--mtu", "many"), ("--mtu",)),
        (("up", "--addr", "198.18.0.999"), ("--addr 198.18.0.999",)),
        (("up", "--host-addr", "198.18.0.1"), ("--host-addr", "/24")),
        (("up", "--app", "web=htpp"), ("'htpp'", "http")),
        (("up", "--app", "web=http:99999"), ("99999",)),
        (("up", "--app", "a=echo:80", "--app", "b=http:80"), ("port 80", "twice")),
        (("up", "--app", "web=http:80,root=/no/such/place"), ("/no/such/place",)),
        (("up", "--tun", "a name far too long"), ("--tun",)),
        (("up", "--name", "../x"), ("--name",)),
        (("up", "--user", "no-such-user"), ("no-such-user",)),
        (("up", "--colour"), ("--colour",)),
        (("fly",), ("fly",)),
        (("capture", "port http or"), ("port",)),
    ],
    ids=lambda value: "-".join(value).replace("--", "") if isinstance(value, tuple) else None,
)
def test_wrong_usage(netns: Namespace, argv: tuple[str, ...], words: tuple[str, ...]) -> None:
    one_line(netemu(netns, *argv), 2, *words)


def test_what_fails_at_run_time(netns: Namespace, tmp_path: Path) -> None:
    name = ("--name", unique_name())
    one_line(netemu(netns, "up", *name, "--pcap", "/no/such/place/x"), 1, "/no/such/place/x")
    one_line(netemu(netns, "up", *name, "--config", f"{tmp_path}/none.toml"), 1, "none.toml")
    one_line(netemu(netns, "up", *name, "--netns", "no-such-namespace"), 1, "no-such-namespace")
    one_line(netemu(netns, "down", *name), 1, "no instance named")
    without_node = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"]
    one_line(netemu(netns, "up", *name, wrap=without_node), 1, "/dev/net/tun")
    one_line(netemu(netns, "run", "true", wrap=without_node), 1, "/dev/net/tun")
    assert devices(netns) == ["lo"]


def test_without_root(netns: Namespace) -> None:
    with readable_by_everybody() as readable:
        wrap = [*readable, *AS_NOBODY]
        one_line(netemu(netns, "up", "--name", unique_name(), wrap=wrap), 1, "root")
        doctor = netemu(netns, "doctor", wrap=wrap)
        assert doctor.returncode == 1
        assert "sudo" in doctor.stdout
        with emulated(netns) as host:
            one_line(netemu(netns, "ss", "--name", host.name, wrap=wrap), 1, "another user's", "sudo")
            assert host.name not in netemu(netns, "ls", wrap=wrap).stdout


# -- by sudo ------------------------------------------------------------------------------------------------------------------


def test_by_sudo_it_gives_up_root(netns: Namespace) -> None:
    """Whoever called sudo owns the process, its files and its control socket; no root is left in it."""
    called_by = {"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": str(NOBODY.pw_gid)}
    with readable_by_everybody() as readable, scratch() as files:
        pcap = files / "all.pcapng"
        host = Emulated(netns, "--pcap", str(pcap), wrap=readable, env=called_by)
        status = Path(f"/proc/{host.pid}/status").read_text()
        assert re.search(r"^Uid:" + rf"\t{NOBODY.pw_uid}" * 4, status, re.MULTILINE)
        assert re.search(r"^Gid:" + rf"\t{NOBODY.pw_gid}" * 4, status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        directory = directory_of(host)
        assert {path.owner() for path in (pcap, directory, *directory.iterdir())} == {NOBODY.pw_name}

        assert inside(netns, echo_answers)
        netns.run("curl", "-sS", "--fail", "-o", "/dev/null", f"http://{ADDRESS4}/bytes/1M")
        as_nobody = [*readable, *AS_NOBODY]
        listed = netemu(netns, "ss", "-a", "--name", host.name, wrap=as_nobody)
        assert (listed.returncode, "echo" in listed.stdout) == (0, True), listed.stderr
        assert NOBODY.pw_name in netemu(netns, "ls", wrap=as_nobody).stdout
        ended = netemu(netns, "down", "--name", host.name, wrap=as_nobody)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert (host.end(), host.complaints()) == (0, "")
        assert not directory.exists()
        assert devices(netns) == ["lo"]


def test_user_root_stays_root(netns: Namespace) -> None:
    called_by = {"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": str(NOBODY.pw_gid)}
    host = Emulated(netns, "--user", "root", env=called_by)
    assert host.status()["user"] == "root"
    host.close()


# -- run ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["curl", "-s", f"http://{ADDRESS4}:4444/"], 7),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, list) else None,
)
def test_the_exit_status_of_run(netns: Namespace, command: list[str], status: int) -> None:
    assert netemu(netns, "run", "--", *command).returncode == status


def test_run(netns: Namespace) -> None:
    """Input, output and errors are the command's; in there it is alone with the host; two may run at once."""
    with scratch() as directory:
        command = ["sh", "-c", f"cat; {NETEMU} ss -l; ip -br link >&2"]
        both = [netns.start("env", f"NETEMU_DIR={directory}", NETEMU, "run", "--", *command) for _ in range(2)]
        until(lambda: len(list(directory.iterdir())) == 2)
        for process in both:
            out, err = process.communicate("typed\n", timeout=PATIENCE)
            assert process.returncode == 0
            assert out.startswith("typed\nNetid")
            assert "echo" in out
            assert [line.split()[0] for line in err.splitlines()] == ["lo", "netemu0"]
        assert list(directory.iterdir()) == []
    assert devices(netns) == ["lo"]


def test_run_ends_with_its_command_and_with_a_signal(netns: Namespace) -> None:
    process = netns.start(NETEMU, "run", "--", "sh", "-c", "echo $$; exec sleep 60")
    assert process.stdout is not None
    command = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)  # as ^C does: to all in the foreground
    assert process.wait(PATIENCE) == 128 + signal.SIGINT
    with pytest.raises(ProcessLookupError):
        os.kill(command, 0)


# -- how long it takes --------------------------------------------------------------------------------------------------------
# What the promises say is for a machine that has a core to spare. A test has to hold on a busy one too, so the time that a
# process only waited for a core does not count. Nor does compiling: it happens once, where it is not forbidden.

COMPILED = ["env", "-u", "PYTHONDONTWRITEBYTECODE"]


def waited_for_a_core(pid: int) -> float:
    """Seconds (schedstat in proc(5): on a core, waiting for one, how often)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def first_answer(netns: Namespace) -> float:
    """Seconds from typing `netemu up` to the first byte that echo sends back."""

    def knock() -> float:
        while True:
            try:
                echo_answers()
            except OSError:  # no route yet, or nobody there
                assert time.monotonic() - typed < PATIENCE
                time.sleep(0.02)
            else:
                return time.monotonic() - typed

    typed = time.monotonic()
    process = netns.start(*COMPILED, NETEMU, "up", "--name", unique_name())
    seconds = inside(netns, knock) - waited_for_a_core(process.pid)
    assert process.stdout is not None
    while process.stdout.readline().strip() != READY:
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    return seconds


def test_it_starts_at_once(netns: Namespace) -> None:
    """At least now and then: a machine that is stopped for moments (by a quota, say) does not tell that it was."""
    until(lambda: first_answer(netns) < 1.5)


def test_ss_is_quick(netns: Namespace) -> None:
    """It waits for nothing but the instance's answer, so its time on a core is what it takes."""
    with emulated(netns) as host:
        took = []
        for _ in range(5):
            process = subprocess.Popen([*COMPILED, NETEMU, "ss", "-a", "--name", host.name], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            assert status == 0
            took.append(usage.ru_utime + usage.ru_stime)
        assert min(took) < 0.3, took
