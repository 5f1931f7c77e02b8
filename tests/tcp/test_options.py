"""MSS, window scale, SACK-permitted: what is offered, understood and obeyed (RFC 9293 3.2, 3.7.1; RFC 7323 2; RFC 6691)."""

from __future__ import annotations

import pytest
from wire_end import WireEnd, established, over_the_wire, syn_received, syn_sent

from netemu.tcp.receiver import scale_for
from netemu.wire.tcp import NO_OPTIONS, Options, Segment, emit_options


def full_size(end: WireEnd) -> int:
    """Payload of the segments of a large write."""
    end.connection.write(b"x" * 20_000)
    return end.expect_all()[0].length


# -- MSS ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path_mss", [1460, 1440, 8960, 536])
def test_our_mss_is_in_every_syn(path_mss: int) -> None:
    """MUST-14, SHLD-5, MAY-3, MUST-67: MMS_R - 20, i.e. what fits the MTU."""
    end = WireEnd(path_mss=path_mss)
    end.connection.open_active(end.now)
    assert end.expect("S").options.mss == path_mss
    end = WireEnd(path_mss=path_mss)
    end.send("S")
    assert end.expect("S.").options.mss == path_mss


def test_mss_only_on_syn_segments() -> None:
    """MUST-65; the same holds for the window scale and SACK-permitted."""
    end = established(sack=True, wscale=2, ts=True)
    end.connection.write(b"x" * 5000)
    end.send(".", b"y", seq=10)
    end.connection.shutdown_write()
    for segment in end.expect_all():
        assert (segment.options.mss, segment.options.wscale, segment.options.sack_permitted) == (None, None, False)


@pytest.mark.parametrize("default", [536, 1220])
def test_no_mss_option(default: int) -> None:
    """MUST-15: 536 over IPv4, 1220 over IPv6."""
    assert full_size(established(mss=None, default_mss=default)) == default
    assert full_size(established(mss=None, default_mss=default, active=True)) == default


@pytest.mark.parametrize(
    ("theirs", "ours", "ts", "size"),
    [(1000, 1460, False, 1000), (1460, 1000, False, 1000), (9000, 1460, True, 1448), (1000, 1460, True, 988)],
)
def test_effective_mss(theirs: int, ours: int, ts: bool, size: int) -> None:
    """MUST-16: the smaller of the two, less the options that every segment carries (RFC 6691)."""
    assert full_size(established(mss=theirs, path_mss=ours, ts=ts)) == size


def test_sack_blocks_take_from_the_payload() -> None:
    """MUST-16 again: a full segment leaves no room for them; a smaller one carries as many as fit."""
    end = established(sack=True, ts=True)
    end.send(".", b"y", seq=3)
    end.send(".", b"y", seq=5)
    end.connection.write(b"x" * 988 + b"z" * 970)
    full, most = end.expect_all()
    assert (full.length, full.options.sack) == (988, ())
    assert (most.length, most.options.sack) == (970, ((5, 6),))


@pytest.mark.parametrize(("mss", "size"), [(0, 536), (1, 48), (47, 48), (48, 48), (64, 64)])
def test_tiny_mss(mss: int, size: int) -> None:
    """Zero is no answer (as Linux); anything below 48 would make us send nothing but headers. It still progresses."""
    end = established(mss=mss)
    assert full_size(end) == size
    for _ in range(200):
        end.send(".")
        end.expect_all()
    assert end.connection.snd_una - end.connection.iss > 5000


def test_tiny_mss_with_timestamps_and_sack() -> None:
    end = established(mss=1, ts=True, sack=True)
    for at in (3, 5, 7, 9):
        end.send(".", b"y", seq=at)
    end.expect(".")
    end.connection.write(b"x" * 100)
    sent = end.expect_all()
    assert [s.length for s in sent] == [36, 36, 28]
    assert sent[0].options.sack == ()


def test_the_peers_mss_does_not_change_in_mid_connection() -> None:
    """An MSS option on anything but a SYN is ignored."""
    end = established()
    end.send(".", b"data", options=Options(mss=100))
    assert full_size(end) == 1000


def test_options_on_any_segment_are_survived() -> None:
    """MUST-5."""
    end = established()
    end.send(".", b"data", options=Options(mss=100, wscale=3, sack_permitted=True, sack=((5, 9),)))
    assert end.read() == b"data"


# -- window scale -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rcvbuf", "shift"), [(1000, 0), (65535, 0), (65536, 0), (65537, 1), (1 << 20, 4), (1 << 30, 14), (1 << 40, 14)]
)
def test_the_scale_that_a_buffer_needs(rcvbuf: int, shift: int) -> None:
    """RFC 7323 2.2; 2.3: never more than 14."""
    assert scale_for(rcvbuf) == shift


def test_both_sides_scale() -> None:
    end = WireEnd(wscale=7, rcvbuf=1 << 20)
    end.send("S")
    assert end.expect("S.", wnd=65535).options.wscale == 4
    end.send(".", wnd=100)
    assert end.connection.snd_wnd == 100 << 7
    end.send(".", b"x" * 1000)
    end.expect(".", wnd=((1 << 20) - 1000) >> 4)


def test_the_window_of_a_syn_is_not_scaled() -> None:
    """RFC 7323 2.2, and the first data obey it (gVisor TCPHandshakeWindowSize)."""
    end = syn_sent(wscale=7, wnd=2000)
    end.connection.write(b"x" * 5000)
    end.send("S.")
    assert [s.length for s in end.expect_all()] == [1000, 1000]


def test_only_with_both_sides_options() -> None:
    """RFC 7323 1.3, 2.2: a SYN-ACK has it only if the SYN had it; then neither side scales."""
    end = WireEnd(rcvbuf=1 << 20)
    end.send("S")
    assert end.expect("S.", wnd=65535).options.wscale is None
    end.send(".", b"x" * 1000, wnd=30_000)
    assert end.connection.snd_wnd == 30_000
    end.expect(".", wnd=65535)


def test_the_answer_has_none() -> None:
    end = WireEnd(rcvbuf=1 << 20)
    end.connection.open_active(end.now)
    assert end.expect("S").options.wscale == 4
    end.send("S.")
    end.expect(".", wnd=65535)
    end.send(".", b"x" * 1000)
    end.expect(".", wnd=65535)


def test_switched_off() -> None:
    end = WireEnd(wscale=7, window_scaling=False)
    end.send("S")
    assert end.expect("S.").options.wscale is None
    end.send(".", wnd=1000)
    assert end.connection.snd_wnd == 1000
    end = WireEnd(wscale=7, window_scaling=False)
    end.connection.open_active(end.now)
    assert end.expect("S").options.wscale is None
    end.send("S.")
    end.send(".", wnd=1000)
    assert end.connection.snd_wnd == 1000


def test_more_than_fourteen_counts_as_fourteen() -> None:
    """RFC 7323 2.3."""
    end = established(wscale=200, wnd=1)
    end.send(".", wnd=1)
    assert end.connection.snd_wnd == 1 << 14


def test_a_scale_of_nothing_allows_ours() -> None:
    """The option with shift 0 is an offer all the same."""
    end = established(wscale=0, rcvbuf=1 << 20)
    end.send(".", b"x")
    end.expect(".", wnd=65535)


# -- SACK-permitted and timestamps: who offers what -----------------------------------------------------------------------


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("ts", [True, False])
@pytest.mark.parametrize("wscale", [3, None])
def test_a_syn_ack_has_only_what_the_syn_had(sack: bool, ts: bool, wscale: int | None) -> None:
    end = WireEnd(sack=sack, ts=ts, wscale=wscale, rcvbuf=1 << 20)
    end.send("S")
    answer = end.expect("S.")
    assert answer.options == Options(1460, 4 if wscale else None, sack)
    assert (answer.ts_val is not None) is ts


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("window_scaling", [True, False])
def test_a_syn_has_what_is_switched_on(sack: bool, timestamps: bool, window_scaling: bool) -> None:
    end = WireEnd(rcvbuf=1 << 20, timestamps=timestamps, window_scaling=window_scaling)
    end.connection.sack_ok = sack
    end.connection.open_active(end.now)
    syn = end.expect("S")
    assert syn.options == Options(1460, 4 if window_scaling else None, sack)
    assert (syn.ts_val is not None) is timestamps


def test_a_retransmitted_syn_has_the_same_options() -> None:
    end = WireEnd(rcvbuf=1 << 20)
    end.connection.open_active(end.now)
    first = end.expect("S")
    end.wait()
    assert end.expect("S").options == first.options
    end = syn_received(sack=True, wscale=1, rcvbuf=1 << 20)
    end.wait()
    assert end.expect("S.").options == Options(1460, 4, True)


def test_options_fill_whole_words() -> None:
    """MUST-69, MUST-64: padded, where they must be, by NOPs in front; an EOL with something behind it is never sent."""
    for wscale in (None, 3):
        for sack in (False, True):
            for ts in (None, 7):
                for blocks in ((), ((1, 2),), ((1, 2), (3, 4), (5, 6))):
                    area = emit_options(Segment(0, 0, 16, 0, ts_val=ts, options=Options(1460, wscale, sack, blocks)))
                    assert len(area) % 4 == 0
                    at = 0
                    while at < len(area):
                        assert area[at] != 0
                        at += 1 if area[at] == 1 else area[at + 1]


def test_plain_segments_have_no_options() -> None:
    end = established()
    end.connection.write(b"x")
    assert over_the_wire(Segment(1, 2, 16, 3)).options is NO_OPTIONS
    segment = end.expect("P.")
    assert (segment.ts_val, segment.options.sack) == (None, ())
