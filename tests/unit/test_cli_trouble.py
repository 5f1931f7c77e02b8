"""`netemu trouble`: a line of documentation for each port."""

from __future__ import annotations

import json

import msgspec
import pytest
from instance_fake import STATUS

from netemu.apps.trouble.table import BY_NAME, TROUBLES
from netemu.cli import main
from netemu.cli.ls import ports
from netemu.cli.up import suggestions
from netemu.runtime.messages import AppRow


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trouble", "--list"]) == 0
    listed = capsys.readouterr().out
    assert main(["trouble"]) == 0
    assert capsys.readouterr().out == listed
    lines = listed.splitlines()
    assert len(lines) == 2 * len(TROUBLES)
    for trouble, does, client in zip(TROUBLES, lines[::2], lines[1::2], strict=True):
        assert does.split(maxsplit=2) == [str(10000 + trouble.number), trouble.name, trouble.does]
        assert client.strip() == f"a good client {trouble.client}; time: {trouble.time}"


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trouble", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(BY_NAME)
    assert rows[0]["rules"] == ["in: tcp.dstport == 10001 and tcp.flags.syn drop"]
    for row in rows:
        assert row["port"] == 10000 + BY_NAME[row["name"]].number
        assert all(isinstance(row[key], str) and row[key] for key in ("does", "client", "time"))


def test_one_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trouble", "stall"]) == 0
    said = capsys.readouterr().out
    for text in ("stall", "10017", *BY_NAME["stall"][2:5], "http://198.18.0.2:10017/"):
        assert text in said
    assert "rule" not in said
    assert main(["trouble", "no-answer"]) == 0
    assert "rule:          in: tcp.dstport == 10001 and tcp.flags.syn drop\n" in capsys.readouterr().out
    assert main(["trouble", "stall", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["port"] == 10017


def test_their_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trouble", "--hosts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "198.18.1.1 no-answer.trouble"
    assert "198.18.1.21 truncated.trouble" in lines
    assert len(lines) == len(TROUBLES)
    assert main(["trouble", "truncated", "--hosts", "--addresses", "10.0.0.64/26+2001:db8::/64"]) == 0
    assert capsys.readouterr().out == "10.0.0.85 truncated.trouble\n2001:db8::21 truncated.trouble\n"
    assert main(["trouble", "truncated", "--addresses", "2001:db8::/64"]) == 0
    said = capsys.readouterr().out
    assert "address:       2001:db8::21, port 80, with --app trouble,addresses=2001:db8::/64\n" in said
    assert "-- curl -g -m 10 http://[2001:db8::21]/\n" in said
    assert main(["trouble", "stall", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["addresses"] == ["198.18.1.17"]


def test_the_list_by_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trouble", "--list", "--addresses", "10.1.0.0/16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[::2]] == [f"10.1.0.{trouble.number}" for trouble in TROUBLES]
    assert len({len(line) - len(line.lstrip()) for line in lines[1::2]}) == 1


def test_an_instance_says_which_ports_they_are() -> None:
    app = AppRow("trouble", "trouble", 20001, ["tcp"], 43)
    assert ports(app) == "20001-20043"
    assert ports(STATUS.apps[0]) == "80"
    said = dict(suggestions(msgspec.structs.replace(STATUS, apps=[app])))
    assert said["netemu trouble --list"] == "# ports 20001 to 20043 of 198.18.0.2"
    assert not any("--hosts" in command for command in said)
    app = AppRow("trouble", "trouble", 20001, ["tcp"], 43, ["10.1.0.0/16"])
    said = dict(suggestions(msgspec.structs.replace(STATUS, apps=[app])))
    assert "netemu trouble --hosts --addresses 10.1.0.0/16" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stal"], "trouble stal: there is no such trouble; did you mean 'stall'? `netemu trouble --list` names them"),
        (["10017"], "trouble 10017: there is no such trouble; `netemu trouble --list` names them"),
        (["stall", "--list"], "trouble: a NAME or --list, not both"),
        (["--hosts", "--json"], "trouble: --hosts or --json, not both; --json has the addresses too"),
        (
            ["--hosts", "--addresses", "10.0.0.0/30"],
            "trouble: addresses=10.0.0.0/30: too small for the 43 addresses of troubles; give a /26 or larger",
        ),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trouble", *arguments]) == 2
    assert capsys.readouterr().err == f"netemu: {message}\n"


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
def test_its_line_reads_as_one(trouble: object) -> None:
    """'name: does. A good client … . Time: … .' are sentences, of one line each."""
    assert isinstance(trouble, tuple)
    for text in trouble[2:5]:
        assert text == text.strip(" .")
        assert text.isprintable()
        assert len(text) <= 100
