"""The control API on a real unix socket, asked by the real client."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance_fake import COUNTERS, SOCKETS, STATUS, Served, eventually, served

from netemu.apps.base import UsageError
from netemu.capture.pcapng import Record, read_blocks
from netemu.runtime import client as client_module
from netemu.runtime.client import Capture, Client
from netemu.runtime.errors import RuntimeFailure

PACKET = bytes.fromhex("450000280001000040060000c6120001c6120002 9c40 0050 00000001 00000000 5002 faf0 0000 0000")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "netemu0").mkdir()
    with served(tmp_path / "netemu0" / "control.sock") as running:
        yield running


@pytest.fixture
def client(server: Served) -> Client:
    return Client(server.path)


def raw_request(server: Served, request: str) -> tuple[int, object]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.path))
        connection.sendall(f"{request} HTTP/1.1\r\nHost: netemu\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def packets(capture: Capture) -> list[Record]:
    return [record for record in read_blocks(capture.read) if record.data is not None]


def test_status_sockets_and_counters_arrive_as_they_were_sent(client: Client) -> None:
    assert client.status() == STATUS
    assert client.sockets() == SOCKETS
    assert client.counters() == COUNTERS


def test_only_the_owner_may_open_the_socket(server: Served) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


def test_stop_reaches_the_instance(server: Served, client: Client) -> None:
    client.stop()
    assert server.instance.stopped.wait(5)


@pytest.mark.parametrize(
    ("request_line", "status"), [("GET /nothing", 404), ("POST /status", 405), ("GET /capture?count=x", 400)]
)
def test_a_wrong_request_gets_a_json_error(server: Served, request_line: str, status: int) -> None:
    found, body = raw_request(server, request_line)
    assert found == status
    assert isinstance(body, dict)
    assert list(body) == ["error"]


def test_a_capture_streams_what_it_sees(server: Served, client: Client) -> None:
    with client.capture(count=2) as capture:
        server.see(PACKET, "delivered to s1")
        server.see(PACKET, "", times=5)
        seen = packets(capture)
    assert [(record.data, record.comment, record.inbound) for record in seen] == [
        (PACKET, "delivered to s1", True),
        (PACKET, "", True),
    ]
    eventually(lambda: not server.instance.taps)


def test_a_capture_keeps_what_its_filter_says(server: Served, client: Client) -> None:
    udp = PACKET[:9] + b"\x11" + PACKET[10:]
    with client.capture("udp", count=1, snaplen=22) as capture:
        server.see(PACKET, "tcp")
        server.see(udp, "udp")
        assert [(record.data, record.comment) for record in packets(capture)] == [(udp[:22], "udp")]


def test_a_wrong_filter_is_the_callers_mistake(client: Client) -> None:
    with pytest.raises(UsageError, match="port needs a number"):
        client.capture("port http")


def test_a_capture_that_is_asked_to_end_ends_with_all_it_saw(server: Served, client: Client) -> None:
    with client.capture() as capture:
        server.see(PACKET, times=1000)
        capture.end()
        records = list(read_blocks(capture.read))
    assert sum(record.data is not None for record in records) == 1000
    assert records[-1].dropped == 0


def test_a_capture_ends_in_good_order_with_the_instance(server: Served, client: Client) -> None:
    with client.capture() as capture:
        server.see(PACKET, times=3)
        server.stop()
        assert len(packets(capture)) == 3
    assert not server.path.exists()


def test_a_capture_whose_reader_leaves_is_forgotten(server: Served, client: Client) -> None:
    with client.capture():
        eventually(lambda: len(server.instance.taps) == 1)
    eventually(lambda: not server.instance.taps)


def test_a_reader_that_stops_costs_bounded_memory_and_is_told_what_it_missed(server: Served, client: Client) -> None:
    big = PACKET + bytes(60_000)
    with client.capture() as capture:
        for _ in range(10):
            server.see(big, times=100)  # 60 MB, while nobody reads
        assert client.status() == STATUS  # the instance goes on meanwhile
        capture.end()
        records = list(read_blocks(capture.read))
    kept = sum(record.data is not None for record in records)
    assert 8 < kept * len(big) / 1e6 < 16
    assert records[-1].dropped == 1000 - kept
    assert records[-1].comment == f"{1000 - kept} packets were dropped because the reader was too slow"


def test_a_stop_does_not_wait_for_a_reader_that_stopped(server: Served, client: Client) -> None:
    with client.capture():
        server.see(PACKET + bytes(60_000), times=200)
        server.stop()  # gives up after its grace period; the fixture bounds it


def test_no_instance_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match="no instance named 'gone' is running"):
        Client(tmp_path / "gone" / "control.sock").status()


def test_an_instance_that_hangs_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "TIMEOUT", 0.05)
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(RuntimeFailure, match=r"does not answer within 0\.05 s"):
            Client(path).status()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"nonsense\r\n\r\n"])
def test_an_instance_that_dies_within_an_answer_is_one_line(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "control.sock"

    def die(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(answer)
        connection.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=die, args=(listener,))
        thread.start()
        with pytest.raises(RuntimeFailure, match=r"ended (without a word|before it answered)"):
            Client(path).status()
        thread.join()
