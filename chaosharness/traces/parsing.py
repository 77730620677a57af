"""Files of tracing tools as spans: OTLP, Jaeger, Zipkin; which it is is seen from the file."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.traces.span import Span, SpanKind

KINDS: Final[tuple[SpanKind, ...]] = (
    "internal",
    "internal",
    "server",
    "client",
    "producer",
    "consumer",
)
NAMED: Final[dict[str, SpanKind]] = {kind: kind for kind in KINDS}


def spans_in(text: str) -> list[Span]:
    """Return the spans of a file, oldest first.

    Raises:
        InvalidDefinition: It is no JSON of OTLP, Jaeger or Zipkin.
    """
    try:
        found = _spans(text)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InvalidDefinition(
            "this is no trace in JSON of OTLP, Jaeger or Zipkin, as tracing tools export it "
            f"({type(error).__name__}: {error})"
        ) from None
    if not found:
        raise InvalidDefinition("there is no span in this trace: export one that has some")
    return sorted(found, key=lambda one: (one.start_ns, one.id))


def _spans(text: str) -> list[Span]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:  # a file exporter writes one request a line
        value = [json.loads(line) for line in text.splitlines() if line.strip()]
    several = value if isinstance(value, list) else [value]
    if all(isinstance(one, dict) and "resourceSpans" in one for one in several):
        return [span for one in several for span in _otlp(one)]
    if isinstance(value, dict) and "data" in value:
        return [*_jaeger(value)]
    spans = [each for one in several for each in (one if isinstance(one, list) else [one])]
    return [_zipkin(one) for one in spans]


def _otlp(request: dict[str, Any]) -> Iterator[Span]:
    for resource in request["resourceSpans"]:
        about = _words(resource.get("resource", {}).get("attributes", []))
        for scope in resource.get("scopeSpans", resource.get("instrumentationLibrarySpans", [])):
            for span in scope.get("spans", []):
                status = span.get("status", {})
                failed = status.get("code") in (2, "STATUS_CODE_ERROR")
                words = _words(span.get("attributes", []))
                yield Span(
                    trace=_id(span["traceId"]),
                    id=_id(span["spanId"]),
                    parent=_id(span.get("parentSpanId", "")),
                    name=span["name"],
                    kind=_otlp_kind(span.get("kind", 1)),
                    service=str(about.get("service.name", "unknown")),
                    start_ns=int(span["startTimeUnixNano"]),
                    end_ns=int(span["endTimeUnixNano"]),
                    error=_error(words, status.get("message", "")) if failed else "",
                    attributes=words,
                )


def _otlp_kind(kind: Any) -> SpanKind:
    if isinstance(kind, str):
        return NAMED.get(kind.removeprefix("SPAN_KIND_").lower(), "internal")
    return KINDS[int(kind)]


def _id(value: str) -> str:
    """Return an id in hexadecimal digits: some exporters write it in base64."""
    if len(value) in (0, 16, 32):
        return value.lower()
    return base64.b64decode(value).hex()


def _words(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in attributes:
        for kind, value in one["value"].items():
            found[one["key"]] = int(value) if kind == "intValue" else value
    return found


def _error(words: dict[str, Any], message: str) -> str:
    return str(message or words.get("error.type") or words.get("exception.type") or "error")


def _jaeger(value: dict[str, Any]) -> Iterator[Span]:
    for trace in value["data"]:
        for span in trace["spans"]:
            tags = {one["key"]: one["value"] for one in span.get("tags", [])}
            failed = tags.pop("error", False) not in (False, "false")
            words = tags.pop("otel.status_description", "")
            parents = [one["spanID"] for one in span.get("references", [])]
            start = int(span["startTime"]) * 1_000
            yield Span(
                trace=span["traceID"],
                id=span["spanID"],
                parent=parents[0] if parents else "",
                name=span["operationName"],
                kind=NAMED.get(str(tags.pop("span.kind", "internal")), "internal"),
                service=trace["processes"][span["processID"]]["serviceName"],
                start_ns=start,
                end_ns=start + int(span["duration"]) * 1_000,
                error=_error(tags, words) if failed else "",
                attributes=tags,
            )


def _zipkin(span: dict[str, Any]) -> Span:
    tags = dict(span.get("tags", {}))
    error = tags.pop("error", "")
    start = int(span["timestamp"]) * 1_000
    return Span(
        trace=span["traceId"],
        id=span["id"],
        parent=span.get("parentId", ""),
        name=span.get("name", ""),
        kind=NAMED.get(str(span.get("kind", "internal")).lower(), "internal"),
        service=span.get("localEndpoint", {}).get("serviceName", "unknown"),
        start_ns=start,
        end_ns=start + int(span.get("duration", 0)) * 1_000,
        error=str(error),
        attributes=tags,
    )
