"""One step of a story, as a value."""

from __future__ import annotations

from typing import Literal

import attrs

Tone = Literal["plain", "again", "fault", "crash", "restart", "lost", "trouble", "quiet"]


@attrs.frozen(kw_only=True)
class Step:
    """One step of a story: an arrow between two lanes, or a mark on one.

    Attributes:
        number: From 1, in the order of the story.
        at_ms: Virtual time.
        events: Indexes of the events it tells, the main one first.
        kind: Kind of the main event.
        source: Lane where it begins.
        target: Lane where the arrow ends; empty for a mark on `source`.
        words: What happened, in a few words.
        detail: Payload, or what else is worth knowing.
        tone: How it stands out.
        fault: Number of the fault in the schedule that this is, from 1; 0 for none.
        found: Whether it is what the finding points at.
        extra: Whether it is a deed that the run that passes does not have.
    """

    number: int
    at_ms: int
    events: tuple[int, ...]
    kind: str
    source: str
    target: str = ""
    words: str
    detail: str = ""
    tone: Tone = "plain"
    fault: int = 0
    found: bool = False
    extra: bool = False

    @property
    def event(self) -> int:
        """Index of the main event."""
        return self.events[0]


@attrs.frozen
class Telling:
    """What one event comes to, before it has a place in a story."""

    source: str
    words: str
    target: str = ""
    detail: str = ""
    tone: Tone = "plain"
    fault: int = 0
