"""serve, nc, forward and exec: what they make of their words, before there is an instance; and what they move bytes with."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netemu.apps.base import UsageError
from netemu.cli import main
from netemu.cli.endpoints import Endpoint, endpoint, shown
from netemu.cli.forward import parse
from netemu.cli.nc import targets
from netemu.cli.pump import Flow
from netemu.cli.watching import IN, Loop


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETEMU_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NETEMU_NAME", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["serve", "8080", "--", "cat"], 1, "no instance is running"),
        (["serve", "8080"], 2, "Missing argument 'COMMAND...'"),
        (["serve", "65536", "--", "cat"], 2, "'65536' is no port: a number from 0 to 65535"),
        (["serve", "http", "--", "cat"], 2, "'http' is no port"),
        (["serve", "1", "--max", "0", "--", "cat"], 2, "--max"),
        (["serve", "1", "-6", "--addr", "::1", "--", "cat"], 2, "-6 means --addr ::"),
        (["serve", "1", "--addr", "host", "--", "cat"], 2, "'host' is no IP address"),
        (["serve", "1", "--", "no-such-command"], 127, "no-such-command: command not found"),
        (["serve", "1", "--", "/etc/passwd"], 126, "/etc/passwd: permission denied"),
        (["exec", "--", "true"], 1, "no instance is running"),
        (["exec", "--", "no-such-command", "-x"], 127, "no-such-command: command not found"),
        (["exec"], 2, "Missing argument"),
        (["nc", "198.18.0.1", "80"], 1, "no instance is running"),
        (["nc"], 2, "give HOST and PORT, or -l and PORT"),
        (["nc", "198.18.0.1"], 2, "give HOST and PORT"),
        (["nc", "198.18.0.1", "0"], 2, "a number from 1 to 65535"),
        (["nc", "-z", "198.18.0.1", "9-7"], 2, "no port is in this range"),
        (["nc", "example.com", "80"], 2, "names are not looked up"),
        (["nc", "-k", "198.18.0.1", "80"], 2, "-k needs -l"),
        (["nc", "-l", "-z", "80"], 2, "-z and -l exclude each other"),
        (["nc", "-l", "-s", "198.18.0.2", "80"], 2, "-s and -l exclude each other"),
        (["nc", "-l", "-p", "80", "198.18.0.2", "81"], 2, "give the port to listen on once"),
        (["nc", "-4", "-6", "198.18.0.1", "80"], 2, "-4 or -6"),
        (["nc", "-4", "2001:2::1", "80"], 2, "not of the family that -4 asks for"),
        (["nc", "-6", "198.18.0.1", "80"], 2, "not of the family that -6 asks for"),
        (["nc", "-s", "::1", "198.18.0.1", "80"], 2, "-s is of another family"),
        (["forward", "8080", "TO", "127.0.0.1:3000"], 1, "no instance is running"),
        (["forward", "8080"], 2, "give LISTEN and TARGET"),
        (["forward", "8080", "FROM", "3000"], 2, "give LISTEN and TARGET"),
        (["forward", "8080", "TO", "0"], 2, "'0' is no port"),
        (["forward", "8080", "TO", "::1:80"], 2, "write an IPv6 address as [ADDRESS]:PORT"),
        (["forward", "kernel:8080", "TO", "kernel:80"], 2, "both ends are kernel: one of them has to be emulated"),
        (["forward", "8080", "TO", "host:80"], 2, "'host' is no IP address"),
    ],
)
def test_errors_are_one_line(arguments: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.startswith("netemu: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("verb", ["serve", "nc", "forward", "exec"])
def test_help_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"Examples:\n    netemu {verb} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("80", ("1.2.3.4", 80)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[2001:DB8:0::1]:80", ("2001:db8::1", 80)),
        ("localhost:0", ("127.0.0.1", 0)),
    ],
)
def test_endpoints(text: str, found: tuple[str, int]) -> None:
    assert endpoint(text, "1.2.3.4") == found
    assert endpoint(str(Endpoint(*found)), "") == found


@pytest.mark.parametrize("text", ["", ":", ":80", "1.2.3.4:", "1.2.3.4:-1", "1.2.3.4.5:80", "[::1]", "80:80:80", "٣"])
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(UsageError):
        endpoint(text, "1.2.3.4")


def test_mapped_addresses_are_shown_as_people_know_them() -> None:
    assert shown(("::ffff:10.0.0.1", 80, 0, 0)) == "10.0.0.1:80"
    assert shown(("2001:db8::1", 80, 0, 0)) == "[2001:db8::1]:80"


@pytest.mark.parametrize(
    ("words", "listen", "target"),
    [
        ("8080 TO 127.0.0.1:3000", "emulated 0.0.0.0:8080", "kernel 127.0.0.1:3000"),
        ("8080 3000", "emulated 0.0.0.0:8080", "kernel :3000"),
        ("emulated:[::]:80 to kernel:[::1]:8000", "emulated [::]:80", "kernel [::1]:8000"),
        ("kernel:9000 to 198.18.0.2:80", "kernel 127.0.0.1:9000", "emulated 198.18.0.2:80"),
        ("kernel:0.0.0.0:9000 80", "kernel 0.0.0.0:9000", "emulated :80"),
        ("9000 TO emulated:80", "kernel 127.0.0.1:9000", "emulated :80"),
    ],
)
def test_the_sides_of_a_forward(words: str, listen: str, target: str) -> None:
    sides, at, to = parse(words.split())
    assert (f"{sides[0]} {at}", f"{sides[1]} {to}") == (listen, target)


def test_ports_of_nc() -> None:
    assert targets(["198.18.0.1", "20-23"], None, False) == ("198.18.0.1", [20, 21, 22, 23])
    assert targets(["198.18.0.2", "0"], None, True) == ("198.18.0.2", [0])
    assert targets([], "80", True) == (None, [80])
    with pytest.raises(UsageError, match="is no port"):
        targets(["80-81"], None, True)


# What moves bytes


def test_a_flow_holds_one_piece_and_passes_the_end_on_last() -> None:
    source = [b"one", b"two", b""]
    told: list[str] = []
    written = bytearray()
    room = 0

    def write(data: memoryview) -> int:
        if not room:
            raise BlockingIOError
        written.extend(data[:room])
        return min(room, len(data))

    flow = Flow(lambda _: source.pop(0), write, lambda: told.append("end"))
    flow.take()
    flow.give()
    assert (flow.wants_input, flow.wants_output, bytes(written)) == (False, True, b"")
    room = 2
    flow.give()
    assert (flow.wants_input, flow.wants_output, bytes(written)) == (False, True, b"on")
    flow.give()
    assert (flow.wants_input, flow.wants_output, bytes(written)) == (True, False, b"one")
    flow.take()
    flow.end_input()
    assert not told
    flow.give()
    flow.give()
    assert (told, bytes(written), flow.moved, flow.finished) == (["end"], b"onetwo", 6, True)


def test_a_flow_that_nobody_takes() -> None:
    flow = Flow(lambda _: b"x", lambda _: 0, lambda: pytest.fail("the end of what was lost"))
    flow.take()
    flow.stop()
    assert (flow.wants_input, flow.wants_output, flow.finished) == (False, False, True)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_loop_ends_by_a_signal(number: signal.Signals, status: int) -> None:
    loop, before = Loop(), signal.getsignal(number)
    ours, theirs = socket.socketpair()
    loop.watch(ours.fileno(), IN, lambda _: os.kill(os.getpid(), number))
    theirs.send(b"x")
    assert loop.run() == status
    assert signal.getsignal(number) is before
    ours.close()
    theirs.close()


def test_a_python_without_netemus_needs_says_so(tmp_path: Path) -> None:
    """Another interpreter, or this one with nothing installed (-S would not run sitecustomize at all)."""
    import netemu.attached

    startup = Path(netemu.attached.__file__).parent / "startup"
    environment = {
        "PYTHONPATH": str(startup),
        "NETEMU_EXEC_SOCKET": "/nonexistent",
        "NETEMU_EXEC_APP": "x",
        "NETEMU_EXEC_PATH": str(tmp_path),
        "NETEMU_EXEC_PYTHON": "/opt/python",
    }
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    done = subprocess.run([base, "-c", "print(1)"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"netemu: exec: {base} lacks what netemu needs (No module named 'netemu")
    assert done.stderr.endswith("install netemu-tun there, or run it with /opt/python\n")
    assert done.stderr.count("\n") == 1
