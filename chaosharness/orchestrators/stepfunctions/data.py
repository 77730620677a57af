"""The data of one visit of a state: effective input, arguments, result, output, variables."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chaosharness.orchestrators.stepfunctions.branch import Branch
from chaosharness.orchestrators.stepfunctions.definition import State
from chaosharness.orchestrators.stepfunctions.errors import DATA_LIMIT, QUERY, RUNTIME, StateError
from chaosharness.orchestrators.stepfunctions.execution import Execution
from chaosharness.orchestrators.stepfunctions.history import PAYLOAD_MAX, as_text
from chaosharness.orchestrators.stepfunctions.intrinsics import is_call
from chaosharness.orchestrators.stepfunctions.paths import (
    Index,
    Name,
    NoSuchPath,
    Scope,
    compile_path,
)
from chaosharness.orchestrators.stepfunctions.queries import Query, is_query
from chaosharness.orchestrators.stepfunctions.templates import fill, fill_queries, read_field

__all__ = ["Data"]

_TYPES: dict[type, str] = {bool: "boolean", int: "number", float: "number", str: "string",
                           list: "array", dict: "object", type(None): "null"}  # fmt: skip


class Data:
    """Data of one try: made anew for each, since a retry starts from the raw input."""

    def __init__(
        self, execution: Execution, branch: Branch, state: State, raw: Any, retries: int
    ) -> None:
        self.execution = execution
        self.branch = branch
        self.state = state
        self.raw = raw
        self.retries = retries
        self.token: str | None = None
        self.assigned: dict[str, Any] = {}
        self._effective: Any = None
        self._ready = False

    # ---------------------------------------------------------------- where paths start

    @property
    def effective(self) -> Any:
        """The raw input behind InputPath."""
        if not self._ready:
            self._effective = self._through("InputPath", self.raw)
            self._ready = True
        return self._effective

    def _through(self, field: str, value: Any) -> Any:
        if self.state.jsonata:
            return value
        path = self.state.get(field, "$")
        if path is None:
            return {}
        if path == "$":
            return value
        try:
            return compile_path(path).read(self.scope(value))
        except NoSuchPath as error:
            raise StateError(
                RUNTIME, f"Invalid path '{path}' : No results for path: {error}"
            ) from None

    def scope(self, value: Any, item: dict[str, Any] | None = None) -> Scope:
        return Scope(value, self.context(item), self.branch.variables)

    def context(self, item: dict[str, Any] | None = None) -> dict[str, Any]:
        """The context object, `$$` in JSONPath and `$states.context` in JSONata."""
        execution, branch = self.execution, self.branch
        prefix = "arn:aws:states:us-east-1:123456789012"
        found: dict[str, Any] = {
            "Execution": {
                "Id": f"{prefix}:execution:{execution.machine}:{execution.name}",
                "Input": execution.data,
                "Name": execution.name,
                "RoleArn": "arn:aws:iam::123456789012:role/chaosharness",
                "StartTime": _iso(execution.started_ms),
                "RedriveCount": 0,
            },
            "StateMachine": {
                "Id": f"{prefix}:stateMachine:{execution.machine}",
                "Name": execution.machine,
            },
            "State": {"Name": self.state.name, "EnteredTime": _iso(branch.entered_ms)},
        }
        if self.state.kind in ("Task", "Parallel", "Map"):
            found["State"]["RetryCount"] = self.retries
        if self.token is not None:
            found["Task"] = {"Token": self.token}
        if item or branch.item:
            found["Map"] = {"Item": item or branch.item}
        return found

    # ---------------------------------------------------------------- JSONata

    def query(self, field: str, text: Any, **states: Any) -> Any:
        """A JSONata template's value; `states` is what `$states` holds beside input and context."""
        item = states.pop("item", None)
        names = {
            **self.branch.variables,
            "states": {"input": self.raw, "context": self.context(item), **states},
        }
        query = Query(names, self.execution, self.execution.now_ms)
        return fill_queries(text, query, field)

    def wrong_type(self, text: Any, field: str, wanted: str, value: Any) -> StateError:
        inner = text[2:-2].strip() if is_query(text) else as_text(text)
        return StateError(
            QUERY,
            f"The JSONata expression '{inner}' specified for the field '{field}' returned an "
            f"unexpected result type. Expected '{wanted}', but was "
            f"'{_TYPES[type(value)]}' for value: {as_text(value)}",
            field,
            evaluated=True,
        )

    # ---------------------------------------------------------------- fields

    def arguments(self, field: str) -> Any:
        """What a state hands on: Arguments in JSONata, Parameters in JSONPath."""
        if self.state.jsonata:
            given = self.state.get("Arguments", self.raw)
            return self.query("Arguments", given) if "Arguments" in self.state.fields else given
        effective = self.effective
        if field not in self.state.fields:
            return effective
        return fill(self.state[field], self.scope(effective), self.execution)

    def value(self, field: str, default: Any = None) -> Any:
        """A field that may be a JSONata expression."""
        given = self.state.get(field, default)
        return self.query(field, given) if self.state.jsonata and is_query(given) else given

    def found(self, path: str) -> tuple[Any] | None:
        """What a path denotes, in a tuple; None where it denotes nothing."""
        try:
            return (compile_path(path).read(self.scope(self.effective)),)
        except NoSuchPath:
            return None

    def text(self, field: str) -> str | None:
        """Error or Cause of a Fail state: a text, a path, a call or an expression."""
        path = f"{field}Path"
        if path in self.state.fields:
            found = read_field(self.state[path], path, self.scope(self.raw), self.execution)
            return found if isinstance(found, str) else as_text(found)
        value = self.value(field)
        return value if value is None or isinstance(value, str) else as_text(value)

    def seconds(self, field: str) -> int | None:
        """TimeoutSeconds or HeartbeatSeconds in milliseconds, also by its path."""
        path = f"{field}Path"
        if path in self.state.fields:
            value = self._through(path, self.effective)
        else:
            value = self.value(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise StateError(
                RUNTIME, f"{field} must be a positive number of seconds, not {as_text(value)}"
            )
        return int(value * 1000)

    # ---------------------------------------------------------------- the way out

    def finish(
        self, result: Any, *, shaped: bool = True, source: Mapping[str, Any] | None = None
    ) -> Any:
        """The state's output; fills `assigned`. `source` is the choice rule that was taken."""
        fields = source if source is not None and "Assign" in source else self.state.fields
        if self.state.jsonata:
            states = {"result": result} if shaped else {}
            self._assign(fields, result, states)
            outputs = source if source is not None and "Output" in source else self.state.fields
            output = self.query("Output", outputs["Output"], **states) \
                if "Output" in outputs else result  # fmt: skip
            return self._limited(output)
        if shaped and "ResultSelector" in self.state.fields:
            scope = self.scope(result)
            result = fill(self.state["ResultSelector"], scope, self.execution)
        self._assign(fields, result, {})
        placed = self._placed(result)
        return self._limited(self._through("OutputPath", placed))

    def _assign(self, fields: Mapping[str, Any], result: Any, states: dict[str, Any]) -> None:
        if "Assign" not in fields:
            return
        if self.state.jsonata:
            self.assigned = self.query("Assign", fields["Assign"], **states)
        else:
            self.assigned = fill(fields["Assign"], self.scope(result), self.execution)

    def _placed(self, result: Any) -> Any:
        if "ResultPath" not in self.state.fields:
            return result
        path = self.state["ResultPath"]
        if path is None:
            return self.raw
        return place(path, self.raw, result)

    def _limited(self, output: Any) -> Any:
        if len(as_text(output)) > PAYLOAD_MAX // 4 and len(as_text(output).encode()) > PAYLOAD_MAX:
            raise StateError(
                DATA_LIMIT,
                f"The state/task '{self.state.name}' returned a result with a size exceeding the "
                "maximum number of bytes service limit.",
            )
        return output

    def caught(self, error: StateError, catcher: Mapping[str, Any]) -> Any:
        """The output of a Catch; fills `assigned`."""
        told = error.output()
        self.assigned = {}
        if self.state.jsonata:
            states = {"errorOutput": told}
            if "Assign" in catcher:
                self.assigned = self.query("Assign", catcher["Assign"], **states)
            return self.query("Output", catcher["Output"], **states) \
                if "Output" in catcher else told  # fmt: skip
        if "Assign" in catcher:
            self.assigned = fill(catcher["Assign"], self.scope(told), self.execution)
        path = catcher.get("ResultPath", "$")
        return self.raw if path is None else place(path, self.raw, told)

    def template(self, given: Any, field: str, value: Any, item: dict[str, Any] | None) -> Any:
        """A template that stands in a field of its own, such as ItemSelector."""
        if self.state.jsonata:
            return self.query(field, given, item=item)
        return fill(given, self.scope(value, item), self.execution)

    def read(self, text: str, field: str) -> Any:
        """A path or a call in a field, from the effective input."""
        if not is_call(text) and text == "$":
            return self.effective
        return read_field(text, field, self.scope(self.effective), self.execution)


def place(path: str, data: Any, result: Any) -> Any:
    """A copy of the data with the result at a reference path; objects on the way are made."""
    steps = compile_path(path).steps
    return _place(list(steps), data, result, path)


def _place(steps: list[Any], data: Any, result: Any, path: str) -> Any:
    if not steps:
        return result
    step, *rest = steps
    match step:
        case Name(name):
            if data is not None and not isinstance(data, Mapping):
                raise StateError(
                    "States.ResultPathMatchFailure",
                    f"Unable to apply step '{name}' to input '{as_text(data)}'",
                )
            inner = {} if data is None else dict(data)
            inner[name] = _place(rest, inner.get(name), result, path)
            return inner
        case Index(index):
            if not isinstance(data, list) or not 0 <= index < len(data):
                raise StateError(
                    "States.ResultPathMatchFailure",
                    f"Unable to apply '{path}' to '{as_text(data)}'",
                )
            return [*data[:index], _place(rest, data[index], result, path), *data[index + 1 :]]
    raise StateError("States.ResultPathMatchFailure", f"{path!r} is no reference path")


def _iso(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
