"""Messages and what is kept of them: acknowledged, remembered, announced, put aside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chaosharness.checkers.reading import Handed
from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, Work, about, table
from chaosharness.reporting.story.legible import clip, count, listed
from chaosharness.reporting.story.narrator import raised

OFTEN: Final = 10
"""Deliveries of one message after which nobody believes in the next."""


def in_the_way(case: Case) -> Cause | None:
    """Find a message that is tried again for ever."""
    for deliveries in case.reading.pairs.values():
        bad = [one for one in deliveries if one.raised >= 0]
        if len(bad) < OFTEN or any(one.handled >= 0 for one in deliveries):
            continue
        if (bad[0].sent.index, bad[0].group) in case.reading.dead:
            continue
        last = bad[-1]
        who = case.narrator.name(last.to)
        what = case.narrator.message(last.sent.index)
        words = (
            f"{who} was given {what} {len(deliveries):,} times and raised {raised(last.error)} "
            f"at each of them: no retry cures it, and nothing puts it aside."
        )
        return Cause("in the way", words)
    return None


def acknowledged_early(case: Case) -> Cause | None:
    """Find a message that was acknowledged, and whose work ended badly after that."""
    for deliveries in case.reading.pairs.values():
        one = deliveries[-1]
        end = max(one.raised, one.cut)
        if not 0 <= one.acked < end or one.sent.entity not in case.items:
            continue
        if any(other.handled >= 0 for other in deliveries):
            continue
        what = case.narrator.message(one.sent.index)
        how = f"it raised {raised(one.error)}" if one.raised == end else "it crashed"
        code = case.place(case.history[end])
        words = (
            f"{code} acknowledged {what} before its work was done; then {how}, and the message "
            f"does not come again."
        )
        return Cause("ack", words)
    return None


def published_early(case: Case) -> Cause | None:
    """Find a message that went out before the change it tells of was committed, which failed."""
    for publish in (event for event in case.anchors if event.kind == "publish"):
        work = case.work(publish)
        undone = [
            event
            for event in work.of("rollback", "crash")
            if event.index > publish.index and event.actor == publish.actor
        ]
        before = [
            event for event in case.wrote(work, lasting=False) if event.actor == publish.actor
        ]
        if not undone or not before:
            continue
        end = "it crashed" if undone[0].kind == "crash" else "the transaction was rolled back"
        words = (
            f"{case.place(publish)} published {case.narrator.message(publish.index, 'to')} before "
            f"its transaction was committed ({table(before[0])}); then {end}, and the message was "
            f"out."
        )
        return Cause("outbox", words)
    return None


def never_announced(case: Case) -> Cause | None:
    """Find a change that was committed, and the message about it that was not published after."""
    topic = str(case.finding.data.get("topic", ""))
    store = str(case.finding.data.get("store", ""))
    if not topic or not store:
        return None
    for early, late in case.again():
        failed = _not_published(case, case.works[early.index], topic)
        kept = [w for w in case.wrote(case.works[early.index], lasting=True) if _in(w, store)]
        if failed is None or not kept or kept[0].index > failed.index:
            continue
        wanted = case.finding.data.get("table")
        named = [write for write in kept if write.data.get("table") == wanted] or kept
        if case.works[late.index].of("publish") or late.handled < 0:
            continue
        words = (
            f"{case.place(failed)} committed {table(named[0])} and then could not publish "
            f"to {topic}. When {case.narrator.message(early.sent.index)} came again, it returned "
            f"early: it had seen the message, and nobody publishes what is missing."
        )
        return Cause("outbox", words)
    return None


def _in(write: Event, store: str) -> bool:
    return str(write.data.get("store", "")) == store


def _not_published(case: Case, work: Work, topic: str) -> Event | None:
    """Return where a piece of work tried to publish, and it did not happen."""
    for event in work.of("reply", "fault"):
        if event.operation.endswith(f"publish {topic}") and not any(
            case.history.same_attempt(event, out) for out in work.of("publish")
        ):
            return event
    return None


def half_committed(case: Case) -> Cause | None:
    """Find work that lasted although what should have remembered it did not: done again."""
    for early, late in case.again():
        work, again = case.works[early.index], case.works[late.index]
        kept, lost = case.wrote(work, lasting=True), case.wrote(work, lasting=False)
        if not kept or not lost or not (early.raised >= 0 or early.cut >= 0):
            continue
        repeated = [write for write in case.wrote(again, lasting=True) if _like(write, kept)]
        if not repeated or lost[-1].index < kept[0].index:
            continue
        what = case.narrator.message(early.sent.index)
        words = (
            f"{case.place(kept[0])} committed {table(kept[0])} for {what}, and {table(lost[-1])} "
            f"in a transaction of its own, which failed. So when {what} came again, nothing "
            f"remembered it, and {table(repeated[0])} was written a second time."
        )
        return Cause("inbox", words)
    return None


def _like(write: Event, kept: list[Event]) -> bool:
    return any(
        table(write) == table(one)
        and write.data.get("verb") == one.data.get("verb")
        and (about(write) & about(one) or not about(one))
        for one in kept
    )


def sent_twice(case: Case) -> Cause | None:
    """Find a message that led to the same publish twice, as what was sent was not written down."""
    for early, late in case.again():
        if early.raised < 0 and early.cut < 0:
            continue
        for first, second in _twice(case, early, late):
            if first.data.get("value") == second.data.get("value"):
                continue
            lost = case.wrote(case.works[early.index], lasting=False)
            if not lost:
                continue
            what = case.narrator.message(early.sent.index)
            words = (
                f"{case.place(first)} published {case.narrator.message(first.index, 'to')} and did "
                f"not get to commit that it had ({table(lost[-1])}). So when {what} came again, it "
                f"sent another one, which is a new message for whoever reads it."
            )
            return Cause("outbox", words)
    return None


def _twice(case: Case, early: Handed, late: Handed) -> Iterator[tuple[Event, Event]]:
    for first in case.works[early.index].of("publish"):
        for second in case.works[late.index].of("publish"):
            if first.data.get("topic") == second.data.get("topic"):
                yield first, second
    for first in _happened_unseen(case, early):
        for second in case.works[late.index].of("publish"):
            if first.operation == second.operation:
                yield first, second


def _happened_unseen(case: Case, early: Handed) -> list[Event]:
    """Return what was published behind the back of the code: its confirmation was lost."""
    faults = case.works[early.index].of("fault")
    return [
        event
        for event in case.history.of("publish")
        if any(case.history.same_attempt(event, fault) for fault in faults)
    ]


def another_answer(case: Case) -> Cause | None:
    """Find a message that was handled twice, and led to something else the second time."""
    for early, late in case.again():
        if early.handled < 0 or late.handled < 0:
            continue
        one = [str(event.data.get("topic")) for event in case.works[early.index].of("publish")]
        two = [str(event.data.get("topic")) for event in case.works[late.index].of("publish")]
        if not one or not two or set(one) & set(two):
            continue
        what = case.narrator.message(early.sent.index)
        code = case.place(case.history[early.handled])
        words = (
            f"{code} took {what} twice, and the second time for something new: at first it led to "
            f"a message to {listed(list(dict.fromkeys(one)))}, and when it came again to one to "
            f"{listed(list(dict.fromkeys(two)))}."
        )
        return Cause("answer", words)
    return None


def counted_twice(case: Case) -> Cause | None:
    """Find a message of which two copies were handled, and what the last of them led to."""
    for event in case.history.of("fault"):
        copies = [
            one
            for one in case.reading.handed.values()
            if one.sent.entity == event.entity and case.narrator.is_copy(one.sent.index)
        ]
        for late in copies:
            work = case.works[late.index]
            led = [out for out in work.of("publish") if out in case.anchors]
            if not led or late.handled < 0:
                continue
            code = case.place(case.history[late.handled])
            number = case.narrator.copy(case.history[late.sent.index])
            topic = late.sent.topic
            whose = clip(str(late.sent.key), 40)
            words = (
                f"{code} was handed {count(number, 'copy').replace('copys', 'copies')} of {whose} "
                f"from {topic}, and took the second for one more answer: with it, it published "
                f"{case.narrator.message(led[0].index, 'to')}."
            )
            return Cause("answer", words)
    return None
