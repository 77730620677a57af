"""The states of a state machine in their order: transitions, choices, catchers, branches."""

from collections.abc import Iterator, Mapping
from typing import Any

from chaosharness.orchestrators.shape import BEGIN, END, Move, StepGraph
from chaosharness.orchestrators.stepfunctions.definition import Graph, State

__all__ = ["steps_of"]

WORDS_MAX = 60


def steps_of(name: str, graph: Graph) -> StepGraph:
    """Return the states of a definition and what comes after each."""
    return StepGraph(name, "Step Functions", [Move(BEGIN, graph.start), *_moves(graph, END)])


def _moves(graph: Graph, end: str) -> Iterator[Move]:
    """Yield what comes after each state; what ends the graph goes on to `end`."""
    for state in graph.states.values():
        for inner in state.graphs:
            yield Move(state.name, inner.start, "each item" if state.kind == "Map" else "beside")
            yield from _moves(inner, f"{state.name}, done")
        source = f"{state.name}, done" if state.graphs else state.name
        yield from _after(state, source, end)


def _after(state: State, source: str, end: str) -> Iterator[Move]:
    for rule in state.get("Choices", ()):
        yield Move(state.name, rule["Next"], _shown(rule))
    if "Default" in state.fields:
        yield Move(state.name, state["Default"], "nothing else holds")
    if state.kind != "Choice":
        yield Move(source, end if state.ends else state["Next"])
    for catcher in state.get("Catch", ()):
        yield Move(
            state.name, catcher["Next"], f"it fails with {', '.join(catcher['ErrorEquals'])}"
        )


def _shown(rule: Mapping[str, Any]) -> str:
    if "Condition" in rule:
        words = str(rule["Condition"])
    else:
        said = {name: one for name, one in rule.items() if name not in ("Next", "Comment")}
        words = " ".join(
            str(one) if name == "Variable" else f"{name} {one}" for name, one in said.items()
        )
    return words if len(words) <= WORDS_MAX else words[: WORDS_MAX - 3] + "..."
