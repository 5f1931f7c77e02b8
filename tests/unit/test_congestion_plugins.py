"""Congestion control of a user's own, by entry point ``netemu.congestion``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MINE = """
from netemu.tcp.congestion.newreno import NewReno

class Mine(NewReno):
    name = "mine"
    def on_ack(self, acked, now):
        self.cwnd = 12 * self.mss

class Half:
    pass
"""
NAME = "net.ipv4.tcp_congestion_control"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory as pip leaves it: a module, and a distribution's entry points."""
    (tmp_path / "mycc.py").write_text(MINE)
    info = tmp_path / "mycc-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mycc\nVersion: 1\n")
    points = "[netemu.congestion]\nmine = mycc:Mine\nhalf = mycc:Half\nlost = nowhere:Nothing\ncubic = mycc:Mine\n"
    (info / "entry_points.txt").write_text(points)
    return tmp_path


def run(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(where), *sys.path])
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=100, check=False
    )


def test_it_is_found_by_name(installed: Path) -> None:
    """By a simulation's sysctl and by TCP_CONGESTION; our own names stay ours."""
    program = f"""
import netemu, socket
sim = netemu.Simulation(seed=1)
a, b = sim.host("10.0.0.1", sysctl={{"{NAME}": "mine"}}), sim.host("10.0.0.2")
sim.link(a, b, "delay 1ms")
ls = b.socket(); ls.bind(("", 80)); ls.listen()
c = a.socket(); c.connect(("10.0.0.2", 80))
print([type(c.cc).__name__ for c in a.host.table.connections.values()])
ls.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"mine")
print(ls.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 4))
from netemu.tcp.congestion.registry import ALGORITHMS
print(ALGORITHMS["cubic"].__name__)
"""
    done = run(installed, "-c", program)
    assert done.stdout.split("\n")[:3] == ["['Mine']", "b'mine'", "Cubic"], done.stderr


@pytest.mark.parametrize(
    ("name", "why"), [("half", "(mycc:Half) is no class of netemu"), ("lost", "(nowhere:Nothing) cannot be loaded")]
)
def test_one_that_will_not_do(installed: Path, name: str, why: str) -> None:
    done = run(installed, "-m", "netemu", "up", "--sysctl", f"{NAME}={name}")
    assert done.returncode == 2
    assert "give one of bbr, cubic, newreno, reno, mine" in done.stderr.replace("\n", " ")
    assert why.split()[0] in done.stderr
    assert "Traceback" not in done.stderr
