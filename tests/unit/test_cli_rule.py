"""`netemu rule` against a control API with a real link behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from instance_fake import Served, served

from netemu.cli import main


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("NETEMU_DIR", str(tmp_path))
    monkeypatch.delenv("NETEMU_NAME", raising=False)
    (tmp_path / "netemu0").mkdir()
    with served(tmp_path / "netemu0" / "control.sock") as running:
        yield running


def run(capsys: pytest.CaptureFixture[str], *words: str) -> list[tuple[Any, ...]]:
    assert main(["rule", *words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    return [(row["number"], row["direction"], row["match"], row["action"], row["limits"]) for row in rows]


def test_rules_are_added_shown_and_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "show") == []
    first = (1, "in", "tcp.flags.syn and tcp.dstport == 80", "drop", "first 2")
    assert run(capsys, "add", "in: tcp.flags.syn && tcp.dstport==80 drop first 2") == [first]
    both = [(2, way, "udp", "delay 5ms", "") for way in ("in", "out")]
    assert run(capsys, "add", "udp", "delay", "5ms") == [first, *both]
    third = (3, "in", "icmp", "count", "")
    assert run(capsys, "add", "--before", "2", "in: icmp count") == [first, third, *both]
    assert run(capsys, "del", "2") == [first, third]
    assert run(capsys, "add", "--before", "1", "out: tcp set tcp.ack_raw-=5") == [
        first, third, (4, "out", "tcp", "set tcp.ack_raw-=5", "")
    ]  # fmt: skip
    assert run(capsys, "show", "--link", "link") == run(capsys, "show")
    assert run(capsys, "del", "1", "4") == [third]
    assert run(capsys, "add", "frame count") == [
        third,
        (5, "in", "frame", "count", ""),
        (5, "out", "frame", "count", ""),
    ]
    assert run(capsys, "del", "--all") == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["add", "tcp.flags.synn drop"], "rule, column 1: no field tcp.flags.synn; did you mean tcp.flags.syn?"),
        (["add", "tcp", "dorp"], "rule, column 5: expected 'drop', found 'dorp'"),
        (["add", "tcp call f.py:f"],
         "rule, column 10: call f.py:f: only a scenario file and the API of Python can have functions called"),
        (["add", "tcp steer wan"], "steer wan: give another link of the network: there is none"),
        (["add", "tcp steer link"], "steer link: give another link of the network: there is none"),
        (["add", " "], "a rule is missing, such as 'in: tcp.flags.syn drop first 2'"),
        (["add", "--before", "9", "tcp drop"], "there is no rule 9 on link link; `netemu rule show` lists them"),
        (["add", "--link", "wan", "tcp drop"], "there is no link 'wan': give --link with one of link"),
        (["del", "9"], "there is no rule 9 on link link; `netemu rule show` lists them"),
        (["del"], "give the numbers of rules (`netemu rule show`), or --all"),
        (["del", "1", "--all"], "give the numbers of rules (`netemu rule show`), or --all"),
        (["show", "--link", "wan"], "there is no link 'wan': give --link with one of link"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_and_changes_nothing(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "add", "in: udp count") == [(1, "in", "udp", "count", "")]
    assert main(["rule", *words]) == 2
    assert capsys.readouterr().err == f"netemu: {line}\n"
    assert run(capsys, "show") == [(1, "in", "udp", "count", "")]


def test_the_table_has_units(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rule", "add", "in: tcp drop first 2"]) == 0
    _, line = capsys.readouterr().out.splitlines()
    assert " ".join(line.split()) == "link in 1 tcp drop first 2 0 packets (0 B) 0 packets"
