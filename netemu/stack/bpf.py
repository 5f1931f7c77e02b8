"""Classic BPF, as SO_ATTACH_REUSEPORT_CBPF runs it: checked once, then bounded by its own length (it can only jump
forward).

The machine has an accumulator A, an index register X, and 16 words of memory; all are unsigned 32-bit. Offsets count
from the payload of TCP or UDP; Linux' negative ones reach the IP header (SKF_NET_OFF) and facts about the packet
(SKF_AD_OFF). A load beyond the packet ends the program with 0.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from netemu.wire.buffer import Buffer
from netemu.wire.ip import is_loopback

MASK = 0xFFFFFFFF
MAX_LENGTH = 4096  # BPF_MAXINSNS
MEMORY = 16
_INSTRUCTION = Struct("=HBBI")  # struct sock_filter

LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)  # the class: low three bits of the code
IMM, ABS, IND, MEM, LEN, MSH = (n << 5 for n in range(6))  # where a load loads from
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1}
X = 0x08  # the operand is X, not the constant
JA, JEQ, JGT, JGE, JSET = (n << 4 for n in range(5))
NEG = 0x80
_ALU: dict[int, Callable[[int, int], int]] = {
    0x00: lambda a, b: a + b,
    0x10: lambda a, b: a - b,
    0x20: lambda a, b: a * b,
    0x30: lambda a, b: a // b,
    0x40: lambda a, b: a | b,
    0x50: lambda a, b: a & b,
    0x60: lambda a, b: a << (b & 31),
    0x70: lambda a, b: a >> (b & 31),
    0x90: lambda a, b: a % b,
    0xA0: lambda a, b: a ^ b,
}
_DIVISIONS = (0x30, 0x90)
_JUMPS: dict[int, Callable[[int, int], bool]] = {
    JEQ: lambda a, b: a == b,
    JGT: lambda a, b: a > b,
    JGE: lambda a, b: a >= b,
    JSET: lambda a, b: a & b != 0,
}
LINK, NET, ANCILLARY = (MASK + 1 - n for n in (0x200000, 0x100000, 0x1000))  # SKF_LL_OFF, SKF_NET_OFF, SKF_AD_OFF
PROTOCOL, IFINDEX, HATYPE, XOR_X = 0, 8, 28, 40  # SKF_AD_*
NOTHING = frozenset({4, 12, 16, 20, 24, 32, 36, 44, 48, 52, 56, 60})
"""The others, all 0: there is one loop, so the CPU is 0; so is a random number, to see the same twice."""
FACTS = NOTHING | {PROTOCOL, IFINDEX, HATYPE, XOR_X}
LOOPBACK_TYPE, TUN_TYPE = 772, 65534  # ARPHRD_LOOPBACK, ARPHRD_NONE


class Instruction(NamedTuple):
    code: int
    jt: int
    jf: int
    k: int


class Program:
    """A checked program. ValueError says what is wrong with one."""

    def __init__(self, code: bytes) -> None:
        if not code or len(code) % _INSTRUCTION.size or len(code) > MAX_LENGTH * _INSTRUCTION.size:
            raise ValueError(f"a program is 1 to {MAX_LENGTH} instructions of 8 bytes")
        self._instructions = [Instruction(*fields) for fields in _INSTRUCTION.iter_unpack(code)]
        for at, instruction in enumerate(self._instructions):
            problem = _problem(instruction, len(self._instructions) - at - 1)
            if problem:
                raise ValueError(f"instruction {at}: {problem}")
        if self._instructions[-1].code & 7 != RET:
            raise ValueError("the last instruction does not return")
        _check_memory(self._instructions)

    def run(self, data: Buffer, payload: int) -> int:
        """What the program returns for a packet whose payload begins at ``payload``."""
        a = x = at = 0
        memory = [0] * MEMORY
        packet = _View(data, payload)
        while True:
            code, jt, jf, k = self._instructions[at]
            at += 1
            kind = code & 7
            if kind == RET:
                return a if code & 0x18 == 0x10 else k
            operand = x if code & X else k
            if kind == ALU:
                operation = code & 0xF0
                if operation in _DIVISIONS and not operand:
                    return 0
                a = (-a if operation == NEG else _ALU[operation](a, operand)) & MASK
            elif kind == JMP:
                operation = code & 0xF0
                at += k if operation == JA else jt if _JUMPS[operation](a, operand) else jf
            elif kind == MISC:
                a, x = (x, x) if code & 0x80 else (a, a)
            elif kind in (ST, STX):
                memory[k] = a if kind == ST else x
            else:
                value = (
                    a ^ x if code & 0xE7 == LD | ABS and k == ANCILLARY + XOR_X else _load(code, k, x, memory, packet)
                )
                if value is None:
                    return 0
                a, x = (value, x) if kind == LD else (a, value)


class _View:
    """A packet as a program sees it."""

    def __init__(self, data: Buffer, payload: int) -> None:
        self._data, self._payload = data, payload
        self.length = len(data) - payload

    def load(self, offset: int, size: int) -> int | None:
        """Big endian from ``offset``; None when that is not all there. A TUN has no link layer: its header is IP's."""
        at = offset - NET if offset >= NET else offset - LINK if offset >= LINK else offset + self._payload
        if at + size > len(self._data):
            return None
        return int.from_bytes(self._data[at : at + size], "big")

    def fact(self, number: int) -> int | None:
        """SKF_AD_*."""
        if number in NOTHING or not len(self._data):
            return 0
        is_v6 = self._data[0] >> 4 == 6
        if number == PROTOCOL:
            return 0x86DD if is_v6 else 0x0800
        local = is_loopback(bytes(self._data[24:40] if is_v6 else self._data[16:20]))
        if number == IFINDEX:
            return 1 if local else 2  # as Host.devices
        return LOOPBACK_TYPE if local else TUN_TYPE


def _load(code: int, k: int, x: int, memory: list[int], packet: _View) -> int | None:
    mode, size = code & 0xE0, _SIZES.get(code & 0x18, 4)
    if mode == IMM:
        return k
    if mode == MEM:
        return memory[k]
    if mode == LEN:
        return packet.length
    if mode == MSH:
        value = packet.load(k, 1)
        return None if value is None else 4 * (value & 15)
    if mode == ABS and k >= ANCILLARY:
        return packet.fact(k - ANCILLARY)
    return packet.load((k + x if mode == IND else k) & MASK, size)


def _problem(instruction: Instruction, left: int) -> str:
    """Why an instruction cannot stand where ``left`` others follow; empty when it can."""
    code, jt, jf, k = instruction
    kind = code & 7
    if code not in VALID:
        return f"no such code {code:#x}"
    if kind in (ST, STX) or (kind in (LD, LDX) and code & 0xE0 == MEM):
        return "" if k < MEMORY else f"no memory word {k}"
    if kind == JMP:
        furthest = k if code & 0xF0 == JA else max(jt, jf)
        return "" if furthest < left else "it jumps beyond the end"
    if kind == ALU and not code & X:
        operation = code & 0xF0
        if operation in _DIVISIONS and not k:
            return "a division by 0"
        if operation in (0x60, 0x70) and k >= 32:
            return f"a shift by {k}"
    if code & 0xE7 == LD | ABS and k >= ANCILLARY and k - ANCILLARY not in FACTS:
        return f"no such fact {k - ANCILLARY}"
    return ""


def _check_memory(instructions: list[Instruction]) -> None:
    """No word of memory is read that was not written on every way there."""
    everything = (1 << MEMORY) - 1
    arriving = [everything] * len(instructions)
    """For each instruction the words that are written by then, whichever way one comes."""
    written = 0
    for at, (code, jt, jf, k) in enumerate(instructions):
        written &= arriving[at]
        kind = code & 7
        if kind in (ST, STX):
            written |= 1 << k
        elif kind in (LD, LDX) and code & 0xE0 == MEM and not written >> k & 1:
            raise ValueError(f"instruction {at}: memory word {k} is not set")
        elif kind == JMP:
            for skipped in (k,) if code & 0xF0 == JA else (jt, jf):
                arriving[at + 1 + skipped] &= written
            written = everything  # who goes on behind a jump came by it


VALID = frozenset(
    [LD | mode | size for mode in (ABS, IND) for size in _SIZES]
    + [LD | mode for mode in (IMM, MEM, LEN)]
    + [LDX | mode for mode in (IMM, MEM, LEN)]
    + [LDX | MSH | 0x10, ST, STX, RET, RET | 0x10, MISC, MISC | 0x80, ALU | NEG, JMP | JA]
    + [ALU | operation | source for operation in _ALU for source in (0, X)]
    + [JMP | operation | source for operation in _JUMPS for source in (0, X)]
)
