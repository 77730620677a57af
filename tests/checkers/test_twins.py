"""Each property on real systems: it catches its broken twin, alone, and leaves the right one."""

import pytest

from chaosharness.checkers import assumed, idempotent
from tests.checkers.charging_twins import counter, fallback
from tests.checkers.messaging_twins import poisoned, rejects, skips, waits
from tests.checkers.rights import RIGHTS
from tests.checkers.tales import caught, put_to_the_test
from tests.checkers.twins import GENERIC, TWINS


def named(twin):
    return f"{twin.build.__name__}: {twin.claim.name}"


@pytest.mark.parametrize("twin", TWINS, ids=named)
def test_the_broken_twin_is_caught_by_this_property_alone(twin):
    """Or by the outcome of the run as well, where that shows it."""
    found = caught(twin.build(broken=True), twin.claims())
    assert found.keys() == {twin.claim.name, *(["idempotent"] if twin.shows else [])}


@pytest.mark.parametrize("twin", TWINS, ids=named)
def test_the_right_twin_is_left_alone_by_all_properties_under_every_single_fault(twin):
    assert caught(twin.build(broken=False), twin.claims()) == {}


@pytest.mark.parametrize("twin", TWINS, ids=named)
def test_the_right_twin_puts_the_property_to_the_test(twin):
    assert put_to_the_test(twin.build(broken=False), twin.claim)


@pytest.mark.parametrize("build", RIGHTS, ids=lambda build: build.__name__)
def test_a_right_system_that_rightly_differs_from_its_calm_run_is_left_alone(build):
    system = build()
    assert caught(system, [*GENERIC, *assumed(system)]) == {}
    assert put_to_the_test(system, idempotent())


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (counter, {"idempotent"}),
        (skips, {"idempotent"}),
        (rejects, {"idempotent"}),
        (poisoned, {"poison blocks nobody"}),
        (waits, {"never stuck"}),
        (fallback, {"idempotent"}),
    ],
)
def test_without_a_word_of_the_user_the_assumptions_find_what_can_be_found(build, names):
    system = build(broken=True)
    assert caught(system, assumed(system)).keys() == names
    assert caught(build(broken=False), assumed(system)) == {}


def test_what_is_assumed_can_be_switched_off():
    system = counter(broken=True)
    assert caught(system, assumed(system, without="idempotent")) == {}
