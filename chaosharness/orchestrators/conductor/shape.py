"""The tasks of a Conductor workflow in their order: forks, switches, loops, failure workflows."""

from collections.abc import Generator, Iterator

from chaosharness.orchestrators.conductor.definition import Blueprint, Step
from chaosharness.orchestrators.shape import BEGIN, END, Move, StepGraph

__all__ = ["steps_of"]


def steps_of(blueprint: Blueprint) -> StepGraph:
    """Return the tasks of a workflow and what comes after each."""
    return StepGraph(blueprint.name, "Conductor", _workflow(blueprint))


def _workflow(blueprint: Blueprint) -> Iterator[Move]:
    ends = yield from _in_order(blueprint.steps, [(BEGIN, "")])
    yield from (Move(source, END, when) for source, when in ends)
    if blueprint.failure_workflow:
        yield Move(END, blueprint.failure_workflow, "it has failed", undoes=True)


Ends = list[tuple[str, str]]
"""Where a list of tasks ends, and under which condition from there."""


def _in_order(steps: tuple[Step, ...], before: Ends) -> Generator[Move, None, Ends]:
    """Yield what comes after each; return where the list ends."""
    for step in steps:
        yield from (Move(source, step.ref, when) for source, when in before)
        before = [(step.ref, "")]
        if step.kind == "TERMINATE":
            yield Move(step.ref, END)
            return []
        if step.kind == "DO_WHILE":
            last = yield from _in_order(step.lists[0], before)
            yield from (Move(source, step.ref, "again") for source, _ in last)
        elif step.lists:
            names = ["beside"] * len(step.lists)
            if step.kind == "SWITCH":
                names = [*step.cases, "no case"]
            before = []
            for when, inner in zip(names, step.lists, strict=False):
                before += yield from _in_order(inner, [(step.ref, when)])
    return before
