"""A thread or task that reads messages, and ended while its process went on."""

from __future__ import annotations

from chaosharness.kernel.history import Event, History
from chaosharness.reporting.story.causes.case import Case, Cause
from chaosharness.reporting.story.legible import listed, span


def reader_ended(case: Case) -> Cause | None:
    """Find a thread or task whose error nobody saw, and whose messages nobody took after it.

    Only where the run that passes has more of the finding's messages taken from there.
    """
    if case.passing is None:
        return None
    for error in case.history.of("raised"):
        how = next((kind for kind in ("thread", "task") if error.data.get(kind)), None)
        if how is None or _is_over(case, error):
            continue
        group = next((g for g in _read_by(case, error) if _is_left(case, g)), None)
        if group is None:
            continue
        line = f" at {error.data['line']}" if error.data.get("line") else ""
        kind = str(error.data.get("error", "")).partition(":")[0]
        words = (
            f"{case.narrator.name(error.actor)} stopped reading {_named(case, group)} at "
            f"{span(error.at_ms)}: "
            f"its {how} {error.data[how]} ended with {kind}{line}, and the process went on "
            f"without it. Nobody has read there since."
        )
        return Cause("reader", words)
    return None


def _is_over(case: Case, error: Event) -> bool:
    """Say whether the incarnation itself ended after an error, so that it was begun anew."""
    return any(
        event.index > error.index and event.actor == error.actor
        for event in case.history.of("crash")
    )


def _read_by(case: Case, error: Event) -> list[str]:
    """Return the queues and groups of which it had something by then, and nobody took any since.

    A broker may go on handing out to its connection, until it finds out.
    """
    taken: dict[str, bool] = {}
    for event in case.history.of("deliver"):
        group = str(event.data.get("group", ""))
        if event.index > error.index:
            if case.work(event).of("handled", "raised", "ack"):
                taken[group] = False
        elif event.data.get("to") == error.actor:
            taken.setdefault(group, True)
    return [group for group, alone in taken.items() if alone and group]


def _named(case: Case, group: str) -> str:
    """Name what a group or queue is handed, as the steps of the report do: by its topics."""
    mine = (event for event in case.history.of("deliver") if event.data.get("group") == group)
    return listed(sorted({str(event.data.get("topic")) for event in mine}))


def _is_left(case: Case, group: str) -> bool:
    """Say whether something of the finding waits there, that is taken in the run that passes."""
    assert case.passing is not None
    here, there = (_handed(case, group, history) for history in (case.history, case.passing))
    if len(set(here)) < len(set(there)):
        return True
    back = {event.data.get("message") for event in case.history.of("nack")}
    return any(message in back for message in here[-1:])


def _handed(case: Case, group: str, history: History) -> list[object]:
    """Return the messages of the finding's items that were handed out there, in order."""
    return [
        event.data.get("message")
        for event in history.of("deliver")
        if event.data.get("group") == group and case.concerns(event.entity)
    ]
