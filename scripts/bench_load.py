#!/usr/bin/env python3
"""The client of scripts/bench.py: ordinary kernel sockets against echo (7), discard (9) and chargen (19).

It runs in the client's namespace and prints one line of JSON. Rates are taken after a short start-up time that does not
count.
"""

from __future__ import annotations

import argparse
import array
import fcntl
import json
import os
import resource
import select
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence

ECHO, DISCARD, CHARGEN = 7, 9, 19
BLOCK = 1 << 20
WARM_UP = 0.2
"""Seconds in which slow start gets over."""
Result = dict[str, float]


def connect(host: str, port: int, timeout: float = 5) -> socket.socket:
    client = socket.create_connection((host, port), timeout)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def down(host: str, seconds: float, count: int) -> Result:
    """Read from chargen."""
    clients = [connect(host, CHARGEN) for _ in range(count)]
    block = bytearray(BLOCK)
    return {"gbps": rate(clients, select.EPOLLIN, seconds, lambda client: client.recv_into(block), lambda: 0)}


def up(host: str, seconds: float, count: int) -> Result:
    """Write to discard; what it has not acknowledged does not count."""
    clients = [connect(host, DISCARD) for _ in range(count)]
    block = bytes(BLOCK)
    waiting = lambda: sum(map(unacknowledged, clients))  # noqa: E731
    return {"gbps": rate(clients, select.EPOLLOUT, seconds, lambda client: client.send(block), waiting)}


def rate(
    clients: Sequence[socket.socket],
    event: int,
    seconds: float,
    move: Callable[[socket.socket], int],
    waiting: Callable[[], int],
) -> float:
    """Gbit/s that ``move`` moves, on whichever sockets are ready."""
    by_fd = {client.fileno(): client for client in clients}
    epoll = select.epoll()
    for client in clients:
        client.setblocking(False)
        epoll.register(client, event)
    moved = 0

    def run(until: float) -> int:
        nonlocal moved
        while time.perf_counter() < until:
            for fd, _ in epoll.poll(0.2):
                try:
                    size = move(by_fd[fd])
                except BlockingIOError:
                    continue
                if not size:
                    raise ConnectionError("the server closed a connection")
                moved += size
        return moved - waiting()

    before = run(time.perf_counter() + WARM_UP)
    start = time.perf_counter()
    after = run(start + seconds)
    return (after - before) * 8 / (time.perf_counter() - start) / 1e9


def unacknowledged(client: socket.socket) -> int:
    """SIOCOUTQ of tcp(7)."""
    return int(struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))[0])


def ping_pong(host: str, seconds: float, count: int) -> Result:
    """One byte there and back, over and over; ``count`` connections at once."""
    return one_ping_pong(host, seconds) if count == 1 else many_ping_pongs(host, seconds, count)


def one_ping_pong(host: str, seconds: float) -> Result:
    client = connect(host, ECHO)
    send, receive, clock = client.send, client.recv, time.perf_counter_ns
    took = array.array("q")
    begin = clock() + int(WARM_UP * 1e9)
    end = begin + int(seconds * 1e9)
    before = clock()
    while before < end:
        send(b"x")
        if not receive(1):
            raise ConnectionError("the server closed the connection")
        after = clock()
        if before >= begin:
            took.append(after - before)
        before = after
    return latencies(took, seconds)


def many_ping_pongs(host: str, seconds: float, count: int) -> Result:
    clients = {client.fileno(): client for client in (connect(host, ECHO) for _ in range(count))}
    epoll, clock = select.epoll(), time.perf_counter_ns
    sent: dict[int, int] = {}
    for fd, client in clients.items():
        epoll.register(fd, select.EPOLLIN)
        sent[fd] = clock()
        client.send(b"x")
    took = array.array("q")
    begin = clock() + int(WARM_UP * 1e9)
    end = begin + int(seconds * 1e9)
    now = 0
    while now < end:
        for fd, _ in epoll.poll(1):
            client = clients[fd]
            if not client.recv(16):
                raise ConnectionError("the server closed a connection")
            now = clock()
            if sent[fd] >= begin:
                took.append(now - sent[fd])
            sent[fd] = now
            client.send(b"x")
    return latencies(took, seconds)


def latencies(took: array.array[int], seconds: float) -> Result:
    ordered = sorted(took)
    if not ordered:
        raise TimeoutError("not one answer came")
    return {
        "per_second": len(ordered) / seconds,
        "p50_us": ordered[len(ordered) // 2] / 1e3,
        "p99_us": ordered[len(ordered) * 99 // 100] / 1e3,
    }


def connections(host: str, seconds: float, count: int) -> Result:
    """Connect, one byte there and back, close; ``count`` at a time. The client closes first, so TIME-WAIT is its own."""
    epoll = select.epoll()
    clients: dict[int, socket.socket] = {}

    def begin() -> None:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        client.connect_ex((host, ECHO))
        clients[client.fileno()] = client
        epoll.register(client, select.EPOLLOUT)

    for _ in range(count):
        begin()
    done, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        for fd, events in epoll.poll(1):
            client = clients[fd]
            if events & select.EPOLLOUT:
                client.send(b"x")
                epoll.modify(fd, select.EPOLLIN)
                continue
            if not client.recv(16):
                raise ConnectionError("the server closed a connection")
            done += 1
            del clients[fd]
            client.close()
            begin()
    return {"per_second": done / (time.perf_counter() - start)}


def idle(host: str, seconds: float, count: int, pid: int) -> Result:
    """Hold connections that have exchanged a byte: what the server's process, and the kernel's slab, have grown by."""
    process, slab = resident(pid), kernel_slab()
    clients = []
    for _ in range(count):
        client = connect(host, ECHO)
        client.send(b"x")
        if not client.recv(1):
            raise ConnectionError("the server closed a connection")
        clients.append(client)
    time.sleep(0.3)
    return {"rss": (resident(pid) - process) / count, "slab": (kernel_slab() - slab) / count}


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


def kernel_slab() -> int:
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Slab:"))


def first_answer(host: str, seconds: float) -> Result:
    """Knock until echo answers. The time is CLOCK_MONOTONIC's, which the one who starts the server reads too."""
    print("knocking", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with connect(host, ECHO, timeout=0.2) as client:
                client.send(b"x")
                if client.recv(1):
                    return {"at": time.monotonic()}
        except OSError:
            time.sleep(0.003)
    raise TimeoutError(f"no answer within {seconds:g} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["down", "up", "ping-pong", "connections", "idle", "first-answer"])
    parser.add_argument("host")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--count", type=int, default=1, help="connections at once")
    parser.add_argument("--cpu", type=int, help="run on this core")
    parser.add_argument("--pid", type=int, default=0, help="the server, for idle")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if given.cpu is not None:
        os.sched_setaffinity(0, {given.cpu})
    simple = {"down": down, "up": up, "ping-pong": ping_pong, "connections": connections}
    try:
        if given.work == "idle":
            result = idle(given.host, given.seconds, given.count, given.pid)
        elif given.work == "first-answer":
            result = first_answer(given.host, given.seconds)
        else:
            result = simple[given.work](given.host, given.seconds, given.count)
    except OSError as error:
        sys.exit(f"{given.work}: {error}")
    print(json.dumps(result), flush=True)
    os._exit(0)  # thousands of sockets: the kernel closes them faster than we do


if __name__ == "__main__":
    main()
