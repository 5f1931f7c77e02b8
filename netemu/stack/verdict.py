"""What `netemu why` tells; by itself, so that the command line can print it without the stack behind it."""

from __future__ import annotations

import msgspec


class Candidate(msgspec.Struct, frozen=True):
    """A socket (or connection) that might have got the packet."""

    socket: str
    app: str
    state: str
    local: str
    peer: str
    wins: bool
    reason: str
    """Why it won or lost."""


class Answer(msgspec.Struct, frozen=True):
    """A packet that the stack would send."""

    kind: str
    """SYN-ACK, RST, ACK, challenge ACK, data, FIN, ICMP port unreachable …"""
    packet: str
    reason: str = ""
    """The name of the decision, where it is no socket that sends it."""
    meaning: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What would become of a packet. All of it is in words of netemu.reasons."""

    packet: str
    direction: str = "in"
    """in: it arrives; out: it was sent by the emulated host."""
    kind: str = ""
    """match or drop; empty for a packet that was sent."""
    reason: str = ""
    meaning: str = ""
    socket: str = ""
    app: str = ""
    pid: int = 0
    program: str = ""
    candidates: list[Candidate] = []
    """In the order in which they are looked at, the winner first."""
    answers: list[Answer] = []
    effects: list[str] = []
    """What else would happen."""
    on_the_way: list[str] = []
    """What stands before the host and might have a say: the link, its rules, those of apps."""
