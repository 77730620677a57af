"""Which events of a run matter to a finding, and which only stood by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from chaosharness.checkers.property import Finding
from chaosharness.kernel.history import Event, History

STEPS_MAX: Final = 40
"""Steps of a story. Whoever needs more needs the history."""

BEFORE: Final = 7
"""Rank of what led to the message that a story begins with."""

REPEATED: Final = 6
"""Rank of what happens over and over again, after the first few times."""

TIMES_TOLD: Final = 2
"""How many times a thing is told that happens over and over again."""

ROOTS_MAX: Final = 25
"""How many events, from either end, are followed back to where they come from."""

_SKELETON: Final = {
    "effect": 1,
    "dead": 1,
    "rollback": 1,
    "raised": 2,
    "nack": 2,
    "note": 2,
    "commit": 3,
    "publish": 3,
    "deliver": 3,
    "call": 3,
    "ack": 4,
}
"""Kinds that tell what became of an item, with their rank: lower is kept sooner."""

_CHAIN: Final = {"read": 4, "handled": 6, "poll": 6, "sleep": 5, "wake": 6, "reply": 4, "start": 5}
"""Ranks of what is told only as a cause of something, where there is room."""

_CLOSING: Final = frozenset({"end", "state", "phase"})


def finding_of(findings: Iterable[Finding]) -> Finding:
    """Return the finding that a report is about: the first."""
    return next(iter(findings), Finding(""))


def focus(history: History, finding: Finding) -> frozenset[int]:
    """Return the workload items that a finding is about; those of the faults if it names none."""
    size = len(history)
    found = {history[index].entity for index in finding.events if 0 <= index < size}
    found.add(finding.entity)
    found.discard(0)
    if not found:
        found = {event.entity for event in history.of("fault")} - {0}
    return frozenset(found)


def ranked(history: History, finding: Finding, *, every: bool = False) -> dict[int, int]:
    """Return the events that may be told, each with its rank: 0 is what must be.

    Args:
        history: The run.
        finding: What was found in it.
        every: Whether to follow the items to the end of the run, and not only to the last
            event of the finding.
    """
    size = len(history)
    anchors = [index for index in finding.events if 0 <= index < size]
    last = max(anchors, default=size - 1)
    if every or not anchors or history[last].kind in _CLOSING:
        last = size - 1
    ranks: dict[int, int] = {}

    def add(index: int, rank: int) -> None:
        ranks[index] = min(rank, ranks.get(index, rank))

    for index in anchors:
        if history[index].kind != "state":
            add(index, 0)
    _add_trouble(history, last, add)
    _add_items(history, focus(history, finding), last, add)
    followed: set[int] = set()
    for index in [index for index, rank in ranks.items() if rank <= 1]:
        for event in history.causes(index):
            if event.index in followed:
                break
            followed.add(event.index)
            usual = _SKELETON.get(event.kind, _CHAIN.get(event.kind, 3))
            add(event.index, max(usual, 1))
    _push_back(history, ranks, origin(history, [index for index, r in ranks.items() if r == 0]))
    return ranks


def origin(history: History, events: list[int]) -> int:
    """Return the message that some events all go back to; -1 if there is none.

    What led to that message is how it always goes: the story begins there.
    """
    common: list[int] | None = None
    for index in [*events[:ROOTS_MAX], *events[ROOTS_MAX:][-ROOTS_MAX:]]:
        chain = [event.index for event in history.causes(index)]
        if chain[-1] == index:
            continue  # a root of its own: a crash of the world, the end
        known = set(chain)
        common = chain if common is None else [one for one in common if one in known]
    return next((one for one in common or () if history[one].kind == "publish"), -1)


def _push_back(history: History, ranks: dict[int, int], since: int) -> None:
    """Rank what led to the beginning of the story below all that followed."""
    if since < 0:
        return
    roots = {event.index for event in history.causes(since) if event.kind == "arrive"}
    for index, rank in ranks.items():
        if index < since and rank > 1 and index not in roots:
            ranks[index] = BEFORE


Add = Callable[[int, int], None]


def _add_trouble(history: History, last: int, add: Add) -> None:
    """Add faults and crashes, and what followed from them wherever it happened."""
    struck = False
    made: set[int] = set()  # messages that a fault made
    for event in history:
        kind = event.kind
        if kind == "fault":
            struck = True
            add(event.index, 0)
        elif kind == "crash" or (kind == "end" and event.data.get("verdict") != "quiet"):
            add(event.index, 0)
        if event.index > last:
            continue
        if kind == "start" and "/" in event.actor:
            add(event.index, 2)
        elif kind == "rebalance" and struck and event.data.get("generation", 2) != 1:
            add(event.index, 3)
        elif kind == "publish" and event.cause >= 0 and history[event.cause].kind == "fault":
            made.add(event.index)
            add(event.index, 3 if event.operation else 1)
        elif kind == "dead":
            add(event.index, 2)
        elif kind == "phase" and struck:
            add(event.index, 3)
        elif kind == "deliver" and event.data.get("message") in made and not event.entity:
            add(event.index, 1 if _is_early(event) else REPEATED)


def _is_early(event: Event) -> bool:
    """Say whether a delivery is one of the first few of its message."""
    times = event.data.get("times", 1)
    return not isinstance(times, int) or times <= TIMES_TOLD


def _add_items(history: History, items: frozenset[int], last: int, add: Add) -> None:
    """Add what became of some items: messages, calls, effects, trouble."""
    raised: dict[str, int] = {}
    for event in history:
        if event.index > last:
            break
        rank = _SKELETON.get(event.kind)
        if event.kind == "raised":
            raised[event.operation] = times = raised.get(event.operation, 0) + 1
            if times > TIMES_TOLD:
                rank = REPEATED
            elif event.entity == 0:
                add(event.index, 2)
        if event.entity not in items or (rank is None and event.kind != "reply"):
            continue
        if event.kind == "deliver" and event.data.get("times", 1) != 1:
            rank = 1 if _is_early(event) else REPEATED
        if event.kind == "reply":
            rank = 2 if event.data.get("outcome") != "ok" else _CHAIN["reply"]
        assert rank is not None
        add(event.index, rank)


def kept(
    ranks: dict[int, int], steps_max: int = STEPS_MAX, rank_max: int = REPEATED - 1
) -> list[int]:
    """Return the events to tell, oldest first: the most important ones, as many as fit."""
    wanted = (index for index, rank in ranks.items() if rank <= rank_max)
    best = sorted(wanted, key=lambda index: (ranks[index], index))
    musts = sum(1 for rank in ranks.values() if rank == 0)
    if musts <= steps_max:
        return sorted(best[:steps_max])
    half = steps_max // 2  # more than can be told: how it began, and how it ended
    return sorted(best[:musts][:half] + best[:musts][-half:])
