"""SO_REUSEPORT groups: order, selectors by name, by BPF and by a function, and what becomes of what waits (facts T9, U2)."""

from __future__ import annotations

import errno
import itertools
import struct

import pytest
from stack_bench import FAMILIES, HOST, MSS, OF_HOST, OF_PEER, PEER, Bench, Peer, errno_of, tcp, with_options

from netemu.stack import constants as so
from netemu.stack.groups import index_in_group
from netemu.stack.selectors import Arrival
from netemu.stack.stream_socket import StreamSocket
from netemu.tcp.state import State
from netemu.wire.tcp import ACK, PSH, RST, SYN

RET_A = (0x16, 0, 0, 0)
ATTACH, DETACH = (so.SOL_SOCKET, so.SO_ATTACH_REUSEPORT_CBPF), (so.SOL_SOCKET, so.SO_DETACH_REUSEPORT_BPF)


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def always(index: int) -> bytes:
    return program((0x06, 0, 0, index))


class Machine(Bench):
    def __init__(self, **options: object) -> None:
        super().__init__(HOST, "2001:2::2", **options)
        self._ports = itertools.count(30000)

    def group(self, count: int, address: str = HOST, backlog: int = 16) -> list[StreamSocket]:
        return [self.listen(address, 80, backlog, reuseport=True) for _ in range(count)]

    def winner(self, sport: int = 0, version: int = 4) -> StreamSocket:
        sport = sport or next(self._ports)
        src, dst = OF_PEER[version], OF_HOST[version]
        self.give(tcp(SYN, 1000, sport=sport, src=src, dst=dst, options=MSS))
        found, answer = self.host.matched, self.one()
        assert answer.segment.flags == SYN | ACK
        self.give(tcp(RST, 1001, answer.segment.end, sport=sport, src=src, dst=dst))
        assert isinstance(found, StreamSocket)
        return found


# -- members and their order -----------------------------------------------------------------------------------------


def test_the_order_is_the_one_of_listening() -> None:
    machine = Machine()
    a, b, c = (machine.tcp(reuseport=True) for _ in range(3))
    for socket in (a, b, c):
        socket.bind((HOST, 80))
    for socket in (c, a, b):
        socket.listen()
    for index, expected in enumerate((c, a, b)):
        a.setsockopt(*ATTACH, always(index))
        assert {machine.winner() for _ in range(4)} == {expected}


def test_the_last_takes_the_place_of_one_who_leaves() -> None:
    machine = Machine()
    a, b, c, d = machine.group(4)
    b.close()
    for index, expected in enumerate((a, d, c)):
        a.setsockopt(*ATTACH, always(index))
        assert machine.winner() is expected


def test_an_index_out_of_range_leaves_it_to_the_hash() -> None:
    machine = Machine()
    group = machine.group(3)
    expected = [machine.winner(port) for port in range(1000, 1040)]
    for selector in (always(3), always(0xFFFFFFFF), lambda arrival: -1, lambda arrival: 99):
        group[0].set_selector(selector)
        assert [machine.winner(port) for port in range(1000, 1040)] == expected
    assert len(set(expected)) == 3


def test_who_shares_a_group() -> None:
    """The same name, family, device and user; others beside them take no part."""
    machine = Machine()
    groups = []
    for address, family in ((HOST, so.AF_INET), ("0.0.0.0", so.AF_INET), ("::", so.AF_INET6), (HOST, so.AF_INET)):
        socket = machine.tcp(family, reuseport=True)
        socket.bind((address, 80))
        socket.listen()
        groups.append(socket.group)
    assert groups[0] is groups[3]
    assert len({id(group) for group in groups}) == 3
    on_device = machine.tcp(reuseport=True)
    on_device.setsockopt(so.SOL_SOCKET, so.SO_BINDTODEVICE, b"netemu0")
    on_device.bind((HOST, 80))
    on_device.listen()
    assert on_device.group not in groups
    assert machine.winner() is on_device  # the last bound goes first (facts U2)


@pytest.mark.parametrize("device_first", [False, True])
@FAMILIES
def test_with_and_without_a_device(version: int, device_first: bool) -> None:
    """IPv4: whoever began to listen last; IPv6: first (facts U2, the same for listeners)."""
    machine = Machine()
    sockets = []
    for device in (b"netemu0", b"") if device_first else (b"", b"netemu0"):
        socket = machine.tcp(so.AF_INET if version == 4 else so.AF_INET6, reuseport=True)
        socket.setsockopt(so.SOL_SOCKET, so.SO_BINDTODEVICE, device)
        socket.bind((OF_HOST[version], 80))
        socket.listen()
        sockets.append(socket)
    assert {machine.winner(version=version) for _ in range(8)} == {sockets[-1 if version == 4 else 0]}


def test_how_a_choice_came_about() -> None:
    machine = Machine()
    table, flow = machine.host.table, b"\1" * 12
    key = (b"\xc6\x12\0\2", 80, flow, "netemu0")
    alone = machine.group(1)[0]
    found = table.choose_listener(*key)
    assert found is not None
    assert (found[0].member, found[0].by, found[0].hash, found[0].index) == (alone, "alone", None, None)
    members = [alone, *machine.group(3)]
    found = table.choose_listener(*key)
    assert found is not None
    choice = found[0]
    assert choice.by == "hash"
    assert choice.hash is not None
    assert choice.index == index_in_group(choice.hash, 4)
    assert choice.member is members[choice.index]
    alone.set_selector("round-robin")
    for index in (0, 1, 2, 3, 0):
        for peek in (True, False):
            found = table.choose_listener(*key, peek=peek)
            assert found is not None
            assert (found[0].by, found[0].index, found[0].member) == ("round-robin", index, members[index])


# -- selectors -------------------------------------------------------------------------------------------------------


def test_round_robin() -> None:
    machine = Machine()
    group = machine.group(3)
    group[2].set_selector("round-robin")
    assert [machine.winner() for _ in range(7)] == [group[n % 3] for n in range(7)]
    for flags in (RST, ACK, SYN | ACK):  # what opens nothing moves nothing on
        machine.give(tcp(flags, sport=999))
        machine.take()
    assert machine.winner() is group[1]
    group[0].set_selector("hash")
    assert len({machine.winner() for _ in range(40)}) == 3


def test_cpu() -> None:
    machine = Machine()
    group = machine.group(3)
    group[1].setsockopt(*ATTACH, b"cpu")
    assert {machine.winner() for _ in range(6)} == {group[0]}


def test_a_function() -> None:
    machine = Machine()
    group = machine.group(4)
    seen: list[Arrival] = []

    def by_port(arrival: Arrival) -> int:
        seen.append(arrival)
        return int.from_bytes(arrival.flow[-4:-2], "big") % 4

    group[3].set_selector(by_port)
    assert [machine.winner(1000 + n) for n in range(8)] == group * 2
    assert bytes(seen[0].data)[:1] == b"\x45"
    assert seen[0].payload == len(seen[0].data)


def test_bpf_reads_the_ip_header() -> None:
    machine = Machine()
    group = machine.group(4)
    group[0].setsockopt(*ATTACH, program((0x28, 0, 0, 0xFFF00000 + 20), (0x54, 0, 0, 3), RET_A))  # source port & 3
    assert [machine.winner(1000 + n) for n in range(8)] == group * 2
    group[0].setsockopt(*ATTACH, program((0x20, 0, 0, 0), (0x54, 0, 0, 3), RET_A))  # a SYN has no payload: 0
    assert {machine.winner() for _ in range(5)} == {group[0]}


def test_attach_and_detach() -> None:
    machine = Machine()
    plain = machine.tcp()
    for _ in range(2):
        assert errno_of(plain.setsockopt, *ATTACH, always(0)) == errno.EINVAL
        assert errno_of(plain.setsockopt, *DETACH, 0) == errno.EINVAL
        plain.bind((HOST, 81)) if plain.name is None else None
    socket = machine.tcp(reuseport=True)
    assert errno_of(socket.setsockopt, *DETACH, 0) == errno.ENOENT
    assert errno_of(socket.setsockopt, *ATTACH, b"") == errno.EINVAL
    assert errno_of(socket.setsockopt, *ATTACH, program((0x0E, 0, 0, 0))) == errno.EINVAL
    assert errno_of(socket.set_selector, "best") == errno.EINVAL
    assert errno_of(socket.setsockopt, *ATTACH, always(0)) == 0
    assert errno_of(socket.setsockopt, *DETACH, 0) == 0
    assert errno_of(socket.setsockopt, *DETACH, 0) == errno.ENOENT
    assert errno_of(socket.getsockopt, *ATTACH) == errno.ENOPROTOOPT
    other = machine.listen(HOST, 82)
    with_options(other, reuseport=True)
    socket.setsockopt(*ATTACH, always(1))
    socket.bind((HOST, 80))
    socket.listen()
    second = machine.group(1)[0]
    assert second.group is socket.group
    assert machine.winner() is second  # what was attached before bind holds for the group
    late = machine.tcp(reuseport=True)
    late.setsockopt(*ATTACH, always(0))
    assert errno_of(late.bind, (HOST, 80)) == errno.EADDRINUSE  # a group of one's own joins no other


# -- the end of a member ---------------------------------------------------------------------------------------------


def waiting(machine: Machine, count: int) -> tuple[list[Peer], list[Peer]]:
    """Connections that nobody has accepted, and half-open ones."""
    whole = [machine.handshake(80, 1000 + n) for n in range(count)]
    half = []
    for n in range(count):
        peer = Peer(machine, 80, 2000 + n, 4, 1000)
        peer.rcv_nxt = machine.ask(peer.made(SYN, 1000, options=MSS)).segment.end
        half.append(peer)
    return whole, half


def test_without_migration_they_are_reset() -> None:
    machine = Machine()
    one, two = machine.group(2, backlog=64)
    waiting(machine, 20)
    mine = one.queues[0]
    assert 0 < mine < 20
    one.close()
    assert all(seen.segment.flags & RST for seen in machine.take())
    assert two.queues[0] == 20 - mine


@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_with_migration_they_go_to_the_others(how: str) -> None:
    machine = Machine(sysctl={"net.ipv4.tcp_migrate_req": 1})
    one, *others = machine.group(3, backlog=1)
    for socket in (one, *others):
        socket.listen(64)
    whole, half = waiting(machine, 20)
    accepted = whole[0].sport
    for socket in (one, *others):
        socket.listen(1)  # as Linux: what migrates does not count the queue
    one.close() if how == "close" else one.shutdown(so.SHUT_RDWR)
    assert machine.take() == []
    assert sum(socket.queues[0] for socket in others) == 20
    assert all(socket.queues[0] for socket in others)
    for socket in others:
        socket.listen(64)
    for peer in half:
        peer.send(ACK)
    assert sum(socket.queues[0] for socket in others) == 40
    ports = set()
    for socket in others:
        while socket.queues[0]:
            child, address = socket.accept()
            assert child.state_name == State.ESTABLISHED.value
            assert child.app == socket.app
            ports.add(address[1])
    assert ports == {peer.sport for peer in (*whole, *half)}
    assert whole[0].sport == accepted
    assert whole[0].send(ACK | PSH, b"hello")


def test_the_last_of_a_group_has_nobody_to_leave_it_to() -> None:
    machine = Machine(sysctl={"net.ipv4.tcp_migrate_req": 1})
    one, two = machine.group(2, backlog=64)
    waiting(machine, 10)
    one.close()
    assert machine.take() == []
    two.close()
    assert len(machine.take()) == 20
    assert not machine.host.table.listeners
    assert errno_of(machine.tcp().bind, (HOST, 80)) == 0


def test_a_group_for_what_connects_out_is_none() -> None:
    """A bound member that connects takes no part in the spread."""
    machine = Machine()
    a, b = machine.group(2)
    out = machine.tcp(reuseport=True)
    out.bind((HOST, 80))
    assert errno_of(out.connect, (PEER, 9)) == errno.EINPROGRESS
    machine.take()
    assert {machine.winner() for _ in range(20)} == {a, b}
    assert out.group is None
