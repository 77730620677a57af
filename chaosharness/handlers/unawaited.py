"""A call that was never awaited, and so never happened: the run ends with that mistake.

Ports say so when they are dropped (`handlers.later`). Of the user's own coroutines the
interpreter does: it asks a function of `warnings` to say so, which is exchanged here.

Nobody is accused for what an error prevented: a loop over calls that were made beforehand
ends at the first that fails, and those after it are never awaited.
"""

from __future__ import annotations

import dis
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from chaosharness.errors import NotAwaited
from chaosharness.handlers.places import is_own, line_of, user_frame, where
from chaosharness.kernel.scope import SCOPE, Scope

_POP: Final = dis.opmap["POP_TOP"]
_TROUBLE: Final = frozenset(("fault", "raised", "crash"))


keeps_origins = False
"""Whether each port notes where it was called. It costs time, so only a second run does."""


@contextmanager
def keeping_origins() -> Iterator[None]:
    """Have calls remember the line that they were made at."""
    global keeps_origins  # noqa: PLW0603
    depth = sys.get_coroutine_origin_tracking_depth()
    sys.set_coroutine_origin_tracking_depth(1)
    keeps_origins = True
    try:
        yield
    finally:
        keeps_origins = False
        sys.set_coroutine_origin_tracking_depth(depth)


def here(frame: FrameType | None) -> str:
    """Return the line of the user's code that called a port, if that is asked for."""
    return where(user_frame(frame)) if keeps_origins else ""


def port_dropped(scope: Scope, operation: str, at: str, since: int) -> None:
    """Judge that a port was dropped, and never awaited.

    Args:
        scope: Whose code called it.
        operation: What it would have done.
        at: The line of the call, or "".
        since: How many events there were when it was called.
    """
    world = scope.world
    if not scope.incarnation.alive or world.ending is not None:
        return
    frame = user_frame(sys._getframe(2))
    if len(world.raw) == since and _drops_at_once(frame):
        at = at or where(frame)
    elif _excused(scope, since):
        warnings.warn(f"{operation} was never awaited", RuntimeWarning, stacklevel=3)
        return
    refuse_port(scope, operation, at)


def port_kept(scope: Scope, operation: str, at: str, since: int) -> None:
    """Judge that the run is over, and a call is still kept somewhere, not awaited."""
    if scope.world.error is None and not _excused(scope, since):
        refuse_port(scope, operation, at)


def port_used(scope: Scope, operation: str, frame: FrameType) -> None:
    """Judge that code uses the result of a port that it has not awaited."""
    if is_own(frame) and scope.incarnation.alive and scope.world.ending is None:
        refuse_port(scope, operation, where(frame))


def refuse_port(scope: Scope, operation: str, at: str) -> None:
    """Call the run off for a port that was not awaited."""
    line = f" at {at}" if at else ""
    words = (
        f"{operation} was called without await{line}, so it never happened. {scope.place} is "
        "async: write 'await ...' there; or, if the code means to block, get its client with "
        "blocking=True."
    )
    scope.world.refuse(NotAwaited(words, has_line=bool(at)))


def _coroutine_dropped(coroutine: Any) -> None:
    """Stand for the function that warns of a coroutine that was never awaited."""
    scope = SCOPE.get()
    if scope is None:
        _WARN(coroutine)
        return
    world = scope.world
    if not scope.incarnation.alive or world.ending is not None:
        return
    frame = user_frame(sys._getframe(1))
    at_once = frame is sys._getframe(1) and _drops_at_once(frame)
    code, own = coroutine.cr_code, _written_by_user(coroutine)
    if not own and (not at_once or world.struck()):
        # a client's `stop()` on the way out: as in production nothing of it runs, and what
        # comes of that is judged; to call the run off would hide all that this fault leads to
        if at_once:
            said = f"coroutine {coroutine.__qualname__!r} was never awaited"
            warnings.warn(said, RuntimeWarning, stacklevel=2)
        else:
            _WARN(coroutine)
        return
    origin = coroutine.cr_origin
    if origin:
        file, line, _ = origin[0]
        at = line_of(file, line)
    else:
        at = where(frame) if at_once else ""
    if not at_once and (world.struck() or _excused(scope, _first_event(scope))):
        _WARN(coroutine)
        return
    defined = f" ({line_of(code.co_filename, code.co_firstlineno)})" if own else ""
    called = f" at {at}" if at else ""
    fix = (
        "write 'await ...' there"
        if scope.colour.is_async
        else "make it 'async def' and await there, or call a plain function"
    )
    words = (
        f"{scope.place} called {coroutine.__qualname__.rpartition('.')[2]}{defined}, which is "
        f"'async def', without await{called}, so nothing of it ran; {fix}."
    )
    world.refuse(NotAwaited(words, has_line=bool(at)))


def _drops_at_once(frame: FrameType | None) -> bool:
    """Say whether a frame throws a value away just now: `charge(...)`, a line of its own."""
    return frame is not None and frame.f_code.co_code[frame.f_lasti] == _POP


def _written_by_user(coroutine: Any) -> bool:
    frame = coroutine.cr_frame
    return frame is not None and is_own(frame)


def _first_event(scope: Scope) -> int:
    """Return the first event of the code of a scope: what led to it is before that."""
    raw = scope.world.raw
    label = scope.incarnation.label
    at = scope.cause
    while at > 0 and raw[at][2] == label:
        at = raw[at][6]
    return max(at, 0)


def _excused(scope: Scope, since: int) -> bool:
    """Say whether something failed since: an error may have jumped over the await."""
    for event in scope.world.raw[since:]:
        if event[1] in _TROUBLE:
            return True
        data = event[7]
        if data is not None and ("error" in data or data.get("outcome") in ("failed", "unknown")):
            return True
    return False


_WARN: Any = None


def install() -> None:
    """Put it in place, once and for good; outside of runs it warns as ever."""
    global _WARN  # noqa: PLW0603
    _WARN = warnings._warn_unawaited_coroutine  # type: ignore[attr-defined]
    warnings._warn_unawaited_coroutine = _coroutine_dropped  # type: ignore[attr-defined]
