"""A production trace read back: which items came in, and which faults would explain what is seen.

A trace says what somebody saw, and not why. What is read from it is therefore a proposal: run it,
and look whether the same comes out.

- a client or producer span that timed out: `LostReply` where a span of the server or of a
  consumer is below it (it did happen), else `LostRequest`
- one that failed otherwise: `ErrorReply`
- a consumer span that ended because the process did: `Crash` after the last thing that it did
- a second consumer span of one message, after a first one that went well: `Redeliver`, where the
  broker has such

Spans are found again by the operation that our own traces carry, else by service and name.

Not modelled:
    Slow spans; sampling (a span that was not kept did not happen, as far as a trace knows);
    failures of a store. What is not understood is in `unread`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from chaosharness.counterexample import items_for
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Crash, ErrorReply, Fault, LostReply, LostRequest, Redeliver
from chaosharness.handlers.port import Surface
from chaosharness.kernel.allowed import listed, meant, spelled
from chaosharness.kernel.site import Site
from chaosharness.schedule import Schedule
from chaosharness.system import System
from chaosharness.traces.parsing import spans_in
from chaosharness.traces.span import CRASHED, OPERATION, PHASE, Span

TIMEOUTS: Final = ("timeout", "timed out", "deadline", "504", "408")


@attrs.frozen(kw_only=True)
class TraceReading:
    """What a trace says in the words of a system.

    Attributes:
        items: The workload: what the roots of the trace carry, as plain values.
        schedule: The faults that would explain it, at sites of the system.
        unread: Spans with trouble that belong to no operation of the system, in words.
    """

    items: tuple[Any, ...]
    schedule: Schedule
    unread: tuple[str, ...]


def read_trace(
    text: str, system: System, *, item: Callable[[dict[str, Any]], Any] | str | None = None
) -> TraceReading:
    """Read a trace (OTLP, Jaeger or Zipkin JSON) into a workload and a schedule.

    Args:
        text: What the tracing tool exported.
        system: Whose trace it is, as modelled here: services and clients have the same names.
        item: Makes a workload item from the attributes of a root span; or the name of the attribute
            that holds it, in JSON. By default the attribute that our own traces have; where no
            root has it, the examples of the system are taken.

    >>> reading = read_trace(Path("trace.json").read_text(), shop, item="order")
    >>> shop.run(reading.items, reading.schedule).check()

    Raises:
        InvalidDefinition: It is no trace; or no root has the attribute, or one has no JSON in it.
    """
    spans = spans_in(text)
    roots = [span for span in spans if not span.parent]
    entities = {span.trace: n for n, span in enumerate(_first(roots), 1)}
    items = tuple(_items(_first(roots), item))
    if items and not callable(item):
        items = tuple(items_for(system, items))
    matcher = _Matcher(spans, entities, system.calm(items or None).surfaces)
    faults: list[Fault] = []
    unread: list[str] = []
    for span in spans:
        found, words = matcher.fault(span)
        faults += [found] if found is not None and found not in faults else []
        unread += [words] if words else []
    return TraceReading(
        items=items or system.examples, schedule=Schedule(faults), unread=tuple(unread)
    )


def _first(roots: Sequence[Span]) -> list[Span]:
    """Return the first root of each trace."""
    return [*{span.trace: span for span in reversed(roots)}.values()][::-1]


def _items(roots: Iterable[Span], item: Callable[[dict[str, Any]], Any] | str | None) -> list[Any]:
    if callable(item):
        return [item(dict(root.attributes)) for root in roots]
    name = PHASE if item is None else item
    there = [*roots]
    held = [root.attributes[name] for root in there if name in root.attributes]
    if item is not None and there and not held:
        names = sorted({name for root in there for name in root.attributes})
        raise InvalidDefinition(
            f"no root span of this trace has the attribute {item!r}; they have: "
            f"{listed(names) or 'none'}{meant(item, names)}"
        )
    try:
        return [json.loads(words) for words in held]
    except (TypeError, ValueError):
        raise InvalidDefinition(
            f"the attribute {name!r} of a root span is no JSON, {spelled(held[0])} say: give the "
            "item as JSON there, or read it with a function: read_trace(..., item=...)"
        ) from None


class _Matcher:
    """Finds the sites of spans."""

    def __init__(
        self, spans: Sequence[Span], entities: dict[str, int], surfaces: Mapping[str, Surface]
    ) -> None:
        self.entities = entities
        self.surfaces = surfaces
        self.below: dict[str, list[Span]] = {}
        for span in spans:
            self.below.setdefault(span.parent, []).append(span)
        self.by_id = {span.id: span for span in spans}
        self.times: Counter[tuple[str, str, str]] = Counter()
        self.attempts: dict[str, int] = {}
        for span in spans:
            operation = self._operation(span)
            key = (span.trace, operation, self._message(span))
            self.times[key] += 1
            self.attempts[span.id] = self.times[key]

    def fault(self, span: Span) -> tuple[Fault | None, str]:
        """Return the fault that explains the trouble of a span; or words, if it has no site."""
        match span.kind:
            case "client" | "producer" if span.error and span.error != CRASHED:
                return self._asked(span)
            case "consumer":
                return self._consumed(span)
        return None, ""

    def _asked(self, span: Span) -> tuple[Fault | None, str]:
        operation = self._operation(span)
        if not operation:
            return None, f"{span.service}: {span.name} failed ({span.error})"
        if not any(word in span.error.lower() for word in TIMEOUTS):
            return ErrorReply(self._site(span, operation, "before")), ""
        happened = any(one.kind in ("server", "consumer") for one in self.below.get(span.id, ()))
        if happened:
            return LostReply(self._site(span, operation, "after")), ""
        return LostRequest(self._site(span, operation, "before")), ""

    def _consumed(self, span: Span) -> tuple[Fault | None, str]:
        if span.error == CRASHED:
            last = [
                one for one in self.below.get(span.id, ()) if one.kind in ("client", "producer")
            ]
            operation = self._operation(last[-1]) if last else ""
            if not operation:
                return None, f"{span.service} ended during {span.name}"
            return Crash(self._site(last[-1], operation, "after")), ""
        before = [
            one
            for one in self.below.get(span.parent, ())
            if one.kind == "consumer"
            and one.service == span.service
            and one.start_ns < span.start_ns
        ]
        if not before or before[-1].error or not span.parent:
            return None, ""
        operation = self._operation(before[-1])
        if not operation or Redeliver not in self.surfaces[operation].after:
            return None, f"{span.service}: {span.name} came again"
        return Redeliver(self._site(before[-1], operation, "after")), ""

    def _site(self, span: Span, operation: str, phase: Any) -> Site:
        return Site(operation, phase, self.entities.get(span.trace, 1), self.attempts[span.id])

    def _message(self, span: Span) -> str:
        """Return the message in hand: what the consumer span above has for a parent."""
        above = self.by_id.get(span.parent)
        while above is not None and above.kind != "consumer":
            above = self.by_id.get(above.parent)
        if span.kind == "consumer":
            return span.parent
        return "" if above is None else above.parent

    def _operation(self, span: Span) -> str:
        """Return the operation of the system that a span is of; empty if there is none."""
        own = str(span.attributes.get(OPERATION, ""))
        if own in self.surfaces:
            return own
        found = [one for one in sorted(self.surfaces) if _is_of(span, one)]
        return found[0] if len(found) == 1 else self._in_hand(span, found)

    def _in_hand(self, span: Span, found: list[str]) -> str:
        """Return the one of several operations whose handler hears what the span follows from."""
        above = self.by_id.get(span.parent)
        topic = "" if above is None else str(above.attributes.get("messaging.destination.name", ""))
        fitting = [one for one in found if topic and topic in one.partition("/")[0]]
        return fitting[0] if len(fitting) == 1 else ""


def _is_of(span: Span, operation: str) -> bool:
    place, _, action = operation.partition("/")
    topic = str(span.attributes.get("messaging.destination.name", ""))
    if span.kind == "consumer":
        return action == f"deliver to {span.service}" and place.partition(".")[2] == topic
    if place.partition(".")[0] != span.service:
        return False
    if span.kind == "producer":
        return bool(topic) and action.endswith(f".publish {topic}")
    peer, method = span.attributes.get("peer.service"), span.attributes.get("rpc.method")
    return action in (span.name, f"{peer}.{method}")
