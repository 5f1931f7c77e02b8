"""Ordinary server programs on sockets of the emulated host, and real curl and nc at the other end."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import multiprocessing
import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from aiohttp import web
from attaching import client_of
from emulated import ADDRESS4, FULL, MIB, Emulated, inside, until
from netns import PATIENCE

from netemu.attached.host import AttachedHost
from netemu.attached.socket import AttachedSocket

pytestmark = pytest.mark.e2e


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"hello {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


def curl(instance: Emulated, port: int, *more: str) -> str:
    url = f"http://{ADDRESS4}:{port}/"
    return instance.namespace.run("curl", "-sS", "--fail", "--max-time", str(PATIENCE), *more, url).stdout


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("kind", [http.server.HTTPServer, http.server.ThreadingHTTPServer])
def test_http_server(instance: Emulated, host: AttachedHost, kind: type[http.server.HTTPServer]) -> None:
    """Unchanged: it calls socket.socket, and gets one of ours."""
    with host.patched():
        server = kind(("", 0), Handler)
    assert isinstance(server.socket, AttachedSocket)
    with serving(server) as port:
        assert curl(instance, port) == "hello 198.18.0.1\n"
        twice = curl(instance, port, f"http://{ADDRESS4}:{port}/again")  # on one connection
        assert twice == "hello 198.18.0.1\n" * 2
    until(lambda: not instance.connections())


def test_what_is_patched_and_what_is_not(host: AttachedHost) -> None:
    with host.patched():
        with socket.socket() as tcp, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            assert isinstance(tcp, AttachedSocket)
            assert isinstance(udp, AttachedSocket)
            assert isinstance(tcp, socket.socket)
        a, b = socket.socketpair()
        with a, b, socket.socket(socket.AF_UNIX) as unix:
            assert not any(isinstance(s, AttachedSocket) for s in (a, b, unix))
            assert isinstance(unix, socket.socket)
    with socket.socket() as kernel:
        assert not isinstance(kernel, AttachedSocket)


class Upper(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


def test_socketserver(instance: Emulated, host: AttachedHost) -> None:
    with host.patched():
        server = socketserver.ThreadingTCPServer(("", 0), Upper)
    with serving(server) as port:
        said = instance.namespace.run("sh", "-c", f"printf 'one\\ntwo\\n' | nc -N {ADDRESS4} {port}")
        assert said.stdout == "ONE\nTWO\n"


# -- asyncio ----------------------------------------------------------------------------------------------------------------


async def run(*argv: str) -> str:
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    return out.decode()


def test_asyncio(instance: Emulated, host: AttachedHost) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(echo, sock=host.create_server(("", 0)))
        port = server.sockets[0].getsockname()[1]
        command = instance.namespace.command("sh", "-c", f"echo through nc | nc -N {ADDRESS4} {port}")
        assert await run(*command) == "through nc\n"
        await client(port)
        server.close()
        await server.wait_closed()

    async def client(port: int) -> None:
        ours = host.socket()
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_connect(ours, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=ours)
        assert writer.get_extra_info("peername") == ("127.0.0.1", port)
        whole = os.urandom(3 * MIB)
        writer.write(whole)
        writer.write_eof()
        assert await reader.read() == whole
        writer.close()
        await writer.wait_closed()
        other = host.socket()
        other.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().sock_connect(other, ("198.18.0.1", 9))
        other.close()

    asyncio.run(main())


def test_aiohttp(instance: Emulated, host: AttachedHost) -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"aiohttp sees {request.remote}\n")

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        listener = host.create_server(("", 0))
        port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        url = f"http://{ADDRESS4}:{port}/"
        assert await run(*instance.namespace.command("curl", "-sS", url)) == "aiohttp sees 198.18.0.1\n"
        await runner.cleanup()

    asyncio.run(main())


def test_uvicorn(instance: Emulated, host: AttachedHost) -> None:
    async def application(
        scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        body = f"uvicorn sees {scope['client'][0]}\n".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def main() -> None:
        listener = host.create_server(("", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off"))
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        url = f"http://{ADDRESS4}:{port}/"
        assert await run(*instance.namespace.command("curl", "-sS", url)) == "uvicorn sees 198.18.0.1\n"
        server.should_exit = True
        await task

    asyncio.run(main())


# -- several processes, one listener ----------------------------------------------------------------------------------------


def worker(listener: AttachedSocket) -> None:
    """Answer for ever."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            body = b"%d\n" % os.getpid()
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def all_answer(instance: Emulated, port: int, pids: set[int | None]) -> None:
    """Each of these processes gets connections in its turn, and no other does."""
    answered: set[int | None] = set()

    def have_answered() -> bool:
        answered.add(int(curl(instance, port)))
        return len(answered) >= len(pids)

    until(have_answered)
    assert answered == pids


def test_a_pre_fork_server(instance: Emulated, host: AttachedHost) -> None:
    listener = host.create_server(("", 0))
    port = listener.getsockname()[1]
    workers = [multiprocessing.get_context("fork").Process(target=worker, args=(listener,)) for _ in range(4)]
    for one in workers:
        one.start()
    listener.close()  # the parent's part is done: the workers hold it
    all_answer(instance, port, {one.pid for one in workers})
    workers[0].kill()
    workers[0].join()
    all_answer(instance, port, {one.pid for one in workers[1:]})
    for one in workers[1:]:
        one.kill()
        one.join()
    until(lambda: not instance.sockets() or all(row["state"] == "TIME-WAIT" for row in instance.sockets()))


def one_answer(listener: AttachedSocket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"spawned")


def test_a_listener_passed_by_multiprocessing(instance: Emulated, host: AttachedHost) -> None:
    with host.create_server(("", 0)) as listener:
        child = multiprocessing.get_context("spawn").Process(target=one_answer, args=(listener,))
        child.start()
        with host.create_connection(("127.0.0.1", listener.getsockname()[1])) as client:
            assert client.recv(100) == b"spawned"
        child.join(PATIENCE)
        assert child.exitcode == 0


RECEIVER = """
import netemu, os, socket, sys
channel = socket.socket(fileno=0)
_, (fd,), _, _ = socket.recv_fds(channel, 1, 1)
listener = netemu.fromfd(fd, app="other", name=sys.argv[1])
os.close(fd)
connection, peer = listener.accept()
connection.sendall(repr((listener.getsockname()[1], peer == connection.getpeername())).encode())
"""


def test_a_listener_passed_to_a_stranger(instance: Emulated, host: AttachedHost) -> None:
    """SCM_RIGHTS: to hold the descriptor is the right to use it."""
    ours, theirs = socket.socketpair()
    with host.create_server(("", 0)) as listener, ours:
        child = subprocess.Popen([sys.executable, "-c", RECEIVER, instance.name], stdin=theirs.fileno())
        theirs.close()
        socket.send_fds(ours, [b"x"], [listener.fileno()])
        port = listener.getsockname()[1]
        with host.create_connection(("127.0.0.1", port)) as client:
            assert client.recv(100) == repr((port, True)).encode()
        assert child.wait(PATIENCE) == 0


def test_a_connection_as_stdin_and_stdout(instance: Emulated, host: AttachedHost) -> None:
    with host.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        client = instance.namespace.start("nc", "-N", ADDRESS4, str(port))
        connection, _ = listener.accept()
        command = subprocess.Popen(["tr", "a-z", "A-Z"], stdin=connection.fileno(), stdout=connection.fileno())
        connection.close()  # the command has it now
        assert client.communicate("as inetd does\n", timeout=PATIENCE)[0] == "AS INETD DOES\n"
        assert command.wait(PATIENCE) == 0


# -- much data --------------------------------------------------------------------------------------------------------------

SIZE = 1024 * MIB if FULL else 96 * MIB


def test_much_data_up_and_down(instance: Emulated, host: AttachedHost) -> None:
    """Every byte, through the app's descriptor, both ways."""
    block = os.urandom(MIB)

    def digest_of_all() -> str:
        digest = hashlib.sha256()
        for _ in range(SIZE // MIB):
            digest.update(block)
        return digest.hexdigest()

    def read_all(reader: socket.socket) -> str:
        digest, buffer = hashlib.sha256(), bytearray(MIB)
        while size := reader.recv_into(buffer):
            digest.update(memoryview(buffer)[:size])
        return digest.hexdigest()

    def write_all(writer: socket.socket) -> None:
        for _ in range(SIZE // MIB):
            writer.sendall(block)
        writer.shutdown(socket.SHUT_WR)

    expected = digest_of_all()
    with host.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        client = inside(instance.namespace, lambda: socket.create_connection((ADDRESS4, port), PATIENCE))
        ours, _ = listener.accept()
    with client, ours:
        for writer, reader in ((client, ours), (ours, client)):
            thread = threading.Thread(target=write_all, args=(writer,))
            thread.start()
            assert read_all(reader) == expected
            thread.join()


def listen_and_answer(bound: AttachedSocket) -> None:
    bound.listen()
    connection, _ = bound.accept()
    connection.sendall(str(os.getpid()).encode())
    connection.close()


def test_workers_that_all_listen(instance: Emulated, host: AttachedHost) -> None:
    """As uvicorn's: the parent only binds."""
    context = multiprocessing.get_context("spawn")
    with host.socket() as bound:
        bound.bind((ADDRESS4, 0))
        port = bound.getsockname()[1]
        workers = [context.Process(target=listen_and_answer, args=(bound,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        until(lambda: any(row["state"] == "LISTEN" for row in instance.sockets()))
        answers = set()
        for _ in workers:
            with client_of(instance, port) as client:
                answers.add(int(client.recv(100)))
        assert answers == {worker.pid for worker in workers}
        for worker in workers:
            worker.join(PATIENCE)
            assert worker.exitcode == 0
