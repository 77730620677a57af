"""Where a process dies between two effects, and it is like no crash after either.

Amid calls, a crash is like none after a reply. And once a caller has its answer, what the process
still has to do (a background task, a task or thread that its handler has begun) is owed: a crash
before the first of it is unlike one before the answer, for which somebody asks again.
"""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.faults import Crash
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

_ENDS: Final = frozenset(("handled", "raised", "note"))
"""Events that change nothing."""


def amid_calls(scope: Scope, operation: str) -> None:
    """Have a crash before an operation searched where a call of its own process is on its way.

    Tasks of one handler that run side by side send requests before they have the answer to an
    earlier one: a crash between two of them is like none that strikes after a reply.
    """
    raw, at = scope.world.raw, scope.cause
    while at >= 0 and raw[at][1] == "note":
        at = raw[at][6]
    if at < 0 or raw[at][1] != "call" or raw[at][2] != scope.incarnation.label:
        return
    _search_before(scope.world, operation)


def note_answer(scope: Scope, asked: int) -> None:
    """Take note that a caller gets its answer from a handler now, which may have more to do.

    Args:
        scope: The handler's.
        asked: The event by which it was asked.
    """
    world = scope.world
    world.answers.append((scope.incarnation.label, asked, len(world.raw)))


def after_answers(world: World) -> None:
    """Have a crash searched before the first thing that code did once its caller had the answer.

    Asked at the end of a run. What belongs to a handler is what follows from its own events, in
    its own process.
    """
    if not world.answers:
        return
    raw, surfaces = world.raw, world.surfaces
    asked = {(event, label): at for label, event, at in world.answers}
    follows: dict[int, tuple[int, str]] = {}
    owed = dict(asked)
    for index in range(min(event for event, _ in asked) + 1, len(raw)):
        _, kind, actor, operation, _, _, cause, _ = raw[index]
        by = follows.get(cause, (cause, actor))
        if by not in asked or by[1] != actor:
            continue
        follows[index] = by
        if kind in _ENDS or index < owed.get(by, len(raw)):
            continue
        if operation in surfaces:
            del owed[by]
            _search_before(world, operation)


def _search_before(world: World, operation: str) -> None:
    known = world.surfaces[operation]
    if Crash in known.before and Crash not in known.searched_before:
        searched = (*known.searched_before, Crash)
        world.surfaces[operation] = attrs.evolve(known, searched_before=searched)
