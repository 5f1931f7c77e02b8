"""`netemu why`: what stands between the device and the host is named, and nothing is counted by asking."""

from __future__ import annotations

from copy import deepcopy

import pytest
from stack_bench import HOST, tcp, udp

from netemu.apps.registry import AppSpec, make_app
from netemu.link.link import Link
from netemu.link.rules.flows import FlowTracker
from netemu.link.rules.parse import parse_rule
from netemu.link.rules.view import View
from netemu.link.words import parse_words
from netemu.runtime.network import HostNode, Network
from netemu.runtime.serving import serve
from netemu.runtime.through import on_the_way, why_through
from netemu.stack.host import Host
from netemu.wire.packet import Packet
from netemu.wire.tcp import ACK, SYN


class Sink:
    def write(self, packet: Packet) -> bool:
        return True


def network(*rules: str, host_is_second: bool = True) -> tuple[HostNode, Link]:
    made = Network()
    tun, node = made.attach("tun", Sink()), made.add_host("host", Host([f"{HOST}/24"], seed=1))
    ends = (tun, node) if host_is_second else (node, tun)
    link = Link("lan", (ends[0].name, ends[1].name), 1)
    for rule in rules:
        link.add_rule(parse_rule(rule))
    made.connect(ends[0].end, ends[1].end, link)
    return node, link


@pytest.mark.parametrize("host_is_second", [True, False])
def test_rules_that_match_and_words_of_the_link_to_the_host(host_is_second: bool) -> None:
    way, other = ("in", "out") if host_is_second else ("out", "in")
    node, link = network(
        f"{way}: tcp.flags.syn drop first 2", f"{way}: udp drop", f"{other}: tcp drop", host_is_second=host_is_second
    )
    link.directions(way)[0].change(parse_words(["delay", "20ms", "loss", "1%"]), 0)
    link.directions(other)[0].change(parse_words(["down"]), 0)
    syn = Packet(tcp(SYN, 7))
    verdict = why_through(node, syn, 5)
    assert verdict.on_the_way == [
        f"link lan: rule 1: {way}: tcp.flags.syn drop first 2",
        "link lan: delay 20ms loss 1%",
    ]
    assert verdict.reason == "NO_SOCKET"
    assert [row.packets for row in link.rule_rows(5)] == [0, 0, 0]
    assert on_the_way(node, Packet(tcp(ACK, 7)), 5) == ["link lan: delay 20ms loss 1%"]
    for _ in range(2):
        link.directions(way)[0].send(Packet(tcp(SYN, 7)), 5)
    assert on_the_way(node, syn, 5) == ["link lan: delay 20ms loss 1%"]  # that rule rests


def test_what_a_rule_knows_of_flows_is_foreseen() -> None:
    node, link = network("in: flow.packet == 2 drop")
    packet = Packet(udp(b"x"))
    assert on_the_way(node, packet, 0) == []
    link.inward.send(packet, 0)
    for _ in range(2):  # asking does not count
        assert on_the_way(node, packet, 0) == ["link lan: rule 1: in: flow.packet == 2 drop"]


def test_foreseeing_changes_no_flow() -> None:
    tracker = FlowTracker()
    for _ in range(2):
        tracker.note(View(Packet(tcp(ACK, 7, data=b"abc"))))
    (flow,) = tracker._flows.values()
    before = {name: deepcopy(getattr(flow, name)) for name in flow.__slots__}
    view = View(Packet(tcp(ACK, 7, data=b"abc")))
    tracker.foresee(view)
    assert view.flow is not None
    assert (view.flow.packets, view.flow.attempt) == (3, 3)
    assert {name: getattr(flow, name) for name in flow.__slots__} == before


def test_the_rules_of_a_port_of_trouble() -> None:
    node, _ = network()
    spec = AppSpec("trouble", "trouble", 10001, {})
    serve(node.engine, spec, make_app(spec, node.engine))

    def told(port: int) -> list[str]:
        return on_the_way(node, Packet(tcp(SYN, 7, dport=port)), 0)

    assert told(10001) == ["at the host: rule 1: in: tcp.dstport == 10001 and tcp.flags.syn drop"]
    (lost_synack,) = told(10007)
    assert "out: tcp.srcport == 10007" in lost_synack
    assert lost_synack.endswith("drop (for answers)")
    assert told(10012) == ["at the host: HalfOpen, both ways"]
    assert told(10009) == told(80) == []
