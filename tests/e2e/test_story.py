"""`netemu story`: real processes, a real nc and a real server of the kernel's, and all that is told is so."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulated import NETEMU, scratch
from netns import PATIENCE

pytestmark = pytest.mark.e2e


def story(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [NETEMU, "story", "--pcap", str(directory / "story.pcapng")]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, Path]]:
    with scratch() as directory:
        said = story(directory)
        assert (said.returncode, said.stderr) == (0, "")
        yield said.stdout, directory / "story.pcapng"


def test_every_step_is_as_told(told: tuple[str, Path]) -> None:
    text, _ = told
    assert "WRONG" not in text
    assert text.count("   ok  ") == 22
    for reason in ("ONLY_BOUND", "NO_SOCKET", "LISTEN_NOT_SYN", "LISTEN_RST", "OUTSIDE_WINDOW", "UDP_NO_SOCKET"):
        assert f"dropped: {reason}" in text


def test_the_capture_is_kept(told: tuple[str, Path]) -> None:
    """tshark reads it, and finds a decision at each packet."""
    argv = ["tshark", "-r", str(told[1]), "-T", "fields", "-e", "frame.comment"]
    comments = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout.splitlines()
    assert len(comments) > 30
    assert all(comment.startswith(("delivered to", "dropped: ", "sent", "taken: ")) for comment in comments)
    assert any("by LISTEN_WILDCARD" in comment for comment in comments)


@pytest.mark.parametrize("moment", ["all three hold the port", "listen()", "received 'hello A'", "A's socket is gone"])
def test_interrupted_it_ends_without_a_word(moment: str) -> None:
    """^C goes to all its processes. (Not while a Python of them starts: for some milliseconds that has words of its own.)"""
    with scratch() as directory:
        argv = [NETEMU, "story", "--pcap", str(directory / "story.pcapng")]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
        assert process.stdout is not None
        assert any(moment in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=PATIENCE)
        assert (process.returncode, complaints) == (130, "")


def test_nobody_needs_to_read_it_to_the_end() -> None:
    with scratch() as directory:
        line = f"{NETEMU} story --pcap {directory}/story.pcapng | head -n 3; exit ${{PIPESTATUS[0]}}"
        said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        assert (said.returncode, said.stderr) == (0, "")


def test_it_fails_when_a_step_differs() -> None:
    """Without nc there is no client: that is told, and shows in the exit status."""
    with scratch() as directory:
        tools = directory / "bin"
        tools.mkdir()
        for tool in ("unshare", "true"):
            found = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
            (tools / tool).symlink_to(found)
        said = story(directory, PATH=str(tools))
        assert said.returncode == 1
        assert "WRONG  the story broke off" in said.stdout
        assert "Traceback" not in said.stdout + said.stderr


def test_why_explains_each_frame(told: tuple[str, Path]) -> None:
    """What was decided, and what that means; the instance has gone meanwhile."""
    frames = subprocess.run(
        ["capinfos", "-Tmc", str(told[1])], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    count = int(frames.stdout.split(",")[-1])
    alone = {**os.environ, "NETEMU_DIR": str(told[1].parent)}  # or an instance of another test would be asked
    for number in range(1, count + 1):
        argv = [NETEMU, "why", "--pcap", str(told[1]), "--frame", str(number)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE, env=alone)
        lines = done.stdout.splitlines()
        assert lines[0].startswith(f"frame {number}, ")
        assert lines[1].startswith(("then: delivered to s", "then: dropped: ", "then: sent"))
        assert lines[1].startswith("then: sent by s") or lines[1].count("(") >= 1
