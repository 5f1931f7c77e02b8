"""`netemu binds`: who may bind and listen after whom, tried out on sockets of a host that only exists for it."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec
import typer

from netemu.apps.base import UsageError
from netemu.cli.common import Json, print_json
from netemu.stack import constants as so
from netemu.stack.flavours import FLAVOURS
from netemu.stack.host import Host
from netemu.stack.stream_socket import StreamSocket

SPECIFIC, WILDCARD, PORT = "198.18.0.2", "0.0.0.0", 5000
PLACES = {
    "the same address": (SPECIFIC, SPECIFIC),
    "any address for both": (WILDCARD, WILDCARD),
    "the first at any address, the second at one": (WILDCARD, SPECIFIC),
    "the first at one address, the second at any": (SPECIFIC, WILDCARD),
}
OWNERS = {"same user": (1000, 1000), "another user": (1000, 1001)}
STATES = ("bound", "listening")
LETTERS = {
    "A": (so.SO_REUSEADDR, "SO_REUSEADDR"),
    "P": (so.SO_REUSEPORT, "SO_REUSEPORT"),
    "L": (so.SO_REUSEPORT_LB, "SO_REUSEPORT_LB"),
    "X": (so.SO_EXCLUSIVEADDRUSE, "SO_EXCLUSIVEADDRUSE"),
}
"""Letter to option and its name."""
CHOICES = {
    "linux": ("--", "A-", "-P", "AP"),
    "freebsd": ("--", "A-", "-P", "AP", "L"),
    "macos": ("--", "A-", "-P", "AP"),
    "windows": ("--", "A", "X"),
    "classic": ("--", "A-", "-P", "AP"),
}
WIDTH = 8


class Cell(msgspec.Struct, frozen=True):
    """One pair of sockets."""

    place: str
    owners: str
    state: str
    """Of the first, when the second comes."""
    first: str
    second: str
    bind: str
    """The second's: ok, or an errno's name."""
    listen: str
    """Who may listen then: both, one; first where the second is not bound."""

    @property
    def word(self) -> str:
        return self.listen if self.bind == "ok" else self.bind.removeprefix("E").removeprefix("ADDR")


def binds(
    flavour: Annotated[
        str, typer.Option("--flavour", metavar="NAME", help="Whose rules: linux, freebsd, macos, windows or classic.")
    ] = "linux",
    json: Json = False,
) -> None:
    """Print who may bind and listen on a port after whom.

    Every pair is tried out with sockets of an emulated host; no instance is needed.

    \b
    Examples:
      netemu binds
      netemu binds --flavour freebsd
      netemu binds --json | jq '.[] | select(.first == "-P" and .bind != "ok")'
    """
    if flavour not in FLAVOURS:
        raise UsageError(f"--flavour {flavour}: give one of {', '.join(FLAVOURS)}")
    cells = list(matrix(flavour))
    if json:
        return print_json(cells)
    print(f"Flavour {flavour}: one TCP socket has a port, and a second one wants it.")
    for places, rows in sections(cells):
        where = "wherever the two addresses overlap" if len(places) == len(PLACES) else "; or ".join(places)
        print(f"\n{where}:".capitalize())
        print_section(CHOICES[flavour], rows)
    print_legend(flavour)
    return None


def matrix(flavour: str) -> Iterator[Cell]:
    choices = CHOICES[flavour]
    for place, owners, state, first, second in itertools.product(PLACES, OWNERS, STATES, choices, choices):
        yield tried(flavour, place, owners, state, first, second)


def tried(flavour: str, place: str, owners: str, state: str, first: str, second: str) -> Cell:
    """What becomes of one pair."""
    host = Host([SPECIFIC], seed=1, flavour=flavour)
    one, two = (made(host, options, uid) for options, uid in zip((first, second), OWNERS[owners], strict=True))
    here, there = PLACES[place]
    one.bind((here, PORT))
    if state == "listening":
        one.listen()
    bound = errno_of(lambda: two.bind((there, PORT)))
    if bound:
        return Cell(place, owners, state, first, second, errno.errorcode[bound], "first")
    both = not errno_of(one.listen) and not errno_of(two.listen)
    return Cell(place, owners, state, first, second, "ok", "both" if both else "one")


def made(host: Host, options: str, uid: int) -> StreamSocket:
    socket = StreamSocket(host, so.AF_INET, "", uid)
    for letter in options:
        if letter in LETTERS:
            socket.setsockopt(so.SOL_SOCKET, LETTERS[letter][0], 1)
    return socket


def errno_of(call: Callable[[], None]) -> int:
    try:
        call()
    except OSError as error:
        return error.errno or -1
    return 0


Rows = dict[tuple[str, str], dict[tuple[str, str], str]]
"""(state, first) to (owners, second) to a word."""


def sections(cells: list[Cell]) -> Iterator[tuple[list[str], Rows]]:
    """One for all the places where the answers are the same."""
    found: list[tuple[list[str], Rows]] = []
    for place in PLACES:
        rows: Rows = {}
        for cell in cells:
            if cell.place == place:
                rows.setdefault((cell.state, cell.first), {})[cell.owners, cell.second] = cell.word
        known = next((names for names, others in found if others == rows), None)
        if known is None:
            found.append(([place], rows))
        else:
            known.append(place)
    return iter(found)


def print_section(choices: tuple[str, ...], rows: Rows) -> None:
    block = WIDTH * len(choices)
    print(f"{'':<16}{''.join(f'{owners:<{block + 2}}' for owners in OWNERS)}".rstrip())
    head = "".join(f"{choice:<{WIDTH}}" for choice in choices)
    print(f"{'first  second:':<16}{head}  {head}".rstrip())
    for (state, first), row in rows.items():
        words = ["".join(f"{row[owners, second]:<{WIDTH}}" for second in choices) for owners in OWNERS]
        print(f"{state:<10}{first:<6}{'  '.join(words)}".rstrip())


def print_legend(flavour: str) -> None:
    letters = {letter for choice in CHOICES[flavour] for letter in choice if letter in LETTERS}
    names = ", ".join(f"{letter} {name}" for letter, (_, name) in LETTERS.items() if letter in letters)
    print(f"\nOptions: {names}, -- none.")
    print("both    the second may bind, and both may listen")
    print("one     the second may bind, and one of them may listen: the first to ask")
    print("INUSE   the second's bind fails with EADDRINUSE")
    if flavour == "windows":
        print("ACCES   the second's bind fails with EACCES (WSAEACCES)")
    print("Different addresses never meet. The users are 1000 and 1001, neither of them root.")
