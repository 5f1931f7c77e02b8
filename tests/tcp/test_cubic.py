"""CUBIC (RFC 9438) against its formulas, and HyStart++ (RFC 9406)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from netemu.tcp.congestion.base import INFINITE, Sample
from netemu.tcp.congestion.cubic import Cubic
from netemu.tcp.congestion.hystart import HyStart
from netemu.tcp.congestion.newreno import NewReno

MS, SECOND = 1_000_000, 1_000_000_000
MSS = 1000


def after_loss(cwnd: int = 100, rtt: int = 100 * MS) -> Cubic:
    """One that has just left recovery; ``cwnd``: segments before the loss."""
    cc = Cubic(MSS)
    cc.on_rtt(rtt, 0)
    cc.cwnd = cwnd * MSS
    cc.on_loss(cc.cwnd, 0)
    cc.cwnd = cc.ssthresh
    return cc


def run(cc: Cubic | NewReno, seconds: float, rtt: int = 100 * MS, start: int = 0) -> int:
    """A window full of segments acknowledged each round trip, one by one: the time at the end."""
    now, end = start, start + int(seconds * SECOND)
    while now < end:
        window = max(1, cc.cwnd // MSS)
        for i in range(window):
            cc.on_ack(MSS, now + i * rtt // window)
        now += rtt
    return now


# -- the window's curve (RFC 9438 4.2 to 4.5) ------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1, 2, 3, 4, 5, 6, 8, 10])
def test_the_window_is_the_cubic_function_of_time(seconds: int) -> None:
    """4.2: W_cubic(t) = C (t - K)^3 + W_max, K = cbrt((W_max - cwnd_epoch) / C); on a path where Reno would be slower."""
    cc = after_loss(200)
    end = run(cc, seconds)
    k = ((200 - 140) / 0.4) ** (1 / 3)
    expected = 0.4 * (end / SECOND - k) ** 3 + 200
    assert cc.cwnd / MSS == pytest.approx(expected, rel=0.02)


def test_it_is_concave_up_to_the_last_maximum_and_convex_behind_it() -> None:
    """4.4, 4.5."""
    cc, now, windows = after_loss(200), 0, []
    for _ in range(100):
        now = run(cc, 0.1, start=now)
        windows.append(cc.cwnd)
    steps = [b - a for a, b in pairwise(windows)]
    k = int(((200 - 140) / 0.4) ** (1 / 3) * 10)
    assert steps[0] > steps[k // 2] > steps[k - 5]
    assert steps[k + 5] < steps[k + 20] < steps[-1]


def test_the_curve_does_not_depend_on_the_round_trip_time() -> None:
    """RFC 9438 3.3: flows of different round-trip times that lose at the same time grow alike."""
    short, long = after_loss(400, 50 * MS), after_loss(400, 200 * MS)
    run(short, 8, 50 * MS)
    run(long, 8, 200 * MS)
    assert short.cwnd == pytest.approx(long.cwnd, rel=0.03)


def test_never_more_than_half_again_a_round_trip() -> None:
    """4.2: target is at most 1.5 cwnd."""
    cc = after_loss(20)
    cc.on_ack(MSS, 0)
    before = cc.cwnd
    for i in range(cc.cwnd // MSS):
        cc.on_ack(MSS, 100 * SECOND + i)
    cc._last = 100 * SECOND
    assert cc.cwnd <= 1.5 * before + MSS


def test_friendly_to_reno_where_reno_is_faster() -> None:
    """4.3: on a short path it has at least the window that AIMD(alpha, beta) has: alpha segments a round trip."""
    rtt = 2 * MS
    cc = after_loss(20, rtt)
    run(cc, 0.1, rtt)
    alpha = 3 * (1 - 0.7) / (1 + 0.7)
    assert cc.cwnd / MSS == pytest.approx(14 + 50 * alpha, rel=0.1) or cc.cwnd / MSS > 14 + 50 * alpha
    only_cubic = 0.4 * (0.1 - ((20 - 14) / 0.4) ** (1 / 3)) ** 3 + 20
    assert cc.cwnd / MSS > only_cubic + 5


def test_time_without_a_full_window_does_not_count() -> None:
    """4.2: an application that sends nothing for a while does not find its window grown by that time."""
    rests, goes_on = after_loss(200), after_loss(200)
    now = run(rests, 2)
    run(goes_on, 2)
    run(rests, 2, start=now + 60 * SECOND)
    run(goes_on, 2, start=now)
    assert rests.cwnd == pytest.approx(goes_on.cwnd, rel=0.03)


# -- congestion (4.6 to 4.9) -----------------------------------------------------------------------------------------------


def test_a_loss_leaves_seven_tenths() -> None:
    """4.6: beta_cubic."""
    cc = after_loss(100)
    assert cc.ssthresh == 70 * MSS
    cc.cwnd = 2 * MSS
    cc.on_loss(2 * MSS, 0)
    assert cc.ssthresh == 2 * MSS


def test_fast_convergence() -> None:
    """4.7: a second loss below W_max makes room: the new W_max is 0.85 of the window, and growth slows down there."""
    cc = after_loss(100)
    cc.cwnd = 80 * MSS
    cc.on_loss(cc.cwnd, 0)
    assert cc._w_max == pytest.approx(80 * 1.7 / 2)
    cc.cwnd = 90 * MSS
    cc.on_loss(cc.cwnd, 0)
    assert cc._w_max == 90


def test_timeout() -> None:
    """4.8: one segment, ssthresh as after any loss; behind slow start a new epoch begins."""
    cc = after_loss(100)
    cc.cwnd = 100 * MSS
    cc.on_timeout(cc.cwnd, 0, first=True)
    assert (cc.cwnd, cc.ssthresh) == (MSS, 70 * MSS)
    run(cc, 1, start=1 * SECOND)
    assert cc.cwnd >= 70 * MSS


def test_undo() -> None:
    """4.9: after a loss that was none cwnd is as it was, and ssthresh no lower; a second undo does nothing."""
    cc = after_loss(100)
    cc.cwnd = 120 * MSS
    cc.on_loss(cc.cwnd, 0)
    cc.cwnd = cc.ssthresh
    cc.undo()
    assert (cc.cwnd, cc.ssthresh) == (120 * MSS, 84 * MSS)
    cc.cwnd = 50 * MSS
    cc.undo()
    assert cc.cwnd == 50 * MSS


# -- HyStart++ (RFC 9406) --------------------------------------------------------------------------------------------------


def rounds(hystart: HyStart, *rtts_ms: float, count: int = 8) -> list[bool]:
    """One round of ``count`` samples for each round-trip time: was it over in that round?"""
    seen = []
    for rtt in rtts_ms:
        over = [hystart.is_over(Sample(int(rtt * MS), 0, 0, 0, 0, False, i == 0)) for i in range(count)]
        seen.append(any(over))
    return seen


def test_slow_start_goes_on_while_the_round_trip_time_stays() -> None:
    hystart = HyStart()
    assert not any(rounds(hystart, *[50] * 20))
    assert hystart.divisor == 1


@pytest.mark.parametrize(("base", "threshold"), [(10, 4), (80, 10), (400, 16)])
def test_conservative_slow_start(base: float, threshold: float) -> None:
    """4.2: from an RTT of lastRoundMinRTT + clamp(4 ms, lastRoundMinRTT / 8, 16 ms) on, growth is a quarter."""
    hystart = HyStart()
    rounds(hystart, base, base + threshold - 0.1)
    assert hystart.divisor == 1
    hystart = HyStart()
    rounds(hystart, base, base + threshold)
    assert hystart.divisor == 4


def test_eight_samples_are_needed() -> None:
    hystart = HyStart()
    rounds(hystart, 50, 90, count=7)
    assert hystart.divisor == 1


def test_five_rounds_of_it_and_slow_start_is_over() -> None:
    hystart = HyStart()
    assert rounds(hystart, 50, *[60] * 6) == [False] * 6 + [True]


def test_a_burst_was_mistaken_for_a_queue() -> None:
    """4.2: when the RTT falls below the baseline, slow start resumes."""
    hystart = HyStart()
    rounds(hystart, 50, 60, 60, 52)
    assert hystart.divisor == 1


def test_cubic_leaves_slow_start_by_it() -> None:
    """And grows by a quarter in the meantime; afterwards no samples are asked for."""
    cc = Cubic(MSS)
    assert cc.samples_from == 8 * MSS

    def one_round(rtt: int) -> None:
        for i in range(8):
            cc.on_sample(Sample(rtt * MS, 0, 0, 0, 0, False, i == 0), 0)

    one_round(50)
    cc.on_ack(10 * MSS, 0)
    assert cc.cwnd == 20 * MSS
    one_round(60)
    cc.on_ack(20 * MSS, 0)
    assert cc.cwnd == 25 * MSS
    for _ in range(5):
        one_round(60)
    assert cc.ssthresh == cc.cwnd == 25 * MSS
    assert cc.samples_from == INFINITE


def test_it_ends_with_the_first_loss() -> None:
    """4.3: only the initial slow start has it."""
    assert after_loss().samples_from == INFINITE
