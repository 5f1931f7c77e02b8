"""Clients that do not keep up, or mean harm: memory stays bounded, and the others go on."""

from __future__ import annotations

import random
import select
import socket
import struct
import time
from contextlib import ExitStack

import pytest
from emulated import ADDRESS4, MIB, Emulated, emulated, inside, until
from netns import PATIENCE, Namespace

pytestmark = pytest.mark.e2e

PER_CLIENT = MIB
"""What one that does not read may hold of the host's memory: its send buffer, and something around it."""


def others_go_on(host: Emulated) -> None:
    said = host.namespace.run("curl", "-sS", "--fail", "-m", str(PATIENCE), "-o", "/dev/null", "-w", "%{size_download}",
                              f"http://{ADDRESS4}/bytes/1M")  # fmt: skip
    assert said.stdout == str(1 << 20)


def clients_of(namespace: Namespace, port: int, count: int) -> list[socket.socket]:
    def connect() -> list[socket.socket]:
        clients = []
        for _ in range(count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)  # or the kernel reads megabytes ahead
            client.settimeout(PATIENCE)
            client.connect((ADDRESS4, port))
            clients.append(client)
        return clients

    return inside(namespace, connect)


def receive(client: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        data = client.recv(65536)
        assert data
        received += data
    return bytes(received)


def test_clients_that_stop_reading(netns: Namespace) -> None:
    """chargen would send for ever: it stops when its send buffers are full, and goes on where it stopped."""
    with emulated(netns) as host, ExitStack() as stack:
        host.reset_peak()
        before = host.rss()
        clients = [stack.enter_context(client) for client in clients_of(netns, 19, 20)]
        until(lambda: host.netemu("ss", "-i").stdout.count("timer persist,") == 20)  # all windows are closed
        queued = [row["send_q"] for row in host.connections()]
        others_go_on(host)
        assert [row["send_q"] for row in host.connections()] == queued, "they are all full, and stay so"
        assert len(queued) == 20
        assert min(queued) > 0
        assert host.peak() - before < 20 * PER_CLIENT
        assert host.netemu("ss", "-i").stdout.count("timer persist,") == 20

        lines = receive(clients[0], 4 * MIB).split(b"\r\n")
        ring = bytes(range(32, 127)) * 2
        assert lines[:-1] == [ring[n % 95 : n % 95 + 72] for n in range(len(lines) - 1)]


def test_clients_that_only_send(netns: Namespace) -> None:
    """echo reads no more than it can send back: its clients' own sends stop."""
    with emulated(netns) as host, ExitStack() as stack:
        host.reset_peak()
        before = host.rss()
        clients = [stack.enter_context(client) for client in clients_of(netns, 7, 10)]
        sent = dict.fromkeys(clients, 0)
        for client in clients:
            client.setblocking(False)
        deadline = time.monotonic() + PATIENCE
        while writable := select.select([], clients, [], 0.5)[1]:
            assert time.monotonic() < deadline, "they send and send"
            for client in writable:
                sent[client] += client.send(bytes(65536))
        others_go_on(host)
        assert host.peak() - before < 20 * PER_CLIENT
        for client in clients:
            client.settimeout(PATIENCE)
            assert not receive(client, sent[client]).strip(b"\0")


def syn(source: str, port: int, target_port: int) -> bytes:
    """An IPv4 packet with a SYN; the kernel fills in the IP checksum."""
    addresses = socket.inet_aton(source) + socket.inet_aton(ADDRESS4)
    tcp = struct.pack(">HHIIBBHHH", port, target_port, port * 7, 0, 5 << 4, 0x02, 1000, 0, 0)
    total = sum(struct.unpack(">6H", addresses[:8] + struct.pack(">HH", 6, 20))) + sum(struct.unpack(">10H", tcp))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    tcp = tcp[:16] + struct.pack(">H", 0xFFFF - total) + tcp[18:]
    return struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + addresses + tcp


def test_a_syn_flood(netns: Namespace) -> None:
    """From addresses that answer nothing: the SYN queue fills and no more; other listeners, and connections of the very
    same one, do not notice."""
    chance = random.Random(1)
    count = 20_000
    with emulated(netns) as host:
        (client,) = clients_of(netns, 7, 1)
        with client, netns.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            before = host.rss()
            host.reset_peak()
            for n in range(count):
                source = f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"
                raw.sendto(syn(source, chance.randrange(1024, 65536), 7), (ADDRESS4, 0))
                if n % 5000 == 2500:
                    others_go_on(host)
                    client.sendall(b"still here")
                    assert receive(client, 10) == b"still here"
            half_open = [row for row in host.sockets() if row["state"] == "SYN-RECEIVED"]
            assert 0 < len(half_open) <= 1025  # the backlog and one more, as Linux counts
            counters = host.counters()
            assert counters["drop"]["SYN_QUEUE_FULL"] > 0
            assert host.peak() - before < 16 * MIB
            assert counters["match"].get("CONNECTION", 0) > 0
            others_go_on(host)


def test_garbage(netns: Namespace) -> None:
    """Random bytes behind a right IP header, and SYNs cut short: each counted, none answered by an exception."""
    chance = random.Random(2)
    packets = []
    for _ in range(2000):
        protocol = chance.choice((1, 6, 17, 132))
        rest = chance.randbytes(chance.randrange(0, 80))
        header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(rest), 0, 0, 64, protocol, 0,
                             socket.inet_aton("198.18.0.1"), socket.inet_aton(ADDRESS4))  # fmt: skip
        packets.append(header + rest)
    for length in range(20, 40):
        packet = syn("198.18.0.77", 1000 + length, 80)[:length]
        packets.append(packet[:2] + struct.pack(">H", length) + packet[4:])
    with emulated(netns) as host, netns.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        (client,) = clients_of(netns, 7, 1)
        with client:
            for n, packet in enumerate(packets, 1):
                raw.sendto(packet, (ADDRESS4, 0))
                if n % 100 == 0:  # the queue holds 500 and loses the rest: an echo says that it is empty
                    client.sendall(b"still here")
                    assert receive(client, 10) == b"still here"
        until(lambda: malformed(host) == len(packets))
        others_go_on(host)
        assert "INVARIANT" not in host.counters()["drop"]


def malformed(host: Emulated) -> int:
    """How many packets came in that were dropped; an ICMP error that was held back is none of them."""
    return sum(count for reason, count in host.counters()["drop"].items() if reason != "ICMP_RATE_LIMITED")
