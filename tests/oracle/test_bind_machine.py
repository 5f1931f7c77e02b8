"""Random sequences of socket calls, each made on the kernel and on netemu: the same errno, the same listener gets the same
connection. With NETEMU_FULL=1: 2 000 sequences instead of 300; NETEMU_SEQUENCES=N and
NETEMU_SEED=N: as many, and others."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator

import pytest
from bsd import Answer, Kernel, Netemu
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from netemu.stack import constants as so
from netemu.stack.groups import Group
from netemu.stack.stream_socket import StreamSocket

SEQUENCES = int(os.environ.get("NETEMU_SEQUENCES", 2000 if os.environ.get("NETEMU_FULL") else 300))
SEED = int(os.environ.get("NETEMU_SEED", 1))
STEPS = 12
UIDS = (0, 10, 11)
V4 = ("127.0.0.1", "127.0.0.2", "0.0.0.0")
V6 = ("::1", "::", "::ffff:127.0.0.1")
MAX_SOCKETS = 8

_ports = itertools.cycle(range(2000, 32000, 2))
"""Two ports of its own for each sequence: TIME-WAIT lasts longer than a sequence."""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    made.close()


class Comparison(RuleBasedStateMachine):
    """What is done to both sides."""

    kernel: Kernel

    def __init__(self) -> None:
        super().__init__()
        self.netemu = Netemu()
        self.netemu.prefer = self._as_kernel
        self.port = next(_ports)
        self.families: dict[int, int] = {}
        self.spoke_ipv4: dict[int, bool] = {}
        self.winner: int | None = None
        """The listener that got the kernel's connection in this step."""

    def teardown(self) -> None:
        self.kernel.reset()
        self.netemu.reset()

    def _as_kernel(self, group: Group) -> int:
        """Which member of a group the hash chose is the kernel's affair; nobody was chosen: then one whose queue is full."""
        numbers = {made: number for number, made in self.netemu.sockets.items()}
        for index, member in enumerate(group.members):
            assert isinstance(member, StreamSocket)
            assert member.listener is not None
            if numbers.get(member) == self.winner or (self.winner is None and member.listener.accept_queue_full):
                return index
        return -1

    def both(self, method: str, *arguments: object) -> Answer:
        kernel = self.kernel.call(method, *arguments)
        netemu = self.netemu.call(method, *arguments)
        assert _plain(kernel) == _plain(netemu), f"{method}{arguments}: kernel {named(kernel)}, netemu {named(netemu)}"
        return kernel

    def pick(self, n: int) -> int:
        return list(self.families)[n % len(self.families)]

    @precondition(lambda self: len(self.families) < MAX_SOCKETS)
    @rule(
        v6=st.booleans(),
        uid=st.sampled_from(UIDS),
        reuseaddr=st.booleans(),
        reuseport=st.booleans(),
        v6only=st.booleans(),
    )
    def socket(self, v6: bool, uid: int, reuseaddr: bool, reuseport: bool, v6only: bool) -> None:
        family = so.AF_INET6 if v6 else so.AF_INET
        number = self.both("open", family, so.SOCK_STREAM, uid)[1]
        assert isinstance(number, int)
        self.families[number] = family
        for option, value in ((so.SO_REUSEADDR, reuseaddr), (so.SO_REUSEPORT, reuseport)):
            if value:
                self.both("setsockopt", number, so.SOL_SOCKET, option, 1)
        if v6 and v6only:
            self.both("setsockopt", number, so.IPPROTO_IPV6, so.IPV6_V6ONLY, 1)

    @precondition(lambda self: self.families)
    @rule(n=st.integers(0, 63), option=st.sampled_from((so.SO_REUSEADDR, so.SO_REUSEPORT)), value=st.booleans())
    def setsockopt(self, n: int, option: int, value: bool) -> None:
        self.both("setsockopt", self.pick(n), so.SOL_SOCKET, option, int(value))

    @precondition(lambda self: self.families)
    @rule(n=st.integers(0, 63), value=st.booleans())
    def v6only(self, n: int, value: bool) -> None:
        self.both("setsockopt", self.pick(n), so.IPPROTO_IPV6, so.IPV6_V6ONLY, int(value))

    @precondition(lambda self: self.families)
    @rule(n=st.integers(0, 63), address=st.integers(0, 2), port=st.sampled_from((0, 0, 0, 1, None, 80)))
    def bind(self, n: int, address: int, port: int | None) -> None:
        number = self.pick(n)
        where = (V6 if self.families[number] == so.AF_INET6 else V4)[address]
        self.both("bind", number, where, 0 if port is None else port if port == 80 else self.port + port)
        self.both("getsockname", number)

    @precondition(lambda self: self.families)
    @rule(n=st.integers(0, 63), backlog=st.sampled_from((0, 1, 5)))
    def listen(self, n: int, backlog: int) -> None:
        self.both("listen", self.pick(n), backlog)

    @precondition(lambda self: self.families)
    @rule(n=st.integers(0, 63), address=st.integers(0, 2), port=st.sampled_from((0, 0, 0, 1)))
    def connect(self, n: int, address: int, port: int) -> None:
        number = self.pick(n)
        where = (V6 if self.families[number] == so.AF_INET6 else V4)[address], self.port + port
        ipv4 = address == 2 or "::ffff:" in str(self.kernel.call("getsockname", number)[1])
        if self.spoke_ipv4.setdefault(number, ipv4) != ipv4:
            return  # an IPv6 socket that has spoken IPv4 never again hears what comes by IPv6: the kernel's slip
        before = self.kernel.states()
        kernel = self.kernel.call("connect", number, *where)
        after = self.kernel.states()
        self.winner = next((s for s in after if s in before and after[s][1] > before[s][1]), None)
        netemu = self.netemu.call("connect", number, *where)
        assert kernel == netemu, f"connect{number, *where}: kernel {named(kernel)}, netemu {named(netemu)}"
        if kernel[0] == errno.EINPROGRESS:
            self.both("connect", number, *where)
        self.both("getsockname", number)
        self.both("getpeername", number)

    @precondition(lambda self: self.families)
    @rule(n=st.integers(0, 63))
    def accept(self, n: int) -> None:
        number = self.pick(n)
        answer = self.both("accept", number)
        if not answer[0]:
            assert isinstance(answer[1], tuple)
            child = answer[1][0]
            self.families[child] = self.families[number]
            self.both("getsockname", child)

    @precondition(lambda self: self.families)
    @rule(n=st.integers(0, 63))
    def close(self, n: int) -> None:
        number = self.pick(n)
        del self.families[number]
        self.both("close", number)

    @precondition(lambda self: self.families)
    @rule(n=st.integers(0, 63), how=st.sampled_from((so.SHUT_RD, so.SHUT_WR, so.SHUT_RDWR)))
    def shutdown(self, n: int, how: int) -> None:
        """Of what listens or is connected; the kernel takes it from others too, and remembers it."""
        number = self.pick(n)
        if self.kernel.states()[number][0] in ("LISTEN", "ESTABLISHED", "CLOSE-WAIT"):
            self.both("shutdown", number, how)

    @invariant()
    def the_same_states(self) -> None:
        assert self.kernel.states() == self.netemu.states()


def _plain(answer: Answer) -> object:
    """Without the numbers of ephemeral ports, which are random."""
    return answer[0], _without_ephemeral(answer[1])


def _without_ephemeral(value: object) -> object:
    if isinstance(value, tuple | list):
        return tuple(map(_without_ephemeral, value))
    return "ephemeral" if isinstance(value, int) and value >= 32768 else value


def named(answer: Answer) -> str:
    return f"{errno.errorcode.get(answer[0], answer[0])} {answer[1] or ''}"


def test_no_sequence_of_calls_tells_netemu_from_the_kernel(kernel: Kernel) -> None:
    Comparison.kernel = kernel
    profile = settings(
        max_examples=SEQUENCES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck),
        database=None, print_blob=False,
    )  # fmt: skip
    run_state_machine_as_test(seed(SEED)(Comparison), settings=profile)
