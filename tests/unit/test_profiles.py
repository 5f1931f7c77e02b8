"""Named profiles, and `netemu profile`."""

from __future__ import annotations

import json

import pytest

from netemu.cli import main
from netemu.link.profiles import PROFILES, ProfileError, find_profile
from netemu.link.ways import parse_ways
from netemu.link.words import parse_words


def test_the_kinds_of_access_that_people_ask_for() -> None:
    wanted = (
        "dial-up 2g edge 3g lte lte-bad 5g wifi wifi-bad dsl cable fiber satellite-geo leo transatlantic datacenter"
    )
    assert set(PROFILES) >= set(wanted.split())


@pytest.mark.parametrize("name", PROFILES)
def test_each_says_where_its_figures_come_from(name: str) -> None:
    """A year or a file where it is published, or frankly that it is ours."""
    source = PROFILES[name].source
    assert "our choice" in source or "20" in source or "[" in source or "agreement" in source


def test_a_name_that_is_not_known() -> None:
    assert find_profile("LTE").name == "lte"
    with pytest.raises(ProfileError, match="there is no profile 'lte-bda'; did you mean 'lte-bad'"):
        find_profile("lte-bda")
    with pytest.raises(ProfileError, match="there is no profile 'x'; give one of dial-up, 2g, "):
        find_profile("x")


@pytest.mark.parametrize("name", PROFILES)
def test_the_words_are_words_of_a_link(name: str) -> None:
    asked = parse_words(PROFILES[name].inward.split()), parse_words(PROFILES[name].outward.split())
    assert parse_ways(["profile", name]) == asked
    for way in asked:
        assert way.delay is not None
        assert way.keep_order or not way.delay.jitter  # no access network overtakes itself


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "list"]) == 0
    assert "\nlte            12/12 Mbit/s, 70 ms round trip\n" in capsys.readouterr().out
    assert main(["profile", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(PROFILES)
    assert rows[0]["inward"] == "rate 30kbit delay 60ms"


def test_showing_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "show", "dial-up"]) == 0
    assert capsys.readouterr().out == (
        "dial-up  a 56k modem: 49/30 kbit/s, 120 ms round trip\n"
        "in       rate 30kbit delay 60ms\n"
        "out      rate 49kbit delay 60ms\n"
        "source   WebPageTest, www/settings/connectivity.ini.sample, [Dial]\n"
    )
    assert main(["profile", "show", "dial-up", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "dial-up"


@pytest.mark.parametrize("arguments", [["show", "x"], ["show"], ["lst"], [], ["list", "x"]])
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("netemu: ")
    assert captured.err.count("\n") == 1
