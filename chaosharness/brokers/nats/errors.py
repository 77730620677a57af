"""What JetStream says where it refuses, as user code meets it."""

from __future__ import annotations

from typing import Any

from chaosharness.machines.machine import Refusal


class NATSError(Exception):
    """A call that JetStream refused, and did nothing of.

    Attributes:
        err_code: JetStream's number of the error, as in `nats.js.errors.APIError`: 10077. 503
            where no stream keeps the subject: nobody answers. 0 where the client refuses it.
        description: Its words.
    """

    def __init__(self, operation: str, refusal: Refusal) -> None:
        super().__init__(f"{operation}: {refusal}")
        self.err_code = int(refusal.code)
        self.description = refusal.text


def answered(operation: str, answer: Any) -> Any:
    """Return an answer of a machine.

    Raises:
        NATSError: It is a refusal.
    """
    if isinstance(answer, Refusal):
        raise NATSError(operation, answer)
    return answer
