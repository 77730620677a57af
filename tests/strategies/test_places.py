import subprocess
import sys

import pytest

from chaosharness.errors import InvalidDefinition
from chaosharness.faults import EVERY_KIND, Crash, Delay, ErrorReply, LostReply
from chaosharness.strategies import places as survey
from chaosharness.strategies.places import places
from chaosharness.system import OBSERVERS, System
from tests.strategies.shops import CHARGE, REFUND, deaf, shop


def test_operations_of_the_calm_run_are_known_in_their_order():
    operations = list(dict.fromkeys(place.operation for place in places(shop())))
    assert operations.index("bus.orders/deliver to payments") < operations.index(CHARGE)


def test_a_compensation_is_known_although_calm_never_gets_there():
    system = shop()
    assert REFUND not in system.calm().surfaces
    assert REFUND in {place.operation for place in places(system)}


def test_a_place_has_the_kinds_a_search_tries_there_mildest_first():
    kinds = {place.phase: place.kinds for place in places(shop()) if place.operation == CHARGE}
    assert {ErrorReply, Delay} < set(kinds["before"])
    assert {Crash, LostReply} < set(kinds["after"])
    assert Crash not in kinds["before"]
    for found in kinds.values():
        assert list(found) == [kind for kind in EVERY_KIND if kind in found]


def test_a_client_is_outside_and_never_crashes():
    kinds = {
        kind
        for place in places(shop())
        if place.operation.startswith("client.")
        for kind in place.kinds
    }
    assert kinds
    assert Crash not in kinds


def test_what_belongs_to_no_item_is_a_place_of_its_own():
    starts = [place for place in places(shop()) if place.operation == "payments/start"]
    assert [place.own for place in starts] == [True]


def test_learning_happens_once():
    system = shop()
    assert places(system) is places(system)


def test_learning_is_bounded(monkeypatch):
    monkeypatch.setattr(survey, "RUNS_MAX", 3)
    runs = []
    system = shop()
    real = system.run
    monkeypatch.setattr(system, "run", lambda *a, **w: runs.append(a) or real(*a, **w))
    places(system)
    assert len(runs) <= 1 + 3 + 2  # and the calm run again, at once and at the end


def test_nobody_observes_the_runs_it_learns_from():
    seen = []
    token = OBSERVERS.set((seen.append,))
    try:
        places(shop())
    finally:
        OBSERVERS.reset(token)
    assert seen == []


def test_what_is_learned_does_not_depend_on_the_hash_seed():
    code = (
        "from tests.strategies.shops import shop\n"
        "from chaosharness.strategies.places import places\n"
        "print(places(shop()))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_system_without_an_entry_is_refused():
    with pytest.raises(InvalidDefinition, match=r"@empty\.entry\(examples"):
        places(System("empty"))


def test_a_system_without_examples_is_refused():
    with pytest.raises(InvalidDefinition, match="no examples to learn its sites from"):
        places(shop(examples=[]))


def test_a_system_without_ports_is_refused():
    with pytest.raises(InvalidDefinition, match="nothing in system 'deaf' can be struck"):
        places(deaf())
