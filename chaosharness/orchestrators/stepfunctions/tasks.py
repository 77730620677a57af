"""Task states: what a Resource asks for, its time limits, its events.

*Source*: developer guide, "Task workflow state", "Integrating services", rules S2, S3 and S8.
"""

import re
from collections.abc import Generator, Iterable, Mapping
from typing import Any

from chaosharness.orchestrators.stepfunctions.branch import Branch, Request, Work
from chaosharness.orchestrators.stepfunctions.data import Data
from chaosharness.orchestrators.stepfunctions.definition import Graph, State
from chaosharness.orchestrators.stepfunctions.execution import Execution
from chaosharness.orchestrators.stepfunctions.history import as_text

__all__ = ["function_name", "functions_of", "parse_resource", "run"]

_SERVICE = re.compile(r"arn:[^:]*:states:::(?P<service>(aws-sdk:)?[^:.]+):(?P<action>.+)")
_FUNCTION = re.compile(r"arn:[^:]*:lambda:[^:]*:[^:]*:function:(?P<name>[^:]+)(:[^:]+)?")
_ACTIVITY = re.compile(r"arn:[^:]*:states:[^:]*:[^:]*:activity:(?P<name>.+)")


def parse_resource(resource: str) -> tuple[str, str, str]:
    """A Resource as (kind, service, name): ("service", "sqs", "sendMessage.waitForTaskToken")."""
    if found := _SERVICE.fullmatch(resource):
        return "service", found["service"], found["action"]
    if found := _FUNCTION.fullmatch(resource):
        return "function", "lambda", found["name"]
    if found := _ACTIVITY.fullmatch(resource):
        return "activity", "activity", found["name"]
    return "function", "lambda", resource  # a plain name: a function that the harness is given


def function_name(resource: str) -> str:
    """A FunctionName, which may be an ARN and end in a version, as a plain name."""
    if ":function:" in resource:
        resource = resource.split(":function:", 1)[1]
    return resource.split(":", 1)[0]


def functions_of(graphs: Iterable[Graph]) -> set[str]:
    """Return the names of the functions that tasks run; "" where data says which."""
    names: set[str] = set()
    tasks = (one for graph in graphs for one in graph.every_state() if one.kind == "Task")
    for state in tasks:
        kind, service, name = parse_resource(state["Resource"])
        if kind == "function":
            names.add(name)
        elif service == "lambda":
            given = state.get("Parameters", state.get("Arguments", {}))
            found = given.get("FunctionName") if isinstance(given, Mapping) else None
            names.add(function_name(found) if isinstance(found, str) else "")
    return names


def run(
    execution: Execution, branch: Branch, state: State, data: Data
) -> Generator[Request, Any, tuple[Any, str | None]]:
    """Ask for the work, wait for its answer, and shape it."""
    kind, service, action = parse_resource(state["Resource"])
    callback = action.endswith(".waitForTaskToken")
    token = execution.uuid()
    data.token = token
    work = Work(
        kind,
        service,
        action,
        data.arguments("Parameters"),
        callback,
        data.seconds("TimeoutSeconds"),
        data.seconds("HeartbeatSeconds"),
        token,
    )
    _scheduled(execution, branch, state, data, work)
    result = yield work
    return data.finish(result), (None if state.ends else state["Next"])


def _scheduled(execution: Execution, branch: Branch, state: State, data: Data, work: Work) -> None:
    limits: dict[str, Any] = {}
    if work.timeout_ms is not None:
        limits["timeoutInSeconds"] = work.timeout_ms // 1000
    if work.heartbeat_ms is not None:
        limits["heartbeatInSeconds"] = work.heartbeat_ms // 1000
    if "Credentials" in state.fields:
        given = data.template(state["Credentials"], "Credentials", data.effective, None)
        limits["taskCredentials"] = {"roleArn": given.get("RoleArn")}
    text = as_text(work.arguments)
    if work.kind == "service":
        named = {"resource": work.resource, "resourceType": work.service}
        execution.write(
            branch, "TaskScheduled",
            {"parameters": text, "region": "us-east-1", **named, **limits},
        )  # fmt: skip
        execution.write(branch, "TaskStarted", named)
        return
    details = {"input": text, "resource": state["Resource"], **limits}
    if work.kind == "activity":
        execution.write(branch, "ActivityScheduled", details)
        return
    execution.write(branch, "LambdaFunctionScheduled", details)
    execution.write(branch, "LambdaFunctionStarted")
