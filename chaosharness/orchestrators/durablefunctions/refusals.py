"""What Lambda refuses a caller with, by AWS's names, in the shape of botocore's errors.

*Source*: AWS Lambda API Reference, the Errors sections of `Invoke`, `CheckpointDurableExecution`,
`SendDurableExecutionCallbackSuccess`; developer guide, "Idempotency" of durable functions.
"""

from typing import Any, ClassVar

__all__ = [
    "CallbackTimeoutException",
    "DurableExecutionAlreadyStartedException",
    "InvalidParameterValueException",
    "LambdaError",
    "ResourceNotFoundException",
]


class LambdaError(Exception):
    """The service said no: nothing happened. `response["Error"]["Code"]` is AWS's name for it."""

    status: ClassVar[int] = 400

    def __init__(self, message: str) -> None:
        code = type(self).__name__
        super().__init__(f"An error occurred ({code}): {message}")
        self.response: dict[str, Any] = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": self.status},
        }


class CallbackTimeoutException(LambdaError):
    """The callback has ended, or its time was over."""


class DurableExecutionAlreadyStartedException(LambdaError):
    """The name was used, with another payload."""

    status = 409


class InvalidParameterValueException(LambdaError):
    """A parameter is wrong: a checkpoint's token was used before."""


class ResourceNotFoundException(LambdaError):
    """There is no such function, or no such execution."""

    status = 404
