"""On which line each key of a TOML file stands."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netemu.scenario.lines import Path, key_lines
from netemu.scenario.show import _key, _value

TEXT = (
    r"""# a comment = 1
top = 1            # "no" = 'key'

[host.web]
address = [
    "10.0.0.1/24", # the first
    "]", '"', "a\"b"]
"quoted.key" = 'it"""
    + "'"
    + r'''
net.ipv4.tcp_sack = 0
inline = { a = 1, b = { "c" = [1, { d = 2 }] }, e.f = [] }

[[at]]
text = """
x = 1
[no]
""" # two quotes may stand at the end
again = """a""""
time = 07:32:00
  [at.more]
  deep = 1
[[at]]
raw = '''
    + "'''\n[[at]]\n''''"
    + r"""
[ "odd name" . x ]
y = 1"""
)


def test_every_key_has_its_line() -> None:
    data = tomllib.loads(TEXT)
    assert data["at"][0]["text"].startswith("x = 1\n")
    lines = key_lines(TEXT)
    expected: dict[Path, int] = {
        ("top",): 2,
        ("host",): 4,
        ("host", "web"): 4,
        ("host", "web", "address"): 5,
        ("host", "web", "address", 0): 6,
        ("host", "web", "address", 1): 7,
        ("host", "web", "address", 2): 7,
        ("host", "web", "quoted.key"): 8,
        ("host", "web", "net"): 9,
        ("host", "web", "net", "ipv4", "tcp_sack"): 9,
        ("host", "web", "inline", "b", "c", 1, "d"): 10,
        ("host", "web", "inline", "e", "f"): 10,
        ("at", 0): 12,
        ("at", 0, "text"): 13,
        ("at", 0, "again"): 17,
        ("at", 0, "time"): 18,
        ("at", 0, "more"): 19,
        ("at", 0, "more", "deep"): 20,
        ("at", 1): 21,
        ("at", 1, "raw"): 22,
        ("odd name", "x"): 25,
        ("odd name", "x", "y"): 26,
    }
    assert {path: lines.get(path) for path in expected} == expected


def paths(value: object, path: Path = ()) -> list[Path]:
    """Of all keys and elements."""
    found: list[Path] = []
    if isinstance(value, dict):
        for key, below in value.items():
            found += [(*path, key), *paths(below, (*path, key))]
    elif isinstance(value, list):
        for number, below in enumerate(value):
            found += [(*path, number), *paths(below, (*path, number))]
    return found


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.one_of(st.integers(-99, 99), st.booleans(), TEXTS),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(TEXTS, below, max_size=3)),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_no_key_is_missed_and_none_invented(data: dict[str, object]) -> None:
    text = "".join(f"{_key(key)} = {_value(value)}\n" for key, value in data.items())
    assert tomllib.loads(text) == data  # what the canonical writer writes is TOML, too
    lines = key_lines(text)
    assert set(lines) == set(paths(data))
    assert all(lines[(key,)] == number for number, key in enumerate(data, 1))


@pytest.mark.parametrize("name", ["three-routers", "home", "commuter"])
def test_of_the_examples(name: str) -> None:
    from pathlib import Path as File

    text = (File(__file__).parents[2] / "scripts" / "scenarios" / f"{name}.toml").read_text()
    lines = key_lines(text)
    for path in paths(tomllib.loads(text)):
        key = path[-1]
        if isinstance(key, str) and path in lines:
            assert key in text.splitlines()[lines[path] - 1], path
