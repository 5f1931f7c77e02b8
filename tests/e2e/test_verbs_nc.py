"""`netemu nc` against the kernel's nc and sockets, both ways."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest
from attaching import client_of
from emulated import ADDRESS4, MIB, NETEMU, Emulated, inside, sha256_of, until, write_pattern
from netns import PATIENCE
from verbs import ended, listening, started

pytestmark = pytest.mark.e2e

KERNEL4 = "198.18.0.1"


def kernel_server(instance: Emulated, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket outside, on a port of its own choice."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.bind((KERNEL4, 0))
        if kind == socket.SOCK_STREAM:
            made.listen()
        made.settimeout(PATIENCE)
        return made

    return inside(instance.namespace, make)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(MIB), b""))


def test_out_with_half_close_both_ways(instance: Emulated) -> None:
    with kernel_server(instance) as server:
        port = server.getsockname()[1]
        process = started(instance, "nc", "-v", "-N", "-s", ADDRESS4, "-p", "4001", KERNEL4, str(port))
        assert process.stdin is not None
        process.stdin.write("question")
        process.stdin.close()
        connection, peer = server.accept()
        with connection:
            assert peer == (ADDRESS4, 4001)
            assert read_all(connection) == b"question"
            connection.sendall(b"answer")
        process.stdin = None
        assert ended(process) == (0, "answer", f"Connection to {KERNEL4} port {port} [tcp] succeeded!\n")


def test_without_N_the_end_of_input_is_kept(instance: Emulated) -> None:
    with kernel_server(instance) as server:
        process = started(instance, "nc", KERNEL4, str(server.getsockname()[1]))
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.close()
        process.stdin = None
        connection, _ = server.accept()
        assert connection.recv(10) == b"x"
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        connection.close()
        assert ended(process) == (0, "", "")


def test_binary_both_ways_at_once(instance: Emulated, tmp_path: Path) -> None:
    """Whole files through a listening netemu nc and the kernel's."""
    up, down = write_pattern(tmp_path / "up", 5 * MIB), write_pattern(tmp_path / "down", 3 * MIB + 1)
    here = f"env NETEMU_NAME={instance.name} {NETEMU} nc -N -l 4002 <{tmp_path}/down >{tmp_path}/up.got"
    process = instance.namespace.start("sh", "-c", here)
    listening(instance, 4002)
    instance.namespace.run("sh", "-c", f"nc -N {ADDRESS4} 4002 <{tmp_path}/up >{tmp_path}/down.got")
    assert ended(process) == (0, "", "")
    assert (sha256_of(tmp_path / "up.got"), sha256_of(tmp_path / "down.got")) == (up, down)


def test_backpressure_reaches_the_sender(instance: Emulated) -> None:
    process = started(instance, "nc", "-d", "-l", "4003")
    listening(instance, 4003)
    with client_of(instance, 4003) as client:
        client.setblocking(False)
        sent, still = 0, time.monotonic()
        while time.monotonic() < still + 0.4:
            try:
                sent += client.send(bytes(65536))
                still = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        assert sent < 16 * MIB
        client.setblocking(True)
        client.shutdown(socket.SHUT_WR)
        assert process.stdout is not None
        assert process.stdout.read() == "\0" * sent
    assert process.wait(PATIENCE) == 0


def test_one_after_the_other(instance: Emulated) -> None:
    process = started(instance, "nc", "-v", "-k", "-d", "-l", "4004")
    listening(instance, 4004)
    assert process.stdout is not None
    for text in ("one\n", "two\n"):
        with client_of(instance, 4004) as client:
            client.sendall(text.encode())
        assert process.stdout.readline() == text
    process.terminate()
    status, _, err = ended(process)
    assert status == 143 or status < 0
    assert [line.split(" on ")[0] for line in err.splitlines()] == ["Listening", *["Connection received"] * 2]


def test_udp_both_ways(instance: Emulated) -> None:
    process = started(instance, "nc", "-u", "-l", "4005")
    listening(instance, 4005)
    with inside(instance.namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(PATIENCE)
        client.connect((ADDRESS4, 4005))
        client.send(b"ping\n")
        assert process.stdout is not None
        assert process.stdout.readline() == "ping\n"
        assert process.stdin is not None
        process.stdin.write("pong")
        process.stdin.flush()
        assert client.recv(100) == b"pong"
    process.kill()
    with kernel_server(instance, socket.SOCK_DGRAM) as server:
        assert ended(started(instance, "nc", "-u", "-q", "0", KERNEL4, str(server.getsockname()[1])), "out") == (
            0,
            "",
            "",
        )
        assert server.recvfrom(100)[0] == b"out"


def test_which_ports_are_open(instance: Emulated) -> None:
    with kernel_server(instance) as server:
        port = server.getsockname()[1]
        assert ended(started(instance, "nc", "-z", KERNEL4, str(port))) == (0, "", "")
        status, _, err = ended(started(instance, "nc", "-zv", KERNEL4, f"{port}-{port + 1}"))
        assert (status, err.splitlines()[0]) == (0, f"Connection to {KERNEL4} port {port} [tcp] succeeded!")
    assert ended(started(instance, "nc", "-z", KERNEL4, "9")) == (1, "", "")
    refused = f"connect to {KERNEL4} port 9 (udp) failed: connection refused\n"
    assert ended(started(instance, "nc", "-zuv", "-w", str(PATIENCE), KERNEL4, "9")) == (1, "", refused)


def test_failures(instance: Emulated) -> None:
    refused = f"netemu: connect to {KERNEL4} port 9 (tcp) failed: connection refused\n"
    assert ended(started(instance, "nc", KERNEL4, "9")) == (1, "", refused)
    silent = "netemu: connect to 203.0.113.9 port 9 (tcp) failed: connection timed out\n"
    assert ended(started(instance, "nc", "-w", "0.2", "203.0.113.9", "9")) == (1, "", silent)
    with kernel_server(instance) as server:
        port = str(server.getsockname()[1])
        process = started(instance, "nc", "-w", "3", KERNEL4, port)  # its input stays open: the silence ends it
        connection, _ = server.accept()
        assert process.wait(PATIENCE) == 0
        connection.close()
        process = started(instance, "nc", "-v", KERNEL4, port)
        connection, _ = server.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert process.stderr is not None
        assert "succeeded" in process.stderr.readline()
        connection.close()
        assert ended(process) == (0, "", "connection reset by peer\n")


def test_from_a_shared_port_while_another_listens(instance: Emulated) -> None:
    """What the project is about: A connects out from the port on which C listens."""
    process = started(instance, "nc", "--app", "C", "--reuseport", "-d", "-l", "4006")
    listening(instance, 4006)
    with kernel_server(instance) as server:
        out = started(
            instance, "nc", "--app", "A", "--reuseport", "-N", "-p", "4006", KERNEL4, str(server.getsockname()[1])
        )
        connection, peer = server.accept()
        assert peer == (ADDRESS4, 4006)
        with client_of(instance, 4006) as client:
            client.sendall(b"for C")
        assert ended(process) == (0, "for C", "")
        connection.close()
        assert ended(out) == (0, "", "")
    until(lambda: not instance.connections())
