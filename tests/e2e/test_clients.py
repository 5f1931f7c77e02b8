"""The clients that people have, against the apps that every instance serves."""

from __future__ import annotations

import hashlib
import os
import re
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulated import ADDRESS4, ADDRESS6, Emulated, emulated, inside, pattern, scratch, sha256_of, until, write_pattern
from netns import PATIENCE, Namespace

pytestmark = pytest.mark.e2e

ADDRESSES = pytest.mark.parametrize("address", [ADDRESS4, ADDRESS6], ids=["v4", "v6"])
CLOSED = 4444
DAYTIME = re.compile(r"\w+day, \w+ \d\d?, \d{4} \d\d:\d\d:\d\d-UTC\r?\n")
CHARGEN = "".join(map(chr, range(32, 127)))
"""The characters of RFC 864; line n starts with the n-th."""


@pytest.fixture(scope="module")
def host() -> Iterator[Emulated]:
    namespace = Namespace()
    try:
        with emulated(namespace) as instance:
            yield instance
            until(lambda: not instance.connections())
    finally:
        namespace.close()


def run(host: Emulated, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return host.namespace.run(*argv, timeout=PATIENCE, check=check)


def shell(host: Emulated, line: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run(host, "sh", "-c", line, check=check)


def url(address: str, path: str = "/", port: int = 80) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"


# -- http -----------------------------------------------------------------------------------------------------------------


@ADDRESSES
def test_curl(host: Emulated, address: str) -> None:
    said = run(
        host, "curl", "-sS", "--fail", "-w", "%{http_code} %{num_connects}\n", url(address), url(address, "/bytes/9")
    )
    first, second = said.stdout.split("200 1\n")
    assert "netemu" in first
    assert second == "000000000200 0\n", "the second request went over the same connection"


@ADDRESSES
def test_wget(host: Emulated, address: str) -> None:
    done = subprocess.run(
        host.namespace.command("wget", "-q", "-O", "-", url(address, "/bytes/300K")),
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, pattern(300 << 10))


@ADDRESSES
def test_50_urls_in_parallel(host: Emulated, address: str, tmp_path: Path) -> None:
    run(
        host,
        *("curl", "-sS", "--fail", "-Z", "--parallel-max", "50", "--parallel-immediate"),
        *("-o", f"{tmp_path}/#1", url(address, "/bytes/[10001-10050]")),
    )
    got = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert got == {str(size): pattern(size) for size in range(10001, 10051)}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("0-0", pattern(1)), ("65000-131071", pattern(66072, 65000)), ("-100", pattern(100, (1 << 20) - 100))],
)
def test_ranges(host: Emulated, asked: str, expected: bytes) -> None:
    done = run(host, "curl", "-sS", "--fail", "-r", asked, url(ADDRESS4, "/bytes/1M"))
    assert done.stdout.encode() == expected


def test_a_download_is_resumed(host: Emulated, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(pattern(300_000))
    run(host, "curl", "-sS", "--fail", "-C", "-", "-o", str(target), url(ADDRESS6, "/bytes/1M"))
    assert target.read_bytes() == pattern(1 << 20)


def test_head_and_a_page_that_is_not_there(host: Emulated) -> None:
    assert "content-length: 1048576\r\n" in headers(run(host, "curl", "-sSI", url(ADDRESS4, "/bytes/1M")).stdout)
    missing = run(host, "curl", "-sS", "--fail", url(ADDRESS4, "/nothing"), check=False)
    assert (missing.returncode, "404" in missing.stderr) == (22, True)


def headers(text: str) -> str:
    return text.replace("\n", "\r\n").lower()  # text mode made each line's end a mere newline


@ADDRESSES
def test_upload_download_and_listing_of_files(netns: Namespace, address: str) -> None:
    with scratch() as root, emulated(netns, "--app", f"files=http:8080,root={root},write=yes") as host:
        source = root.parent / f"{root.name}.source"
        try:
            digest = write_pattern(source, 3_000_001)
            target = url(address, port=8080)
            status = run(host, "curl", "-sSg", "-w", "%{http_code}", "-T", str(source), f"{target}up%20load.bin").stdout
            assert status[-3:] == "201"
            assert sha256_of(root / "up load.bin") == digest
            status = run(host, "curl", "-sSg", "-w", "%{http_code}", "-T", str(source), f"{target}up%20load.bin").stdout
            assert status[-3:] in ("200", "204")
        finally:
            source.unlink()
        assert re.search(r'href="[^"]*up%20load.bin"', run(host, "curl", "-sSg", "--fail", target).stdout)
        down = subprocess.run(
            host.namespace.command("curl", "-sSg", f"{target}up%20load.bin"), capture_output=True, timeout=PATIENCE
        )
        assert hashlib.sha256(down.stdout).hexdigest() == digest


# -- the small services: two netcats, two protocols, two families ------------------------------------------------------------

NETCATS = pytest.mark.parametrize("nc", ["nc.openbsd", "ncat"])


def over_tcp(nc: str) -> str:
    """ncat ends its direction when its input ends; netcat-openbsd has to be told."""
    return f"{nc} -N" if nc == "nc.openbsd" else nc


def answer(client: subprocess.Popen[str], seconds: float) -> str:
    """What it prints first; nothing if that takes too long."""
    assert client.stdout is not None
    if not select.select([client.stdout], [], [], seconds)[0]:
        return ""
    return os.read(client.stdout.fileno(), 65536).decode()


@NETCATS
@ADDRESSES
def test_tcp_services(host: Emulated, nc: str, address: str) -> None:
    command = over_tcp(nc)
    assert shell(host, f"printf 'hello\\nworld' | {command} {address} 7").stdout == "hello\nworld"
    assert shell(host, f"printf hello | {command} {address} 9").stdout == ""
    assert DAYTIME.fullmatch(shell(host, f"{command} {address} 13 </dev/null").stdout)
    lines = shell(host, f"{nc} {address} 19 </dev/null | head -n 3").stdout.splitlines()
    assert lines == [CHARGEN[n : n + 72] for n in range(3)]


@NETCATS
@ADDRESSES
def test_udp_services(host: Emulated, nc: str, address: str) -> None:
    """The input stays open until the answer is there: at its end ncat, in UDP, does not wait for any."""
    clients = [host.namespace.start(nc, "-u", address, port) for port in ("7", "13", "19", "9")]
    for client in clients:
        assert client.stdin is not None
        client.stdin.write("hello")
        client.stdin.flush()
    echo, daytime, chargen, discard = (answer(client, 0.3 if client is clients[3] else PATIENCE) for client in clients)
    assert echo == "hello"
    assert discard == ""
    assert DAYTIME.fullmatch(daytime)
    assert chargen[:72] == CHARGEN[: min(72, len(chargen.splitlines()[0]))]  # 0 to 512 characters, as RFC 864 has it


# -- ping -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [56, 1400, 65507])
@ADDRESSES
def test_ping(host: Emulated, address: str, size: int) -> None:
    assert f"{size + 8} bytes from {address}" in all_answered(host, 3, "-i", "0.1", "-s", str(size), address)


@ADDRESSES
def test_ping_flood(host: Emulated, address: str) -> None:
    all_answered(host, 200, "-q", "-f", address)


def all_answered(host: Emulated, count: int, *options: str) -> str:
    """What ping says. With -w it sends until ``count`` are answered; without, it would wait for the last one no longer than
    for the others. So it may send more, and end while answers are on their way: the kernel counts them, and none is missing.
    """
    before = echo_replies(host)
    said = run(host, "ping", "-c", str(count), "-w", str(PATIENCE), *options).stdout
    ((sent, received),) = re.findall(r"(\d+) packets transmitted, (\d+) received", said)
    assert int(received) >= count
    until(lambda: echo_replies(host) - before == int(sent))
    return said


def echo_replies(host: Emulated) -> int:
    """That the kernel has got, of both families (/proc/net/snmp, by nstat(8))."""
    lines = run(host, "nstat", "-asz", "IcmpInEchoReps", "Icmp6InEchoReplies").stdout.splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Icmp"))


# -- ports that nobody has --------------------------------------------------------------------------------------------------


@ADDRESSES
def test_a_closed_tcp_port_refuses(host: Emulated, address: str) -> None:
    assert run(host, "curl", "-sSg", url(address, port=CLOSED), check=False).returncode == 7
    for nc in ("nc.openbsd -v", "ncat"):
        said = shell(host, f"{nc} {address} {CLOSED} </dev/null", check=False)
        assert (said.returncode, "refused" in said.stderr) == (1, True)


@ADDRESSES
def test_a_closed_udp_port_answers_by_icmp(host: Emulated, address: str) -> None:
    """ICMP port unreachable, which a connected socket hears of as ECONNREFUSED."""

    def probe() -> bytes:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect((address, CLOSED))
            client.send(b"anybody?")
            return client.recv(100)

    with pytest.raises(ConnectionRefusedError):
        inside(host.namespace, probe)
    ncat = host.namespace.start("ncat", "-u", address, str(CLOSED))
    assert ncat.stdin is not None
    assert ncat.stderr is not None
    ncat.stdin.write("hello\n")
    ncat.stdin.flush()  # and its input stays open, or it would not wait for an answer
    assert ncat.wait(PATIENCE) == 1
    assert "refused" in ncat.stderr.read()


def test_the_table_names_each_app(host: Emulated) -> None:
    rows = [row for row in host.sockets() if row["state"] in ("LISTEN", "UNCONN")]
    listeners = {(row["protocol"], row["local"].rsplit(":")[-1]): row["app"] for row in rows}
    assert listeners[("tcp", "80")] == "http"
    for port, app in (("7", "echo"), ("9", "discard"), ("13", "daytime"), ("19", "chargen")):
        assert (listeners[("tcp", port)], listeners[("udp", port)]) == (app, app)


def test_a_connection_shows_in_ss(host: Emulated) -> None:
    def hold() -> socket.socket:
        client = socket.create_connection((ADDRESS4, 7), timeout=PATIENCE)
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        return client

    with inside(host.namespace, hold) as client:
        port = client.getsockname()[1]
        line = next(line for line in host.netemu("ss").stdout.splitlines() if f":{port} " in line)
        assert line.split()[:4] == ["tcp", "ESTABLISHED", "0", "0"]
        assert line.split()[6] == "echo"
        details = host.netemu("ss", "-i").stdout
        assert re.search(r"rtt \d+ us .*cwnd \d+ B", details)
