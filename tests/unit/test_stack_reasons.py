"""The vocabulary of decisions: every word of it is spoken somewhere, and means one thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.reasons import Close, Drop, Match, Reason, Reset

ROOT = Path(__file__).parents[2]
SOURCES = "\n".join(path.read_text() for path in (ROOT / "netemu").rglob("*.py") if path.name != "reasons.py")
ALL: list[Reason] = [*Match, *Drop, *Reset, *Close]


@pytest.mark.parametrize("reason", ALL, ids=str)
def test_every_reason_is_given_somewhere(reason: Reason) -> None:
    assert f"{type(reason).__name__}.{reason.name}" in SOURCES


def test_explanations_are_lines_for_people() -> None:
    for reason in ALL:
        assert reason.value == reason.value.strip()
        assert "\n" not in reason.value
        assert (
            reason.value[0].islower()
            or reason.value.split()[0].isupper()
            or reason.value.startswith(("TTL", "TCP", "SO_"))
        )
    for kind in (Match, Drop, Reset, Close):
        assert len({member.value for member in kind}) == len(list(kind))  # equal values would be one member


def test_counting_does_not_look_at_the_value() -> None:
    assert hash(Drop.PAWS) == object.__hash__(Drop.PAWS)
