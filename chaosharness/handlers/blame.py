"""Runs that are called off because code fails without any fault."""

from __future__ import annotations

from types import FrameType
from typing import Any

from chaosharness.errors import Hopeless
from chaosharness.handlers.fingerprint import frames_of
from chaosharness.handlers.places import at_line, is_own, is_theirs, where, words_of
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
    """Return where the first task of a scope waits, ` (at shop/payments.py:24)`; or nothing.

    Where none waits in the user's own code, a task that has ended by an error is what is missing:
    a consumer that an application has begun in the background.
    """
    found: list[FrameType] = []
    for colour in scope.incarnation.guests.values():
        for context, coroutine in colour.waiting():
            if context is not None and context.get(SCOPE) is scope:
                found += [frame for frame in frames_of(coroutine) if is_theirs(frame)][-1:]
    own = next(filter(is_own, found), None)
    if own is not None:
        return f" (at {where(own)})"
    if died := _task_that_died(scope):
        return f" (a task of it has ended: {died})"
    return f" (at {where(found[0])})" if found else ""


def _task_that_died(scope: Scope) -> str:
    """Return by which error a task of a process has ended last, and where; or nothing."""
    label = scope.incarnation.label
    for _, kind, whose, _, _, _, _, data in reversed(scope.world.raw):
        if kind == "raised" and whose == label and data.get("task") and data.get("line"):
            return f"{str(data['error']).partition(':')[0]} at {data['line']}"
    return ""
