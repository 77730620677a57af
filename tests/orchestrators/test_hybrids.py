"""Hybrids: nothing that befalls who only listens is felt by an order, whichever engine runs it."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from chaosharness import assumed, explore, smallest
from models.hybrid.engines import ENGINES, Mistake, build

NAMED: list[tuple[Mistake, str]] = [
    ("delays", r"the critical path of item 1 took \S+ s, in the calm run \S+ s"),
    ("fails", r"bank did refund\(cents=500\) once, in the calm run never"),
    ("repeats", r"bank did charge\(cents=500\) 2 times, in the calm run once"),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("wrong", "words"), NAMED, ids=[one for one, _ in NAMED])
def test_what_the_mailer_does_to_an_order_is_named_at_one_fault(
    engine: str, wrong: Mistake, words: str
) -> None:
    shop = build(engine, wrong)
    [boundary] = shop.properties
    found = smallest(shop, boundary, faults_max=1)
    assert found is not None
    assert re.fullmatch(words, found.findings[0].summary)
    [fault] = found.schedule
    assert fault.site.operation.startswith("mailer.")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mailer_that_only_listens_is_felt_by_nobody(engine: str) -> None:
    shop = build(engine)
    campaign = explore(shop, faults_max=1)
    assert campaign.counterexamples == ()
    [boundary] = campaign.standings
    assert boundary.tested > 10
    assert campaign.coverage.levels[1].complete


@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_right_with_nothing_claimed_too(engine: str) -> None:
    shop = build(engine)
    campaign = explore(shop, properties=assumed(shop), faults_max=1, runs_max=60)
    assert campaign.counterexamples == ()
