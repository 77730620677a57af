"""Child workflows that failed, where their parent heard of it and came to its end all the same."""

from __future__ import annotations

import re
from typing import Final

from chaosharness.kernel.history import History

__all__ = ["left_to_their_parents"]

FAILED: Final = re.compile(r"workflow (failed|timed[ _]out|aborted)\b", re.I)
COMPLETED: Final = "workflow completed"


def left_to_their_parents(history: History) -> frozenset[int]:
    """Return the events that note how a child failed whose parent completed afterwards.

    Such a failure is an answer to the parent, as that of an activity is: what its item comes to is
    what the parent says.
    """
    failed: dict[str, list[int]] = {}
    left: list[int] = []
    for event in history.of("note"):
        what, parent = str(event.data.get("what")), event.data.get("parent")
        if parent is not None and FAILED.match(what):
            failed.setdefault(str(parent), []).append(event.index)
        elif what == COMPLETED:
            left += failed.pop(str(event.data.get("saga")), ())
    return frozenset(left)
