"""Each property on real systems: it catches its broken twin, alone, and leaves the right one."""

import pytest

from tests.checkers.tales import caught, put_to_the_test
from tests.checkers.twins import TWINS


def named(twin):
    return f"{twin.build.__name__}: {twin.claim.name}"


@pytest.mark.parametrize("twin", TWINS, ids=named)
def test_the_broken_twin_is_caught_by_this_property_alone(twin):
    found = caught(twin.build(broken=True), twin.claims())
    assert list(found) == [twin.claim.name]


@pytest.mark.parametrize("twin", TWINS, ids=named)
def test_the_right_twin_is_left_alone_by_all_properties_under_every_single_fault(twin):
    assert caught(twin.build(broken=False), twin.claims()) == {}


@pytest.mark.parametrize("twin", TWINS, ids=named)
def test_the_right_twin_puts_the_property_to_the_test(twin):
    assert put_to_the_test(twin.build(broken=False), twin.claim)
