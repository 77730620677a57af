"""What SNS refuses of a request before it looks at its topic.

Source:
    Answers recorded from AWS (`tests/adapters/sns_requests.py` asks for each of them); Amazon SNS
    API Reference: Publish, PublishBatch, CreateTopic, Subscribe, Unsubscribe.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from chaosharness.brokers.sqs.sqs import FIFO
from chaosharness.machines.machine import Refusal
from chaosharness.machines.sns.machine import SIZE_MAX

PROTOCOLS: Final = (
    *("http", "https", "email", "email-json", "sms", "sqs", "application", "lambda", "firehose"),
)
OF_SUBSCRIPTIONS: Final = (
    *("DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "RawMessageDelivery"),
    *("RedrivePolicy", "SubscriptionRoleArn"),
)
BATCH_MAX: Final = 10
ID_MAX: Final = 80
NAME_MAX: Final = 256
ELEMENTS: Final = 6
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_ID: Final = re.compile(r"[A-Za-z0-9_-]*")
_ATTRIBUTE: Final = re.compile(r"[^A-Za-z0-9_.-]")
_FIELDS: Final = {"String": "String", "Number": "String", "Binary": "Binary"}

Given = Mapping[str, Any]


def invalid(words: str) -> Refusal:
    """Return the refusal of a parameter."""
    return Refusal("InvalidParameter", f"Invalid parameter: {words}")


def refused(action: str, given: Given) -> Refusal | None:
    """Return what SNS says of a request that is wrong as it stands; None where it is not."""
    check = CHECKS.get(action)
    return None if check is None else check(given)


def _first(found: Iterable[Refusal | None]) -> Refusal | None:
    return next((one for one in found if one is not None), None)


# ---- names


def _arn(name: str, arn: str) -> Refusal | None:
    elements = arn.count(":") + 1
    if elements >= ELEMENTS:
        return None
    return invalid(f"{name} Reason: An ARN must have at least {ELEMENTS} elements, not {elements}")


def _topic(given: Given) -> Refusal | None:
    arn = given.get("TopicArn")
    return None if arn is None else _arn("TopicArn", arn)


def _create(given: Given) -> Refusal | None:
    name, attributes = given["Name"], given.get("Attributes", {})
    fifo = str(attributes.get("FifoTopic", "")).lower() == "true"
    stem = name.removesuffix(FIFO) if fifo else name
    if not _NAME.fullmatch(stem) or fifo != name.endswith(FIFO):
        return invalid("Topic Name")
    return None


def _unsubscribe(given: Given) -> Refusal | None:
    arn = given["SubscriptionArn"]
    if not arn:
        return invalid("SubscriptionArn Reason: no value for required parameter")
    if arn.count(":") + 1 == ELEMENTS:
        return invalid("SubscriptionId")
    return _arn("SubscriptionArn", arn)


# ---- subscriptions


def _subscribe(given: Given) -> Refusal | None:
    protocol, endpoint = given["Protocol"], given.get("Endpoint", "")
    if protocol not in PROTOCOLS:
        return invalid(f"Amazon SNS does not support this protocol string: {protocol}")
    if protocol == "sqs" and _arn("", endpoint) is not None:
        return invalid("SQS endpoint ARN")
    settings = given.get("Attributes", {})
    found = _first(_setting(name, value) for name, value in settings.items())
    return _topic(given) or (None if found is None else invalid(f"Attributes Reason: {found.text}"))


def _change(given: Given) -> Refusal | None:
    name = given["AttributeName"]
    if name not in OF_SUBSCRIPTIONS:
        return invalid("AttributeName")
    found = _setting(name, given.get("AttributeValue", ""))
    return None if found is None else invalid(found.text)


def _setting(name: str, value: str) -> Refusal | None:
    """Return what is wrong with an attribute of a subscription."""
    if name == "RawMessageDelivery" and value.lower() not in ("true", "false"):
        return Refusal("", f"{name}: Invalid value [{value}]. Must be true or false.")
    if name == "FilterPolicyScope" and value not in ("MessageBody", "MessageAttributes"):
        words = "Please use either MessageBody or MessageAttributes"
        return Refusal("", f"{name}: Invalid value [{value}]. {words}")
    if name == "RedrivePolicy" and value:
        arn = json.loads(value).get("deadLetterTargetArn", "")
        if _arn("", arn) is not None:
            return Refusal("", f"{name}: deadLetterTargetArn is an invalid arn")
    return None


# ---- messages


def _publish(given: Given) -> Refusal | None:
    if given.get("Subject") == "":
        return invalid("Subject")
    if size_of(given) > SIZE_MAX:
        return invalid("Message too long")
    return _topic(given) or _attributes(given) or _structure(given)


def _structure(given: Given) -> Refusal | None:
    """Return what is wrong with a message that has a text for each protocol."""
    if given.get("MessageStructure") != "json":
        return None
    try:
        texts = json.loads(given["Message"])
    except ValueError:
        return invalid("Message Structure - JSON message body failed to parse")
    if not isinstance(texts, dict) or not isinstance(texts.get("default"), str):
        return invalid("Message Structure - No default entry in JSON message body")
    return None


def text_for_queues(message: str) -> str:
    """Return what SQS is to get of a message that has a text for each protocol."""
    texts = json.loads(message)
    own = texts.get("sqs")
    found: str = own if isinstance(own, str) else texts["default"]
    return found


def _publish_batch(given: Given) -> Refusal | None:
    entries = given["PublishBatchRequestEntries"]
    if len(entries) > BATCH_MAX:
        words = "The batch request contains more entries than permissible."
        return Refusal("TooManyEntriesInBatchRequest", words)
    if len({entry["Id"] for entry in entries}) < len(entries):
        words = "Two or more batch entries in the request have the same Id."
        return Refusal("BatchEntryIdsNotDistinct", words)
    if sum(map(size_of, entries)) > SIZE_MAX:
        words = "The length of all the messages put together is more than the limit."
        return Refusal("BatchRequestTooLong", words)
    found = _first(_entry_id(entry["Id"]) for entry in entries)
    found = found or _topic(given) or _first(map(_attributes, entries))
    return found or _first(map(_structure, entries))


def _entry_id(id: str) -> Refusal | None:
    what = "is too long" if len(id) > ID_MAX else "contains an impermissible character"
    if len(id) <= ID_MAX and _ID.fullmatch(id):
        return None
    words = f"The Id of a batch entry in the batch request {what}: {id}"
    return Refusal("InvalidBatchEntryId", words)


def size_of(given: Given) -> int:
    """Return how many bytes a message counts for, its attributes included."""
    size = len(given["Message"].encode("utf-8", "surrogatepass"))
    for name, one in given.get("MessageAttributes", {}).items():
        value = one.get("BinaryValue", b"") or str(one.get("StringValue", "")).encode()
        size += len(name.encode()) + len(str(one.get("DataType", "")).encode()) + len(value)
    return size


def _attributes(given: Given) -> Refusal | None:
    words = _first_words(given.get("MessageAttributes", {}).items())
    return None if words is None else Refusal("ParameterValueInvalid", words)


def _first_words(attributes: Iterable[tuple[str, Any]]) -> str | None:
    for name, one in attributes:
        words = _wrong_name(name) or _wrong_value(name, one)
        if words is not None:
            return words
    return None


def _wrong_name(name: str) -> str | None:
    if len(name.encode()) >= NAME_MAX:
        return f"Length of message attribute name must be less than {NAME_MAX} bytes."
    strange = _ATTRIBUTE.search(name)
    if strange is not None:
        return (
            f"Invalid non-alphanumeric character '#x{ord(strange.group()):X}' was found in the "
            "message attribute name. Can only include alphanumeric characters, hyphens, "
            "underscores, or dots."
        )
    for bad, how in ((name.startswith("."), "starting"), (name.endswith("."), "ending")):
        if bad:
            return f"Invalid message attribute name {how} with character '.' was found."
    return "Message attribute name can not have successive '.' character." if ".." in name else None


def _wrong_value(name: str, one: Mapping[str, Any]) -> str | None:
    kind = str(one["DataType"]).partition(".")[0]
    field = _FIELDS.get(kind)
    if field is None:
        return (
            f"The message attribute '{name}' has an invalid message attribute type, the set of "
            "supported type prefixes is Binary, Number, and String."
        )
    other = "StringValue" if field == "Binary" else "BinaryValue"
    if other in one:
        return f"The message attribute '{name}' with type '{kind}' must use field '{field}'."
    if not one.get(f"{field}Value"):
        return (
            f"The message attribute '{name}' must contain non-empty message attribute value for "
            f"message attribute type '{kind}'."
        )
    return None


CHECKS: Final[dict[str, Callable[[Given], Refusal | None]]] = {
    "CreateTopic": _create,
    "DeleteTopic": _topic,
    "GetTopicAttributes": _topic,
    "ListSubscriptionsByTopic": _topic,
    "Subscribe": _subscribe,
    "Unsubscribe": _unsubscribe,
    "SetSubscriptionAttributes": _change,
    "Publish": _publish,
    "PublishBatch": _publish_batch,
}
