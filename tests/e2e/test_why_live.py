"""`netemu why` and `netemu ss` of a real instance: every captured frame is explained, and asking leaves no trace."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from emulated import ADDRESS4, ADDRESS6, NETEMU, Emulated, emulated, inside, scratch
from netns import PATIENCE, Namespace

from netemu.capture.pcapng import read_blocks
from netemu.runtime.client import Client
from netemu.runtime.paths import find

pytestmark = pytest.mark.e2e


def traffic(host: Emulated) -> None:
    for line in (
        f"curl -sS --fail -o /dev/null http://{ADDRESS4}/bytes/200000",
        f"curl -sSg --fail -o /dev/null 'http://[{ADDRESS6}]/'",
        f"nc.openbsd {ADDRESS4} 4444 </dev/null || true",
        f"echo hello | nc.openbsd -u -w 1 {ADDRESS4} 7",
        f"(echo hello; sleep 0.2) | ncat -u {ADDRESS4} 4444 2>/dev/null || true",
        f"ping -q -c 1 {ADDRESS6}; ping -q -c 1 -s 5001 {ADDRESS4}",
    ):
        host.namespace.run("sh", "-c", line, timeout=PATIENCE)


def test_every_captured_frame_is_explained(netns: Namespace) -> None:
    with scratch() as files:
        path = files / "all.pcapng"
        with emulated(netns, "--pcap", str(path)) as host:
            traffic(host)
            with path.open("rb") as file:
                frames = [record for record in read_blocks(file.read) if record.data is not None]
            counted = host.counters()
            client = Client(find(host.name))
            for frame in frames:
                assert frame.data is not None
                verdict = client.why_packet(frame.data, len(frame.data), not frame.inbound)
                if "NO_SOCKET" in frame.comment and frame.inbound:
                    assert f"dropped: {verdict.reason} " in frame.comment  # nobody is there now either
                assert verdict.direction == ("in" if frame.inbound else "out")
            assert host.counters() == counted
            assert len(frames) > 40
            told = json.loads(ask(netns, path, 1, host.name))
            assert (told["then"], told["missing"]) == (frames[0].comment, "")
        told = json.loads(ask(netns, path, 2))
        assert (told["then"], told["now"]) == (frames[1].comment, None)
        assert told["missing"] == "no instance is running"


def ask(netns: Namespace, path: Path, number: int, name: str = "") -> str:
    """With a directory of instances of its own where there is to be none."""
    setting = f"NETEMU_NAME={name}" if name else f"NETEMU_DIR={path.parent}"
    return netns.run("env", setting, NETEMU, "why", "--pcap", str(path), "--frame", str(number), "--json").stdout


def test_a_live_connection(netns: Namespace) -> None:
    with emulated(netns) as host:
        with inside(netns, lambda: socket.create_connection((ADDRESS4, 7), PATIENCE)) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
            mine = f"{client.getsockname()[0]}:{client.getsockname()[1]}"
            told = json.loads(host.netemu("why", "tcp", mine, f"{ADDRESS4}:7", "--len", "3", "--json").stdout)
            assert (told["reason"], told["app"]) == ("CONNECTION", "echo")
            assert [c["state"] for c in told["candidates"] if c["wins"]] == ["ESTABLISHED"]
            assert told["effects"][0] == "3 bytes for the app to read"
            client.sendall(b"again")  # nothing has changed: the numbers still fit
            assert client.recv(5) == b"again"
            listed = host.netemu("ss", "-tip", "dst", mine).stdout
            assert "rtt " in listed
            assert "total_retransmits 0" in listed
            assert json.loads(host.netemu("ss", "--json", "state", "established", "sport", "=", ":7").stdout)
        assert "RST" in host.netemu("why", "tcp", "198.18.0.1:1", f"{ADDRESS4}:4444").stdout
