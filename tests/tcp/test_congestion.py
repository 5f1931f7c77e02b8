"""Slow start, congestion avoidance and restart (RFC 5681, 3465, 6928). MUST-19. Recovery is in test_recovery.py."""

from __future__ import annotations

import pytest
from wire_end import established

from netemu.tcp.congestion.base import initial_window
from netemu.tcp.congestion.newreno import NewReno
from netemu.tcp.congestion.registry import ALGORITHMS


@pytest.mark.parametrize(("mss", "window"), [(1460, 14600), (1000, 10000), (536, 5360), (4000, 14600), (9000, 18000)])
def test_initial_window(mss: int, window: int) -> None:
    """RFC 6928: min(10·MSS, max(2·MSS, 14600))."""
    assert initial_window(mss) == window
    assert NewReno(mss).cwnd == window


def test_ten_segments_leave_at_first() -> None:
    end = established()
    end.connection.write(b"x" * 30_000)
    assert [s.length for s in end.expect_all()] == [1000] * 10


def test_slow_start() -> None:
    """Every acknowledged byte is one more in flight: the window doubles each round (RFC 3465)."""
    end = established(wnd=65000, sndbuf=1 << 20)
    end.connection.write(b"x" * 100_000)
    for flight in (10, 20, 40):
        sent = end.expect_all()
        assert len(sent) == flight
        for segment in sent:
            end.send(".", ack=segment.end)


def test_slow_start_by_single_acks() -> None:
    end = established(wnd=65000)
    end.connection.write(b"x" * 60_000)
    end.expect_all()
    end.send(".", ack=1001)
    assert len(end.expect_all()) == 2
    end.send(".", ack=3001)
    assert len(end.expect_all()) == 4


def test_congestion_avoidance() -> None:
    """RFC 5681 3.1 by counting bytes: one segment more for each window that is acknowledged."""
    cc = NewReno(1000)
    cc.cwnd = cc.ssthresh = 10_000
    for _ in range(9):
        cc.on_ack(1000, 0)
    assert cc.cwnd == 10_000
    cc.on_ack(1000, 0)
    assert cc.cwnd == 11_000
    for _ in range(6):
        cc.on_ack(2000, 0)
    assert cc.cwnd == 12_000


def test_slow_start_ends_at_ssthresh() -> None:
    cc = NewReno(1000)
    cc.ssthresh = 12_500
    cc.on_ack(5000, 0)
    assert cc.cwnd == 12_500
    cc.on_ack(1000, 0)
    assert cc.cwnd == 12_500


def test_acks_of_single_bytes_do_not_open_the_window() -> None:
    """RFC 3465: ACK division does not pay."""
    end = established(wnd=60000)
    end.connection.write(b"x" * 40_000)
    end.expect_all()
    for i in range(100):
        end.send(".", ack=2 + i)
    assert end.connection.cc.cwnd == 10_100


def test_a_window_that_is_not_used_does_not_grow() -> None:
    """RFC 7661: limited by the application or by the peer."""
    end = established()
    for i in range(20):
        end.connection.write(b"x" * 1000)
        end.expect("P.")
        end.send(".", ack=1001 + 1000 * i)
    assert end.connection.cc.cwnd == 10_000


def test_loss_halves_the_flight() -> None:
    """RFC 5681 equation 4: max(FlightSize/2, 2·SMSS)."""
    cc = NewReno(1000)
    cc.on_loss(17_000, 0)
    assert cc.ssthresh == 8500
    cc.on_loss(3000, 0)
    assert cc.ssthresh == 2000


def test_timeout_is_one_segment() -> None:
    """RFC 5681 3.1; ssthresh is held constant when the same segment expires again."""
    cc = NewReno(1000)
    cc.on_timeout(20_000, 0, first=True)
    assert (cc.cwnd, cc.ssthresh) == (1000, 10_000)
    cc.on_timeout(1000, 0, first=False)
    assert (cc.cwnd, cc.ssthresh) == (1000, 10_000)


def test_restart_after_idleness() -> None:
    """RFC 5681 4.1: nothing sent for an RTO, so back to the initial window; the time since the last ACK we sent is no matter."""
    end = established(wnd=60_000)
    end.connection.write(b"x" * 50_000)
    while sent := end.expect_all():
        end.send(".", ack=sent[-1].end)
    assert end.connection.cc.cwnd >= 30_000
    for _ in range(3):
        end.advance(150)
        end.send(".", b"y" * 2500)  # which we acknowledge: it is no data of ours
        end.expect(".")
    end.connection.write(b"x" * 40_000)
    assert sum(s.length for s in end.expect_all()) == 10_000


def test_no_restart_without_idleness() -> None:
    end = established(wnd=60_000)
    end.connection.write(b"x" * 50_000)
    while sent := end.expect_all():
        end.send(".", ack=sent[-1].end)
    end.advance(100)
    end.connection.write(b"x" * 40_000)
    assert sum(s.length for s in end.expect_all()) > 20_000


def test_idleness_does_not_widen_a_small_window() -> None:
    """The restart window is min(IW, cwnd)."""
    cc = NewReno(1000)
    cc.cwnd = 3000
    cc.on_idle(10**10, 10**9)
    assert cc.cwnd == 3000


def test_smaller_segments_keep_their_number() -> None:
    cc = NewReno(1000)
    cc.on_mss(500)
    assert (cc.cwnd, cc.mss) == (5000, 500)


def test_names() -> None:
    """MAY-18: alternatives go by name."""
    assert set(ALGORITHMS) >= {"reno", "newreno"}
    assert all(issubclass(kind, NewReno.__bases__[0]) for kind in ALGORITHMS.values())
