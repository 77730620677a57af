"""Messages that a main loop acknowledged although their work was never done.

A loop that polls tells nobody when it has handled a message. Whether it has is seen in what
came out: the work of each item is known by its texts, whichever task or batch did it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from chaosharness.checkers.outcomes.clean import CLIENT, Clean
from chaosharness.checkers.outcomes.differences import Difference
from chaosharness.checkers.outcomes.judge import judge_of
from chaosharness.checkers.outcomes.outcome import Options, spelled_place
from chaosharness.checkers.property import Evidence
from chaosharness.checkers.reading import Handed, Reading, Sent, read
from chaosharness.kernel.history import History

LACKING: Final = frozenset({"effect lost", "row missing", "message lost"})
DECIDED: Final = frozenset({"effect new", "row too many", "row differs", "message new"})
CHANGES: Final = frozenset({"publish", "write", "commit", "effect"})
STORED: Final = frozenset({"write", "commit"})


@lru_cache(maxsize=4)
def unlike_calm(evidence: Evidence) -> tuple[Difference, ...]:
    """Return how a run ends otherwise than the calm run."""
    clean = _clean(evidence)
    seen = clean.reader.read(evidence.history)
    return tuple(clean.comparison.differences(seen, clean.calm))


def _clean(evidence: Evidence) -> Clean:
    return judge_of(evidence, Options()).clean


def ends_as_calm(evidence: Evidence) -> bool:
    """Say whether a run left what the calm run leaves, so that nothing was lost."""
    for history in (evidence.history, evidence.calm()):
        kinds = {raw[1] for raw in history.raw}
        if kinds & STORED and "state" not in kinds:
            return False  # an excerpt: nobody knows what the stores held
    return _leaves_something(evidence.calm()) and not unlike_calm(evidence)


def _leaves_something(history: History) -> bool:
    """Say whether there is anything by which lost work would be seen in the end."""
    return any(
        event.kind != "publish" or not event.operation.startswith(CLIENT)
        for event in history.of("publish", "effect", "write")
    )


def never_done(evidence: Evidence, sent: Sent, service: str) -> str:
    """Return what a service never did for a message that it acknowledged; empty for nothing.

    Nothing is missing where the item came to another end: something was decided.
    """
    clean = _clean(evidence)
    item = clean.reader.owners.owner((sent.value, sent.key), sent.entity)
    mine = [one for one in unlike_calm(evidence) if one.item == item]
    if not mine or any(one.kind in DECIDED for one in mine):
        return ""
    by_service = _places_of(clean, service)
    return next((one.place for one in mine if one.kind in LACKING and one.place in by_service), "")


def _places_of(clean: Clean, service: str) -> set[str]:
    """Return where a service leaves something in the calm run."""
    history = clean.history
    found = {
        f"{event.data.get('store')}.{event.data.get('table')}"
        for event in history.of("write")
        if event.operation.startswith(f"{service}.")
    }
    for place, _, _, index in clean.reader.done(history):
        if history[index].operation.startswith(f"{service}."):
            found.add(spelled_place(place))
    return found


def achieved(history: History, handed: Iterable[Handed], calm: History) -> dict[str, None]:
    """Return the operations by which deliveries changed something, or were not refused."""
    roots = {one.index for one in handed}
    reading = read(history)
    effects = {event.operation for event in calm.of("effect")}
    found: dict[str, None] = {}
    refused: set[str] = set()
    for index, (_, kind, _, operation, _, _, _, data) in enumerate(history.raw):
        if reading.roots[index] not in roots or "error" in (data or ()):
            continue
        if kind == "reply" and data.get("outcome") in ("failed", "unknown"):
            refused.add(operation)
        if kind in CHANGES or (kind == "call" and operation not in effects):
            found[operation] = None
            if kind == "effect":
                refused.discard(operation)
    return {operation: None for operation in found if operation not in refused}


def told_no(history: History, handed: Iterable[Handed]) -> bool:
    """Say whether something that was done for these deliveries was refused, or not answered."""
    roots = {one.index for one in handed}
    reading = read(history)
    return any(
        reading.roots[event.index] in roots
        and (event.data.get("outcome") in ("failed", "unknown") or "error" in event.data)
        for event in history.of("reply", "commit", "write", "read")
    )


def like(reading: Reading, sent: Sent, group: str) -> list[Handed]:
    """Return what a group was handed in another run of the same item: the same, if it can be."""
    mine = [
        one
        for one in reading.handed.values()
        if (one.group, one.sent.topic, one.sent.entity) == (group, sent.topic, sent.entity)
    ]
    return [one for one in mine if one.sent.value == sent.value] or mine
