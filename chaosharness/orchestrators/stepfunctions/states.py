"""The interpreter: how a branch walks through its states, one generator per branch.

*Source*: Amazon States Language; rules S4 to S9 of `docs/explanation/orchestrators.md`; histories
recorded from AWS.
"""

from collections.abc import Generator
from typing import Any

from chaosharness.orchestrators.stepfunctions import fan_out, tasks
from chaosharness.orchestrators.stepfunctions.branch import Branch, Request, Turn, Until, Walk
from chaosharness.orchestrators.stepfunctions.choices import chosen, parse_timestamp
from chaosharness.orchestrators.stepfunctions.data import Data
from chaosharness.orchestrators.stepfunctions.definition import State
from chaosharness.orchestrators.stepfunctions.errors import (
    NO_CHOICE,
    QUERY,
    RUNTIME,
    TIMEOUT,
    StateError,
)
from chaosharness.orchestrators.stepfunctions.execution import Execution
from chaosharness.orchestrators.stepfunctions.history import as_text
from chaosharness.orchestrators.stepfunctions.tries import Tries

__all__ = ["walk_states"]


def walk_states(execution: Execution, branch: Branch) -> Walk:
    """Walk from the start to an end: return the output, or raise the StateError it ends by."""
    data, name = branch.data, branch.resumes or branch.graph.start
    while True:
        state = branch.graph.states[name]
        data, target = yield from _visit(execution, branch, state, data)
        if target is None:
            return data
        name = target


def _visit(
    execution: Execution, branch: Branch, state: State, raw: Any
) -> Generator[Request, Any, tuple[Any, str | None]]:
    if branch.state != state.name:
        branch.last = None
    branch.state, branch.kind, branch.entered_ms = state.name, state.kind, execution.now_ms
    branch.raw = raw
    before = branch.last_event
    entered = execution.write(
        branch, f"{state.kind}StateEntered", {"name": state.name, "input": as_text(raw)},
        key="stateEnteredEventDetails",
    )  # fmt: skip
    yield Turn()
    tries = Tries(state)
    while True:
        data = Data(execution, branch, state, raw, tries.made)
        branch.begun = False
        try:
            if state.kind in _AT_ONCE:
                output, target = _AT_ONCE[state.kind](state, data)
            else:
                output, target = yield from _IN_TIME[state.kind](execution, branch, state, data)
        except StateError as error:
            told = _told(error, state, entered)
            if told.evaluated:
                _write_evaluation(execution, branch, state, told, before)
            wait_ms = tries.next_wait_ms(told, execution)
            if wait_ms is not None:
                yield Until(execution.now_ms + wait_ms)
                continue
            if state.kind in ("Map", "Parallel") and (branch.begun or told.evaluated):
                execution.write(branch, f"{state.kind}StateFailed")
            if told.error == TIMEOUT and state.kind == "Task":
                execution.given_up.append(state.name)
            caught = tries.catcher(told)
            if caught is None:
                raise told from None
            output, target = data.caught(told, caught), caught["Next"]
        told_of: dict[str, Any] = {"name": state.name, "output": as_text(output)}
        if data.assigned:
            told_of["assignedVariables"] = {n: as_text(v) for n, v in data.assigned.items()}
        if state.kind != "Fail":
            exited = f"{state.kind}StateExited"
            execution.write(branch, exited, told_of, key="stateExitedEventDetails")
        branch.variables.update(data.assigned)
        yield Turn()
        return output, target


def _told(error: StateError, state: State, entered: int) -> StateError:
    """The error as AWS tells it: errors of the interpreter say where they happened."""
    if error.error not in (RUNTIME, QUERY, "States.IntrinsicFailure") or not error.cause:
        return error
    if error.cause.startswith("An error occurred while executing the state"):
        return error
    where = f"An error occurred while executing the state '{state.name}' (entered at the event id "
    return StateError(
        error.error, f"{where}#{entered}). {error.cause}", error.location, error.evaluated
    )


def _write_evaluation(
    execution: Execution, branch: Branch, state: State, error: StateError, before: int
) -> None:
    details = {"cause": error.cause, "error": error.error, "state": state.name}
    if error.location:
        details["location"] = error.location
    execution.write(branch, "EvaluationFailed", details, previous=before)


def _end(state: State) -> str | None:
    return None if state.ends else state["Next"]


def _pass(state: State, data: Data) -> tuple[Any, str | None]:
    result = state["Result"] if "Result" in state.fields else data.arguments("Parameters")
    return data.finish(result, shaped=False), _end(state)


def _succeed(state: State, data: Data) -> tuple[Any, str | None]:
    return data.finish(data.effective, shaped=False), None


def _fail(state: State, data: Data) -> tuple[Any, str | None]:
    raise StateError(data.text("Error"), data.text("Cause"))


def _choice(state: State, data: Data) -> tuple[Any, str | None]:
    for number, rule in enumerate(state["Choices"]):
        if state.jsonata:
            field = f"Choices[{number}]/Condition"
            holds = data.query(field, rule["Condition"])
            if not isinstance(holds, bool):
                raise data.wrong_type(rule["Condition"], field, "boolean", holds)
        else:
            holds = chosen(rule, data.scope(data.effective))
        if holds:
            return data.finish(data.effective, shaped=False, source=rule), rule["Next"]
    if "Default" not in state.fields:
        raise StateError(
            NO_CHOICE, f"No choice rule matched and the state '{state.name}' has no Default."
        )
    return data.finish(data.effective, shaped=False), state["Default"]


def _wait(
    execution: Execution, branch: Branch, state: State, data: Data
) -> Generator[Request, Any, tuple[Any, str | None]]:
    yield Until(_wait_until(execution, state, data))
    return data.finish(data.effective, shaped=False), _end(state)


def _wait_until(execution: Execution, state: State, data: Data) -> int:
    if "Timestamp" in state.fields or "TimestampPath" in state.fields:
        return execution.now_ms + _until_timestamp(execution, state, data)
    if "SecondsPath" in state.fields:
        path = state["SecondsPath"]
        found = data.found(path)
        if found is None:
            raise StateError(
                RUNTIME, f"The SecondsPath parameter does not reference an input value: {path}"
            )
        seconds = found[0]
        if not _whole(seconds) or seconds < 0:
            raise StateError(
                RUNTIME, "The SecondsPath parameter cannot be parsed as a long value: "
                f"{path} == {_bare(seconds)}",
            )  # fmt: skip
    else:
        seconds = data.value("Seconds")
        if state.jsonata and not _whole(seconds):
            raise data.wrong_type(state["Seconds"], "Seconds", "integer", seconds)
    return execution.now_ms + int(seconds * 1000)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


def _until_timestamp(execution: Execution, state: State, data: Data) -> int:
    if "TimestampPath" in state.fields:
        path = state["TimestampPath"]
        found = data.found(path)
        text = found[0] if found else None
        words = (
            "The TimestampPath parameter does not reference a valid ISO-8601 extended offset "
            f"date-time format string: {path} == {_bare(text)}"
        )
        error = StateError(RUNTIME, words)
    else:
        text = data.value("Timestamp")
        words = (
            "The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time "
            f"format string: {_bare(text)}"
        )
        error = StateError(QUERY if state.jsonata else RUNTIME, words, "Timestamp", state.jsonata)
    moment = parse_timestamp(text)
    if moment is None:
        raise error
    return max(0, int(moment.timestamp() * 1000) - execution.now_ms)


_AT_ONCE = {"Pass": _pass, "Succeed": _succeed, "Fail": _fail, "Choice": _choice}
_IN_TIME = {
    "Wait": _wait,
    "Task": tasks.run,
    "Parallel": fan_out.run_branches,
    "Map": fan_out.run_items,
}
