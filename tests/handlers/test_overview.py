"""All that modules hold is compared at once, by identity and never by equality."""

from __future__ import annotations

from typing import Any

import pytest

from chaosharness.handlers import overview
from chaosharness.handlers.held import Mapping
from chaosharness.handlers.overview import Look


class Contrary:
    """Says that it equals everything, and must not be asked."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("asked whether it is equal")

    __hash__ = object.__hash__


@pytest.fixture(params=["by address", "one by one"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "one by one":
        monkeypatch.setattr(overview, "_addresses", overview._one_by_one)
    else:
        assert overview._addresses is overview._at_once  # on this Python the quick way is taken


def looked_at(**held: Any) -> tuple[dict[str, Any], Look]:
    table = dict(held)
    return table, Look([Mapping("shop.TABLE", table), Mapping("shop.OTHER", {"kept": Contrary()})])


@pytest.mark.usefixtures("_both_ways")
def test_what_is_left_alone_is_as_it_was() -> None:
    _, look = looked_at(a=[1], b=Contrary())
    first = look.take()
    assert look.changed(first) == []
    assert look.take() is first


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("held", [[1], 1_000_000, Contrary()])
def test_another_object_that_is_equal_is_another(held: Any) -> None:
    table, look = looked_at(a=[1], b=Contrary())
    first = look.take()
    table["a"] = held
    assert look.changed(first) == [0]


@pytest.mark.usefixtures("_both_ways")
def test_a_key_that_takes_the_place_of_another_is_seen() -> None:
    """Its value, its place and how many there are stay: a table of what was seen does that."""
    table, look = looked_at(seen=True)
    first = look.take()
    del table["seen"]
    table["other"] = True
    assert look.changed(first) == [0]


@pytest.mark.usefixtures("_both_ways")
def test_what_moves_between_two_tables_is_seen_in_both() -> None:
    one: dict[str, Any] = {"a": 1, "b": 2}
    other: dict[str, Any] = {"c": 3}
    look = Look([Mapping("shop.ONE", one), Mapping("shop.OTHER", other)])
    first = look.take()
    del one["b"]
    other.clear()
    other.update(b=2, c=3)
    assert look.changed(first) == [0, 1]
    assert look.take() is not first
