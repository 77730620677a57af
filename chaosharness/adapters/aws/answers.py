"""What AWS answers, and what a client meets where it does not."""

from __future__ import annotations

from typing import Any, Final

from chaosharness.machines.machine import Refusal

REQUEST_ID: Final = "00000000-0000-4000-a000-000000000000"
"""Of every request: one that was new each time would make no two idle polls alike."""

FAILED: Final = 400

STATUS: Final = {"NotFound": 404, "AWS.SimpleQueueService.PurgeQueueInProgress": 403}
"""Of HTTP, where a sender's fault has another one than most (answers recorded from AWS)."""


class Said(Exception):
    """An answer that says no.

    Attributes:
        status: Of HTTP.
        error: As in `ClientError.response["Error"]`.
        more: What the answer holds beside: `CancellationReasons` of a transaction.
        is_answer: Whether it is what was asked for, and no trouble: a condition does not hold.
    """

    is_answer = False

    def __init__(self, status: int, error: dict[str, Any], **more: Any) -> None:
        super().__init__(f"{error['Code']}: {error['Message']}")
        self.status = status
        self.error = error
        self.more = more


class Unheard(Exception):
    """No answer came.

    Attributes:
        connected: Whether there was a connection.
    """

    def __init__(self, words: str, *, connected: bool) -> None:
        super().__init__(words)
        self.connected = connected


def refusal(answer: Refusal, query_code: str = "") -> Said:
    """Return what AWS says where a machine refuses.

    Args:
        answer: The refusal.
        query_code: The name of its exception, where that is another (SQS).
    """
    kind = "Sender" if answer.sender_fault else "Receiver"
    error = {"Message": answer.text, "Code": answer.code, "Type": kind}
    if query_code:
        error["QueryErrorCode"] = query_code
    return Said(STATUS.get(answer.code, FAILED) if answer.sender_fault else 500, error)


def parsed(answer: dict[str, Any], status: int = 200) -> dict[str, Any]:
    """Return an answer as botocore has read it."""
    metadata = {"RequestId": REQUEST_ID, "HTTPStatusCode": status, "HTTPHeaders": {}}
    return {**answer, "ResponseMetadata": metadata}
