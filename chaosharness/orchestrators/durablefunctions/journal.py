"""One durable execution as its service keeps it: operations by id, what time does to them, a token.

It is pure: updates and time in, operations out. Operations are as the API has them in JSON; times
are milliseconds of virtual time.

Source:
    AWS Lambda API Reference, "CheckpointDurableExecution", `Operation`, `OperationUpdate`: each
    checkpoint consumes a token. aws-durable-execution-sdk-python 3.0.0, `operation/`: what it
    reads of each status; `StepDetails.Attempt` counts the attempts that ended.

Not modelled:
    Pages of operations and the size of a checkpoint; 3,000 operations of an execution at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from chaosharness.orchestrators.durablefunctions.refusals import InvalidParameterValueException

__all__ = ["ENDED", "Journal"]

ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED", "CANCELLED"})
DETAILS: Final = {
    "STEP": "StepDetails",
    "WAIT": "WaitDetails",
    "CALLBACK": "CallbackDetails",
    "CONTEXT": "ContextDetails",
    "CHAINED_INVOKE": "ChainedInvokeDetails",
}

Operation = dict[str, Any]


@attrs.define(eq=False)
class Journal:
    """The operations of one execution.

    Attributes:
        arn: Its name for the API; the last part is its id.
        operations: By id, in the order in which they began.
        number: How many tokens there were.
        unseen: Those that changed since an invocation was told last.
        fresh: What time or somebody else has changed since an invocation began: one that suspends
            may have been told, and be past the place already. A reason to invoke once more.
        due: When time changes an operation, by its id.
        silent: When a callback has been silent for too long, and for how long it may be.
        asked: Other functions that are to be invoked: the operation's id, name and payload.
        given_up: Callbacks whose time is over, not noted yet.
        terminal: The update that ended the execution itself: a result too large to be returned.
    """

    arn: str
    operations: dict[str, Operation] = attrs.field(factory=dict)
    number: int = 0
    unseen: dict[str, None] = attrs.field(factory=dict)
    fresh: dict[str, None] = attrs.field(factory=dict)
    due: dict[str, int] = attrs.field(factory=dict)
    silent: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    asked: list[tuple[str, str, str]] = attrs.field(factory=list)
    terminal: Mapping[str, Any] | None = None
    given_up: list[str] = attrs.field(factory=list)

    @property
    def token(self) -> str:
        """What the next checkpoint must have."""
        return f"{self.arn}#{self.number}"

    def renew(self) -> str:
        """Return a token for a new invocation: none that was given before is valid any more."""
        self.number += 1
        self.unseen.clear()
        self.fresh.clear()
        return self.token

    def checkpoint(self, token: str, updates: Iterable[Mapping[str, Any]], now: int) -> None:
        """Take updates in, all or none.

        Raises:
            InvalidParameterValueException: The token was used, or belongs to another invocation.
        """
        if token != self.token:
            raise InvalidParameterValueException(f"Invalid checkpoint token: {token}")
        self.number += 1
        for update in updates:
            self._take(update, now)

    def told(self) -> list[Operation]:
        """Return what changed since an invocation was told last."""
        found = [self.operations[id] for id in self.unseen]
        self.unseen.clear()
        return found

    def next_ms(self) -> int | None:
        """Return when time changes something; None for never."""
        return min([*self.due.values(), *(at for at, _ in self.silent.values())], default=None)

    def tick(self, now: int) -> None:
        """Let time act, up to `now`."""
        for id in [id for id, at in self.due.items() if at <= now]:
            del self.due[id]
            operation = self.operations[id]
            if operation["Type"] == "WAIT":
                self._end(operation, "SUCCEEDED", now)
            elif operation["Type"] == "STEP":
                operation["Status"] = "READY"
                self._moved(id)
            else:
                self._time_out(operation, "Callback timed out", now)
        for id in [id for id, (at, _) in self.silent.items() if at <= now]:
            self._time_out(self.operations[id], "Callback heartbeat timed out", now)

    def answer(
        self, id: str, status: str, now: int, *, result: str | None = None, error: Any = None
    ) -> bool:
        """Say how a callback or an invoked function came out; False where nobody waits for it."""
        operation = self.operations.get(id)
        if operation is None or operation["Status"] != "STARTED":
            return False
        _say(operation[DETAILS[operation["Type"]]], result, error)
        self._end(operation, status, now)
        return True

    def heartbeat(self, id: str, now: int) -> bool:
        """Say that a callback will come; False where nobody waits for it."""
        operation = self.operations.get(id)
        if operation is None or operation["Status"] != "STARTED":
            return False
        if id in self.silent:
            seconds = self.silent[id][1]
            self.silent[id] = (now + seconds * 1000, seconds)
        return True

    # ---- updates

    def _take(self, update: Mapping[str, Any], now: int) -> None:
        kind, action = update["Type"], update["Action"]
        if kind == "EXECUTION":
            self.terminal = update
            return
        id = update["Id"]
        operation = self.operations.get(id)
        if operation is None:
            operation = self.operations[id] = {"Id": id, "Type": kind, "StartTimestamp": now,
                                               DETAILS[kind]: {}}  # fmt: skip
            for name in ("ParentId", "Name", "SubType"):
                if update.get(name):
                    operation[name] = update[name]
        elif operation["Status"] in ENDED:
            raise InvalidParameterValueException(f"operation {id} has ended")
        self.unseen[id] = None
        details = operation[DETAILS[kind]]
        if action == "START":
            operation["Status"] = "STARTED"
            self._start(operation, update, now)
        elif action == "RETRY":
            seconds = update.get("StepOptions", {}).get("NextAttemptDelaySeconds", 1)
            operation["Status"] = "PENDING"
            details["Attempt"] = details.get("Attempt", 0) + 1
            details["NextAttemptTimestamp"] = self.due[id] = now + seconds * 1000
            _say(details, update.get("Payload"), update.get("Error"))
        else:
            _say(details, update.get("Payload"), update.get("Error"))
            if update.get("ContextOptions", {}).get("ReplayChildren"):
                details["ReplayChildren"] = True
            operation["Status"] = "SUCCEEDED" if action == "SUCCEED" else "FAILED"
            operation["EndTimestamp"] = now

    def _start(self, operation: Operation, update: Mapping[str, Any], now: int) -> None:
        id, details = operation["Id"], operation[DETAILS[operation["Type"]]]
        if operation["Type"] == "STEP":
            details.setdefault("Attempt", 0)
        elif operation["Type"] == "WAIT":
            seconds = update["WaitOptions"]["WaitSeconds"]
            details["ScheduledEndTimestamp"] = self.due[id] = now + seconds * 1000
        elif operation["Type"] == "CALLBACK":
            details["CallbackId"] = f"{self.arn}|{id}"
            options = update.get("CallbackOptions") or {}
            if seconds := options.get("TimeoutSeconds"):
                self.due[id] = now + seconds * 1000
            if seconds := options.get("HeartbeatTimeoutSeconds"):
                self.silent[id] = (now + seconds * 1000, seconds)
        elif operation["Type"] == "CHAINED_INVOKE":
            name = update["ChainedInvokeOptions"]["FunctionName"]
            self.asked.append((id, name, update.get("Payload") or "null"))

    def _time_out(self, operation: Operation, words: str, now: int) -> None:
        self.given_up.append(operation.get("Name") or operation["Id"][:8])
        details = operation[DETAILS[operation["Type"]]]
        _say(details, None, {"ErrorMessage": words, "ErrorType": "Callback.Timeout"})
        self._end(operation, "TIMED_OUT", now)

    def _end(self, operation: Operation, status: str, now: int) -> None:
        operation["Status"], operation["EndTimestamp"] = status, now
        self.due.pop(operation["Id"], None)
        self.silent.pop(operation["Id"], None)
        self._moved(operation["Id"])

    def _moved(self, id: str) -> None:
        self.unseen[id] = self.fresh[id] = None


def _say(details: dict[str, Any], result: Any, error: Any) -> None:
    for name, value in (("Result", result), ("Error", error)):
        details.pop(name, None)
        if value is not None:
            details[name] = value
