"""What is wrong in the flow itself: circles, rows, waiting without end, undoing in wrong order."""

from __future__ import annotations

from collections.abc import Mapping

from chaosharness.checkers.reading import Handed, read
from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, action
from chaosharness.reporting.story.legible import clip, listed


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
        f"the way stopped publishing before the run was cut off."
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


def row_of_handlers(case: Case) -> Cause | None:
    """Find handlers of which each does its part and hands on to the next one alone."""
    passed = [event for event in case.anchors if event.kind == "publish"]
    if case.finding.kind != "chain" or len(passed) < 2:
        return None
    first, last = case.place(passed[0]), passed[-1]
    words = (
        f"Each handler from {first} on hands on to one other, and to nobody else, as far as "
        f"{last.data.get('topic')}: it is a call chain made of messages, as slow as all of them "
        f"together, and it stands still when any of them does."
    )
    return Cause("row", words)


def waits_for_what_is_aside(case: Case) -> Cause | None:
    """Find a call to what is aside that code waits for, and what had to wait with it."""
    if case.finding.kind != "delay":
        return None
    for anchor in case.anchors:
        for fault in case.history.of("fault"):
            call = _waited_for(case, anchor, fault)
            if call is None:
                continue
            words = (
                f"{case.place(call)} waits for {action(call)} before it goes on: what is late "
                f"there ({action(fault)}) is late for all that comes after it."
            )
            return Cause("side effect", words)
    return None


def _waited_for(case: Case, anchor: Event, fault: Event) -> Event | None:
    """Return the call that a fault was in the midst of, and that led on to a deed."""
    for reply in case.history.causes(anchor.index):
        if reply.kind != "reply" or not fault.index < reply.index:
            continue
        for call in case.history.of("call"):
            asked = case.history.same_attempt(call, reply) and call.index < fault.index
            if asked and call.actor != fault.actor:
                return call
    return None


def waits_for_ever(case: Case) -> Cause | None:
    """Find a join whose other half never came, and that had nothing due when the run was over."""
    halves, key = case.finding.data.get("halves"), case.finding.data.get("key")
    if not isinstance(halves, Mapping) or not halves or not case.reading.quiet:
        return None
    if max(halves.values()) > 1 or "has only" not in case.finding.summary:
        return None
    came = listed([str(name) for name in halves])
    for one in case.reading.handed.values():
        if one.sent.topic not in halves or one.sent.key != key or one.handled < 0:
            continue
        if case.works[one.index].of("publish") or _is_sent_as_a_rule(case, one):
            continue
        place = case.place(case.history[one.handled])
        words = (
            f"{place} was given {came} for {clip(str(key), 40)}, and nobody sent the other half. "
            f"Nothing was due any more when the run was over that could have ended the wait."
        )
        return Cause("waits", words)
    return None


def _is_sent_as_a_rule(case: Case, one: Handed) -> bool:
    """Say whether such a group is handed more for this key in the run that passes.

    Then the question is why the other half is not there, and not who waits for it.
    """
    if case.passing is None:
        return False
    usual, here = (
        {
            other.sent.topic
            for other in reading.handed.values()
            if (other.group, other.sent.key) == (one.group, one.sent.key)
        }
        for reading in (read(case.passing), case.reading)
    )
    return not usual <= here
