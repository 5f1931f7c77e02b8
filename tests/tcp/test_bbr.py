"""BBR's model and states (draft-cardwell-iccrg-bbr-congestion-control-00), and pacing."""

from __future__ import annotations

import pytest
from wire_end import MS, established

from netemu.tcp.congestion.base import Sample
from netemu.tcp.congestion.bbr import Bbr, Mode

SECOND = 1_000_000_000
MSS = 1000
RTT = 20 * MS


class Path:
    """A path of ``rate`` bytes a second and RTT, as BBR sees it: one sample a round."""

    def __init__(self, rate: int = 1_000_000) -> None:
        self.cc = Bbr(MSS)
        self.rate, self.now = rate, SECOND

    def round(self, count: int = 1, *, limited: bool = False, flight: int | None = None, rtt: int = RTT) -> None:
        for _ in range(count):
            self.now += rtt
            most = self.rate * rtt // SECOND
            delivered = min(self.cc.cwnd, most)
            inside = self.cc.cwnd if flight is None else flight
            self.cc.on_sample(Sample(rtt, delivered, rtt, delivered, inside, limited, True), self.now)


def test_startup_ends_when_three_rounds_bring_no_more() -> None:
    """4.3.2.2, 4.3.3: then it drains what it has queued, and probes."""
    path = Path()
    path.round(2)
    assert not path.cc.filled
    assert path.cc.pacing_rate >= 2 * path.cc.btl_bw
    path.round(6)
    assert path.cc.filled
    assert path.cc.mode is Mode.DRAIN
    assert path.cc.pacing_rate < path.cc.btl_bw
    path.round(flight=20_000)
    assert path.cc.mode is Mode.PROBE_BW
    assert path.cc.btl_bw == 1_000_000
    assert path.cc.rt_prop == RTT


def probing(rate: int = 1_000_000) -> Path:
    path = Path(rate)
    path.round(8)
    path.round(flight=20_000)
    assert path.cc.mode is Mode.PROBE_BW
    return path


def test_startup_does_not_end_for_want_of_data() -> None:
    path = Path()
    path.round(2)
    path.round(20, limited=True)
    assert path.cc.mode is Mode.STARTUP


def test_the_window_is_two_bandwidth_delay_products_and_three_bursts() -> None:
    """4.2.3.2."""
    path = probing()
    path.round(30, flight=25_000)
    assert 40_000 <= path.cc.cwnd <= 40_000 + 3 * 2 * MSS


def test_the_gains_of_a_cycle() -> None:
    """4.3.4.3: eight phases of a round trip: a quarter more, a quarter less, six as it is."""
    path = probing()
    seen = []
    for _ in range(24):
        path.round(flight=25_000, rtt=RTT + MS)
        seen.append(round(path.cc.pacing_rate / path.cc.btl_bw, 2))
    assert seen.count(1.25) == 3
    assert seen.count(0.75) == 3
    assert seen.count(1.0) == 18


def test_less_bandwidth_is_believed_after_ten_rounds() -> None:
    path = probing()
    path.rate = 500_000
    path.round(8, flight=25_000)
    assert path.cc.btl_bw == 1_000_000
    path.round(3, flight=25_000)
    assert path.cc.btl_bw == 500_000


def test_app_limited_samples_do_not_lower_it() -> None:
    path = probing()
    path.rate = 100_000
    path.round(30, limited=True, flight=2000)
    assert path.cc.btl_bw == 1_000_000


def test_it_looks_at_the_bare_path_each_ten_seconds() -> None:
    """4.3.5: four segments in flight for 200 ms, then the window as it was."""
    path = probing()
    path.round(20, flight=25_000, rtt=RTT + 5 * MS)
    before = path.cc.cwnd
    while path.cc.mode is not Mode.PROBE_RTT:
        path.round(flight=25_000, rtt=RTT + 5 * MS)
        assert path.now < 20 * SECOND
    assert path.cc.cwnd == 4 * MSS
    assert path.cc.rt_prop == RTT + 5 * MS
    path.round(flight=4000)
    path.round(9, flight=4000)
    assert path.cc.mode is Mode.PROBE_RTT
    path.round(2, flight=4000)
    assert path.cc.mode is not Mode.PROBE_RTT
    assert path.cc.cwnd == pytest.approx(before, rel=0.1)
    assert path.cc.rt_prop == RTT


def test_a_loss_changes_nothing() -> None:
    path = probing()
    path.round(10, flight=25_000)
    cwnd, rate = path.cc.cwnd, path.cc.pacing_rate
    path.cc.on_loss(25_000, path.now)
    assert (path.cc.cwnd, path.cc.ssthresh, path.cc.pacing_rate) == (cwnd, cwnd, rate)


def test_a_pause_keeps_the_window() -> None:
    path = probing()
    path.round(10, flight=25_000)
    before = path.cc.cwnd
    path.cc.on_idle(5 * SECOND, SECOND)
    assert path.cc.cwnd == before
    assert path.cc.pacing_rate == path.cc.btl_bw


# -- pacing ----------------------------------------------------------------------------------------------------------------


def test_segments_leave_at_the_rate_that_is_asked_for() -> None:
    """After a pause a quantum, 1 ms, is made up for."""
    end = established(wnd=60_000, max_pacing_rate=100_000)
    end.connection.write(b"x" * 10_000)
    assert len(end.expect_all()) == 1
    for i in range(9):
        assert end.wait() == (10 if i else 9)
        assert len(end.expect_all()) == 1
    end.nothing()


def test_a_fast_flow_needs_a_timer_a_millisecond_at_most() -> None:
    end = established(wnd=60_000, max_pacing_rate=5_000_000)
    end.connection.write(b"x" * 10_000)
    assert len(end.expect_all()) == 6  # 0.2 ms each, and a quantum's worth after the pause
    assert end.wait() == 1
    assert len(end.expect_all()) == 4


def test_an_ack_does_not_wait() -> None:
    end = established(wnd=60_000, max_pacing_rate=1000)
    end.connection.write(b"x" * 3000)
    assert len(end.expect_all()) == 1
    end.send("F.")
    end.expect(".")


def test_without_a_limit_nothing_is_paced() -> None:
    end = established(wnd=60_000)
    assert end.connection.pacer is None
    assert end.connection.deadline_pace > 1 << 60
