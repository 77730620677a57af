"""Why it happened: how the events of a finding hang together, as a few true sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from chaosharness.checkers.effects import times
from chaosharness.checkers.property import Finding
from chaosharness.checkers.reading import Handed, read
from chaosharness.faults import (
    ErrorReply,
    FailedCommit,
    Fault,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
)
from chaosharness.kernel.history import Event, History
from chaosharness.reporting.story.decisive import Extra
from chaosharness.reporting.story.legible import clip, listed, span
from chaosharness.reporting.story.narrator import Narrator, raised
from chaosharness.reporting.story.repetition import repetition, work_of
from chaosharness.reporting.story.select import (
    CLOSING,
    is_of_a_delivery,
    published_at,
    struck_pairs,
)
from chaosharness.reporting.story.sentences import sentence, strike

SENTENCES_MAX: Final = 6
OUTCOME_MAX: Final = 3
FAULTS_MAX: Final = 4
DIFFERENCES_MAX: Final = 2
ANCHORS_MAX: Final = 25
OFTEN: Final = 3


Told = tuple[int, str]
"""A sentence, and the event that it is about: sentences are told as things happened."""


def why(
    history: History,
    finding: Finding,
    narrator: Narrator,
    items: Callable[[int], str],
    differences: Sequence[Told] = (),
    *,
    needed: bool = False,
    repeats_told: bool = False,
) -> tuple[Told, ...]:
    """Say how it came about. Says only what the history shows; nothing if it shows nothing.

    Each sentence stands with the event that it is about; -1 where it is about none.

    Args:
        history: The run.
        finding: What was found in it.
        narrator: Tells its events.
        items: Names workload items.
        differences: What came out differently from the run that passes.
        needed: Whether every fault is known to be needed. Otherwise those that struck after
            all that was found are not spoken of.
        repeats_told: Whether the cause says already what was asked for twice.
    """
    if not len(history):
        return ()
    anchors = [
        history[index] for index in finding.events[:ANCHORS_MAX] if 0 <= index < len(history)
    ]
    last = max((event.index for event in anchors), default=len(history) - 1)
    struck = [event for event in history.of("fault") if needed or event.index <= last]
    faults = struck[:FAULTS_MAX]
    course: list[Told] = []
    if not narrator.faults:
        course.append((-1, "No fault is needed: it happens in calm."))
    course += _faults(history, narrator, items, faults)
    course += _reactions(history, narrator, faults)
    course += _redeliveries(history, narrator, anchors, faults)
    again = repetition(history, narrator, anchors, keys_told=repeats_told)
    outcome = [(last, words) for words in again]
    outcome += [(-1, words) for words in _over_and_over(history)]
    if not (again or repeats_told):
        outcome += differences[:DIFFERENCES_MAX]
    outcome += [(-1, words) for words in _verdict(history, finding)]
    course.sort(key=lambda told: told[0])
    before = _once(course)
    room = SENTENCES_MAX - min(len(outcome), OUTCOME_MAX)
    return tuple(_once([*before[:room], *outcome]))[:SENTENCES_MAX]


def _once(told: Sequence[Told]) -> list[Told]:
    """Leave out a sentence that was told before."""
    first: dict[str, int] = {}
    for event, words in told:
        first.setdefault(words, event)
    return [(event, words) for words, event in first.items()]


def _faults(
    history: History, narrator: Narrator, items: Callable[[int], str], faults: list[Event]
) -> list[Told]:
    """Say what each fault did, and what it left undone."""
    sentences = []
    for event in faults:
        _, fault = narrator.fault_of(event)
        if fault is not None:
            words = strike(fault, items(event.entity), narrator.name(event.actor))
            words += _came_out(history, event, fault)
            words += _undone(history, narrator, event)
            sentences.append((event.index, sentence(words)))
    return sentences


def _came_out(history: History, event: Event, fault: Fault) -> str:
    """Say how long it became in virtual time.

    A stall: until what stood still did the next thing. A network partition: until the last call
    that found it there, if it was not the first.
    """
    if isinstance(fault, NetworkPartition):
        vain = [one for one in history.of("reply") if _is_cut_off(one, event)]
        lasted = vain[-1].at_ms - event.at_ms if len(vain) > 1 else 0
        return f" (still so {span(lasted)} later)" if lasted else ""
    if not isinstance(fault, Pause):
        return ""
    following = (one for one in history if one.index > event.index and one.cause == event.index)
    woken = next(following, None)
    return f" ({span(woken.at_ms - event.at_ms)})" if woken is not None else ""


def _reactions(history: History, narrator: Narrator, faults: list[Event]) -> list[Told]:
    """Say what the code made of a fault: it raised, or it went on."""
    sentences = []
    for event in faults:
        sentences += _too_late(history, narrator, event)
        handed = work_of(history, event)
        if handed is None:
            continue
        end = max(handed.raised, handed.handled)
        if end < event.index:
            continue
        place = history[end].operation.partition("/")[0]
        name = place.partition(".")[2] or place or f"a task of {narrator.name(handed.to)}"
        if handed.raised > event.index:
            words = f"{name} raises {raised(handed.error)}"
            if 0 <= handed.acked < handed.raised:
                message = narrator.message(handed.sent.index)
                words += f", after {message} was acknowledged: nobody tries again"
        elif narrator.fault_of(event)[1].__class__ in _SAID_TO_THE_CODE:
            words = f"{name} does not raise: it goes on, and returns"
        else:
            continue
        sentences.append((end, f"{words}."))
    return sentences


def _too_late(history: History, narrator: Narrator, fault: Event) -> list[Told]:
    """Say that a call happened after its caller had given up waiting for it."""
    given_up = -1
    for event in history.of("reply", "effect"):
        if event.index < fault.index or not history.same_attempt(event, fault):
            continue
        if event.kind == "reply" and event.data.get("outcome") == "unknown":
            given_up = event.index
        elif event.kind == "effect" and given_up >= 0:
            who = narrator.name(history[given_up].actor)
            words = f"{who} gives up waiting; then {narrator.name(event.actor)} does it after all."
            return [(given_up, words)]
    return []


_SAID_TO_THE_CODE: Final = frozenset({LostRequest, LostReply, ErrorReply, FailedCommit})
"""Faults that the code is told of, by an exception: it may raise in turn, or go on."""


def _is_cut_off(reply: Event, fault: Event) -> bool:
    """Say whether a call that a network partition struck was in vain, then or later."""
    asked = (reply.operation, reply.data.get("outcome"))
    return asked == (fault.operation, "unknown") and reply.index > fault.index


def _undone(history: History, narrator: Narrator, event: Event) -> str:
    """Say which message a crash left without acknowledgement."""
    if event.index + 1 >= len(history) or history[event.index + 1].kind != "crash":
        return ""
    handed = work_of(history, event)
    if handed is None or 0 <= handed.acked < event.index:
        return ""
    return f", before it has acknowledged {narrator.message(handed.sent.index)}"


def _redeliveries(
    history: History, narrator: Narrator, anchors: list[Event], faults: list[Event]
) -> list[Told]:
    """Say which messages behind the finding, or the faults, were handed out again, and why."""
    reading = read(history)
    pairs: dict[tuple[int, str], None] = {}
    for event in [*anchors, *faults]:
        if event.kind == "fault" and is_of_a_delivery(event):
            pairs |= dict.fromkeys(struck_pairs(reading, event))
        for cause in history.causes(event.index):
            handed = reading.handed.get(cause.index)
            if handed is not None:
                pairs[handed.sent.index, handed.group] = None
                if event.kind == "fault":
                    break  # what led to it is how it always goes
    sentences = [one for event in faults for one in _copies(history, narrator, event)]
    for pair in sorted(pairs):
        deliveries = reading.pairs[pair]
        if len(deliveries) > 1:
            sentences.append(_redelivery(history, narrator, deliveries))
    return sentences


def _redelivery(history: History, narrator: Narrator, deliveries: list[Handed]) -> Told:
    """Say that a message came again, why, and what came of it if that was nothing."""
    again = deliveries[1]
    message = narrator.message(again.sent.index)
    to = f"{narrator.name(again.to)}{narrator.life(again.to)}"
    broker = narrator.name(history[again.index].actor)
    reason = _reason(history, narrator, deliveries[:1], again.index)
    words = f"{broker} delivers {message} again, to {to}{reason}"
    if again.handled >= 0 and not again.work:
        place = history[again.handled].operation.partition("/")[0].partition(".")[2]
        words += f"; {place or 'its handler'} returns without having done anything"
    return again.index, f"{words}."


def _copies(history: History, narrator: Narrator, fault: Event) -> list[Told]:
    """Say who was handed every copy of a message that a fault had stored twice."""
    copies = published_at(history, fault)
    if len(copies) < 2:
        return []
    pairs = read(history).pairs
    groups = dict.fromkeys(
        group
        for message, group in pairs
        if message in copies and all((copy, group) in pairs for copy in copies)
    )
    if not groups:
        return []
    message = narrator.message(min(copies))
    broker = narrator.name(str(history[min(copies)].data.get("broker", "")))
    last = max(pairs[copy, group][0].index for copy in copies for group in groups)
    words = f"{broker} delivers {message} {len(copies)} times to {listed([*groups])}"
    return [(last, f"{words}: each copy is a message.")]


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


def written_again(narrator: Narrator, finding: Finding, extra: Extra) -> list[Told]:
    """Say what was written more often than in the run that passes, where only the end is found."""
    size = len(narrator.history)
    kinds = {narrator.history[at].kind for at in finding.events if 0 <= at < size}
    if kinds - CLOSING:
        return []
    for index in extra.writes:
        here, usual = extra.often[index]
        if usual:
            event = narrator.history[index]
            told = narrator.tell(event)
            what = f"{told.words}: {told.detail}" if told.detail else told.words
            store = str(event.data.get("store", ""))
            words = f"{store} is told to {what}, {times(here)}; in the passing run {times(usual)}."
            return [(index, words)]
    return []


def _over_and_over(history: History) -> list[str]:
    """Say which handler raised again and again, where one did."""
    raises: dict[tuple[str, str, str], int] = {}
    for event in history.of("raised"):
        data = event.data
        place = event.operation.partition("/")[0]
        key = (place, str(data.get("error", "")), str(data.get("line", "")))
        raises[key] = raises.get(key, 0) + 1
    if not raises:
        return []
    place, error, line = max(raises, key=lambda key: raises[key])
    often = raises[place, error, line]
    if often < OFTEN:
        return []
    return [f"{clip(place, 80)} raises {raised(error, line)}, {often:,} times in all."]


def _verdict(history: History, finding: Finding) -> list[str]:
    """Say that the run did not come to rest, where it did not."""
    end = history[len(history) - 1]
    reason = str(end.data.get("reason") or "")
    if end.kind != "end" or end.data.get("verdict") in ("quiet", None) or reason in finding.summary:
        return []
    return [f"The run never came to rest: {clip(reason, 240)}."]
