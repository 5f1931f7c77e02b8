"""`netemu exec`: Python programs as they are, on the emulated host."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attaching import client_of
from emulated import ADDRESS4, MIB, Emulated, emulated, until, write_pattern
from netns import PATIENCE, Namespace
from verbs import ended, listening, started

pytestmark = pytest.mark.e2e

SOCKETSERVER = """
import os, socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d %s" % (os.getpid(), line))
with getattr(socketserver, sys.argv[1])(("", int(sys.argv[2])), Handler) as server:
    server.serve_forever()
"""
ASYNCIO = """
import asyncio, ssl
async def handle(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
    writer.close()
async def main():
    server = await asyncio.start_server(handle, "0.0.0.0", 8003)
    reader, writer = await asyncio.open_connection("127.0.0.1", 8003)
    writer.write(b"to itself\\n")
    print((await reader.readline()).decode(), end="", flush=True)
    writer.close()
    await server.serve_forever()
asyncio.run(main())
"""
UVICORN_APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"from %s\\n" % scope["client"][0].encode()})
"""
SPAWN = """
import socket, subprocess, sys
CODE = "import socket; s = socket.create_server(('', 8004)); c, _ = s.accept(); c.sendall(c.recv(9))"
subprocess.run([sys.executable, "-c", CODE])
"""
HTTP_CLIENTS = """
import http.client, sys, urllib.request
url = sys.argv[1]
print(len(urllib.request.urlopen(url + "/data").read()))
there = http.client.HTTPConnection(url.removeprefix("http://"))
there.request("GET", "/nothing")
print(there.getresponse().status)
"""


@contextmanager
def program(instance: Emulated, port: int, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """Python with these arguments, listening on a port of the host."""
    process = started(instance, "exec", "--app", "prog", "--", sys.executable, *argv)
    listening(instance, port)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_http_server(instance: Emulated, tmp_path: Path) -> None:
    digest = write_pattern(tmp_path / "data", MIB)
    with program(instance, 8080, "-m", "http.server", "8080", "--bind", "0.0.0.0", "--directory", str(tmp_path)):
        url = f"http://{ADDRESS4}:8080/data"
        instance.namespace.run("curl", "-sSf", "--max-time", str(PATIENCE), "-o", str(tmp_path / "got"), url)
        assert hashlib.sha256((tmp_path / "got").read_bytes()).hexdigest() == digest
        (row,) = [row for row in instance.sockets() if row["state"] == "LISTEN"]
        assert (row["app"], row["program"][:6]) == ("prog", "python")


@pytest.mark.parametrize("kind", ["ForkingTCPServer", "ThreadingTCPServer"])
def test_socketserver(instance: Emulated, kind: str) -> None:
    port = 8001 if kind.startswith("F") else 8002
    with program(instance, port, "-c", SOCKETSERVER, kind, str(port)) as process:
        clients = [client_of(instance, port) for _ in range(5)]
        for client in clients:
            client.sendall(b"x\n")
        answers = [client.recv(100) for client in clients]  # all at once
        pids = {int(answer.split()[0]) for answer in answers}
        assert (len(pids), process.pid in pids) == ((5, False) if kind.startswith("F") else (1, True))
        for client in clients:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""
            client.close()


def test_asyncio(instance: Emulated) -> None:
    with program(instance, 8003, "-c", ASYNCIO) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "TO ITSELF\n"
        with client_of(instance, 8003) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"


def test_uvicorn_with_workers(instance: Emulated, tmp_path: Path) -> None:
    """Processes that share a socket which only the parent has bound."""
    (tmp_path / "site_app.py").write_text(UVICORN_APP)
    options = ("--loop", "asyncio", "--workers", "2", "--host", "0.0.0.0", "--port", "8005", "--app-dir", str(tmp_path))
    with program(instance, 8005, "-m", "uvicorn", *options, "--log-level", "warning", "site_app:app"):
        url = f"http://{ADDRESS4}:8005/"
        answers = instance.namespace.run("curl", "-sSf", "--max-time", str(PATIENCE), url, "--next", "-sSf", url).stdout
        assert answers == "from 198.18.0.1\n" * 2


def test_a_python_that_it_starts(instance: Emulated) -> None:
    with program(instance, 8004, "-c", SPAWN), client_of(instance, 8004) as client:
        client.sendall(b"inherited")
        assert client.recv(100) == b"inherited"


def test_clients(instance: Emulated, tmp_path: Path) -> None:
    """urllib and http.client against a server in the kernel."""
    write_pattern(tmp_path / "data", MIB)
    code = "import http.server as h, sys; h.test(h.SimpleHTTPRequestHandler, port=8000, bind='198.18.0.1')"
    server = instance.namespace.start("env", "-C", str(tmp_path), "PYTHONUNBUFFERED=1", sys.executable, "-c", code)
    assert server.stdout is not None
    server.stdout.readline()
    client = started(instance, "exec", "--", sys.executable, "-c", HTTP_CLIENTS, "http://198.18.0.1:8000")
    assert ended(client) == (0, f"{MIB}\n404\n", "")
    assert server.stderr is not None
    assert server.stderr.readline().startswith(f"{ADDRESS4} ")
    server.kill()


def test_its_words_and_status_are_the_commands(instance: Emulated) -> None:
    code = "import sys; print(sys.argv, sys.stdin.read()); sys.exit(7)"
    assert ended(started(instance, "exec", sys.executable, "-c", code, "--app", "-v"), "in") == (
        7,
        "['-c', '--app', '-v'] in\n",
        "",
    )
    assert ended(started(instance, "exec", "--", "sh", "-c", "yes | head -1; exit 3")) == (3, "y\n", "")


def test_another_sitecustomize_runs_too(instance: Emulated, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import socket; print('own', __name__, socket.socket.__name__)\n")
    own = f"import sys; print('startup' in str(sys.path), {str(tmp_path)!r} in sys.path)"
    argv = ("env", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}:{tmp_path}", f"NETEMU_NAME={instance.name}")
    process = instance.namespace.start(*argv, sys.executable, "-m", "netemu", "exec", "--", sys.executable, "-c", own)
    status, out, err = ended(process)
    assert (status, err) == (0, "")
    assert out.splitlines()[-2:] == ["own sitecustomize PatchedSocket", "False True"]


def test_a_server_ends_with_the_instance() -> None:
    namespace = Namespace()
    try:
        with emulated(namespace, "--no-apps") as instance:
            argv = ("exec", "--", sys.executable, "-m", "http.server", "8080", "--bind", "0.0.0.0")
            servers = [started(instance, *argv), started(instance, "serve", "7001", "--", "cat")]
            servers.append(started(instance, "forward", "7002", "TO", "1"))
            for port in (8080, 7001, 7002):
                listening(instance, port)
        for server in servers:
            status, _, err = ended(server)
            assert status == 1
            assert "the instance has ended" in err.splitlines()[-1]
    finally:
        namespace.close()
    until(lambda: all(server.poll() is not None for server in servers))
