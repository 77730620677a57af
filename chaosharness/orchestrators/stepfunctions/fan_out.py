"""Parallel and Map: children, their number at once, and how many of them may fail.

*Source*: Amazon States Language, "Parallel State" and "Map State"; rule S7; recorded histories.
*Not modelled*: reading items from S3 in parts, writing results there; a distributed Map's children
have no histories of their own.
"""

from collections.abc import Generator
from typing import Any

from chaosharness.orchestrators.stepfunctions.branch import Branch, Child, Fork, Request, Work
from chaosharness.orchestrators.stepfunctions.data import Data
from chaosharness.orchestrators.stepfunctions.definition import State
from chaosharness.orchestrators.stepfunctions.errors import (
    QUERY,
    RUNTIME,
    TOLERANCE,
    StateError,
)
from chaosharness.orchestrators.stepfunctions.execution import Execution
from chaosharness.orchestrators.stepfunctions.history import as_text

__all__ = ["run_branches", "run_items"]

Visit = Generator[Request, Any, tuple[Any, str | None]]


def run_branches(execution: Execution, branch: Branch, state: State, data: Data) -> Visit:
    """A Parallel state: every branch with the same input; the first failure stops the others."""
    given = data.arguments("Parameters")
    execution.write(branch, "ParallelStateStarted")
    branch.begun = True
    children = tuple(Child(graph, given) for graph in state.graphs)
    results = yield Fork(
        children, 0, 0, ended=_abort_own(execution), aborted=_abort_state(execution)
    )
    execution.write(branch, "ParallelStateSucceeded", chain=False)
    return data.finish(results), (None if state.ends else state["Next"])


def _abort_state(execution: Execution) -> Any:
    def aborted(child: Branch, index: int) -> None:
        if child.kind in ("Task", "Parallel", "Map", "Wait"):
            execution.write(child, f"{child.kind}StateAborted", chain=False)

    return aborted


def _abort_own(execution: Execution) -> Any:
    """A task that failed is told as aborted too, once its failure has ended its branch."""

    def ended(child: Branch, index: int, well: bool) -> int:
        if not well and child.kind == "Task":
            execution.write(child, "TaskStateAborted", chain=False)
        return child.last_event

    return ended


def run_items(execution: Execution, branch: Branch, state: State, data: Data) -> Visit:
    """A Map state, inline or distributed."""
    graph = state.graphs[0]
    items = yield from _items(execution, branch, state, data)
    most = _number(state, data, "MaxConcurrency", "integer") or 0
    shown = 0 if "ItemReader" in state.fields else len(items)
    execution.write(branch, "MapStateStarted", {"length": shown})
    tolerated = _tolerated(state, data, len(items)) if graph.distributed else 0
    branch.begun = True
    if graph.distributed:
        arn = f"arn:aws:states:us-east-1:123456789012:mapRun:{execution.machine}/{state.name}"
        execution.write(branch, "MapRunStarted", {"mapRunArn": f"{arn}:{execution.uuid()}"})
    children = tuple(
        Child(graph, value, item, graph.distributed) for value, item in _inputs(state, data, items)
    )
    ends = _Iterations(execution, state.name, branch)
    try:
        results = yield (
            Fork(children, int(most), tolerated)
            if graph.distributed
            else Fork(children, int(most), tolerated, ends.started, ends.ended, ends.aborted)
        )
    except StateError as error:
        raise _map_failed(execution, branch, graph.distributed, tolerated, error) from None
    if graph.distributed:
        execution.write(branch, "MapRunSucceeded")
    execution.write(branch, "MapStateSucceeded", chain=False)
    return data.finish([r for r in results]), (None if state.ends else state["Next"])


def _map_failed(
    execution: Execution, branch: Branch, distributed: bool, tolerated: int, error: StateError
) -> StateError:
    if not distributed:
        return error
    told = StateError(TOLERANCE, "The specified tolerated failure threshold was exceeded")
    execution.write(branch, "MapRunFailed", {"cause": told.cause, "error": told.error})
    return told


class _Iterations:
    """The events of an inline Map's items."""

    def __init__(self, execution: Execution, name: str, parent: Branch) -> None:
        self.execution = execution
        self.name = name
        self.parent = parent

    def started(self, child: Branch, index: int) -> None:
        details = {"index": index, "name": self.name}
        self.execution.write(child, "MapIterationStarted", details)

    def ended(self, child: Branch, index: int, well: bool) -> int:
        details = {"index": index, "name": self.name}
        word = "Succeeded" if well else "Failed"
        return self.execution.write(child, f"MapIteration{word}", details, chain=False)

    def aborted(self, child: Branch, index: int) -> None:
        details = {"index": index, "name": self.name}
        self.execution.write(child, "MapIterationAborted", details, chain=False)


def _items(
    execution: Execution, branch: Branch, state: State, data: Data
) -> Generator[Request, Any, list[Any]]:
    if "ItemReader" in state.fields:
        return (yield from _read_items(execution, state, data))
    if state.jsonata:
        if "Items" in state.fields:
            items = data.query("Items", state["Items"])
            if not isinstance(items, list):
                raise data.wrong_type(state["Items"], "Items", "array", items)
            return list(items)
        items = data.raw
        if not isinstance(items, list):
            raise StateError(
                QUERY, f"Map state input must be an array but was: {as_text(items)}",
                evaluated=True,
            )  # fmt: skip
        return list(items)
    items = data.read(state.get("ItemsPath", "$"), "ItemsPath")
    if not isinstance(items, list):
        path = state.get("ItemsPath", "$")
        raise StateError(RUNTIME, f'Reference path "{path}" must point to array.')
    return list(items)


def _read_items(
    execution: Execution, state: State, data: Data
) -> Generator[Request, Any, list[Any]]:
    reader = state["ItemReader"]
    field = "Arguments" if state.jsonata else "Parameters"
    given = data.template(reader.get(field, {}), f"ItemReader/{field}", data.effective, None)
    token = execution.uuid()
    items = yield Work("reader", "s3", reader["Resource"], given, token=token)
    most = reader.get("ReaderConfig", {}).get("MaxItems")
    return list(items)[:most]


def _inputs(state: State, data: Data, items: list[Any]) -> Any:
    field = "ItemSelector" if "ItemSelector" in state.fields else "Parameters"
    for index, value in enumerate(items):
        item = {"Index": index, "Value": value}
        if field in state.fields:
            yield data.template(state[field], field, data.effective, item), item
        else:
            yield value, item


def _number(state: State, data: Data, field: str, kind: str) -> float | None:
    path = f"{field}Path"
    if path not in state.fields:
        value = data.value(field)
        if state.jsonata and value is not None and not _is_number(value):
            raise data.wrong_type(state[field], field, "number", value)
        return value  # type: ignore[no-any-return]
    value = data.read(state[path], path)
    number = _as_number(value, kind)
    if number is None:
        shown = value if isinstance(value, str) else as_text(value)
        raise StateError(
            RUNTIME,
            f'The {path} field refers to value "{shown}" which is not a valid {kind}: '
            f"{state[path]}",
        )
    return number


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_number(value: Any, kind: str) -> float | None:
    try:
        if isinstance(value, bool | dict | list) or value is None:
            return None
        return int(value) if kind == "integer" else float(value)
    except ValueError:
        return None


def _tolerated(state: State, data: Data, length: int) -> int:
    count = _number(state, data, "ToleratedFailureCount", "integer") or 0
    percentage = _number(state, data, "ToleratedFailurePercentage", "float") or 0.0
    if not 0 <= percentage <= 100:
        raise StateError(RUNTIME, "ToleratedFailurePercentage must be between 0 and 100.")
    if count < 0:
        raise StateError(RUNTIME, "ToleratedFailureCount must not be negative.")
    return max(int(count), int(length * percentage / 100))
