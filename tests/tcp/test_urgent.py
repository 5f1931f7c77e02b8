"""Urgent data (RFC 9293 3.8.5, RFC 6093). MUST-30 to 33, 62, 66."""

from __future__ import annotations

from wire_end import close_wait, established

from netemu.tcp.connection import READABLE, URGENT
from netemu.wire.tcp import URG


def test_sending() -> None:
    """MUST-30, MUST-62: the pointer is the offset of the octet behind the urgent data."""
    end = established()
    end.connection.write_urgent(b"abc")
    segment = end.expect("PU.", seq=1, data=b"abc")
    assert segment.urg == 3
    end.send(".")
    end.connection.write(b"plain")
    end.expect("P.", data=b"plain")


def test_the_pointer_stands_until_it_is_acknowledged() -> None:
    end = established()
    end.connection.write_urgent(b"x" * 2500)
    assert [(s.flags & URG, s.urg) for s in end.expect_all()] == [(URG, 2500), (URG, 1500), (URG, 500)]
    end.wait()
    assert end.expect("U.", seq=1).urg == 2500
    end.send(".", ack=2501)
    end.connection.write(b"y")
    end.expect("P.")


def test_any_length() -> None:
    """MUST-31: further than 16 bits reach the pointer says as far as it can."""
    end = established(limit=65415)
    end.connection.cc.cwnd = 1 << 20
    end.send(".", wnd=65535)
    end.connection.write_urgent(b"x" * 100_000)
    sent = end.expect_all()
    assert [s.urg for s in sent[:2]] == [65535, 65535]
    assert {s.length for s in sent} == {1000}  # every segment has a pointer of its own


def test_an_ack_carries_it() -> None:
    """With the window closed the peer must still learn of it."""
    end = established(wnd=0, active=True)
    end.connection.write_urgent(b"attention")
    end.nothing()
    end.wait()
    probe = end.expect("U.", seq=0)
    assert probe.urg == 10


def test_receiving() -> None:
    """MUST-32, MUST-33: the application is told, and learns how much is left; the data stay in line (RFC 6093)."""
    end = established()
    end.take_events()
    end.send("PU.", b"abc", urg=3)
    assert end.take_events() & (URGENT | READABLE) == URGENT | READABLE
    assert end.connection.urgent_bytes == 3
    assert bytes(end.connection.read(2)) == b"ab"
    assert end.connection.urgent_bytes == 1
    assert end.read() == b"c"
    assert end.connection.urgent_bytes == 0


def test_announced_ahead_of_its_data() -> None:
    """MUST-31: over several segments, and told when it advances, not again before."""
    end = established()
    end.take_events()
    end.send("U.", b"a" * 1000, urg=2500)
    assert end.take_events() & URGENT
    assert end.connection.urgent_bytes == 2500
    end.send("U.", b"a" * 1000, urg=1500)
    assert not end.take_events() & URGENT
    end.send("U.", b"a" * 500, urg=700)
    assert end.take_events() & URGENT


def test_without_data() -> None:
    end = established()
    end.take_events()
    end.send("U.", urg=100)
    assert end.take_events() & URGENT
    assert end.connection.urgent_bytes == 100


def test_with_a_closed_window() -> None:
    """MUST-66."""
    for data in (b"", b"x"):
        end = established(rcvbuf=1000)
        end.send(".", b"x" * 1000)
        end.expect(".", wnd=0)
        end.take_events()
        end.send("U.", data, seq=1001, urg=50)
        assert end.take_events() & URGENT


def test_not_without_a_valid_ack() -> None:
    end = established(rcvbuf=1000)
    end.send(".", b"x" * 1000)
    end.take_events()
    end.send("U.", b"x", seq=1001, urg=50, ack=1000)
    assert not end.take_events() & URGENT


def test_the_pointer_without_the_flag_means_nothing() -> None:
    end = established()
    end.take_events()
    end.send(".", b"abc", urg=3)
    assert not end.take_events() & URGENT
    assert end.connection.urgent_bytes == 0


def test_after_the_fin_it_is_ignored() -> None:
    end = close_wait()
    end.take_events()
    end.send("U.", urg=100)
    assert not end.take_events() & URGENT


def test_old_urgent_data_are_no_news() -> None:
    end = established()
    end.send("U.", b"abc", urg=3)
    end.read()
    end.take_events()
    end.send("U.", b"abc", seq=1, urg=3)
    assert not end.take_events() & URGENT
