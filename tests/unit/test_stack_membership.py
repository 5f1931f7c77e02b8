"""What the routers are told of the host's groups, in virtual time (RFC 3376, RFC 3810; RFC 2236, RFC 2710 with older routers)."""

from __future__ import annotations

import pytest
from membership_bench import (
    ALL,
    GROUP,
    OTHER,
    ROUTER6,
    SOURCES,
    Link,
    join,
    leave,
    query,
    report,
    source_option,
    to_link,
    words,
)
from stack_bench import FAMILIES, HOST, HOST6, PEER, SECOND, ip, udp

from netemu.reasons import Drop, Match
from netemu.stack import constants as so
from netemu.stack.membership import MOST_CHANGES, MOST_SOURCES
from netemu.stack.why import why
from netemu.wire import igmp
from netemu.wire.ip import IGMP, parse_address
from netemu.wire.packet import Packet

ADD, DROP, BLOCK, UNBLOCK = (
    so.IP_ADD_SOURCE_MEMBERSHIP,
    so.IP_DROP_SOURCE_MEMBERSHIP,
    so.IP_BLOCK_SOURCE,
    so.IP_UNBLOCK_SOURCE,
)
ONE, TWO, THREE = SOURCES[4]

# -- joining and leaving ---------------------------------------------------------------------------------------------


@FAMILIES
def test_a_change_is_told_at_once_and_again_within_a_second(version: int) -> None:
    link, group = Link(), GROUP[version]
    socket = link.member(group)
    assert link.said() == [f"to_ex {group}"]
    assert link.said(SECOND) == [f"to_ex {group}"]
    assert link.said(1000 * SECOND) == []
    socket.close()
    assert link.said() == [f"to_in {group}"]
    assert link.said(SECOND) == [f"to_in {group}"]
    assert link.said(1000 * SECOND) == []
    assert link.host.counters[Match.MEMBERSHIP_CHANGE] == 4
    assert link.host.next_timer() is None


@FAMILIES
def test_only_the_first_member_and_the_last_are_news(version: int) -> None:
    link, group = Link(), GROUP[version]
    first, second = link.settled(group, group)
    first.close()
    assert link.said(SECOND) == []
    leave(second, group)
    assert link.said(SECOND) == [f"to_in {group}"] * 2


@pytest.mark.parametrize("group", ["224.0.0.1", "ff02::1", "ff01::1", "ff01::5", "ff00::5"])
def test_what_is_never_told(group: str) -> None:
    link = Link()
    socket = link.member(group)
    socket.close()
    assert link.said(SECOND) == []


@pytest.mark.parametrize("group", ["224.0.0.251", "ff02::fb"])
def test_other_groups_of_the_link_are(group: str) -> None:
    link = Link()
    link.member(group)
    assert link.said() == [f"to_ex {group}"]


@FAMILIES
def test_nothing_on_lo(version: int) -> None:
    link = Link()
    link.member(GROUP[version], device=1).close()
    assert link.said(SECOND) == []


def test_which_address_it_comes_from() -> None:
    link = Link(HOST, HOST6, "fe80::2")
    link.member(GROUP[4])
    assert link.one().ip.src == parse_address(HOST)
    link.member(GROUP[6])
    assert link.one().ip.src == parse_address("fe80::2")
    bare = Link(HOST6)
    bare.member(GROUP[4])
    assert bare.one().ip.src == bytes(4)  # RFC 3376 4.2.13
    bare.member(GROUP[6])
    assert bare.one().ip.src == bytes(16)  # RFC 3810 5.2.13


def test_leaving_before_the_second_report_tells_of_leaving_alone() -> None:
    link = Link()
    link.member(GROUP[4]).close()
    assert link.said() == [f"to_ex {GROUP[4]}", f"to_in {GROUP[4]}"]
    assert link.said(5 * SECOND) == [f"to_in {GROUP[4]}"]


def test_changes_of_several_groups_are_told_again_together() -> None:
    link = Link()
    socket = link.member(GROUP[4])
    join(socket, OTHER[4])
    assert link.said() == [f"to_ex {GROUP[4]}", f"to_ex {OTHER[4]}"]
    assert link.said(2 * SECOND) == [f"to_ex {GROUP[4]}, to_ex {OTHER[4]}"]


def test_a_robustness_that_the_router_chose() -> None:
    link = Link()
    link.settled(OTHER[4])
    link.asked(query(4, qrv=4))
    link.wait(2 * SECOND)
    link.member(GROUP[4])
    assert link.said(10 * SECOND) == [f"to_ex {GROUP[4]}"] * 4
    link.asked(query(4, qrv=0))
    link.wait(2 * SECOND)
    link.member("239.3.3.3")
    assert link.said(10 * SECOND) == ["to_ex 239.3.3.3"] * 2


# -- sources ---------------------------------------------------------------------------------------------------------


def test_sources_that_are_named() -> None:
    link, group = Link(), GROUP[4]
    socket = link.udp()
    source_option(socket, ADD, ONE)
    assert link.said(2 * SECOND) == [f"allow {group} {ONE}"] * 2
    source_option(socket, ADD, TWO)
    assert link.said(2 * SECOND) == [f"allow {group} {TWO}"] * 2
    source_option(socket, DROP, ONE)
    source_option(socket, DROP, TWO)
    assert link.said() == [f"block {group} {ONE}", f"block {group} {ONE} {TWO}"]
    assert link.said(2 * SECOND) == [f"block {group} {TWO}"]
    assert not link.host.udp.members.at


def test_sources_that_are_blocked() -> None:
    link, group = Link(), GROUP[4]
    (socket,) = link.settled(group)
    source_option(socket, BLOCK, ONE)
    assert link.said(2 * SECOND) == [f"block {group} {ONE}"] * 2
    source_option(socket, UNBLOCK, ONE)
    assert link.said(2 * SECOND) == [f"allow {group} {ONE}"] * 2


def test_what_the_sockets_want_together() -> None:
    """RFC 3376 3.2: excluded is what all that exclude do not want and nobody names."""
    link, group = Link(), GROUP[4]
    (first,) = link.settled(group)
    source_option(first, BLOCK, ONE)
    source_option(first, BLOCK, TWO)
    second = link.udp()
    source_option(second, ADD, ONE)
    link.wait(5 * SECOND)
    assert link.host.reporting.reporters[4].groups[parse_address(group)].sources == {parse_address(TWO)}
    third = link.member(group)
    assert link.said(2 * SECOND) == [f"allow {group} {TWO}"] * 2
    third.close()
    assert link.said(2 * SECOND) == [f"block {group} {TWO}"] * 2
    first.close()
    assert link.said(2 * SECOND) == [f"to_in {group} {ONE}"] * 2
    source_option(second, ADD, THREE)
    join(link.udp(), group)
    assert link.said(2 * SECOND) == [f"allow {group} {THREE}", f"to_ex {group}", f"to_ex {group}"]


def test_a_source_that_comes_and_goes() -> None:
    """RFC 3376 5.1: what is told again is how it is now, in a list of what has changed."""
    link, group = Link(), GROUP[4]
    (socket,) = link.settled(group)
    source_option(socket, BLOCK, ONE)
    source_option(socket, UNBLOCK, ONE)
    source_option(socket, BLOCK, TWO)
    assert link.said() == [f"block {group} {ONE}", f"allow {group} {ONE}", f"allow {group} {ONE}, block {group} {TWO}"]
    assert link.said(5 * SECOND) == [f"block {group} {TWO}"]


def test_a_change_of_sources_while_one_of_the_mode_is_told() -> None:
    link, group = Link(), GROUP[4]
    socket = link.member(group)
    source_option(socket, BLOCK, ONE)
    assert link.said() == [f"to_ex {group}", f"to_ex {group} {ONE}"]
    assert link.said(5 * SECOND) == [f"block {group} {ONE}"]


# -- queries ---------------------------------------------------------------------------------------------------------


@FAMILIES
def test_a_general_query_is_answered_once_for_all_groups(version: int) -> None:
    link = Link()
    link.settled(GROUP[version], OTHER[version], GROUP[10 - version])
    start = link.now
    assert link.asked(query(version, code=100)) is Match.MEMBERSHIP_QUERY
    due = link.host.next_timer()
    assert due is not None
    assert start <= due <= start + 10 * SECOND
    assert link.said(10 * SECOND) == [f"is_ex {GROUP[version]}, is_ex {OTHER[version]}"]
    assert link.said(1000 * SECOND) == []


@FAMILIES
def test_a_query_about_one_group(version: int) -> None:
    link = Link()
    link.settled(GROUP[version])
    assert link.asked(query(version, GROUP[version])) is Match.MEMBERSHIP_QUERY
    assert link.said(SECOND) == [f"is_ex {GROUP[version]}"]
    assert link.asked(query(version, OTHER[version])) is Drop.NOT_JOINED
    assert link.said(SECOND) == []


@FAMILIES
def test_a_query_about_sources(version: int) -> None:
    link, group, (one, two, _) = Link(), GROUP[version], SOURCES[version]
    link.settled(group)
    link.asked(query(version, group, (one, two)))
    assert link.said(SECOND) == [f"is_in {group} {one} {two}"]


def test_a_query_about_sources_that_are_not_wanted() -> None:
    link, group = Link(), GROUP[4]
    (socket,) = link.settled(group)
    source_option(socket, BLOCK, ONE)
    link.wait(5 * SECOND)
    link.asked(query(4, group, (ONE,)))
    assert link.said(SECOND) == []
    link.asked(query(4, group, (ONE, TWO)))
    assert link.said(SECOND) == [f"is_in {group} {TWO}"]


@FAMILIES
def test_queries_about_a_group_are_answered_together(version: int) -> None:
    """RFC 3376 5.2, rules 4 and 5."""
    link, group, (one, two, _) = Link(), GROUP[version], SOURCES[version]
    link.settled(group)
    link.asked(query(version, group, (one,)))
    link.asked(query(version, group, (two,), code=100))
    assert link.said(SECOND) == [f"is_in {group} {one} {two}"]
    for second, first in ((), (one,)), ((one,), ()):
        link.asked(query(version, group, first))
        link.asked(query(version, group, second))
        assert link.said(SECOND) == [f"is_ex {group}"]


def test_a_group_needs_no_answer_of_its_own_where_all_are_told_before() -> None:
    """RFC 3376 5.2, rule 1."""
    link = Link()
    link.settled(GROUP[4])
    link.asked(query(4, code=0x01))
    link.asked(query(4, GROUP[4], code=0xFF))
    assert link.said(4000 * SECOND) == [f"is_ex {GROUP[4]}"]


def test_a_later_general_query_does_not_put_off_the_answer() -> None:
    link = Link()
    link.settled(GROUP[4])
    link.asked(query(4, code=10))
    for _ in range(20):
        link.asked(query(4, code=0xFF))
    assert link.said(SECOND) == [f"is_ex {GROUP[4]}"]
    assert link.said(4000 * SECOND) == []


@FAMILIES
def test_who_has_left_says_nothing(version: int) -> None:
    link, group = Link(), GROUP[version]
    (socket,) = link.settled(group)
    link.asked(query(version, group, code=100))
    link.asked(query(version, code=100))
    socket.close()
    assert set(link.said(20 * SECOND)) == {f"to_in {group}"}


@FAMILIES
def test_a_query_to_any_address_of_the_host(version: int) -> None:
    """RFC 3376 4.1.12, RFC 3810 5.1.15."""
    link, group = Link(), GROUP[version]
    link.settled(group)
    to_us = query(version, dst=HOST if version == 4 else HOST6)
    for packet in (to_us, query(version, group, dst=ALL[version]), *([query(6, dst=group)] if version == 6 else [])):
        assert link.asked(packet) is Match.MEMBERSHIP_QUERY
        assert link.said(SECOND) == [f"is_ex {group}"]


@FAMILIES
def test_answers_fit_the_mtu(version: int) -> None:
    link = Link(mtu=1280)
    groups = [f"239.1.{n // 20}.{n % 20}" if version == 4 else f"ff05::{n + 1:x}" for n in range(400)]
    link.settled(*groups)
    link.asked(query(version))
    sent = link.wait(SECOND)
    assert len(sent) == (3 if version == 4 else 7)
    assert all(len(seen.raw) <= 1280 for seen in sent)
    assert ", ".join(map(words, sent)) == ", ".join(f"is_ex {group}" for group in groups)


# -- queries that are no router's ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (query(4, alert=False), Drop.BAD_QUERY),  # RFC 3376 9.1
        (query(4, version=2, alert=False), Drop.BAD_QUERY),
        (query(4, dst=GROUP[4]), Drop.BAD_QUERY),
        (query(4, GROUP[4], dst=OTHER[4]), Drop.NOT_JOINED),
        (query(4, src="224.0.0.5"), Drop.BAD_QUERY),
        (query(4, src=HOST), Drop.BAD_QUERY),
        (query(4, ttl=0), Drop.BAD_QUERY),
        (query(4, "192.0.2.1", dst=ALL[4]), Drop.BAD_IGMP),
        (query(4)[:-1], Drop.TRUNCATED),
        (to_link(PEER, ALL[4], bytes(7)), Drop.BAD_IGMP),
        (to_link(PEER, ALL[4], b"\x11\x01\0\0\0\0\0\0"), Drop.BAD_IGMP),  # its checksum
        (to_link(PEER, ALL[4], igmp.emit(igmp.QUERY, bytes(4), bytes(3), 10)), Drop.BAD_IGMP),
        (to_link(PEER, ALL[4], igmp.emit(igmp.QUERY, bytes(4), bytes(3) + b"\1", 10)), Drop.BAD_IGMP),
        (to_link(PEER, ALL[4], igmp.emit(0x13, bytes(4))), Drop.NEIGHBOUR_CHATTER),
        (to_link(PEER, "224.0.0.2", igmp.emit(igmp.LEAVE, parse_address(GROUP[4]))), Drop.NEIGHBOUR_CHATTER),
        (query(6, alert=False), Drop.BAD_QUERY),  # RFC 3810 6.2
        (query(6, ttl=2), Drop.BAD_QUERY),
        (query(6, src="2001:2::1"), Drop.BAD_QUERY),
        (query(6, src="::"), Drop.BAD_QUERY),
        (query(6, src="fe80::2"), Drop.BAD_QUERY),
        (query(6, dst=OTHER[6]), Drop.NOT_JOINED),
        (query(6, "2001:2::1", dst=ALL[6]), Drop.BAD_ICMP),
        (query(6, sources=SOURCES[6]), Drop.BAD_ICMP),
        (query(6)[:-3] + b"xyz", Drop.BAD_ICMP),
    ],
)
def test_queries_that_are_dropped(packet: bytes, reason: Drop) -> None:
    link = Link(HOST, HOST6, "fe80::2")
    link.settled(GROUP[4], GROUP[6])
    assert link.asked(packet) is reason
    assert link.said(100 * SECOND) == []


def test_a_switch_may_ask_without_an_address() -> None:
    link = Link()
    link.settled(GROUP[4])
    assert link.asked(query(4, src="0.0.0.0")) is Match.MEMBERSHIP_QUERY


def test_fragments_are_of_no_interest() -> None:
    packet = ip(PEER, ALL[4], IGMP, igmp.emit(igmp.QUERY, bytes(4)), fragment=0x2000)
    assert Link().asked(packet) is Drop.NEIGHBOUR_CHATTER


# -- older versions --------------------------------------------------------------------------------------------------


@FAMILIES
def test_an_older_router_is_answered_in_its_version(version: int) -> None:
    """Each group by a timer of its own (RFC 2236 3, RFC 2710 4)."""
    link, name = Link(), "v2" if version == 4 else "v1"
    link.settled(GROUP[version], OTHER[version])
    assert link.asked(query(version, version=2, code=100)) is Match.MEMBERSHIP_QUERY
    assert sorted(link.said(10 * SECOND)) == [f"{name} {GROUP[version]}", f"{name} {OTHER[version]}"]
    link.asked(query(version, GROUP[version], version=2))
    assert link.said(SECOND) == [f"{name} {GROUP[version]}"]
    link.asked(query(version, GROUP[version], SOURCES[version]))  # one of version 3 is understood as one of theirs
    assert link.said(SECOND) == [f"{name} {GROUP[version]}"]


@FAMILIES
def test_joining_and_leaving_in_the_older_version(version: int) -> None:
    link, group = Link(), GROUP[version]
    name, farewell = ("v2", "leave") if version == 4 else ("v1", "done")
    link.asked(query(version, version=2))
    socket = link.member(group)
    assert link.said() == [f"{name} {group}"]
    assert link.said(10 * SECOND) == [f"{name} {group}"]
    link.member(group)
    assert link.said(10 * SECOND) == []
    socket.close()
    assert link.said(10 * SECOND) == []
    for other in list(link.host.table.sockets.values()):
        other.close()
    assert link.said(20 * SECOND) == [f"{farewell} {group}"]


@FAMILIES
def test_one_report_spares_the_others_theirs(version: int) -> None:
    link, group = Link(), GROUP[version]
    (socket,) = link.settled(group)
    assert (
        link.asked(report(version, group)) is Drop.NEIGHBOUR_CHATTER
    )  # version 3 knows no such thing (RFC 3376 7.2.2)
    link.asked(query(version, version=2, code=100))
    assert link.asked(report(version, OTHER[version])) is Drop.NEIGHBOUR_CHATTER
    assert link.asked(report(version, group, dst=OTHER[version])) is Drop.NEIGHBOUR_CHATTER
    assert link.asked(report(version, group)) is Match.MEMBERSHIP_REPORT
    assert link.said(10 * SECOND) == []
    socket.close()  # somebody else reported last: no farewell (RFC 2236 3)
    assert link.said(10 * SECOND) == []


def test_a_forged_report_spares_nothing() -> None:
    link = Link()
    link.settled(GROUP[6])
    link.asked(query(6, version=2))
    for forged in (report(6, GROUP[6], src="2001:2::1"), report(6, GROUP[6], ttl=64)):
        assert link.asked(forged) is Drop.NEIGHBOUR_CHATTER
    assert link.said(SECOND) == [f"v1 {GROUP[6]}"]


@FAMILIES
def test_the_older_router_goes(version: int) -> None:
    """Older version querier present timeout: robustness x query interval + max response time (RFC 3376 8.12)."""
    link, group = Link(), GROUP[version]
    link.settled(group)
    link.asked(query(version, version=2, code=10))
    link.wait(250 * SECOND)
    link.asked(query(version))
    assert link.said(SECOND - 1) == [f"{'v2' if version == 4 else 'v1'} {group}"]
    link.wait(1)
    link.asked(query(version))
    assert link.said(SECOND) == [f"is_ex {group}"]


def test_how_often_the_router_asks_counts() -> None:
    link, group = Link(), GROUP[4]
    link.settled(group)
    link.asked(query(4, qrv=1, qqic=20))
    link.wait(SECOND)
    link.asked(query(4, version=2))
    link.wait(21 * SECOND)
    link.asked(query(4))
    assert link.said(SECOND) == [f"is_ex {group}"]


def test_a_query_of_version_2_about_one_group_is_no_reason_to_speak_it() -> None:
    """RFC 3376 7.2.1: only a general one is."""
    link = Link()
    link.settled(GROUP[4])
    link.asked(query(4, GROUP[4], version=2))
    assert link.said(SECOND) == [f"is_ex {GROUP[4]}"]


def test_version_1() -> None:
    link, group = Link(), GROUP[4]
    link.settled(group)
    link.asked(query(4, version=1, code=0, alert=False))
    start = link.now
    (answer,) = link.wait(10 * SECOND)
    assert words(answer) == f"v1 {group}"
    link.asked(query(4, version=2))  # the oldest counts
    assert link.said(SECOND) == [f"v1 {group}"]
    socket = link.member(OTHER[4])
    assert link.said(10 * SECOND) == [f"v1 {OTHER[4]}"] * 2
    socket.close()  # it knows no farewell
    assert link.said(200 * SECOND) == []
    link.asked(query(4, version=2))
    assert link.said(start + 260 * SECOND - link.now) == [f"v1 {group}"]
    link.asked(query(4))
    assert link.said(SECOND) == [f"v2 {group}"]


def test_the_families_speak_for_themselves() -> None:
    link = Link()
    link.settled(GROUP[4], GROUP[6])
    link.asked(query(4, version=2))
    link.asked(query(6))
    assert sorted(link.said(SECOND)) == [f"is_ex {GROUP[6]}", f"v2 {GROUP[4]}"]


def test_what_was_to_be_said_in_another_version_is_not_said() -> None:
    link = Link()
    link.member(GROUP[4])
    assert link.said() == [f"to_ex {GROUP[4]}"]
    link.asked(query(4, OTHER[4], version=2))
    link.asked(query(4, version=2))
    assert link.said(10 * SECOND) == [f"v2 {GROUP[4]}"]


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_many_changes_at_once() -> None:
    """Those that are too many are told once."""
    link = Link()
    reporter = link.host.reporting.reporters[4]
    for n in range(MOST_CHANGES + 100):
        link.member(f"239.1.{n // 250}.{n % 250}")
    assert len(reporter.changes) == MOST_CHANGES
    assert len(link.take()) == MOST_CHANGES + 100
    link.wait(5 * SECOND)
    assert not reporter.changes
    assert len(reporter.groups) == MOST_CHANGES + 100


def test_many_sources() -> None:
    link, group = Link(), GROUP[4]
    (socket,) = link.settled(group)
    reporter = link.host.reporting.reporters[4]
    for n in range(500):
        source = f"192.0.2.{n % 250}"
        source_option(socket, BLOCK, source)
        source_option(socket, UNBLOCK, source)
        assert len(reporter.changes[parse_address(group)].sources) <= 2
    assert len(link.take()) == 1000
    assert link.said(5 * SECOND) == [f"allow {group} 192.0.2.249"]
    for n in range(4):
        link.asked(query(4, group, tuple(f"10.0.{n}.{m}" for m in range(200)), code=0xFF))
        assert len(reporter.answers[parse_address(group)].sources) <= MOST_SOURCES
    assert link.said(4000 * SECOND) == [f"is_ex {group}"]


def test_many_queries() -> None:
    link = Link()
    link.settled(*(f"239.1.1.{n}" for n in range(20)))
    reporter = link.host.reporting.reporters[4]
    link.asked(query(4, version=2, code=255))
    for n in range(2000):
        link.asked(query(4, version=2, code=255 - n % 255))
        assert len(reporter._timers) <= 2 * 20 + 65
    assert len(link.said(30 * SECOND)) == 20


# -- seeing it -------------------------------------------------------------------------------------------------------


def test_why_a_report_is_sent() -> None:
    link = Link()
    reasons = []
    link.member(GROUP[4])
    for _ in range(2):
        assert link.host.transmit(link.now) is not None
        reasons.append(link.host.sent_for)
        link.wait(5 * SECOND)
        link.asked(query(4))
        link.now = link.host.next_timer() or 0
        link.host.on_timer(link.now)
    assert reasons == [Match.MEMBERSHIP_CHANGE, Match.MEMBERSHIP_QUERY]


def test_why_tells_of_a_query() -> None:
    link = Link()
    link.settled(GROUP[4])
    verdict = why(link.host, Packet(query(4, code=100)), link.now)
    assert (verdict.kind, verdict.reason) == ("match", "MEMBERSHIP_QUERY")
    (effect,) = verdict.effects
    assert effect.startswith("the next report follows in ")
    assert link.said(10 * SECOND) == []  # it was only a question
    assert why(Link().host, Packet(query(4)), link.now).effects == ["no group to report"]


def test_it_is_the_same_with_the_same_seed() -> None:
    def run() -> list[bytes]:
        link = Link()
        link.settled(GROUP[4], OTHER[4])
        link.asked(query(4, version=2, code=100))
        return [seen.raw for seen in link.wait(10 * SECOND)]

    assert run() == run()


def test_a_host_without_groups_draws_no_number() -> None:
    link = Link()
    before = link.host.random.getstate()
    link.asked(query(4))
    link.asked(query(4, version=2))
    link.asked(query(6, src=ROUTER6))
    link.quiet(udp(b"x", dst=GROUP[4]))
    assert link.host.random.getstate() == before
    assert link.host.next_timer() is None
