"""Whatever comes, a link carries it or counts why not: nothing raises, and no packet is unaccounted for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_bench import MS, direction, drain
from link_packets import tcp, udp

from netemu.wire.packet import Packet
from netemu.wire.slices import count

WORDS = (
    "loss 10% ecn corrupt 50% duplicate 20% delay 2ms 1ms reorder 10% limit 5",
    "loss gemodel 10% 50% duplicate 20% 50% rate 1mbit queue fq_codel ecn limit 5p",
    "loss state 5% 50% corrupt 30% rate 1mbit queue red ecn slot 1ms 3ms packets 2",
    "rate 300kbit queue pie ecn delay 1ms 1ms 50% keep-order flap 5ms 1ms",
    "rate 1mbit queue codel ecn target 1ms interval 2ms delay 1ms gap 3 slot 5ms bytes 2kb",
)

packets = (
    st.binary(min_size=1, max_size=200).map(Packet)
    | st.builds(lambda data: Packet(b"\x45" + data), st.binary(min_size=19, max_size=200))
    | st.builds(lambda data: Packet(b"\x60" + data), st.binary(min_size=39, max_size=200))
    | st.builds(udp, st.integers(0, 99), st.integers(60, 1500), st.sampled_from([4, 6]), st.integers(0, 3))
    | st.builds(tcp, st.integers(0, 9000), st.sampled_from([0, 500, 1000]), st.sampled_from([4, 6]))
)


@pytest.mark.parametrize("words", WORDS)
@given(st.lists(st.tuples(packets, st.integers(0, 3 * MS)), max_size=12))
def test_what_comes_in_comes_out_or_is_counted(words: str, sent: list[tuple[Packet, int]]) -> None:
    link = direction(words)
    now, came = 0, 0
    for packet, pause in sent:
        now += pause
        came += sum(count(packet) for _, packet in drain(link, now))
        link.send(packet, now)
    came += sum(count(packet) for _, packet in drain(link))
    stats = link.stats
    assert stats.packets_in == sum(count(packet) for packet, _ in sent)
    assert stats.packets_in + stats.duplicated == came + sum(stats.dropped.values())
    assert stats.packets_out == came
    assert (link.queued, link.queued_bytes, link.in_flight) == (0, 0, 0)


@given(packets, st.sampled_from(["mtu 68", "mtu 68 silent", "mtu 600 loss 10%"]))
def test_a_small_mtu_cuts_drops_or_passes_anything(packet: Packet, words: str) -> None:
    link = direction(words)
    link.on_answer = lambda answer, now: None
    link.send(packet, 0)
    limit = 68 if "68" in words else 600
    out = [packet for _, packet in drain(link)]
    assert all(len(piece) <= limit or piece.gso_size for piece in out)
    assert out or link.stats.dropped
