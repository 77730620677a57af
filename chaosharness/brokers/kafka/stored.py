"""What became of a record that was sent: whether the history has it, and where."""

from __future__ import annotations

from typing import Final

from chaosharness.kernel.scope import Scope

_ON_THE_WAY: Final = ("fault", "reply")


def stored_by(scope: Scope, since: int = 0) -> int:
    """Return the record that a scope has just stored, by its `publish` event; -1 for none.

    Args:
        scope: Who has published, and has done nothing since.
        since: Where the history was when that began.
    """
    raw, at = scope.world.raw, scope.cause
    while at >= since and raw[at][1] in _ON_THE_WAY:
        at = raw[at][6]
    return at if at >= since and raw[at][1] == "publish" else -1
