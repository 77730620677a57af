"""Why it happened: how the events of a finding hang together, as a few true sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from chaosharness.checkers.property import Finding
from chaosharness.checkers.reading import Handed, read
from chaosharness.kernel.history import Event, History
from chaosharness.reporting.legible import clip, listed, ordinal
from chaosharness.reporting.sentences import strike
from chaosharness.reporting.steps import Narrator

SENTENCES_MAX: Final = 6
ANCHORS_MAX: Final = 25
OFTEN: Final = 3


def why(
    history: History, finding: Finding, narrator: Narrator, items: Callable[[int], str]
) -> tuple[str, ...]:
    """Say how it came about. Says only what the history shows; nothing if it shows nothing."""
    anchors = [
        history[index] for index in finding.events[:ANCHORS_MAX] if 0 <= index < len(history)
    ]
    sentences: list[str] = []
    if not len(history):
        return ()
    if not narrator.faults:
        sentences.append("No fault is needed: it happens in calm.")
    last = max((event.index for event in anchors), default=len(history) - 1)
    sentences += _faults(history, narrator, items, last)
    sentences += _redeliveries(history, narrator, anchors)
    sentences += _repetition(history, narrator, anchors)
    sentences += _over_and_over(history)
    sentences += _verdict(history, finding)
    return tuple(dict.fromkeys(sentences))[:SENTENCES_MAX]


def _faults(
    history: History, narrator: Narrator, items: Callable[[int], str], last: int
) -> list[str]:
    """Say what each fault did, and what it left undone."""
    sentences = []
    for event in history.of("fault"):
        _, fault = narrator.fault_of(event)
        if fault is None or event.index > last:
            continue
        words = strike(fault, items(event.entity), narrator.name(event.actor))
        sentences.append(f"{words}{_undone(history, narrator, event)}.")
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


def _redeliveries(history: History, narrator: Narrator, anchors: list[Event]) -> list[str]:
    """Say which messages behind the finding were handed out again, and why."""
    reading = read(history)
    sentences = []
    seen: dict[int, None] = {}
    for anchor in anchors:
        for event in history.causes(anchor.index):
            if event.kind == "deliver" and event.data.get("times", 1) > 1:
                seen[event.index] = None
    for index in sorted(seen):
        handed = reading.handed.get(index)
        if handed is None:
            continue
        earlier = [
            one for one in reading.pairs[handed.sent.index, handed.group] if one.index < index
        ]
        message = narrator.message(handed.sent.index)
        to = narrator.name(handed.to)
        broker = narrator.name(history[index].actor)
        reason = _reason(earlier, index)
        sentences.append(
            f"{broker} delivers {message} again, to {to}{narrator.life(handed.to)}{reason}."
        )
    return sentences


def _reason(earlier: list[Handed], index: int) -> str:
    """Say why a message had to come again."""
    if not earlier:
        return ""
    if any(0 <= one.acked < index for one in earlier):
        return ", although it was acknowledged"
    if any(0 <= one.raised < index for one in earlier):
        return ", because the handler raised"
    if any(one.cut < 0 and not 0 <= one.handled < index for one in earlier):
        return ", while it was still being handled"
    return ", because nobody had acknowledged it"


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
    if len(keys) == len(effects):
        shown = listed([clip(str(key), 32) for key in keys[:3]])
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
