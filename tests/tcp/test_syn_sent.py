"""Active opening: SYN-SENT (RFC 9293 3.10.7.3; figure 6)."""

from __future__ import annotations

import errno

import pytest
from wire_end import WireEnd, established, syn_sent

from netemu.reasons import Close, Drop, Match
from netemu.tcp.connection import CONNECTED, ENDED, READABLE
from netemu.tcp.state import State


def test_active_open() -> None:
    """Figure 6."""
    end = WireEnd()
    end.connection.open_active(end.now)
    end.expect("S", seq=0, ack=0, length=0)
    end.must_be(State.SYN_SENT)
    end.nothing()
    assert end.send("S.") is Match.CONNECTION
    end.must_be(State.ESTABLISHED)
    assert end.take_events() & CONNECTED
    end.expect(".", seq=1, ack=1, length=0)
    end.nothing()


def test_what_was_written_meanwhile_goes_with_the_ack() -> None:
    """gVisor QueueSendInSynSent: data written in SYN-SENT waits, and carries the handshake's ACK."""
    end = syn_sent()
    end.connection.write(b"hello")
    end.nothing()
    end.send("S.")
    end.expect("P.", seq=1, ack=1, data=b"hello")
    end.nothing()


def test_data_on_the_syn_ack() -> None:
    end = syn_sent()
    end.send("S.", b"banner")
    assert end.take_events() & READABLE
    end.expect(".", ack=7)
    assert end.read() == b"banner"


def test_data_and_fin_on_the_syn_ack() -> None:
    end = syn_sent()
    end.send("SF.", b"banner")
    end.must_be(State.CLOSE_WAIT)
    end.expect(".", ack=8)
    assert end.read() == b"banner"


@pytest.mark.parametrize("ack", [-1, 0, 2, 1000])
@pytest.mark.parametrize("flags", [".", "S.", "F."])
def test_a_wrong_ack_is_answered_with_a_reset(flags: str, ack: int) -> None:
    """First, check the ACK bit: <SEQ=SEG.ACK><CTL=RST>."""
    end = syn_sent()
    assert end.send(flags, seq=0, ack=ack) is Drop.BAD_HANDSHAKE_ACK
    end.expect("R", seq=ack)
    end.must_be(State.SYN_SENT)
    end.nothing()


@pytest.mark.parametrize("ack", [0, 2])
def test_a_reset_with_a_wrong_ack_is_dropped(ack: int) -> None:
    end = syn_sent()
    assert end.send("R.", seq=0, ack=ack) is Drop.BAD_HANDSHAKE_ACK
    end.nothing()
    end.must_be(State.SYN_SENT)


def test_a_reset_without_ack_is_dropped() -> None:
    """Second, check the RST bit."""
    end = syn_sent()
    assert end.send("R", seq=0) is Drop.RST_BAD_ACK
    end.nothing()
    end.must_be(State.SYN_SENT)


def test_a_reset_with_the_right_ack_refuses() -> None:
    end = syn_sent()
    assert end.send("R.", seq=0, ack=1) is Match.CONNECTION
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.REFUSED
    assert end.connection.error == errno.ECONNREFUSED
    assert end.take_events() == ENDED
    end.nothing()


def test_queued_data_dies_with_a_reset() -> None:
    """gVisor QueueSendInSynSentRST."""
    end = syn_sent()
    end.connection.write(b"x" * 100)
    end.send("R.", seq=0, ack=1)
    assert len(end.connection.sendbuf) == 0
    with pytest.raises(ConnectionRefusedError):
        end.connection.write(b"more")


@pytest.mark.parametrize("flags", [".", "F.", "P.", ""])
def test_neither_syn_nor_reset(flags: str) -> None:
    """Fifth, if neither of the SYN or RST bits is set, then drop the segment."""
    end = syn_sent()
    assert end.send(flags, b"data" * bool(flags), seq=0, ack=1) is Drop.NO_SYN
    end.nothing()
    end.must_be(State.SYN_SENT)


def test_half_open_found_by_an_ack() -> None:
    """Figure 9 from the crashed side: an old connection answers our SYN with an ACK; the RST clears it, the SYN goes again."""
    end = syn_sent()
    end.send(".", seq=300, ack=100)
    end.expect("R", seq=100)
    assert end.wait() == 1000
    end.expect("S", seq=0)
    end.send("S.")
    end.expect(".", seq=1, ack=1)
    end.must_be(State.ESTABLISHED)


def test_syn_is_retransmitted_for_three_minutes_and_more() -> None:
    """MUST-20, MUST-22, MUST-23: R2 for a SYN is at least 3 minutes; the intervals double (MUST-19)."""
    end = WireEnd()
    end.connection.open_active(end.now)
    start = end.now
    waits = []
    for _ in range(7):
        end.expect("S", seq=0)
        waits.append(end.wait())
    end.expect("S", seq=0)
    assert waits == [1000, 2000, 4000, 8000, 16000, 32000, 64000]
    end.run()
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.TIMED_OUT
    assert end.now - start >= 180 * 10**9
    assert end.connection.error == errno.ETIMEDOUT
    assert end.take_events() == ENDED
    end.nothing()


def test_a_lost_syn_is_not_timed_and_begins_slowly() -> None:
    """RFC 6298 5.7: RTO is 3 s afterwards; RFC 5681 3.1, RFC 6928: an initial window of one segment."""
    end = syn_sent()
    end.wait()
    end.expect("S")
    end.send("S.")
    end.expect(".")
    end.connection.write(b"x" * 5000)
    end.expect(".", seq=1, length=1000)
    end.nothing()
    assert end.wait() == 3000


def test_the_handshake_is_timed() -> None:
    """RFC 6298 2.2: the SYN's round trip is the first measurement."""
    end = syn_sent()
    end.advance(80)
    end.send("S.")
    assert end.connection.rtt.srtt == 80_000_000


def test_close_gives_up() -> None:
    """3.10.4: 'return error: closing' to what was queued; nothing is sent."""
    end = syn_sent()
    end.connection.write(b"data")
    end.close()
    end.must_be(State.CLOSED)
    assert end.connection.close_reason is Close.ABORTED
    assert end.take_events() == ENDED
    end.nothing()


def test_shutdown_gives_up() -> None:
    end = syn_sent()
    end.connection.shutdown_write()
    end.must_be(State.CLOSED)
    end.nothing()


def test_abort_sends_nothing() -> None:
    """3.10.5: the peer knows nothing of us yet."""
    end = syn_sent()
    end.connection.abort()
    end.must_be(State.CLOSED)
    end.nothing()


def test_the_peer_lost_our_ack() -> None:
    """Its SYN-ACK comes again: outside the window, answered with an ACK."""
    end = established(active=True)
    assert end.send("S.", seq=0, ack=1) in (Drop.DUPLICATE, Drop.OUTSIDE_WINDOW)
    end.expect(".", seq=1, ack=1)
    end.must_be(State.ESTABLISHED)


def test_rcvbuf_changed_while_the_syn_travels() -> None:
    """The scale that was offered is the one that counts (RFC 7323 2.2)."""
    end = WireEnd(wscale=7, rcvbuf=1 << 20)
    end.connection.open_active(end.now)
    assert end.expect("S", wnd=65535).options.wscale == 4
    end.connection.rcvbuf = 30_000
    end.send("S.")
    end.expect(".", wnd=65535 >> 4)  # what was offered stays offered (SHLD-14)
    end.send(".", b"x" * 40_000)
    end.expect(".", ack=40_001)
