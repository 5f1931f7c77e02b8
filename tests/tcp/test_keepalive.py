"""Keep-alive (RFC 9293 3.8.4). MUST-24 to 29, SHLD-12, MAY-5."""

from __future__ import annotations

import errno
from typing import Any

from wire_end import WireEnd, close_wait, established, fin_wait_2

from netemu.reasons import Close, Match
from netemu.tcp.config import NEVER, SECOND, Config
from netemu.tcp.state import State


def watched(make: Any = established, **config: Any) -> WireEnd:
    """With keep-alive on: after 100 s, every 10 s, 3 times."""
    config = {
        "keepalive_time": 100 * SECOND,
        "keepalive_interval": 10 * SECOND,
        "keepalive_probes": 3,
        **config,
    }
    end: WireEnd = make(**config)
    end.connection.keepalive = True
    end.connection.deadline_keepalive = end.now + 100 * SECOND  # as setsockopt does
    return end


def test_off_by_default() -> None:
    """MUST-25, MUST-28: and two hours once it is on."""
    end = established()
    assert end.next_timer() == NEVER
    assert Config().keepalive_time >= 7200 * SECOND


def test_a_probe_when_idle() -> None:
    """MUST-26, MUST-27; SHLD-12: without data, one number back, so that it must be answered."""
    end = watched()
    assert end.wait() == 100_000
    end.expect(".", seq=0, ack=1, length=0)
    end.send(".")
    assert end.wait() == 100_000
    end.expect(".", seq=0, ack=1)


def test_a_probe_has_no_urgent_pointer() -> None:
    end = watched()
    end.connection.write(b"data")
    end.expect("P.")
    end.send(".")
    end.wait()
    assert end.expect(".", seq=4).urg == 0


def test_one_unanswered_probe_is_not_death() -> None:
    """MUST-29."""
    end = watched()
    end.wait()
    end.expect(".", seq=0)
    assert end.wait() == 10_000
    end.expect(".", seq=0)
    end.send(".")
    end.silence(99_999)
    end.must_be(State.ESTABLISHED)


def test_a_dead_peer() -> None:
    """All unanswered: a RST in case somebody hears it, ETIMEDOUT."""
    end = watched()
    assert end.run() == 130_000
    assert [s.seq for s in end.expect_all()] == [0, 0, 0, 1]
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.KEEPALIVE
    assert end.connection.error == errno.ETIMEDOUT


def test_data_and_acks_put_it_off() -> None:
    """MUST-26: 'only when no sent data is outstanding and no data or ACKs have been received within an interval'."""
    end = watched()
    end.advance(60_000)
    end.send(".", b"data")
    end.expect(".")
    assert end.wait() == 100_000
    end.expect(".", seq=0)
    end.send(".")
    end.advance(50_000)
    end.send(".", wnd=1000)
    assert end.wait() == 100_000


def test_not_while_something_is_outstanding() -> None:
    end = watched(retries2=8)
    end.advance(99_000)
    end.connection.write(b"data")
    end.expect("P.")
    end.advance(50_000)
    assert all(s.seq == 1 and s.length == 4 for s in end.expect_all())


def test_not_while_a_window_is_probed() -> None:
    end = watched()
    end.send(".", wnd=0)
    end.connection.write(b"data")
    for _ in range(12):
        end.wait()
        assert len(end.expect_all()) == 1
        end.send(".", wnd=0)
    end.must_be(State.ESTABLISHED)


def test_an_old_segment_is_a_sign_of_life() -> None:
    """The peer's own keep-alive probe, for one; and it is answered."""
    end = watched()
    end.wait()
    end.expect(".", seq=0)
    end.send(".", seq=0)
    end.expect(".", seq=1, ack=1)
    assert end.wait() == 100_000


def test_in_close_wait_and_fin_wait_2() -> None:
    for make in (close_wait, fin_wait_2):
        end = watched(make)
        assert end.wait() == 100_000
        end.expect(".")


def test_it_can_be_switched_off() -> None:
    """MUST-24."""
    end = watched()
    end.connection.keepalive = False
    end.silence(200_000)
    assert end.next_timer() == NEVER


def test_it_ends_with_the_connection() -> None:
    end = watched(fin_wait_2)
    end.send("F.", ack=2)
    end.expect(".", ack=2)
    end.must_be(State.TIME_WAIT)
    assert end.connection.next_timer() == NEVER
    # and even one that is switched on afterwards does nothing
    end.connection.deadline_keepalive = end.now
    end.connection.on_timer(end.now)
    end.must_be(State.TIME_WAIT)
    assert end.connection.next_timer() == NEVER
    assert end.connection.close_reason is None


def test_it_is_answered() -> None:
    """The other side of it: whether the peer's probe has the garbage octet or not."""
    end = established()
    end.send(".", b"data")
    end.expect(".", ack=5)
    end.send(".", seq=4)
    end.expect(".", seq=1, ack=5)
    end.advance(1000)
    end.send(".", b"\0", seq=4)
    end.expect(".", seq=1, ack=5)
    assert end.send(".") is Match.CONNECTION
