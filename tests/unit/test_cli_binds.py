"""`netemu binds`: the matrix that it prints is the one of the facts."""

from __future__ import annotations

import json

import pytest

from netemu.cli import main
from netemu.cli.binds import CHOICES, matrix
from netemu.stack.flavours import FLAVOURS

LINUX = """
bound     --    INUSE   INUSE   INUSE   INUSE     INUSE   INUSE   INUSE   INUSE
bound     A-    INUSE   one     INUSE   one       INUSE   one     INUSE   one
bound     -P    INUSE   INUSE   both    both      INUSE   INUSE   INUSE   INUSE
bound     AP    INUSE   one     both    both      INUSE   one     INUSE   one
listening --    INUSE   INUSE   INUSE   INUSE     INUSE   INUSE   INUSE   INUSE
listening A-    INUSE   INUSE   INUSE   INUSE     INUSE   INUSE   INUSE   INUSE
listening -P    INUSE   INUSE   both    both      INUSE   INUSE   INUSE   INUSE
listening AP    INUSE   INUSE   both    both      INUSE   INUSE   INUSE   INUSE
"""


def test_linux_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["binds"]) == 0
    said = capsys.readouterr().out
    assert LINUX in said
    assert "wherever the two addresses overlap:\n" in said.lower()
    assert "A SO_REUSEADDR, P SO_REUSEPORT, -- none" in said


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_it_fits_the_screen(flavour: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["binds", "--flavour", flavour]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_json_has_every_pair(flavour: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["binds", "--flavour", flavour, "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)
    assert len(cells) == 4 * 2 * 2 * len(CHOICES[flavour]) ** 2
    assert all((cell["bind"] == "ok") == (cell["listen"] != "first") for cell in cells)
    assert {cell["bind"] for cell in cells} == {"ok", "EADDRINUSE"} | ({"EACCES"} if flavour == "windows" else set())


def test_the_flavours_differ() -> None:
    tables = [[(c.bind, c.listen) for c in matrix(name)] for name in ("linux", "macos", "classic")]
    assert len({str(table) for table in tables}) == 3


def test_an_unknown_flavour_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["binds", "--flavour", "beos"]) == 2
    assert capsys.readouterr().err == "netemu: --flavour beos: give one of linux, freebsd, macos, windows, classic\n"
