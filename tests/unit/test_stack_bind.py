"""Who may bind, listen and connect where: Linux' answers, measured, cell by cell (the tables T and U of the facts)."""

from __future__ import annotations

import errno
import itertools

import pytest
from stack_bench import HOST, HOST6, PEER, Bench, Pair, errno_of, tcp, with_options

from netemu.reasons import Drop
from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.tcp import RST, SYN

INUSE = errno.EADDRINUSE
OPTIONS = ["--", "A-", "-P", "AP"]
PAIRS = list(itertools.product(OPTIONS, OPTIONS))
OVERLAPS = [(HOST, HOST), ("0.0.0.0", HOST), (HOST, "0.0.0.0"), ("0.0.0.0", "0.0.0.0")]
UIDS = [(0, 0), (1000, 1000), (0, 1000), (1000, 0), (1000, 1001)]

T1 = {  # A is bound only: (A, same uid?) to what B gets with --, A-, -P, AP
    ("--", True): "X X X X", ("--", False): "X X X X",
    ("A-", True): "X ok X ok", ("A-", False): "X ok X ok",
    ("-P", True): "X X ok ok", ("-P", False): "X X X X",
    ("AP", True): "X ok ok ok", ("AP", False): "X ok X ok",
}  # fmt: skip
T2 = {  # A listens
    ("--", True): "X X X X", ("--", False): "X X X X",
    ("A-", True): "X X X X", ("A-", False): "X X X X",
    ("-P", True): "X X ok ok", ("-P", False): "X X X X",
    ("AP", True): "X X ok ok", ("AP", False): "X X X X",
}  # fmt: skip


SYSCTL: dict[str, int | str] = {}


class Machine(Bench):
    """A host with two addresses, and sockets by the facts' notation."""

    def __init__(self) -> None:
        super().__init__(HOST, "198.18.0.7", HOST6, sysctl=SYSCTL)

    def stream(self, options: str = "--", uid: int = 0, family: int = so.AF_INET) -> StreamSocket:
        return with_options(StreamSocket(self.host, family, "t", uid), **flags(options))

    def datagram(self, options: str = "--", uid: int = 0, family: int = so.AF_INET) -> DatagramSocket:
        return with_options(DatagramSocket(self.host, family, "t", uid), **flags(options))


def flags(options: str) -> dict[str, bool]:
    return {"reuseaddr": "A" in options, "reuseport": "P" in options}


def cell(table: dict[tuple[str, bool], str], a: str, b: str, same: bool) -> int:
    return 0 if table[a, same].split()[OPTIONS.index(b)] == "ok" else INUSE


# -- T1, T2, T5: the matrix ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), OVERLAPS)
@pytest.mark.parametrize(("uid_a", "uid_b"), UIDS)
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_bind_where_another_is_bound(a: str, b: str, uid_a: int, uid_b: int, first: str, second: str) -> None:
    machine = Machine()
    one, two = machine.stream(a, uid_a), machine.stream(b, uid_b)
    one.bind((first, 5000))
    expected = cell(T1, a, b, uid_a == uid_b)
    assert errno_of(two.bind, (second, 5000)) == expected
    assert (two.getsockname()[1] == 5000) == (expected == 0)
    if expected:
        return
    both_listen = "P" in a and "P" in b and uid_a == uid_b
    assert errno_of(one.listen) == 0
    assert errno_of(two.listen) == (0 if both_listen else INUSE)  # the dagger: only one of them
    if not both_listen:
        one.close()
        assert errno_of(two.listen) == 0


@pytest.mark.parametrize(("first", "second"), OVERLAPS)
@pytest.mark.parametrize(("uid_a", "uid_b"), UIDS)
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_bind_where_another_listens(a: str, b: str, uid_a: int, uid_b: int, first: str, second: str) -> None:
    machine = Machine()
    one, two = machine.stream(a, uid_a), machine.stream(b, uid_b)
    one.bind((first, 5000))
    one.listen()
    expected = cell(T2, a, b, uid_a == uid_b)
    assert errno_of(two.bind, (second, 5000)) == expected
    if not expected:
        assert errno_of(two.listen) == 0
    else:
        one.close()
        assert errno_of(two.bind, (second, 5000)) == 0


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_different_addresses_never_conflict(a: str, b: str) -> None:
    machine = Machine()
    one, two = machine.stream(a, 1), machine.stream(b, 2)
    one.bind((HOST, 5000))
    one.listen()
    two.bind(("198.18.0.7", 5000))
    two.listen()


@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("state", ["ESTABLISHED", "CLOSE-WAIT", "FIN-WAIT-2", "SYN-SENT"])
def test_bind_where_a_connection_is_left(a: str, b: str, state: str) -> None:
    """T3: the listener that it came from is closed; the connection has inherited its options."""
    machine = Machine()
    if state == "SYN-SENT":
        client = machine.stream(a)
        client.bind((HOST, 5000))
        machine.connecting(client)
    else:
        listener = machine.listen("0.0.0.0", 5000, **flags(a))
        peer = machine.handshake(5000)
        child = listener.accept()[0]
        listener.close()
        if state == "CLOSE-WAIT":
            peer.send(0x11)
        elif state == "FIN-WAIT-2":
            child.shutdown(so.SHUT_WR)
            peer.heard()
            peer.send()
        assert child.state_name == state
    both = ("A" in a and "A" in b) or ("P" in a and "P" in b)
    for address in ("0.0.0.0", HOST):
        new = machine.stream(b)
        assert errno_of(new.bind, (address, 5000)) == (0 if both else INUSE)
        if both:
            assert errno_of(new.listen) == 0  # a server that is started again
        new.close()
    assert errno_of(machine.stream(b).bind, ("198.18.0.7", 5000)) == 0


@pytest.mark.parametrize("options", ["-P", "AP"])
def test_a_connection_of_another_user(options: str) -> None:
    machine = Machine()
    listener = machine.listen("0.0.0.0", 5000, **flags(options))
    machine.handshake(5000)
    listener.accept()
    listener.close()
    assert errno_of(machine.stream("-P", 77).bind, ("0.0.0.0", 5000)) == INUSE


# -- T6: options changed later ---------------------------------------------------------------------------------------


def test_reuseport_set_after_bind() -> None:
    machine = Machine()
    one, two = machine.stream(), machine.stream("-P")
    one.bind((HOST, 5000))
    with_options(one, reuseport=True)
    two.bind((HOST, 5000))
    one.listen()
    two.listen()


def test_reuseaddr_set_after_bind() -> None:
    machine = Machine()
    one, two = machine.stream(), machine.stream("A-")
    one.bind((HOST, 5000))
    with_options(one, reuseaddr=True)
    two.bind((HOST, 5000))
    one.listen()
    assert errno_of(two.listen) == INUSE


def test_options_cleared_before_listen() -> None:
    machine = Machine()
    one, two = machine.stream("-P"), machine.stream("-P")
    for socket in (one, two):
        socket.bind((HOST, 5000))
    two.setsockopt(so.SOL_SOCKET, so.SO_REUSEPORT, 0)
    assert errno_of(two.listen) == INUSE
    one, two = machine.stream("A-"), machine.stream("A-")
    for socket in (one, two):
        socket.bind((HOST, 5001))
    two.setsockopt(so.SOL_SOCKET, so.SO_REUSEADDR, 0)
    assert errno_of(one.listen) == INUSE
    assert errno_of(two.listen) == INUSE


def test_a_third_without_the_option_never_joins_a_group() -> None:
    machine = Machine()
    for _ in range(2):
        machine.stream("-P").bind((HOST, 5000))
    assert errno_of(machine.stream().bind, (HOST, 5000)) == INUSE


@pytest.mark.parametrize(
    ("held", "options", "expected"),
    [
        (["AP", "A-"], "-P", INUSE),
        (["AP", "-P"], "A-", INUSE),
        (["AP", "AP"], "A-", 0),
        (["AP", "AP"], "-P", 0),
        (["AP", "A-"], "AP", 0),
        (["AP", "-P"], "AP", 0),
        (["A-", "A-"], "A-", 0),
        (["-P", "-P"], "-P", 0),
    ],
)
def test_all_who_hold_the_port_must_agree(held: list[str], options: str, expected: int) -> None:
    """T13: what a group accepts is what all its members have in common."""
    machine = Machine()
    for member in held:
        machine.stream(member).bind((HOST, 5000))
    assert errno_of(machine.stream(options).bind, (HOST, 5000)) == expected


# -- T7: both families -----------------------------------------------------------------------------------------------

APPENDIX = """
0.0.0.0          | 127.0.0.1        | INUSE | ok | X X X ok X X | X X X ok X X
127.0.0.1        | 0.0.0.0          | INUSE | ok | X X X ok X X | X X X ok X X
0.0.0.0          | ::               | INUSE | ok | X X X ok X X | X X X X X X
0.0.0.0          | :: v6only        | ok    | ok | X X X X X X  | X X X X X X
0.0.0.0          | ::1              | ok    | ok | X X X X X X  | X X X X X X
0.0.0.0          | ::ffff:0.0.0.0   | INUSE | ok | X X X ok X X | X X X ok X X
0.0.0.0          | ::ffff:127.0.0.1 | INUSE | ok | X X X ok X X | X X X ok X X
127.0.0.1        | ::               | INUSE | ok | X X X ok X X | X X X X X X
127.0.0.1        | :: v6only        | ok    | ok | X X X X X X  | X X X X X X
127.0.0.1        | ::1              | ok    | ok | X X X X X X  | X X X X X X
127.0.0.1        | ::ffff:0.0.0.0   | INUSE | ok | X X X ok X X | X X X ok X X
127.0.0.1        | ::ffff:127.0.0.1 | INUSE | ok | X X X ok X X | X X X ok X X
::               | 0.0.0.0          | INUSE | ok | X X X X X X  | X X X X X X
:: v6only        | 0.0.0.0          | ok    | ok | X X X X X X  | X X X X X X
::               | 127.0.0.1        | INUSE | ok | X X X X X X  | X X X X X X
:: v6only        | 127.0.0.1        | ok    | ok | X X X X X X  | X X X X X X
::1              | 0.0.0.0          | ok    | ok | X X X X X X  | X X X X X X
::1              | 127.0.0.1        | ok    | ok | X X X X X X  | X X X X X X
::ffff:0.0.0.0   | 0.0.0.0          | INUSE | ok | X X X ok X X | X X X ok X X
::ffff:0.0.0.0   | 127.0.0.1        | INUSE | ok | X X X ok X X | X X X ok X X
::ffff:127.0.0.1 | 0.0.0.0          | INUSE | ok | X X X ok X X | X X X ok X X
::ffff:127.0.0.1 | 127.0.0.1        | INUSE | ok | X X X ok X X | X X X ok X X
::               | ::               | INUSE | ok | X X X X X X  | X X X X X X
:: v6only        | ::               | INUSE | ok | ok X X X X X | X X X X X X
::               | :: v6only        | INUSE | ok | X X X X X X  | X X X X X X
:: v6only        | :: v6only        | INUSE | ok | ok X X X X X | ok X X X X X
::               | ::1              | INUSE | ok | X X X X X X  | X X X X X X
:: v6only        | ::1              | INUSE | ok | ok X X X X X | ok X X X X X
::               | ::ffff:0.0.0.0   | INUSE | ok | X X X X X X  | X X X X X X
:: v6only        | ::ffff:0.0.0.0   | ok    | ok | X X X X X X  | X X X X X X
::               | ::ffff:127.0.0.1 | INUSE | ok | X X X X X X  | X X X X X X
:: v6only        | ::ffff:127.0.0.1 | ok    | ok | X X X X X X  | X X X X X X
::1              | ::               | INUSE | ok | ok X X X X X | X X X X X X
::1              | :: v6only        | INUSE | ok | ok X X X X X | ok X X X X X
::1              | ::ffff:0.0.0.0   | ok    | ok | X X X X X X  | X X X X X X
::1              | ::ffff:127.0.0.1 | ok    | ok | X X X X X X  | X X X X X X
::ffff:0.0.0.0   | ::               | INUSE | ok | X X X ok X X | X X X X X X
::ffff:0.0.0.0   | :: v6only        | ok    | ok | X X X X X X  | X X X X X X
::ffff:0.0.0.0   | ::1              | ok    | ok | X X X X X X  | X X X X X X
::ffff:0.0.0.0   | ::ffff:127.0.0.1 | INUSE | ok | X X X ok X X | X X X ok X X
::ffff:127.0.0.1 | ::               | INUSE | ok | X X X ok X X | X X X X X X
::ffff:127.0.0.1 | :: v6only        | ok    | ok | X X X X X X  | X X X X X X
::ffff:127.0.0.1 | ::1              | ok    | ok | X X X X X X  | X X X X X X
::ffff:127.0.0.1 | ::ffff:0.0.0.0   | INUSE | ok | X X X ok X X | X X X ok X X
"""
ROWS = [[word.strip() for word in line.split("|")] for line in APPENDIX.strip().splitlines()]
LATER = ["0.0.0.0", "127.0.0.1", "::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1"]


def test_the_table_has_all_pairs() -> None:
    assert len(ROWS) == len({(row[0], row[1]) for row in ROWS}) == 44


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}, {row[1]}")
@pytest.mark.parametrize("options", ["--", "A-", "-P"])
@pytest.mark.parametrize("kind", [so.SOCK_STREAM, so.SOCK_DGRAM], ids=["tcp", "udp"])
def test_both_families(row: list[str], options: str, kind: int) -> None:
    bench = Bench("127.0.0.1", "::1")

    def bind(name: str, options: str) -> int:
        address, _, v6only = name.partition(" ")
        family = so.AF_INET6 if ":" in address else so.AF_INET
        if kind == so.SOCK_STREAM:
            stream = with_options(StreamSocket(bench.host, family), v6only=bool(v6only), **flags(options))
            return errno_of(stream.bind, (address, 5000))
        datagram = with_options(DatagramSocket(bench.host, family), v6only=bool(v6only), **flags(options))
        return errno_of(datagram.bind, (address, 5000))

    first, second, plain, _, after_plain, after_reuse = row
    assert bind(first, options) == 0
    assert bind(second, options) == (INUSE if options == "--" and plain == "INUSE" else 0)
    later = ["ok" if bind(name, "--") == 0 else "X" for name in LATER]
    assert " ".join(later) == (after_plain if options == "--" else after_reuse)


def test_both_may_listen_when_the_families_do_not_meet() -> None:
    machine = Machine()
    v6 = with_options(machine.stream(family=so.AF_INET6), v6only=True)
    v6.bind(("::", 5000))
    v4 = machine.stream()
    v4.bind(("0.0.0.0", 5000))
    v6.listen()
    v4.listen()


def test_tcp_and_udp_ports_are_separate_spaces() -> None:
    machine = Machine()
    machine.stream().bind((HOST, 5000))
    machine.datagram().bind((HOST, 5000))


# -- U1: the matrix for UDP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), OVERLAPS)
@pytest.mark.parametrize(("uid_a", "uid_b"), UIDS)
@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("connected", [False, True])
def test_bind_udp(a: str, b: str, uid_a: int, uid_b: int, first: str, second: str, connected: bool) -> None:
    """The same cells as T1; there is no LISTEN and no TIME-WAIT, and being connected changes nothing."""
    machine = Machine()
    one, two = machine.datagram(a, uid_a), machine.datagram(b, uid_b)
    one.bind((first, 5000))
    if connected:
        one.connect((PEER, 9))
    expected = cell(T1, a, b, uid_a == uid_b)
    assert errno_of(two.bind, (second, 5000)) == expected
    if expected:
        one.close()
        assert errno_of(two.bind, (second, 5000)) == 0


def test_two_groups_are_different_addresses() -> None:
    machine = Machine()
    machine.datagram().bind(("224.0.0.251", 5353))
    machine.datagram().bind(("224.0.0.252", 5353))
    assert errno_of(machine.datagram().bind, ("224.0.0.251", 5353)) == INUSE
    assert errno_of(machine.datagram().bind, ("0.0.0.0", 5353)) == INUSE


@pytest.mark.parametrize(("local", "to"), [("127.0.0.1", PEER), ("::1", "2001:2::1")])
def test_a_loopback_address_is_not_for_the_wire(local: str, to: str) -> None:
    machine = Machine()
    socket = machine.stream(family=so.AF_INET6 if ":" in local else so.AF_INET)
    socket.bind((local, 0))
    assert errno_of(socket.connect, (to, 80)) == errno.EINVAL
    assert machine.take() == []
    assert errno_of(socket.connect, (HOST6 if ":" in local else HOST, 80)) == errno.EINPROGRESS


# -- T11, U1: a wrong bind -------------------------------------------------------------------------------------------

KINDS = pytest.mark.parametrize("kind", ["stream", "datagram"])


def made(machine: Machine, kind: str, family: int = so.AF_INET, uid: int = 0) -> StreamSocket | DatagramSocket:
    return (machine.stream if kind == "stream" else machine.datagram)("--", uid, family)


@KINDS
def test_a_wrong_bind(kind: str) -> None:
    machine = Machine()
    socket = made(machine, kind)
    assert errno_of(socket.bind, ("1.2.3.4", 0)) == errno.EADDRNOTAVAIL
    assert errno_of(socket.bind, (PEER, 0)) == errno.EADDRNOTAVAIL
    assert errno_of(socket.bind, ("240.0.0.1", 0)) == errno.EADDRNOTAVAIL
    assert errno_of(socket.bind, (HOST6, 0)) == errno.EAFNOSUPPORT
    assert errno_of(socket.bind, ("nonsense", 0)) == errno.EINVAL
    for port in (-1, 65536):
        with pytest.raises(OverflowError):
            socket.bind((HOST, port))
    socket.bind((HOST, 5000))
    assert errno_of(socket.bind, (HOST, 5001)) == errno.EINVAL
    assert errno_of(socket.bind, ("1.2.3.4", 0)) == errno.EADDRNOTAVAIL  # as Linux: the address is looked at first
    assert socket.getsockname() == (HOST, 5000)


@KINDS
def test_privileged_ports(kind: str) -> None:
    machine = Machine()
    for port in (1, 80, 1023):
        assert errno_of(made(machine, kind, uid=1000).bind, (HOST, port)) == errno.EACCES
        assert errno_of(made(machine, kind).bind, (HOST, port)) == 0
    assert errno_of(made(machine, kind, uid=1000).bind, (HOST, 1024)) == 0


@KINDS
def test_a_wrong_bind_of_an_ipv6_socket(kind: str) -> None:
    machine = Machine()
    assert errno_of(made(machine, kind, so.AF_INET6).bind, (HOST, 0)) == errno.EAFNOSUPPORT
    assert errno_of(made(machine, kind, so.AF_INET6).bind, ("2001::1", 0)) == errno.EADDRNOTAVAIL
    assert errno_of(made(machine, kind, so.AF_INET6).bind, ("::ffff:1.2.3.4", 0)) == errno.EADDRNOTAVAIL
    for address in ("::ffff:0.0.0.0", f"::ffff:{HOST}"):
        socket = made(machine, kind, so.AF_INET6)
        with_options(socket, v6only=True)  # type: ignore[type-var]
        assert errno_of(socket.bind, (address, 0)) == errno.EINVAL
    assert errno_of(made(machine, kind, so.AF_INET6).bind, ("ff05::1", 0)) == (errno.EINVAL if kind == "stream" else 0)
    assert errno_of(made(machine, kind, so.AF_INET6).bind, ("ff02::1", 0)) == errno.EINVAL  # which device's?


def test_v6only_must_be_set_before_bind() -> None:
    machine = Machine()
    socket = machine.stream(family=so.AF_INET6)
    socket.bind(("::", 0))
    assert errno_of(socket.setsockopt, so.IPPROTO_IPV6, so.IPV6_V6ONLY, 1) == errno.EINVAL


def test_bind_on_a_listening_or_connected_socket() -> None:
    machine = Machine()
    listener = machine.listen(HOST, 5000)
    assert errno_of(listener.bind, (HOST, 5001)) == errno.EINVAL
    client, _ = machine.connected()
    assert errno_of(client.bind, (HOST, 5001)) == errno.EINVAL
    datagram = machine.datagram()
    datagram.connect((PEER, 9))
    assert errno_of(datagram.bind, (HOST, 5001)) == errno.EINVAL


# -- names -----------------------------------------------------------------------------------------------------------


@KINDS
def test_names_before_and_after_bind(kind: str) -> None:
    machine = Machine()
    socket = made(machine, kind)
    assert socket.getsockname() == ("0.0.0.0", 0)
    assert errno_of(socket.getpeername) == errno.ENOTCONN
    socket.bind(("", 5000))
    assert socket.getsockname() == ("0.0.0.0", 5000)
    v6 = made(machine, kind, so.AF_INET6)
    assert v6.getsockname() == ("::", 0)
    v6.bind((f"::ffff:{HOST}", 5001))
    assert v6.getsockname() == (f"::ffff:{HOST}", 5001)


def test_a_child_of_a_wildcard_listener_has_the_concrete_address() -> None:
    """T12."""
    machine = Machine()
    listener = machine.listen("::", 80)
    machine.handshake(80, 40000)
    machine.handshake(80, 40001, version=6)
    (four, address4), (six, address6) = listener.accept(), listener.accept()
    assert four.getsockname() == (f"::ffff:{HOST}", 80)
    assert four.getpeername() == address4 == (f"::ffff:{PEER}", 40000)
    assert six.getsockname() == (HOST6, 80)
    assert six.getpeername() == address6 == ("2001:2::1", 40001)


# -- ephemeral ports -------------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("options", OPTIONS)
def test_port_zero_gives_distinct_ports_of_the_range(kind: str, options: str) -> None:
    """T10, U3."""
    machine = Machine()
    seen = set()
    for _ in range(50):
        socket = machine.stream(options) if kind == "stream" else machine.datagram(options)
        socket.bind((HOST, 0))
        seen.add(socket.getsockname()[1])
    assert len(seen) == 50
    assert min(seen) >= 32768
    assert max(seen) <= 60999
    assert len({port % 2 for port in seen}) == 2


@pytest.fixture
def two_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SYSCTL, "net.ipv4.ip_local_port_range", "40000 40001")


@pytest.mark.usefixtures("two_ports")
def test_when_all_ports_are_bound() -> None:
    machine = Machine()
    held = [machine.stream() for _ in range(2)]
    for socket in held:
        socket.bind((HOST, 0))
    assert {socket.lport for socket in held} == {40000, 40001}
    assert errno_of(machine.stream().bind, (HOST, 0)) == INUSE
    assert errno_of(machine.stream("AP").bind, (HOST, 0)) == INUSE
    assert errno_of(machine.stream().bind, ("0.0.0.0", 0)) == INUSE
    assert errno_of(machine.stream().bind, ("198.18.0.7", 0)) == 0
    assert errno_of(machine.stream().listen) == INUSE
    assert errno_of(machine.stream().connect, (PEER, 80)) == errno.EADDRNOTAVAIL
    held[0].close()
    assert errno_of(machine.stream().connect, (PEER, 80)) == errno.EINPROGRESS


@pytest.mark.usefixtures("two_ports")
def test_connections_to_different_peers_share_a_port() -> None:
    """T10."""
    machine = Machine()
    assert [errno_of(machine.stream().connect, (PEER, 80)) for _ in range(3)] == [
        errno.EINPROGRESS,
        errno.EINPROGRESS,
        errno.EADDRNOTAVAIL,
    ]
    assert errno_of(machine.stream().connect, (PEER, 81)) == errno.EINPROGRESS
    assert errno_of(machine.stream().connect, ("198.18.0.3", 80)) == errno.EINPROGRESS
    assert errno_of(machine.stream().bind, (HOST, 0)) == INUSE  # connections hold (HOST, port)
    assert errno_of(machine.stream().bind, (HOST, 40000)) == INUSE
    assert errno_of(machine.stream().bind, ("0.0.0.0", 0)) == INUSE
    assert errno_of(machine.stream("A-").bind, (HOST, 40000)) == INUSE
    assert errno_of(machine.stream().bind, ("198.18.0.7", 40000)) == 0


@pytest.mark.usefixtures("two_ports")
def test_a_port_that_someone_bound_is_not_shared() -> None:
    """T10: pinned by an explicit bind on any address."""
    machine = Machine()
    pins = [machine.stream() for _ in range(2)]
    for pin, port in zip(pins, (40000, 40001), strict=True):
        pin.bind(("198.18.0.7", port))
    assert errno_of(machine.stream().connect, (PEER, 80)) == errno.EADDRNOTAVAIL
    pins[0].close()
    socket = machine.stream()
    assert errno_of(socket.connect, (PEER, 80)) == errno.EINPROGRESS
    assert socket.lport == 40000


@pytest.mark.usefixtures("two_ports")
def test_when_all_udp_ports_are_taken() -> None:
    """U3: bind says INUSE, what binds by itself EAGAIN, even to different destinations."""
    machine = Machine()
    for port in (9, 10):
        machine.datagram().connect((PEER, port))
    assert errno_of(machine.datagram().bind, ("", 0)) == INUSE
    assert errno_of(machine.datagram().connect, (PEER, 11)) == errno.EAGAIN
    assert errno_of(machine.datagram().sendto, b"x", (PEER, 11)) == errno.EAGAIN


# -- T10: 4-tuples ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["A-", "-P"])
@pytest.mark.parametrize(("first", "second"), [(HOST, HOST), (HOST, "0.0.0.0"), ("0.0.0.0", HOST)])
def test_a_4_tuple_is_unique(options: str, first: str, second: str) -> None:
    machine = Machine()
    one, two = machine.stream(options), machine.stream(options)
    one.bind((first, 5000))
    two.bind((second, 5000))
    assert errno_of(one.connect, (PEER, 80)) == errno.EINPROGRESS
    assert errno_of(two.connect, (PEER, 80)) == errno.EADDRNOTAVAIL
    assert two.getsockname() == (second, 5000)
    assert errno_of(two.connect, (PEER, 81)) == errno.EINPROGRESS


def test_connect_out_of_a_port_where_another_listens() -> None:
    machine = Machine()
    one, two = machine.stream("A-"), machine.stream("A-")
    one.bind((HOST, 5000))
    two.bind((HOST, 5000))
    one.listen()
    assert errno_of(two.connect, (PEER, 80)) == errno.EINPROGRESS


@pytest.mark.parametrize("timestamps", [True, False])
def test_connect_over_ones_own_time_wait(timestamps: bool) -> None:
    """T10: at once where timestamps keep the old and the new apart."""
    pair = Pair(sysctl={"net.ipv4.tcp_timestamps": int(timestamps)})
    listener = StreamSocket(pair.b)
    listener.bind((HOST, 80))
    listener.listen()

    def client() -> StreamSocket:
        socket = with_options(StreamSocket(pair.a), reuseaddr=True)
        socket.bind((PEER, 5000))
        return socket

    first = client()
    assert errno_of(first.connect, (HOST, 80)) == errno.EINPROGRESS
    pair.run()
    child = listener.accept()[0]
    first.close()
    pair.run()
    child.close()
    pair.run()
    (left,) = pair.a.table.connections.values()
    assert left.state.value == "TIME-WAIT"
    second = client()
    assert errno_of(second.connect, (HOST, 80)) == (errno.EINPROGRESS if timestamps else errno.EADDRNOTAVAIL)
    if timestamps:
        pair.run()
        assert second.state_name == "ESTABLISHED"
        assert listener.accept()[0].getpeername() == (PEER, 5000)
    else:
        pair.wait(61 * 1_000_000_000)
        assert errno_of(second.connect, (HOST, 80)) == errno.EINPROGRESS


def test_the_peer_comes_again_from_the_same_port() -> None:
    """T10: a SYN that is newer than a connection in TIME-WAIT opens the next one."""
    machine = Machine()
    listener = machine.listen(HOST, 80)
    for n in range(3):
        peer = machine.handshake(80, 40000, iss=1000 + 100_000 * n)
        child = listener.accept()[0]
        child.close()
        peer.heard()
        peer.send(0x11)
        (left,) = machine.host.table.connections.values()
        assert left.state.value == "TIME-WAIT"


# -- who holds a port, and until when --------------------------------------------------------------------------------


def test_close_frees_a_port_at_once() -> None:
    machine = Machine()
    for socket in (machine.stream(), machine.datagram()):
        socket.bind((HOST, 5000))
        socket.close()
        assert not machine.host.table.bound
    machine.stream().bind((HOST, 5000))
    machine.datagram().bind((HOST, 5000))


def test_a_port_chosen_for_a_connection_goes_with_it() -> None:
    """As Linux, whether or not the application has closed the socket yet."""
    machine = Machine()
    client, peer = machine.connected()
    name = client.getsockname()
    assert errno_of(machine.stream().bind, name) == INUSE
    machine.give(peer.made(RST))
    assert errno_of(machine.stream().bind, name) == 0
    assert client.getsockname() == name
    assert errno_of(client.bind, (HOST, 5001)) == 0


def test_a_port_that_bind_chose_stays_until_close() -> None:
    machine = Machine()
    client = machine.stream()
    client.bind((HOST, 5000))
    syn = machine.connecting(client)
    machine.give(tcp(RST | 0x10, 0, syn.segment.seq + 1, sport=80, dport=5000))
    assert client.state_name == "CLOSED"
    assert errno_of(machine.stream().bind, (HOST, 5000)) == INUSE
    client.close()
    assert errno_of(machine.stream().bind, (HOST, 5000)) == 0


def test_a_child_that_was_reset_holds_no_port() -> None:
    machine = Machine()
    listener = machine.listen(HOST, 5000)
    peer = machine.handshake(5000)
    child = listener.accept()[0]
    listener.close()
    assert errno_of(machine.stream().bind, (HOST, 5000)) == INUSE
    machine.give(peer.made(RST))
    assert child.state_name == "CLOSED"
    assert errno_of(machine.stream().bind, (HOST, 5000)) == 0


def test_listening_again_beside_ones_own_child() -> None:
    """T3 again: the child holds the port, so both need the option."""
    for options, expected in (("--", INUSE), ("A-", 0), ("-P", 0)):
        machine = Machine()
        listener = machine.listen(HOST, 5000, **flags(options))
        machine.handshake(5000)
        listener.accept()
        listener.shutdown(so.SHUT_RDWR)
        assert errno_of(listener.listen) == expected


def test_nothing_is_left_of_many() -> None:
    machine = Machine()
    listener = machine.listen("0.0.0.0", 80)
    for n in range(300):
        peer = machine.handshake(80, 10000 + n)
        child = listener.accept()[0]
        if n % 2:
            child.abort()
        else:
            machine.give(peer.made(RST))
            child.close()
        machine.take()
        for socket in (machine.stream(), machine.datagram()):
            socket.bind((HOST, 0))
            socket.close()
    listener.close()
    table = machine.host.table
    assert not table.connections
    assert not table.sockets
    assert not table.bound
    assert not table.listeners
    assert not machine.host.udp.bound
    assert not machine.host.tcp.ports._ports
    assert not machine.host.udp.ports._ports


def test_why_nobody_gets_a_segment() -> None:
    machine = Machine()
    machine.stream().bind((HOST, 5000))
    assert machine.give(tcp(SYN, dport=5000)) is Drop.ONLY_BOUND
    assert machine.give(tcp(SYN, dport=5000, dst="198.18.0.7")) is Drop.NO_SOCKET
    assert machine.give(tcp(SYN, dport=5001)) is Drop.NO_SOCKET
    machine.stream().bind(("0.0.0.0", 5002))
    assert machine.give(tcp(SYN, dport=5002)) is Drop.ONLY_BOUND
    two = [machine.stream("A-") for _ in range(2)]
    for socket, expected in zip(two, (Drop.ONLY_BOUND, Drop.NO_SOCKET), strict=True):
        socket.bind((HOST, 5003))
        if socket is two[1]:
            assert machine.give(tcp(SYN, dport=5003)) is Drop.ONLY_BOUND
            two[0].close()
            assert machine.give(tcp(SYN, dport=5003)) is Drop.ONLY_BOUND
            socket.close()
        assert machine.give(tcp(SYN, dport=5003)) is expected


def test_ports_of_connections_are_not_to_be_guessed() -> None:
    """RFC 6056 3.3.4: somewhere else for each destination, and on from there."""
    machine = Machine()

    def port(to: int) -> int:
        socket = machine.stream()
        assert errno_of(socket.connect, (PEER, to)) == errno.EINPROGRESS
        return socket.lport

    firsts = [port(to) for to in range(1, 41)]
    assert len(set(firsts)) > 35
    assert max(firsts) - min(firsts) > 20_000
    again = [port(9) for _ in range(5)]
    assert all(1 <= later - before <= 5 for before, later in itertools.pairwise(again))
