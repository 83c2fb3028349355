"""The report's figures as data, and what of ours stands beside each column."""

from __future__ import annotations

import pytest

from dverge.evaluation.protocols import EvaluationConfig, Protocol
from dverge.reproduction.printed import (
    DVERGE,
    DVERGE_ADVT,
    DVERGE_ADVT_25,
    REPORT_TABLES,
    SETTINGS,
    SINGLE,
    VANILLA,
)


def test_the_tables_are_as_printed() -> None:
    """Some lines, against the report's text."""
    assert VANILLA.rows["member-1"] == (61.76, 4.10, 0.781, 43.26)
    assert DVERGE.rows["mixture"] == (67.38, 34.67, 10.55, 44.82)
    assert DVERGE_ADVT_25.rows["mixture"] == (63.87, 31.54, 25.98, 57.03)
    assert DVERGE_ADVT.rows["member-1"] == (61.17, 27.25, 21.58, 53.91)
    assert [table.number for table in REPORT_TABLES] == [1, 2, 3, 3]
    assert [len(table.rows) for table in REPORT_TABLES] == [3, 4, 4, 4]


@pytest.mark.parametrize("protocol", SETTINGS)
def test_a_column_is_one_measurement_of_its_protocol(protocol: Protocol) -> None:
    known = EvaluationConfig(("any",), protocol).known_measurements()
    single = SINGLE if protocol is Protocol.STANDARD else {}
    for attack, setting in [*SETTINGS[protocol].values(), *single.values()]:
        fitting = [m for m in known if setting.items() <= m.parameters().items()]
        assert [m.attack for m in fitting].count(attack) == 1
