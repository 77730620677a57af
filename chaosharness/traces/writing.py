"""Spans as the files that tracing tools open: OTLP, Jaeger, Zipkin.

Source:
    OTLP 1.x JSON (`opentelemetry-proto`, `trace/v1/trace.proto`; ids are hexadecimal); Jaeger's
    JSON of its query service and UI ("Upload JSON file"); Zipkin API v2, `POST /api/v2/spans`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.history import History
from chaosharness.traces.of_history import spans_of
from chaosharness.traces.span import Span

TraceFormat = Literal["otlp", "jaeger", "zipkin"]
FORMATS: Final = ("otlp", "jaeger", "zipkin")
KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}


def to_trace(history: History, format: TraceFormat = "otlp", *, system: str = "system") -> str:
    """Return a history as a file of spans: one trace for each workload item.

    Args:
        history: Of a run: `run.history`.
        format: `otlp` (OpenTelemetry's JSON), `jaeger` (what its UI uploads) or `zipkin`.
        system: A name, part of the ids: the same history has the same ids.

    >>> Path("trace.json").write_text(to_trace(run.history, "jaeger"))

    Raises:
        InvalidDefinition: There is no such format.
    """
    if format not in FORMATS:
        raise InvalidDefinition(f"a trace is written as one of {', '.join(FORMATS)}: {format!r}")
    spans = spans_of(history, system=system)
    made = {"otlp": _otlp, "jaeger": _jaeger, "zipkin": _zipkin}[format](spans)
    return json.dumps(made, indent=1)


def _otlp(spans: Sequence[Span]) -> Any:
    services: dict[str, list[Span]] = {}
    for span in spans:
        services.setdefault(span.service, []).append(span)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _words({"service.name": service})},
                "scopeSpans": [
                    {"scope": {"name": "chaosharness"}, "spans": [_otlp_span(one) for one in own]}
                ],
            }
            for service, own in services.items()
        ]
    }


def _otlp_span(span: Span) -> dict[str, Any]:
    made: dict[str, Any] = {
        "traceId": span.trace,
        "spanId": span.id,
        "name": span.name,
        "kind": KINDS[span.kind],
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _words(span.attributes),
        "events": [
            {"timeUnixNano": str(at), "name": name, "attributes": _words(words)}
            for at, name, words in span.events
        ],
        "status": {"code": 2, "message": span.error} if span.error else {},
    }
    if span.parent:
        made["parentSpanId"] = span.parent
    return made


def _words(words: Any) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in words.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": str(value)}


def _jaeger(spans: Sequence[Span]) -> Any:
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace, []).append(span)
    services = {name: f"p{n}" for n, name in enumerate(dict.fromkeys(s.service for s in spans), 1)}
    return {
        "data": [
            {
                "traceID": trace,
                "spans": [_jaeger_span(one, services[one.service]) for one in own],
                "processes": {
                    services[name]: {"serviceName": name, "tags": []}
                    for name in dict.fromkeys(one.service for one in own)
                },
            }
            for trace, own in traces.items()
        ]
    }


def _jaeger_span(span: Span, process: str) -> dict[str, Any]:
    tags = _tags({**span.attributes, "span.kind": span.kind})
    if span.error:
        tags += _tags({"error": True, "otel.status_description": span.error})
    parent = {"refType": "CHILD_OF", "traceID": span.trace, "spanID": span.parent}
    return {
        "traceID": span.trace,
        "spanID": span.id,
        "operationName": span.name,
        "references": [parent] if span.parent else [],
        "startTime": span.start_ns // 1_000,
        "duration": (span.end_ns - span.start_ns) // 1_000,
        "tags": tags,
        "logs": [
            {"timestamp": at // 1_000, "fields": _tags({"event": name, **words})}
            for at, name, words in span.events
        ],
        "processID": process,
    }


def _tags(words: Any) -> list[dict[str, Any]]:
    return [{"key": name, "type": _type(value), "value": value} for name, value in words.items()]


def _type(value: Any) -> str:
    return "bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else "string"


def _zipkin(spans: Iterable[Span]) -> Any:
    found = []
    for span in spans:
        made: dict[str, Any] = {
            "traceId": span.trace,
            "id": span.id,
            "name": span.name,
            "timestamp": span.start_ns // 1_000,
            "duration": max((span.end_ns - span.start_ns) // 1_000, 1),
            "localEndpoint": {"serviceName": span.service},
            "tags": {name: str(value) for name, value in span.attributes.items()},
            "annotations": [
                {"timestamp": at // 1_000, "value": " ".join([name, *map(str, words.values())])}
                for at, name, words in span.events
            ],
        }
        if span.kind != "internal":
            made["kind"] = span.kind.upper()
        if span.parent:
            made["parentId"] = span.parent
        if span.error:
            made["tags"]["error"] = span.error
        found.append(made)
    return found
