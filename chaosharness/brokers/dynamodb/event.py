"""What a function of Lambda gets from a stream, and what it says of single changes.

Source:
    AWS Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB" (the event), "Configuring
    partial batch response with DynamoDB and Lambda": Lambda goes on at the lowest sequence number
    that is reported; an answer it cannot read fails the whole batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from chaosharness.brokers.message import Message
from chaosharness.brokers.sqs.context import ACCOUNT, REGION
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.machines.dynamodb.stream import Record


@attrs.frozen(eq=False)
class Held:
    """One change in the hands of a function.

    Attributes:
        message: As the function sees it.
        cause: The event of its delivery.
        record: What the stream has.
    """

    message: Message
    cause: int
    record: Record


def event_of(held: Held, table: str) -> dict[str, Any]:
    """Return a change as a function sees it."""
    change = json.loads(held.message.body or b"{}")
    number = f"{held.record.number:021d}"
    made: dict[str, Any] = {
        "eventID": f"{held.record.number:032x}",
        "eventName": change["eventName"],
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "dynamodb": {
            "ApproximateCreationDateTime": (EPOCH_MS + held.record.at_ms) / 1000,
            "Keys": change["Keys"],
            **{name: change[name] for name in ("NewImage", "OldImage") if name in change},
            "SequenceNumber": number,
            "SizeBytes": len(held.message.body or b""),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}/stream/1",
    }
    if change.get("expired"):
        made["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    return made


def notice_of(batch: Sequence[Record], table: str) -> bytes:
    """Return what a destination is told of a batch that was given up: where it was, not what."""
    first, last = batch[0], batch[-1]
    where = {
        "shardId": f"shardId-{first.shard:020d}",
        "startSequenceNumber": f"{first.number:021d}",
        "endSequenceNumber": f"{last.number:021d}",
        "batchSize": len(batch),
        "streamArn": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}/stream/1",
    }
    why = {"condition": "RetryAttemptsExhausted"}
    return json.dumps({"requestContext": why, "DDBStreamBatchInfo": where}).encode()


def lowest_failed(held: Sequence[Held], answer: Any, *, partial: bool) -> int:
    """Return the index of the first change that failed; the number of them, if none did.

    An answer that is no such report, or names no change of the batch, fails all.
    """
    everything = len(held)
    if not partial or answer is None or answer == {}:
        return everything
    if not isinstance(answer, dict):
        return 0
    reported = answer.get("batchItemFailures")
    if reported is None:
        return everything
    numbers = {f"{one.record.number:021d}": index for index, one in enumerate(held)}
    found = [everything]
    for item in reported if isinstance(reported, list) else (None,):
        name = item.get("itemIdentifier") if isinstance(item, dict) else None
        if not isinstance(name, str) or name not in numbers:
            return 0
        found.append(numbers[name])
    return min(found)
