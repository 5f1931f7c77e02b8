"""Throughput over delay and loss, against the table that is committed: what a change to TCP does to it shows up as a diff.

``NETEMU_NETSIM=write .venv/bin/pytest tests/sim/test_netsim.py`` writes the table anew; commit it with the change, and say why.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from exchange import exchange

from netemu.sim.simulation import Simulation

TABLE = Path(__file__).with_name("netsim.txt")
RATE, QUEUE, SIZE = 20, 60, 1_500_000
DELAYS_MS = (0.5, 5, 20, 100)
LOSSES = (0.0, 0.001, 0.01, 0.03, 0.1)
HEAD = f"""\
# One connection over a bottleneck of {RATE} Mbit/s with a queue of {QUEUE} packets of 1500 bytes: Mbit/s of payload
# for {SIZE / 1e6} MB, from the SYN to the end of the stream, by the delay one way and the loss each way; up, then down
# with a receive buffer of 64 KB.
# Virtual time, seeded. Written by tests/sim/test_netsim.py, which says how.
"""


def throughput(delay_ms: float, loss: float, *, down: bool) -> float:
    seed = int(delay_ms * 1000 + loss * 1e6) * 2 + down
    sim = Simulation(seed)
    client, server = sim.host("192.0.2.1"), sim.host("192.0.2.2")
    sim.link(client, server, f"rate {RATE}mbit queue droptail limit {QUEUE * 1500}b delay {delay_ms}ms loss {loss:.1%}")
    data = Random(seed).randbytes(SIZE)
    up, back_data = (b"", data) if down else (data, b"")
    at_client, at_server = exchange(
        sim, client, server, "192.0.2.2", up, back_data, rcvbuf=32_768 if down else 0, limit_s=36_000
    )
    assert at_client.is_all_of(back_data)
    assert at_server.is_all_of(up)
    return SIZE * 8 / sim.now * 1e3


def table() -> str:
    lines = [HEAD]
    for down, title in ((False, "up"), (True, "down, 64 KB")):
        lines.append(f"{title:<12}" + "".join(f"{loss:>8.1%}" for loss in LOSSES) + "\n")
        for delay in DELAYS_MS:
            cells = "".join(f"{throughput(delay, loss, down=down):>8.2f}" for loss in LOSSES)
            lines.append(f"{delay:>9} ms{cells}\n")
    return "".join(lines)


def test_throughput_is_what_it_was() -> None:
    now = table()
    if os.environ.get("NETEMU_NETSIM") == "write":
        TABLE.write_text(now)
    assert now == TABLE.read_text(), f"see the module's docstring; now it is\n{now}"
