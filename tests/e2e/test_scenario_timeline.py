"""A scenario's timeline in real time: a link that goes down and up again under a real ping."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from emulated import unique_name
from netns import PATIENCE, Namespace

pytestmark = pytest.mark.e2e

SCENARIO = """
[tun.client]
address = "10.0.0.1/24"

[host.server]
address = "10.0.0.2/24"

[link.wire]
ends = ["client", "server"]

[[at]]
time = "1s"
link = "wire"
down = true

[[at]]
time = "4s"
link = "wire"
up = true
"""

RUN = """
import sys
from netemu.runtime.plan import InstanceConfig
from netemu.runtime.running import run_command
from netemu.scenario.build import plan_of
from netemu.scenario.reader import read_scenario
plan = plan_of(read_scenario(sys.argv[1]))
sys.exit(run_command(InstanceConfig(sys.argv[2], plan, user="root"), sys.argv[3:]))
"""

DOWN_AND_UP = """
until ! ping -c 1 -W 1 10.0.0.2 > /dev/null; do sleep 0.1; done; echo down
until ping -c 1 -W 1 10.0.0.2 > /dev/null; do sleep 0.1; done; echo up
"""


def test_a_link_goes_down_and_comes_up_again(netns: Namespace, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SCENARIO)
    words = (sys.executable, "-c", RUN, str(tmp_path / "s.toml"), unique_name(), "sh", "-c", DOWN_AND_UP)
    done = netns.run(*words, timeout=2 * PATIENCE)
    assert (done.stdout, done.stderr) == ("down\nup\n", "")
