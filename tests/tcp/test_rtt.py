"""The retransmission timeout (RFC 6298); what is measured, and when (Karn). MUST-18."""

from __future__ import annotations

from typing import Any

import pytest
from wire_end import MS, WireEnd, established, syn_received, syn_sent

from netemu.tcp.config import SECOND, Config
from netemu.tcp.rtt import RttEstimator


def estimator(**config: Any) -> RttEstimator:
    return RttEstimator(Config(**config))


def test_before_anything_is_measured() -> None:
    """2.1: one second."""
    assert estimator().rto == SECOND


def test_first_measurement() -> None:
    """2.2: SRTT = R, RTTVAR = R/2, RTO = SRTT + max(G, 4·RTTVAR)."""
    rtt = estimator()
    rtt.sample(500 * MS)
    assert (rtt.srtt, rtt.rttvar, rtt.rto) == (500 * MS, 250 * MS, 1500 * MS)


def test_later_measurements() -> None:
    """2.3: RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R'|, then SRTT = 7/8 SRTT + 1/8 R'."""
    rtt = estimator()
    rtt.sample(800 * MS)
    rtt.sample(400 * MS)
    assert (rtt.rttvar, rtt.srtt) == (400 * MS, 750 * MS)
    assert rtt.rto == 750 * MS + 4 * 400 * MS


def test_floor() -> None:
    """DEVIATION from 2.4: 200 ms above SRTT, as Linux, where the RFC has a RTO of 1 s at least."""
    rtt = estimator()
    for _ in range(100):
        rtt.sample(50 * MS)
    assert rtt.rto == 250 * MS
    assert estimator(min_rto=SECOND).rto == SECOND


def test_ceiling() -> None:
    """2.5."""
    rtt = estimator()
    rtt.sample(1000 * SECOND)
    assert rtt.rto == 120 * SECOND


def test_back_off_and_its_end() -> None:
    """5.5: doubles up to the ceiling, however often; a measurement ends it (5, at the end)."""
    rtt = estimator()
    rtt.sample(100 * MS)
    seen = []
    for _ in range(1000):
        rtt.expired()
        seen.append(rtt.rto)
    assert seen[:3] == [600 * MS, 1200 * MS, 2400 * MS]
    assert seen[-1] == 120 * SECOND
    assert rtt.backoff < 64
    rtt.sample(100 * MS)
    assert rtt.rto < 400 * MS


def test_nothing_takes_no_time() -> None:
    """Where both ends live in one process a round trip may be 0; that is not 'never measured'."""
    rtt = estimator()
    for _ in range(50):
        rtt.sample(0)
        assert rtt.srtt > 0


def test_a_lost_syn_means_three_seconds() -> None:
    """5.7."""
    rtt = estimator()
    rtt.expired()
    rtt.syn_was_lost()
    assert rtt.rto == 3 * SECOND


# -- in a connection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [syn_sent, syn_received])
def test_the_handshake_is_measured(make: type[WireEnd]) -> None:
    end = make()
    end.advance(70)
    end.send("S." if make is syn_sent else ".")
    assert end.connection.rtt.srtt == 70 * MS


def test_one_segment_is_timed_at_a_time() -> None:
    end = established()
    end.advance(1)
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    end.advance(30)
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    end.advance(70)
    end.send(".", ack=1001)
    assert end.connection.rtt.srtt == pytest.approx(100 * MS // 8, abs=2)  # the first one took 100 ms, after 0
    end.advance(30)
    end.send(".", ack=2001)
    assert end.connection.timed_end == 0
    assert end.connection.rtt.srtt == pytest.approx(100 * MS // 8, abs=2)


def test_karn() -> None:
    """Section 3: never from a segment that was retransmitted; and the backed-off RTO stays until a new one is measured."""
    end = established()
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    assert end.wait() == 200
    end.expect("P.", seq=1)
    end.advance(5)
    before = end.connection.rtt.srtt
    end.send(".", ack=1001)
    assert end.connection.rtt.srtt == before
    end.connection.write(b"x" * 1000)
    end.expect("P.", seq=1001)
    assert end.connection.rtt.rto == 400 * MS + 2
    end.advance(300)  # a path that has become slow: without Karn's rule every segment would be sent twice for ever
    end.nothing()
    end.send(".", ack=2001)
    assert end.connection.rtt.srtt > 35 * MS
    assert end.connection.rtt.backoff == 0


def test_timestamps_tell_transmissions_apart() -> None:
    """RFC 7323 4.1: with them an answer to a retransmission is measured too."""
    end = established(ts=True)
    end.connection.write(b"x" * 900)
    end.expect("P.")
    end.wait()
    end.expect("P.", seq=1)
    end.advance(80)
    end.send(".")
    assert end.connection.rtt.backoff == 0
    assert end.connection.rtt.srtt == pytest.approx(10 * MS, abs=2)  # 80 ms, after 0


def test_a_timestamp_of_before_the_timeout_tells_nothing() -> None:
    """The ACK was lost: our retransmission is a duplicate to the peer, whose ACK still echoes the first transmission."""
    end = established(ts=True)
    end.advance(1)
    end.connection.write(b"x" * 900)
    echo = end.expect("P.").ts_val
    end.wait()
    end.expect("P.", seq=1)
    end.advance(5)
    end.send(".", ecr=echo)
    assert end.connection.rtt.srtt == 1
    assert end.connection.rtt.backoff == 1
    end.connection.write(b"x" * 900)
    end.expect("P.")
    end.advance(8)
    end.send(".", ecr=12345)  # what is sent for the first time needs no timestamp
    assert end.connection.rtt.backoff == 0
    assert end.connection.rtt.srtt == 10**6


def test_nor_does_a_timestamp_of_the_future() -> None:
    end = established(ts=True)
    end.advance(1)
    end.connection.write(b"x" * 900)
    end.expect("P.")
    end.wait()
    end.expect("P.", seq=1)
    end.send(".", ecr=end.ts_seen + 100_000 & 0xFFFFFFFF)
    assert end.connection.rtt.srtt == 1


def test_what_waits_for_a_hole_is_not_measured() -> None:
    """New data sent in recovery are acknowledged only when the holes before them are filled."""
    end = established(sndbuf=1 << 20)
    end.connection.write(b"x" * 50_000)
    end.expect_all()
    end.advance(1)
    for _ in range(15):
        end.send(".", ack=1)
    assert [s.seq for s in end.expect_all()][:2] == [1, 10_001]
    assert end.connection.timed_end
    for hole in range(1001, 10_001, 1000):
        end.advance(20)
        end.send(".", ack=hole)
        end.expect_all()
    end.advance(20)
    end.send(".")
    assert end.connection.rtt.srtt < 3 * MS


def test_a_fast_retransmission_is_not_measured() -> None:
    end = established()
    end.connection.write(b"x" * 5000)
    end.expect_all()
    end.advance(10)
    for _ in range(3):
        end.send(".", ack=1)
    end.expect(".", seq=1)
    end.advance(100)
    before = end.connection.rtt.srtt
    end.send(".", ack=5001)
    assert end.connection.rtt.srtt == before


def test_the_timer_restarts_with_every_ack_of_new_data() -> None:
    """5.1, 5.2, 5.3 (smoltcp: 'timer restart on partial ACK')."""
    end = established()
    end.connection.write(b"x" * 3000)
    end.expect_all()
    end.advance(150)
    end.send(".", ack=1001)
    end.silence(150)
    end.send(".", ack=2001)
    end.silence(150)
    end.send(".", ack=3001)
    assert end.next_timer() == 1 << 62


def test_sending_does_not_restart_the_timer() -> None:
    """5.1: only if it is not running."""
    end = established()
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    end.advance(150)
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    assert end.wait() == 50
