"""Zero-window probes (RFC 9293 3.8.6.1). MUST-36, 37; SHLD-29, 30; MAY-8. Shrinking windows are in test_window.py."""

from __future__ import annotations

from typing import Any

from wire_end import WireEnd, close_wait, established

from netemu.reasons import Close, Drop
from netemu.tcp.config import NEVER
from netemu.tcp.state import State


def closed_window(**kinds: Any) -> WireEnd:
    """1000 bytes were sent and acknowledged with a window of 0; 3000 wait."""
    end = established(wnd=1000, **kinds)
    end.connection.write(b"x" * 4000)
    end.expect(".", seq=1, length=1000)
    end.send(".", wnd=0)
    end.nothing()
    return end


def test_the_first_probe_comes_after_one_rto() -> None:
    """SHLD-29."""
    end = closed_window()
    assert end.wait() == 200
    end.expect(".", seq=1000, ack=1, length=0)


def test_the_intervals_double_up_to_the_limit() -> None:
    """SHLD-30 (gVisor ZeroWindowProbeRetransmit)."""
    end = closed_window()
    waits = []
    for _ in range(14):
        waits.append(end.wait())
        end.expect(".", seq=1000, length=0)
        end.advance(1)
        end.send(".", wnd=0)
    assert [round(w) for w in waits[:5]] == [200, 399, 799, 1599, 3199]
    assert round(waits[-1]) == 119_999


def test_it_goes_on_as_long_as_it_is_answered() -> None:
    """MUST-37, MAY-8: hours."""
    end = closed_window(retries2=3)
    for _ in range(500):
        end.wait()
        end.expect(".", seq=1000)
        end.send(".", wnd=0)
    end.must_be(State.ESTABLISHED)


def test_it_ends_when_nobody_answers() -> None:
    """R2 holds for probes too (gVisor ZeroWindowProbeUserTimeout)."""
    end = closed_window(retries2=4)
    end.run()
    assert len(end.expect_all()) == 4
    assert end.connection.close_reason is Close.TIMED_OUT


def test_an_answer_now_and_then_is_enough() -> None:
    """The peer may limit its answers (RFC 5961 7)."""
    end = closed_window(retries2=3)
    for number in range(30):
        end.wait()
        end.expect(".", seq=1000)
        if number % 3 == 2:
            end.send(".", wnd=0)
    end.must_be(State.ESTABLISHED)


def test_a_peer_that_only_sends_is_alive() -> None:
    """Its data are answers enough, and are acknowledged."""
    end = closed_window(retries2=2)
    for _ in range(10):
        end.wait()
        end.expect(".", seq=1000)
        end.send(".", b"data", wnd=0)
        end.advance(60)
        end.expect(".", seq=1001)
        end.read()
    end.must_be(State.ESTABLISHED)


def test_an_orphan_gives_up_although_it_is_answered() -> None:
    """DEVIATION, RFC 6429: nobody waits for the data any more."""
    end = closed_window(orphan_retries=3)
    end.close()
    while end.next_timer() < NEVER:
        end.advance((end.next_timer() - end.now) / 10**6)
        if end.expect_all():
            end.send(".", wnd=0)
    assert end.connection.close_reason is Close.TIMED_OUT


def test_the_window_opens() -> None:
    end = closed_window()
    end.wait()
    end.expect(".", seq=1000)
    end.send(".", wnd=5000)
    assert [(s.seq, s.length) for s in end.expect_all()] == [(1001, 1000), (2001, 1000), (3001, 1000)]
    assert end.wait() == 200  # the retransmission timer, not backed off


def test_the_window_opens_before_the_probe() -> None:
    end = closed_window()
    end.advance(100)
    end.send(".", wnd=5000)
    assert len(end.expect_all()) == 3
    end.send(".")
    assert end.next_timer() == NEVER


def test_no_probe_without_anything_to_send() -> None:
    end = established(wnd=1000)
    end.connection.write(b"x" * 1000)
    end.expect("P.")
    end.send(".", wnd=0)
    end.nothing()
    assert end.next_timer() == NEVER
    end.connection.write(b"y")
    assert end.wait() == 200
    end.expect(".", seq=1000)


def test_not_before_what_is_in_flight_is_acknowledged() -> None:
    """Its ACK brings the window's news."""
    end = established(wnd=2000)
    end.connection.write(b"x" * 4000)
    end.expect_all()
    end.send(".", ack=1001, wnd=1000)
    end.nothing()
    assert not end.connection.persist
    end.send(".", ack=2001, wnd=0)
    end.nothing()
    assert end.connection.persist


def test_cwnd_has_no_part_in_it() -> None:
    """smoltcp: 'zero window probe not capped by cwnd'."""
    end = closed_window()
    end.connection.cc.cwnd = 1
    assert end.wait() == 200
    end.expect(".", seq=1000)


def test_in_close_wait_and_last_ack() -> None:
    end = close_wait(wnd=1000)
    end.connection.write(b"x" * 2000)
    end.expect(".", length=1000)
    end.send(".", wnd=0)
    end.nothing()
    end.connection.shutdown_write()
    assert end.wait() == 200
    end.expect(".", seq=1000, ack=2)
    end.send(".", wnd=5000)
    end.expect("F.", seq=1001, length=1000)


# -- the other side: we are probed --------------------------------------------------------------------------------------------


def full(**kinds: Any) -> WireEnd:
    """Our receive buffer is full."""
    end = established(rcvbuf=2000, **kinds)
    end.send(".", b"x" * 2000)
    end.expect(".", ack=2001, wnd=0)
    return end


def test_a_probe_with_data_is_answered() -> None:
    """A byte beyond the window, as RFC 9293 has it, each time."""
    end = full()
    for _ in range(5):
        assert end.send(".", b"y", seq=2001) is Drop.WINDOW_FULL
        end.expect(".", ack=2001, wnd=0)


def test_a_probe_without_data_is_answered() -> None:
    """One number before the edge, as Linux and we have it; they double, so the limit lets them through."""
    end = full()
    for wait in (200, 400, 800, 1600):
        end.advance(wait)
        end.send(".", seq=2000)
        if wait > 400 or wait == 200:
            end.expect(".", ack=2001, wnd=0)


def test_its_ack_counts() -> None:
    """3.10.7.4, first: 'special allowance should be made to accept valid ACKs' (MUST-66)."""
    end = full()
    end.connection.write(b"answer")
    end.expect("P.", seq=1)
    end.send(".", b"y", seq=2001, ack=7)
    assert end.connection.flight == 0
    end.connection.write(b"answer")
    end.expect("P.", seq=7)
    end.send(".", b"xy", seq=2000, ack=13)  # a retransmission that runs into the closed window
    assert end.connection.flight == 0


def test_its_ack_is_checked() -> None:
    end = full()
    assert end.send(".", b"y", seq=2001, ack=100) is Drop.BAD_ACK
    end.expect(".", ack=2001)
    assert end.send("", b"y", seq=2001) is Drop.NO_ACK


def test_it_may_end_the_connection() -> None:
    """LAST-ACK with the window closed: the probe's ACK is the FIN's."""
    end = established(rcvbuf=2000)
    end.send("F.", b"x" * 1999)
    end.connection.shutdown_write()
    end.expect("F.", seq=1, ack=2001)
    end.send(".", ack=2)
    end.must_be(State.CLOSED)
