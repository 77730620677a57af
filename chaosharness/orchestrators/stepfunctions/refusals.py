"""What the service refuses a caller with, by AWS's names, in the shape of botocore's errors.

*Source*: the Errors sections of the Step Functions API reference.
"""

from typing import Any

__all__ = [
    "ActivityDoesNotExist",
    "ExecutionAlreadyExists",
    "ExecutionDoesNotExist",
    "ExecutionNotRedrivable",
    "InvalidDefinition",
    "InvalidExecutionInput",
    "InvalidOutput",
    "InvalidToken",
    "StateMachineDoesNotExist",
    "StateMachineTypeNotSupported",
    "StepFunctionsError",
    "TaskTimedOut",
    "ValidationException",
]


class StepFunctionsError(Exception):
    """The service said no: nothing happened. `response["Error"]["Code"]` is AWS's name for it."""

    def __init__(self, message: str) -> None:
        code = type(self).__name__
        super().__init__(f"An error occurred ({code}): {message}")
        self.response: dict[str, Any] = {"Error": {"Code": code, "Message": message}}


class ActivityDoesNotExist(StepFunctionsError):
    """No state machine here has this activity."""


class ExecutionAlreadyExists(StepFunctionsError):
    """The name was used, with another input or by an execution that has ended."""


class ExecutionDoesNotExist(StepFunctionsError):
    """There is no such execution."""


class ExecutionNotRedrivable(StepFunctionsError):
    """It runs still, has succeeded, ended two weeks ago, or is of an Express workflow."""


class StateMachineTypeNotSupported(StepFunctionsError):
    """Executions of this type of state machine cannot be asked that."""


class InvalidDefinition(StepFunctionsError):
    """The definition that a state machine is to have is wrong."""


class InvalidExecutionInput(StepFunctionsError):
    """The input is no JSON text."""


class InvalidOutput(StepFunctionsError):
    """The output is no JSON text."""


class InvalidToken(StepFunctionsError):
    """The token was never given out."""


class StateMachineDoesNotExist(StepFunctionsError):
    """There is no such state machine."""


class TaskTimedOut(StepFunctionsError):
    """The token's task is over: it was answered, its time was up, or its execution has ended.

    *Source*: API reference, `SendTaskSuccess`: "has either expired or the task associated with the
    token has already been closed". `TaskDoesNotExist` is of activities.
    """


class ValidationException(StepFunctionsError):
    """A value is longer than the service takes."""
