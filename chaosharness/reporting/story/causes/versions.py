"""Two versions of an event's schema that met, and did not mean the same."""

from __future__ import annotations

from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause


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
