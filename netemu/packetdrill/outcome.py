"""How a script, and a call in it, went."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from netemu.packetdrill.script import Event

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"


class Outcome(msgspec.Struct):
    """Of one script."""

    path: str
    status: str
    """'passed', 'failed' or 'not run'."""
    line: int = 0
    """Where it failed, or what was asked for that there is not; 0 for nowhere."""
    problem: str = ""
    """One line."""
    details: list[str] = []
    """What a reader wants to see below it."""
    printed: list[str] = []
    """What the script's Python code printed."""
    pcap: str = ""
    """Where the packets of a failed script are."""
    events: int = 0
    seconds: float = 0.0
    """Of real time."""


class Failure(Exception):
    """The host did not do what the script says."""

    def __init__(self, event: Event | None, problem: str, details: list[str] | None = None) -> None:
        super().__init__(problem)
        self.event = event
        self.details = details or []


class Unsupported(Exception):
    """The script asks for something that there is not: it is not run, and that is no failure."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.line = line


class Returned(NamedTuple):
    """What a call gave back."""

    value: int
    errno: int = 0
    checks: tuple[tuple[str, str, str], ...] = ()
    """(what, as the script has it, as it is) for each struct field and value beside the result that differs."""
    made: object = None
    """A file that the script will know by the number that it says the call returned."""
