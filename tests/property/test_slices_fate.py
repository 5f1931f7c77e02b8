"""A super-packet and its slices have the same fate, whatever a link does: decisions are taken per packet of the wire."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from link_packets import tcp

from netemu.link.direction import Direction
from netemu.link.rules.parse import parse_rule
from netemu.link.words import parse_words
from netemu.tcp.config import NEVER
from netemu.wire.slices import split
from netemu.wire.tcp import ACK, PSH

MS = 10**6
WORDS = (
    "delay 5ms", "delay 5ms 2ms", "delay 5ms 2ms 30%", "delay 5ms 2ms distribution pareto keep-order",
    "loss 10%", "loss 10% 50%", "loss gemodel 5% 30%", "loss state 5% 40% ecn", "duplicate 10%", "corrupt 10% 20%",
    "delay 3ms reorder 20%", "delay 3ms reorder 50% 30% gap 3", "rate 10mbit", "limit 40", "mtu 900 silent", "slot 1ms 3ms",
)  # fmt: skip
RULES = (
    "tcp drop probability 10%", "flow.packet == 20 drop", "tcp drop every 7", "tcp duplicate skip 3 first 2",
    "flow.bytes >= 30000 and flow.bytes < 40000 drop", "tcp.flags.push == 1 delay 2ms", "flow.data == 5 corrupt",
    "tcp.len < 1000 drop", "flow.retransmission drop", "flow.attempt == 2 drop first 3", "tcp set ip.ttl=9 probability 20%",
    "tcp.seq >= 20000 count", "tcp truncate 100 every 9",
)  # fmt: skip
GSO = 1000
Sent = list[tuple[int, int, int, bool]]
"""(when, sequence number, size, with PSH)"""


@st.composite
def sent(draw: st.DrawFn) -> Sent:
    """Segments of one flow, super-packets among them; now and then the flow begins again somewhere before."""
    found, now, seq = [], 0, 1000
    for _ in range(draw(st.integers(1, 12))):
        now += draw(st.integers(0, 8 * MS))
        size = draw(st.sampled_from((0, 1, 999, 1000, 1001, 2500, 9000, 30_000)))
        found.append((now, seq, size, draw(st.booleans())))
        seq += size
        if draw(st.integers(0, 5)) == 0:
            seq = draw(st.integers(1000, seq))
    return found


def fate(words: list[str], rules: list[str], sent: Sent, *, whole: bool, version: int) -> tuple[object, ...]:
    """All that came out, with its times, and all that was counted."""
    direction = Direction("l/in", 3, parse_words(words))
    for rule in rules:
        direction.rules.add(parse_rule(rule))
    out: list[tuple[int, bytes]] = []
    told: list[str] = []
    direction.watch = lambda packet, now, event, why: told.append(why) if event == "dropped" else None

    def run(until: int) -> None:
        while direction.deadline <= until < NEVER or direction.deadline < until == NEVER:
            when = direction.deadline
            out.extend((when, bytes(piece)) for packet in direction.take(when) for piece in split(packet))

    for ident, (now, seq, size, push) in enumerate(sent):
        packet = tcp(size, GSO if size > GSO else 0, version, ACK | PSH * push, seq=seq, ident=ident * 100)
        run(now)
        for piece in [packet] if whole else split(packet):
            direction.send(piece, now)
    run(NEVER)
    stats = direction.stats
    counted = {
        name: getattr(stats, name) for name in ("packets_in", "bytes_in", "packets_out", "bytes_out", "duplicated")
    }
    counted |= {name: getattr(stats, name) for name in ("corrupted", "marked", "passed", "dropped")}
    acted = [(row.packets, row.bytes, row.acted) for row in direction.rules.show(0)]
    return out, counted, acted


@given(
    words=st.lists(st.sampled_from(WORDS), max_size=4),
    rules=st.lists(st.sampled_from(RULES), max_size=3),
    sent=sent(),
    version=st.sampled_from((4, 6)),
)
@settings(max_examples=150, deadline=None)
def test_a_super_packet_has_the_fate_of_its_slices(
    words: list[str], rules: list[str], sent: Sent, version: int
) -> None:
    flat = " ".join({text.split()[0]: text for text in words}.values()).split()  # each knob once
    whole, single = (fate(flat, rules, sent, whole=whole, version=version) for whole in (True, False))
    assert whole[1:] == single[1:]
    assert whole[0] == single[0]
