"""The verbs that talk to a running instance, against a fake one behind the real control API."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance_fake import NS, STATUS, Served, eventually, served

from netemu.capture.pcapng import read_blocks
from netemu.cli import main
from netemu.cli.ls import duration

COMMAND = [sys.executable, "-m", "netemu"]
SYN = bytes.fromhex("450000280001000040060000c6120001c6120002 9c40 0050 00000001 00000000 5002 faf0 0000 0000")
LINE = "198.18.0.1:40000 > 198.18.0.2:80 Flags [S], seq 1, win 64240, length 0"


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETEMU_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NETEMU_NAME", raising=False)
    return tmp_path


@pytest.fixture
def server(base: Path) -> Iterator[Served]:
    (base / "netemu0").mkdir()
    with served(base / "netemu0" / "control.sock") as running:
        yield running


def start(*arguments: str, stdout: int | None = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, *arguments], stdout=stdout, stderr=subprocess.PIPE)


def capturing(server: Served) -> None:
    eventually(lambda: len(server.instance.taps) == 1)


# Without an instance


@pytest.mark.parametrize("arguments", [["ss"], ["nstat"], ["down"], ["capture"]])
def test_no_instance_is_one_line_and_status_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr().err == "netemu: no instance is running: start one with `sudo netemu up`\n"


def test_an_unknown_instance_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ss", "--name", "other"]) == 1
    assert "no instance named 'other' is running: `netemu ls` lists" in capsys.readouterr().err


def test_ls_of_nothing_is_a_header_and_empty_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    assert capsys.readouterr().out == "NAME  PID  TUN  ADDRESSES  APPS  USER  UP\n"
    assert main(["ls", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_down_of_all_when_there_are_none_is_done() -> None:
    assert main(["down", "--all"]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["capture", "port", "http"], "filter: port needs a number from 0 to 65535, not 'http'"),
        (["capture", "-c", "0"], "Invalid value for '-c'"),
        (["ss", "--name", "a/b"], "--name 'a/b'"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["run"], "the command is missing"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("netemu: ")
    assert says in captured.err
    assert captured.err.count("\n") == 1


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "netemu 0.1.0\n"
    assert main([]) == 2
    assert "netemu run -- curl" in capsys.readouterr().out
    for verb in ("up", "run", "ls", "ss", "why", "capture", "nstat", "down", "doctor"):
        assert main([verb, "--help"]) == 0
        assert f"netemu {verb}" in capsys.readouterr().out


def test_the_shell_completes_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "_NETEMU_COMPLETE": "complete_bash", "COMP_WORDS": "netemu do", "COMP_CWORD": "1"}
    program = [sys.executable, "-c", "from netemu.cli import main; main()"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["down", "doctor"]


# ls, ss, nstat


def test_ls(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    start = f"netemu0  {os.getpid()}  netemu0  198.18.0.2 2001:2::2  http:80 echo:7  alice  "
    assert line.startswith(start)
    assert main(["ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["addresses"] == STATUS.addresses


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (5.9, "5 s"), (725, "12 min 5 s"), (3 * 86400 + 4 * 3600 + 9, "3 d 4 h"), (3600, "1 h 0 min")],
)
def test_durations_have_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_ss_prints_what_does_not_listen(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ss"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Netid  State        Recv-Q  Send-Q  Local Address:Port  Peer Address:Port  App   Socket",
        "tcp    ESTABLISHED       0    1448  198.18.0.2:80       198.18.0.1:40000   http  s3",
        "tcp    TIME-WAIT         0       0  [2001:2::2]:80      [2001:2::1]:40001  http  s4",
    ]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["-a"], ["s1", "s2", "s3", "s4"]),
        (["-l"], ["s1", "s2"]),
        (["-lt"], ["s1"]),
        (["-au"], ["s2"]),
        (["-atu"], ["s1", "s2", "s3", "s4"]),
        (["-6"], ["s4"]),
        (["-an4"], ["s1", "s3"]),
    ],
)
def test_ss_chooses(server: Served, capsys: pytest.CaptureFixture[str], options: list[str], ids: list[str]) -> None:
    assert main(["ss", *options, "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ids
    assert main(["ss", *options]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:]] == ids


def test_ss_details_have_units(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ss", "-i", "-4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "s3  http  tcp ESTABLISHED 198.18.0.2:80 198.18.0.1:40000  recv-q 0 send-q 1448",
        "      rtt 230 us  rto 200 ms  cwnd 14480 B  retransmits 0  timer none",
    ]


def test_nstat_says_what_the_names_mean(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nstat"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["GROUP", "NAME", "COUNT", "MEANING"]
    assert lines[3].split(maxsplit=3) == ["drop", "BAD_TCP_CHECKSUM", "1", "the TCP checksum is wrong"]
    assert lines[4].split() == ["ip", "in", "44"]
    assert main(["nstat", "-z", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["drop"] == {"BAD_TCP_CHECKSUM": 1, "PAWS": 0}


def test_a_name_completes(server: Served) -> None:
    from netemu.cli.common import complete_name

    assert complete_name("net") == ["netemu0"]
    assert complete_name("x") == []


# capture


def test_capture_prints_a_line_a_packet(server: Served) -> None:
    with start("capture", "-c", "2", "tcp") as process:
        capturing(server)
        server.see(SYN, "delivered to s1 of app http by LISTEN_WILDCARD", times=2)
        out, err = process.communicate(timeout=20)
    seconds = time.strftime("%H:%M:%S", time.gmtime(NS / 1e9))
    decision = "[delivered to s1 of app http by LISTEN_WILDCARD]"
    assert out.decode().splitlines() == [f"{seconds}.00000000{n} in  {LINE}  {decision}" for n in (0, 1)]
    assert (process.returncode, err) == (0, b"")


def test_capture_writes_a_whole_file_when_interrupted(server: Served, tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    with start("capture", "-w", str(path)) as process:
        capturing(server)
        server.see(SYN, "why", times=3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    records = list(read_blocks(io.BytesIO(path.read_bytes()).read))
    assert [record.comment for record in records if record.data is not None] == ["why"] * 3
    assert records[-1].data is None
    assert (process.returncode, err) == (0, b"3 packets captured, 0 dropped\n")


def test_capture_pipes_and_ends_with_the_instance(server: Served) -> None:
    with start("capture", "-w", "-") as process:
        capturing(server)
        server.see(SYN)
        server.stop()
        out, err = process.communicate(timeout=20)
    assert [record.data for record in read_blocks(io.BytesIO(out).read)][2:] == [SYN, None]
    assert (process.returncode, err) == (0, b"1 packets captured, 0 dropped\n")


def test_capture_is_quiet_when_its_reader_has_seen_enough(server: Served) -> None:
    with start("capture") as process:
        assert process.stdout
        capturing(server)
        process.stdout.close()
        server.see(SYN, times=10)
        assert process.wait(20) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def test_capture_does_not_print_binary_on_a_terminal(server: Served) -> None:
    terminal, other_end = pty.openpty()
    with start("capture", "-w", "-", stdout=other_end) as process:
        _, err = process.communicate(timeout=20)
    os.close(terminal)
    os.close(other_end)
    assert process.returncode == 2
    assert b"standard output is a terminal; pipe it" in err


@pytest.mark.parametrize("path", ["/no/such/dir/x", "/dev/full", "/"])
def test_capture_to_a_bad_place_is_one_line(server: Served, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "-w", path]) == 1
    assert f"netemu: -w {path}: " in capsys.readouterr().err
    eventually(lambda: not server.instance.taps)


# down


def test_down_waits_until_the_instance_is_gone(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """The fake's pid is ours, which stays: down has to give up."""
    from netemu.cli import down

    down.PATIENCE = 0.2
    assert main(["down"]) == 1
    assert server.instance.stopped.is_set()
    assert f"has not ended within 0.2 s: end it with `kill -9 {os.getpid()}`" in capsys.readouterr().err
