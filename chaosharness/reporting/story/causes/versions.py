"""Two versions that met: of an event's schema, and of the code that goes on with what was begun."""

from __future__ import annotations

from typing import Final

from chaosharness.checkers.effects import times
from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause
from chaosharness.reporting.story.narrator import raised

OFTEN: Final = 3
"""Attempts that fail in the same words, after which nobody believes in the next."""


def versions_met(case: Case) -> Cause | None:
    """Find an event that was read with another version than it was written with."""
    if case.finding.kind not in ("money dropped", "unreadable version"):
        return None
    seen = next((event for event in case.anchors if event.kind == "resolve"), None)
    if seen is None or seen.data.get("what") != "read":
        return None
    return Cause("versions", f"{_who(seen)} {_what(seen)}")


def _who(seen: Event) -> str:
    data = seen.data
    place = seen.operation.partition("/")[0]
    versions = f"version {data.get('as')} of {data.get('subject')}"
    return f"{place} has {versions}, and this event was written with version {data.get('from')}:"


def _what(seen: Event) -> str:
    data = seen.data
    if data.get("error"):
        return "it cannot read it at all."
    dropped, filled = list(data.get("dropped") or ()), list(data.get("filled") or ())
    said = []
    if dropped:
        said.append(f"it never sees {', '.join(dropped)}")
    if filled:
        said.append(f"it takes the default for {', '.join(filled)}")
    return f"{', and '.join(said) or 'it reads something else'}."


def begun_by_another_version(case: Case) -> Cause | None:
    """Find what one version of a service had begun, and what the other cannot go on with."""
    errors: dict[tuple[str, int, str], list[Event]] = {}
    for event in case.history.of("raised"):
        place = (event.operation, event.entity, str(event.data.get("error")))
        errors.setdefault(place, []).append(event)
    for (operation, entity, error), bad in errors.items():
        begun = [
            event
            for event in case.history.of("decide")
            if (event.operation, event.entity) == (operation, entity)
        ]
        if len(bad) < OFTEN or not begun or not case.concerns(entity):
            continue
        early = [event for event in begun if event.index < bad[0].index]
        if not early or any(event.index > bad[0].index for event in begun):
            continue  # it went on, some day
        old, new = (_version_of(case, event) for event in (early[-1], bad[0]))
        if old == new or any(_version_of(case, event) != new for event in bad):
            continue
        service = case.place(bad[0]).partition(".")[0]
        whose = case.narrator.called(entity) or "what was in hand"
        words = (
            f"One version of {service} began with {whose}, and the other went on with it: "
            f"{case.place(bad[0])} raises {raised(error)} ({times(len(bad))}), since it is not "
            f"what was written down before the change."
        )
        return Cause("deployed", words)
    return None


def begun_under_another_definition(case: Case) -> Cause | None:
    """Find a workflow that began under one definition, where what went on with it is of another."""
    for fault in case.history.of("fault"):
        place, _, action = fault.operation.partition("/")
        struck = str(fault.data.get("fault")).startswith(REDEPLOY) and action in ("begin", "queue")
        if not struck or not case.concerns(fault.entity):
            continue
        whose = case.narrator.called(fault.entity) or "what was in hand"
        when = "began under" if action == "begin" else "went on under"
        name = place.rpartition(".")[2] if action == "begin" else place.partition(".")[0]
        words = f"{whose} {when} the other definition of {name}, "
        return Cause("deployed", words + _how_it_ended(case, fault))
    return None


def _how_it_ended(case: Case, fault: Event) -> str:
    """Say what came of a workflow whose definition was changed under it."""
    mine = [e for e in case.history if e.entity == fault.entity and e.index > fault.index]
    calm = () if case.passing is None else case.passing.of("raised")
    known = {str(event.data.get("error")) for event in calm}
    raised_here = [e for e in mine if e.kind == "raised" and str(e.data.get("error")) not in known]
    if raised_here:
        last = raised_here[-1]
        same = [event for event in raised_here if event.data.get("error") == last.data.get("error")]
        return (
            f"and the code that went on with it is made for this one: {case.place(last)} raises "
            f"{raised(str(last.data['error']))} ({times(len(same))})."
        )
    deeds = [e for e in mine if e.kind in ("decide", "call", "effect", "handled", "note")]
    if deeds and deeds[-1].kind == "decide":
        asked = ", ".join(map(str, deeds[-1].data.get("commands", ())))
        return f"and nobody does what that one asks for: it {asked}, and nothing comes of it."
    return "and the code that went on with it is made for this one."


def _version_of(case: Case, event: Event) -> bool:
    """Say whether an incarnation is of the other version than the one that is started as a rule."""
    redeployed = [e for e in case.history.of("fault") if str(e.data["fault"]).startswith(REDEPLOY)]
    replica, _, life = event.actor.partition("/")
    other = False
    for number in range(1, int(life or 1) + 1):
        mine, before = _labels(replica, number)
        at_start = any(e.actor == mine and e.operation.endswith("/start") for e in redeployed)
        stopped = any(e.actor == before and not e.operation.endswith("/start") for e in redeployed)
        other = at_start or (stopped and not other)
    return other


def _labels(replica: str, number: int) -> tuple[str, str]:
    """Return what the nth incarnation of a replica is called, and the one before it."""
    labels = ["", replica, *(f"{replica}/{life}" for life in range(2, number + 1))]
    return labels[number], labels[number - 1]


REDEPLOY: Final = "redeploy"
"""How the fault begins that has a service replaced by its other version."""
