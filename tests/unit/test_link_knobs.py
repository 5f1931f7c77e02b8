"""Each knob of a link by itself, in virtual time, with a fixed seed: that it does what its words say."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean, pstdev

import pytest
from link_bench import MS, SECOND, asked, direction, drain, exchange
from link_packets import number_of, tcp, udp

from netemu.link import ecn
from netemu.link.direction import Direction
from netemu.link.impairments import Impairments
from netemu.link.link import Link
from netemu.link.traces import parse_trace
from netemu.reasons import LinkDrop
from netemu.wire import icmp, ipv4, ipv6
from netemu.wire.checksum import is_valid
from netemu.wire.ip import ICMP, ICMPV6, IpPacket, pseudo_sum
from netemu.wire.packet import Packet
from netemu.wire.slices import count, split

N = 20_000


def lost_of(words: str, number: int = N) -> list[bool]:
    """Of so many packets: is it lost?"""
    came = {number for _, number in exchange(direction(words), range(number))}
    return [each not in came for each in range(number)]


def correlation(events: list[bool]) -> float:
    """Of one with the next."""
    share = fmean(events)
    both = fmean(a and b for a, b in pairwise(events))
    return (both - share * share) / (share - share * share)


# -- loss ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.0, 0.25, 0.6])
def test_correlated_loss_keeps_its_share_and_has_its_correlation(rho: float) -> None:
    lost = lost_of(f"loss 5% {rho * 100}%", 40_000)
    assert fmean(lost) == pytest.approx(0.05, abs=0.008)
    assert correlation(lost) == pytest.approx(rho, abs=0.04)


def test_gilbert_elliott_loses_in_bursts_of_its_length() -> None:
    lost = lost_of("loss gemodel 1% 20%", 40_000)
    bursts = "".join("x" if each else " " for each in lost).split()
    assert fmean(map(len, bursts)) == pytest.approx(5, abs=0.6)  # 1 / r
    assert fmean(lost) == pytest.approx(0.01 / 0.21, abs=0.01)


def test_gilbert_elliott_may_lose_in_the_good_state_and_pass_in_the_bad() -> None:
    assert fmean(lost_of("loss gemodel 10% 10% 60% 20%")) == pytest.approx(0.4, abs=0.03)


def test_the_four_states_are_left_and_come_to_as_asked() -> None:
    """State 1 with p13 2 %, p14 1 %; bursts in which 60 % are followed by a good packet: shares by the balance of flows."""
    lost = lost_of("loss state 2% 10% 60% 50% 1%", 60_000)
    visits = {1: 1 / 0.03}  # packets per stay in state 1, and then: 2 of 3 go to a burst, 1 of 3 is lost alone
    bursts, alone = 2 / 3, 1 / 3
    in_burst = bursts * (1 / 0.1)  # each lost packet of a burst is its last with 10 %
    received_in_burst = in_burst * 0.6 / 0.5
    expected = (in_burst + alone) / (visits[1] + in_burst + alone + received_in_burst)
    assert fmean(lost) == pytest.approx(expected, abs=0.02)


def test_what_would_be_lost_is_marked_where_ecn_is_asked() -> None:
    link = direction("loss 100% ecn")
    for tos in (0, 1, 2, 3):
        link.send(udp(tos, tos=tos), 0)
        link.send(udp(tos, tos=tos, version=6), 0)
    out = [packet for _, packet in drain(link)]
    assert [ecn.codepoint(packet) for packet in out] == [ecn.CE] * 6
    assert all(isinstance(ipv4.parse(bytes(packet)), IpPacket) for packet in out[::2])
    assert link.stats.dropped == {LinkDrop.LOSS: 2}
    assert link.stats.marked == 6


# -- copies and damage --------------------------------------------------------------------------------------------------


def test_duplicates_are_counted_and_equal() -> None:
    link = direction("duplicate 10%")
    came = exchange(link, range(N))
    assert link.stats.duplicated == len(came) - N
    assert link.stats.duplicated / N == pytest.approx(0.1, abs=0.01)
    assert link.stats.packets_out == len(came)


def test_one_bit_is_flipped_and_no_checksum_hides_it() -> None:
    link = direction("corrupt 100%")
    for version in (4, 6):
        sent = tcp(1000, version=version)
        link.send(sent, 0)
        ((_, packet),) = drain(link)
        wire, damaged = bytes(sent), bytes(packet)
        differing = [a ^ b for a, b in zip(wire, damaged, strict=True)]
        assert sum(each.bit_count() for each in differing) == 1
        start = 20 if version == 4 else 40
        assert differing.index(max(differing)) >= start
        ip = ipv4.parse(damaged) if version == 4 else ipv6.parse(damaged)
        assert isinstance(ip, IpPacket)
        assert not is_valid(damaged[start:], pseudo_sum(ip.src, ip.dst, ip.protocol, ip.end - start))
        assert not packet.csum_start
    assert link.stats.corrupted == 2


def test_only_the_slices_that_something_happens_to_leave_a_super_packet() -> None:
    link = direction("corrupt 5% duplicate 5%", seed=5)
    packet = tcp(44_000, 1000)
    link.send(packet, 0)
    out = [packet for _, packet in drain(link)]
    assert link.stats.corrupted
    assert link.stats.duplicated
    assert sum(map(count, out)) == 44 + link.stats.duplicated
    assert len(out) <= 1 + 2 * (link.stats.corrupted + link.stats.duplicated) + link.stats.duplicated
    changed = {bytes(piece) for packet in out for piece in split(packet)} - {bytes(piece) for piece in split(packet)}
    assert len(changed) == link.stats.corrupted


# -- delay --------------------------------------------------------------------------------------------------------------


def delays(words: str, number: int = N) -> list[float]:
    """In ms, of packets far enough apart that none has to do with another."""
    link = direction(words)
    return [(when - number * SECOND) / MS for when, number in exchange(link, range(0, number * SECOND, SECOND))]


@pytest.mark.parametrize(
    ("words", "mean", "deviation"),
    [
        ("delay 50ms 10ms", 50, 10 / 3**0.5),
        ("delay 50ms 10ms distribution normal", 50, 10),
        ("delay 50ms 10ms distribution pareto", 50, 10),
        ("delay 50ms 10ms 50% distribution normal", 50, 10),
    ],
)
def test_jitter_has_its_mean_and_deviation(words: str, mean: float, deviation: float) -> None:
    drawn = delays(words)
    assert fmean(drawn) == pytest.approx(mean, abs=0.4)
    assert pstdev(drawn) == pytest.approx(deviation, rel=0.12)


def test_correlated_jitter_keeps_its_distribution_and_has_its_correlation() -> None:
    drawn = delays("delay 50ms 10ms 80%")
    assert min(drawn) < 40.1
    assert max(drawn) > 59.9
    quarters = [sum(40 + 5 * i <= each < 45 + 5 * i for each in drawn) / N for i in range(4)]
    assert quarters == pytest.approx([0.25] * 4, abs=0.03)
    mean, variance = fmean(drawn), pstdev(drawn) ** 2
    lag = fmean((a - mean) * (b - mean) for a, b in pairwise(drawn)) / variance
    assert lag == pytest.approx(0.8, abs=0.03)


def test_jitter_reorders_unless_order_is_to_be_kept() -> None:
    numbers = [number for _, number in exchange(direction("delay 10ms 5ms"), range(0, 500 * MS, MS))]
    assert numbers != sorted(numbers)
    kept = exchange(direction("delay 10ms 5ms keep-order"), range(0, 500 * MS, MS))
    assert [number for _, number in kept] == list(range(500))
    assert all(5 * MS <= when - number * MS <= 15 * MS for when, number in kept)


def test_each_slice_of_a_super_packet_has_jitter_of_its_own() -> None:
    whole, single = direction("delay 10ms 5ms"), direction("delay 10ms 5ms")
    packet = tcp(20_000, 1000)
    whole.send(packet, 0)
    for piece in split(packet):
        single.send(piece, 0)
    assert [(when, bytes(p)) for when, p in drain(whole)] == [(when, bytes(p)) for when, p in drain(single)]


# -- reordering ---------------------------------------------------------------------------------------------------------


def test_a_share_of_the_packets_does_not_wait() -> None:
    link = direction("delay 10ms reorder 25%")
    came = exchange(link, range(0, N * MS, MS))
    early = [number for when, number in came if when == number * MS]
    assert len(early) / N == pytest.approx(0.25, abs=0.02)
    assert all(when - number * MS in (0, 10 * MS) for when, number in came)
    assert 0 < link.stats.reordered <= len(early)


def test_every_gth_packet_does_not_wait() -> None:
    came = exchange(direction("delay 10ms gap 5"), range(0, 100 * MS, MS))
    assert sorted(number for when, number in came if when == number * MS) == list(range(4, 100, 5))


# -- rate ---------------------------------------------------------------------------------------------------------------


def test_overhead_and_cells_count() -> None:
    ((when, _),) = exchange(direction("rate 1mbit 10 48 5"), [0], size=100)
    assert when == 3 * 53 * 8 * 1000  # 110 bytes are three cells
    ((when, _),) = exchange(direction("rate 1mbit -20"), [0], size=100)
    assert when == 80 * 8 * 1000


def test_the_rate_is_measured_as_asked() -> None:
    link = direction("rate 10mbit")
    exchange(link, [0] * 500, size=1250)
    assert link.stats.rate == pytest.approx(10e6, rel=0.001)
    assert link.stats.sojourn.percentile(100) == pytest.approx(499 * MS, rel=0.07)


def test_a_trace_lets_packets_through_at_its_times() -> None:
    trace = parse_trace("2\n5\n10\n", "t")
    link = Direction("lan/in", 1, Impairments(trace=trace))
    assert [when for when, _ in exchange(link, [SECOND] * 4, size=1500)] == [
        SECOND + 2 * MS, SECOND + 5 * MS, SECOND + 10 * MS, SECOND + 12 * MS,
    ]  # fmt: skip


def test_a_trace_of_steps_changes_delay_and_loss() -> None:
    trace = parse_trace("time_s,delay_ms,loss_percent\n0,10,0\n1,20,100\n2,30,0\n", "t")
    link = Direction("lan/in", 1, Impairments(trace=trace))
    came = exchange(link, [0, 500 * MS, 1500 * MS, 2500 * MS])
    assert came == [(10 * MS, 0), (510 * MS, 1), (2530 * MS, 3)]
    assert link.stats.dropped == {LinkDrop.LOSS: 1}


# -- slots, limits, up and down -----------------------------------------------------------------------------------------


def test_packets_gather_until_the_slot_opens() -> None:
    came = exchange(direction("slot 10ms"), [0, 3 * MS, 9 * MS, 11 * MS, 40 * MS])
    assert came == [(10 * MS, 0), (10 * MS, 1), (10 * MS, 2), (21 * MS, 3), (50 * MS, 4)]


def test_a_slot_carries_so_many_packets_or_bytes() -> None:
    for words in ("slot 10ms packets 2", "slot 10ms bytes 150"):
        assert [when for when, _ in exchange(direction(words), [0] * 5)] == [10 * MS] * 2 + [20 * MS] * 2 + [30 * MS]
    link = direction("slot 10ms packets 2")
    link.send(tcp(5000, 1000), 0)
    assert [count(packet) for _, packet in drain(link)] == [2, 2, 1]


def test_slots_are_as_long_as_asked() -> None:
    opened = [when for when, _ in exchange(direction("slot 10ms 20ms"), range(0, 1000 * SECOND, SECOND))]
    waits = [when % SECOND for when in opened]
    assert min(waits) >= 10 * MS
    assert max(waits) <= 20 * MS
    assert fmean(waits) == pytest.approx(15 * MS, rel=0.03)


def test_the_limit_counts_all_that_is_under_way() -> None:
    link = direction("limit 10 delay 1s")
    for number in range(7):
        link.send(udp(number), 0)
    link.send(tcp(5000, 1000), 0)
    assert link.stats.dropped == {LinkDrop.LIMIT: 2}
    assert link.in_flight == 10
    waiting = direction("limit 4 rate 8kbit")
    exchange(waiting, [0] * 6)
    assert waiting.stats.dropped == {LinkDrop.LIMIT: 2}


def test_a_link_that_is_down_carries_nothing_and_keeps_what_it_has() -> None:
    link = direction("delay 10ms")
    link.send(udp(1), 0)
    link.change(asked("delay 10ms down"), MS)
    link.send(udp(2), MS)
    link.change(asked("delay 10ms"), 2 * MS)
    link.send(udp(3), 2 * MS)
    assert [number_of(packet) for _, packet in drain(link)] == [1, 3]
    assert link.stats.dropped == {LinkDrop.DOWN: 1}


def test_a_link_flaps() -> None:
    came = exchange(direction("flap 30ms 10ms"), range(5 * MS, 105 * MS, 5 * MS))
    assert [number for _, number in came] == [*range(6), *range(8, 14), *range(16, 20)]


# -- MTU ----------------------------------------------------------------------------------------------------------------


def answers_of(link: Direction, packet: Packet) -> list[bytes]:
    answers: list[bytes] = []
    link.on_answer = lambda answer, now: answers.append(bytes(answer))
    link.send(packet, 0)
    return answers


@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_that_is_too_big_is_answered(version: int) -> None:
    link = direction("mtu 1300")
    packet = udp(1, 1400, version, dont_fragment=True)
    (answer,) = answers_of(link, packet)
    ip = ipv4.parse(answer) if version == 4 else ipv6.parse(answer)
    assert isinstance(ip, IpPacket)
    sent = bytes(packet)
    addresses = (sent[12:16], sent[16:20]) if version == 4 else (sent[8:24], sent[24:40])
    assert (ip.src, ip.dst) == addresses[::-1]
    assert ip.protocol == (ICMP if version == 4 else ICMPV6)
    message = icmp.parse(answer, ip)
    assert isinstance(message, icmp.Message)
    assert (message.type, message.code) == ((3, 4) if version == 4 else (2, 0))
    assert message.rest == 1300
    assert sent.startswith(message.body)
    assert drain(link) == []
    assert link.stats.dropped == {LinkDrop.TOO_BIG: 1}
    assert link.stats.answered == 1
    signed = direction("mtu 1300")
    signed.address = {4: b"\xc0\0\2\x09", 6: bytes(15) + b"\x09"}
    assert signed.address[version] in answers_of(signed, packet)[0][:24]


def test_a_black_hole_says_nothing() -> None:
    link = direction("mtu 1300 silent")
    assert answers_of(link, udp(1, 1400, dont_fragment=True)) == []
    assert link.stats.dropped == {LinkDrop.TOO_BIG: 1}


def test_an_icmp_error_is_not_answered() -> None:
    link = direction("mtu 1300")
    body = icmp.emit(b"\xc0\0\2\1", b"\xc0\0\2\2", icmp.UNREACHABLE, icmp.PORT, 0, bytes(1400))
    assert answers_of(link, Packet(ipv4.header(b"\xc0\0\2\1", b"\xc0\0\2\2", ICMP, len(body)) + body)) == []


def test_what_may_be_fragmented_is() -> None:
    link = direction("mtu 600")
    assert answers_of(link, udp(1, 1400)) == []
    pieces = [bytes(packet) for _, packet in drain(link)]
    assert [len(piece) for piece in pieces] == [596, 596, 248]
    assert b"".join(piece[20:] for piece in pieces) == bytes(udp(1, 1400))[20:]
    assert link.stats.fragmented == 1


def test_of_a_super_packet_only_what_fits_goes_on_and_one_answer_comes() -> None:
    link = direction("mtu 700")
    assert len(answers_of(link, tcp(3500, 1000))) == 1
    ((_, packet),) = drain(link)
    assert len(packet) == 540
    assert link.stats.dropped == {LinkDrop.TOO_BIG: 3}


# -- live ---------------------------------------------------------------------------------------------------------------


def test_a_knob_that_is_turned_does_not_disturb_another() -> None:
    plain, turned = direction("loss 10%"), direction("loss 10%")
    first = exchange(plain, range(1000))
    others = ["duplicate 30%", "corrupt 1% duplicate 9%", "delay 1us 1us", ""]
    second = []
    for number in range(1000):
        if number % 100 == 50:
            turned.change(asked(f"loss 10% {others[number // 100 % 4]}"), number)
        turned.send(udp(number), number)
        second += [number_of(packet) for _, packet in drain(turned)]
    assert sorted(set(second)) == [number for _, number in first]


def test_a_new_seed_begins_anew_with_all_that_is_asked() -> None:
    link = direction("loss 100%")
    exchange(link, [0])
    link.change(asked("seed 3"), 1)
    assert len(exchange(link, [1, 2])) == 2
    link.change(asked("delay 5ms"), 3)
    assert exchange(link, [3]) == [(3 + 5 * MS, 0)]


def test_a_seed_of_its_own_makes_other_decisions_and_the_same_twice() -> None:
    assert lost_of("loss 10% seed 1", 500) == lost_of("loss 10% seed 1", 500)
    assert lost_of("loss 10% seed 1", 500) != lost_of("loss 10% seed 2", 500)


def test_a_queue_that_is_changed_keeps_what_waits() -> None:
    link = direction("rate 1mbit queue droptail limit 100p")
    for number in range(50):
        link.send(udp(number, 125), 0)
    link.change(asked("rate 1mbit queue codel limit 10p"), MS)
    assert [number_of(packet) for _, packet in drain(link)] == list(range(50))


def test_rows_say_what_was_asked_and_measured() -> None:
    link = Link("lan", ("a", "b"), 1, asked("delay 20ms loss 10%"), asked("rate 1mbit"))
    exchange(link.inward, range(1000))
    exchange(link.outward, [0] * 100)
    inward, outward = link.rows()
    assert (inward.link, inward.direction, inward.source, inward.destination) == ("lan", "in", "a", "b")
    assert (outward.source, outward.destination, outward.words) == ("b", "a", "rate 1mbit")
    assert inward.words == "delay 20ms loss 10%"
    assert inward.packets_in == 1000 == inward.packets_out + inward.dropped["LOSS"]
    assert inward.delay_asked == inward.delay_measured == 20 * MS
    assert (inward.delay_error.p99, inward.late) == (0, 0)
    assert outward.rate_asked == 1_000_000
    assert outward.rate_measured == pytest.approx(1e6, rel=0.001)
    assert outward.sojourn.p50 == pytest.approx(100 * 8 * 49_500, rel=0.08)


def test_what_is_measured_is_of_what_is_asked_now() -> None:
    link = Link("lan", ("a", "b"), 1, asked("delay 20ms rate 1mbit"))
    now, _ = exchange(link.inward, [0] * 100)[-1]
    link.inward.change(asked("delay 5ms rate 10mbit"), now)
    assert link.rows()[0].delay_asked is link.rows()[0].rate_measured is link.rows()[0].sojourn.p50 is None
    exchange(link.inward, [now] * 100)
    row = link.rows()[0]
    assert row.packets_in == row.packets_out == 200
    assert row.delay_asked == row.delay_measured == 5 * MS
    assert row.rate_measured is None  # 100 small packets leave within 100 ms: too short to say
    exchange(link.inward, [SECOND] * 1000)
    assert link.rows()[0].rate_measured == pytest.approx(1e7, rel=0.001)


def test_a_link_that_is_reset_decides_as_a_new_one() -> None:
    def lost(link: Direction, now: int) -> list[int]:
        link.change(asked("loss 50%"), now)
        came = {number for _, number in exchange(link, [now] * 100)}
        return sorted({*range(100)} - came)

    link = direction("")
    first = lost(link, 0)
    assert lost(link, SECOND) != first  # what is asked again goes on
    link.reset(2 * SECOND)
    assert (link.stats.packets_in, link.is_clear) == (0, True)
    assert lost(link, 2 * SECOND) == first


def test_a_packet_that_leaves_behind_its_time_counts_as_late() -> None:
    link = direction("delay 20ms")
    link.send(udp(), 0)
    link.send(udp(), 0)
    link.take(20 * MS + 2 * MS)
    assert link.stats.late == 2
    assert link.stats.lateness.percentile(50) == pytest.approx(2 * MS, rel=0.07)


def test_comments_say_what_was_done() -> None:
    seen: list[str] = []
    link = direction("delay 10ms duplicate 100% corrupt 100% rate 1gbit")
    link.watch = lambda packet, now, what, comment: seen.append(f"{what}: {comment}")
    link.send(udp(size=125), 0)
    drain(link)
    assert seen == ["entered: ", "left: delayed 10.001 ms; corrupted", "left: delayed 10.002 ms; duplicated"]
