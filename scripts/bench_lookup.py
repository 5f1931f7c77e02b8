"""What it costs to find whose a packet is, with few sockets and with many: bench.py runs this and prints its JSON.

Hosts in this process, no device: what is timed is Host.receive for a segment of an established connection (nothing follows from
it but a look-up), and the table's answer to a SYN. Packets are asked for in random order, the same number of different ones.
"""

from __future__ import annotations

import json
import random
import sys
import time
from ipaddress import IPv4Address

from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.wire import ipv4
from netemu.wire import tcp as tcp_wire
from netemu.wire.checksum import checksum
from netemu.wire.ip import TCP, pseudo_sum
from netemu.wire.tcp import ACK, RST, SYN

HERE = IPv4Address("198.18.0.2").packed
FEW, MANY = (10, 10), (100_000, 1_000)
"""Connections and listeners."""
ASKED = 10
"""Different flows that are asked for, so that the processor's caches hold as much of either table."""
ROUNDS, REPEATS = 7, 20_000
FIRST_PORT = 2000
NOW = 1_000_000_000


def segment(flags: int, peer: int, sport: int, dport: int, seq: int, ack: int = 0) -> bytes:
    """A packet of one of a network of peers."""
    src = IPv4Address(0x0A000000 + peer).packed
    head = tcp_wire.FIXED.pack(sport, dport, seq, ack, 5 << 12 | flags, 65535, 0, 0)
    total = checksum(head, pseudo_sum(src, HERE, TCP, len(head)))
    return ipv4.header(src, HERE, TCP, len(head)) + head[:16] + total.to_bytes(2, "big") + head[18:]


class Table:
    """A host with so many connections and listeners."""

    def __init__(self, connections: int, listeners: int) -> None:
        self.host = Host(["198.18.0.2"], seed=1)
        self.ports = range(FIRST_PORT, FIRST_PORT + listeners)
        open_ = [self._listen(port) for port in self.ports]
        self.ends = []
        for n in range(connections):
            listener = open_[n % listeners]
            self.ends.append(self._connect(1 + n // 50_000, 1024 + n % 50_000, self.ports[n % listeners]))
            listener.accept()
        assert len(self.host.table.connections) == connections

    def _listen(self, port: int) -> StreamSocket:
        listener = StreamSocket(self.host)
        listener.bind(("0.0.0.0", port))
        listener.listen()
        return listener

    def _connect(self, peer: int, sport: int, dport: int) -> tuple[int, int, int]:
        host = self.host
        host.receive(segment(SYN, peer, sport, dport, 1000), NOW)
        answer = host.transmit(NOW)
        assert answer is not None
        iss = int.from_bytes(bytes(answer)[24:28], "big")
        host.receive(segment(ACK, peer, sport, dport, 1001, iss + 1 & 0xFFFFFFFF), NOW)
        while host.transmit(NOW) is not None:
            pass
        return peer, sport, dport

    def time_known(self, chosen: random.Random) -> float:
        """ns for a segment of a connection: a RST far outside of its window, which is dropped without an answer."""
        packets = [segment(RST, *end, 0x70000000) for end in chosen.sample(self.ends, ASKED)] * (REPEATS // ASKED)
        chosen.shuffle(packets)
        receive = self.host.receive
        begin = time.perf_counter_ns()
        for packet in packets:
            receive(packet, NOW)
        return (time.perf_counter_ns() - begin) / len(packets)

    def time_syn(self, chosen: random.Random) -> float:
        """ns for the listener of a SYN."""
        ports = [chosen.choice(self.ports) for _ in range(ASKED)]
        asked = [(HERE, port, chosen.randbytes(12), "netemu0") for port in ports] * (REPEATS // ASKED)
        find = self.host.table.choose_listener
        begin = time.perf_counter_ns()
        for arguments in asked:
            find(*arguments)
        return (time.perf_counter_ns() - begin) / len(asked)


def main() -> None:
    few, many = Table(*FEW), Table(*MANY)
    best: dict[str, float] = {}
    chosen = random.Random(1)
    for _ in range(ROUNDS):
        for name, table in (("few", few), ("many", many)):
            for what, figure in (("known", table.time_known(chosen)), ("syn", table.time_syn(chosen))):
                key = f"{what}_{name}_ns"
                best[key] = min(figure, best.get(key, figure))
    for what in ("known", "syn"):
        best[f"{what}_ratio"] = best[f"{what}_many_ns"] / best[f"{what}_few_ns"]
    json.dump(best, sys.stdout)


if __name__ == "__main__":
    main()
