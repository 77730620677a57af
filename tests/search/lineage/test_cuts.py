"""The cheapest sets that hit every way: compared with all sets there are."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from chaosharness.search.lineage.cuts import MAYBE, STALE, Support, cuts


def support(*numbers, context=()):
    way = sum(1 << number for number in numbers)
    return Support(way, way, sum(1 << number for number in context))


def found(supports, faults_max=3, price=lambda number: 10, reach=lambda number: 0, deaths=0):
    prices = [(price(number), 1 << number) for number in range(64)]
    made = cuts(supports, prices, reach, faults_max, deaths=deaths)
    return [(cost, frozenset(number for number in range(64) if chosen >> number & 1))
            for cost, chosen in made]  # fmt: skip


def sets(supports, **words):
    return [chosen for _, chosen in found(supports, **words)]


def test_each_fault_of_one_way_cuts_it_the_last_first():
    assert sets([support(0, 1, 2)]) == [{2}, {1}, {0}]


def test_what_two_ways_have_in_common_comes_before_pairs():
    assert sets([support(0, 1), support(1, 2)])[0] == {1}


def test_a_way_that_a_fault_brought_about_is_cut_besides():
    retried = support(2, 3, context=[1])
    assert sets([support(0, 1), retried]) == [{0}, {1, 3}, {1, 2}]


def test_what_is_new_is_struck_before_what_was_there_with_fewer_faults():
    costs = {chosen: cost for cost, chosen in found([support(0, 1, 2), support(0, 3, context=[1])])}
    assert costs[frozenset({0})] == 10
    assert costs[frozenset({1, 3})] == 20
    assert costs[frozenset({2})] == 10 + MAYBE
    assert frozenset({0, 1}) not in costs or costs[frozenset({0, 1})] >= 20 + STALE


def test_who_dies_early_is_not_cut_later():
    dead = {0: 1 << 1 | 1 << 2}
    ways = [support(0, 3), support(1, 4)]
    assert {0} in sets(ways, reach=lambda number: dead.get(number, 0))
    assert {0, 1} not in sets(ways, reach=lambda number: dead.get(number, 0))


def test_a_second_death_costs_more_than_a_loss():
    ways = [support(0, 1), support(2, 3)]
    first, *_ = sets(ways, deaths=0b1010)
    assert len(first & {1, 3}) <= 1


def test_no_set_has_more_faults_than_it_may():
    assert sets([support(0), support(1), support(2)], faults_max=2) == []


def test_where_nothing_is_known_nothing_is_cut():
    assert sets([]) == []


@pytest.mark.parametrize("seed", range(40))
def test_it_finds_every_smallest_set(seed):
    chance = Random(seed)
    ways = [
        support(*chance.sample(range(8), chance.randint(1, 4))) for _ in range(chance.randint(1, 4))
    ]
    hitting = [
        frozenset(chosen)
        for size in range(1, 4)
        for chosen in combinations(range(8), size)
        if all(any(way.way >> number & 1 for number in chosen) for way in ways)
    ]
    minimal = {one for one in hitting if not any(other < one for other in hitting)}
    answered = sets(ways)
    assert minimal <= set(answered) <= set(hitting)
    assert len(answered) == len(set(answered))
