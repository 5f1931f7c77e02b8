"""Instance directories: claimed, found, taken over, removed."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from netemu.apps.base import UsageError
from netemu.runtime import paths
from netemu.runtime.errors import RuntimeFailure


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing runs."""
    chosen = tmp_path / "chosen"
    monkeypatch.setenv("NETEMU_DIR", str(chosen))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("NETEMU_NAME", raising=False)
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    monkeypatch.setattr(paths, "_temporary", lambda uid: tmp_path / f"netemu-{uid}")
    return chosen


@contextmanager
def instance(
    name: str, uid: int | None = None, gid: int | None = None, *, shared: bool = False
) -> Iterator[paths.InstanceDirectory]:
    directory = paths.claim(name, uid, gid, shared=shared)
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(directory.socket))
        listener.listen()
        yield directory
    directory.release()


def test_a_directory_is_private_and_goes_with_its_instance(base: Path) -> None:
    with instance("a") as directory:
        assert directory.path == base / "a"
        assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
        assert directory.info.read_text() == f'{{"name": "a", "pid": {os.getpid()}}}\n'
    assert not directory.path.exists()
    directory.release()


def test_the_only_instance_needs_no_name() -> None:
    with instance("a") as directory:
        assert paths.find() == paths.find("a") == directory.socket


def test_without_instances_says_how_to_start_one() -> None:
    with pytest.raises(RuntimeFailure, match="no instance is running: start one with `sudo netemu up`"):
        paths.find()


def test_several_instances_ask_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with instance("b"), instance("a") as first:
        with pytest.raises(RuntimeFailure, match=r"2 instances are running \(a, b\): choose one with --name"):
            paths.find()
        monkeypatch.setenv("NETEMU_NAME", "a")
        assert paths.find() == first.socket


def test_an_unknown_name_says_so() -> None:
    with pytest.raises(RuntimeFailure, match="no instance named 'x' is running"):
        paths.find("x")


def test_a_name_that_runs_is_taken() -> None:
    with instance("a"), pytest.raises(RuntimeFailure, match=rf"'a' is already running \(pid {os.getpid()}\): stop it"):
        paths.claim("a")


def test_a_name_that_is_being_started_is_taken() -> None:
    directory = paths.claim("a")
    with pytest.raises(RuntimeFailure, match="already running"):
        paths.claim("a")
    directory.release()


def test_what_a_kill_left_is_taken_over() -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        with instance("a") as directory:
            directory.log.write_text("old")
            os.write(tell, b"x")
            signal.pause()
    os.read(ready, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert paths.running() == []
    with pytest.raises(RuntimeFailure, match="no instance is running"):
        paths.find()
    with instance("a") as directory:
        assert paths.find() == directory.socket
        assert not directory.log.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_shared_one_is_found_by_everybody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NETEMU_DIR")
    with instance("a", uid=12345, gid=12345, shared=True) as directory:
        assert stat.S_IMODE(directory.path.stat().st_mode) == 0o755
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        assert paths.find() == directory.socket


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_starts_one_for_a_user_who_can_remove_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NETEMU_DIR")
    old = os.umask(0o077)
    with instance("a", uid=12345, gid=12345) as directory:
        os.umask(old)
        assert directory.path == tmp_path / "run" / "12345" / "a"
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755
        for made in (directory.path.parent, directory.path, directory.info):
            assert made.stat().st_uid == 12345
        assert paths.find() == directory.socket
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert paths.find() == directory.socket
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        with pytest.raises(RuntimeFailure, match="no instance is running"):
            paths.find()
        monkeypatch.undo()


def test_a_user_has_a_private_place_in_tmp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NETEMU_DIR")
    monkeypatch.setattr(paths, "_make_base", paths._make_base)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with instance("a") as directory:
        assert directory.path == tmp_path / f"netemu-{os.geteuid()}" / "a"
        assert paths.find() == directory.socket
        directory.path.parent.chmod(0o777)
        assert paths.running() == []  # somebody else may have planted it
        with pytest.raises(RuntimeFailure, match="not a private directory"):
            paths.claim("b")


def test_a_place_that_cannot_be_made_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETEMU_DIR", "/dev/null/x")
    with pytest.raises(RuntimeFailure, match="Not a directory; set NETEMU_DIR"):
        paths.claim("a")


def test_a_place_too_long_for_a_socket_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETEMU_DIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(RuntimeFailure, match="too long for a unix socket"):
        paths.claim("a")


@pytest.mark.parametrize("name", ["", "1a", "a/b", "..", "a" * 16, "a b"])
def test_a_name_is_a_word(name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        paths.check_name(name)
