"""Every reason of a router is reached: one small scenario each, and the counter says so. A reason without one fails here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from router_bench import A2, FAR, LAN, R_WAN, WAN, A, B, RouterBench
from stack_bench import icmp_message, ip, tcp, udp

from netemu.reasons import Reason, RouterDrop, RouterMatch
from netemu.router.nat_config import parse_nat
from netemu.router.router import Router
from netemu.router.routes import parse_route
from netemu.wire.ip import UDP, parse_address
from netemu.wire.packet import Packet
from netemu.wire.tcp import RST, SYN

Scenario = Callable[[], Router]
SCENARIOS: dict[Reason, Scenario] = {}


def reaches(reason: Reason) -> Callable[[Scenario], Scenario]:
    def file(scenario: Scenario) -> Scenario:
        SCENARIOS[reason] = scenario
        return scenario

    return file


@pytest.mark.parametrize("reason", [*RouterMatch, *RouterDrop], ids=str)
def test_it_is_reached(reason: Reason) -> None:
    assert reason in SCENARIOS, "give this reason a scenario here"
    assert SCENARIOS[reason]().counters[reason] >= 1


def after(packet: bytes, port: int = LAN, route: str = "", mtu: int = 1500) -> Scenario:
    """A plain router that gets a packet."""

    def scenario() -> Router:
        bench = RouterBench(mtu=mtu)
        if route:
            bench.router.add_route(parse_route(route))
        bench.give(packet, port)
        return bench.router

    return scenario


def behind(*packets: tuple[bytes, int], firewall: tuple[str, ...] = (), **nat: object) -> Scenario:
    """The same with NAT, and perhaps a firewall."""

    def scenario() -> Router:
        bench = RouterBench(nat=nat, firewall=firewall)
        for packet, port in packets:
            bench.give(packet, port)
        return bench.router

    return scenario


FAR_AWAY = udp(src=A, dst="203.0.113.1")
reaches(RouterMatch.FORWARDED)(after(udp(src=A, dst=B)))
reaches(RouterMatch.FRAGMENTED)(after(ip(A, B, UDP, bytes(100), fragment=0), mtu=100))
reaches(RouterMatch.HAIRPINNED)(
    behind(
        (udp(src=A2, dst=FAR, sport=6), LAN),
        (udp(src=A, dst=R_WAN, dport=6), LAN),
        filtering="endpoint-independent",
        port_range="1-100",
    )
)
reaches(RouterDrop.TTL_EXPIRED)(after(udp(src=A, dst=B, ttl=1)))
reaches(RouterDrop.NO_ROUTE)(after(FAR_AWAY))
reaches(RouterDrop.HOST_UNREACHABLE)(after(FAR_AWAY, route="unreachable 203.0.113.0/24"))
reaches(RouterDrop.BLACKHOLE)(after(FAR_AWAY, route="blackhole 203.0.113.0/24"))
reaches(RouterDrop.PROHIBITED)(after(FAR_AWAY, route="prohibit 203.0.113.0/24"))
reaches(RouterDrop.TOO_BIG)(after(udp(bytes(100), src=A, dst=B), mtu=100))
reaches(RouterDrop.NOT_FORWARDED)(after(udp(src=A, dst="224.0.0.251")))
reaches(RouterDrop.DENIED)(behind((udp(src=A, dst=B), LAN), firewall=("policy deny",)))
reaches(RouterDrop.REJECTED)(behind((udp(src=A, dst=B), LAN), firewall=("policy reject",)))
reaches(RouterDrop.NAT_FILTERED)(behind((udp(src=A, dst=B), LAN), (udp(src=FAR, dst=R_WAN, dport=40000), WAN)))
reaches(RouterDrop.NAT_UNSOLICITED)(behind((tcp(SYN, src=FAR, dst=R_WAN), WAN)))
reaches(RouterDrop.NAT_NO_MAPPING)(behind((tcp(RST, src=A, dst=FAR), LAN)))
reaches(RouterDrop.NAT_EXHAUSTED)(
    behind((udp(src=A, dst=FAR), LAN), (udp(src=A2, dst=FAR), LAN), port_range="5000-5000")
)
reaches(RouterDrop.NAT_PROTOCOL)(behind((icmp_message(13, src=A, dst=FAR), LAN)))
reaches(RouterDrop.NAT_PRIVATE)(behind((udp(src=FAR, dst=A), WAN)))
reaches(RouterDrop.NAT_HAIRPIN)(
    behind((udp(src=A2, dst=FAR), LAN), (udp(src=A, dst=R_WAN, dport=40000), LAN), hairpinning=False)
)


@reaches(RouterDrop.NO_ADDRESS)
def nothing_to_speak_from() -> Router:
    router = Router("r", 1)
    router.add_port("lan", ["2001:db8::1/64"])
    router.receive(0, Packet(udp(src=A, dst=B)), 0)
    return router


@reaches(RouterDrop.TABLE_FULL)
def table_full() -> Router:
    bench = RouterBench(nat={})
    assert bench.router.middlebox is not None
    bench.router.middlebox.conntrack.limit = 0
    bench.give(udp(src=A, dst=FAR))
    return bench.router


def test_a_translation_without_an_address_is_no_translation() -> None:
    """A port outside that has no IPv4 address."""
    bench = RouterBench()
    bench.router.add_port("six", ["2001:db8:6::1/64"], 1500, [parse_address("2001:db8:6::2")])
    bench.router.add_route(parse_route("203.0.113.0/24 dev six"))
    bench.router.use_nat(parse_nat({"inside": ["lan"]}))
    assert bench.quiet(FAR_AWAY) is RouterDrop.NO_ADDRESS
