"""Why it happened: how the events of a finding hang together, as a few true sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from chaosharness.checkers.property import Finding
from chaosharness.checkers.reading import Handed, read
from chaosharness.kernel.history import Event, History
from chaosharness.reporting.legible import clip, listed, ordinal
from chaosharness.reporting.select import published_at
from chaosharness.reporting.sentences import strike
from chaosharness.reporting.steps import Narrator

SENTENCES_MAX: Final = 6
FAULTS_MAX: Final = 4
DIFFERENCES_MAX: Final = 2
ANCHORS_MAX: Final = 25
OFTEN: Final = 3


def why(
    history: History,
    finding: Finding,
    narrator: Narrator,
    items: Callable[[int], str],
    differences: Sequence[str] = (),
) -> tuple[str, ...]:
    """Say how it came about. Says only what the history shows; nothing if it shows nothing.

    Args:
        history: The run.
        finding: What was found in it.
        narrator: Tells its events.
        items: Names workload items.
        differences: What came out differently from the run that passes, as sentences.
    """
    if not len(history):
        return ()
    anchors = [
        history[index] for index in finding.events[:ANCHORS_MAX] if 0 <= index < len(history)
    ]
    last = max((event.index for event in anchors), default=len(history) - 1)
    faults = [event for event in history.of("fault") if event.index <= last][:FAULTS_MAX]
    sentences: list[str] = []
    if not narrator.faults:
        sentences.append("No fault is needed: it happens in calm.")
    sentences += _faults(history, narrator, items, faults)
    sentences += _reactions(history, narrator, faults)
    sentences += _redeliveries(history, narrator, anchors, faults)
    repetition = _repetition(history, narrator, anchors)
    sentences += repetition
    sentences += _over_and_over(history)
    if not repetition:
        sentences += differences[:DIFFERENCES_MAX]
    sentences += _verdict(history, finding)
    return tuple(dict.fromkeys(sentences))[:SENTENCES_MAX]


def _faults(
    history: History, narrator: Narrator, items: Callable[[int], str], faults: list[Event]
) -> list[str]:
    """Say what each fault did, and what it left undone."""
    sentences = []
    for event in faults:
        _, fault = narrator.fault_of(event)
        if fault is not None:
            words = strike(fault, items(event.entity), narrator.name(event.actor))
            sentences.append(f"{words}{_undone(history, narrator, event)}.")
    return sentences


def _reactions(history: History, narrator: Narrator, faults: list[Event]) -> list[str]:
    """Say what the code made of a fault, where it raised."""
    sentences = []
    for event in faults:
        handed = _work(history, event)
        if handed is None or handed.raised < event.index:
            continue
        place = history[handed.raised].operation.partition("/")[0]
        who = place.partition(".")[2] or place or f"a task of {narrator.name(handed.to)}"
        words = f"{who} raises {clip(handed.error)}"
        if 0 <= handed.acked < handed.raised:
            message = narrator.message(handed.sent.index)
            words += f", after {message} was acknowledged: nobody tries again"
        sentences.append(f"{words}.")
    return sentences


def _undone(history: History, narrator: Narrator, event: Event) -> str:
    """Say which message a crash left without acknowledgement."""
    if event.index + 1 >= len(history) or history[event.index + 1].kind != "crash":
        return ""
    handed = _work(history, event)
    if handed is None or 0 <= handed.acked < event.index:
        return ""
    return f", before it has acknowledged {narrator.message(handed.sent.index)}"


def _work(history: History, event: Event) -> Handed | None:
    """Return the delivery that an event is part of the work of."""
    reading = read(history)
    return reading.handed.get(reading.roots[event.index])


def _redeliveries(
    history: History, narrator: Narrator, anchors: list[Event], faults: list[Event]
) -> list[str]:
    """Say which messages behind the finding, or the faults, were handed out again, and why."""
    reading = read(history)
    pairs: dict[tuple[int, str], None] = {}
    for event in [*anchors, *faults]:
        for cause in history.causes(event.index):
            handed = reading.handed.get(cause.index)
            if handed is not None:
                pairs[handed.sent.index, handed.group] = None
                if event.kind == "fault":
                    break  # what led to it is how it always goes
    sentences = [one for event in faults for one in _copies(history, narrator, event)]
    for pair in sorted(pairs):
        deliveries = reading.pairs[pair]
        if len(deliveries) < 2:
            continue
        again = deliveries[1]
        message = narrator.message(again.sent.index)
        to = f"{narrator.name(again.to)}{narrator.life(again.to)}"
        broker = narrator.name(history[again.index].actor)
        reason = _reason(history, narrator, deliveries[:1], again.index)
        sentences.append(f"{broker} delivers {message} again, to {to}{reason}.")
    return sentences


def _copies(history: History, narrator: Narrator, fault: Event) -> list[str]:
    """Say who was handed every copy of a message that a fault had stored twice."""
    copies = published_at(history, fault)
    if len(copies) < 2:
        return []
    reading = read(history)
    groups = dict.fromkeys(group for message, group in reading.pairs if message in copies)
    message = narrator.message(min(copies))
    broker = narrator.name(str(history[min(copies)].data.get("broker", "")))
    return [
        f"{broker} delivers {message} to {group} {len(copies)} times: each copy is a message."
        for group in groups
        if all((copy, group) in reading.pairs for copy in copies)
    ]


def _reason(history: History, narrator: Narrator, earlier: list[Handed], index: int) -> str:
    """Say why a message had to come again."""
    if not earlier:
        return ""
    if any(0 <= one.acked < index for one in earlier):
        return ", although it was acknowledged"
    if any(0 <= one.raised < index for one in earlier):
        return ", because the handler raised"
    for one in earlier:
        if reason := _given_back(history, narrator, one, index):
            return reason
    if any(one.cut < 0 and not 0 <= one.handled < index for one in earlier):
        return ", while it was still being handled"
    return ", because nobody had acknowledged it"


_TAKEN_BACK: Final = {
    "missed heartbeats": "because the connection had missed its heartbeats",
    "406 PRECONDITION_FAILED - delivery acknowledgement timed out": (
        "because it was not acknowledged within the consumer timeout"
    ),
}
"""Why a broker took a message back, in words; the rest is said better by what was going on."""


def _given_back(history: History, narrator: Narrator, handed: Handed, index: int) -> str:
    """Say who gave a message back, or why the broker took it, between two deliveries."""
    for event in history.of("nack"):
        if handed.index < event.index < index and event.data.get("message") == handed.sent.index:
            if event.data.get("requeue"):
                return f", because {narrator.name(event.actor)} gave it back"
            why = str(event.data.get("why"))
            return f", {_TAKEN_BACK[why]}" if why in _TAKEN_BACK else ""
    return ""


def _repetition(history: History, narrator: Narrator, anchors: list[Event]) -> list[str]:
    """Say what was done twice, from which root, and why nobody noticed."""
    effects = [event for event in anchors if event.kind == "effect"]
    if len(effects) < 2:
        return []
    first, last = effects[0], effects[-1]
    times = ordinal(len(effects))
    sentences = []
    if first.operation == last.operation:
        place, _, action = last.operation.partition("/")
        handler = place.partition(".")[2] or place
        sentences.append(f"So {handler} asks for {action} {_once_more(history, effects, times)}.")
    sentences += _keys(narrator, effects)
    return sentences


def _once_more(history: History, effects: list[Event], times: str) -> str:
    """Say whether the repetition came from one message, or from one handler run."""
    roots = [_work(history, event) for event in (effects[0], effects[-1])]
    if all(root is not None for root in roots):
        one, other = roots
        assert one is not None and other is not None
        if one.index == other.index:
            return f"for the {times} time in the same handler run"
        if one.sent.index == other.sent.index:
            return f"for the {times} time, for the same message"
        if one.sent.value == other.sent.value and one.sent.topic == other.sent.topic:
            return f"for the {times} time, for a second copy of the message"
    return f"for the {times} time"


def _keys(narrator: Narrator, effects: list[Event]) -> list[str]:
    """Say why a third party could not tell that it was asked for the same thing."""
    if any("key" not in event.data for event in effects):
        return []
    keys = list(dict.fromkeys(event.data["key"] for event in effects))
    who = narrator.name(effects[0].actor)
    if keys == [None]:
        return [f"The requests carry no idempotency key, so {who} takes each for a new one."]
    if len(keys) == 1:
        key = clip(str(keys[0]), 48)
        return [f"Each carries the idempotency key {key!r}, and {who} did it again nevertheless."]
    if len(keys) == len(effects):
        shown = listed([clip(str(key), 48) for key in keys[:3]])
        return [f"Each carries an idempotency key of its own ({shown}): {who} sees no repetition."]
    return []


def _over_and_over(history: History) -> list[str]:
    """Say which handler raised again and again, where one did."""
    times: dict[tuple[str, str], int] = {}
    for event in history.of("raised"):
        key = (event.operation.partition("/")[0], str(event.data.get("error", "")))
        times[key] = times.get(key, 0) + 1
    if not times:
        return []
    place, error = max(times, key=lambda key: times[key])
    often = times[place, error]
    if often < OFTEN:
        return []
    return [f"{clip(place, 80)} raises {clip(error)}, {often:,} times in all."]


def _verdict(history: History, finding: Finding) -> list[str]:
    """Say that the run did not come to rest, where it did not."""
    end = history[len(history) - 1]
    reason = str(end.data.get("reason") or "")
    if end.kind != "end" or end.data.get("verdict") in ("quiet", None) or reason in finding.summary:
        return []
    return [f"The run never came to rest: {clip(reason, 240)}."]
