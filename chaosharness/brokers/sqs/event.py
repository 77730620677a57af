"""What a function of Lambda gets from a queue, and what it says of single messages.

Source:
    AWS Lambda Developer Guide, "Using Lambda with Amazon SQS" and "Handling errors for an SQS event
    source in Lambda"; answers recorded from AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import md5
from typing import Any

from chaosharness.brokers.sqs.context import ACCOUNT, REGION
from chaosharness.brokers.sqs.desk import Held
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.machines.sns.machine import text_of, type_of


class Records(list[dict[str, Any]]):
    """The records of an event. Going to one says on whose behalf code runs from then on."""

    __slots__ = ("_go_to",)

    def __init__(self, records: list[dict[str, Any]], go_to: Callable[[int], None]) -> None:
        super().__init__(records)
        self._go_to = go_to

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index in range(len(self)):
            self._go_to(index)
            yield list.__getitem__(self, index)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            self._go_to(range(len(self))[index])
        return list.__getitem__(self, index)


def failures(held: list[Held], answer: Any, *, partial: bool) -> set[int] | range:
    """Return which messages of a batch failed, as Lambda reads what the function returned.

    Without partial responses, none. An answer that is no such report, or names no message of
    the batch, fails all.
    """
    everything = range(len(held))
    if not partial or answer is None or answer == {}:
        return set()
    if not isinstance(answer, dict) or "batchItemFailures" not in answer:
        return set() if isinstance(answer, dict) else everything
    reported = answer["batchItemFailures"]
    if reported is None:
        return set()
    ids = {one.received.id: index for index, one in enumerate(held)}
    found: set[int] = set()
    for item in reported if isinstance(reported, list) else (None,):
        name = item.get("itemIdentifier") if isinstance(item, dict) else None
        if not isinstance(name, str) or name not in ids:
            return everything
        found.add(ids[name])
    return found


def record_of(held: Held, queue: str) -> dict[str, Any]:
    """Return a message as a function sees it."""
    received = held.received
    body = held.message.body or b""
    attributes = {
        "ApproximateReceiveCount": str(received.receives),
        "SentTimestamp": str(EPOCH_MS + received.sent_ms),
        "SenderId": "sender",
        "ApproximateFirstReceiveTimestamp": str(EPOCH_MS + received.first_received_ms),
    }
    if received.group is not None:
        attributes["MessageGroupId"] = received.group
    if received.sequence:
        attributes["SequenceNumber"] = f"{received.sequence:020d}"
        attributes["MessageDeduplicationId"] = received.deduplication or ""
    return {
        "messageId": received.id,
        "receiptHandle": str(received.handle),
        "body": body.decode("utf-8", "replace"),
        "attributes": attributes,
        "messageAttributes": {
            name: {
                "binaryValue" if isinstance(value, bytes) else "stringValue": text_of(value),
                "stringListValues": [],
                "binaryListValues": [],
                "dataType": type_of(value),
            }
            for name, value in held.message.headers.items()
        },
        "md5OfBody": md5(body, usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
        "awsRegion": REGION,
    }
