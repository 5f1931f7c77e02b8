"""Nagle's algorithm (RFC 9293 3.7.4, as Minshall amended it). SHLD-7, MUST-17."""

from __future__ import annotations

from wire_end import established


def test_one_small_segment_at_a_time() -> None:
    end = established()
    end.connection.write(b"a")
    end.expect("P.", data=b"a")
    end.connection.write(b"b")
    end.connection.write(b"c")
    end.nothing()
    end.send(".")
    end.expect("P.", seq=2, data=b"bc")


def test_full_segments_do_not_wait() -> None:
    """gVisor MSSNotDelayed."""
    end = established()
    end.connection.write(b"a")
    end.expect("P.")
    end.connection.write(b"x" * 2500)
    assert [s.length for s in end.expect_all()] == [1000, 1000]
    end.nothing()
    end.send(".")
    end.expect("P.", length=500)


def test_the_tail_of_a_large_write_does_not_wait() -> None:
    """DEVIATION (Minshall): RFC 9293 would hold it until everything is acknowledged, and meet the peer's delayed ACK there."""
    end = established()
    end.connection.write(b"x" * 2500)
    assert [s.length for s in end.expect_all()] == [1000, 1000, 500]


def test_the_tail_waits_for_the_tail_before() -> None:
    end = established()
    end.connection.write(b"x" * 1500)
    end.expect_all()
    end.connection.write(b"x" * 1500)
    assert [s.length for s in end.expect_all()] == [1000]
    end.send(".", ack=1001)
    end.nothing()
    end.send(".", ack=1501)
    end.expect("P.", length=500)


def test_it_can_be_switched_off() -> None:
    """MUST-17."""
    end = established()
    end.connection.nodelay = True
    for word in (b"a", b"b", b"c"):
        end.connection.write(word)
        end.expect("P.", data=word)


def test_switching_it_off_lets_out_what_waits() -> None:
    end = established()
    end.connection.write(b"a")
    end.expect("P.")
    end.connection.write(b"b")
    end.nothing()
    end.connection.nodelay = True
    end.expect("P.", data=b"b")


def test_closing_lets_out_what_waits() -> None:
    end = established()
    end.connection.write(b"a")
    end.expect("P.")
    end.connection.write(b"b")
    end.nothing()
    end.connection.shutdown_write()
    end.expect("FP.", data=b"b")


def test_nothing_waits_for_ever() -> None:
    """MUST-60: whatever is held is held for an ACK that must come."""
    end = established()
    end.connection.write(b"a")
    end.expect("P.")
    end.connection.write(b"b")
    end.nothing()
    end.wait()
    end.expect(".", seq=1, data=b"a")  # again: and its ACK lets 'b' out
    end.send(".")
    end.expect("P.", data=b"b")


def test_options_do_not_make_a_segment_small() -> None:
    """PyTCP's 2.3 s for 100 KB: a full segment is one that is full with its options (RFC 6691)."""
    end = established(ts=True)
    end.connection.write(b"x" * 988 * 3)
    assert [s.length for s in end.expect_all()] == [988] * 3
    end.connection.write(b"tail")
    end.expect("P.", data=b"tail")
