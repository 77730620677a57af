"""What SQS says where it refuses, in its own words.

Source:
    Answers recorded from AWS (LocalStack's validated snapshots, 2023 to 2025), and the API
    Reference, "Common Errors" and the errors of each action.
"""

from __future__ import annotations

from typing import Final

from chaosharness.machines.machine import Refusal
from chaosharness.machines.sqs.operations import Handle

DELETED_RECENTLY: Final = Refusal(
    "AWS.SimpleQueueService.QueueDeletedRecently",
    "You must wait 60 seconds after deleting a queue before you can create another with the same "
    "name.",
)
NO_QUEUE: Final = Refusal(
    "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist."
)
CONTENTS: Final = Refusal(
    "InvalidMessageContents", "The message contains characters outside the allowed set."
)
OVER_LIMIT: Final = Refusal("OverLimit", "Too many messages in flight.")


def invalid(text: str) -> Refusal:
    """Return the refusal of a value."""
    return Refusal("InvalidParameterValue", text)


def invalid_value(value: object, parameter: str, reason: str) -> Refusal:
    """Return the refusal of the value of a parameter."""
    return invalid(f"Value {value} for parameter {parameter} is invalid. Reason: {reason}")


def missing(parameter: str) -> Refusal:
    """Return the refusal of a request without a parameter."""
    return Refusal("MissingParameter", f"The request must contain the parameter {parameter}.")


def too_long(size_max: int, *, in_batch: bool = False) -> Refusal:
    """Return the refusal of a message that is too long."""
    verb = "cannot be validated" if in_batch else "are invalid"
    return invalid(
        f"One or more parameters {verb}. Reason: Message must be shorter than {size_max} bytes."
    )


def empty_batch(action: str) -> Refusal:
    """Return the refusal of a batch without entries."""
    return Refusal(
        "AWS.SimpleQueueService.EmptyBatchRequest",
        f"There should be at least one {action}RequestEntry in the request.",
    )


def handle_expired(handle: Handle) -> Refusal:
    """Return the refusal of a receipt handle whose time is over (FIFO)."""
    return invalid_value(handle, "ReceiptHandle", "The receipt handle has expired.")


def handle_invalid(text: str) -> Refusal:
    """Return the refusal of what is no receipt handle."""
    return Refusal(
        "ReceiptHandleIsInvalid",
        f'The input receipt handle "{text}" is not a valid receipt handle.',
    )


def gone(handle: Handle) -> Refusal:
    """Return the refusal to change the visibility of a message that is not there."""
    reason = "Message does not exist or is not available for visibility timeout change."
    return invalid_value(handle, "ReceiptHandle", reason)


def purging(queue: str) -> Refusal:
    """Return the refusal of a second purge within a minute."""
    return Refusal(
        "AWS.SimpleQueueService.PurgeQueueInProgress",
        f"Only one PurgeQueue operation on {queue} is allowed every 60 seconds.",
    )


NOT_HERE: Final = "The request include parameter that is not valid for this queue type."
NO_DEDUPLICATION: Final = invalid(
    "The queue should either have ContentBasedDeduplication enabled or "
    "MessageDeduplicationId provided explicitly"
)
NOT_A_DEAD_LETTER_QUEUE: Final = invalid("Source queue must be configured as a Dead Letter Queue.")
ALREADY_MOVING: Final = invalid(
    "There is already a task running. Only one active task is allowed for a source queue arn at a "
    "given time."
)
NO_DESTINATION: Final = Refusal(
    "ResourceNotFoundException",
    "The resource that you specified for the DestinationArn parameter doesn't exist.",
)
NO_TASK: Final = Refusal("ResourceNotFoundException", "Task does not exist.")
NOT_LEGAL_ON_FIFO: Final = Refusal(
    "NotLegal", "a FIFO queue has one order and no second copies", sender_fault=False
)
