"""From a scenario to a network, which runs here in virtual time: an emulated host stands for whoever is behind a TUN."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from netemu.link.impairments import Impairments
from netemu.link.words import words_of
from netemu.reasons import RouterDrop
from netemu.router.router import Router
from netemu.runtime.assemble import Assembly
from netemu.runtime.network import Network
from netemu.runtime.plan import TunPlan
from netemu.scenario.build import plan_of
from netemu.scenario.files import Files
from netemu.scenario.model import Scenario
from netemu.scenario.reader import parse_scenario, read_scenario
from netemu.scenario.show import toml
from netemu.sim.simulation import Simulation
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.config import NEVER
from netemu.tcp.connection import READABLE, WRITABLE
from netemu.wire.packet import Packet

EXAMPLES = Path(__file__).parents[2] / "scripts" / "scenarios"
SECOND = 10**9


def run(network: Network, until: Callable[[], object] = lambda: False, limit: int = 600 * SECOND) -> bool:
    """From event to event, until ``until()`` holds or nothing is to come within ``limit`` ns."""
    deadline = network.kick(network.now)
    while not until():
        if deadline >= min(NEVER, limit):
            return False
        deadline = network.turn(max(deadline, network.now))
    return True


def exchange(network: Network, client: str, server: str, port: int, data: bytes) -> bytes:
    """What a server answers to ``data`` over TCP."""
    connection = network.hosts[client].engine.host.socket(socket.AF_INET, socket.SOCK_STREAM)
    assert isinstance(connection, StreamSocket)
    with pytest.raises(BlockingIOError):
        connection.connect((server, port))
    assert run(network, lambda: connection.poll() & WRITABLE)
    connection.send(data)
    received = bytearray()
    while len(received) < len(data) and run(network, lambda: connection.poll() & READABLE):
        received += connection.recv(65536)
    return bytes(received)


def connect(network: Network, client: str, server: str, port: int) -> int:
    """The error of a connection to a server, 0 for none."""
    connection = network.hosts[client].engine.host.socket(socket.AF_INET, socket.SOCK_STREAM)
    with pytest.raises(BlockingIOError):
        connection.connect((server, port))
    network.kick(network.now)
    assert run(network, connection.poll)
    error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert isinstance(error, int)
    return error


def made(scenario: Scenario) -> Network:
    return Assembly(plan_of(scenario, real=False), {}).network


def example(name: str) -> Network:
    return made(read_scenario(str(EXAMPLES / f"{name}.toml")))


def peers(network: Network, host: str) -> set[str]:
    """Whom a host's connections are with."""
    rows = network.hosts[host].engine.host.sockets()
    return {row.peer.rpartition(":")[0] for row in rows if row.state == "ESTABLISHED"}


ADDRESSES = """[host.web]
address = ["10.0.2.2/24"]
app = ["http", "trouble,addresses=10.0.3.0/24"]
[tun.client]
address = ["10.0.1.2/24", "2001:db8::2/64"]
[router.r1]
[link.lan]
ends = ["client", "r1"]
[link.core]
ends = ["r1", "web"]
"""


def test_addresses_of_an_app_have_routes_to_them() -> None:
    scenario = parse_scenario(ADDRESSES)
    (tun,) = plan_of(scenario).tuns
    assert [route for route in tun.routes if route.startswith("10.")] == ["10.0.2.0/24", "10.0.3.0/24"]
    network = made(scenario)
    assert connect(network, "client", "10.0.3.21", 80) == 0
    assert connect(network, "client", "10.0.3.5", 80) == errno.ECONNREFUSED
    assert parse_scenario(toml(scenario)) == scenario, "its export says the same"


# -- the examples ---------------------------------------------------------------------------------------------------------------


def test_a_client_reaches_the_server_by_three_routers_and_is_answered_by_two() -> None:
    network = example("three-routers")
    assert exchange(network, "client", "10.2.0.2", 7, b"hello") == b"hello"
    north, south = network.links["north"], network.links["south"]
    assert north.inward.stats.packets_in > 0
    assert south.outward.stats.packets_in > 0
    assert north.outward.stats.packets_in == south.inward.stats.packets_in == 0
    # 2 + 8 + 10 ms there (give or take a jitter of 1 ms), 30 + 2 ms back, twice: SYN, data
    assert 2 * 51 * 10**6 <= network.now <= 2 * 53.1 * 10**6


def test_the_same_file_has_the_same_future() -> None:
    moments = []
    for _ in range(2):
        network = example("three-routers")
        exchange(network, "client", "10.2.0.2", 7, bytes(100_000))
        moments.append((network.now, network.links["east"].inward.stats.packets_in))
    assert moments[0] == moments[1]


def test_home_is_one_address_to_the_world_and_opens_one_door() -> None:
    network = example("home")
    assert exchange(network, "laptop", "203.0.113.10", 7, b"out") == b"out"
    assert peers(network, "server") == {"198.19.0.1"}
    assert connect(network, "server", "198.19.0.1", 8080) == 0  # the printer's page
    assert run(network, lambda: peers(network, "printer"), 10 * SECOND)
    assert peers(network, "printer") == {"203.0.113.10"}
    assert connect(network, "server", "198.19.0.1", 22) == errno.ECONNREFUSED
    assert connect(network, "laptop", "192.168.2.9", 9100) == 0


def test_strangers_are_kept_out() -> None:
    network = example("home")
    connection = network.hosts["server"].engine.host.socket(socket.AF_INET, socket.SOCK_STREAM)
    with pytest.raises(BlockingIOError):
        connection.connect(("192.168.1.20", 80))
    network.kick(network.now)
    assert not run(network, connection.poll, 10 * SECOND)
    router = network.routers["home"].router
    assert isinstance(router, Router)
    assert router.counters[RouterDrop.NAT_PRIVATE] >= 3  # a SYN and its repetitions


def test_a_commuter_goes_through_a_tunnel_and_a_station() -> None:
    network = example("commuter")
    radio = network.links["radio"]
    asked = []
    for second in (1, 61, 69, 91, 121):
        run(network, limit=second * SECOND)
        network.turn(second * SECOND)
        asked.append((words_of(radio.inward.impairments), "down" in words_of(radio.outward.impairments).split()))
    usual = "delay 35ms rate 12mbit queue droptail limit 100p"
    assert asked == [
        (usual, False),
        ("delay 35ms rate 12mbit down queue droptail limit 100p", True),
        (usual, False),
        ("delay 35ms loss gemodel 1% 20% rate 400kbit queue droptail limit 100p", False),
        (usual, False),
    ]


# -- small ones ---------------------------------------------------------------------------------------------------------------

TWO = """
[tun.a]
address = ["10.0.0.1/24"]
[host.b]
address = ["10.0.0.2/24"]
app = ["echo=echo:7"]
[link.wire]
ends = ["a", "b"]
both = "delay 10ms"
"""


def two(more: str, files: Files | None = None) -> Network:
    return made(parse_scenario(TWO + more, files=files))


def test_rules_stand_before_the_link() -> None:
    network = two('rules = ["in: tcp.flags.syn drop first 1"]')
    assert exchange(network, "a", "10.0.0.2", 7, b"x") == b"x"
    assert SECOND < network.now < 1.1 * SECOND  # the SYN was sent again after a second


def test_a_rule_comes_and_does_its_work() -> None:
    network = two('[[at]]\ntime = "1s"\nlink = "wire"\nrule = "in: tcp.dstport == 7 reset"')
    assert connect(network, "a", "10.0.0.2", 7) == 0
    run(network, limit=2 * SECOND)
    network.turn(2 * SECOND)
    assert connect(network, "a", "10.0.0.2", 7) == errno.ECONNREFUSED


def test_words_are_set_and_added_for_one_direction_or_both() -> None:
    network = two(
        '[[at]]\ntime = "1s"\nlink = "wire"\nset = "in loss 5%"\n'
        '[[at]]\ntime = "2s"\nlink = "wire"\nadd = "out rate 1mbit loss 2%"\n'
        '[[at]]\ntime = "3s"\nlink = "wire"\ndown = "out"\n'
        '[[at]]\ntime = "4s"\nlink = "wire"\nreset = true\n'
    )
    wire, asked = network.links["wire"], []
    for second in (1, 2, 3, 4):
        network.turn(second * SECOND)
        asked.append((words_of(wire.inward.impairments), words_of(wire.outward.impairments)))
    assert asked == [
        ("loss 5%", "delay 10ms"),
        ("loss 5%", "delay 10ms loss 2% rate 1mbit"),
        ("loss 5%", "delay 10ms loss 2% rate 1mbit down"),
        ("delay 10ms", "delay 10ms"),
    ]


def test_a_change_that_does_not_go_with_what_was_done_by_hand_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    network = two('[[at]]\ntime = "1s"\nlink = "wire"\nadd = "in flap 1s 1s"\n')
    network.links["wire"].inward.change(Impairments(down=True), network.now)
    network.turn(2 * SECOND)
    assert words_of(network.links["wire"].inward.impairments) == "down"
    assert capsys.readouterr().err.startswith("netemu: wire: add in flap 1s 1s: down: a link that is down cannot flap")


def test_a_trace_begins_with_the_network_and_not_with_the_first_packet(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time_s,delay_ms\n0,500\n5,1\n")
    network = two('in = "trace t.csv"', Files(tmp_path))
    network.turn(0)
    network.turn(6 * SECOND)
    assert connect(network, "a", "10.0.0.2", 7) == 0
    assert network.now == 6 * SECOND + 11 * 10**6


def test_a_script_may_do_what_it_likes(tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text(
        "def prepare(network):\n"
        "    wire = network.links['wire']\n"
        "    network.call_at(2 * 10**9, lambda: wire.name.upper() and setattr(wire, 'name', 'changed'))\n"
    )
    network = made(parse_scenario('script = "more.py:prepare"\n' + TWO, files=Files(tmp_path)))
    run(network, limit=SECOND)
    assert network.links["wire"].name == "wire"
    network.turn(2 * SECOND)
    assert network.links["wire"].name == "changed"


def test_a_script_that_fails_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more.py").write_text("def prepare(network):\n    network.lniks\n")
    network = made(parse_scenario('script = "more.py:prepare"\n' + TWO, files=Files(tmp_path)))
    assert exchange(network, "a", "10.0.0.2", 7, b"x") == b"x"
    assert capsys.readouterr().err == (
        "netemu: script more.py:prepare raised AttributeError: 'Network' object has no attribute 'lniks'\n"
    )


def test_the_plan_of_a_tun() -> None:
    plan = plan_of(read_scenario(str(EXAMPLES / "home.toml")))
    assert plan.tuns == (
        TunPlan(
            "laptop",
            "laptop",
            ("192.168.1.20/24",),
            ("192.168.2.0/24", "203.0.113.0/24", "198.19.0.0/30"),
            1500,
            netns="laptop",
            makes_netns=True,
        ),
    )
    assert [host.name for host in plan.hosts] == ["printer", "server"]
    assert plan.seed == 11
    assert plan_of(parse_scenario(TWO), seed=5).seed == 5


def test_ports_of_routers_carry_what_the_ends_can_send() -> None:
    text = (EXAMPLES / "three-routers.toml").read_text().replace("[host.server]", "[host.server]\nmtu = 9000")
    network = made(parse_scenario(text))
    mtus: dict[tuple[str, str], int] = {}
    for name in ("r1", "r2", "r3"):
        router = network.routers[name].router
        assert isinstance(router, Router)
        mtus |= {(name, port.name): port.mtu for port in router.ports}
    assert mtus["r1", "access"] == 1500
    assert mtus["r3", "farm"] == mtus["r1", "north"] == mtus["r2", "east"] == 9000


# -- the same network elsewhere -------------------------------------------------------------------------------------------------


class Sink:
    """A device that takes all."""

    def write(self, packet: Packet) -> bool:
        return True


def test_links_decide_the_same_on_devices_and_in_virtual_time() -> None:
    text = TWO.replace("delay 10ms", "loss 10% duplicate 5% corrupt 3%")
    fates = []
    for real in (True, False):
        plan = plan_of(parse_scenario(text), seed=99, real=real)
        direction = Assembly(plan, {"a": Sink()} if real else {}).network.links["wire"].inward
        told: list[tuple[str, str]] = []
        direction.watch = lambda packet, now, event, comment, told=told: told.append((event, comment))
        for number in range(500):
            direction.send(Packet(bytes(20) + number.to_bytes(4, "big")), number)
            direction.take(number)
        fates.append(told)
    assert fates[0] == fates[1]
    assert sum(event == "dropped" for event, _ in fates[0]) > 20


def test_a_simulation_of_a_file() -> None:
    digests = []
    for _ in range(2):
        with Simulation.load(EXAMPLES / "commuter.toml") as sim:
            assert set(sim.hosts) == {"phone", "server"}
            connection = sim.hosts["phone"].socket()
            connection.connect(("198.51.100.10", 7))
            connection.sendall(b"before the tunnel")
            assert connection.recv(100) == b"before the tunnel"
            sim.run("62s")
            sent = sim.now
            connection.sendall(b"within")
            assert connection.recv(100) == b"within"
            assert sim.now > 68 * SECOND > sent
            digests.append(sim.digest())
    assert digests[0] == digests[1]
