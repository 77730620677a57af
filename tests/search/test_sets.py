"""Sets of faults, kept in a few bytes each."""

import gc
import sys
from itertools import combinations
from random import Random

import pytest

from chaosharness.search.sets import Sets


@pytest.mark.parametrize("seed", range(10))
def test_it_is_a_set(seed):
    chance = Random(seed)
    every = [key for size in range(4) for key in combinations(range(9), size)]
    chosen = set(chance.sample(every, 60))
    sets = Sets()
    for key in (*chosen, *chosen):
        sets.add(key)
    assert {key for key in every if key in sets} == chosen
    assert len(sets) == 60
    assert [sets.count(size) for size in range(5)] == [
        sum(len(key) == size for key in chosen) for size in range(5)
    ]


def test_sets_of_other_sizes_are_other_sets():
    sets = Sets()
    sets.add((0,))
    assert (0,) in sets
    assert () not in sets
    assert (0, 0) not in sets


def test_all_triples_of_a_hundred_faults_take_less_than_ten_bytes_each():
    sets = Sets()
    for key in combinations(range(100), 3):
        sets.add(key)
    kept = sets._last
    total = sys.getsizeof(kept) + sum(sys.getsizeof(one) for one in gc.get_referents(kept))
    assert sets.count(3) == 161_700
    assert total < 10 * len(sets)
