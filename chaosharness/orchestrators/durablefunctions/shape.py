"""What durable functions did in a run, in order: read from the operations of their executions.

A durable function is code: no definition says its steps. What stands in a context (a child's, a
branch's, an item's of a map) is shown in its place; branches and items go on side by side.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from chaosharness.orchestrators.shape import BEGIN, END, Move, StepGraph

__all__ = ["steps_of"]

BESIDE: Final = ("Parallel", "Map")
WORDS: Final = {"WAIT": "wait", "CALLBACK": "callback", "CHAINED_INVOKE": "invoke"}

Operations = Mapping[str | None, list[Mapping[str, Any]]]


def steps_of(histories: Iterable[str]) -> list[StepGraph]:
    """Return what was seen of each function, of executions as `event_histories` has them.

    Histories of other engines are left out.
    """
    found: dict[str, list[Move]] = {}
    for text in histories:
        execution = json.loads(text)
        if "DurableExecutionArn" not in execution:
            continue
        function = execution["FunctionArn"].rpartition(":")[2]
        moves = found.setdefault(function, [])
        last = _through(_by_parent(execution["Operations"]), None, [BEGIN], moves)
        moves += [Move(source, END) for source in last]
    return [StepGraph(name, "durable functions", moves, True) for name, moves in found.items()]


def _by_parent(operations: Iterable[Mapping[str, Any]]) -> Operations:
    found: dict[str | None, list[Mapping[str, Any]]] = {}
    for one in operations:
        found.setdefault(one.get("ParentId"), []).append(one)
    return found


def _through(
    operations: Operations,
    parent: str | None,
    before: list[str],
    moves: list[Move],
    beside: bool = False,
) -> list[str]:
    """Go through what stands in a context; return the steps that were its last."""
    last: list[str] = []
    for one in operations.get(parent, ()):
        begins = before if beside or not last else last
        if one["Type"] == "CONTEXT":
            ends = _through(operations, one["Id"], begins, moves, one.get("SubType") in BESIDE)
        else:
            ends = [_name(one)]
            moves += [Move(source, ends[0]) for source in begins]
        last = [*last, *ends] if beside else ends
    return [*dict.fromkeys(last or before)]


def _name(operation: Mapping[str, Any]) -> str:
    kind, named = WORDS.get(operation["Type"], ""), operation.get("Name") or ""
    return f"{kind} {named}".strip() or str(operation.get("SubType") or operation["Type"]).lower()
