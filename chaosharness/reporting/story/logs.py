"""What the user's own code logged and printed in the run that is told: beside the story."""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.handlers.logged import Logged
from chaosharness.reporting.story.legible import clip
from chaosharness.reporting.story.narrator import Narrator

FIRST: Final = 14
"""Lines from the beginning that are shown."""

LAST: Final = 6
"""Lines from the end that are shown."""

WORDS_MAX: Final = 300
"""Characters of one line that are shown."""

_TROUBLE: Final = frozenset({"ERROR", "CRITICAL"})


@attrs.frozen
class LogRow:
    """One line that the user's code logged; or how many were left out.

    Attributes:
        at_ms: When, in virtual time; None for what was left out.
        who: Which process, as the story calls it.
        words: What it says.
        trouble: Whether it tells of an error.
    """

    at_ms: int | None
    who: str
    words: str
    trouble: bool = False


def logs(found: Counterexample, narrator: Narrator) -> tuple[LogRow, ...]:
    """Return the lines to show, the oldest first: where there are many, those in the middle not."""
    logged = found.logged
    if len(logged) <= FIRST + LAST:
        return tuple(_row(one, narrator) for one in logged)
    left = len(logged) - FIRST - LAST
    return (
        *(_row(one, narrator) for one in logged[:FIRST]),
        LogRow(None, "", f"… {left:,} more"),
        *(_row(one, narrator) for one in logged[-LAST:]),
    )


def _row(one: Logged, narrator: Narrator) -> LogRow:
    words = clip(str(one), WORDS_MAX)
    return LogRow(one.at_ms, narrator.name(one.actor), words, one.level in _TROUBLE)


__all__ = ["LogRow", "logs"]
