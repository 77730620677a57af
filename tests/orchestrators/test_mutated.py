"""A wrong definition is refused in clear words, or it runs to a verdict: no other exception."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.orchestrators.mutated import SUBJECTS, fault_of

SEEDS = range(100)
"""`python -m benchmarks mutated_definitions` plays 2,000 of each engine."""


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_mutated_definition_is_taken_or_refused(name: str) -> None:
    told = {seed: fault_of(SUBJECTS[name], seed) for seed in SEEDS}
    wrong = {seed: why for seed, (how, why) in told.items() if how == "wrong"}
    assert not wrong
    counts = Counter(how for how, _ in told.values())
    assert min(counts["taken"], counts["refused"]) > len(SEEDS) // 10


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_definitions_that_are_mutated_are_right(name: str) -> None:
    for base in SUBJECTS[name].bases():
        assert SUBJECTS[name].play(base).ending.verdict == "quiet"


def test_another_exception_is_seen() -> None:
    def play(given: object) -> None:
        raise KeyError("no")

    how, why = fault_of(type(SUBJECTS["saga"])(SUBJECTS["saga"].bases, play), 1)
    assert (how, why) == ("wrong", "KeyError: 'no'")
