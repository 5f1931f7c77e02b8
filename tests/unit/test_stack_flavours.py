"""The rules of other systems, cell by cell (facts F1 to F3)."""

from __future__ import annotations

import errno
import itertools

import pytest
from stack_bench import FAMILIES, HOST, MSS, OF_HOST, OF_PEER, PEER, Bench, errno_of, tcp, with_options

from netemu.stack import constants as so
from netemu.stack.datagram_socket import DatagramSocket
from netemu.stack.flavours import FLAVOURS
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket
from netemu.wire.tcp import ACK, RST, SYN

INUSE, ACCESS = errno.EADDRINUSE, errno.EACCES
ANYWHERE = "0.0.0.0"
WORDS = {"ok": 0, "INUSE": INUSE, "ACCESS": ACCESS}
OPTIONS = {
    "A": (so.SO_REUSEADDR, 1), "P": (so.SO_REUSEPORT, 1), "L": (so.SO_REUSEPORT_LB, 1), "X": (so.SO_EXCLUSIVEADDRUSE, 1),
    "R": (so.SO_REUSEADDR, 1),
}  # fmt: skip
KINDS = pytest.mark.parametrize("kind", ["bound", "listening", "udp"])
BSD = pytest.mark.parametrize("flavour", ["freebsd", "macos"])
Either = StreamSocket | DatagramSocket


class System(Bench):
    def __init__(self, flavour: str) -> None:
        super().__init__(HOST, "198.18.0.7", "2001:2::2", flavour=flavour)

    def made(self, options: str, uid: int = 0, kind: str = "bound", family: int = so.AF_INET) -> Either:
        """``options``: letters of OPTIONS, whatever stands between them."""
        socket = (
            DatagramSocket(self.host, family, "t", uid) if kind == "udp" else StreamSocket(self.host, family, "t", uid)
        )
        for letter in options:
            if letter in OPTIONS:
                socket.setsockopt(so.SOL_SOCKET, *OPTIONS[letter])
        return socket

    def held(self, options: str, address: str, uid: int = 0, kind: str = "bound") -> Either:
        """Bound to port 5000, and listening where that is asked for."""
        socket = self.made(options, uid, kind)
        socket.bind((address, 5000))
        if kind == "listening":
            socket.listen()
        return socket

    def refused(self, options: str, address: str, uid: int = 0, kind: str = "bound") -> int:
        return errno_of(self.made(options, uid, kind).bind, (address, 5000))

    def winner(self, sport: int, version: int = 4) -> object:
        """Whose a SYN is; its connection is reset."""
        src, dst = OF_PEER[version], OF_HOST[version]
        self.give(tcp(SYN, 1000, sport=sport, dport=5000, src=src, dst=dst, options=MSS))
        found, answer = self.host.matched, self.one()
        if not answer.segment.flags & RST:
            self.give(tcp(RST, 1001, answer.segment.end, sport=sport, dport=5000, src=src, dst=dst))
        return found


def test_an_unknown_flavour() -> None:
    with pytest.raises(ValueError, match=r"no flavour 'beos': there are linux, freebsd, macos, windows, classic"):
        Host([HOST], flavour="beos")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_options_of_each(flavour: str) -> None:
    bench = System(flavour)
    taken = {letter for letter in "APLX" if not errno_of(bench.made, letter)}
    assert taken == set({"freebsd": "APL", "windows": "AX"}.get(flavour, "AP"))
    for letter in taken:
        socket = bench.made(letter)
        assert socket.getsockopt(so.SOL_SOCKET, OPTIONS[letter][0]) == 1
    assert bench.host.flavour.name == flavour
    assert (FLAVOURS[flavour].__doc__ or "").endswith(".")


# -- F1: freebsd and macos -------------------------------------------------------------------------------------------

EXACT = """
      --    A-    -P    AP    L
--    INUSE INUSE INUSE INUSE INUSE
A-    INUSE INUSE INUSE INUSE INUSE
-P    INUSE INUSE ok    ok    INUSE
AP    INUSE INUSE ok    ok    INUSE
L     INUSE INUSE INUSE INUSE ok
"""


def cells(table: str) -> dict[tuple[str, str], int]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    return {(row[0], new): WORDS[word] for row in rows for new, word in zip(head, row[1:], strict=True)}


@BSD
@KINDS
@pytest.mark.parametrize("address", [HOST, ANYWHERE])
def test_bsd_at_the_same_address(flavour: str, kind: str, address: str) -> None:
    for (a, b), expected in cells(EXACT).items():
        if flavour == "macos" and "L" in a + b:
            continue
        bench = System(flavour)
        bench.held(a, address, kind=kind)
        new = bench.made(b, kind=kind)
        assert errno_of(new.bind, (address, 5000)) == expected, (a, b)
        if not expected and kind == "listening":
            assert errno_of(new.listen) == 0


@BSD
@KINDS
@pytest.mark.parametrize(("first", "second"), [(ANYWHERE, HOST), (HOST, ANYWHERE)])
def test_bsd_a_wildcard_and_an_address(flavour: str, kind: str, first: str, second: str) -> None:
    """Only the newcomer's option counts, and both may listen."""
    for a, b in itertools.product(("--", "A-", "-P", "AP"), repeat=2):
        bench = System(flavour)
        one = bench.held(a, first, kind=kind)
        two = bench.made(b, kind=kind)
        assert errno_of(two.bind, (second, 5000)) == (INUSE if b == "--" else 0), (a, b)
        if b != "--" and kind != "udp":
            assert errno_of(one.listen) == errno_of(two.listen) == 0


@BSD
def test_bsd_over_an_old_connection(flavour: str) -> None:
    for option, expected in (("--", INUSE), ("A-", 0), ("-P", 0)):
        bench = System(flavour)
        listener = bench.held("--", ANYWHERE, kind="listening")
        bench.handshake(5000)
        listener.accept()
        listener.close()
        assert bench.refused(option, ANYWHERE) == expected
        assert bench.refused(option, HOST) == expected


@BSD
def test_bsd_over_time_wait(flavour: str) -> None:
    for option, expected in (("--", INUSE), ("A-", 0)):
        bench = System(flavour)
        listener = bench.held("--", ANYWHERE, kind="listening")
        peer = bench.handshake(5000)
        child = listener.accept()[0]
        listener.close()
        child.close()
        peer.heard()
        peer.send(ACK | 1)
        assert [c.state.value for c in bench.host.table.connections.values()] == ["TIME-WAIT"]
        assert bench.refused(option, ANYWHERE) == expected


@pytest.mark.parametrize("kind", ["bound", "udp"])
def test_bsd_users(kind: str) -> None:
    for first, second in itertools.product((HOST, ANYWHERE), repeat=2):
        for uid, other in ((10, 11), (10, 0), (0, 10), (10, 10)):
            for flavour in ("freebsd", "macos"):
                bench = System(flavour)
                bench.held("AP", first, uid, kind)
                strangers = other not in (0, uid) and (flavour == "freebsd" or HOST in (first, second))
                assert bench.refused("AP", second, other, kind) == (INUSE if strangers else 0), (flavour, uid, other)


def test_freebsd_lb_users_share_wildcards() -> None:
    bench = System("freebsd")
    bench.held("L", ANYWHERE, 10)
    assert bench.refused("L", ANYWHERE, 11) == 0
    assert bench.refused("L", HOST, 11) == INUSE


@BSD
def test_bsd_reuseaddr_is_enough_for_a_group_address(flavour: str) -> None:
    bench = System(flavour)
    bench.held("A", "224.0.0.251", kind="udp")
    assert bench.refused("A", "224.0.0.251", kind="udp") == 0
    assert bench.refused("A", "224.0.0.251", 10, kind="udp") == 0
    assert bench.refused("--", "224.0.0.251", kind="udp") == INUSE


@FAMILIES
def test_bsd_one_takes_all(version: int) -> None:
    family, host = (so.AF_INET, HOST) if version == 4 else (so.AF_INET6, "2001:2::2")
    for flavour, wild in itertools.product(("freebsd", "macos"), (False, True)):
        bench = System(flavour)
        sockets = [bench.made("P", family=family) for _ in range(4)]
        for socket in sockets:
            socket.bind((("" if wild else host), 5000))
        for socket in (sockets[2], sockets[0], sockets[3], sockets[1]):
            socket.listen()
        order = sockets if flavour == "macos" and wild else sockets[::-1]
        for n, expected in enumerate(order):
            assert {bench.winner(40000 + 10 * n + i, version) for i in range(5)} == {expected}
            expected.close()


def test_specific_before_wildcard_and_ipv4_before_dual_stack() -> None:
    for flavour in FLAVOURS:
        option = "A" if flavour == "windows" else "P"
        bench = System(flavour)
        dual = bench.made(option, family=so.AF_INET6)
        dual.bind(("::", 5000))
        wild, specific = bench.made(option), bench.made(option)
        wild.bind((ANYWHERE, 5000))
        specific.bind((HOST, 5000))
        sport = itertools.count(40000)
        for socket in (dual, wild, specific):
            assert errno_of(socket.listen) == (INUSE if flavour == "classic" and socket is wild else 0)
            if socket.is_listening:
                assert {bench.winner(next(sport)) for _ in range(5)} == {socket}


def test_freebsd_lb_spreads_and_comes_first() -> None:
    bench = System("freebsd")
    plain = bench.held("AP", HOST, kind="listening")
    group = [bench.held("L", ANYWHERE, kind="listening") for _ in range(4)]
    won = [bench.winner(20000 + n) for n in range(400)]
    assert all(won.count(socket) > 400 // 4 // 2 for socket in group)
    assert plain not in won
    assert won == [bench.winner(20000 + n) for n in range(400)]
    for socket in group:
        socket.close()
    assert bench.winner(30000) is plain


def test_freebsd_lb_on_both_families_takes_only_ipv6() -> None:
    bench = System("freebsd")
    dual = bench.made("L", family=so.AF_INET6)
    dual.bind(("::", 5000))
    dual.listen()
    assert bench.winner(40000, 6) is dual
    assert bench.winner(40000, 4) is None


def test_freebsd_lb_is_set_before_bind() -> None:
    bench = System("freebsd")
    socket = bench.held("--", HOST)
    assert errno_of(socket.setsockopt, so.SOL_SOCKET, so.SO_REUSEPORT_LB, 1) == errno.EINVAL


def test_privileged_ports() -> None:
    for flavour in FLAVOURS:
        bench = System(flavour)
        wildcard = errno_of(bench.made("--", 10).bind, (ANYWHERE, 80))
        assert wildcard == (0 if flavour == "macos" else ACCESS)
        assert errno_of(bench.made("--", 10).bind, (HOST, 81)) == ACCESS


@pytest.mark.parametrize(("flavour", "expected"), [("freebsd", 0), ("macos", INUSE), ("linux", INUSE)])
def test_bind_to_port_0_when_all_are_taken(flavour: str, expected: int) -> None:
    """FreeBSD: with an option it avoids only the very same address; macOS: all."""
    bench = Bench(HOST, flavour=flavour, sysctl={"net.ipv4.ip_local_port_range": (40000, 40000)})
    bench.tcp(reuseaddr=True).bind((ANYWHERE, 0))
    assert errno_of(bench.tcp(reuseaddr=True).bind, (HOST, 0)) == expected
    assert errno_of(bench.tcp(reuseaddr=True).bind, (ANYWHERE, 0)) == INUSE
    assert errno_of(bench.tcp().bind, (HOST, 0)) == INUSE


def test_strange_destinations() -> None:
    for flavour in FLAVOURS:
        bench = System(flavour)
        bsd = flavour in ("freebsd", "macos")
        if bsd:
            assert errno_of(bench.tcp().connect, (PEER, 0)) == errno.EADDRNOTAVAIL
        listener = bench.listen(HOST if bsd else "127.0.0.1", 5000)
        client = bench.tcp()
        assert errno_of(client.connect, (ANYWHERE, 5000)) == errno.EINPROGRESS
        bench.take()
        assert listener.accept()[1] == client.getsockname()


# -- F2: windows -----------------------------------------------------------------------------------------------------

WINDOWS = """
      Dw     Ds     Rw     Rs     Xw     Xs
Dw    INUSE  ok     ACCESS ok     INUSE  ok
Ds    ok     INUSE  ok     ACCESS INUSE  INUSE
Rw    INUSE  ok     ok     ok     INUSE  ok
Rs    ok     INUSE  ok     ok     INUSE  INUSE
Xw    INUSE  ACCESS ACCESS ACCESS INUSE  ACCESS
Xs    ok     INUSE  ok     ACCESS INUSE  INUSE
"""
DAGGERS = {("Dw", "Ds"), ("Dw", "Rs"), ("Dw", "Xs"), ("Rw", "Ds"), ("Rw", "Xs")}


@KINDS
@pytest.mark.parametrize("other_user", [False, True])
def test_windows(kind: str, other_user: bool) -> None:
    where = {"w": ANYWHERE, "s": HOST}
    for (a, b), expected in cells(WINDOWS).items():
        bench = System("windows")
        bench.held(a, where[a[1]], 10, kind)
        number = ACCESS if other_user and (a, b) in DAGGERS else expected
        new = bench.made(b, 11 if other_user else 10, kind)
        assert errno_of(new.bind, (where[b[1]], 5000)) == number, (a, b)
        if not number and kind == "listening":
            assert errno_of(new.listen) == 0


def test_windows_different_addresses_never_conflict() -> None:
    for a, b in itertools.product("DRX", repeat=2):
        bench = System("windows")
        bench.held(a, HOST)
        assert bench.refused(b, "198.18.0.7") == 0


def test_windows_an_old_connection() -> None:
    """SO_EXCLUSIVEADDRUSE waits for its end; the rest is as on Linux."""
    for old, new, expected in (
        ("D", "X", INUSE),
        ("R", "X", INUSE),
        ("R", "R", 0),
        ("D", "R", INUSE),
        ("D", "D", INUSE),
    ):
        bench = System("windows")
        listener = bench.held(old, ANYWHERE, kind="listening")
        peer = bench.handshake(5000)
        child = listener.accept()[0]
        listener.close()
        assert bench.refused(new, ANYWHERE) == expected, (old, new)
        bench.give(peer.made(RST))
        assert child.state_name == "CLOSED"
        assert bench.refused(new, ANYWHERE) == 0


def test_windows_the_last_bound_takes_all() -> None:
    bench = System("windows")
    bench.held("R", HOST, kind="listening")
    last = bench.held("R", HOST, kind="listening")
    assert {bench.winner(40000 + n) for n in range(5)} == {last}


# -- F3: classic -----------------------------------------------------------------------------------------------------


def test_classic_all_may_bind_one_may_listen() -> None:
    bench = System("classic")
    a, b, c = (bench.held("P", ANYWHERE) for _ in range(3))
    c.listen()
    for socket in (a, b):
        assert errno_of(socket.listen) == INUSE
    late = bench.held("P", ANYWHERE)  # over a listener too
    assert errno_of(late.listen) == INUSE
    assert {bench.winner(40000 + n) for n in range(8)} == {c}
    assert errno_of(a.connect, (PEER, 80)) == errno.EINPROGRESS
    assert errno_of(b.connect, (PEER, 80)) == errno.EADDRNOTAVAIL
    assert errno_of(b.connect, (PEER, 81)) == errno.EINPROGRESS
    bench.take()
    c.close()
    assert errno_of(late.listen) == 0
    assert bench.refused("--", ANYWHERE) == INUSE
    assert bench.refused("P", ANYWHERE, 10) == INUSE


def test_classic_a_wildcard_and_an_address_may_both_listen() -> None:
    bench = System("classic")
    wild, specific = bench.held("P", ANYWHERE, kind="listening"), bench.held("P", HOST, kind="listening")
    assert bench.winner(40000) is specific
    specific.close()
    assert bench.winner(40000) is wild


def test_classic_time_wait() -> None:
    bench = System("classic")
    client = with_options(bench.tcp(uid=10), reuseport=True)
    client.bind((HOST, 5000))
    bench.connecting(client)
    bench.give(tcp(SYN | ACK, 1000, bench_ack(bench), sport=80, dport=5000, options=MSS))
    client.close()
    fin = bench.take()[-1].segment
    bench.give(tcp(ACK | 1, 1001, fin.end, sport=80, dport=5000))
    bench.take()
    assert [c.state.value for c in bench.host.table.connections.values()] == ["TIME-WAIT"]
    assert bench.refused("P", HOST, 11) == 0
    assert bench.refused("--", HOST) == INUSE


def bench_ack(bench: Bench) -> int:
    """What acknowledges the SYN of the only connection."""
    (c,) = bench.host.table.connections.values()
    return int(getattr(c, "iss", 0)) + 1
