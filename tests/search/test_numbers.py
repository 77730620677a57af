"""The numbers of faults in the books: single faults are put in order before they are made."""

from __future__ import annotations

import pytest

from chaosharness import Schedule
from chaosharness.search.likely_first import LikelyFirst
from chaosharness.search.marks import Sight
from chaosharness.search.numbers import Numbers
from chaosharness.search.odds import does, learned, likely_first
from chaosharness.search.sites import Catalogue, candidates
from models.small.cashier import cashier
from models.small.wallet import wallet
from tests.search.planted import one


def known(run):
    catalogue = Catalogue()
    catalogue.learn(Sight(run))
    return Numbers(catalogue)


def test_numbers_are_given_in_the_order_of_asking_and_stay():
    run = one().run()
    numbers = known(run)
    spots = [(*place, 1) for place in run.attempts]
    given = [numbers.at(spot) for spot in spots]
    assert [number for some in given for number in some] == [*range(sum(map(len, given)))]
    assert [numbers.at(spot) for spot in reversed(spots)] == given[::-1]
    for spot, some in zip(spots, given, strict=True):
        assert [numbers.fault(number) for number in some] == [*numbers.catalogue.at(*spot)]


def test_a_fault_that_nobody_has_made_has_its_number_all_the_same():
    run = one().run()
    numbers, others = known(run), known(run)
    given = [number for place in run.attempts for number in numbers.at((*place, 1))]
    for place in run.attempts:
        others.at((*place, 1))
    assert [others.of(numbers.fault(number)) for number in given] == given


def test_a_fault_of_a_place_that_was_never_asked_for_has_none():
    run = one().run()
    numbers = known(run)
    first, *_ = run.attempts
    fault = numbers.catalogue.at(*first, 2)[0]
    numbers.at((*first, 1))
    assert numbers.of(fault) is None


@pytest.mark.parametrize(("build", "items"), [(cashier, 2), (wallet, 1)])
def test_single_faults_come_in_the_order_that_they_would_have_if_all_were_made(build, items):
    system = build()
    calm = system.run((system.examples * items)[:items])
    made = [*likely_first(candidates(calm), does(calm.history), learned())]
    assert any(one.site.attempt > 1 or one.site.entity > 1 for one in made)
    books = LikelyFirst(faults_max=2)
    assert books.propose() == Schedule()
    books.observe(Sight(calm))
    some = [books.propose() for _ in range(20)]
    assert books.left_to_propose() == len(made) - 20
    assert [*some, *iter(books.propose, None)] == [Schedule([fault]) for fault in made]
    assert books.likely() == made
    assert books.singles == len(made)


def test_a_search_makes_the_faults_that_it_strikes_and_few_others():
    calm = wallet().run()
    books = LikelyFirst(faults_max=2)
    books.propose()
    books.observe(Sight(calm))
    for _ in range(5):
        assert books.propose() is not None
    assert books.left_to_propose() == books.singles - 5
    assert books.singles > 100
    made = [fault for fault in books._numbers._made if fault is not None]
    assert 5 <= len(made) < books.singles // 2


def test_what_another_run_has_struck_is_not_proposed_in_its_turn():
    system = cashier()
    calm = system.run()
    made = candidates(calm)
    likely = [*likely_first(made, does(calm.history), learned())]
    books = LikelyFirst(faults_max=2)
    books.propose()
    books.observe(Sight(calm))
    assert books.propose() == Schedule([likely[0]])
    run = system.run(None, Schedule([likely[3]]))
    assert not run.unused
    books.observe(Sight(run))
    assert books.left_to_propose() == len(likely) - 2
    assert [*iter(books.propose, None)] == [
        Schedule([fault]) for fault in likely[1:] if fault != likely[3]
    ]
