"""What is wrong in the flow itself, without any fault: circles, and undoing in the wrong order."""

from __future__ import annotations

from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, action
from chaosharness.reporting.story.legible import clip


def circle(case: Case) -> Cause | None:
    """Find events that bring each other forth without end."""
    ends = list(case.history.of("end"))
    reason = str(ends[-1].data.get("reason") or "") if ends else ""
    if not reason.startswith("an event cycle"):
        return None
    way = reason.removeprefix("an event cycle: ").partition(",")[0]
    ring = frozenset(way.split(" → "))
    if not (case.points_at(ends[-1].index) or any(_went_round(case, e, ring) for e in case.shown)):
        return None
    words = (
        f"Each message of this circle brings forth the next one: {clip(way, 160)}. No handler on "
        f"the way ever stops publishing."
    )
    return Cause("cycle", words)


def _went_round(case: Case, event: Event, ring: frozenset[str]) -> bool:
    """Say whether an event came of a message that had gone round at least once."""
    topics = [
        str(one.data.get("topic"))
        for one in case.history.causes(event.index)
        if one.kind == "publish"
    ]
    return any(topics.count(topic) > 1 for topic in ring)


def undone_in_order(case: Case) -> Cause | None:
    """Find two deeds that were undone in the order in which they were done."""
    effects = [event for event in case.anchors if event.kind == "effect"]
    if len(effects) != 4 or "reverse" not in case.finding.summary:
        return None
    one, other, undone, last = effects
    if (one.actor, other.actor) != (undone.actor, last.actor) or one.actor == other.actor:
        return None
    if {action(one), action(other)} & {action(undone), action(last)}:
        return None  # done twice, and not undone
    if len({event.entity for event in effects}) > 1:
        return None
    if [event.index for event in effects] != sorted(event.index for event in effects):
        return None
    words = (
        f"{case.place(undone)} undid in the order of doing: {action(undone)} came first, while "
        f"{action(other)}, which was done after {action(one)}, still stood."
    )
    return Cause("reverse", words)
