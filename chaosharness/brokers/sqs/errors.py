"""What AWS says where it refuses, as user code meets it."""

from __future__ import annotations

from typing import Any

from chaosharness.machines.machine import Refusal


class AWSError(Exception):
    """A call that AWS refused, and did nothing of.

    Attributes:
        code: AWS's name of the error: `InvalidParameterValue`.
        response: Shaped as in `botocore.exceptions.ClientError`:
            `error.response["Error"]["Code"]`.
    """

    def __init__(self, operation: str, refusal: Refusal) -> None:
        super().__init__(f"{operation}: {refusal}")
        self.code = refusal.code
        error = {"Code": refusal.code, "Message": refusal.text, "Type": "Sender"}
        self.response: dict[str, Any] = {"Error": error}


def answered(operation: str, answer: Any) -> Any:
    """Return an answer of a machine.

    Raises:
        AWSError: It is a refusal.
    """
    if isinstance(answer, Refusal):
        raise AWSError(operation, answer)
    return answer
