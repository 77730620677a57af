"""A death at every point, on every engine: see `crash_points.py`."""

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from tests.orchestrators.crash_points import ENGINES, doubled, wrong_results

LEAST = {"saga": 70, "temporal": 17, "step functions": 8, "conductor": 29, "airflow": 14}


@pytest.mark.parametrize("item", [0, 1], ids=["delivered", "undone"])
@pytest.mark.parametrize("name", ENGINES)
def test_wherever_somebody_dies_the_result_is_that_of_the_calm_run(name: str, item: int) -> None:
    many, wrong = wrong_results(ENGINES[name], item)
    assert many >= LEAST[name]
    assert wrong == []


@pytest.mark.parametrize("name", ENGINES)
def test_without_keys_what_is_doubled_is_what_the_rules_say_and_nothing_else(name: str) -> None:
    many, found, predicted = doubled(ENGINES[name])
    assert many >= LEAST[name]
    assert found == predicted
    assert 0 < sum(found.values()) < many
