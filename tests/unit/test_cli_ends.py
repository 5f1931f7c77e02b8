"""How a command ends that is interrupted, or whose standard streams are closed: a status, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netemu.cli import INTERRUPTED, guarded
from netemu.runtime.errors import RuntimeFailure

INTERRUPTED_IMPORT = """
import signal, sys
import netemu.cli

class Interrupter:  # as if ^C came while typer is imported
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
sys.exit(netemu.cli.main(["ls"]))
"""


def netemu(shell: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """``shell`` is what follows the command in a shell."""
    script = f'"$0" -c "import sys; from netemu.cli import main; sys.exit(main())" {shell}'
    environment = {"NETEMU_DIR": str(tmp_path), "PYTHONPATH": ":".join(filter(None, sys.path))}
    return subprocess.run(
        ["sh", "-c", script, sys.executable], capture_output=True, text=True, timeout=20, env=environment, check=False
    )


def test_interrupted_while_it_is_loading() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (INTERRUPTED, "", "")


@pytest.mark.parametrize("closed", [">&-", "<&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("verb", ["ls", "binds", "--help"])
def test_closed_standard_streams_are_no_failure(tmp_path: Path, verb: str, closed: str) -> None:
    done = netemu(f"{verb} {closed}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_told_in_a_line(tmp_path: Path) -> None:
    done = netemu("binds >/dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, "netemu: No space left on device\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_letters(encoding: str) -> None:
    script = "import sys; from netemu.cli import guarded; sys.exit(guarded(lambda: print('w\\xf6rld \\u2026') or 0))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding) == "wörld …\n".encode(encoding, "backslashreplace").decode(encoding)


def test_words_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def send() -> int:
        return len("\udcff".encode())

    assert guarded(send) == 2
    assert capsys.readouterr().err == "netemu: '\\udcff' is no text in utf-8\n"


def test_errors_of_what_is_guarded(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: BaseException) -> int:
        raise error

    assert guarded(lambda: 7) == 7
    assert guarded(lambda: fail(RuntimeFailure("the TUN is gone"))) == 1
    assert guarded(lambda: fail(FileNotFoundError(2, "No such file or directory", "x"))) == 1
    assert guarded(lambda: fail(KeyboardInterrupt())) == INTERRUPTED
    told = capsys.readouterr().err.splitlines()
    assert told == ["netemu: the TUN is gone", "netemu: x: No such file or directory"]
