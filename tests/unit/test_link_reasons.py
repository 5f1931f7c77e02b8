"""Every reason for which a link drops is reached: a few words for each, and the counter says so."""

from __future__ import annotations

import pytest
from link_bench import MS, direction, exchange

from netemu.link.rules.parse import parse_rule
from netemu.reasons import LinkDrop

SCENARIOS = {
    LinkDrop.LOSS: "loss 50%",
    LinkDrop.LOSS_STATE: "loss state 50%",
    LinkDrop.LOSS_GEMODEL: "loss gemodel 50%",
    LinkDrop.QUEUE_FULL: "rate 100kbit queue droptail limit 10p",
    LinkDrop.RED: "rate 1mbit queue red limit 60000 min 5000 max 15000 avpkt 1000 burst 10 probability 50%",
    LinkDrop.CODEL: "rate 1mbit queue codel",
    LinkDrop.PIE: "rate 1mbit queue pie",
    LinkDrop.LIMIT: "delay 1s limit 10",
    LinkDrop.DOWN: "down",
    LinkDrop.TOO_BIG: "mtu 500",
    LinkDrop.RULE: "delay 1ms",
}


@pytest.mark.parametrize("reason", list(LinkDrop), ids=str)
def test_it_is_reached(reason: LinkDrop) -> None:
    assert reason in SCENARIOS, "give this reason a scenario here"
    link = direction(SCENARIOS[reason])
    if reason is LinkDrop.RULE:
        link.rules.add(parse_rule("udp drop"))
    exchange(link, range(0, 1000 * MS, MS), size=1000)
    if reason is LinkDrop.TOO_BIG:
        assert not link.stats.dropped  # IPv4 without DF is cut
        from link_packets import udp

        link.send(udp(size=1000, dont_fragment=True), 1000 * MS)
    assert link.stats.dropped[reason] > 0
    assert link.stats.packets_in == 1000 + (reason is LinkDrop.TOO_BIG)
