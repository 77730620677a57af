"""The queue: against its formulas, and what outages do to it."""

import pytest

from chaosharness.capacity.chance import Chance
from chaosharness.capacity.load import Load, Outage
from chaosharness.capacity.queueing import Measured, simulate
from chaosharness.errors import InvalidDefinition
from tests.capacity.test_costs import load

SHARDS = 5


def small(engine: str = "temporal", **options: float) -> Load:
    """One part in 400 of the load, on as many of the shards."""
    return load(engine, **{"rate": 25.0} | options)


def away(seconds: float, timeout_s: float, engine: str = "temporal", seed: int = 0) -> Measured:
    outage = Outage(seconds=seconds, timeout_s=timeout_s)
    return simulate(small(engine), SHARDS, outage=outage, workflows=500, seed=seed)


def test_it_is_as_busy_and_as_slow_as_the_formulas_say() -> None:
    for shards in (10, SHARDS):
        seen = simulate(small(), shards, workflows=1_500)
        assert seen.utilisation == pytest.approx(small().utilisation(shards), rel=0.05)
        assert seen.mean_ms == pytest.approx(small().mean_ms(shards), rel=0.12)
        assert 365 <= seen.p50_ms <= seen.mean_ms * 1.05 <= seen.p99_ms <= seen.longest_ms


def test_alone_on_its_shard_a_workflow_waits_for_nothing() -> None:
    seen = simulate(small(rate=0.01), 32, workflows=40)
    assert seen.p50_ms == 23 * 5 + 5 * 50
    assert seen.duplicated == seen.lost == seen.delayed == 0


def test_the_busier_the_slower() -> None:
    times = [simulate(small(), shards, workflows=1_000).p99_ms for shards in (10, 5, 4)]
    assert times == sorted(times)
    assert times[-1] > 2 * times[0]


@pytest.mark.parametrize(
    ("seconds", "timeout_s", "duplicated", "lost"),
    [
        (1, 3, False, False),
        (5, 3, True, False),  # the timeout is over before the store is back
        (5, 10, False, False),
        (5, 60, False, False),
        (9, 60, True, True),  # a worker gives up after 10 s, before its next try
        (20, 3, True, True),
        (20, 60, True, True),
    ],
)
def test_timeout_against_outage_says_what_runs_twice(
    seconds: float, timeout_s: float, duplicated: bool, lost: bool
) -> None:
    seen = away(seconds, timeout_s)
    assert (seen.duplicated > 0, seen.lost > 0) == (duplicated, lost)
    assert seen.delayed > 25 * seconds * 0.8
    assert seen.longest_ms > seconds * 1_000


def test_what_is_lost_runs_again_after_its_timeout() -> None:
    seen = away(9, 60)
    assert seen.duplicated == seen.lost
    assert 60_000 < seen.longest_ms < 65_000


def test_about_as_many_run_twice_as_are_at_work() -> None:
    """Little's law: rate × n × step; and those whose last transaction was under way."""
    found = [away(5, 3, seed=seed).duplicated for seed in range(8)]
    assert small().in_flight == 6.25
    assert 5 < sum(found) / len(found) < 9


def test_who_repeats_its_own_writes_loses_nothing_and_does_nothing_twice() -> None:
    seen = away(20, 3, "dbos")
    assert (seen.duplicated, seen.lost) == (0, 0)
    assert seen.delayed > 400


def test_every_workflow_ends_whatever_happens() -> None:
    calm, struck = simulate(small(), SHARDS, workflows=500), away(20, 3)
    assert calm.workflows > 400
    assert struck.workflows > 25 * 20


def test_it_grows_calm_again_after_about_what_the_formula_says_or_later() -> None:
    for seconds in (5, 20):
        seen = away(seconds, 60)
        assert 0.4 * small().drained_s(SHARDS, seconds) <= seen.calm_after_s <= 60


def test_counts_are_of_all_shards() -> None:
    outage = Outage(seconds=5, timeout_s=3)
    whole = simulate(load(rate=320.0), 64, outage=outage, workflows=500)
    assert whole.scale == 2
    assert whole.duplicated == pytest.approx(80, rel=0.5)


def test_a_seed_says_all() -> None:
    assert away(5, 3, seed=1) == away(5, 3, seed=1)
    assert away(5, 3, seed=1) != away(5, 3, seed=2)


def test_chance_is_even() -> None:
    chance = Chance(7)
    drawn = [chance.fraction() for _ in range(4_000)]
    assert 0 < min(drawn) < 0.01 < 0.99 < max(drawn) <= 1
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.02)
    gaps = [chance.gap_us(10) for _ in range(4_000)]
    assert sum(gaps) / len(gaps) == pytest.approx(100_000, rel=0.05)
    assert Chance(0).fraction() == 0.8833108082136426  # the same everywhere


def test_shards_that_cannot_keep_up_are_refused_with_how_many_could() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        simulate(load(), 1_000)
    assert "1,000 shards cannot keep up with 230,000 transactions" in str(caught.value)
    assert "at least 1,150 are needed, and 2,048 are advised" in str(caught.value)
    with pytest.raises(InvalidDefinition, match="shards is a whole number from 1, not 0"):
        simulate(load(), 0)
