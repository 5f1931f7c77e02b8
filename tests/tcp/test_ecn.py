"""Explicit congestion notification (RFC 3168 section 6.1)."""

from __future__ import annotations

import pytest
from wire_end import WireEnd, established, syn_sent

from netemu.wire.tcp import CWR, ECE

NOT_ECT, ECT_1, ECT_0, CE = 0, 1, 2, 3


def flags(segment_flags: int) -> int:
    return segment_flags & (ECE | CWR)


def agreed() -> WireEnd:
    """ESTABLISHED, and the peer asked for ECN."""
    end = WireEnd(wnd=60_000)
    end.send("SEW")
    end.expect("S.E", seq=0, ack=1)
    end.send(".")
    assert end.connection.ect == ECT_0
    return end


# -- agreeing (6.1.1) ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ecn", "answer"), [(0, "S."), (1, "S.E"), (2, "S.E")])
def test_answering_a_syn_that_asks(ecn: int, answer: str) -> None:
    end = WireEnd(ecn=ecn)
    end.send("SEW")
    end.expect(answer)


@pytest.mark.parametrize("asked", ["S", "SE", "SW"])
def test_half_a_question_is_none(asked: str) -> None:
    end = WireEnd(ecn=1)
    end.send(asked)
    end.expect("S.")
    assert not end.connection.ect


def test_a_syn_that_is_ect_itself_agrees_to_nothing() -> None:
    end = WireEnd(ecn=1)
    end.send("SEW", ecn=ECT_0)
    end.expect("S.")


@pytest.mark.parametrize("ecn", [0, 2])
def test_by_default_nothing_is_asked_for(ecn: int) -> None:
    syn_sent(ecn=ecn)


@pytest.mark.parametrize(("answer", "works"), [("S.E", True), ("S.", False), ("S.EW", False), ("S.W", False)])
def test_asking(answer: str, works: bool) -> None:
    """A SYN-ACK agrees with ECE alone; one that merely reflects both does not."""
    end = WireEnd(ecn=1)
    end.connection.open_active(end.now)
    assert end.expect("SEW").ecn == NOT_ECT
    end.send(answer)
    end.expect(".")
    end.connection.write(b"x" * 10)
    assert (end.expect("P.").ecn == ECT_0) == works


def test_a_syn_that_goes_again_asks_for_nothing() -> None:
    """6.1.1.1."""
    end = WireEnd(ecn=1)
    end.connection.open_active(end.now)
    end.expect("SEW")
    end.wait()
    end.expect("S")


# -- what carries ECT (6.1.4 to 6.1.6) -------------------------------------------------------------------------------------


def test_new_data_only() -> None:
    end = agreed()
    end.connection.write(b"x" * 2000)
    assert [s.ecn for s in end.expect_all()] == [ECT_0, ECT_0]
    end.wait()
    again = end.expect_all()
    assert again
    assert {s.ecn for s in again} == {NOT_ECT}
    end.send(".", ack=2001)
    end.send("P.", b"y" * 1000)
    end.advance(100)
    assert {s.ecn for s in end.expect_all()} == {NOT_ECT}  # an ACK alone
    end.connection.shutdown_write()
    assert end.expect("F.").ecn == NOT_ECT


def test_without_an_agreement_nothing_does() -> None:
    end = established()
    end.connection.write(b"x" * 1000)
    assert end.expect("P.").ecn == NOT_ECT
    end.send("P.", b"y" * 1000, ecn=CE)
    end.advance(100)
    assert not flags(end.expect(".").flags)


# -- the receiver (6.1.3) --------------------------------------------------------------------------------------------------


def test_a_mark_is_told_of_until_the_window_was_reduced() -> None:
    end = agreed()
    end.send("P.", b"y" * 100, ecn=CE)
    end.expect(".E")
    end.send("P.", b"y" * 100, ecn=ECT_0)
    end.expect(".E")
    end.connection.write(b"x" * 10)
    assert flags(end.expect("P.E").flags) == ECE
    end.send("P.W", b"y" * 100, ecn=ECT_0)
    end.expect(".")
    end.send("P.", b"y" * 100, ecn=ECT_0)
    end.advance(50)
    end.expect(".")


def test_a_mark_on_the_segment_with_cwr_counts() -> None:
    end = agreed()
    end.send("P.", b"y" * 100, ecn=CE)
    end.expect(".E")
    end.send("P.W", b"y" * 100, ecn=CE)
    end.expect(".E")


def test_a_mark_outside_the_window_does_not() -> None:
    """6.1.5: else anybody could slow the connection down."""
    end = agreed()
    end.send("P.", b"y" * 100, seq=90_000, ecn=CE)
    assert not flags(end.expect(".").flags)


def test_a_mark_is_told_of_soon() -> None:
    end = agreed()
    end.connection.quick_acks = 0
    end.send("P.", b"y" * 100, ecn=ECT_0)
    end.nothing()
    end.send("P.", b"y" * 100, ecn=CE)
    end.expect(".E")


# -- the sender (6.1.2) ----------------------------------------------------------------------------------------------------


def test_the_window_is_reduced_once_a_window() -> None:
    """As after a loss, but nothing is sent again; the next new data have CWR, once."""
    end = agreed()
    end.connection.write(b"x" * 40_000)
    assert len(end.expect_all()) == 10
    end.send(".E", ack=1001)
    assert end.connection.cc.ssthresh == 5000
    end.send(".E", ack=2001)
    end.send(".E", ack=9001)
    assert end.connection.cc.ssthresh == 5000
    sent = end.expect_all()
    assert min(s.seq for s in sent) == 10_001
    assert [flags(s.flags) for s in sent] == [CWR] + [0] * (len(sent) - 1)
    end.send(".", ack=sent[-1].end)
    more = end.expect_all()
    assert not any(flags(s.flags) for s in more)
    end.send(".E", ack=more[0].end)
    assert end.connection.cc.ssthresh < 5000


def test_an_echo_without_an_agreement_is_nothing() -> None:
    end = established(wnd=60_000)
    end.connection.write(b"x" * 40_000)
    end.expect_all()
    end.send(".E", ack=1001)
    assert end.connection.cc.cwnd == 11_000
