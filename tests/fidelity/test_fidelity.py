"""Every knob and queue discipline keeps what it promises, over fewer packets than in the table that ``make fidelity`` writes."""

from __future__ import annotations

import pytest
from fidelity import MEASURES, TABLE
from row import LEAST, MOST, Row, table

PACKETS = 40_000


@pytest.mark.parametrize("number", range(len(MEASURES)))
def test_it_does_what_was_asked(number: int) -> None:
    rows = MEASURES[number](PACKETS)
    assert all(row.is_met for row in rows), table(rows, PACKETS)
    committed = TABLE.read_text()
    for row in rows:
        assert row.words in committed, "not in the table: make fidelity"


def test_the_table_is_of_what_is_right() -> None:
    lines = TABLE.read_text().splitlines()
    assert "NOT MET" not in TABLE.read_text()
    assert sum(line.endswith(" ok") for line in lines) > len(MEASURES)


def test_a_row_knows_when_it_is_not_met() -> None:
    assert Row("w", "x", 1.0, 1.1, 0.2).is_met
    assert not Row("w", "x", 1.0, 1.3, 0.2).is_met
    assert not Row("w", "x", 1.0, 0.7, 0.2).is_met
    assert Row("w", "x", 1.0, 0.7, side=MOST).is_met
    assert not Row("w", "x", 1.0, 1.1, side=MOST).is_met
    assert Row("w", "x", 1.0, 1.1, side=LEAST).is_met
    assert not Row("w", "x", 1.0, 0.9, side=LEAST).is_met
    assert "NOT MET" in table([Row("w", "x", 1.0, 0.9, side=LEAST)])
