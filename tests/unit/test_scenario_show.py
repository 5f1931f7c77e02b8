"""`netemu scenario`, and the examples in scripts/scenarios."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_scenario_reader import GOOD

from netemu.cli import main
from netemu.cli.scenario import HELP
from netemu.router.nat_config import KEYS
from netemu.scenario.files import Files
from netemu.scenario.reader import parse_scenario, read_scenario
from netemu.scenario.show import toml

EXAMPLES = Path(__file__).parents[2] / "scripts" / "scenarios"


@pytest.fixture
def good(tmp_path: Path) -> str:
    (tmp_path / "more.py").write_text("def prepare(network): ...\ndef mangle(packet): return packet\n")
    (tmp_path / "down.csv").write_text("time_s,rate_mbit\n0,10\n5,1\n9,0\n")
    (tmp_path / "s.toml").write_text(GOOD)
    return str(tmp_path / "s.toml")


def test_there_are_the_three_examples() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.toml")} >= {"three-routers", "home", "commuter"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_an_example_is_right_and_its_export_says_the_same(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "check", str(path)]) == 0
    assert ": all right: " in capsys.readouterr().out
    scenario = read_scenario(str(path))
    assert replace(parse_scenario(toml(scenario), files=Files(path.parent)), source=scenario.source) == scenario


def test_the_exported_file_is_the_same_scenario(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "export", good]) == 0
    text = capsys.readouterr().out
    scenario = read_scenario(good)
    again = parse_scenario(text, good, Files(Path(good).parent))
    assert again == scenario
    assert toml(again) == text
    assert 'in = "delay 5ms loss 1% rate 12mbit"' in text  # no profile any more
    assert 'ends = ["r1 198.19.0.1/30", "r2 198.19.0.2/30"]' in text


def test_check(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "check", good]) == 0
    assert capsys.readouterr().out == f"{good}: all right: 1 host, 1 TUN, 2 routers, 3 links, 3 changes\n"
    assert main(["scenario", "check", good, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "problems": []}


def test_check_says_all_that_is_wrong(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(good).write_text(GOOD.replace("mtu = 1400", "mtu = 1").replace("seed = 7", "seed = -7"))
    lines = [
        f"{good}:2: seed: -7 will not do; give a whole number from 0 to {2**64 - 1}",
        f"{good}:10: host.web.mtu: 1 will not do; give a whole number from 576 to 65535 bytes",
    ]
    assert main(["scenario", "check", good]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.splitlines()) == ("", lines)
    assert main(["scenario", "check", good, "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"ok": False, "problems": lines}
    for verb in ("show", "export"):
        assert main(["scenario", verb, good]) == 2
        captured = capsys.readouterr()
        assert captured.err == f"netemu: {lines[0]} (1 more: see `netemu scenario check`)\n"


def test_show(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "show", good]) == 0
    assert (
        capsys.readouterr().out
        == """all there is (seed 7)
script more.py:prepare

NODE    KIND    ADDRESSES                  MORE
web     host    10.0.2.2/24                web:80, echo:7, flavour freebsd, net.ipv4.tcp_sack=0, mtu 1400
client  tun     10.0.1.2/24                namespace client
r1      router  10.0.1.1/24 198.19.0.1/30  NAT for lan, firewall of 2 lines
r2      router  198.19.0.2/30 10.0.2.1/24  route 10.0.1.0/24 dev core

LINK  FROM    TO   COST  IN                             OUT
lan   client  r1   1     delay 5ms loss 1% rate 12mbit  delay 35ms loss 1% rate 12mbit
core  r1      r2   1/5   -                              trace down.csv loop
wan   r2      web  1     -                              -

LINK  RULE
wan   out: tcp.flags.syn drop first 2
wan   both: udp call more.py:mangle

ROUTER  PREFIX         LINK  NEXT
r1      10.0.1.0/24    lan   -
r1      198.19.0.0/30  core  -
r1      10.0.2.0/24    core  r2
r2      198.19.0.0/30  core  -
r2      10.0.2.0/24    wan   -
r2      10.0.1.0/24    core  r1

TIME  LINK  CHANGE
10s   lan   set out loss 5%
20s   wan   down in
60s   lan   rule in: icmp drop
"""
    )
    assert main(["scenario", "show", good, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["nodes"][1] == {
        "name": "client",
        "kind": "tun",
        "addresses": ["10.0.1.2/24"],
        "notes": ["namespace client"],
    }
    assert rows["routes"][2] == {"router": "r1", "prefix": "10.0.2.0/24", "link": "core", "next": "r2"}
    assert rows["timeline"][2] == {"time": "60s", "link": "lan", "change": "rule in: icmp drop"}


def test_the_example_of_the_help_is_right() -> None:
    _, _, example = HELP.partition("and a server:\n")
    scenario = parse_scenario(_example(example))
    assert [len(what) for what in (scenario.nodes, scenario.links, scenario.timeline)] == [3, 2, 1]
    _, _, more = example.partition("called as their links):\n")
    router = example.replace("[router.r1]\n", "[router.r1]\n" + "".join(more.splitlines(keepends=True)[:3]))
    (read,) = parse_scenario(_example(router)).routers()
    assert (read.nat, len(read.routes), len(read.firewall)) == (
        {"inside": ["lan"], "mapping": "endpoint-independent", "udp_timeout": "300s"},
        1,
        3,
    )


def test_the_help_names_every_key_of_a_nat() -> None:
    assert not [key for key in KEYS if key not in HELP]


def _example(text: str) -> str:
    """What stands before the next paragraph."""
    return text.partition("\b")[0]


def test_diagrams(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "export", good, "--to", "mermaid"]) == 0
    text = capsys.readouterr().out
    assert text.startswith('graph LR\n  n0["web<br/>10.0.2.2/24"]\n  n1(["client<br/>10.0.1.2/24"])\n  n2{{"r1<br/>')
    assert '\n  n2 ---|"core<br/>in: -<br/>out: trace down.csv loop"| n3\n' in text
    assert main(["scenario", "export", good, "--to", "dot"]) == 0
    text = capsys.readouterr().out
    assert '\n  "r1" [shape = hexagon, label = "r1\\n10.0.1.1/24\\n198.19.0.1/30"];\n' in text
    assert '\n  "r2" -- "web" [label = "wan"];\n' in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("arguments", [["check"], ["chekc", "x"], ["export", "x", "--to", "png"], []])
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("netemu: ")
    assert captured.err.count("\n") == 1


def test_a_missing_file_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "check", "no/such.toml"]) == 1
    assert capsys.readouterr().err == "netemu: no/such.toml: No such file or directory\n"
