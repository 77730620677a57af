"""A third party is held against a copy of what it was: nothing that it does may be missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chaosharness.externals.external import _state


class Holder:
    """Holds one thing."""

    def __init__(self, held: Any) -> None:
        self.held = held


@pytest.mark.parametrize(
    ("held", "change"),
    [
        ({"o1": 5}, lambda held: held.update(o1=6)),
        ({"o1": {"cents": [5]}}, lambda held: held["o1"]["cents"].append(6)),
        ([["o1"]], lambda held: held[0].append("o2")),
        (({"o1"},), lambda held: held[0].add("o2")),
        ([Holder(["o1"])], lambda held: held[0].held.append("o2")),
    ],
)
def test_a_change_deep_inside_is_seen(held: Any, change: Callable[[Any], object]) -> None:
    holder = Holder(held)
    before = _state(holder)
    change(held)
    assert before != vars(holder)


def test_what_stays_is_as_it_was() -> None:
    holder = Holder({"o1": ({"a", "b"}, [1, 2.5, None, b"x"]), "o2": {}})
    assert _state(holder) == vars(holder)


def test_what_cannot_be_copied_is_never_as_it_was() -> None:
    holder = Holder(None)
    holder.held = (one for one in "ab")
    assert _state(holder) != vars(holder)
