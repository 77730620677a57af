"""Queue attributes as AWS spells them, and message attributes with their checksums.

Source:
    API Reference, SetQueueAttributes and GetQueueAttributes; Developer Guide, "Calculating the MD5
    message digest for message attributes"; answers recorded from AWS.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import md5
from typing import Any, Final

import attrs

from chaosharness.machines.machine import Refusal
from chaosharness.machines.sqs.refusals import invalid, invalid_value
from chaosharness.machines.sqs.settings import QueueSettings

ARN: Final = "arn:aws:sqs:eu-central-1:000000000000:"
FIFO_ONLY: Final = ("ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit")
SECONDS: Final = {
    "VisibilityTimeout": "visibility_ms",
    "DelaySeconds": "delay_ms",
    "ReceiveMessageWaitTimeSeconds": "wait_ms",
    "MessageRetentionPeriod": "retention_ms",
}
ENCRYPTION: Final = ("KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled")
ONE_ENCRYPTION: Final = Refusal(
    "InvalidAttributeName",
    "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS "
    "SSE or SQS SSE.",
)


def name_of(arn: str) -> str:
    """Return the name of a queue from its ARN or its address."""
    return arn.rsplit("/", 1)[-1].rsplit(":", 1)[-1]


def _truth(text: str) -> bool:
    return text.lower() == "true"


def settings_from(
    given: Mapping[str, str], before: QueueSettings, *, new: bool
) -> QueueSettings | Refusal:
    """Return the settings of a queue with some attributes changed, or why they are refused."""
    changes: dict[str, Any] = {}
    for name, text in given.items():
        if name in SECONDS:
            changes[SECONDS[name]] = int(text) * 1000
        elif name == "MaximumMessageSize":
            changes["size_max"] = int(text)
        elif name == "RedrivePolicy":
            policy = json.loads(text) if text else {}
            changes["dead_letter"] = name_of(policy["deadLetterTargetArn"]) if policy else None
            changes["receives_max"] = int(policy.get("maxReceiveCount", before.receives_max))
        elif name == "FifoQueue":
            if not before.fifo:
                return Refusal("InvalidAttributeName", "Unknown Attribute FifoQueue.")
            if not _truth(text):
                return Refusal(
                    "InvalidAttributeValue",
                    "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is "
                    "not supported.",
                )
        elif name in FIFO_ONLY:
            if not before.fifo:
                return _fifo_only(name)
            if name == "ContentBasedDeduplication":
                changes["by_content"] = _truth(text)
            elif name == "DeduplicationScope":
                changes["scope"] = text
    try:
        return attrs.evolve(before, **changes)
    except ValueError as error:
        return invalid(f"Invalid value for the parameter {error}")


def _fifo_only(name: str) -> Refusal:
    if name == "ContentBasedDeduplication":
        return Refusal("InvalidAttributeName", f"Unknown Attribute {name}.")
    words = f"You can specify the {name} only when FifoQueue is set to true."
    return Refusal("InvalidAttributeName", words)


def attributes_of(
    name: str, settings: QueueSettings, others: Mapping[str, str], counts: tuple[int, int, int]
) -> dict[str, str]:
    """Return all attributes of a queue, as GetQueueAttributes does.

    Args:
        name: Of the queue.
        settings: What the machine goes by.
        others: What it has no use for: encryption, throughput, policies, times.
        counts: Messages that are visible, delayed, and in flight.
    """
    found = {
        "ApproximateNumberOfMessages": str(counts[0]),
        "ApproximateNumberOfMessagesDelayed": str(counts[1]),
        "ApproximateNumberOfMessagesNotVisible": str(counts[2]),
        "QueueArn": f"{ARN}{name}",
        "MaximumMessageSize": str(settings.size_max),
        **{key: str(getattr(settings, field) // 1000) for key, field in SECONDS.items()},
        **others,
    }
    if settings.fifo:
        found["FifoQueue"] = "true"
        found["ContentBasedDeduplication"] = str(settings.by_content).lower()
        found["DeduplicationScope"] = settings.scope
        found.setdefault("FifoThroughputLimit", "perQueue")
    if settings.dead_letter is not None:
        policy = {
            "deadLetterTargetArn": f"{ARN}{settings.dead_letter}",
            "maxReceiveCount": settings.receives_max,
        }
        found["RedrivePolicy"] = json.dumps(policy)
    return found


def encryption_after(given: Mapping[str, str], before: Mapping[str, str]) -> Any:
    """Return the attributes of encryption with some changed, or why they are refused."""
    found = {**before, **{name: given[name] for name in ENCRYPTION if name in given}}
    if given.get("KmsMasterKeyId") and _truth(given.get("SqsManagedSseEnabled", "false")):
        return ONE_ENCRYPTION
    if found.get("KmsMasterKeyId"):
        found["SqsManagedSseEnabled"] = "false"
        return found
    found.pop("KmsMasterKeyId", None)
    found.pop("KmsDataKeyReusePeriodSeconds", None)
    return found


# ---- message attributes

ATTRIBUTES_MAX: Final = 10
PREFIXES: Final = ("Binary", "Number", "String")
"""SQS Developer Guide, "Amazon SQS message metadata": so many, and of these types."""


def check_attributes(given: Mapping[str, Any]) -> Refusal | None:
    """Refuse message attributes without a value, of another type, or too many."""
    if len(given) > ATTRIBUTES_MAX:
        most = f"exceeds the allowed maximum [{ATTRIBUTES_MAX}]"
        return invalid(f"Number of message attributes [{len(given)}] {most}.")
    for name, one in given.items():
        kind = one["DataType"]
        if not kind.startswith(PREFIXES):
            return invalid(
                f"The type of message (user) attribute '{name}' is invalid. You must use only the "
                f"following supported type prefixes: {', '.join(PREFIXES)}."
            )
        value = one.get("BinaryValue" if kind.startswith("Binary") else "StringValue")
        if not value:
            return invalid(
                f"Message (user) attribute '{name}' must contain a non-empty value of type "
                f"'{kind.partition('.')[0]}'."
            )
    return None


def check_id(value: str | None, parameter: str) -> Refusal | None:
    """Refuse a group or an id of a message that is empty, too long, or has spaces."""
    if value is None or (1 <= len(value) <= 128 and all("!" <= one <= "~" for one in value)):
        return None
    reason = (
        f"{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length."
    )
    return invalid_value(value, parameter, reason)


def wanted(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the message attributes that a receive asks for, by name or by the start of a name."""
    found: dict[str, Any] = {}
    for name in names:
        if name in ("All", "*", ".*"):
            return dict(given)
        start = name.removesuffix(".*") if name.endswith(".*") else None
        for key, one in given.items():
            if key == name or (start is not None and key.startswith(start)):
                found[key] = one
    return {key: one for key, one in given.items() if key in found}


def size_of(given: Mapping[str, Any]) -> int:
    """Return the bytes of message attributes: names, types and values."""
    return sum(
        len(name.encode()) + len(one["DataType"].encode()) + len(_bytes(one))
        for name, one in given.items()
    )


def _bytes(one: Mapping[str, Any]) -> bytes:
    value = one.get("BinaryValue", one.get("StringValue", ""))
    return value if isinstance(value, bytes) else value.encode()


def md5_of(text: str | bytes) -> str:
    """Return the checksum of a body."""
    body = text if isinstance(text, bytes) else text.encode()
    return md5(body, usedforsecurity=False).hexdigest()


def md5_of_attributes(given: Mapping[str, Any]) -> str:
    """Return the checksum of message attributes, in the order of their names."""
    digest = md5(usedforsecurity=False)
    for name, one in sorted(given.items()):
        binary = "BinaryValue" in one
        for part in (name.encode(), one["DataType"].encode()):
            digest.update(len(part).to_bytes(4) + part)
        value = _bytes(one)
        digest.update((b"\x02" if binary else b"\x01") + len(value).to_bytes(4) + value)
    return digest.hexdigest()
