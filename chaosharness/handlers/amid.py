"""Where a process dies between two requests: amid calls, a crash is like none after a reply."""

from __future__ import annotations

import attrs

from chaosharness.faults import Crash
from chaosharness.kernel.scope import Scope


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
    surfaces = scope.world.surfaces
    known = surfaces[operation]
    if Crash in known.before and Crash not in known.searched_before:
        searched = (*known.searched_before, Crash)
        surfaces[operation] = attrs.evolve(known, searched_before=searched)
