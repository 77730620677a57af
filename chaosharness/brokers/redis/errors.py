"""What Redis says where it refuses, as user code meets it."""

from __future__ import annotations

from typing import Any

from chaosharness.machines.machine import Refusal


class RedisError(Exception):
    """A command that Redis refused, and did nothing of.

    Attributes:
        code: The first word of its answer: `NOGROUP`, `BUSYGROUP`, `ERR`.
        text: The rest of it.
    """

    def __init__(self, operation: str, refusal: Refusal) -> None:
        super().__init__(f"{operation}: {refusal.code} {refusal.text}")
        self.code = refusal.code
        self.text = refusal.text


def answered(operation: str, answer: Any) -> Any:
    """Return an answer of a machine.

    Raises:
        RedisError: It is a refusal.
    """
    if isinstance(answer, Refusal):
        raise RedisError(operation, answer)
    return answer
