"""Classic BPF: what is taken, what is refused (both as the kernel answered), and what programs compute."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stack_bench import tcp, udp

from netemu.stack.bpf import Program

Instructions = list[tuple[int, int, int, int]]
RET_A = (0x16, 0, 0, 0)
AD = 0xFFFFF000
NET = 0xFFF00000


def ret(k: int) -> tuple[int, int, int, int]:
    return 0x06, 0, 0, k


def program(*instructions: tuple[int, int, int, int]) -> Program:
    return Program(
        b"".join(c.to_bytes(2, "little") + bytes((t, f)) + k.to_bytes(4, "little") for c, t, f, k in instructions)
    )


@pytest.mark.parametrize(
    "instructions",
    [
        [],
        [(0, 0, 0, 1)],
        [(0xFFFF, 0, 0, 0), ret(0)],
        [(5, 0, 0, 5), ret(0)],
        [(0x15, 1, 0, 0), ret(0)],
        [(0x15, 0, 1, 0), ret(0)],
        [(0x34, 0, 0, 0), ret(0)],
        [(0x94, 0, 0, 0), ret(0)],
        [(0x64, 0, 0, 32), ret(0)],
        [(0x74, 0, 0, 32), ret(0)],
        [(2, 0, 0, 16), ret(0)],
        [(0x60, 0, 0, 3), RET_A],
        [(0x15, 0, 1, 0), (2, 0, 0, 3), (0x60, 0, 0, 3), RET_A],  # set on one of two ways
        [(0x0E, 0, 0, 0)],
        [(0x20, 0, 0, AD + 64), RET_A],
        [(0x20, 0, 0, AD + 2), RET_A],
        [(0, 0, 0, 1)] * 4096 + [RET_A],
    ],
    ids=str,
)
def test_a_program_that_is_refused(instructions: Instructions) -> None:
    with pytest.raises(ValueError, match=r"instruction|program"):
        program(*instructions)
    with pytest.raises(ValueError, match="program"):
        Program(b"1234567")


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ([(5, 0, 0, 0), ret(3)], 3),
        ([(0x80, 0, 0, 0), RET_A], 4),  # the payload's length
        ([(0x20, 0, 0, 0), RET_A], 0x01020304),
        ([(0x28, 0, 0, 1), RET_A], 0x0203),
        ([(0x30, 0, 0, 3), RET_A], 4),
        ([(0x30, 0, 0, 4), (4, 0, 0, 1), RET_A], 0),  # beyond the packet: the end
        ([(1, 0, 0, 2), (0x50, 0, 0, 1), RET_A], 4),
        ([(0xB1, 0, 0, 2), (0x87, 0, 0, 0), RET_A], 12),
        ([(0x30, 0, 0, NET + 9), RET_A], 17),  # the IP header: UDP
        ([(0x28, 0, 0, NET + 22), RET_A], 7),  # its port
        ([(0x30, 0, 0, 0xFFE00009), RET_A], 17),
        ([(0x28, 0, 0, AD), RET_A], 0x0800),
        ([(0x20, 0, 0, AD + 8), RET_A], 2),
        ([(0x20, 0, 0, AD + 28), RET_A], 65534),
        ([(0x20, 0, 0, AD + 36), RET_A], 0),
        ([(0, 0, 0, 3), (1, 0, 0, 2), (0x20, 0, 0, AD + 40), RET_A], 1),
        ([(1, 0, 0, 0), (0x40, 0, 0, AD + 36), (4, 0, 0, 1), RET_A], 0),  # by index such facts are out of reach
        ([(0, 0, 0, 7), (1, 0, 0, 0), (0x3C, 0, 0, 0), ret(9)], 0),
        ([(0, 0, 0, 1), (1, 0, 0, 33), (0x6C, 0, 0, 0), RET_A], 2),
        ([(0, 0, 0, 0xFFFFFFFF), (0x84, 0, 0, 0), RET_A], 1),
        ([(0, 0, 0, 5), (0x14, 0, 0, 6), RET_A], 0xFFFFFFFF),
        ([(0, 0, 0, 5), (2, 0, 0, 15), (0, 0, 0, 0), (0x60, 0, 0, 15), RET_A], 5),
        ([(0, 0, 0, 6), (7, 0, 0, 0), (3, 0, 0, 0), (0x61, 0, 0, 0), (0, 0, 0, 1), (0x2C, 0, 0, 0), RET_A], 6),
        ([(0, 0, 0, 5), (0x25, 0, 1, 4), ret(1), ret(2)], 1),
        ([(0, 0, 0, 5), (0x35, 0, 1, 6), ret(1), ret(2)], 2),
        ([(0, 0, 0, 5), (0x45, 0, 1, 4), ret(1), ret(2)], 1),
        ([(0, 0, 0, 5), (1, 0, 0, 5), (0x1D, 1, 0, 0), ret(1), ret(2)], 2),
    ],
    ids=str,
)
def test_what_a_program_returns(instructions: Instructions, expected: int) -> None:
    assert program(*instructions).run(udp(b"\1\2\3\4"), 28) == expected


def test_all_arithmetic() -> None:
    for code, expected in ((0x04, 17), (0x14, 7), (0x24, 60), (0x34, 2), (0x44, 13), (0x54, 4), (0x64, 384), (0x74, 0),
                           (0x94, 2), (0xA4, 9)):  # fmt: skip
        assert program((0, 0, 0, 12), (code, 0, 0, 5), RET_A).run(b"", 0) == expected


def test_a_packet_over_loopback() -> None:
    for src, dst in (("127.0.0.1", "127.0.0.2"), ("::1", "::1")):
        packet = tcp(src=src, dst=dst)
        assert program((0x20, 0, 0, AD + 8), RET_A).run(packet, len(packet)) == 1
        assert program((0x20, 0, 0, AD + 28), RET_A).run(packet, len(packet)) == 772
    assert program((0x28, 0, 0, AD), RET_A).run(packet, len(packet)) == 0x86DD
    assert program((0x20, 0, 0, AD + 8), RET_A).run(b"", 0) == 0


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.tuples(st.integers(0, 0xFF), st.integers(0, 3), st.integers(0, 3), st.integers(0, 0xFFFFFFFF)), max_size=12
    ),
    st.binary(max_size=64),
)
def test_whatever_is_taken_ends(instructions: Instructions, data: bytes) -> None:
    try:
        made = program(*instructions, RET_A)
    except ValueError:
        return
    assert 0 <= made.run(data, min(8, len(data))) <= 0xFFFFFFFF
