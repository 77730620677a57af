"""Events do not go round in circles."""

from __future__ import annotations

from collections.abc import Callable


def test_the_right_flow_has_an_end(holds: Callable[[str], bool]) -> None:
    assert holds("no event cycle")
