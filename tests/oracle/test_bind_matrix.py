"""The tables T1 to T12 of the facts, walked once on netemu and once on the kernel: both must be as the tables have it."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator

import pytest
from bsd import Answer, Kernel, Netemu, Sockets, family_of
from test_stack_bind import OPTIONS, PAIRS, ROWS, T1, T2, UIDS, cell

from netemu.stack import constants as so

INUSE, REFUSED = errno.EADDRINUSE, errno.ECONNREFUSED
LOCAL, OTHER, ANY = "127.0.0.1", "127.0.0.2", "0.0.0.0"
OVERLAPS = [(LOCAL, LOCAL), (ANY, LOCAL), (LOCAL, ANY), (ANY, ANY)]
REUSE = {"A": so.SO_REUSEADDR, "P": so.SO_REUSEPORT}
CONNECTING = errno.EINPROGRESS

_ports = itertools.count(2000)


class Walk:
    """Sockets of one of the two systems, and a port that nobody has had yet."""

    def __init__(self, system: Sockets) -> None:
        self.system = system

    @property
    def port(self) -> int:
        return next(_ports)

    def socket(self, options: str = "--", uid: int = 0, family: int = so.AF_INET, v6only: bool = False) -> int:
        number = self.system.call("open", family, so.SOCK_STREAM, uid)[1]
        assert isinstance(number, int)
        for letter in options:
            if letter in REUSE:
                self.set(number, REUSE[letter])
        if v6only:
            assert self("setsockopt", number, so.IPPROTO_IPV6, so.IPV6_V6ONLY, 1) == 0
        return number

    def set(self, number: int, option: int, value: int = 1) -> None:
        assert self("setsockopt", number, so.SOL_SOCKET, option, value) == 0

    def __call__(self, method: str, *arguments: object) -> int:
        """The errno of a call."""
        return self.system.call(method, *arguments)[0]

    def answer(self, method: str, *arguments: object) -> object:
        number, result = self.system.call(method, *arguments)
        assert number == 0, (method, arguments, errno.errorcode[number])
        return result

    def connect(self, number: int, address: str, port: int) -> int:
        """How it ended: 0, or an errno; EALREADY while nobody answers."""
        first = self("connect", number, address, port)
        return self("connect", number, address, port) if first == CONNECTING else first

    def listener(self, port: int, options: str = "--", address: str = ANY, backlog: int = 8, uid: int = 0) -> int:
        number = self.socket(options, uid, family_of(address))
        assert self("bind", number, address, port) == 0
        assert self("listen", number, backlog) == 0
        return number

    def accept(self, listener: int) -> int:
        result = self.answer("accept", listener)
        assert isinstance(result, tuple)
        child = result[0]
        assert isinstance(child, int)
        return child

    def pair(self, port: int, options: str = "--", address: str = ANY, uid: int = 0) -> tuple[int, int, int]:
        """Listener, accepted child, client."""
        listener = self.listener(port, options, address, uid=uid)
        client = self.socket()
        assert self.connect(client, LOCAL, port) == 0
        return listener, self.accept(listener), client

    def state(self, number: int) -> str:
        return self.system.states()[number][0]

    def waiting(self, number: int) -> int:
        return self.system.states()[number][1]


@pytest.fixture(scope="module", params=["netemu", "kernel"])
def system(request: pytest.FixtureRequest) -> Iterator[Sockets]:
    if request.param == "netemu":
        yield Netemu()
        return
    kernel = Kernel()
    yield kernel
    kernel.close()


@pytest.fixture
def walk(system: Sockets) -> Iterator[Walk]:
    yield Walk(system)
    system.reset()


# -- T1, T2, T5 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize(("first", "second"), OVERLAPS)
def test_t1_t2_t5_bind_and_listen(walk: Walk, first: str, second: str, listening: bool) -> None:
    for (a, b), (uid_a, uid_b) in itertools.product(PAIRS, UIDS):
        port, one, two = walk.port, walk.socket(a, uid_a), walk.socket(b, uid_b)
        assert walk("bind", one, first, port) == 0
        if listening:
            assert walk("listen", one, 5) == 0
        expected = cell(T2 if listening else T1, a, b, uid_a == uid_b)
        assert walk("bind", two, second, port) == expected, (a, b, uid_a, uid_b)
        if not expected:
            both = "P" in a and "P" in b and uid_a == uid_b
            assert walk("listen", one, 5) == 0
            assert walk("listen", two, 5) == (0 if both else INUSE)
        walk("close", one)
        walk("close", two)


def test_t2_different_addresses(walk: Walk) -> None:
    for a, b in PAIRS:
        port = walk.port
        walk.listener(port, a, LOCAL, uid=1)
        walk.listener(port, b, OTHER, uid=2)
        walk.system.reset()


# -- T3, T4 ----------------------------------------------------------------------------------------------------------


def held_by(walk: Walk, state: str, options: str, uid: int = 0) -> int:
    """A port that only a connection in ``state`` has, at 127.0.0.1; it has ``options``."""
    port = walk.port
    if state == "SYN-SENT":
        full = walk.listener(walk.port, backlog=0)
        target = walk.answer("getsockname", full)
        assert isinstance(target, tuple)
        assert walk.connect(walk.socket(), LOCAL, target[1]) == 0
        client = walk.socket(options, uid)
        assert walk("bind", client, LOCAL, port) == 0
        assert walk.connect(client, LOCAL, target[1]) == errno.EALREADY
        return port
    if state == "TIME-WAIT of a client":
        listener = walk.listener(walk.port)
        target = walk.answer("getsockname", listener)
        assert isinstance(target, tuple)
        client = walk.socket(options, uid)
        assert walk("bind", client, LOCAL, port) == 0
        assert walk.connect(client, LOCAL, target[1]) == 0
        child = walk.accept(listener)
        walk("close", client)
        walk("close", child)
        return port
    listener, child, client = walk.pair(port, options, uid=uid)
    walk("close", listener)
    if state == "CLOSE-WAIT":
        walk("close", client)
    elif state == "FIN-WAIT-2":
        walk("shutdown", child, so.SHUT_WR)
    elif state == "TIME-WAIT":
        walk("close", child)
        walk("close", client)
        return port
    assert walk.state(child) == state
    return port


@pytest.mark.parametrize(
    "state", ["ESTABLISHED", "CLOSE-WAIT", "FIN-WAIT-2", "SYN-SENT", "TIME-WAIT", "TIME-WAIT of a client"]
)
def test_t3_t4_where_only_a_connection_is_left(walk: Walk, state: str) -> None:
    for a, b in PAIRS:
        both = ("A" in a and "A" in b) or ("P" in a and "P" in b)
        for address in (ANY, LOCAL):
            port = held_by(walk, state, a)
            new = walk.socket(b)
            assert walk("bind", new, address, port) == (0 if both else INUSE), (a, b, address)
            if both:
                assert walk("listen", new, 5) == 0
            walk("close", new)
            assert walk("bind", walk.socket(b), OTHER, port) == 0


@pytest.mark.parametrize(
    ("state", "expected"), [("ESTABLISHED", INUSE), ("TIME-WAIT", 0), ("TIME-WAIT of a client", 0)]
)
def test_t3_t4_of_another_user(walk: Walk, state: str, expected: int) -> None:
    port = held_by(walk, state, "-P", 10)
    assert walk("bind", walk.socket("-P", 11), ANY, port) == expected


def test_t3_the_old_child_keeps_its_segments(walk: Walk) -> None:
    port = walk.port
    listener, child, client = walk.pair(port, "A-")
    walk("close", listener)
    new = walk.listener(port, "A-")
    assert walk.answer("send", client, "old") == 3
    assert walk.answer("recv", child, 9) == "old"
    assert walk.waiting(new) == 0


def test_t4_an_ephemeral_port(walk: Walk) -> None:
    for options in OPTIONS:
        listener, child, client = walk.pair(walk.port)
        name = walk.answer("getsockname", client)
        assert isinstance(name, tuple)
        assert walk("bind", walk.socket(options), LOCAL, name[1]) == INUSE
        walk("close", client)
        walk("close", child)
        for address, expected in ((LOCAL, INUSE), (ANY, INUSE), (OTHER, 0)):
            assert walk("bind", walk.socket(options), address, name[1]) == expected
        walk("close", listener)


# -- T6 --------------------------------------------------------------------------------------------------------------


def test_t6_options_changed_later(walk: Walk) -> None:
    for option, second, listens in ((so.SO_REUSEPORT, "-P", 0), (so.SO_REUSEADDR, "A-", INUSE)):
        port, one, two = walk.port, walk.socket(), walk.socket(second)
        assert walk("bind", one, LOCAL, port) == 0
        walk.set(one, option)
        assert walk("bind", two, LOCAL, port) == 0
        assert walk("listen", one, 5) == 0
        assert walk("listen", two, 5) == listens
    port, one, two = walk.port, walk.socket("-P"), walk.socket("-P")
    assert walk("bind", one, LOCAL, port) == walk("bind", two, LOCAL, port) == 0
    walk.set(two, so.SO_REUSEPORT, 0)
    assert walk("listen", two, 5) == INUSE
    port, one, two = walk.port, walk.socket("A-"), walk.socket("A-")
    assert walk("bind", one, LOCAL, port) == walk("bind", two, LOCAL, port) == 0
    walk.set(two, so.SO_REUSEADDR, 0)
    assert walk("listen", one, 5) == walk("listen", two, 5) == INUSE


def test_t6_what_the_port_remembers(walk: Walk) -> None:
    """The quirk: a member that clears SO_REUSEPORT does not keep the next one out, where the first one's name covers his."""
    for (first, second), listening in itertools.product(OVERLAPS, (False, True)):
        port, one, two = walk.port, walk.socket("-P"), walk.socket("-P")
        assert walk("bind", one, first, port) == 0
        if listening:
            assert walk("listen", one, 5) == 0
        walk.set(one, so.SO_REUSEPORT, 0)
        assert walk("bind", two, second, port) == (INUSE if (first, second) == (LOCAL, ANY) else 0)
    for first, second, expected in (
        ("0.0.0.0", "::", 0), ("0.0.0.0", "::ffff:127.0.0.1", 0), ("127.0.0.1", "::ffff:127.0.0.1", 0),
        ("127.0.0.1", "::", INUSE),
        ("::", "127.0.0.1", 0), ("::", "::1", 0), ("::1", "::", INUSE), ("::1", "::1", 0), ("::ffff:127.0.0.1", "127.0.0.1", 0),
        ("::ffff:127.0.0.1", "::", INUSE), ("::ffff:127.0.0.1", "0.0.0.0", INUSE), ("::ffff:0.0.0.0", "127.0.0.1", 0),
    ):  # fmt: skip
        port, one = walk.port, walk.socket("-P", family=family_of(first))
        assert walk("bind", one, first, port) == 0
        walk.set(one, so.SO_REUSEPORT, 0)
        assert walk("bind", walk.socket("-P", family=family_of(second)), second, port) == expected, (first, second)
    port, one = walk.port, walk.socket("A-")
    assert walk("bind", one, LOCAL, port) == 0
    walk.set(one, so.SO_REUSEADDR, 0)
    assert walk("bind", walk.socket("A-"), LOCAL, port) == INUSE


# -- T7 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["--", "A-", "-P"])
def test_t7_both_families(walk: Walk, options: str) -> None:
    later = ["0.0.0.0", "127.0.0.1", "::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1"]
    for first, second, plain, _, after_plain, after_reuse in ROWS:
        port = walk.port

        def bind(name: str, options: str, port: int = port) -> int:
            address, _, v6only = name.partition(" ")
            return walk("bind", walk.socket(options, 0, family_of(address), bool(v6only)), address, port)

        assert bind(first, options) == 0
        assert bind(second, options) == (INUSE if options == "--" and plain == "INUSE" else 0), (first, second)
        found = " ".join("ok" if bind(name, "--") == 0 else "X" for name in later)
        assert found == (after_plain if options == "--" else after_reuse), (first, second)
        walk.system.reset()


# -- T8 --------------------------------------------------------------------------------------------------------------

T8 = [  # who listens, all with SO_REUSEPORT and in this order; a connection to where; who gets it
    (["0.0.0.0", "127.0.0.1", "0.0.0.0"], "127.0.0.1", 1),
    (["127.0.0.1", "0.0.0.0"], "127.0.0.2", 1),
    (["::", "0.0.0.0"], "127.0.0.1", 1),
    (["0.0.0.0", "::"], "127.0.0.1", 0),
    (["0.0.0.0", "::ffff:127.0.0.1", "::"], "127.0.0.1", 1),
    (["::ffff:127.0.0.1", "127.0.0.1"], "127.0.0.1", 1),
    (["127.0.0.1", "::ffff:127.0.0.1"], "127.0.0.1", 0),
    (["::"], "127.0.0.1", 0),
    (["127.0.0.1", "::"], "127.0.0.2", 1),
    (["127.0.0.1", "::"], "::1", 1),
    (["::", "::1"], "::1", 1),
]


@pytest.mark.parametrize(("names", "to", "expected"), T8, ids=str)
def test_t8_who_gets_a_syn(walk: Walk, names: list[str], to: str, expected: int) -> None:
    port = walk.port
    listeners = [walk.listener(port, "-P", name) for name in names]
    for _ in range(8):
        assert walk.connect(walk.socket(family=family_of(to)), to, port) == 0
    assert [walk.waiting(number) for number in listeners] == [8 if n == expected else 0 for n in range(len(names))]


def test_t8_names_over_a_dual_stack_listener(walk: Walk) -> None:
    port = walk.port
    listener = walk.listener(port, address="::")
    client = walk.socket()
    assert walk.connect(client, LOCAL, port) == 0
    child = walk.accept(listener)
    assert walk.answer("getsockname", child) == (f"::ffff:{LOCAL}", port)
    name = walk.answer("getsockname", client)
    assert isinstance(name, tuple)
    assert walk.answer("getpeername", child) == (f"::ffff:{LOCAL}", name[1])


def test_t8_v6only(walk: Walk) -> None:
    port, number = walk.port, walk.socket(family=so.AF_INET6, v6only=True)
    assert walk("bind", number, "::", port) == walk("listen", number, 5) == 0
    assert walk.connect(walk.socket(), LOCAL, port) == REFUSED


# -- T13: devices ----------------------------------------------------------------------------------------------------

DEVICE_BOUND = [
    (["lo", "netemu0"], [0, 0]),
    (["lo", "lo"], [0, INUSE]),
    (["lo", ""], [0, INUSE]),
    (["", "netemu0"], [0, INUSE]),
    (["lo P", "netemu0", " P"], [0, 0, INUSE]),
    (["lo P", "netemu0", "lo P", " P"], [0, 0, 0, 0]),  # the port remembers the third one, and not his device (T6)
    (["lo P", " P", "netemu0 P"], [0, 0, 0]),
]


def on_device(walk: Walk, name: str, family: int = so.AF_INET) -> int:
    """'lo P': on that device, with SO_REUSEPORT."""
    device, _, options = name.partition(" ")
    number = walk.socket(options, family=family)
    assert walk("setsockopt", number, so.SOL_SOCKET, so.SO_BINDTODEVICE, device.encode().hex()) == 0
    return number


@pytest.mark.parametrize(("names", "expected"), DEVICE_BOUND, ids=str)
def test_t13_devices(walk: Walk, names: list[str], expected: list[int]) -> None:
    port = walk.port
    assert [walk("bind", on_device(walk, name), ANY, port) for name in names] == expected


@pytest.mark.parametrize(("first", "second"), [("lo P", " P"), (" P", "lo P")])
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::1"])
def test_t13_equal_but_for_the_device(walk: Walk, address: str, first: str, second: str) -> None:
    """IPv4: the last to listen; IPv6: the first (the quirk of U2)."""
    family, port = family_of(address), walk.port
    listeners = [on_device(walk, name, family) for name in (first, second)]
    for number in listeners:
        assert walk("bind", number, address, port) == walk("listen", number, 16) == 0
    for _ in range(6):
        assert walk.connect(walk.socket(family=family), "::1" if family == so.AF_INET6 else LOCAL, port) == 0
    waiting = [walk.waiting(number) for number in listeners]
    assert waiting == ([6, 0] if family == so.AF_INET6 else [0, 6])


def test_t13_other_devices_hear_nothing(walk: Walk) -> None:
    port = walk.port
    listener = on_device(walk, "netemu0")
    assert walk("bind", listener, ANY, port) == walk("listen", listener, 5) == 0
    assert walk.connect(walk.socket(), LOCAL, port) == REFUSED
    wildcard, specific = on_device(walk, "lo P"), walk.socket("P")
    port = walk.port
    for number, address in ((wildcard, ANY), (specific, LOCAL)):
        assert walk("bind", number, address, port) == walk("listen", number, 5) == 0
    assert walk.connect(walk.socket(), LOCAL, port) == 0
    assert walk.waiting(specific) == 1
    assert walk.connect(walk.socket(), OTHER, port) == 0
    assert walk.waiting(wildcard) == 1


def test_t13_who_may_choose_a_device(walk: Walk) -> None:
    number = walk.socket(uid=10)
    for device, expected in (("", 0), ("nowhere", errno.ENODEV), ("lo", 0), ("lo", errno.EPERM), ("", errno.EPERM)):
        value = device.encode().hex()
        assert walk("setsockopt", number, so.SOL_SOCKET, so.SO_BINDTODEVICE, value) == expected


# -- T9 --------------------------------------------------------------------------------------------------------------


def test_t9_only_those_that_listen(walk: Walk) -> None:
    port = walk.port
    bound = walk.socket("-P")
    assert walk("bind", bound, ANY, port) == 0
    listener = walk.listener(port, "-P", backlog=64)
    for _ in range(20):
        assert walk.connect(walk.socket(), LOCAL, port) == 0
    assert walk.waiting(listener) == 20


def test_t9_a_full_member_does_not_spill(walk: Walk) -> None:
    port = walk.port
    listeners = [walk.listener(port, "-P", backlog=0) for _ in range(2)]
    ends = [walk.connect(walk.socket(), LOCAL, port) for _ in range(24)]
    assert ends.count(0) == 2
    assert ends.count(errno.EALREADY) == 22
    assert [walk.waiting(number) for number in listeners] == [1, 1]


@pytest.mark.parametrize("migrate", [False, True])
@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_t9_a_member_goes(walk: Walk, how: str, migrate: bool) -> None:
    system = walk.system
    if isinstance(system, Netemu):
        system.host.config.migrate_req = migrate
    else:
        walk.answer("sysctl", "net.ipv4.tcp_migrate_req", str(int(migrate)))
    port = walk.port
    one, two = (walk.listener(port, "-P", backlog=64) for _ in range(2))
    clients = [walk.socket() for _ in range(40)]
    for client in clients:
        assert walk.connect(client, LOCAL, port) == 0
    mine, others = walk.waiting(one), walk.waiting(two)
    assert mine + others == 40
    assert mine
    assert others
    walk("close", one) if how == "close" else walk("shutdown", one, so.SHUT_RDWR)
    reset = sum(walk("recv", client, 1) == errno.ECONNRESET for client in clients)
    assert (reset, walk.waiting(two)) == ((0, 40) if migrate else (mine, others))
    assert walk.connect(walk.socket(), LOCAL, port) == 0
    assert walk.waiting(two) == (41 if migrate else others + 1)
    if how == "shutdown":
        assert walk("listen", one, 5) == 0


# -- T10 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["A-", "-P"])
@pytest.mark.parametrize(("first", "second"), [(LOCAL, LOCAL), (LOCAL, ANY), (ANY, LOCAL)])
def test_t10_a_4_tuple_is_unique(walk: Walk, options: str, first: str, second: str) -> None:
    here, there = walk.port, [walk.port, walk.port]
    for port in there:
        walk.listener(port)
    one, two = walk.socket(options), walk.socket(options)
    assert walk("bind", one, first, here) == walk("bind", two, second, here) == 0
    assert walk.connect(one, LOCAL, there[0]) == 0
    assert walk.connect(two, LOCAL, there[0]) == errno.EADDRNOTAVAIL
    assert walk.connect(two, LOCAL, there[1]) == 0


def test_t10_out_of_a_port_where_another_listens(walk: Walk) -> None:
    port, there, one, two = walk.port, walk.port, walk.socket("A-"), walk.socket("A-")
    walk.listener(there)
    assert walk("bind", one, LOCAL, port) == walk("bind", two, LOCAL, port) == 0
    assert walk("listen", one, 5) == 0
    assert walk.connect(two, LOCAL, there) == 0


def test_t10_over_ones_own_time_wait(walk: Walk) -> None:
    here, there = walk.port, walk.port
    listener = walk.listener(there)
    for _ in range(3):
        client = walk.socket("A-")
        assert walk("bind", client, LOCAL, here) == 0
        assert walk.connect(client, LOCAL, there) == 0
        child = walk.accept(listener)
        walk("close", client)
        walk("close", child)


def test_t10_the_client_comes_again(walk: Walk) -> None:
    """TIME-WAIT is the server's."""
    here, there = walk.port, walk.port
    listener = walk.listener(there)
    for _ in range(3):
        client = walk.socket("A-")
        assert walk("bind", client, LOCAL, here) == 0
        assert walk.connect(client, LOCAL, there) == 0
        child = walk.accept(listener)
        walk("close", child)
        walk("close", client)


@pytest.fixture
def one_port(walk: Walk) -> Iterator[int]:
    """The whole ephemeral range."""
    yield from ranged(walk, 1)


@pytest.fixture
def two_ports(walk: Walk) -> Iterator[int]:
    yield from ranged(walk, 2)


def ranged(walk: Walk, count: int) -> Iterator[int]:
    port = walk.port
    for _ in range(count):
        assert walk.port
    set_sysctl(walk, "net.ipv4.ip_local_port_range", f"{port} {port + count - 1}")
    yield port
    set_sysctl(walk, "net.ipv4.ip_local_port_range", "32768 60999")


def set_sysctl(walk: Walk, name: str, value: str) -> None:
    system = walk.system
    if isinstance(system, Netemu):
        if name.endswith("range"):
            low, high = map(int, value.split())
            system.host.config.local_ports = low, high
        else:
            setattr(system.host.config, name.rpartition(".ip_")[2], bool(int(value)))
    else:
        walk.answer("sysctl", name, value)


def test_t10_connections_share_a_port(walk: Walk, one_port: int) -> None:
    there = [walk.port for _ in range(3)]
    for port in there:
        walk.listener(port)
    assert walk.connect(walk.socket(), LOCAL, there[0]) == 0
    assert walk.connect(walk.socket(), LOCAL, there[0]) == errno.EADDRNOTAVAIL
    for port in there[1:]:
        client = walk.socket()
        assert walk.connect(client, LOCAL, port) == 0
        assert walk.answer("getsockname", client) == (LOCAL, one_port)
    for address, expected in ((LOCAL, INUSE), (ANY, INUSE), (OTHER, 0)):
        assert walk("bind", walk.socket(), address, 0) == expected


def test_t10_a_pinned_port_is_not_shared(walk: Walk, one_port: int) -> None:
    there = walk.port
    walk.listener(there)
    pin = walk.socket()
    assert walk("bind", pin, "127.0.0.3", one_port) == 0
    assert walk.connect(walk.socket(), LOCAL, there) == errno.EADDRNOTAVAIL
    walk("close", pin)
    assert walk.connect(walk.socket(), LOCAL, there) == 0
    assert walk("bind", walk.socket(), "127.0.0.3", one_port) == 0
    assert walk.connect(walk.socket(), LOCAL, walk.port) == errno.EADDRNOTAVAIL


def test_t10_all_ports_used(walk: Walk, one_port: int) -> None:
    """bind(0) of a second socket: only with ip_autobind_reuse, and then only one of both may listen."""
    for reuse, (a, b), (uid_a, uid_b) in itertools.product((0, 1), PAIRS, ((10, 10), (10, 11))):
        set_sysctl(walk, "net.ipv4.ip_autobind_reuse", str(reuse))
        one, two = walk.socket(a, uid_a), walk.socket(b, uid_b)
        assert walk("bind", one, ANY, 0) == 0
        one_group = "P" in a and "P" in b and uid_a == uid_b
        ok = bool(reuse) and "A" in a and "A" in b and not one_group
        assert walk("bind", two, ANY, 0) == (0 if ok else INUSE), (reuse, a, b, uid_a, uid_b)
        if ok:
            assert walk("listen", one, 5) == 0
            assert walk("listen", two, 5) == INUSE
        walk("close", one)
        walk("close", two)
    set_sysctl(walk, "net.ipv4.ip_autobind_reuse", "0")


def test_t10_bind_no_port(walk: Walk, two_ports: int) -> None:
    there = walk.port
    walk.listener(there)
    client = walk.socket()
    assert walk("setsockopt", client, so.IPPROTO_IP, so.IP_BIND_ADDRESS_NO_PORT, 1) == 0
    assert walk("bind", client, OTHER, 0) == 0
    assert walk.answer("getsockname", client) == (OTHER, 0)
    assert walk.connect(client, LOCAL, there) == 0
    name = walk.answer("getsockname", client)
    assert name in ((OTHER, two_ports), (OTHER, two_ports + 1))
    listening = walk.socket()
    assert walk("setsockopt", listening, so.IPPROTO_IP, so.IP_BIND_ADDRESS_NO_PORT, 1) == 0
    assert walk("bind", listening, OTHER, 0) == 0
    assert walk("listen", listening, 5) == 0
    name = walk.answer("getsockname", listening)
    assert isinstance(name, tuple)
    assert name[0] == OTHER
    assert name[1]


def test_t10_a_range_of_ones_own(walk: Walk) -> None:
    there = walk.port
    walk.listener(there)
    for low, high, ports in ((40000, 40001, {40000, 40001}), (40010, 40010, {40010})):
        for use in ("bind", "connect"):
            seen = set()
            for _ in ports:
                made = walk.socket()
                assert walk("setsockopt", made, so.IPPROTO_IP, so.IP_LOCAL_PORT_RANGE, low | high << 16) == 0
                assert walk.answer("getsockopt", made, so.IPPROTO_IP, so.IP_LOCAL_PORT_RANGE) == low | high << 16
                called = walk("bind", made, LOCAL, 0) if use == "bind" else walk.connect(made, LOCAL, there)
                assert called == 0
                name = walk.answer("getsockname", made)
                assert isinstance(name, tuple)
                seen.add(name[1])
            assert seen == ports
            last = walk.socket()
            assert walk("setsockopt", last, so.IPPROTO_IP, so.IP_LOCAL_PORT_RANGE, low | high << 16) == 0
            called = walk("bind", last, LOCAL, 0) if use == "bind" else walk.connect(last, LOCAL, there)
            assert called == (INUSE if use == "bind" else errno.EADDRNOTAVAIL)
            walk.system.reset()
            walk.listener(there := walk.port)
    made = walk.socket()
    assert walk("setsockopt", made, so.IPPROTO_IP, so.IP_LOCAL_PORT_RANGE, 2 | 1 << 16) == errno.EINVAL


def test_t10_distinct_ports(walk: Walk) -> None:
    for options in OPTIONS:
        seen = set()
        for _ in range(50):
            made = walk.socket(options)
            assert walk("bind", made, LOCAL, 0) == 0
            seen.add(walk.answer("getsockname", made))
        assert len(seen) == 50


@pytest.mark.parametrize("name", ["0.0.0.0", "::"])
def test_t10_connect_to_the_wildcard(walk: Walk, name: str) -> None:
    port = walk.port
    walk.listener(port, address=name)
    client = walk.socket(family=family_of(name))
    assert walk.connect(client, name, port) == 0
    assert walk.answer("getpeername", client) == ("127.0.0.1" if name == "0.0.0.0" else "::1", port)


def test_t10_self_connect(walk: Walk) -> None:
    port, made = walk.port, walk.socket()
    assert walk("bind", made, LOCAL, port) == 0
    assert walk.connect(made, LOCAL, port) == 0
    assert walk.answer("send", made, "echo") == 4
    assert walk.answer("recv", made, 9) == "echo"


# -- T11 -------------------------------------------------------------------------------------------------------------


def test_t11_single_calls(walk: Walk) -> None:
    port = walk.port
    listener, child, client = walk.pair(port)
    fresh = walk.socket()
    bound = walk.socket()
    assert walk("bind", bound, LOCAL, walk.port) == 0
    for number, method, arguments, expected in [
        (bound, "bind", (LOCAL, walk.port), errno.EINVAL),
        (fresh, "bind", ("192.0.2.1", 0), errno.EADDRNOTAVAIL),
        (walk.socket(uid=10), "bind", (LOCAL, 80), errno.EACCES),
        (client, "bind", (LOCAL, walk.port), errno.EINVAL),
        (listener, "bind", (LOCAL, walk.port), errno.EINVAL),
        (listener, "listen", (3,), 0),
        (client, "listen", (3,), errno.EINVAL),
        (child, "listen", (3,), errno.EINVAL),
        (fresh, "accept", (), errno.EINVAL),
        (bound, "accept", (), errno.EINVAL),
        (client, "accept", (), errno.EINVAL),
        (listener, "accept", (), errno.EAGAIN),
        (listener, "connect", (LOCAL, port), errno.EISCONN),
        (client, "connect", (LOCAL, port), errno.EISCONN),
        (child, "connect", (LOCAL, port), errno.EISCONN),
        (listener, "recv", (1,), errno.ENOTCONN),
        (fresh, "recv", (1,), errno.ENOTCONN),
        (fresh, "getpeername", (), errno.ENOTCONN),
        (listener, "getpeername", (), errno.ENOTCONN),
        (fresh, "shutdown", (so.SHUT_RDWR,), errno.ENOTCONN),
        (fresh, "send", ("x",), errno.EPIPE),
        (listener, "send", ("x",), errno.EPIPE),
    ]:
        assert walk(method, number, *arguments) == expected, (method, arguments)


def test_t11_refused(walk: Walk) -> None:
    for port in (walk.port, 0):
        made = walk.socket()
        for _ in range(2):
            assert walk.connect(made, LOCAL, port) == REFUSED
            name = walk.answer("getsockname", made)
            assert isinstance(name, tuple)
            assert name[0] == ANY
            assert name[1] >= 32768


def test_t11_listen_chooses_a_port(walk: Walk) -> None:
    made = walk.socket()
    assert walk("listen", made, 5) == 0
    name = walk.answer("getsockname", made)
    assert isinstance(name, tuple)
    assert name[0] == ANY
    assert walk.connect(walk.socket(), LOCAL, name[1]) == 0


# -- T12 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backlog", [0, 1, 2, 3, 5])
def test_t12_backlog(walk: Walk, backlog: int) -> None:
    port = walk.port
    listener = walk.listener(port, backlog=backlog)
    ends = [walk.connect(walk.socket(), LOCAL, port) for _ in range(backlog + 3)]
    assert ends == [0] * (backlog + 1) + [errno.EALREADY] * 2
    assert walk.waiting(listener) == backlog + 1


def test_t12_close_with_unread_data(walk: Walk) -> None:
    _, child, client = walk.pair(walk.port)
    assert walk.answer("send", client, "unread") == 6
    walk("close", child)
    assert walk("recv", client, 9) == errno.ECONNRESET


def test_t12_reset_before_accept(walk: Walk) -> None:
    port = walk.port
    listener = walk.listener(port)
    client = walk.socket()
    assert walk.connect(client, LOCAL, port) == 0
    child_answer: Answer = walk.system.call("accept", listener)
    assert child_answer[0] == 0
    other = walk.socket()
    assert walk.connect(other, LOCAL, port) == 0
    linger = "0100000000000000" if isinstance(walk.system, Kernel) else 0
    assert walk("setsockopt", other, so.SOL_SOCKET, so.SO_LINGER, linger) == 0
    walk("close", other)
    child = walk.accept(listener)
    assert walk("recv", child, 1) == errno.ECONNRESET


def test_t12_the_name_of_a_child(walk: Walk) -> None:
    port = walk.port
    _, child, client = walk.pair(port)
    assert walk.answer("getsockname", child) == (LOCAL, port) == walk.answer("getpeername", client)
