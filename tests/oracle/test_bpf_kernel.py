"""Classic BPF beside the kernel's: the same programs are taken, and they choose the same listener."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest
from bsd import Kernel
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from netemu.stack import constants as so
from netemu.stack.bpf import VALID, Program
from netemu.wire import ipv4
from netemu.wire.ip import TCP

Instruction = tuple[int, int, int, int]
PROGRAMS = 5000 if os.environ.get("NETEMU_FULL") else 500
MEMBERS = 8
LOCAL = "127.0.0.1"
AD, NET = 0xFFFFF000, 0xFFF00000
INDEXED = (0x40, 0x48, 0x50)
"""Loads that may reach the ports or the checksum, which are different each time."""
UNSTEADY = {AD + n for n in (12, 16, 20, 32, 36, 56)}
"""Facts that change from packet to packet (CPU, hash, random), or that are looked for with X and A as arguments."""
PACKET = ipv4.header(bytes((127, 0, 0, 1)), bytes((127, 0, 0, 1)), TCP, 40) + bytes(40)

codes = st.one_of(st.sampled_from(sorted(VALID)), st.sampled_from(sorted(VALID)), st.integers(0, 0xFFFF))
constants = st.one_of(
    st.integers(0, 20), st.integers(0, 0xFFFFFFFF), st.integers(0, 64).map(lambda n: AD + n),
    st.sampled_from([NET + 12, NET + 16, NET + 200]),
)  # fmt: skip
instructions = st.lists(st.tuples(codes, st.integers(0, 3), st.integers(0, 3), constants), min_size=1, max_size=10)
FINISH: list[Instruction] = [(0x54, 0, 0, MEMBERS - 1), (0x16, 0, 0, 0)]
"""A modulo the number of listeners, and return it."""
ours = settings(max_examples=PROGRAMS, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def code_of(program: list[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    made.close()


def listener(kernel: Kernel, port: int) -> int:
    number = kernel.call("open", so.AF_INET, so.SOCK_STREAM, 0)[1]
    assert isinstance(number, int)
    for method, *arguments in (
        ("setsockopt", so.SOL_SOCKET, so.SO_REUSEPORT, 1),
        ("bind", LOCAL, port),
        ("listen", 64),
    ):
        assert kernel.call(str(method), number, *arguments)[0] == 0
    return number


def is_taken(program: list[Instruction]) -> bool:
    try:
        Program(code_of(program))
    except ValueError:
        return False
    return True


def attach(kernel: Kernel, number: int, program: list[Instruction]) -> bool:
    return kernel.call("setsockopt", number, so.SOL_SOCKET, so.SO_ATTACH_REUSEPORT_CBPF, code_of(program).hex())[0] == 0


def test_the_same_programs_are_taken(kernel: Kernel) -> None:
    number = listener(kernel, 3000)
    taken = 0

    @seed(1)
    @ours
    @given(instructions, st.booleans())
    def compare(program: list[Instruction], finish: bool) -> None:
        nonlocal taken
        whole = [*program, *(FINISH if finish else [])]
        assert attach(kernel, number, whole) == is_taken(whole), whole
        taken += is_taken(whole)

    compare()
    assert taken > PROGRAMS // 20


def test_they_choose_the_same_listener(kernel: Kernel) -> None:
    group = [listener(kernel, 3001) for _ in range(MEMBERS)]
    chosen: set[int] = set()

    @seed(2)
    @ours
    @given(instructions)
    def compare(program: list[Instruction]) -> None:
        steady = [
            i for i in program if i[3] not in UNSTEADY and i[0] in VALID and i[0] & 7 != 6 and i[0] not in INDEXED
        ]
        whole = [*steady, *FINISH]
        if not is_taken(whole):
            return
        assert attach(kernel, group[0], whole)
        client = kernel.call("open", so.AF_INET, so.SOCK_STREAM, 0)[1]
        kernel.call("connect", client, LOCAL, 3001)
        states = kernel.states()
        winner = [n for n, number in enumerate(group) if states[number][1]]
        index = Program(code_of(whole)).run(PACKET, len(PACKET))
        kernel.call("close", client)
        for n in winner:
            kernel.call("close", kernel.call("accept", group[n])[1][0])  # type: ignore[index]  # accept gave a child
        assert winner == [index] or index >= MEMBERS, whole  # a jump over the modulo: the hash decides
        chosen.update(winner)

    compare()
    assert len(chosen) > 3  # they are not all the same
