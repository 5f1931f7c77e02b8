"""`netemu up` and `run` around an instance that is only pretended."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from instance_fake import STATUS, eventually

from netemu.cli import main
from netemu.cli.up import welcome
from netemu.runtime import namespace
from netemu.runtime.errors import RuntimeFailure
from netemu.runtime.messages import Status
from netemu.runtime.plan import InstanceConfig

PRETENDED = """
import os, signal, sys, types
import msgspec
from netemu.cli import main
from netemu.runtime import paths
from netemu.runtime.errors import RuntimeFailure
sys.path.insert(0, "tests/unit")
from instance_fake import STATUS

def run(config, on_ready):
    if config.name == "bad":
        raise RuntimeFailure("the TUN is in use")
    directory = paths.claim(config.name)
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    on_ready(msgspec.structs.replace(STATUS, name=config.name, pid=os.getpid(), directory=str(directory.path)))
    print("something for the log", flush=True)
    while not ended:
        signal.pause()
    directory.release()
    return 0

sys.modules["netemu.runtime.running"] = types.SimpleNamespace(run=run)
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETEMU_DIR", str(tmp_path))
    monkeypatch.setenv("NETEMU_NAME", "")
    return tmp_path


def pretend(monkeypatch: pytest.MonkeyPatch, **functions: Callable[..., int]) -> None:
    monkeypatch.setitem(sys.modules, "netemu.runtime.running", types.SimpleNamespace(**functions))


def up(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRETENDED, "up", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_detached_it_returns_once_the_host_answers(base: Path) -> None:
    done = up("-d", "--name", "two")
    assert done.returncode == 0
    assert done.stderr == ""
    log = base / "two" / "log"
    pid = json.loads((base / "two" / "instance.json").read_text())["pid"]
    says = f"two is up on 198.18.0.2 and 2001:2::2 (pid {pid}, log {log}); `netemu down --name two` ends it\n"
    assert done.stdout == says
    eventually(lambda: log.read_text() == "something for the log\n")
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not log.exists())


def test_detached_it_fails_as_it_would_in_the_foreground() -> None:
    done = up("-d", "--name", "bad")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "netemu: the TUN is in use\n")


def test_in_the_foreground_it_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: InstanceConfig, on_ready: Callable[[Status], None]) -> int:
        assert capsys.readouterr().out == ""
        on_ready(STATUS)
        return 0

    pretend(monkeypatch, run=run)
    assert main(["up"]) == 0
    out = capsys.readouterr().out
    for command in (
        "ping -c 3 198.18.0.2",
        "curl http://198.18.0.2/",
        "curl 'http://[2001:2::2]/'",
        "nc 198.18.0.2 7",
    ):
        (line,) = (line for line in out.splitlines() if line.startswith(f"  {command} ") or line == f"  {command}")
        assert shlex.split(line, comments=True) == shlex.split(command)  # it works when it is pasted
    assert out.endswith("^C ends it.\n")
    assert len(out.splitlines()) < 24
    assert all(len(line) < 80 for line in out.splitlines())


def test_what_to_type_names_an_instance_of_another_name() -> None:
    status = Status(**{**{field: getattr(STATUS, field) for field in STATUS.__struct_fields__}, "name": "two"})
    assert "netemu ss -a --name two" in welcome(status)


@pytest.mark.parametrize("option", ["--app web=http:81", "--addr 10.0.0.1", "--no-apps", "--shared", "--config x.toml"])
def test_a_wire_has_no_emulated_host(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *option.split(), "--wire", "delay", "5ms", "--", "true"]) == 2
    said = f"netemu: {option.split()[0]}: with --wire there is no emulated host; leave it out\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (RuntimeFailure("no TUN"), 1, "netemu: no TUN\n"),
        (PermissionError(13, "Permission denied", "/dev/net/tun"), 1, "netemu: /dev/net/tun: Permission denied\n"),
        (OSError("odd"), 1, "netemu: odd\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_goes_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    says: str,
) -> None:
    def run(config: InstanceConfig, on_ready: Callable[[Status], None]) -> int:
        raise error

    pretend(monkeypatch, run=run)
    assert main(["up"]) == status
    assert capsys.readouterr().err == says


def test_run_enters_a_namespace_as_itself(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    class Replaced(BaseException):
        """This process is another program now."""

    seen: list[list[str]] = []

    def execvp(file: str, argv: list[str]) -> None:
        seen.append(argv)
        raise Replaced

    arguments = ["run", "--mtu", "1400", "--", "curl", "-s", "http://198.18.0.2/"]
    monkeypatch.setattr(os, "execvp", execvp)
    monkeypatch.setattr(sys, "argv", ["netemu", *arguments])
    monkeypatch.setattr(namespace, "can_unshare", lambda: None)
    with pytest.raises(Replaced):
        main(arguments)
    (argv,) = seen
    assert argv[0] == "unshare"
    assert argv[-8:] == ["run", "--inside", *arguments[1:]]
    assert os.environ["NETEMU_DIR"] == str(base)


def test_run_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(namespace, "can_unshare", lambda: "no 'unshare' command: install util-linux")
    assert main(["run", "--", "true"]) == 1
    assert capsys.readouterr().err == "netemu: no 'unshare' command: install util-linux\n"


def test_run_ends_with_the_status_of_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[InstanceConfig, list[str]]] = []

    def run_command(config: InstanceConfig, argv: list[str]) -> int:
        seen.append((config, argv))
        return 37

    pretend(monkeypatch, run_command=run_command)
    monkeypatch.setattr(namespace, "bring_up_loopback", lambda: None)
    assert main(["run", "--inside", "ls", "-l", "--name"]) == 37
    ((config, argv),) = seen
    assert argv == ["ls", "-l", "--name"]
    assert (config.name, config.plan.tuns[0].device) == (f"run-{os.getpid()}", "netemu0")
    assert os.environ["NETEMU_NAME"] == config.name


SCENARIO = """
[tun.laptop]
address = ["10.0.1.2/24"]
{laptop}
[tun.phone]
address = ["10.0.3.2/24"]
{phone}
[host.server]
address = ["10.0.2.2/24"]
[router.r]
[link.a]
ends = ["laptop", "r"]
[link.b]
ends = ["phone", "r"]
[link.c]
ends = ["r", "server"]
"""


@pytest.mark.parametrize(
    ("laptop", "phone", "where"),
    [
        ("", "", [None, None]),
        ('namespace = "x"', 'namespace = "x"', [None, None]),
        ('namespace = "x"', 'namespace = "y"', [None, "y"]),
        ('namespace = "x"', "", ["x", None]),
    ],
)
def test_run_in_a_scenario_is_where_its_first_device_is(
    laptop: str, phone: str, where: list[str | None], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[InstanceConfig] = []

    def run_command(config: InstanceConfig, argv: list[str]) -> int:
        seen.append(config)
        return len(argv)

    path = base / "s.toml"
    path.write_text(SCENARIO.format(laptop=laptop, phone=phone))
    pretend(monkeypatch, run_command=run_command)
    monkeypatch.setattr(namespace, "bring_up_loopback", lambda: None)
    assert main(["run", "--inside", "--scenario", str(path), "ls", "-l"]) == 2
    (config,) = seen
    assert config.name == f"run-{os.getpid()}"
    assert [tun.netns for tun in config.plan.tuns] == where
    assert [tun.makes_netns for tun in config.plan.tuns] == [netns is not None for netns in where]


def test_what_run_says_of_a_scenario(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = base / "s.toml"
    path.write_text(SCENARIO.format(laptop="", phone='namespace = "y"'))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for arguments, says in (
        (["--scenario", str(path)], f"{path}: tun phone: another namespace, 'y', takes root; run it with sudo"),
        (["--scenario", str(path), "--mtu", "1400"], f"--mtu: with a scenario, the file says it; put it into {path}"),
        (["--scenario", "x.toml", "--wire"], "--scenario: with --wire there is no emulated host; leave it out"),
    ):
        assert main(["run", *arguments, "--", "true"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"netemu: {says}")
        assert said.count("\n") == 1
