"""echo, discard, daytime and chargen."""

from __future__ import annotations

import pytest
from apps_transport import PEER, FakeClock, FakeDatagrams, FakeTransport
from hypothesis import given
from hypothesis import strategies as st

from netemu.apps.base import App
from netemu.apps.chargen import BLOCK, PERIOD, ChargenApp
from netemu.apps.daytime import DaytimeApp
from netemu.apps.discard import DiscardApp
from netemu.apps.echo import EchoApp
from netemu.apps.protocols import LOOP_PORTS


def udp(app: App) -> tuple[FakeDatagrams, list[bytes]]:
    """The socket, and a function's worth of answers to one datagram from PEER."""
    socket = FakeDatagrams()
    protocol = app.datagram()
    protocol.connection_made(socket)
    protocol.datagram_received(b"hello", PEER)
    assert all(address == PEER for _, address in socket.sent)
    return socket, [data for data, _ in socket.sent]


# -- echo --------------------------------------------------------------------------------------------------------------


def test_echo_sends_back_the_very_same_buffer() -> None:
    transport = FakeTransport(EchoApp({}, FakeClock()).stream())
    view = memoryview(b"hello")
    transport.protocol.data_received(view)
    assert transport.queue[0] is view


def test_echo_reads_only_while_it_may_write() -> None:
    transport = FakeTransport(EchoApp({}, FakeClock()).stream(), high=100)
    for _ in range(50):
        transport.feed(b"x" * 10)
    assert not transport.reading
    assert transport.size == 110
    transport.take(80)
    assert not transport.reading, "not yet: the buffer is above its low-water mark"
    transport.take(10)
    assert transport.size == 110, "went on, and is full again"
    assert transport.take_all()
    assert transport.output == b"x" * 500
    assert transport.reading


def test_echo_after_the_peers_fin_sends_what_is_queued_then_closes() -> None:
    transport = FakeTransport(EchoApp({}, FakeClock()).stream(), high=100)
    for number in range(30):
        transport.feed(b"%09d\n" % number)
    transport.feed_eof()
    assert not transport.closing, "most of the input is not echoed yet"
    transport.take_all()
    assert transport.output == b"".join(b"%09d\n" % number for number in range(30))
    assert transport.closing
    assert transport.lost


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=30), st.lists(st.integers(1, 400), max_size=30))
def test_echo_is_the_identity_however_it_is_read(parts: list[bytes], reads: list[int]) -> None:
    transport = FakeTransport(EchoApp({}, FakeClock()).stream(), high=256)
    for number, part in enumerate(parts):
        transport.feed(part)
        if number < len(reads):
            transport.take(reads[number])
    transport.feed_eof()
    transport.take_all()
    assert transport.output == b"".join(parts)
    assert transport.peak <= 256 + 300
    assert transport.lost


def test_echo_answers_datagrams() -> None:
    assert udp(EchoApp({}, FakeClock()))[1] == [b"hello"]


# -- discard -----------------------------------------------------------------------------------------------------------


def test_discard_counts_and_says_nothing() -> None:
    app = DiscardApp({}, FakeClock())
    transport = FakeTransport(app.stream())
    transport.feed(b"x" * 1000)
    transport.feed(b"y" * 24)
    transport.feed_eof()
    assert app.bytes == 1024
    assert not transport.queue
    assert transport.closing
    assert udp(app)[1] == []
    assert (app.datagrams, app.bytes) == (1, 1029)


# -- daytime -----------------------------------------------------------------------------------------------------------


def test_daytime_says_one_line_and_closes() -> None:
    transport = FakeTransport(DaytimeApp({}, FakeClock(1795354000.9)).stream())
    assert transport.take() == b"Sunday, November 22, 2026 13:26:40-UTC\r\n"
    assert transport.lost


def test_daytime_follows_its_clock() -> None:
    clock = FakeClock(0)
    app = DaytimeApp({}, clock)
    assert udp(app)[1] == [b"Thursday, January 01, 1970 00:00:00-UTC\r\n"]
    clock.advance(86_400 * 10**9)
    assert udp(app)[1] == [b"Friday, January 02, 1970 00:00:00-UTC\r\n"]


# -- chargen -----------------------------------------------------------------------------------------------------------


def test_chargen_lines_are_those_of_the_rfc() -> None:
    transport = FakeTransport(ChargenApp({}, FakeClock()).stream())
    lines = transport.take().split(b"\r\n")
    assert lines[0] == b""" !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg"""
    assert lines[1] == b"""!"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh"""
    assert lines[94] == b"~" + bytes(range(32, 103))
    assert lines[95] == lines[0]
    assert {len(line) for line in lines[:-1]} == {72}
    assert len(BLOCK) % len(PERIOD) == 0, "the seam between two blocks does not show"


def test_chargen_goes_on_for_ever_in_bounded_memory_and_without_a_copy() -> None:
    transport = FakeTransport(ChargenApp({}, FakeClock()).stream(), high=1 << 20)
    transport.feed(b"whatever")
    for _ in range(20):
        assert all(part is BLOCK for part in transport.queue)
        transport.take()
    assert transport.peak <= (1 << 20) + len(BLOCK)
    assert bytes(transport.output) == BLOCK * (len(transport.output) // len(BLOCK))


def test_chargen_stops_when_the_peer_is_done() -> None:
    transport = FakeTransport(ChargenApp({}, FakeClock()).stream())
    transport.feed_eof()
    assert len(transport.take_all()) == len(BLOCK), "what was queued, and no more"
    assert transport.lost


def test_chargen_datagrams_have_up_to_512_characters_the_same_in_every_run() -> None:
    def lengths() -> list[int]:
        socket = FakeDatagrams()
        protocol = ChargenApp({}, FakeClock()).datagram()
        protocol.connection_made(socket)
        for _ in range(300):
            protocol.datagram_received(b"", PEER)
        assert all(PERIOD.startswith(data) for data, _ in socket.sent)
        return [len(data) for data, _ in socket.sent]

    seen = lengths()
    assert seen == lengths()
    assert len(set(seen)) > 100
    assert max(seen) <= 512


# -- all ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EchoApp, DaytimeApp, ChargenApp])
@pytest.mark.parametrize("port", sorted(LOOP_PORTS))
def test_no_answer_to_a_service_that_would_answer_again(kind: type[App], port: int) -> None:
    socket = FakeDatagrams()
    protocol = kind({}, FakeClock()).datagram()
    protocol.connection_made(socket)
    protocol.datagram_received(b"ping", ("198.18.0.1", port))
    assert socket.sent == []


@pytest.mark.parametrize("kind", [EchoApp, DiscardApp, DaytimeApp, ChargenApp])
def test_a_reset_is_nothing_special(kind: type[App]) -> None:
    transport = FakeTransport(kind({}, FakeClock()).stream())
    transport.reset()


@pytest.mark.parametrize("kind", [EchoApp, DiscardApp, DaytimeApp, ChargenApp])
def test_connections_are_small(kind: type[App]) -> None:
    assert not hasattr(kind({}, FakeClock()).stream(), "__dict__")
