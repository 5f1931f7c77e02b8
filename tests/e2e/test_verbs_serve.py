"""`netemu serve`: a command for each connection, with real nc at the other end."""

from __future__ import annotations

import signal
import socket

import pytest
from attaching import client_of
from emulated import ADDRESS4, ADDRESS6, Emulated, emulated, until
from netns import PATIENCE, Namespace
from verbs import ended, running, started

pytestmark = pytest.mark.e2e


def nc(instance: Emulated, port: int, text: str = "", address: str = ADDRESS4) -> str:
    """What a client gets that sends ``text`` and its end."""
    argv = ["sh", "-c", 'printf %s "$3" | nc -N -w 30 "$1" "$2"', "sh", address, str(port), text]
    return instance.namespace.run(*argv).stdout


def test_a_command_for_each_connection(instance: Emulated) -> None:
    with running(
        instance, "serve", "7001", "-v", "--", "sh", "-c", "cat; echo $NETEMU_PEER $NETEMU_LOCAL; exit 3"
    ) as it:
        client = client_of(instance, 7001)
        assert nc(instance, 7001, "second\n").startswith("second\n198.18.0.1:")  # the first one is still there
        client.sendall(b"first\n")
        client.shutdown(socket.SHUT_WR)
        name = f"198.18.0.1:{client.getsockname()[1]}"
        with client, client.makefile() as answer:
            assert answer.read() == f"first\n{name} 198.18.0.2:7001\n"
        assert it.stderr is not None
        lines = [it.stderr.readline(), it.stderr.readline()]
        assert any(line.startswith(f"netemu: {name}: exit status 3 after ") for line in lines)
        rows = [row for row in instance.sockets() if row["state"] == "LISTEN"]
        assert [(row["app"], row["program"]) for row in rows] == [("serve", "netemu")]


def test_a_port_of_the_hosts_choice_on_both_families(instance: Emulated) -> None:
    process = started(instance, "serve", "0", "-6", "--app", "six", "--", "sh", "-c", "echo $NETEMU_PEER")
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on [::]:")
    assert line.endswith(" as app six; ^C ends it\n")
    port = int(line.split("]:")[1].split()[0])
    assert nc(instance, port, address=ADDRESS6).startswith("[2001:2::1]:")
    assert nc(instance, port).startswith("198.18.0.1:")
    process.terminate()
    assert ended(process) == (143, "", "")


def test_no_more_than_so_many(instance: Emulated) -> None:
    with running(instance, "serve", "7002", "--max", "2", "--", "cat"):
        clients = [client_of(instance, 7002) for _ in range(3)]
        for client in clients:
            client.sendall(b"x")
        assert [client.recv(1) for client in clients[:2]] == [b"x", b"x"]
        clients[2].settimeout(0.2)
        with pytest.raises(TimeoutError):
            clients[2].recv(1)
        clients[0].close()
        clients[2].settimeout(PATIENCE)
        assert clients[2].recv(1) == b"x"
        for client in clients:
            client.close()


def test_interrupted_it_ends_its_commands(instance: Emulated) -> None:
    process = started(instance, "serve", "7003", "--", "cat")
    assert process.stdout is not None
    process.stdout.readline()
    with client_of(instance, 7003) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        process.send_signal(signal.SIGINT)
        assert ended(process) == (130, "", "")
        assert client.recv(1) == b""


def test_many_at_once(instance: Emulated) -> None:
    with running(instance, "serve", "7004", "--", "cat") as it:
        clients = [client_of(instance, 7004) for _ in range(50)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
            client.shutdown(socket.SHUT_WR)
        for number, client in enumerate(clients):
            with client, client.makefile() as answer:
                assert answer.read() == str(number)
        children = f"/proc/{it.pid}/task/{it.pid}/children"
        until(lambda: not open(children).read())  # noqa: SIM115  (all are reaped)


def test_a_port_that_is_taken(instance: Emulated) -> None:
    with running(instance, "serve", "7005", "--app", "first", "--", "cat"):
        status, _, err = ended(started(instance, "serve", "7005", "--", "cat"))
        assert (status, err.count("\n")) == (1, 1)
        assert err.startswith("netemu: 0.0.0.0:7005: port 7005 is held by s")
        assert "of app first; apps of one user share a port if all of them ask for it (--reuseport)" in err
    with running(instance, "serve", "7006", "--reuseport", "--", "echo", "a"):
        with running(instance, "serve", "7006", "--reuseport", "--", "echo", "b"):
            until(lambda: nc(instance, 7006) == "a\n")
            until(lambda: nc(instance, 7006) == "b\n")
        until(
            lambda: (
                len([row for row in instance.sockets() if row["local"].endswith(":7006") and row["state"] == "LISTEN"])
                == 1
            )
        )
        assert {nc(instance, 7006) for _ in range(4)} == {"a\n"}


def test_a_flavour_that_has_no_reuseport(netns: Namespace) -> None:
    with emulated(netns, "--flavour", "windows") as instance:
        status, _, err = ended(started(instance, "serve", "7007", "--reuseport", "--", "cat"))
        assert (status, err) == (1, "netemu: --reuseport: there is no SO_REUSEPORT in this instance's flavour\n")
