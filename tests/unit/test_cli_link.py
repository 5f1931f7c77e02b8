"""`netemu link` against a control API with a real link behind it."""

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
    monkeypatch.chdir(tmp_path)
    (tmp_path / "netemu0").mkdir()
    with served(tmp_path / "netemu0" / "control.sock") as running:
        yield running


def run(capsys: pytest.CaptureFixture[str], *words: str) -> list[Any]:
    assert main(["link", *words, "--json"]) == 0
    rows: list[Any] = json.loads(capsys.readouterr().out)
    return rows


def asked(rows: list[Any]) -> list[str]:
    return [row["words"] for row in rows]


def test_set_replaces_what_it_names_and_add_keeps_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert [(r["direction"], r["source"], r["destination"]) for r in run(capsys, "show")] == [
        ("in", "tun", "host"),
        ("out", "host", "tun"),
    ]
    assert asked(run(capsys, "set", "delay", "20ms")) == ["delay 20ms", "delay 20ms"]
    assert asked(run(capsys, "set", "out", "loss", "1%")) == ["delay 20ms", "loss 1%"]
    assert asked(run(capsys, "add", "in", "loss", "2%", "out", "delay", "5ms")) == [
        "delay 20ms loss 2%",
        "delay 5ms loss 1%",
    ]
    assert asked(run(capsys, "reset", "in")) == ["", "delay 5ms loss 1%"]
    assert asked(run(capsys, "reset")) == ["", ""]


def test_a_profile_has_words_for_each_direction(capsys: pytest.CaptureFixture[str]) -> None:
    inward, outward = asked(run(capsys, "set", "profile", "3g"))
    assert (inward, outward) == ("delay 150ms rate 768kbit", "delay 150ms rate 1.6mbit")


def test_files_are_read_by_whoever_types(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "up.csv").write_text("time_s,rate_mbit\n0,10\n5,1\n")
    assert asked(run(capsys, "set", "out", "trace", "up.csv"))[1].startswith("trace up.csv")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("set loss 120%", "loss 120%: a share is between 0% and 100%"),
        ("set in", "in: words are missing; give what the link shall do, such as in delay 20ms, or clear"),
        ("set in delay 1ms both loss 1%", "both: that direction has had its words; name each once"),
        ("set profile ltee", "profile ltee: there is no profile 'ltee'; did you mean 'lte'?"),
        (
            "set trace nowhere.csv",
            "trace nowhere.csv: cannot be read (No such file or directory); give a file that can",
        ),
        ("set --link wan delay 1ms", "there is no link 'wan': give --link with one of link"),
        ("show --link wan", "there is no link 'wan': give --link with one of link"),
        ("reset left", "'left' is no direction of a link; give in, out or both"),
    ],
)
def test_what_is_wrong_is_one_line_and_changes_nothing(
    words: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["link", *words.split()]) == 2
    assert capsys.readouterr().err == f"netemu: {line}\n"
    assert asked(run(capsys, "show")) == ["", ""]


def test_the_table_has_units(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link", "set", "out", "delay", "20ms"]) == 0
    out = capsys.readouterr().out
    assert "nothing (packets pass by, uncounted)" in out
    line = " ".join(out.splitlines()[2].split())
    assert line == "link out host tun 0 packets 0 packets 0 packets 0 packets delay 20ms"


def test_a_direction_with_rules_does_not_say_that_packets_pass_by(capsys: pytest.CaptureFixture[str]) -> None:
    def shown() -> list[str]:
        capsys.readouterr()
        assert main(["link", "show"]) == 0
        return [line.split("packets  ")[-1] for line in capsys.readouterr().out.splitlines()[1:]]

    assert main(["rule", "add", "in: tcp.flags.syn drop first 2"]) == 0
    assert shown() == ["1 rule", "nothing (packets pass by, uncounted)"]
    assert main(["rule", "add", "udp drop"]) == 0
    assert main(["link", "set", "in", "delay", "5ms"]) == 0
    assert shown() == ["2 rules, then delay 5ms", "1 rule"]
    assert [row["rules"] for row in run(capsys, "show")] == [2, 1]


def test_what_the_kernel_threw_away_is_told_and_reset_counts_from_zero(
    capsys: pytest.CaptureFixture[str], server: Served
) -> None:
    server.instance.unread = 41
    assert main(["link", "show"]) == 0
    says = "link in: 41 packets never came to the link: the kernel's queue was full"
    assert says in capsys.readouterr().out
    assert [row["unread"] for row in run(capsys, "show")] == [41, 0]
    assert [row["unread"] for row in run(capsys, "reset", "out")] == [41, 0]
    assert [row["unread"] for row in run(capsys, "reset", "in")] == [0, 0]
    server.instance.unread += 1
    assert [row["unread"] for row in run(capsys, "show")] == [1, 0]
