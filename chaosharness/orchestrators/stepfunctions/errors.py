"""What ends a state: an error by the name that AWS gives it, and the few names that have rules.

*Source*: Amazon States Language, "Errors"; Step Functions developer guide, "Handling errors".
"""

from typing import Any

import attrs

ALL = "States.ALL"
TASK_FAILED = "States.TaskFailed"
TIMEOUT = "States.Timeout"
RUNTIME = "States.Runtime"
DATA_LIMIT = "States.DataLimitExceeded"
QUERY = "States.QueryEvaluationError"
INTRINSIC = "States.IntrinsicFailure"
TOLERANCE = "States.ExceedToleratedFailureThreshold"
NO_CHOICE = "States.NoChoiceMatched"

#: All that an `ErrorEquals` may mean, beside what tasks call their errors.
ERRORS = frozenset({
    ALL, TASK_FAILED, TIMEOUT, RUNTIME, DATA_LIMIT, QUERY, INTRINSIC, TOLERANCE, NO_CHOICE,
    "States.BranchFailed", "States.HeartbeatTimeout", "States.Http.Socket",
    "States.ItemReaderFailed", "States.ParameterPathFailure", "States.Permissions",
    "States.ResultPathMatchFailure", "States.ResultWriterFailed",
})  # fmt: skip

#: What `States.ALL` does not catch: an execution in such a state cannot go on.
TERMINAL = frozenset({RUNTIME, DATA_LIMIT})


@attrs.frozen
class StateError(Exception):
    """A state failed: `error` is the name that Retry and Catch see, `cause` a text for people.

    `location` is the field of a JSONata expression that could not be evaluated, else None;
    None as `error` is the error of a Fail state that names none.
    """

    error: str | None
    cause: str | None = None
    location: str | None = None
    evaluated: bool = False  # a query failed: history gets an EvaluationFailed first

    def matches(self, names: list[str]) -> bool:
        """Whether an `ErrorEquals` list names this error (S4)."""
        if ALL in names:
            return self.error not in TERMINAL
        if TASK_FAILED in names and self.error != TIMEOUT and self.error not in TERMINAL:
            return True
        return self.error in names

    def output(self) -> dict[str, Any]:
        """What a Catch puts into the data: `{"Error": ..., "Cause": ...}`."""
        return {"Error": self.error, "Cause": self.cause}
