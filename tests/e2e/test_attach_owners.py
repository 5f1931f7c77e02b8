"""Whose sockets they are: apps that exit, are killed, stopped or replaced; other users; apps that misbehave."""

from __future__ import annotations

import errno
import os
import pwd
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest
from attaching import client_of, pair
from emulated import ADDRESS4, Emulated, emulated, until
from netns import PATIENCE, Namespace

import netemu
from netemu.attached.host import AttachedHost
from netemu.runtime.broker import broker
from netemu.runtime.broker.protocol import VERSION
from netemu.runtime.broker.session import OPERATIONS
from netemu.runtime.errors import RuntimeFailure

pytestmark = pytest.mark.e2e

NOBODY = pwd.getpwnam("nobody").pw_uid
SERVER = """
import netemu, os, socket, sys, time
host = netemu.attach(app=sys.argv[1], name=sys.argv[2])
server = host.create_server(("", int(sys.argv[3])), reuse_port=True)
print("listening", flush=True)
connection, _ = server.accept()
print("accepted", flush=True)
"""


@contextmanager
def app(instance: Emulated, then: str, port: int, name: str = "victim") -> Iterator[subprocess.Popen[str]]:
    """A process that listens, accepts once and goes on with ``then``."""
    argv = [sys.executable, "-c", SERVER + then, name, instance.name, str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def is_closed(instance: Emulated, port: int) -> bool:
    try:
        client_of(instance, port).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["kill", "term", "exit"])
def test_an_app_that_ends_loses_its_sockets(instance: Emulated, host: AttachedHost, how: int | None) -> None:
    with (
        app(instance, "input(); os._exit(0)" if how is None else "time.sleep(60)", 6001) as victim,
        client_of(instance, 6001) as client,
    ):
        assert line(victim) == "accepted"
        if how is None:
            victim.communicate("\n", timeout=PATIENCE)
        else:
            victim.send_signal(how)
        client.settimeout(PATIENCE)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        victim.wait(PATIENCE)
        until(lambda: is_closed(instance, 6001))
        host.create_server(("", 6001)).close()  # the port is free


def test_a_connection_that_was_shut_is_closed_not_reset(instance: Emulated) -> None:
    with (
        app(instance, "connection.shutdown(socket.SHUT_WR); print('shut', flush=True); time.sleep(60)", 6002) as victim,
        client_of(instance, 6002) as client,
    ):
        assert [line(victim), line(victim)] == ["accepted", "shut"]
        assert client.recv(1) == b""
        victim.kill()
        victim.wait()
        until(lambda: not instance.connections() or {row["state"] for row in instance.connections()} == {"FIN-WAIT-2"})


def test_siblings_of_a_killed_app_go_on(instance: Emulated, host: AttachedHost) -> None:
    with app(instance, "time.sleep(60)", 6003, name="app") as victim, host.socket() as sibling:
        sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sibling.bind(("", 6003))
        sibling.listen()
        victim.kill()
        victim.wait()
        until(lambda: sum(row["local"].endswith(":6003") for row in instance.sockets()) == 1)
        sibling.settimeout(PATIENCE)
        for _ in range(8):
            with client_of(instance, 6003) as client, sibling.accept()[0] as ours:
                ours.sendall(b"still here")
                assert client.recv(99) == b"still here"


def test_a_stopped_app_hurts_nobody(instance: Emulated, host: AttachedHost) -> None:
    with app(instance, "os.kill(os.getpid(), 19)", 6004) as victim, client_of(instance, 6004) as client:
        assert line(victim) == "accepted"
        client.setblocking(False)
        block = bytes(1 << 16)
        for _ in range(3):
            try:
                while True:
                    client.send(block)
            except BlockingIOError:
                select.select([], [client], [], 0.1)
        other, ours = pair(instance, host)
        start = time.monotonic()
        for _ in range(20):
            other.sendall(b"ping")
            assert ours.recv(9) == b"ping"
        assert time.monotonic() - start < PATIENCE
        other.close()
        ours.close()
        victim.send_signal(signal.SIGCONT)


def test_whose_it_is(instance: Emulated, host: AttachedHost) -> None:
    """The kernel says it (SO_PEERCRED), not the app."""
    with host.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        row = next(row for row in instance.sockets() if row["local"].endswith(f":{port}"))
        assert (row["app"], row["pid"], row["uid"]) == ("app", os.getpid(), 0)
        assert row["program"] == Path("/proc/self/comm").read_text().strip()


# -- other users ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulated]:
    namespace = Namespace()
    try:
        with emulated(namespace, "--no-apps", "--shared") as instance:
            yield instance
    finally:
        namespace.close()


@contextmanager
def effective_user(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def test_another_user_joins_no_group_of_ours(shared: Emulated) -> None:
    """T5: the effective uid at socket() counts, and root is no exception."""
    root = netemu.attach(app="a", name=shared.name)
    with effective_user(NOBODY):
        nobody = netemu.attach(app="a", name=shared.name)
        assert nobody.channel.welcome.uid == NOBODY
    for first, second in ((root, nobody), (nobody, root)):
        uids = {root: 0, nobody: NOBODY}

        def reuseport(of: AttachedHost, uids: dict[AttachedHost, int] = uids) -> socket.socket:
            with effective_user(uids[of]):
                made = of.socket()
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            return made

        with reuseport(first) as one, reuseport(second) as two:
            with effective_user(uids[first]):
                one.bind(("", 7001))
                one.listen()
            with effective_user(uids[second]):
                with pytest.raises(OSError, match="7001") as raised:
                    two.bind(("", 7001))
                assert raised.value.errno == errno.EADDRINUSE
    with effective_user(NOBODY), nobody.socket() as low, pytest.raises(PermissionError):
        low.bind(("", 80))
    root.close()
    nobody.close()


def test_the_socket_of_another_user_is_out_of_reach(shared: Emulated) -> None:
    root = netemu.attach(app="a", name=shared.name)
    with root.create_server(("", 7002)):
        number = next(int(row["id"][1:]) for row in shared.sockets() if row["local"].endswith(":7002"))
        with effective_user(NOBODY):
            other = netemu.attach(app="a", name=shared.name)
        for call in ("look", "claim", "listen", "shutdown", "setsockopt"):
            more = {"listen": (9,), "shutdown": (2,), "setsockopt": (1, 2, 1)}.get(call, ())
            with effective_user(NOBODY), pytest.raises(OSError, match="no socket") as raised:
                other.channel.ask(object, call, number, *more)
            assert raised.value.errno == errno.EBADF
        other.close()
    root.close()


def test_an_instance_that_gave_up_root(netns: Namespace) -> None:
    """Its user may attach, and root."""
    with emulated(netns, "--no-apps", "--user", "nobody") as instance:
        port = 7003
        for uid in (NOBODY, 0):
            with effective_user(uid):
                host = netemu.attach(app="a", name=instance.name)
                server = host.create_server(("", port))
            with server, client_of(instance, port) as client, server.accept()[0] as ours:
                ours.sendall(b"hello")
                assert client.recv(9) == b"hello"
                row = next(row for row in instance.sockets() if row["state"] == "ESTABLISHED")
                assert (row["uid"], row["pid"]) == (uid, os.getpid())
            host.close()
            port += 1


def test_who_may_not_attach(instance: Emulated) -> None:
    with effective_user(NOBODY), pytest.raises(RuntimeFailure):
        netemu.attach(app="a", name=instance.name)


# -- apps that misbehave ----------------------------------------------------------------------------------------------------


class Raw:
    """A session by hand."""

    def __init__(self, instance: Emulated) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(os.path.join(instance.status()["directory"], "attach.sock"))
        self.socket.settimeout(PATIENCE)

    def ask(self, *request: object, fds: tuple[int, ...] = ()) -> list[object]:
        socket.send_fds(self.socket, [msgspec.msgpack.encode(request)], list(fds))
        answer, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 16, 4)
        for descriptor in descriptors:
            os.close(descriptor)
        return msgspec.msgpack.decode(answer, type=list) if answer else []


GARBAGE = [b"\xff" * 100, b"\xc1", b"", b"\x90", msgspec.msgpack.encode("hello"), msgspec.msgpack.encode([1]),
           msgspec.msgpack.encode([None, "look", 1]), msgspec.msgpack.encode({"a": 1}), bytes(70000)]  # fmt: skip
WRONG = [
    ("look",), ("look", "1"), ("look", -1), ("bind", 1, "127.0.0.1"), ("bind", 1, 2, 3), ("nonsense", 1),
    ("__init__",), ("socket", 2, 99), ("socket", 99, 1), ("hello", VERSION, "again"), ("adopt",), ("setsockopt", 1, 1, 1, None),
    ("sendmsg", 1, b"x", [], 0, ["198.18.0.1"]), ("sendmsg", 1, b"x", [1], 0, None), ("getsockopt", 1, 1, 1, 1 << 40),
]  # fmt: skip


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_ends_the_session_and_nothing_else(instance: Emulated, garbage: bytes) -> None:
    raw = Raw(instance)
    raw.socket.send(garbage)
    assert raw.socket.recv(100) == b""
    raw.socket.close()
    netemu.attach(app="fine", name=instance.name).close()


@pytest.mark.parametrize("request_", WRONG, ids=str)
def test_a_wrong_request_gets_an_errno(instance: Emulated, request_: tuple[object, ...]) -> None:
    raw = Raw(instance)
    assert raw.ask(1, "look", 1)[1] == errno.EPROTO  # hello comes first
    assert raw.ask(2, "hello", 99, "x")[1] == errno.EPROTONOSUPPORT
    for name in ("", "two words", "x" * 99, "\x1b[2J"):
        assert raw.ask(3, "hello", VERSION, name)[1] == errno.EINVAL
    assert raw.ask(4, "hello", VERSION, "raw")[1] == 0
    number, code, words, result = raw.ask(5, *request_)
    assert number == 5
    assert code in errno.errorcode
    assert isinstance(words, str)
    assert "\n" not in words
    assert result is None
    assert raw.ask(6, "socket", 2, 1)[1] == 0  # the session goes on
    raw.socket.close()


def test_random_requests(instance: Emulated) -> None:
    """Whatever an app asks for gets an answer; that the instance has nothing to complain about is seen when it ends."""
    random = Random(4)
    values: list[Callable[[], object]] = [
        lambda: random.choice([0, 1, 2, 3, 6, 7, 17, 41, -1, 255, 65536, 1 << 31, 1 << 62, -(1 << 40)]),
        lambda: random.randrange(60),
        lambda: random.choice(["", "127.0.0.1", "::1", "::", "224.0.0.1", "255.255.255.255", "nonsense", "\0"]),
        lambda: random.randbytes(random.choice([0, 1, 4, 8, 16, 20, 3000])),
        lambda: random.choice(
            [[], ["127.0.0.1", 9], ["::1", "x"], [1, 2], [None, None], [[0, 8, b"x" * 12]], [[0, 2, b""]]]
        ),
        lambda: None,
    ]
    kinds = {int: values[:2], str: values[2:3], bytes: values[3:4], list: values[4:5], type(None): values[5:]}
    raw = Raw(instance)
    raw.ask(1, "hello", VERSION, "fuzz")
    held = [
        Numbered(raw.ask(2, "socket", family, kind)[3]).id for family in (2, 10) for kind in (1, 2) for _ in range(4)
    ]
    for number in range(3, 6000):
        operation = random.choice([name for name in OPERATIONS if name != "hello"])
        arguments: list[object] = []
        for wanted in OPERATIONS[operation][1]:
            of_kind = random.choice(
                [v for kind in (wanted if isinstance(wanted, tuple) else (wanted,)) for v in kinds[kind]]
            )
            arguments.append(of_kind() if random.random() < 0.97 else random.choice(values)())
        if arguments and random.random() < 0.9:
            arguments[0] = random.choice(held) if operation != "socket" else arguments[0]
        answer = raw.ask(number, operation, *arguments)
        assert answer[0] == number, (operation, arguments)
        assert answer[1] == 0 or answer[1] in errno.errorcode
        assert answer[1] != errno.EIO, (operation, arguments)
    raw.socket.close()


class Numbered:
    """The number in the answer to 'socket'."""

    def __init__(self, made: object) -> None:
        assert isinstance(made, list)
        self.id: int = made[0]


def test_descriptors_that_nobody_asked_for(instance: Emulated) -> None:
    raw = Raw(instance)
    raw.ask(1, "hello", VERSION, "raw")
    before = len(os.listdir(f"/proc/{instance.pid}/fd"))
    for n in range(200):
        assert raw.ask(n + 2, "adopt", fds=(0, 1, 2))[1] == errno.ENOTSOCK
        assert raw.ask(n + 2, "look", 1, fds=(0, 1, 2))[1] == errno.EBADF
    until(lambda: len(os.listdir(f"/proc/{instance.pid}/fd")) == before)
    raw.socket.close()


def test_who_asks_and_never_listens_is_let_go(instance: Emulated, host: AttachedHost) -> None:
    raw = Raw(instance)
    raw.ask(1, "hello", VERSION, "deaf")
    request = msgspec.msgpack.encode([7, "socket", 2, 1])
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        deque((raw.socket.send(request) for _ in range(100_000)), maxlen=0)
    raw.socket.close()
    until(lambda: not any(row["app"] == "deaf" for row in instance.sockets()))
    other, ours = pair(instance, host)
    other.close()
    ours.close()


def test_as_many_sockets_as_an_app_may_have(instance: Emulated, host: AttachedHost) -> None:
    """EMFILE for this app, and nothing for the others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    held: list[socket.socket] = []
    try:
        with pytest.raises(OSError, match="as many sockets") as raised:
            held.extend(host.socket() for _ in range(100_000))
        assert raised.value.errno == errno.EMFILE
        assert len(held) == broker.SOCKETS_PER_APP
        other = netemu.attach(app="other", name=instance.name)
        theirs = other.create_server(("", 0))
        client_of(instance, theirs.getsockname()[1]).close()
        theirs.close()
        other.close()
    finally:
        for one in held:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: all(row["app"] != "app" or row["state"] == "TIME-WAIT" for row in instance.sockets()))
    host.socket().close()


# -- the instance ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_apps_get_errors_when_the_instance_ends(how: signal.Signals) -> None:
    namespace = Namespace()
    try:
        instance = Emulated(namespace, "--no-apps")
        host = netemu.attach(app="app", name=instance.name)
        server, datagrams = host.create_server(("", 0)), host.socket(type=socket.SOCK_DGRAM)
        datagrams.bind(("", 0))
        client, ours = pair(instance, host)
        waiting: dict[str, BaseException | None] = {}
        calls: dict[str, Callable[[], object]] = {
            "accept": server.accept,
            "recv": lambda: ours.recv(1),
            "recvfrom": lambda: datagrams.recvfrom(1),
        }

        def wait(name: str) -> None:
            try:
                calls[name]()
            except OSError as problem:
                waiting[name] = problem

        threads = [threading.Thread(target=wait, args=(name,)) for name in calls]
        for thread in threads:
            thread.start()
        time.sleep(0.2)  # so that they wait; one that comes later hears the same
        instance.end(how)
        for thread in threads:
            thread.join(PATIENCE)
        assert {name: getattr(problem, "errno", None) for name, problem in waiting.items()} == {
            "accept": errno.ENETDOWN,
            "recv": errno.ECONNRESET,
            "recvfrom": errno.ENETDOWN,
        }
        for call in (host.socket, lambda: datagrams.sendto(b"x", (ADDRESS4, 9)), lambda: server.listen(9)):
            with pytest.raises(OSError, match="ended"):
                call()
        for one in (server, datagrams, ours, client):
            one.close()
        instance.log.close()
    finally:
        namespace.close()
