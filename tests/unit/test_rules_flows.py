"""What rules know of flows: counted per direction, over wrapping numbers, super-packets, ports used anew, and within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stack_bench import MS, SECOND, tcp, udp

from netemu.link.rules.filter import parse_filter
from netemu.link.rules.flows import MOST_REPEATED, FlowTracker
from netemu.link.rules.view import View
from netemu.wire.packet import Packet
from netemu.wire.slices import split
from netemu.wire.tcp import ACK, FIN, PSH, RST, SYN

WSCALE = b"\x01\x03\x03\x07"


class Line:
    """Packets of one direction, and what holds for each."""

    def __init__(self) -> None:
        self.tracker = FlowTracker()

    def see(self, data: bytes | Packet, now: int = 0) -> View:
        view = View(data if isinstance(data, Packet) else Packet(data), now)
        self.tracker.note(view)
        return view


def holds(view: View, expression: str) -> bool:
    return parse_filter(expression).test.exact(view)


def segment(seq: int, size: int = 0, flags: int = ACK, sport: int = 40000, ack: int = 501) -> bytes:
    return tcp(flags, seq, ack if flags & ACK else 0, bytes(size), sport=sport)


def test_packets_and_data_are_counted_per_flow() -> None:
    line = Line()
    assert holds(line.see(segment(99, flags=SYN)), "flow.packet == 1 and flow.new and not flow.data")
    other = line.see(segment(7, 10, sport=40001))
    assert holds(other, "flow.packet == 1 and flow.data == 1 and flow.bytes == 0")
    assert holds(line.see(segment(100)), "flow.packet == 2 and !flow.new and not flow.data == 1 and flow.pure_ack")
    first = line.see(segment(100, 10))
    assert holds(first, "flow.packet == 3 and flow.data == 1 and flow.bytes == 0 and !flow.pure_ack")
    second = line.see(segment(110, 20))
    assert holds(second, "flow.data == 2 and flow.bytes == 10")
    assert holds(line.see(segment(130, 1)), "flow.bytes == 30 and flow.bytes >= 30")


def test_datagrams_have_flows_too() -> None:
    line = Line()
    line.see(udp(b"abc"))
    assert holds(line.see(udp(b"defg")), "flow.packet == 2 and flow.data == 2 and flow.bytes == 3")
    assert holds(line.see(udp(b"x", sport=9)), "flow.packet == 1")
    assert holds(line.see(udp(b"abc")), "flow.bytes == 7 and not flow.retransmission and not flow.attempt")


@pytest.mark.parametrize("iss", [99, 0xFFFFFFFF - 15, 0x7FFFFFFF - 5])
def test_what_was_sent_before_is_a_retransmission(iss: int) -> None:
    line, first = Line(), iss + 1
    line.see(segment(iss, flags=SYN))
    assert holds(line.see(segment(iss, flags=SYN)), "flow.syn_count == 2 and flow.retransmission.count == 1")
    assert holds(line.see(segment(first, 10)), "not flow.retransmission and flow.attempt == 1 and tcp.seq == 1")
    assert holds(line.see(segment(first + 10, 10)), "flow.attempt == 1 and flow.bytes == 10 and tcp.seq == 11")
    again = line.see(segment(first, 10))
    assert holds(again, "flow.retransmission and flow.retransmission.count == 2 and flow.attempt == 2")
    assert holds(again, "flow.bytes == 20")  # each byte counts once
    assert holds(line.see(segment(first, 10)), "flow.retransmission.count == 3 and flow.attempt == 3")
    assert holds(line.see(segment(first + 10, 10)), "flow.retransmission.count == 4 and flow.attempt == 2")
    new = line.see(segment(first + 20, 10))
    assert holds(new, "not flow.retransmission and not flow.retransmission.count and flow.bytes == 20")
    assert holds(line.see(segment(first + 30)), "not flow.retransmission and not flow.attempt and flow.bytes == 30")
    assert holds(line.see(segment(first + 25, 10)), "flow.retransmission and flow.attempt == 2")  # new data in it
    assert holds(line.see(segment(first + 35, flags=FIN | ACK)), "not flow.retransmission and flow.attempt == 1")
    assert holds(line.see(segment(first + 35, flags=FIN | ACK)), "flow.retransmission and flow.attempt == 2")
    assert holds(line.see(segment(first, flags=RST)), "not flow.retransmission and not flow.pure_ack")


def test_a_syn_of_another_number_is_a_new_connection() -> None:
    line = Line()
    line.see(segment(99, flags=SYN))
    line.see(segment(100, 1000))
    assert holds(line.see(segment(5_000_000, flags=SYN)), "flow.new and flow.syn_count == 1 and flow.bytes == 0")
    assert holds(line.see(segment(5_000_001, 3)), "flow.packet == 2 and tcp.seq == 1 and not flow.retransmission")


def test_numbers_are_relative_and_windows_scaled() -> None:
    line = Line()
    assert holds(
        line.see(tcp(SYN, 1000, wnd=512, options=WSCALE)), "tcp.seq == 0 and tcp.ack == 0 and tcp.window_size == 512"
    )
    assert holds(line.see(tcp(ACK, 1001, 77, wnd=512)), "tcp.seq == 1 and tcp.ack == 1 and tcp.window_size == 65536")
    assert holds(line.see(tcp(ACK, 1001, 87, wnd=0)), "tcp.ack == 11 and tcp.window_size == 0")
    middle = Line()  # its beginning was not seen
    assert holds(middle.see(tcp(ACK, 5000, 77, b"abc")), "tcp.seq == 1 and tcp.ack == 1 and tcp.window_size == 65535")
    assert holds(middle.see(udp()), "not tcp.seq and not tcp.ack and not tcp.window_size and not flow.syn_count")


def test_flows_have_an_age() -> None:
    line = Line()
    assert holds(line.see(udp(), SECOND), "flow.age == 0s and flow.idle == 0s")
    assert holds(line.see(udp(), SECOND + 250 * MS), "flow.age == 250ms and flow.idle == 250ms")
    assert holds(line.see(udp(), 3 * SECOND + MS), "flow.age > 2s and flow.age <= 2001ms and flow.idle == 1751000us")


def test_a_super_packet_is_so_many_packets() -> None:
    whole, single = Line(), Line()
    big = Packet(tcp(ACK | PSH, 100, 1, bytes(2500)), gso_size=1000)
    for line in (whole, single):
        line.see(segment(99, flags=SYN))
    whole.see(big)
    for slice_ in split(big):
        single.see(slice_)
    for line in (whole, single):
        after = line.see(segment(2600, 5))
        assert holds(after, "flow.packet == 5 and flow.data == 4 and flow.bytes == 2500 and tcp.seq == 2501")
        assert holds(after, "not flow.retransmission")
        repeated = line.see(segment(1100, 1000))
        assert holds(repeated, "flow.retransmission.count == 1 and flow.attempt == 2")


def test_the_flow_silent_longest_is_forgotten_first() -> None:
    line = Line()
    line.tracker = FlowTracker(3)
    for sport in (1, 2, 3, 1, 4):  # 2 goes
        line.see(udp(sport=sport))
    assert len(line.tracker) == 3
    assert holds(line.see(udp(sport=1)), "flow.packet == 3")
    assert holds(line.see(udp(sport=2)), "flow.packet == 1")  # and 3 goes for it
    assert holds(line.see(udp(sport=4)), "flow.packet == 2")


def test_what_a_flow_remembers_is_bounded() -> None:
    line = Line()
    line.see(segment(99, flags=SYN))
    for _ in range(2):
        for number in range(2 * MOST_REPEATED):
            view = line.see(segment(100 + number, 1))
    assert view.flow is not None
    assert len(view.flow.repeated) == MOST_REPEATED


SLICED = [
    "flow.packet == 4", "flow.packet > 5", "flow.data in {3, 9..12}", "flow.bytes >= 3000", "flow.bytes == 1000",
    "flow.retransmission", "flow.retransmission.count == 2", "flow.attempt == 2", "flow.new", "flow.age > 10ms",
    "flow.idle > 3ms", "tcp.seq == 1001", "tcp.seq_raw < 2100", "tcp.len < 1000", "frame.len == 1040",
    "ip.len < 1040", "tcp.flags.push", "tcp.flags.fin", "tcp.dstport == 80", "tcp.dstport == 81",
    'tcp.payload contains "a"', "tcp.flags == 0x18", "ip.id == 2", "not flow.retransmission", "not tcp.flags.push",
    "not tcp.dstport == 80", "flow.packet == 2 or tcp.len < 1000", "flow.pure_ack", "flow.syn_count == 1",
    "tcp.flags.fin and flow.packet > 3", "tcp.flags & 8", "ip.ttl == 64 and flow.data", "udp or ipv6.plen < 10",
    "flow.packet != 2", "tcp.window_size == 65535", "frame.len > ip.len", "tcp.srcport > 5",
]  # fmt: skip


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 1000), st.sampled_from([0, PSH, FIN | PSH])),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([99, 0xFFFFFFFF - 1500]),
)
def test_a_super_packet_that_is_not_split_has_no_slice_that_matches(
    bursts: list[tuple[int, int, int, int]], iss: int
) -> None:
    """``possible`` may be true for nothing, but must not be false for something."""
    whole, single = Line(), Line()
    for line in (whole, single):
        line.see(segment(iss, flags=SYN))
    for turn, (start, full, rest, flags) in enumerate(bursts):
        data = bytes((full - 1) * 1000) + b"a" * rest
        big = Packet(tcp(ACK | flags, iss + 1 + start * 1000, 1, data), gso_size=1000)
        peeked = View(big, turn * 5 * MS)
        whole.tracker.peek(peeked)
        possible = {text for text in SLICED if parse_filter(text).test.possible(peeked)}
        found = {
            text
            for slice_ in split(big)
            for view in [single.see(slice_, turn * 5 * MS)]
            for text in SLICED
            if holds(view, text)
        }
        whole.see(big, turn * 5 * MS)
        assert found <= possible
    known, same = (line.see(segment(iss + 1)).flow for line in (whole, single))
    for name in ("packets", "data", "bytes", "repeats", "repeated", "top", "syns"):
        assert getattr(known, name) == getattr(same, name), name


def test_a_super_packet_need_not_be_split_where_nothing_can_match() -> None:
    line = Line()
    line.see(segment(99, flags=SYN))
    line.see(segment(100, 1000))
    view = View(Packet(tcp(ACK, 1100, 1, bytes(3000)), gso_size=1000))
    line.tracker.peek(view)
    for text in (
        "tcp.dstport == 81", "udp", "flow.packet == 2", "flow.packet > 5", "flow.data == 1", "flow.bytes < 1000", "flow.new",
        "flow.bytes > 4000", "flow.retransmission", "flow.retransmission.count == 1", "flow.attempt > 1", "tcp.seq == 1",
        "tcp.len < 1000", "tcp.flags.fin", "tcp.flags.syn and tcp.dstport == 80", 'tcp.payload contains "GET"',
        "not tcp.dstport == 80", "flow.pure_ack", "ip.src == 10.0.0.0/8", "tcp.dstport == 81 and ip.id == 3",
    ):  # fmt: skip
        assert not parse_filter(text).test.possible(view), text
    for text in (
        "tcp",
        "flow.packet == 3",
        "flow.packet == 5",
        "flow.bytes > 2999",
        "ip.id == 3",
        "not tcp.flags.push",
    ):
        assert parse_filter(text).test.possible(view), text
