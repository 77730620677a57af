"""A span, whatever tool it is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

SpanKind = Literal["internal", "server", "client", "producer", "consumer"]

OPERATION: Final = "chaosharness.operation"
PHASE: Final = "chaosharness.item"
TIMEOUT: Final = "timeout"
CRASHED: Final = "process_crashed"


@attrs.frozen(kw_only=True)
class Span:
    """Something that took a while, and what it was begun by.

    Attributes:
        trace: 32 hexadecimal digits.
        id: 16 hexadecimal digits.
        parent: The same of the span that it was begun by; empty for a root.
        name: What it was.
        kind: On which side of a message or call.
        service: Whose it is.
        start_ns: Nanoseconds since 1970.
        end_ns: Likewise.
        error: What went wrong; empty where nothing did.
        attributes: What else is known, as plain values.
        events: What happened meanwhile: time, name, attributes.
    """

    trace: str
    id: str
    parent: str = ""
    name: str
    kind: SpanKind = "internal"
    service: str
    start_ns: int
    end_ns: int
    error: str = ""
    attributes: Mapping[str, Any] = attrs.field(factory=dict)
    events: tuple[tuple[int, str, Mapping[str, Any]], ...] = ()
