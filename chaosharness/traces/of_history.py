"""A history as spans: one trace for each workload item.

Source:
    OpenTelemetry specification 1.x, "Trace" (kinds, parents, status); semantic conventions for
    messaging (`messaging.system`, `messaging.destination.name`, `messaging.operation.type`).

Not modelled:
    Events that belong to no workload item (timers and relays of a service); links of batches;
    store reads and writes, which are inside the span of their handler.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

from chaosharness.kernel.history import Event, History, plain
from chaosharness.traces.span import CRASHED, OPERATION, PHASE, TIMEOUT, Span, SpanKind

EPOCH_NS: Final = 1_700_000_000_000_000_000
"""When virtual time begins in a trace: November 2023, the same for each."""

ENDS: Final = ("handled", "raised")
ERRORS: Final = {"unknown": TIMEOUT, "failed": "refused"}
"""What a caller sees, by the outcome."""


def spans_of(history: History, *, system: str) -> list[Span]:
    """Return the spans of a history, in the order in which they began."""
    return [*_Spans(history, system).all()]


class _Spans:
    def __init__(self, history: History, system: str) -> None:
        self.history = history
        self.system = system
        self.follows: dict[int, list[Event]] = {}
        self.inside: dict[int, int] = {}  # the delivery, call or arrival that an event is part of
        for event in history:
            above = history[event.cause] if event.cause >= 0 else None
            begins = event.kind in ("deliver", "arrive")
            part_of = -1 if above is None else self.inside.get(above.index, -1)
            self.inside[event.index] = event.index if begins else part_of
            if part_of >= 0 and not begins:
                self.follows.setdefault(part_of, []).append(event)

    def all(self) -> Iterator[Span]:
        for event in self.history:
            if not event.entity:
                continue
            match event.kind:
                case "arrive":
                    yield self._arrival(event)
                case "publish":
                    yield self._publish(event)
                case "deliver":
                    yield self._delivery(event)
                case "call":
                    yield self._call(event)
                case "effect":
                    yield self._effect(event)
                case "reply" if not self._is_answer(event):
                    yield self._refused(event)

    def _arrival(self, event: Event) -> Span:
        last = max(one.at_ms for one in self.history if one.entity == event.entity)
        item = json.dumps(plain(event.data.get("item")), sort_keys=True)
        return self._span(event, f"item {event.entity}", "server", last, attributes={PHASE: item})

    def _publish(self, event: Event) -> Span:
        topic = str(event.data.get("topic"))
        words = {**_messaging(event, topic), "messaging.operation.type": "send"}
        reply = self._reply_to(event)
        error = "" if reply is None else ERRORS.get(str(reply.data.get("outcome")), "")
        end = event.at_ms if reply is None else reply.at_ms
        return self._span(event, f"send {topic}", "producer", end, error=error, attributes=words)

    def _is_answer(self, reply: Event) -> bool:
        """Say whether a reply belongs to something that has a span: it left its caller."""
        inside = self.follows.get(self.inside[reply.index], [])
        asked = (one for one in inside if one.kind in ("call", "publish"))
        return any(_same(one, reply) and one.index < reply.index for one in asked)

    def _refused(self, reply: Event) -> Span:
        """Return the span of what never got anywhere."""
        name = reply.operation.partition("/")[2]
        began = self.history[reply.cause]
        words: dict[str, Any] = {"peer.service": name.partition(".")[0]}
        kind: SpanKind = "client"
        if ".publish " in name:
            topic = name.partition(".publish ")[2]
            words |= {"messaging.destination.name": topic, "messaging.operation.type": "send"}
            name, kind = f"send {topic}", "producer"
        else:
            words["rpc.method"] = name.partition(".")[2]
        error = ERRORS.get(str(reply.data.get("outcome")), "")
        return self._span(
            reply, name, kind, reply.at_ms, start_ms=began.at_ms, error=error, attributes=words
        )

    def _reply_to(self, event: Event) -> Event | None:
        inside = self.follows.get(self.inside[event.index], [])
        later = (one for one in inside if one.kind == "reply" and one.index > event.index)
        return next((one for one in later if _same(one, event)), None)

    def _delivery(self, event: Event) -> Span:
        topic = str(event.data.get("topic") or _topic_of(event))
        end, error = self._end_of(event)
        words = {
            **_messaging(event, topic),
            "messaging.operation.type": "process",
            "messaging.delivery_attempt": int(event.data.get("times", 1)),
        }
        message = int(event.data["message"])
        return self._span(
            event,
            f"process {topic}",
            "consumer",
            end,
            parent=message,
            service=_service(str(event.data.get("to", event.actor))),
            error=error,
            attributes=words,
        )

    def _end_of(self, event: Event) -> tuple[int, str]:
        """Return when a delivery was over, and what went wrong."""
        inside = self.follows.get(event.index, [])
        for one in inside:
            if one.kind in ENDS:
                return one.at_ms, str(one.data.get("error", "")) if one.kind == "raised" else ""
        crash = next((one for one in inside if one.kind == "crash"), None)
        last = max((one.at_ms for one in inside), default=event.at_ms)
        return (crash.at_ms, CRASHED) if crash is not None else (last, "")

    def _call(self, event: Event) -> Span:
        name = event.operation.partition("/")[2]
        inside = self.follows.get(self.inside[event.index], [])
        reply = self._reply_to(event)
        end = event.at_ms if reply is None else reply.at_ms
        outcome = "" if reply is None else str(reply.data.get("outcome", ""))
        error = ERRORS.get(outcome, "")
        if reply is None:
            crash = next((o for o in inside if o.kind == "crash" and o.index > event.index), None)
            end, error = (crash.at_ms, CRASHED) if crash is not None else (end, "")
        words = {"peer.service": name.partition(".")[0], "rpc.method": name.partition(".")[2]}
        return self._span(event, name, "client", end, error=error, attributes=words)

    def _effect(self, event: Event) -> Span:
        name = event.operation.partition("/")[2]
        return self._span(event, name, "server", event.at_ms, service=event.actor)

    def _span(
        self,
        event: Event,
        name: str,
        kind: SpanKind,
        end_ms: int,
        *,
        start_ms: int | None = None,
        parent: int = -1,
        service: str = "",
        error: str = "",
        attributes: dict[str, Any] | None = None,
    ) -> Span:
        if parent < 0 and event.cause >= 0:
            parent = self._parent(event)
        words = {**(attributes or {}), "chaosharness.attempt": event.attempt}
        if event.operation:
            words[OPERATION] = event.operation
        return Span(
            trace=self._digest(f"item {event.entity}", 16),
            id=self._digest(f"event {event.index}", 8),
            parent="" if parent < 0 else self._digest(f"event {parent}", 8),
            name=name,
            kind=kind,
            service=service or _service(event.actor),
            start_ns=EPOCH_NS + (event.at_ms if start_ms is None else start_ms) * 1_000_000,
            end_ns=EPOCH_NS + end_ms * 1_000_000,
            error=error,
            attributes=words,
            events=tuple(
                (EPOCH_NS + one.at_ms * 1_000_000, "fault", {"fault": str(one.data["fault"])})
                for one in self.history.of("fault")
                if one.operation == event.operation and self._during(one, event)
            ),
        )

    def _parent(self, event: Event) -> int:
        """Return the event whose span this one is inside: the call it answers, or its handler."""
        if event.kind == "effect":
            above = self.history[event.cause]
            while above.kind != "call" and above.cause >= 0 and above.kind != "deliver":
                above = self.history[above.cause]
            if above.kind == "call":
                return above.index
        return self.inside.get(event.index, -1)

    def _during(self, fault: Event, event: Event) -> bool:
        return event.kind != "effect" and self.history.same_attempt(fault, event)

    def _digest(self, words: str, size: int) -> str:
        return blake2b(f"{self.system} {words}".encode(), digest_size=size).hexdigest()


def _same(one: Event, other: Event) -> bool:
    return one.operation == other.operation and one.attempt == other.attempt


def _service(actor: str) -> str:
    return actor.partition("#")[0]


def _topic_of(event: Event) -> str:
    return event.operation.partition("/")[0].partition(".")[2]


def _messaging(event: Event, topic: str) -> dict[str, Any]:
    broker = str(event.data.get("broker") or event.operation.partition(".")[0])
    found = {"messaging.destination.name": topic}
    if event.kind == "publish":
        found["messaging.system"] = broker
        if event.data.get("key") is not None:
            found["messaging.message.key"] = str(event.data["key"])
    return found
