"""Transfers over a path that loses, reorders, duplicates and damages packets arrive intact, for many seeds.

In virtual time; both directions at once, over IPv4 and IPv6, with and without timestamps, SACK and window scaling, with large and
small buffers, MTUs and super-packets: all decided by the seed.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from exchange import connections_of, exchange
from paths import bad_path

from netemu.link.stats import DirectionRow
from netemu.reasons import Close, Drop
from netemu.sim.simulation import Simulation

SEEDS, CHUNK = 640, 20


def transfer(seed: int) -> list[DirectionRow]:
    """What both directions of the link did."""
    random = Random(seed)
    sim = Simulation(seed)
    v6 = bool(seed & 1)
    sysctl = {
        "net.ipv4.tcp_timestamps": seed >> 1 & 1,
        "net.ipv4.tcp_sack": seed >> 2 & 1,
        "net.ipv4.tcp_window_scaling": seed >> 3 & 1,
    }
    mtu = random.choice((1280, 1500, 1500, 9000))
    offload = random.random() < 0.25
    hosts = [
        sim.host(f"2001:db8::{n}" if v6 else f"192.0.2.{n}", mtu=mtu, offload=offload, sysctl=options)
        for n, options in ((1, sysctl), (2, sysctl if random.random() < 0.8 else None))
    ]
    client, server = hosts
    link = sim.link(client, server, bad_path(random), back=bad_path(random))
    up, down = (random.randbytes(random.choice((0, 1, 1000, 60_000, 250_000))) for _ in range(2))
    rcvbuf = random.choice((0, 0, 3000, 20_000))
    address = "2001:db8::2" if v6 else "192.0.2.2"
    seen_by_client, seen_by_server = exchange(sim, client, server, address, up, down, rcvbuf=rcvbuf)
    assert seen_by_server.is_all_of(up), seen_by_server
    assert seen_by_client.is_all_of(down), seen_by_client
    # and it ends: in TIME-WAIT or CLOSED on both sides, with nothing left behind
    sim.run(lambda: not connections_of(client) and not connections_of(server), for_="600s")
    sim.run(for_="120s")
    for host in hosts:
        assert not host.host.faults
        assert not host.host.table.connections
        assert host.host.counters[Close.TIMED_OUT] == host.host.counters[Close.RESET_BY_PEER] == 0
    return link.link.rows()


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_transfers_arrive_intact(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            transfer(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_the_paths_are_as_bad_as_they_say() -> None:
    """Of what the transfers survive there is enough: without it they would show nothing."""
    rows = [row for seed in range(40) for row in transfer(seed)]
    packets = sum(row.packets_in for row in rows)
    assert packets > 4_000
    assert packets / 100 < sum(row.dropped.get("LOSS", 0) for row in rows) < packets / 5
    assert packets / 100 < sum(row.duplicated for row in rows) < packets / 5
    assert packets / 1000 < sum(row.corrupted for row in rows) < packets / 20


def test_jitter_has_packets_overtake_each_other() -> None:
    sim = Simulation(3)
    client, server = sim.host("192.0.2.1"), sim.host("192.0.2.2")
    sim.link(client, server, "delay 15ms 5ms")
    receiver, sender = server.socket(kind=2), client.socket(kind=2)
    receiver.bind(("", 9))
    for number in range(100):
        sender.sendto(bytes([number]), ("192.0.2.2", 9))
    arrived = [receiver.recv(1)[0] for _ in range(100)]
    assert sorted(arrived) == list(range(100))
    assert sum(later < earlier for earlier, later in pairwise(arrived)) > 20


def test_damage_is_noticed() -> None:
    """MUST-2, MUST-3: the path does what it says, and no damaged packet gets past a checksum: counted, and sent again."""
    sim = Simulation(1)
    client, server = sim.host("192.0.2.1"), sim.host("192.0.2.2")
    sim.link(client, server, delay="5ms", corrupt="10%")
    data = Random(2).randbytes(300_000)
    seen_by_client, seen_by_server = exchange(sim, client, server, "192.0.2.2", data, data[:1000])
    assert seen_by_server.is_all_of(data)
    assert seen_by_client.is_all_of(data[:1000])
    assert server.host.counters[Drop.BAD_TCP_CHECKSUM] > 5


def test_a_dead_path() -> None:
    """Nothing gets through: the connection is given up, with a reason, and the table is empty."""
    sim = Simulation(1)
    client, server = sim.host("192.0.2.1"), sim.host("192.0.2.2")
    sim.link(client, server, delay="5ms", loss="100%")
    seen_by_client, _ = exchange(sim, client, server, "192.0.2.2", b"x", b"y")
    assert isinstance(seen_by_client.error, TimeoutError)
    assert not client.host.table.connections
    assert client.host.counters[Close.TIMED_OUT] == 1


def test_a_path_that_dies_on_the_way() -> None:
    """After R2 both sides know (RFC 9293 3.8.3)."""
    sim = Simulation(1)
    client, server = sim.host("192.0.2.1"), sim.host("192.0.2.2")
    link = sim.link(client, server, delay="5ms")
    data = bytes(100_000_000)
    seen_by_client, seen_by_server = exchange(sim, client, server, "192.0.2.2", data, data, limit_s=1)
    assert not seen_by_server.at_end
    link.add("loss 100%")
    sim.run(lambda: bool(seen_by_client.error and seen_by_server.error), for_="2h")
    assert isinstance(seen_by_client.error, TimeoutError)
    assert isinstance(seen_by_server.error, TimeoutError)
    assert not client.host.table.connections
    assert not server.host.table.connections


def test_a_seed_repeats_itself() -> None:
    """The same seed, the same packets: what a failing seed needs."""
    runs = []
    for _ in range(2):
        sim = Simulation(5)
        client, server = sim.host("192.0.2.1"), sim.host("192.0.2.2")
        sim.link(client, server, "delay 15ms 5ms loss 10% duplicate 10% corrupt 1%")
        data = Random(6).randbytes(50_000)
        exchange(sim, client, server, "192.0.2.2", data, data)
        runs.append((sim.digest(), sim.now, client.host.counters, server.host.counters))
    assert runs[0] == runs[1]
