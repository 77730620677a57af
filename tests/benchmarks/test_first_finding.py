"""The exact figures of the search: runs to the first finding, with odds that never saw the family.

They say so when a change of the planner, the table or the judge makes the search worse. The
bounds leave a margin above what `python -m benchmarks.first_finding` prints.
"""

from statistics import median

import pytest

from benchmarks.bugs import of_models
from benchmarks.first_finding import by_portfolio, geometric_mean, planted
from benchmarks.learn_odds import TABLE, kept, learn, odds_without, written


def test_the_table_is_what_the_kept_counts_teach():
    assert TABLE.read_text("utf-8") == written(learn(kept()))


def test_a_family_that_is_left_out_teaches_nothing():
    known = kept()
    families = {one.family for one in known}
    assert len(families) >= 5
    for family in families:
        others = [one for one in known if one.family != family]
        assert odds_without(known, family).cells == learn(others)


@pytest.mark.slow
def test_the_first_finding_on_the_broken_twins():
    bugs = list(of_models())
    assert {bug.name for bug in bugs} <= {one.name for one in kept()}, "learn_odds --count"
    found = list(by_portfolio(bugs, kept(), seed=0))
    assert [one.name for one in found if not one.judged] == []
    assert all(one.faults <= 2 for one in found)
    assert geometric_mean(one.judged for one in found) <= 7
    assert max(one.judged for one in found) <= 260


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("order.relay_ends_at_the_first_error", 20),
        ("order.check_then_set_race", 30),
        ("saga.two_orchestrators_resume", 30),
        ("wallet.counts_in_python", 30),
    ],
)
def test_a_sweep_finds_what_no_other_family_was_broken_by(name, most):
    """They took 556, 146, 202 and 40 runs before one kind of fault struck many places at once."""
    bugs = [one for one in of_models() if one.name == name]
    for seed in range(2):
        (found,) = by_portfolio(bugs, kept(), seed)
        assert 0 < found.judged <= most
        assert found.faults == 1


@pytest.mark.parametrize(("faults", "most"), [(1, 12), (2, 50), (3, 125)])
def test_runs_to_a_minimal_counterexample_of_a_planted_bug(faults, most):
    found = [planted(faults, seed) for seed in range(10)]
    assert all(one.faults == faults for one in found), "exact"
    assert median(one.judged + one.shrunk for one in found) <= most
