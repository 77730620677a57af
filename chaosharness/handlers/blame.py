"""Runs that are called off because code fails without any fault."""

from __future__ import annotations

from typing import Any

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import at_line, words_of
from chaosharness.kernel.world import World


def refuse_hopeless(world: World, what: str, error: BaseException, cure: str) -> None:
    """Call a run off in which no fault struck, and code of the user's fails all the same.

    The caller of the run gets an `InvalidDefinition` whose cause is `error`.
    """
    words = f"{words_of(error)}{at_line(error)}"
    refusal = InvalidDefinition(f"{what} {words}, and no fault has struck. {cure}")
    refusal.__cause__ = error
    world.refuse(refusal)


def has_handled(raw: list[Any], operation: str) -> bool:
    """Say whether a handler has come to its end at any message so far."""
    return any(event[1] == "handled" and event[3] == operation for event in raw)
