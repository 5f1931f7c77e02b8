"""`netemu forward`, both ways: ends, resets, refusals and backpressure are passed on."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from emulated import ADDRESS4, ADDRESS6, MIB, Emulated, inside, pattern, until
from netns import PATIENCE, Namespace
from verbs import ended, running, started

import netemu

pytestmark = pytest.mark.e2e

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Path(NamedTuple):
    """A forward with a server behind it."""

    server: socket.socket
    connect: Callable[[], socket.socket]

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """(client, the server's end)."""
        client = self.connect()
        end, _ = self.server.accept()
        for one in (client, end):
            one.settimeout(PATIENCE)
        return client, end


def kernel_client(instance: Emulated, address: str, port: int) -> socket.socket:
    return inside(instance.namespace, lambda: socket.create_connection((address, port), timeout=PATIENCE))


@pytest.fixture(params=["in", "in over IPv6", "out"])
def path(instance: Emulated, request: pytest.FixtureRequest) -> Iterator[Path]:
    """From a kernel client by the emulated host to a kernel server; or to an app of the host."""
    if request.param == "out":
        host = netemu.attach(app="server", name=instance.name)
        with (
            host.create_server((ADDRESS4, 0)) as app,
            running(instance, "forward", "kernel:9000", "TO", f"{ADDRESS4}:{app.getsockname()[1]}"),
        ):
            yield Path(app, lambda: kernel_client(instance, "127.0.0.1", 9000))
        host.close()
        return
    family, loopback, address = (
        (socket.AF_INET, "127.0.0.1", ADDRESS4) if request.param == "in" else (socket.AF_INET6, "::1", ADDRESS6)
    )
    with inside(instance.namespace, lambda: socket.create_server((loopback, 0), family=family)) as server:
        shown = f"[{loopback}]" if ":" in loopback else loopback
        with running(instance, "forward", "[::]:8080", "TO", f"{shown}:{server.getsockname()[1]}"):
            yield Path(server, lambda: kernel_client(instance, address, 8080))


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


def send_until_told(sock: socket.socket) -> None:
    until(lambda: not sock.send(b"x"))


def test_ends_and_resets(path: Path) -> None:
    client, end = path.pair()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert end.makefile("rb").read() == b"question"
    end.sendall(b"answer")
    end.close()
    assert client.makefile("rb").read() == b"answer"
    client.close()
    client, end = path.pair()
    end.shutdown(socket.SHUT_WR)  # the other one first
    assert client.recv(1) == b""
    client.sendall(b"late")
    client.close()
    assert end.makefile("rb").read() == b"late"
    end.close()
    for whose in (0, 1):
        for is_half_closed in (False, True):
            both = path.pair()
            one, other = both[whose], both[1 - whose]
            if is_half_closed:
                one.shutdown(socket.SHUT_WR)
                assert other.recv(1) == b""
            reset(one)
            if is_half_closed:  # recv gives the end for ever; only who sends is told
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    send_until_told(other)
            else:
                with pytest.raises(ConnectionResetError):
                    other.recv(1)
            other.close()


def test_backpressure_and_much_data(path: Path) -> None:
    client, end = path.pair()
    client.setblocking(False)
    data, sent, still = pattern(32 * MIB), 0, time.monotonic()
    while time.monotonic() < still + 0.3:
        try:
            sent += client.send(memoryview(data)[sent : sent + 65536])
            still = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    assert 0 < sent < len(data)  # nobody reads: it is held back
    client.setblocking(True)

    def go_on() -> None:
        client.sendall(memoryview(data)[sent:])
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=go_on)
    sender.start()
    got = b"".join(iter(lambda: end.recv(MIB), b""))
    sender.join()
    assert got == data
    client.close()
    end.close()


def test_a_dead_target_is_a_closed_port(instance: Emulated) -> None:
    with running(instance, "forward", "8081", "TO", "1", "-v") as it:
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                kernel_client(instance, ADDRESS4, 8081)
        assert it.stderr is not None
        line = it.stderr.readline()
        assert ": refused, since connecting failed: connection refused (0 B there, 0 B back, " in line
    assert instance.counters()["reset"]["REFUSED"] >= 3
    with (
        running(instance, "forward", "kernel:9001", "TO", f"{ADDRESS4}:1"),
        pytest.raises(ConnectionResetError),  # by connect, if it is that quick
    ):
        kernel_client(instance, "127.0.0.1", 9001).recv(1)


def state_of(sock: socket.socket) -> int:
    """The kernel's number of it: the first byte of TCP_INFO. (What follows tells of retransmissions.)"""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def test_the_syn_ack_waits_for_the_target(instance: Emulated) -> None:
    """A server whose accept queue is full answers no SYN: neither is the client answered, until there is room."""
    server = inside(instance.namespace, lambda: socket.create_server(("127.0.0.1", 0), backlog=0))
    port = server.getsockname()[1]
    with running(instance, "forward", "8082", "TO", str(port)):
        first = kernel_client(instance, "127.0.0.1", port)
        waiting = inside(instance.namespace, lambda: socket.socket())
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.connect((ADDRESS4, 8082))
        (row,) = until(lambda: [row for row in instance.connections() if row["local"].endswith(":8082")])
        assert (row["state"], row["app"]) == ("SYN-RECEIVED", "forward")
        time.sleep(0.2)
        assert state_of(waiting) == 2  # TCP_SYN_SENT
        server.accept()[0].close()
        waiting.setblocking(True)
        waiting.settimeout(PATIENCE)
        until(lambda: state_of(waiting) == 1)  # TCP_ESTABLISHED
        end, _ = server.accept()
        end.sendall(b"made")
        assert waiting.recv(10) == b"made"
        for one in (first, waiting, end, server):
            one.close()


def test_a_client_that_gives_up_first(instance: Emulated) -> None:
    server = inside(instance.namespace, lambda: socket.create_server(("127.0.0.1", 0), backlog=0))
    port = server.getsockname()[1]
    with running(instance, "forward", "8083", "TO", str(port), "-v") as it:
        first = kernel_client(instance, "127.0.0.1", port)
        waiting = inside(instance.namespace, lambda: socket.socket())
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.connect((ADDRESS4, 8083))
        until(lambda: [row for row in instance.connections() if row["local"].endswith(":8083")])
        waiting.close()  # a SYN goes unanswered: nobody is told. The target comes too late then
        server.accept()[0].close()
        assert it.stderr is not None
        assert ": the client has given up (0 B there, 0 B back, " in it.stderr.readline()
        first.close()
    server.close()


def test_many_at_once(path: Path) -> None:
    pairs = [path.pair() for _ in range(60)]
    for number, (client, _) in enumerate(pairs):
        client.sendall(b"%d" % number)
        client.shutdown(socket.SHUT_WR)
    numbers = set()
    for _, end in pairs:
        text = end.makefile("rb").read()
        numbers.add(int(text))
        end.sendall(text)
        end.close()
    assert numbers == set(range(60))
    for number, (client, _) in enumerate(pairs):
        with client:
            assert client.makefile("rb").read() == b"%d" % number


def test_how_it_ends_and_what_it_refuses(instance: Emulated) -> None:
    process = started(instance, "forward", "8084", "TO", "127.0.0.1:1", "--app", "gate")
    assert process.stdout is not None
    assert process.stdout.readline() == (
        "forwarding emulated 0.0.0.0:8084 to kernel 127.0.0.1:1 as app gate; ^C ends it\n"
    )
    status, _, err = ended(started(instance, "forward", "8084", "TO", "1"))
    assert (status, err.count("\n")) == (1, 1)
    assert "port 8084 is held by s" in err
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == (130, "", "")
    with running(instance, "forward", "kernel:9002", "TO", "1"):
        status, _, err = ended(started(instance, "forward", "kernel:9002", "TO", "1"))
        assert (status, err) == (
            1,
            "netemu: 127.0.0.1:9002: address already in use; "
            "apps of one user share a port if all of them ask for it (--reuseport)\n",
        )


@pytest.mark.parametrize("listen", ["8090", "kernel:8090"])
def test_it_ends_when_the_instance_has(netns: Namespace, listen: str) -> None:
    instance = Emulated(netns)
    with running(instance, "forward", listen, "TO", "80") as process:
        instance.end(signal.SIGKILL)
        assert ended(process)[::2] == (1, "netemu: the instance has ended\n")
