"""Runs that are called off because code fails without any fault."""

from __future__ import annotations

from typing import Any

from chaosharness.errors import Hopeless
from chaosharness.handlers.fingerprint import frames_of
from chaosharness.handlers.places import at_line, is_theirs, where, words_of
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.kernel.world import World


def refuse_hopeless(world: World, what: str, error: BaseException, cure: str) -> None:
    """Call a run off in which no fault struck, and code of the user's fails all the same.

    The caller of the run gets a `Hopeless` whose cause is `error`.
    """
    words = f"{words_of(error)}{at_line(error)}"
    refusal = Hopeless(f"{what} {words}, and no fault has struck. {cure}")
    refusal.__cause__ = error
    world.refuse(refusal)


def has_handled(raw: list[Any], operation: str) -> bool:
    """Say whether a handler has come to its end at any message so far."""
    return any(event[1] == "handled" and event[3] == operation for event in raw)


def waits_at(scope: Scope) -> str:
    """Return where the first task of a scope waits, ` (at shop/payments.py:24)`; or nothing."""
    for colour in scope.incarnation.guests.values():
        for context, coroutine in colour.waiting():
            if context is None or context.get(SCOPE) is not scope:
                continue
            frames = [frame for frame in frames_of(coroutine) if is_theirs(frame)]
            if frames:
                return f" (at {where(frames[-1])})"
    return ""
