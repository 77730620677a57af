"""Step Functions as the SDK speaks with it: executions of the state machines of a system.

Source:
    AWS Step Functions API Reference, of each action here; its "Common Error Types".

Not modelled:
    State machines that are made or deleted at run time, aliases, versions, map runs, tags; pages of
    lists; ARNs of another account. To ask about executions of Express workflows afterwards.
    GetActivityTask answers at once, also where there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from chaosharness.adapters.aws.answers import FAILED, Said
from chaosharness.adapters.aws.asking import Line, Request, not_known
from chaosharness.externals.request import call
from chaosharness.kernel.history import plain
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.orchestrators.stepfunctions.engine import OpenStepFunctions
from chaosharness.orchestrators.stepfunctions.machine import arn_of
from chaosharness.orchestrators.stepfunctions.refusals import StepFunctionsError

Words = dict[str, Any]

UNMODELLED: Final = ("nextToken", "reverseOrder", "mapRunArn", "traceHeader", "versionDescription")
DATES: Final = ("startDate", "stopDate", "updateDate", "redriveDate", "timestamp")
THROTTLED: Final = {"Code": "ThrottlingException", "Message": "Rate exceeded"}


class Executions:
    """Step Functions of a run, as the SDK sees it."""

    def __init__(self, engine: OpenStepFunctions) -> None:
        self.name = engine.name
        self.engine = engine

    def knows(self, action: str) -> bool:
        """Say whether an action is modelled."""
        return action in ASKED or action in READ

    def about(self, request: Request) -> str:
        """Return the state machine that a request is about, or the activity."""
        given = request.given
        for name in UNMODELLED:
            if given.get(name):
                not_known(request, name)
        if "executionArn" in given:
            return str(given["executionArn"]).rsplit(":", 2)[-2]
        named = given.get("stateMachineArn") or given.get("activityArn") or ""
        return str(named).rpartition(":")[2]

    def refused(self, request: Request) -> Said:
        """Return what it says where it does nothing for now: the SDK tries again."""
        return Said(FAILED, THROTTLED)

    def waits(self, request: Request) -> Callable[[Scope, Line], Any] | None:
        """Have the service itself answer, at once or when an execution has ended."""

        def asked(scope: Scope, line: Line) -> Any:
            about = self.about(request)
            action = f"{self.name}.{request.method}{about and f' {about}'}"
            shown = {"method": request.method, **_shown(request.given)}
            return call(action, _Asked(scope, self, request), request, shown)

        return asked

    def do(self, request: Request, scope: Scope, operation: str, attempt: int) -> dict[str, Any]:
        """Answer what only reads what there is."""
        return READ[request.action](self.engine, request.given)


class _Asked(Line):
    """One request, which the service answers when it can."""

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Request, reply: Any
    ) -> None:
        """Have the service answer, in the words of the SDK."""
        speaker: Any = self._speaker
        if request.action in READ:
            super().serve(caller, operation, attempt, request, reply)
            return
        what, words = ASKED[request.action]

        def told(value: Any, error: BaseException | None, **more: Any) -> None:
            if isinstance(error, StepFunctionsError):
                error = Said(FAILED, dict(error.response["Error"]))
            reply(None if value is None else dated(value), error, **more)

        speaker.engine.serve(caller, operation, attempt, (what, words(request.given)), told)


def dated(value: Any) -> Any:
    """Return an answer with dates for virtual times."""
    if isinstance(value, Mapping):
        return {
            name: _date(one) if name in DATES else dated(one)
            for name, one in value.items()
            if one is not None
        }
    return [dated(one) for one in value] if isinstance(value, list) else value


def _date(at_ms: Any) -> datetime:
    return datetime.fromtimestamp((EPOCH_MS + at_ms) / 1000, UTC)


def _shown(given: Mapping[str, Any]) -> dict[str, Any]:
    names = {"stateMachineArn": "machine", "executionArn": "execution", "taskToken": ""}
    return {names.get(name, name): plain(value) for name, value in given.items()
            if names.get(name, name)}  # fmt: skip


def _start(given: Mapping[str, Any], *, wait: bool) -> Words:
    return {"machine": given["stateMachineArn"], "name": given.get("name", ""),
            "text": given.get("input", "{}"), "wait": wait}  # fmt: skip


def _of(given: Mapping[str, Any]) -> Words:
    return {"arn": given["executionArn"]}


def _why(given: Mapping[str, Any]) -> Words:
    return {"error": given.get("error"), "cause": given.get("cause")}


ASKED: Final[dict[str, tuple[str, Callable[[Mapping[str, Any]], Words]]]] = {
    "StartExecution": ("start", lambda given: _start(given, wait=False)),
    "StartSyncExecution": ("start", lambda given: _start(given, wait=True)),
    "StopExecution": ("stop", lambda given: {**_of(given), **_why(given)}),
    "RedriveExecution": (
        "redrive", lambda given: {**_of(given), "token": given.get("clientToken", "")}
    ),
    "DescribeExecution": ("describe", _of),
    "GetExecutionHistory": ("history", _of),
    "SendTaskSuccess": (
        "success", lambda given: {"token": given["taskToken"], "text": given["output"]}
    ),
    "SendTaskFailure": ("failure", lambda given: {"token": given["taskToken"], **_why(given)}),
    "SendTaskHeartbeat": ("heartbeat", lambda given: {"token": given["taskToken"]}),
    "GetActivityTask": (
        "activity", lambda given: {"name": str(given["activityArn"]).rpartition(":")[2]}
    ),
    "UpdateStateMachine": (
        "update",
        lambda given: {"machine": given["stateMachineArn"], "definition": given["definition"]},
    ),
}  # fmt: skip
"""What the service is asked, by the SDK's actions."""


def _machines(engine: OpenStepFunctions, given: Mapping[str, Any]) -> Words:
    found = [
        {"stateMachineArn": arn_of(name), "name": name, "type": engine.service.kinds[name],
         "creationDate": _date(0)}
        for name in engine.service.graphs
    ]  # fmt: skip
    return {"stateMachines": found}


def _listed(engine: OpenStepFunctions, given: Mapping[str, Any]) -> Words:
    wanted = str(given.get("stateMachineArn", "")).rpartition(":")[2]
    found = []
    for (machine, name), one in engine.service.executions.items():
        if machine != wanted or given.get("statusFilter", one.status) != one.status:
            continue
        told = {"executionArn": arn_of(machine, name), "stateMachineArn": arn_of(machine),
                "name": name, "status": one.status, "startDate": one.started_ms}  # fmt: skip
        if one.status != "RUNNING":
            told["stopDate"] = one.events[-1].at_ms
        found.append(dated(told))
    return {"executions": found[::-1]}  # the last one that was started first


READ: Final[dict[str, Callable[[OpenStepFunctions, Mapping[str, Any]], Words]]] = {
    "ListStateMachines": _machines,
    "ListExecutions": _listed,
}
