"""Every trouble does what its line says, in virtual time: both families, with super-segments and without, by port and by
address."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

import pytest
from troubled import GET, Client, World

from netemu.apps.trouble.answers import CUT, SHORT, SIZE, page
from netemu.apps.trouble.table import BY_NAME, TROUBLES
from netemu.reasons import Drop, Reset
from netemu.stack import constants as so
from netemu.tcp.connection import Connection

Kind = tuple[int, bool, bool]
KINDS = [(4, True, False), (4, False, False), (6, True, False), (6, False, False), (4, True, True), (6, False, True)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"ipv{kind[0]}{'-offload' * kind[1]}{'-address' * kind[2]}")
def world(request: pytest.FixtureRequest) -> World:
    return World(*request.param)


def is_whole(client: Client, name: str, size: int = SIZE) -> bool:
    """The body is all there, and not a byte of it is wrong."""
    return client.body == page(BY_NAME[name], size)


def server_connections(world: World) -> list[Connection]:
    return [c for c in world.server.host.table.connections.values() if isinstance(c, Connection)]


# -- the handshake


def test_late_handshake(world: World) -> None:
    client = world.get("late-handshake")
    assert client.connected == pytest.approx(5, abs=0.01)
    assert client.fin
    assert is_whole(client, "late-handshake")


def test_late_handshake_of_a_client_that_gives_up(world: World) -> None:
    before = len(server_connections(world))
    client = world.get("late-handshake", 2)
    assert len(server_connections(world)) == before + 1
    client.close()
    world.run(120)
    assert client.connected is None
    assert len(server_connections(world)) == before


def test_full_queue(world: World) -> None:
    before = len(server_connections(world))
    client = world.get("full-queue", 30)
    assert client.connected is None
    assert client.end is None
    assert len(server_connections(world)) == before
    assert world.server.host.counters[Drop.ACCEPT_QUEUE_FULL] == 5, "the SYN of 0, 1, 3, 7 and 15 s"
    place = "{}:{}".format(*world.place("full-queue")) if world.by_address else ":10004"
    rows = [row for row in world.server.host.sockets() if row.state == "LISTEN"]
    (listener,) = [row for row in rows if row.local.replace("[", "").replace("]", "").endswith(place)]
    assert (listener.recv_q, listener.send_q) == (1, 0)


def test_refuse(world: World) -> None:
    client = world.get("refuse")
    assert (client.connected, client.error) == (None, "ECONNREFUSED")
    assert client.end == pytest.approx(0.002, abs=0.001)
    assert [why for _, _, why in world.seen] == ["dropped by rule 1: reset sender", "sent; rule 1: reset sender"]


def test_reset_handshake(world: World) -> None:
    client = world.get("reset-handshake", request=b"")
    assert client.connected == pytest.approx(0.002, abs=0.001)
    assert (client.error, len(client.data)) == ("ECONNRESET", 0)
    assert client.end == pytest.approx(0.004, abs=0.001), "nothing had to be sent for it"


def test_no_answer(world: World) -> None:
    client = world.get("no-answer", 30)
    assert client.connected is None
    assert client.end is None
    syns = dropped(world, "rule")
    assert len(syns) == 5, "the SYN of 0, 1, 3, 7 and 15 s"
    assert all(inbound for inbound, _, _ in syns)


def test_lost_syns(world: World) -> None:
    client = world.get("lost-syns")
    assert client.connected == pytest.approx(3, abs=0.01)
    assert is_whole(client, "lost-syns")
    again = world.get("lost-syns")
    assert again.connected == pytest.approx(3, abs=0.01), "it is so for each connection"


def test_unreachable(world: World) -> None:
    client = world.get("unreachable")
    assert (client.connected, client.error) == (None, "EHOSTUNREACH")
    assert client.end == pytest.approx(0.002, abs=0.001)


def test_lost_synack(world: World) -> None:
    client = world.get("lost-synack")
    assert client.connected == pytest.approx(1, abs=0.01)
    assert is_whole(client, "lost-synack")
    assert [inbound for inbound, _, _ in dropped(world, "rule")] == [False]


# -- the end comes too early, too late or not at all


def test_lost_fin(world: World) -> None:
    client = world.get("lost-fin")
    assert client.fin
    assert is_whole(client, "lost-fin")
    assert client.last is not None
    assert client.end is not None
    assert 0.35 < client.end - client.last < 1  # two of them: a loss probe, then the timer
    assert [inbound for inbound, _, _ in dropped(world, "rule")] == [False, False]


def test_reset_request(world: World) -> None:
    client = world.get("reset-request", request=GET[:-2])
    assert client.end is None
    client.again(b"\r\n")
    world.run(1)
    assert (client.error, len(client.data)) == ("ECONNRESET", 0)


def test_reset_bytes(world: World) -> None:
    client = world.get("reset-bytes")
    assert client.error == "ECONNRESET"
    assert b"Content-Length: 8192" in client.head
    assert client.body == page(BY_NAME["reset-bytes"], 4096)


def test_reset_for_fin(world: World) -> None:
    client = world.get("reset-for-fin")
    assert client.error == "ECONNRESET"
    assert b"Content-Length" not in client.head
    assert is_whole(client, "reset-for-fin")


def test_early_fin(world: World) -> None:
    before = len(server_connections(world))
    client = world.get("early-fin", request=b"")
    assert client.fin
    assert client.end == pytest.approx(0.004, abs=0.001)
    client.again()
    world.run(1)
    assert client.data == b""
    assert not sum(world.server.host.counters[reset] for reset in Reset), "a FIN and nothing else"
    client.close()
    world.run(1)
    assert len(server_connections(world)) == before


def test_half_close(world: World) -> None:
    client = world.get("half-close")
    assert client.fin
    assert is_whole(client, "half-close")
    client.again(bytes(100_000))
    world.run(30)
    assert not client.unsent, "it goes on reading"
    before = len(server_connections(world))
    client.close()
    world.run(1)
    assert len(server_connections(world)) == before - 1, "and closes when the client does"


def test_never_close(world: World) -> None:
    client = world.get("never-close", 300)
    assert client.end is None
    assert client.last is not None
    assert client.last < 0.1
    assert is_whole(client, "never-close")
    client.close()
    world.run(120)
    assert [c.state.value for c in server_connections(world)].count("CLOSE-WAIT") == 1


def test_stall(world: World) -> None:
    client = world.get("stall", 300)
    assert client.end is None
    assert client.body == page(BY_NAME["stall"], 4096)
    assert b"Content-Length: 8192" in client.head
    client.again(b"anybody there?")
    world.run(1)
    assert not client.unsent, "its kernel goes on answering"


def test_drip(world: World) -> None:
    client = world.get("drip", 100.5)
    assert b"Content-Length: 320" in client.head
    assert len(client.body) == 101
    world.run(300)
    assert client.fin
    assert client.end == pytest.approx(SHORT - 1, abs=0.1)
    assert is_whole(client, "drip", SHORT)


def test_slow_head(world: World) -> None:
    client = world.get("slow-head", 20.5)
    assert bytes(client.data) == b"HTTP/1.1 200 OK\r\nServ"
    world.run(440)
    assert client.fin
    assert is_whole(client, "slow-head", SHORT)


def test_late_answer(world: World) -> None:
    client = world.get("late-answer")
    assert client.first == pytest.approx(5, abs=0.01)
    assert client.fin
    assert is_whole(client, "late-answer")


# -- a wrong answer


def test_truncated(world: World) -> None:
    client = world.get("truncated")
    assert client.fin
    assert b"Content-Length: 8192" in client.head
    assert len(client.body) == 4096


def test_truncated_chunk(world: World) -> None:
    client = world.get("truncated-chunk")
    assert client.fin
    assert b"Transfer-Encoding: chunked" in client.head
    assert client.body.startswith(b"2000\r\n")
    assert len(client.body) == 6 + 4096


def test_garbage(world: World) -> None:
    client = world.get("garbage")
    assert client.fin
    assert client.data == bytes(reversed(range(256)))


def test_endless(world: World) -> None:
    client = world.get("endless", 10.05)
    assert client.end is None
    assert len(client.body) == 101 * 65536


def test_endless_of_a_client_that_does_not_read(world: World) -> None:
    client = world.connect("endless")
    client.socket.on_event = None
    world.run(60)
    assert max(len(c.sendbuf) for c in server_connections(world)) < 1 << 20, "what nobody takes is not piled up"


def test_endless_head(world: World) -> None:
    client = world.get("endless-head", 10.05)
    assert client.end is None
    assert b"\r\n\r\n" not in client.data
    assert len(client.data) > 100 * 16384


def test_redirect_loop(world: World) -> None:
    client = world.get("redirect-loop")
    assert client.fin
    assert client.head.startswith(b"HTTP/1.1 302 ")
    assert b"\r\nLocation: /again\r\n" in client.head


def test_stale(world: World) -> None:
    client = world.get("stale")
    assert client.end is None
    assert b"Connection: keep-alive" in client.head
    assert is_whole(client, "stale", SHORT)
    client.again()
    world.run(1)
    assert client.error == "ECONNRESET"
    assert is_whole(client, "stale", SHORT)


# -- the windows, and the size of segments


def test_never_reads(world: World) -> None:
    client = world.get("never-reads", 100, bytes(10_000))
    assert client.connected is not None
    assert client.end is None
    assert client.unsent == 10_000 - 4096
    assert client.socket.connection is not None
    assert client.socket.connection.snd_wnd == 0


def test_slow_reader(world: World) -> None:
    client = world.get("slow-reader", 60.5, bytes(1000))
    assert client.unsent == 1000 - 256, "not a byte more until half of the buffer is free (RFC 9293 3.8.6.2.2)"
    connection = server_connections(world)[-1]
    assert connection.received_bytes == 256 - 60
    world.run(240)
    assert 1000 - 256 - 300 <= client.unsent <= 1000 - 300
    client.close()
    world.run(2000)
    assert client.unsent == 0


def test_tiny_window(world: World) -> None:
    client = world.get("tiny-window", request=upload(10_000))
    assert client.fin
    assert is_whole(client, "tiny-window")
    assert max(payloads(world, inbound=True)) == 64
    assert client.first is not None
    assert client.first > 10_000 / 64 * 0.002, "a round trip for each 64 bytes"


def test_tiny_mss(world: World) -> None:
    client = world.get("tiny-mss", request=upload(10_000))
    assert client.fin
    assert is_whole(client, "tiny-mss")
    connection = client.socket.connection
    assert connection is not None
    assert connection.peer_mss == 88
    assert connection.mss <= 88


def test_tiny_segments(world: World) -> None:
    client = world.get("tiny-segments")
    assert client.fin
    assert is_whole(client, "tiny-segments", SHORT)
    assert [size for size in payloads(world, inbound=False) if size > 1] == []


def dropped(world: World, why: str) -> list[tuple[bool, bytes, str]]:
    """What a capture shows as dropped by rules or Bends."""
    return [seen for seen in world.seen if seen[2].startswith(f"dropped by {why}")]


def payloads(world: World, inbound: bool) -> list[int]:
    """TCP payload bytes of each packet that a capture at the server shows."""
    sizes = []
    for was_inbound, packet, _ in world.seen:
        if was_inbound == inbound:
            start = 20 if packet[0] >> 4 == 4 else 40
            sizes.append(len(packet) - start - (packet[start + 12] >> 4) * 4)
    return sizes


# -- on the way


def upload(size: int) -> bytes:
    return b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)


def test_half_open(world: World) -> None:
    client = world.get("half-open", 60)
    assert client.end is None
    assert client.last == pytest.approx(0.005, abs=0.002)
    assert 2048 <= len(client.data) < 2 * 1460 + 100
    client.again(b"anybody there?")
    world.run(60)
    assert client.unsent == 14, "nothing is acknowledged"


def test_mute_keepalive(world: World) -> None:
    client = world.connect("mute-keepalive")
    for level, option, value in (
        (so.SOL_SOCKET, so.SO_KEEPALIVE, 1),
        (so.IPPROTO_TCP, so.TCP_KEEPIDLE, 10),
        (so.IPPROTO_TCP, so.TCP_KEEPINTVL, 2),
        (so.IPPROTO_TCP, so.TCP_KEEPCNT, 3),
    ):
        client.socket.setsockopt(level, option, value)
    world.run(5)
    client.again(b"anybody there?")
    world.run(1)
    assert not client.unsent, "data is acknowledged"
    world.run(20)
    assert client.error == "ETIMEDOUT"
    assert client.end == pytest.approx(5 + 10 + 3 * 2, abs=0.2)


def test_keepalive_is_answered_elsewhere(world: World) -> None:
    """The control of the test above."""
    client = world.connect("stall")
    client.socket.setsockopt(so.SOL_SOCKET, so.SO_KEEPALIVE, 1)
    client.socket.setsockopt(so.IPPROTO_TCP, so.TCP_KEEPIDLE, 10)
    client.socket.setsockopt(so.IPPROTO_TCP, so.TCP_KEEPCNT, 1)
    world.run(60)
    assert client.end is None


def test_lost_update(world: World) -> None:
    client = world.get("lost-update", request=upload(10_000))
    assert client.fin
    assert is_whole(client, "lost-update")
    assert "dropped by LostUpdate" in {why for _, _, why in world.seen}
    assert client.first is not None
    assert client.first > 3.01, "the client had to probe"


def test_overlapping(world: World) -> None:
    client = world.get("overlapping")
    assert client.fin
    assert is_whole(client, "overlapping")
    sizes = payloads(world, inbound=False)
    assert sum(sizes) - len(client.data) >= 100 * 28
    assert client.socket.connection is None or client.socket.connection.total_retransmits == 0


def data_numbers(world: World) -> list[int]:
    """Sequence numbers of the segments with data that left, in the order of the wire."""
    found = []
    for inbound, packet, why in world.seen:
        start = 20 if packet[0] >> 4 == 4 else 40
        if not inbound and "dropped" not in why and len(packet) > start + (packet[start + 12] >> 4) * 4:
            found.append(int.from_bytes(packet[start + 4 : start + 8], "big"))
    return found


def test_reordered(world: World) -> None:
    client = world.get("reordered")
    assert client.fin
    assert is_whole(client, "reordered")
    numbers = data_numbers(world)
    assert numbers != sorted(numbers)
    assert len(set(numbers)) >= 20


def test_duplicated(world: World) -> None:
    client = world.get("duplicated")
    assert client.fin
    assert is_whole(client, "duplicated")
    numbers = data_numbers(world)
    assert numbers[::2] == numbers[1::2]
    assert world.client.host.counters[Drop.DUPLICATE] == len(numbers) // 2


def test_bad_checksum(world: World) -> None:
    client = world.get("bad-checksum")
    assert client.fin
    assert is_whole(client, "bad-checksum")
    assert world.client.host.counters[Drop.BAD_TCP_CHECKSUM] == 1
    assert client.last is not None
    assert client.last < 2


def test_black_hole(world: World) -> None:
    client = world.get("black-hole", 60)
    assert client.end is None
    assert client.head.startswith(b"HTTP/1.1 200 OK")
    assert client.body == b""
    assert len(dropped(world, "rule")) > 5
    other = world.get("black-hole", 60, upload(10_000))
    assert other.data == b"", "nor does an upload get through"
    assert other.unsent > 8000


def test_corrupted(world: World) -> None:
    client = world.get("corrupted")
    assert client.fin
    whole = page(BY_NAME["corrupted"])
    assert len(client.body) == len(whole)
    different = [a ^ b for a, b in zip(client.body, whole, strict=True) if a != b]
    assert len(different) == 1
    assert different[0].bit_count() == 1
    digest = b64encode(sha256(whole).digest())
    assert b"\r\nRepr-Digest: sha-256=:%s:\r\n" % digest in client.head + b"\r\n"


def test_wrong_acks(world: World) -> None:
    client = world.get("wrong-acks")
    assert client.fin
    assert is_whole(client, "wrong-acks")
    counters = world.client.host.counters
    assert (counters[Drop.BAD_ACK], counters[Drop.OLD_ACK]) == (1, 1)


def test_blind_reset(world: World) -> None:
    client = world.get("blind-reset")
    assert client.fin
    assert is_whole(client, "blind-reset")
    assert world.client.host.counters[Drop.RST_CHALLENGED] == 1


def test_blind_syn(world: World) -> None:
    client = world.get("blind-syn")
    assert client.fin
    assert is_whole(client, "blind-syn")
    assert world.client.host.counters[Drop.SYN_CHALLENGED] == 1


# -- all of them


@pytest.mark.parametrize("version", [4, 6])
def test_by_address_the_others_are_as_they_were(version: int) -> None:
    """The host's own address and its ports of trouble, beside addresses where the same port misbehaves."""
    world = World(version, by_address=True)
    good, by_port, by_address = (
        Client(world, world.own, 80),
        Client(world, world.own, 10000 + BY_NAME["truncated"].number),
        Client(world, *world.place("truncated")),
    )
    silent = Client(world, *world.place("no-answer"))
    world.run(5)
    assert good.head.startswith(b"HTTP/1.1 200")
    assert f"Content-Length: {len(good.body)}".encode() in good.head
    assert b"truncated" not in good.body
    assert by_port.body == by_address.body == page(BY_NAME["truncated"], CUT)
    assert silent.connected is None
    assert {why for _, _, why in world.seen if "no-answer" in why or "drop" in why} == {"dropped by rule 1: drop"}


def test_there_is_a_test_for_each() -> None:
    tests = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert {trouble.name for trouble in TROUBLES} <= tests


def test_numbers_and_names_are_given_once() -> None:
    assert len({trouble.number for trouble in TROUBLES}) == len(TROUBLES) == len(BY_NAME)


@pytest.mark.parametrize(
    "test",
    [
        test_half_open, test_reordered, test_overlapping, test_duplicated, test_bad_checksum, test_black_hole,
        test_corrupted, test_tiny_mss, test_tiny_window, test_lost_update, test_reset_bytes,
    ],
)  # fmt: skip
def test_the_mtu_is_no_matter(test: Callable[[World], None]) -> None:
    test(World(mtu=65535))


@pytest.mark.parametrize("name", [trouble.name for trouble in TROUBLES if trouble.accepts])
def test_nothing_lasts_longer_than_its_time(name: str) -> None:
    """Whatever the client does not do, the connection has left the host after its lifetime."""
    world = World()
    idle = len(server_connections(world))
    client = world.connect(name, GET)
    world.run(15)
    client.close()
    world.run(800)
    assert len(server_connections(world)) == idle
    assert not world.server.host.faults
