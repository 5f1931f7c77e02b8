"""Loss recovery over an emulated path, in virtual time: what SACK and RACK bring, and that reordering is not taken for loss."""

from __future__ import annotations

from random import Random

import pytest
from exchange import connections_of, exchange

from netemu.sim.simulation import Simulation
from netemu.tcp.connection import Connection

SIZE = 1_500_000


def seconds(
    link: str, seed: int, size: int = SIZE, *, offload: bool = False, **sysctl: int
) -> tuple[float, Connection | None]:
    """How long ``size`` bytes take from the client to the server, intact; the client's connection, if it is left."""
    sim = Simulation(seed)
    settings = {f"net.ipv4.{name}": value for name, value in sysctl.items()}
    client, server = (sim.host(f"192.0.2.{n}", offload=offload, sysctl=settings) for n in (1, 2))
    sim.link(client, server, link)
    data = Random(seed).randbytes(size)
    _, at_server = exchange(sim, client, server, "192.0.2.2", data, b"")
    assert at_server.is_all_of(data)
    return sim.now / 1e9, next(iter(connections_of(client)), None)


@pytest.mark.parametrize("offload", [False, True])
def test_rfc_6675_three_per_cent_of_loss_at_20_ms(offload: bool) -> None:
    """Quicker than NewReno, which mends one hole each round trip; over many seeds."""
    link = "rate 50mbit delay 10ms loss 3%"
    with_sack = sum(seconds(link, seed, offload=offload)[0] for seed in range(6))
    without = sum(seconds(link, seed, offload=offload, tcp_sack=0)[0] for seed in range(6))
    assert with_sack < 0.9 * without
    assert 6 * SIZE * 8 / with_sack > 5e6  # bits a second


def test_rfc_8985_reordering_is_not_loss() -> None:
    """Every tenth packet is late by less than a quarter of the round trip: hardly anything is sent twice, cwnd is kept."""
    took, c = seconds("delay 20ms 2ms", 7)
    assert c is not None
    assert c.recovery.rack.reordering_seen > 10
    assert c.total_retransmits < SIZE // c.mss // 50
    counted, by_count = seconds("delay 20ms 2ms", 7, tcp_recovery=0)
    assert by_count is not None
    assert by_count.total_retransmits > 3 * c.total_retransmits
    assert took <= counted
