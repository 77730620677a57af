"""Whether every consumer can read, and handle, what producers of other versions write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reading import Handed, read
from chaosharness.faults import NewEvent, OldEvent, Redeploy
from chaosharness.kernel.history import Event

UPGRADES: Final = (OldEvent, NewEvent, Redeploy)
"""Faults that only have two versions meet."""


def every_event_is_readable() -> Property:
    """Claim that nobody is given an event of another version that it cannot read, or handle.

    Such an event is nobody's poison: its producer wrote it as its own version says. Tried again it
    is in the way of all behind it, and put aside it is what nobody did.

    >>> every_event_is_readable()

    Not modelled:
        Payloads that no schema of the registry wrote: `poison_blocks_nobody` is about those. A
        handler that raises is judged in runs where versions meet and no other fault strikes.
    """

    def judge(evidence: Evidence) -> list[Finding]:
        found: dict[tuple[str, str], Finding] = {}
        for event in evidence.history.of("resolve"):
            place = event.operation.partition("/")[0]
            for words in _troubles(evidence, event, place):
                data = event.data
                versions = {"from": data["from"], "as": data["as"]}
                where = f"{place}: {data['subject']}"
                kind = "unreadable version"
                finding = Finding(
                    words, (event.index,), event.entity, versions, kind=kind, place=where
                )
                found.setdefault((place, data["subject"]), finding)
        return [*found.values()]

    def tested(evidence: Evidence) -> bool:
        return any(True for _ in evidence.history.of("resolve"))

    return Property("every event is readable", judge, "always", tested=tested)


def _troubles(evidence: Evidence, event: Event, place: str) -> Iterator[str]:
    """Say what becomes of an event that is read with another version, where that is no good."""
    data = event.data
    if data["what"] != "read":
        return
    which = f"{place} is given {data['subject']} of version {data['from']}"
    if "error" in data:
        yield f"{which}, which its version {data['as']} cannot read: {data['error']}"
        return
    reading = read(evidence.history)
    handed = reading.handed.get(reading.roots[event.index])
    if handed is None or not all(isinstance(one, UPGRADES) for one in evidence.faults):
        return
    tries: list[Handed] = reading.pairs.get((handed.sent.index, handed.group), [])
    ended = (handed.sent.index, handed.group) in reading.dead or not reading.acked(
        handed.sent, handed.group
    )
    if ended and all(one.raised >= 0 for one in tries):
        yield f"{which}, reads it as version {data['as']}, and raises at it: {handed.error}"
