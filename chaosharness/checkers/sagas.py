"""Sagas: each ends, and what it did is undone where it fails, once, and in the right order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Any, Final

import attrs

from chaosharness.checkers.books import Books
from chaosharness.checkers.effects import times
from chaosharness.checkers.excused import (
    PARKED,
    item_of,
    names_of_items,
    parked,
    put_aside,
    refused,
    saga_of,
)
from chaosharness.checkers.property import Evidence, Finding, Property, once_a_run
from chaosharness.checkers.reading import is_quiet
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.kernel.allowed import spelled
from chaosharness.kernel.history import Event, History

BY: Final = ("saga", "order", "order_id")
"""Arguments of an effect, or words of a note, that say which saga it is about."""

STARTED: Final = "saga started"
COMPLETED: Final = "saga completed"
COMPENSATED: Final = "saga compensated"
FAILED: Final = frozenset({"saga failed", "saga compensating", COMPENSATED})
"""Notes that say that what a saga did must be undone."""

MEANINGFUL: Final = ("publish", "effect", "reply", "note", "dead", "handled", "raised")
"""Events that may mean that a saga has failed."""

_BESIDE_NOTES: Final = tuple(kind for kind in MEANINGFUL if kind != "note")

Names = str | Iterable[str]


def _names(names: Names) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else names
    if not isinstance(found, Iterable):
        raise InvalidDefinition(
            f"{spelled(names)} is neither a name nor several{asked_at()}: write 'order', or "
            "['saga', 'order']"
        )
    return tuple(found)


# ---- every saga settles


def every_saga_settles(
    *,
    states: Callable[[Books], Mapping[Any, Any]] | None = None,
    settled: Names | None = None,
    started: Names = STARTED,
    by: Names = BY,
) -> Property:
    """Claim that every saga ends: completed, fully compensated, or parked for a person.

    Without `states`, the services say how far a saga is, after it is durable:
    `env.note("saga started", saga="o1")`, then `saga completed`, `saga compensated` or
    `saga parked`. A message put aside as a dead letter parks the saga that its key, or its
    workload item, names. A saga that is both completed and compensated is a violation too.
    A saga of the run without faults must be there under faults as well, unless its client
    was told no.

    Args:
        states: Where sagas are found in the final books: returns the state of each.
        settled: What a saga may be in the end: notes, or with `states` their values, by
            default `completed`, `compensated` and `parked`.
        started: The note that begins a saga.
        by: The word of a note that names the saga; by default `saga`, `order` or
            `order_id`, else the workload item.

    >>> run.check(every_saga_settles())
    >>> every_saga_settles(settled=("confirmed", "cancelled"),
    ...     states=lambda books: books.column(db, "orders", by="id", of="status"))
    """
    if states is not None:
        ends = _names(settled or ("completed", "compensated", "parked"))
        return _settles_in_books(states, ends, _names(by))
    ends = _names(settled or (COMPLETED, COMPENSATED, PARKED))
    known = frozenset((*_names(started), *ends))
    names = _names(by)

    def judge(evidence: Evidence) -> list[Finding]:
        if not is_quiet(evidence.history):
            return []
        sagas = _noted(evidence.history, known, names)
        found: list[Finding] = []
        for saga, notes in _noted(evidence.calm(), known, names).items():
            if saga not in sagas:
                found.append(_never_began(saga, (), notes[0].entity))
        for saga, notes in sagas.items():
            found += _unsettled(saga, notes, ends)
        return _not_excused(found, evidence.history)

    def tested(evidence: Evidence) -> bool:
        return is_quiet(evidence.history) and bool(_noted(evidence.history, known, names))

    return Property("every saga settles", judge, "eventually", tested=tested)


def _never_began(saga: str, events: tuple[int, ...], entity: int) -> Finding:
    summary = f"saga {saga} never began, and does without faults"
    return Finding(summary, events, entity, {"saga": saga})


def _is_absent(one: Finding) -> bool:
    """Say whether a finding is about a saga that never began."""
    return not {"last", "state"} & one.data.keys()


def _not_excused(
    found: list[Finding], history: History, by: tuple[str, ...] | None = None
) -> list[Finding]:
    """Leave out what a person will look at, and what no client counts on.

    Args:
        found: Findings about sagas.
        history: The run.
        by: What names a saga in a note, where a note that parks it excuses it, too.
    """
    if not found:
        return []
    aside = put_aside(history).names if by is None else parked(history, by)
    told_no = refused(history)
    return [
        one
        for one in found
        if "both" in one.data
        or not (one.data["saga"] in aside or (_is_absent(one) and one.entity in told_no))
    ]


def _noted(history: History, known: frozenset[str], by: tuple[str, ...]) -> dict[str, list[Event]]:
    """Return what was noted about each saga."""
    found: dict[str, list[Event]] = {}
    for event in history.of("note"):
        if event.data.get("what") in known:
            saga = saga_of(event, by)
            if saga:
                found.setdefault(saga, []).append(event)
    return found


def _unsettled(saga: str, notes: list[Event], ends: tuple[str, ...]) -> Iterator[Finding]:
    said = {event.data["what"]: event for event in reversed(notes)}
    events = tuple(event.index for event in notes)
    entity = notes[0].entity
    if COMPLETED in said and COMPENSATED in said and {COMPLETED, COMPENSATED} <= set(ends):
        summary = f"saga {saga} was both completed and compensated"
        yield Finding(summary, events, entity, {"saga": saga, "both": True})
    elif not said.keys() & set(ends):
        last = notes[-1].data["what"]
        wanted = ", ".join(end.removeprefix("saga ") for end in ends)
        summary = f"saga {saga} never settled: the last word is {last!r}; promised: {wanted}"
        yield Finding(summary, events, entity, {"saga": saga, "last": last})


def _settles_in_books(
    states: Callable[[Books], Mapping[Any, Any]], ends: tuple[str, ...], by: tuple[str, ...]
) -> Property:
    def judge(evidence: Evidence) -> list[Finding]:
        if not is_quiet(evidence.history):
            return []
        now = states(Books(evidence.history, evidence.items))
        usual = states(Books(evidence.calm(), evidence.items))
        events = tuple(event.index for event in evidence.history.of("state"))
        wanted = ", ".join(ends)
        found = [
            Finding(
                f"saga {saga} ended as {state!r}; promised: {wanted}",
                events,
                0,
                {"saga": str(saga), "state": state},
            )
            for saga, state in now.items()
            if state not in ends
        ]
        items = names_of_items(evidence.history)
        found += [
            _never_began(str(saga), events, item_of(str(saga), items))
            for saga in usual
            if saga not in now
        ]
        return _not_excused(found, evidence.history, by)

    def tested(evidence: Evidence) -> bool:
        if not is_quiet(evidence.history):
            return False
        return bool(states(Books(evidence.history, evidence.items)))

    return Property("every saga settles", judge, "eventually", tested=tested)


# ---- compensation


@attrs.define
class Step:
    """One forward step of one saga, and its compensations.

    Attributes:
        done: The events of the forward step, those of the compensation left out.
        undone: The events of the compensation.
        standing: How often it is done and not undone.
        cents: The same in money.
        money: Whether money is what counts: a charge may be given back in two refunds.
    """

    forward: str
    done: list[Event] = attrs.field(factory=list)
    undone: list[Event] = attrs.field(factory=list)
    standing: int = 0
    cents: int = 0
    money: bool = False

    @property
    def left(self) -> int:
        """What is done and not undone, in money or in times; below 0 if too much is undone."""
        return self.cents if self.money else self.standing

    def take(self, event: Event, *, backward: bool) -> None:
        """Take one more event of this step or of its compensation."""
        events = self.undone if backward else self.done
        events.append(event)
        if event.kind == "note":  # counts once: handlers that run again say things again
            if len(events) == 1:
                self.standing = 0 if backward else 1
        else:
            sign = -1 if backward else 1
            self.standing += sign
            if "cents" in event.data:
                self.money = True
                self.cents += sign * int(event.data["cents"])


Pairs = Mapping[str, str]
Sagas = dict[str, dict[str, Step]]


def _checked(pairs: Pairs) -> dict[str, tuple[str, bool]]:
    """Return, for each name, its forward step and whether it is the compensation."""
    if not isinstance(pairs, Mapping) or not pairs:
        raise InvalidDefinition(
            f"say which step is undone by which: {{'charge': 'refund'}}, not {pairs!r}{asked_at()}"
        )
    names = {forward: (forward, False) for forward in pairs}
    for forward, backward in pairs.items():
        if backward in names:
            raise InvalidDefinition(f"{backward!r} cannot be both a step and a compensation")
        names[backward] = (forward, True)
    return names


def _steps(
    history: History, names: Mapping[str, tuple[str, bool]], by: tuple[str, ...]
) -> Iterator[tuple[str, str, bool, Event]]:
    """Yield each step and compensation: its saga, its forward step, which it is, the event.

    A step is an effect of that method (`charge`, or `bank.charge`), or a note of that text,
    which counts once, however often it is said.
    """
    for event in history.of("effect", "note"):
        if event.kind == "note":
            found = names.get(str(event.data.get("what")))
        else:
            method = str(event.data.get("method"))
            found = names.get(method) or names.get(f"{event.actor}.{method}")
        saga = saga_of(event, by) if found else ""
        if found and saga:
            yield saga, found[0], found[1], event


def never_compensates_what_did_not_happen(pairs: Pairs, *, by: Names = BY) -> Property:
    """Claim that nothing is undone that was not done, or more often, or for more money.

    Args:
        pairs: Which step is undone by which: methods of third parties (`charge`, or
            `bank.charge`), or notes.
        by: The argument that names the saga; see `every_saga_settles`.

    >>> never_compensates_what_did_not_happen({"charge": "refund"})
    >>> never_compensates_what_did_not_happen({"hotel.book": "hotel.cancel"}, by="trip")
    """
    names, keys = _checked(pairs), _names(by)

    def judge(evidence: Evidence) -> list[Finding]:
        sagas: Sagas = {}
        found: list[Finding] = []
        for saga, forward, backward, event in _steps(evidence.history, names, keys):
            step = sagas.setdefault(saga, {}).setdefault(forward, Step(forward))
            never = backward and not step.done
            step.take(event, backward=backward)
            if never or step.left < 0:
                found.append(_undone_too_much(saga, step, event))
                step.standing = step.cents = 0
        return found

    def tested(evidence: Evidence) -> bool:
        return any(backward for _, _, backward, _ in _steps(evidence.history, names, keys))

    return Property("never compensates what did not happen", judge, "always", tested=tested)


def _undone_too_much(saga: str, step: Step, event: Event) -> Finding:
    name = str(event.data.get("method", event.data.get("what")))
    events = tuple(sorted({one.index for one in (*step.done, *step.undone, event)}))
    if not step.done:
        money = f" for {event.data['cents']} cents" if step.money else ""
        summary = f"{name} of {saga}{money} happened, but {step.forward} had not"
    elif len(step.undone) > len(step.done):
        done, undone = times(len(step.done)), times(len(step.undone))
        summary = f"{name} of {saga} happened {undone}, but {step.forward} {done}"
    else:
        done, undone = _sum(step.done), _sum(step.undone)
        summary = f"{name} of {saga} gave back {undone} cents, but {step.forward} took {done}"
    data = {"saga": saga, "forward": step.forward, "backward": name}
    return Finding(summary, events, event.entity, data)


def _sum(events: Iterable[Event]) -> str:
    return str(sum(int(event.data.get("cents", 0)) for event in events))


def compensation_complete(
    pairs: Pairs, *, by: Names = BY, when: Callable[[Event], bool] | None = None
) -> Property:
    """Claim that a saga that is undone is undone altogether, once all is quiet.

    A saga is undone if any of its steps is, if a note says `saga failed`, `saga
    compensating` or `saga compensated`, or where `when` says so. One that is parked for a
    person (a note, or a dead letter), or that was completed after all, is not judged.

    Args:
        pairs: Which step is undone by which: methods of third parties, or notes.
        by: The argument that names the saga; see `every_saga_settles`.
        when: Says whether an event means that its saga must be undone: a message
            published or put aside, an effect, a reply, a note, or how a handler ended.

    >>> compensation_complete({"charge": "refund", "reserve": "release"})
    >>> compensation_complete({"charge": "refund"}, by=("order", "key"),
    ...     when=lambda e: e.kind == "publish" and e.data["topic"] == "stock-rejected")
    """
    names, keys = _checked(pairs), _names(by)

    @once_a_run
    def failing(evidence: Evidence) -> tuple[Sagas, dict[str, Event]]:
        sagas = _sagas(evidence.history, names, keys)
        return sagas, _failed(evidence.history, sagas, keys, when)

    def judge(evidence: Evidence) -> list[Finding]:
        if not is_quiet(evidence.history):
            return []
        sagas, failed = failing(evidence)
        return [
            _left_standing(saga, step, failed[saga])
            for saga, steps in sagas.items()
            if saga in failed
            for step in steps.values()
            if step.left > 0
        ]

    def tested(evidence: Evidence) -> bool:
        return bool(failing(evidence)[1])

    return Property("compensation is complete", judge, "eventually", tested=tested)


def _sagas(history: History, names: Mapping[str, tuple[str, bool]], by: tuple[str, ...]) -> Sagas:
    sagas: Sagas = {}
    for saga, forward, backward, event in _steps(history, names, by):
        step = sagas.setdefault(saga, {}).setdefault(forward, Step(forward))
        step.take(event, backward=backward)
    return sagas


def _failed(
    history: History, sagas: Sagas, by: tuple[str, ...], when: Callable[[Event], bool] | None
) -> dict[str, Event]:
    """Return the sagas that must be undone, each with the event that says so."""
    failed: dict[str, Event] = {}
    for saga, steps in sagas.items():
        undone = [event for step in steps.values() for event in step.undone]
        if undone:
            failed[saga] = min(undone, key=lambda event: event.index)
    excused = set(parked(history, by))
    said: list[Event] = []
    for event in history.of("note"):
        what = event.data.get("what")
        if what == COMPLETED:
            excused.add(saga_of(event, by))
        elif what in FAILED or (when is not None and when(event)):
            said.append(event)
    if when is not None:
        said += filter(when, history.of(*_BESIDE_NOTES))
        said.sort(key=attrgetter("index"))
    for event in said:
        failed.setdefault(_saga_in(event, by), event)
    return {saga: event for saga, event in failed.items() if saga not in excused}


def _saga_in(event: Event, by: tuple[str, ...]) -> str:
    """Return the saga of any event: a message may carry it as its key."""
    if event.kind == "publish" and event.data.get("key") is not None:
        return str(event.data["key"])
    return saga_of(event, by)


def _left_standing(saga: str, step: Step, why: Event) -> Finding:
    undone = f"was undone {times(len(step.undone))}" if step.undone else "was never undone"
    word = str(why.data.get("method") or why.data.get("what") or why.data.get("topic") or why.kind)
    if why.kind == "publish":
        word = f"a message to {word} says so"
    summary = (
        f"{saga} is being undone ({word}), but {step.forward} happened "
        f"{times(len(step.done))} and {undone}"
    )
    events = tuple(sorted({one.index for one in (*step.done, *step.undone, why)}))
    data = {"saga": saga, "forward": step.forward, "cents": step.cents}
    return Finding(summary, events, step.done[0].entity, data)


def compensation_in_reverse(pairs: Pairs, *, by: Names = BY) -> Property:
    """Claim that the steps of a saga are undone in the reverse of the order they were done in.

    What counts is when a step first happened, and when it was first undone.

    Args:
        pairs: Which step is undone by which: methods of third parties, or notes.
        by: The argument that names the saga; see `every_saga_settles`.

    >>> compensation_in_reverse({"reserve": "release", "charge": "refund"})
    >>> compensation_in_reverse({"seat held": "seat freed", "charge": "refund"}, by="trip")
    """
    names, keys = _checked(pairs), _names(by)

    def undone(evidence: Evidence) -> Iterator[tuple[str, Sequence[Step]]]:
        for saga, steps in _sagas(evidence.history, names, keys).items():
            both = [step for step in steps.values() if step.done and step.undone]
            yield saga, sorted(both, key=lambda step: step.undone[0].index)

    def judge(evidence: Evidence) -> list[Finding]:
        return [
            _wrong_way(saga, first, second)
            for saga, steps in undone(evidence)
            for first, second in pairwise(steps)
            if first.done[0].index < second.done[0].index
        ]

    def tested(evidence: Evidence) -> bool:
        return any(len(steps) > 1 for _, steps in undone(evidence))

    return Property("compensation in reverse order", judge, "always", tested=tested)


def _wrong_way(saga: str, first: Step, second: Step) -> Finding:
    summary = (
        f"{saga} did {first.forward} before {second.forward}, and undid {first.forward} first, "
        "too; promised: in reverse"
    )
    events = sorted(step[0].index for one in (first, second) for step in (one.done, one.undone))
    data = {"saga": saga, "first": first.forward, "second": second.forward}
    return Finding(summary, tuple(events), first.done[0].entity, data)
