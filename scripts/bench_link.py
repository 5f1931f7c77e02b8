"""What scripts/bench.py measures of an emulated link between two kernel stacks: its rate, and how exact its delay is."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from struct import Struct
from typing import Any

from bench_beds import SERVER, Bed, Failed, server
from bench_table import Sample

from tun.netns import call_in

TCP_HEADERS = 52
"""Bytes of IPv4, TCP and the timestamps option: what a packet has besides the payload that iperf3 counts."""
PER_SECOND = 1000
DELAY_MS = 20
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35  # socket(7); the socket module has no names for them
PORT = 9999
_STAMP, _TIMESPEC = Struct("q"), Struct("qq")


def rate(bed: Bed, words: str, seconds: float) -> Sample:
    """Mbit/s of IP packets that iperf3's receiver sees of one TCP connection, after a second of start-up.

    A link's rate is of IP packets; iperf3 counts what is in them, and each full one has 52 bytes of headers.
    """
    if bed.set_link is None or not bed.set_link(words):
        return {}
    options = ["--time", f"{max(1, round(seconds))}", "--omit", "1", "--json"]
    with server(bed.servers, "iperf3", "--server"):
        found = _iperf3(bed.clients, *options)
    payload = found["start"]["tcp_mss_default"]
    received = found["end"]["sum_received"]["bits_per_second"]
    return {"mbps": received / 1e6 * (payload + TCP_HEADERS) / payload}


def _iperf3(netns: str, *options: str) -> Any:
    """What its client found out; the server may still be starting."""
    argv = ["ip", "netns", "exec", netns, "iperf3", "--client", SERVER, *options]
    problem = ""
    for _ in range(100):
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            raise Failed("iperf3: no end") from None
        found = json.loads(done.stdout)
        problem = found.get("error", "")
        if not problem:
            return found
        if "unable to connect" not in problem:
            break
        time.sleep(0.05)
    raise Failed(f"iperf3: {problem}")


def delay(bed: Bed, seconds: float) -> Sample:
    """How far (us) from what is asked datagrams arrive: from just before they are sent to when the kernel stamps them.

    Of the kernel's own veth nothing is asked: then this is how long it takes.
    """
    asked = 0 if bed.set_link is None or not bed.set_link(f"delay {DELAY_MS}ms") else DELAY_MS * 1_000_000
    sender = call_in(bed.clients, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    receiver = call_in(bed.servers, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with sender, receiver:
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)  # they are read when all are sent
        receiver.bind((SERVER, PORT))
        sender.connect((SERVER, PORT))
        receiver.settimeout(1)
        number = int(PER_SECOND * seconds)
        start = time.monotonic()
        for index in range(number):
            time.sleep(max(0.0, start + index / PER_SECOND - time.monotonic()))
            sender.send(_STAMP.pack(time.time_ns()))
        errors = sorted(abs(_took(receiver) - asked) / 1e3 for _ in range(number))
    return {"p50_us": errors[number // 2], "p99_us": errors[number * 99 // 100]}


def _took(receiver: socket.socket) -> int:
    """How long (ns) the next datagram was under way."""
    try:
        data, ancillary, _, _ = receiver.recvmsg(64, 64)
    except TimeoutError:
        raise Failed("delay: a datagram was lost") from None
    seconds, ns = _TIMESPEC.unpack(ancillary[0][2])
    sent: int = _STAMP.unpack(data)[0]
    return int(seconds * 1_000_000_000 + ns) - sent
