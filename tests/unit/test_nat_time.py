"""NAT and time: how long mappings live, TCP's states, and SYNs that nobody asked for. And the words of its table."""

from __future__ import annotations

import re

import pytest
from router_bench import A2, FAR, LAN, R_WAN, WAN, A, RouterBench
from stack_bench import SECOND, echo, icmp_message, tcp, udp

from netemu.reasons import RouterDrop, RouterMatch
from netemu.router.nat_config import KEYS, NatError, parse_nat
from netemu.router.rows import nat_rows, session_rows
from netemu.wire import icmp
from netemu.wire.ip import text
from netemu.wire.tcp import ACK, FIN, RST, SYN

OUT, IN = LAN, WAN


def segment(flags: int, way: int, sport: int = 40000) -> bytes:
    """Of a connection from inside to FAR, port 80; the outside port is the inside one."""
    if way == OUT:
        return tcp(flags, 1, 1, src=A, dst=FAR, sport=sport)
    return tcp(flags, 1, 1, src=FAR, dst=R_WAN, sport=80, dport=sport)


def connected(bench: RouterBench) -> None:
    for flags, way in ((SYN, OUT), (SYN | ACK, IN), (ACK, OUT), (ACK, IN)):
        bench.passes(segment(flags, way), way)


def state(bench: RouterBench) -> str:
    (row,) = session_rows(bench.router, bench.now)
    return row.state


def lives(bench: RouterBench, seconds: float) -> bool:
    """Is the only mapping still there after that time?"""
    assert len(nat_rows(bench.router)) == 1
    bench.wait(round(seconds * SECOND))
    return len(nat_rows(bench.router)) == 1


# -- timeouts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "seconds"), [(udp(src=A, dst=FAR), 300), (echo(src=A, dst=FAR), 60), (segment(SYN, OUT), 240)]
)
def test_a_mapping_is_forgotten_when_it_is_idle(packet: bytes, seconds: int) -> None:
    bench = RouterBench(nat={})
    bench.passes(packet)
    assert lives(bench, seconds - 0.1)
    assert not lives(bench, 0.1)


def test_what_goes_out_keeps_it_open_and_what_comes_in_does_not() -> None:
    """RFC 4787 REQ-6."""
    for inbound, is_open in ((False, False), (True, True)):
        bench = RouterBench(nat={"inbound_refresh": inbound})
        bench.passes(udp(src=A, dst=FAR))
        bench.wait(200 * SECOND)
        bench.passes(udp(src=A, dst=FAR))
        bench.wait(200 * SECOND)
        bench.passes(udp(src=FAR, dst=R_WAN, sport=7, dport=40000), WAN)
        assert lives(bench, 150) == is_open


def test_who_comes_in_by_himself_keeps_nothing_open_and_takes_nothing_away() -> None:
    """With endpoint-independent filtering anybody may come in; the mapping is the inside host's all the same (REQ-6)."""
    stranger = udp(src="198.51.100.99", dst=R_WAN, dport=40000)
    for refreshed in (False, True):
        bench = RouterBench(nat={"filtering": "endpoint-independent", "udp_timeout": "100s"})
        bench.passes(udp(src=A, dst=FAR))
        bench.wait(90 * SECOND)
        bench.passes(stranger, WAN)
        if refreshed:
            bench.passes(udp(src=A, dst=FAR))
        assert lives(bench, 11) == refreshed
        if refreshed:
            bench.wait(50 * SECOND)
            bench.passes(udp(src=A, dst=FAR))
            assert lives(bench, 90)
            assert nat_rows(bench.router)[0].sessions == 1


def test_the_timeouts_are_those_that_were_asked_for() -> None:
    bench = RouterBench(nat={"udp_timeout": "30s", "icmp_timeout": "1min30s", "tcp_transitory_timeout": "500ms"})
    for packet, seconds in ((udp(src=A, dst=FAR), 30.0), (echo(src=A, dst=FAR), 90), (segment(SYN, OUT), 0.5)):
        bench.passes(packet)
        assert lives(bench, seconds - 0.1)
        assert not lives(bench, 0.1)


def test_after_the_mapping_is_gone_answers_do_not_get_in_and_a_new_packet_makes_a_new_one() -> None:
    bench = RouterBench(nat={"udp_timeout": "30s"})
    bench.passes(udp(src=A, dst=FAR))
    bench.wait(31 * SECOND)
    back = udp(src=FAR, dst=R_WAN, sport=7, dport=40000)
    assert bench.answer(back, WAN).message.code == icmp.PORT
    bench.passes(udp(src=A, dst=FAR))
    assert bench.passes(back, WAN)


def test_a_session_is_not_found_after_its_time_even_if_no_timer_ran() -> None:
    bench = RouterBench(nat={"udp_timeout": "30s"})
    bench.passes(udp(src=A, dst=FAR))
    bench.now += 31 * SECOND
    assert bench.give(udp(src=FAR, dst=R_WAN, sport=7, dport=40000), WAN) is RouterDrop.NAT_FILTERED


# -- TCP ----------------------------------------------------------------------------------------------------------------


def test_an_established_connection_lives_for_two_hours_and_four_minutes() -> None:
    """RFC 5382 REQ-5; its handshake for four minutes."""
    bench = RouterBench(nat={})
    bench.passes(segment(SYN, OUT))
    assert state(bench) == "SYN_SENT"
    bench.passes(segment(SYN | ACK, IN), IN)
    assert state(bench) == "SYN_RECV"
    bench.passes(segment(ACK, OUT))
    assert lives(bench, 239)
    bench.passes(segment(ACK, IN), IN)
    assert state(bench) == "ESTABLISHED"
    assert lives(bench, 7439)
    bench.passes(segment(ACK, IN), IN)  # either side keeps it open
    assert lives(bench, 7439)
    assert not lives(bench, 1)


@pytest.mark.parametrize(
    ("segments", "ends_as", "seconds"),
    [
        ([(FIN | ACK, OUT)], "FIN_WAIT", 7440),
        ([(FIN | ACK, OUT), (FIN | ACK, IN)], "TIME_WAIT", 240),
        ([(FIN | ACK, OUT), (FIN | ACK, IN), (ACK, OUT)], "TIME_WAIT", 240),
        ([(RST, IN)], "CLOSE", 240),
        ([(RST, OUT)], "CLOSE", 240),
        ([(FIN | ACK, OUT), (FIN | ACK, IN), (SYN, OUT)], "SYN_SENT", 240),
    ],
)
def test_a_connection_that_ends_is_forgotten_soon(segments: list[tuple[int, int]], ends_as: str, seconds: int) -> None:
    bench = RouterBench(nat={})
    connected(bench)
    for flags, way in segments:
        bench.passes(segment(flags, way), way)
    assert state(bench) == ends_as
    assert lives(bench, seconds - 1)
    assert not lives(bench, 1)


def test_a_long_connection_that_ends_is_forgotten_as_soon() -> None:
    bench = RouterBench(nat={})
    connected(bench)
    bench.wait(1000 * SECOND)
    bench.passes(segment(RST, IN), IN)
    assert lives(bench, 239)
    assert not lives(bench, 1)


def test_ports_that_are_used_again_are_a_connection_of_their_own() -> None:
    bench = RouterBench(nat={})
    connected(bench)
    bench.passes(segment(RST, IN), IN)
    connected(bench)
    assert state(bench) == "ESTABLISHED"


def test_a_connection_from_before_is_picked_up_from_inside_only() -> None:
    bench = RouterBench(nat={})
    assert bench.answer(segment(ACK, IN), IN).segment.flags & RST
    bench.passes(segment(ACK, OUT))
    bench.passes(segment(ACK, IN), IN)
    assert state(bench) == "ESTABLISHED"


def test_no_icmp_error_ends_a_connection() -> None:
    """RFC 5382 REQ-10."""
    bench = RouterBench(nat={})
    connected(bench)
    sent = bench.passes(segment(ACK, OUT))
    bench.passes(icmp_message(icmp.UNREACHABLE, icmp.HOST, body=sent.raw, src=FAR, dst=R_WAN), IN)
    assert state(bench) == "ESTABLISHED"


# -- SYNs from outside --------------------------------------------------------------------------------------------------


def test_a_syn_that_nobody_asked_for_is_answered_after_six_seconds() -> None:
    """RFC 5382 REQ-4, without a mapping and with one that does not let it in."""
    bench = RouterBench(nat={})
    bench.passes(segment(SYN, OUT))
    for dport in (81, 40000):
        packet = tcp(SYN, src=FAR, dst=R_WAN, sport=999, dport=dport)
        assert bench.quiet(packet, WAN) is RouterDrop.NAT_UNSOLICITED
        bench.wait(6 * SECOND - 1)
        assert bench.packets() == []
        bench.wait(1)
        port, seen = bench.one()
        assert (port, text(seen.ip.src), text(seen.ip.dst)) == (WAN, R_WAN, FAR)
        assert seen.message == (icmp.UNREACHABLE, icmp.PORT, 0, packet)


def test_a_simultaneous_open_is_not_disturbed() -> None:
    bench = RouterBench(nat={})
    assert bench.quiet(segment(SYN, IN), WAN) is RouterDrop.NAT_UNSOLICITED
    bench.wait(3 * SECOND)
    bench.passes(segment(SYN, OUT))
    bench.wait(10 * SECOND)
    assert bench.packets() == []
    bench.passes(segment(SYN | ACK, IN), IN)


@pytest.mark.parametrize(("word", "answers"), [("drop", 0), ("0s", 1)])
def test_how_long_is_a_matter_of_choice(word: str, answers: int) -> None:
    bench = RouterBench(nat={"unsolicited_syn": word})
    bench.give(segment(SYN, IN), WAN)
    bench.wait(SECOND)
    assert len(bench.packets()) == answers


def test_the_table_is_full() -> None:
    bench = RouterBench(nat={})
    box = bench.router.middlebox
    assert box is not None
    box.conntrack.limit = 2
    bench.passes(udp(src=A, dst=FAR))
    bench.passes(udp(src=A2, dst=FAR))
    assert bench.quiet(udp(src=A, dst=FAR, sport=1)) is RouterDrop.TABLE_FULL
    assert bench.give(udp(src=A, dst=FAR)) is RouterMatch.FORWARDED
    assert len(nat_rows(bench.router)) == 2


# -- words --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "say which ports are behind it"),
        ({"inside": []}, 'inside: give a list of ports, such as ["lan"]'),
        ({"inside": "lan"}, "inside: give a list"),
        ({"inside": ["lan"], "outside": ["wan"]}, "'outside' is none of inside, mapping"),
        ({"inside": ["lan"], "mapping": "symmetric"}, "mapping: 'symmetric' is none of endpoint-independent"),
        ({"inside": ["lan"], "hairpinning": "yes"}, "hairpinning: 'yes' is neither true nor false"),
        ({"inside": ["lan"], "port_range": "9-8"}, "port_range: ports '9-8': give ports"),
        ({"inside": ["lan"], "port_range": "0-8"}, "port 0 cannot be given out"),
        ({"inside": ["lan"], "udp_timeout": "300"}, "udp_timeout: '300' is no time"),
        ({"inside": ["lan"], "udp_timeout": 300}, "udp_timeout: 300 is no time"),
        ({"inside": ["lan"], "forward": "tcp:80 -> 10.0.0.1:80"}, "forward: give a list"),
        ({"inside": ["lan"], "forward": ["80 -> 10.0.0.1:80"]}, "is not PROTOCOL:PORT -> ADDRESS:PORT"),
        ({"inside": ["lan"], "forward": ["tcp:80 -> 10.0.0:80"]}, "is not PROTOCOL:PORT"),
        ({"inside": ["lan"], "forward": ["tcp:0 -> 10.0.0.1:80"]}, "is not PROTOCOL:PORT"),
        (
            {"inside": ["lan"], "forward": ["tcp:80 -> 10.0.0.1:80", "tcp:80 -> 10.0.0.2:80"]},
            "are for one and the same port",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(table: dict[str, object], says: str) -> None:
    with pytest.raises(NatError, match=re.escape(says)) as caught:
        parse_nat(table)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("nat: ")


def test_every_key_is_understood() -> None:
    table: dict[str, object] = {
        "inside": ["lan"], "mapping": "address-dependent", "filtering": "endpoint-independent", "hairpinning": False,
        "port_preservation": False, "port_parity": True, "port_range": "2000-3000", "inbound_refresh": True,
        "unsolicited_syn": "drop", "forward": ["udp:53 -> 10.0.1.2:5353"], "udp_timeout": "2min",
        "tcp_established_timeout": "2h4min", "tcp_transitory_timeout": "4min", "icmp_timeout": "60s",
    }  # fmt: skip
    assert set(table) == set(KEYS)
    config = parse_nat(table)
    assert (config.port_range, config.unsolicited_syn, str(config.forward[0])) == (
        (2000, 3000),
        None,
        "udp:53 -> 10.0.1.2:5353",
    )
    assert config.timeouts.tcp_established == 7440 * SECOND
    assert parse_nat({"inside": ["lan"]}).timeouts.udp == 300 * SECOND


def test_ports_that_the_router_does_not_have() -> None:
    with pytest.raises(NatError, match="router r1 has no port 'dmz'; it has lan, wan"):
        RouterBench(nat={"inside": ["dmz"]})
    with pytest.raises(NatError, match="has no port with an IPv4 address that is not inside"):
        RouterBench(nat={"inside": ["lan", "wan"]})
