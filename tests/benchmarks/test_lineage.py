"""Molly's seven protocols: no more runs than Molly needs, on each of them."""

import pytest

from benchmarks.lineage import ROWS, runs_to_find

MEASURED = {
    "simple broadcast": 2,
    "retry broadcast": 3,
    "classic broadcast": 5,
    "two-phase commit": 2,
    "two-phase commit with cooperative termination": 2,
    "three-phase commit": 9,
    "replication": 32,
}
MARGIN = 1.15


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.build.__name__)
def test_lineage_finds_it_in_no_more_runs_than_molly(row):
    system = row.build()
    found = runs_to_find(system, "lineage", 200)
    assert 0 < found <= row.molly
    assert found <= int(MARGIN * MEASURED[system.name])


def test_the_sum_is_half_of_mollys():
    assert sum(MEASURED.values()) * 1.9 <= sum(row.molly for row in ROWS) == 108


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.build.__name__)
def test_the_default_search_finds_it_too(row):
    assert runs_to_find(row.build(), "portfolio", 500)
