"""When we acknowledge (RFC 9293 3.8.6.3, RFC 5681 4.2). MUST-40, 58, 59; SHLD-18, 19; MAY-13."""

from __future__ import annotations

import pytest
from wire_end import established

from netemu.tcp.config import MS, NEVER, Config


def test_it_is_delayed_by_less_than_half_a_second() -> None:
    """MUST-40, SHLD-18."""
    end = established(quick_acks=0)
    end.send(".", b"x" * 500)
    assert end.wait() == 40
    end.expect(".", ack=501)
    assert end.next_timer() == NEVER
    assert Config().delayed_ack < 500 * MS


def test_every_second_full_segment_is_acknowledged() -> None:
    """SHLD-19."""
    end = established(quick_acks=0)
    for number in range(5):
        end.send(".", b"x" * 1000)
        end.nothing()
        end.send(".", b"x" * 1000)
        end.expect(".", ack=2001 + 2000 * number)
    assert end.next_timer() == NEVER


def test_small_segments_wait_for_the_timer() -> None:
    end = established(quick_acks=0)
    for _ in range(19):
        end.send(".", b"x" * 100)
        end.nothing()
    end.send(".", b"x" * 100)
    end.expect(".", ack=2001)


def test_the_timer_is_not_put_off() -> None:
    end = established(quick_acks=0)
    end.send(".", b"x")
    end.advance(30)
    end.send(".", b"x")
    assert end.wait() == 10
    end.expect(".", ack=3)


def test_data_carry_it() -> None:
    """smoltcp, PyTCP: no pure ACK beside them, and the timer is disarmed."""
    end = established(quick_acks=0)
    end.send(".", b"x" * 100)
    end.connection.write(b"answer")
    end.expect("P.", ack=101)
    end.nothing()
    end.advance(100)
    end.nothing()


def test_a_young_connection_acknowledges_at_once() -> None:
    """The peer's slow start should not wait for us; it ends after some segments."""
    end = established(quick_acks=4)
    for number in range(4):
        end.send(".", b"x" * 100)
        end.expect(".", ack=101 + 100 * number)
    end.send(".", b"x" * 100)
    end.nothing()


def test_it_ends_with_the_first_answer() -> None:
    """From then on our ACKs find data to ride on."""
    end = established()
    end.send(".", b"question")
    end.connection.write(b"answer")
    end.expect("P.")
    end.send(".", b"question")
    end.nothing()


@pytest.mark.parametrize("what", ["hole", "fill", "duplicate", "fin"])
def test_at_once_where_the_peer_waits_for_it(what: str) -> None:
    """RFC 5681 4.2: out of order, filling a gap, old; and a FIN (MAY-13)."""
    end = established(quick_acks=0)
    if what == "hole":
        end.send(".", b"x" * 100, seq=101)
        end.expect(".", ack=1)
    elif what == "fill":
        end.send(".", b"x" * 100, seq=101)
        end.expect(".", ack=1)
        end.send(".", b"x" * 50, seq=1)
        end.expect(".", ack=51)
        end.send(".", b"x" * 50, seq=51)
        end.expect(".", ack=201)
    elif what == "duplicate":
        end.send(".", b"x" * 100)
        end.send(".", b"x" * 100, seq=1)
        end.expect(".", ack=101)
    else:
        end.send("F.", b"x" * 100)
        end.expect(".", ack=102)
    end.nothing()


def test_a_mere_ack_is_not_acknowledged() -> None:
    end = established()
    end.send(".")
    end.send(".", wnd=1000)
    end.nothing()
    assert end.next_timer() == NEVER
