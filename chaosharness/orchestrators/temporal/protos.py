"""Between the server's JSON and the SDK's protobuf messages.

*Source*: temporalio 1.35.0, `temporalio/bridge/proto` and `temporalio/api`.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure

from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.orchestrators.temporal.run import seconds_text

__all__ = [
    "EPOCH_MS",
    "as_failure",
    "as_payloads",
    "duration_text",
    "encoded",
    "event_json",
    "failure_json",
    "fields_json",
    "given_fields",
    "moment",
    "payload_json",
    "payloads_json",
    "stamp",
    "words_of_result",
]

WORD: Final = re.compile(r"[^\W\d][^\d\n]{1,39}")
"""What says how something has ended, and is no number, time or id."""


def moment(at_ms: int) -> datetime:
    """Virtual time as a datetime in UTC."""
    return datetime.fromtimestamp((EPOCH_MS + at_ms) / 1000, UTC)


def stamp(at_ms: int) -> Timestamp:
    """Virtual time as a Timestamp."""
    found = Timestamp()
    found.FromMilliseconds(EPOCH_MS + at_ms)
    return found


def payload_json(payload: Payload) -> dict[str, Any]:
    """A payload as the server keeps it."""
    return MessageToDict(payload)


def payloads_json(payloads: Iterable[Payload]) -> dict[str, Any] | None:
    """Payloads as the server keeps them; None for none."""
    found = [payload_json(payload) for payload in payloads]
    return {"payloads": found} if found else None


def as_payloads(value: Mapping[str, Any] | None) -> list[Payload]:
    """The payloads of a JSON object."""
    if not value:
        return []
    return list(ParseDict(dict(value), Payloads()).payloads)


def fields_json(fields: Mapping[str, Payload]) -> dict[str, Any]:
    """Named payloads, of headers and memos, as the server keeps them, in the order of names."""
    return {name: payload_json(fields[name]) for name in sorted(fields)}


def given_fields(value: Mapping[str, Any] | None) -> dict[str, Payload]:
    """The named payloads of a JSON object: of a `header` or a `memo`, which may be absent."""
    fields = (value or {}).get("fields", {})
    return {name: ParseDict(dict(one), Payload()) for name, one in fields.items()}


def failure_json(failure: Failure) -> dict[str, Any]:
    """A failure as the server keeps it: without its stack trace, which names files."""
    found = MessageToDict(failure)
    _without_traces(found)
    return found


def _without_traces(failure: dict[str, Any]) -> None:
    failure.pop("stackTrace", None)
    if "cause" in failure:
        _without_traces(failure["cause"])


def as_failure(value: Mapping[str, Any]) -> Failure:
    """The failure of a JSON object."""
    return ParseDict(dict(value), Failure())


def duration_text(duration: Duration) -> str:
    """A duration as the server keeps it."""
    return seconds_text(round(duration.ToNanoseconds() / 1_000_000))


def encoded(value: Any) -> dict[str, Any]:
    """A value as a payload of JSON, as the server keeps it."""
    text = json.dumps(value, separators=(",", ":")).encode()
    return {
        "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
        "data": base64.b64encode(text).decode(),
    }


def event_json(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as Temporal's tools read it: with a time."""
    return {**event, "eventTime": stamp(event["eventTime"]).ToJsonString()}


def words_of_result(closed: Mapping[str, Any] | None) -> list[str]:
    """Return the words in what a run has returned: texts of letters, such as `cancelled`.

    Args:
        closed: The attributes of the event that has closed it.
    """
    found: list[str] = []
    for payload in ((closed or {}).get("result") or {}).get("payloads", ()):
        try:
            value = json.loads(base64.b64decode(payload["data"]))
        except (KeyError, ValueError):
            continue  # it is encoded otherwise
        each = value.values() if isinstance(value, dict) else (value,)
        found += [one for one in each if isinstance(one, str) and WORD.fullmatch(one)]
    return found
