"""A saga's steps in their order: from its list, or as its code asked for them in a run."""

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

from chaosharness.orchestrators.saga.definition import Ask, Saga, Step
from chaosharness.orchestrators.shape import BEGIN, END, Move, StepGraph

__all__ = ["SEEN", "see", "steps_of", "tell_database"]

Groups = list[tuple[Ask, ...]]

SEEN: Final[ContextVar[dict[str, StepGraph] | None]] = ContextVar("sagas that were seen")
"""The sagas that a run has shown, by name, where somebody looks for them."""


def see(saga: Saga, groups: Groups) -> None:
    """Take note of a saga, and of what its code has asked for: together, or one after another."""
    seen = SEEN.get(None)
    if seen is None:
        return
    found = steps_of(saga, groups)
    known = seen.get(saga.name)
    if known is None or len(known.moves) < len(found.moves):
        seen[saga.name] = found


def tell_database(saga: Saga, db: Any) -> None:
    """Tell a database of a test which saga is run on it; any other does not ask."""
    know = getattr(getattr(db, "_store", None), "know_saga", None)
    if know is not None:
        know(saga)


def steps_of(saga: Saga, groups: Groups) -> StepGraph:
    """Return the steps of a saga; `groups` are those of one that is code."""
    stages: list[tuple[tuple[Ask, ...], ...]] = [*saga.stages]
    stages += [tuple((one,) for one in group) for group in groups]
    engine = "saga" if saga.code is None else "saga in code"
    return StepGraph(saga.name, engine, _moves(stages), saga.code is not None)


def _moves(stages: list[Any]) -> Iterator[Move]:
    before = [BEGIN]
    for stage in stages:
        last = []
        for branch in stage:
            sources = before
            for one in branch:
                yield from (Move(source, one.name) for source in sources)
                yield from _of(one)
                sources = [one.name]
            last += sources
        before = last
    yield from (Move(source, END) for source in before)


def _of(one: Ask) -> Iterator[Move]:
    """What makes up for a step, and who else may do it."""
    if not isinstance(one, Step):
        return
    if one.undo:
        yield Move(one.name, one.undo, undoes=True)
    for other in one.fallback:
        yield Move(one.name, other.action, "it is known not to have happened")
        if other.undo:
            yield Move(other.action, other.undo, undoes=True)
