"""One durable execution: its name, its journal, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import attrs

from chaosharness.brokers.sqs.context import ACCOUNT, REGION
from chaosharness.kernel.scope import Scope
from chaosharness.orchestrators.durablefunctions.journal import Journal

__all__ = ["Execution", "arn_of"]

BACKOFF_MS: Final = 1_000
BACKOFF_MS_MAX: Final = 60_000


def arn_of(function: str, name: str) -> str:
    """Return the ARN of an execution: its last part is its id."""
    return (
        f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}:$LATEST/durable-execution/"
        f"{name}/{name}"
    )


@attrs.define(eq=False)
class Execution:
    """One execution.

    Attributes:
        function: Which function it runs.
        name: Its name, the client's: the idempotency key.
        text: Its payload, JSON text.
        scope: Whose work it is: its workload item, and its cause.
        started_ms: When it began.
        journal: Its operations.
        deadline: The timer of its end, where it has one.
        invocation: The number of the invocation that runs; 0 where none does.
        invocations: How many there were.
        failed: How many failed one after the other.
        watchers: Who waits for its end.
    """

    function: str
    name: str
    text: str
    scope: Scope
    started_ms: int
    journal: Journal
    status: str = "RUNNING"
    result: str | None = None
    error: Any = None
    ended_ms: int | None = None
    deadline: Any = None
    invocation: int = 0
    invocations: int = 0
    failed: int = 0
    watchers: list[Callable[[Execution], None]] = attrs.field(factory=list)

    def backoff_ms(self) -> int:
        """Return how long Lambda waits before it invokes again, after another failure."""
        self.failed += 1
        return int(min(BACKOFF_MS * 2 ** (self.failed - 1), BACKOFF_MS_MAX))

    def described(self) -> dict[str, Any]:
        """Return it as `GetDurableExecution` does."""
        answer: dict[str, Any] = {
            "DurableExecutionArn": self.journal.arn,
            "DurableExecutionName": self.name,
            "FunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function}",
            "InputPayload": self.text,
            "StartTimestamp": self.started_ms,
            "Status": self.status,
        }
        if self.result is not None:
            answer["Result"] = self.result
        if self.error is not None:
            answer["Error"] = self.error
        if self.ended_ms is not None:
            answer["EndTimestamp"] = self.ended_ms
        return answer

    def invoked(self) -> dict[str, Any]:
        """Return it as `Invoke` answers at its end."""
        answer: dict[str, Any] = {"StatusCode": 200, "DurableExecutionArn": self.journal.arn}
        if self.status == "SUCCEEDED":
            return {**answer, "Payload": self.result or ""}
        return {**answer, "FunctionError": "Unhandled", "Payload": json.dumps(self.error or {})}
