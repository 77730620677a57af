"""Where in the user's code an error comes from, in words."""

from __future__ import annotations

from pathlib import PurePath
from types import TracebackType
from typing import Any

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.clocks import is_ours
from chaosharness.kernel.world import World


def told(error: BaseException) -> str:
    """Return an error in words: its kind, what it says, and where it was raised.

    The file is named without its folders: the words may be part of a history.
    """
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    trace = _last_of_user(error.__traceback__)
    if trace is None:
        return words
    file = PurePath(trace.tb_frame.f_code.co_filename).name
    return f"{words} ({file}, line {trace.tb_lineno})"


def _last_of_user(trace: TracebackType | None) -> TracebackType | None:
    found = None
    while trace is not None:
        if not is_ours(trace.tb_frame):
            found = trace
        trace = trace.tb_next
    return found


def refuse_hopeless(world: World, what: str, error: BaseException, cure: str) -> None:
    """Call a run off in which no fault struck, and code of the user's fails all the same.

    The caller of the run gets an `InvalidDefinition` whose cause is `error`.
    """
    refusal = InvalidDefinition(f"{what} {told(error)}, and no fault has struck. {cure}")
    refusal.__cause__ = error
    world.refuse(refusal)


def has_handled(raw: list[Any], operation: str) -> bool:
    """Say whether a handler has come to its end at any message so far."""
    return any(event[1] == "handled" and event[3] == operation for event in raw)
