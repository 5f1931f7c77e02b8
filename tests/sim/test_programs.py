"""Programs side by side in virtual time: generators, plain functions, and what becomes of their errors."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from netemu.sim.hosts import SimHost
from netemu.sim.simulation import Simulation
from netemu.sim.sockets import SimSocket
from netemu.sim.waiting import Deadlock

SECOND = 10**9
Waits = Generator[Any, Any, Any]


class World:
    def __init__(self, seed: int = 1) -> None:
        self.sim = Simulation(seed)
        self.a, self.b = self.sim.host("a", "10.0.0.1"), self.sim.host("b", "10.0.0.2")
        self.sim.link(self.a, self.b, "delay 10ms 2ms loss 2%")
        self.served: list[bytes] = []

    # -- the same server and client twice: as generators, and as plain functions

    def server(self, host: SimHost) -> Waits:
        listener = listening(host)
        while True:
            connection, _ = yield listener.accept()
            self.sim.spawn(self.answer, connection)

    def answer(self, connection: SimSocket) -> Waits:
        while line := (yield connection.recv(100)):
            self.served.append(line)
            yield "50ms"
            yield connection.sendall(line.upper())
        connection.close()

    def client(self, host: SimHost, name: str) -> Waits:
        socket = host.socket(app=name)
        yield socket.connect(("b", 80))
        answers = []
        for number in range(3):
            yield socket.sendall(f"{name} {number}".encode())
            answers.append((yield socket.recv(100)))
            yield self.sim.sleep("1s")
        socket.close()
        return answers

    def plain_server(self, host: SimHost) -> None:
        listener = listening(host)
        while True:
            connection, _ = listener.accept()
            self.sim.spawn(self.plain_answer, connection)

    def plain_answer(self, connection: SimSocket) -> None:
        with connection:
            while line := connection.recv(100):
                self.served.append(line)
                self.sim.sleep("50ms")
                connection.sendall(line.upper())

    def plain_client(self, host: SimHost, name: str) -> list[bytes]:
        answers = []
        with host.socket(app=name) as socket:
            socket.connect(("b", 80))
            for number in range(3):
                socket.sendall(f"{name} {number}".encode())
                answers.append(socket.recv(100))
                self.sim.sleep("1s")
        return answers


def listening(host: SimHost) -> SimSocket:
    listener = host.socket(app="server")
    listener.bind(("", 80))
    listener.listen()
    return listener


def played(world: World, server: Any, client: Any) -> list[Any]:
    world.sim.spawn(server, world.b)
    clients = [world.sim.spawn(client, world.a, name) for name in ("one", "two", "three")]
    return [program.result() for program in clients]


def test_generators() -> None:
    world = World()
    answers = played(world, world.server, world.client)
    assert answers == [[f"{name} {n}".upper().encode() for n in range(3)] for name in ("one", "two", "three")]
    assert [line[-1:] for line in world.served] == [b"0"] * 3 + [b"1"] * 3 + [b"2"] * 3, "they ran side by side"


def test_plain_functions_do_what_generators_do_at_the_same_times() -> None:
    """One and the same sequence of packets: the form of a program is its author's business."""
    one, other = World(), World()
    answers = played(one, one.server, one.client)
    assert played(other, other.plain_server, other.plain_client) == answers
    assert other.served == one.served
    assert other.sim.digest() == one.sim.digest()


def test_programs_start_in_their_order_and_at_their_time() -> None:
    sim = Simulation()
    told: list[tuple[str, int]] = []

    def tell(name: str) -> Waits:
        told.append((name, sim.now))
        yield "1ns"
        told.append((name, sim.now))

    sim.spawn(tell, "late", at="2s")
    sim.spawn(tell, "a")
    sim.spawn(tell, "b")
    sim.run()
    late = 2 * SECOND
    assert told == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("late", late), ("late", late + 1)]


def test_one_waits_for_the_other() -> None:
    sim = Simulation()

    def slow() -> Waits:
        yield 3 * SECOND
        return "done"

    def waiting() -> Waits:
        first = yield program
        second = yield program.result()
        return first, second

    program = sim.spawn(slow)
    assert sim.spawn(waiting).result() == ("done", "done")
    assert sim.now == 3 * SECOND
    assert program.is_done


def test_an_error_that_nobody_waits_for_ends_the_run() -> None:
    sim = Simulation()

    def fails() -> Waits:
        yield "1s"
        raise KeyError("mine")

    sim.spawn(fails)
    with pytest.raises(KeyError, match="mine") as told:
        sim.run()
    assert told.value.__notes__ == ["in program fails, at 1.000000 s of virtual time"]


def test_an_error_goes_to_who_waits() -> None:
    sim = Simulation()
    host = sim.host("10.0.0.1")

    def refused() -> Waits:
        yield host.socket().connect(("10.0.0.1", 80))

    def catches() -> Waits:
        try:
            yield sim.spawn(refused)
        except ConnectionRefusedError:
            return "caught"

    assert sim.spawn(catches).result() == "caught"
    with pytest.raises(ConnectionRefusedError):
        sim.spawn(refused).result()


def test_errors_of_calls_are_raised_where_they_are_yielded() -> None:
    sim = Simulation()
    host = sim.host("10.0.0.1")

    def patient() -> Waits:
        socket = host.socket(kind=2)
        socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            yield socket.recv(1)
        return sim.now

    assert sim.spawn(patient).result() == SECOND // 2


@pytest.mark.parametrize("how", ["at the next yield", "at the next call", "at the end"])
def test_a_call_that_is_not_yielded_is_told_of(how: str) -> None:
    sim = Simulation()
    host = sim.host("10.0.0.1")

    def forgets() -> Waits:
        socket = host.socket(kind=2)
        socket.sendto(b"x", ("10.0.0.1", 9))  # it should be yielded
        if how == "at the next yield":
            yield "1s"
        if how == "at the next call":
            yield socket.recv(1)

    with pytest.raises(RuntimeError, match="forgets called what has to wait, and did not yield it: sendto on s1 at h1"):
        sim.spawn(forgets).result()


def test_what_cannot_be_yielded() -> None:
    sim = Simulation()
    host = sim.host("10.0.0.1")

    def yields(what: Any) -> Waits:
        yield what

    with pytest.raises(TypeError, match=r"yielded \(1, 2\); yield a call"):
        sim.spawn(yields, (1, 2)).result()
    with pytest.raises(ValueError, match="no unit"):
        sim.spawn(yields, "10").result()

    def reads_lines() -> Waits:
        host.socket().makefile()
        yield "1s"

    with pytest.raises(RuntimeError, match="a generator cannot"):
        sim.spawn(reads_lines).result()


def test_a_deadlock_names_all_who_wait() -> None:
    sim = Simulation()
    host = sim.host("web", "10.0.0.1")

    def server() -> Waits:
        yield listening(host).accept()

    program = sim.spawn(server)
    with pytest.raises(Deadlock) as told:
        program.result()
    assert str(told.value) == (
        "nothing is left to happen, and there wait main: waits for the end of server; "
        "server: accept on s1 of app server at web, LISTEN"
    )


def test_nobody_waits_within_a_turn() -> None:
    """A timeline's step is called in the middle of things: what waits there could never go on."""
    sim = Simulation()
    host = sim.host("10.0.0.1")
    sim.at("1s", host.socket(kind=2).recv, 1)
    with pytest.raises(RuntimeError, match="nobody can wait within a turn; spawn"):
        sim.run()


def test_only_one_goes_on_with_the_simulation() -> None:
    sim = Simulation()

    def runs() -> Waits:
        sim.run()
        yield "1s"

    with pytest.raises(RuntimeError, match="in a program use sleep"):
        sim.spawn(runs).result()


def test_many_plain_functions() -> None:
    """Two hundred stacks at once, and the order in which they end is that of their times."""
    sim = Simulation()
    ended: list[int] = []

    def sleeper(number: int) -> None:
        for _ in range(5):
            sim.sleep(number * SECOND)
        ended.append(number)

    for number in range(200, 0, -1):
        sim.spawn(sleeper, number)
    sim.run()
    assert ended == list(range(1, 201))
    assert sim.now == 1000 * SECOND
