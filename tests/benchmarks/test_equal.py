"""The scenario with our guarantees by hand: it does what its row of the table says."""

import asyncio

from benchmarks.equal import Equal, faults
from benchmarks.peers import CRASHES_IN_100, DELIVERIES, MESSAGES

NONE = frozenset()


def ran(drawn, *, right=False):
    made = Equal(MESSAGES, 3, 0.0, 0.0, drawn, right)
    asyncio.run(made.main())
    return made


def kinds(made, kind):
    return [event for event in made.history if event[1] == kind]


def test_calm_does_everything_once():
    made = ran(NONE)
    assert not made.twice()
    assert len(kinds(made, "effect")) == len(kinds(made, "ack")) == MESSAGES
    assert not kinds(made, "crash")


def test_a_death_after_the_effect_does_it_twice_unless_somebody_looks():
    drawn = frozenset({("after", 2, 1)})
    broken, right = ran(drawn), ran(drawn, right=True)
    assert broken.twice()
    assert not right.twice()
    assert broken.effects.count(2) == 2
    assert len(kinds(broken, "crash")) == len(kinds(right, "crash")) == 1


def test_a_death_before_the_effect_does_no_harm():
    made = ran(frozenset({("before", 2, 1)}))
    assert not made.twice()
    assert [event[4] for event in kinds(made, "deliver") if event[3] == 2] == [1, 2]


def test_each_event_was_caused_by_an_earlier_one():
    made = ran(frozenset({("after", 2, 1), ("before", 5, 1)}))
    for number, event in enumerate(made.history):
        cause = event[5]
        assert cause < number
        assert cause >= 0 or event[1] == "publish"


def test_faults_are_values_that_a_seed_draws():
    one = faults(1, messages=MESSAGES, attempts=DELIVERIES, chances=CRASHES_IN_100)
    assert one == faults(1, messages=MESSAGES, attempts=DELIVERIES, chances=CRASHES_IN_100)
    assert {place for seed in range(99) for place, _, _ in _drawn(seed)} == {"before", "after"}


def _drawn(seed):
    return faults(seed, messages=MESSAGES, attempts=DELIVERIES, chances=CRASHES_IN_100)
