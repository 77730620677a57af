"""Messages and what is kept of them: acknowledged, remembered, announced, put aside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from chaosharness.checkers.reading import Handed, read
from chaosharness.kernel.history import Event, History
from chaosharness.reporting.story.causes.case import Case, Cause, Work, about, table
from chaosharness.reporting.story.legible import clip, count, listed
from chaosharness.reporting.story.narrator import raised

OFTEN: Final = 10
"""Deliveries of one message after which nobody believes in the next."""


def in_the_way(case: Case) -> Cause | None:
    """Find a message that is tried again for ever, and what is found waits for it."""
    for deliveries in case.reading.pairs.values():
        bad = [one for one in deliveries if one.raised >= 0]
        if len(bad) < OFTEN or any(one.handled >= 0 for one in deliveries):
            continue
        sent, group = bad[0].sent, bad[0].group
        if (sent.index, group) in case.reading.dead or (sent.index, group) in case.reading.dropped:
            continue  # it is in nobody's way any more
        if not _waits(case, deliveries):
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


def _waits(case: Case, deliveries: list[Handed]) -> bool:
    """Say whether what is missing waits for a message, or for what is behind it in its log."""
    sent, group = deliveries[0].sent, deliveries[0].group
    own = [one.index for one in deliveries] + [one.raised for one in deliveries]
    if case.points_at(*own) and not case.repeated:
        return True
    if case.lacks_through(sent, group):
        return True
    return sent.queues is None and any(
        case.lacks_through(other, group)
        for other in case.reading.sent.values()
        if (other.broker, other.topic, other.log_partition)
        == (sent.broker, sent.topic, sent.log_partition)
        and other.offset > sent.offset
        and case.reading.ended(other, group) < 0
    )


def acknowledged_early(case: Case) -> Cause | None:
    """Find a message that was acknowledged, and whose work ended badly after that."""
    for deliveries in case.reading.pairs.values():
        one = deliveries[-1]
        end = max(one.raised, one.cut)
        if not 0 <= one.acked < end or not case.concerns(one.sent.entity):
            continue
        if any(other.handled >= 0 for other in deliveries) or not _is_missing(case, one):
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


def _is_missing(case: Case, one: Handed) -> bool:
    """Say whether what is missing is what a delivery should have done."""
    if case.passing is not None:
        return case.lacks_through(one.sent, one.group)
    return case.points_at(one.sent.index, one.index, one.acked) and not case.repeated


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
            event
            for event in case.wrote(work, lasting=False)
            if event.actor == publish.actor and event.index < publish.index
        ]
        if not undone or not before or _came_true(case, publish, before[0]):
            continue
        end = "it crashed" if undone[0].kind == "crash" else "the transaction was rolled back"
        words = (
            f"{case.place(publish)} published {case.narrator.message(publish.index, 'to')} before "
            f"its transaction was committed ({table(before[0])}); then {end}, and the message was "
            f"out."
        )
        return Cause("outbox", words)
    return None


def _came_true(case: Case, publish: Event, lost: Event) -> bool:
    """Say whether the change was made after all, and the finding is about one message only."""
    out = [event for event in case.anchors if event.kind == "publish"]
    if len([one for one in out if one.data.get("topic") == publish.data.get("topic")]) > 1:
        return False
    return any(
        write.index > lost.index and write.entity == lost.entity and _like(write, [lost])
        for write in case.history.of("write")
        if write.index in case.lasting
    ) and not any(event.kind in ("rollback", "crash") for event in case.anchors)


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
        named = [write for write in kept if write.data.get("table") == wanted or not wanted]
        if not named or late.handled < 0 or late.work or _said_after(case, failed, topic):
            continue
        words = (
            f"{case.place(failed)} committed {table(named[0])} and then could not publish "
            f"to {topic}. When {case.narrator.message(early.sent.index)} came again, it returned "
            f"early: it had seen the message, and nobody publishes what is missing."
        )
        return Cause("outbox", words)
    return None


def remembered_first(case: Case) -> Cause | None:
    """Find a message that was remembered before its work, which then failed: it is never done."""
    for early, late in case.again():
        work, again = case.works[early.index], case.works[late.index]
        end = max(early.raised, early.cut)
        if end < 0 or early.handled >= 0 or late.handled < 0:
            continue
        if case.wrote(again, lasting=True) or again.of("publish", "call", "effect"):
            continue
        looked = {table(e) for e in again.of("read")}
        looked |= {table(e) for e in again.of("write") if not e.data.get("rows", 1)}
        memory = [write for write in case.wrote(work, lasting=True) if table(write) in looked]
        if not memory or not case.lacks_through(early.sent, early.group):
            continue
        what = case.narrator.message(early.sent.index)
        how = f"it raised {raised(early.error)}" if early.raised == end else "it crashed"
        words = (
            f"{case.place(memory[0])} committed {table(memory[0])} for {what} before all of its "
            f"work was done; then {how}. When {what} came again, it looked there, and did nothing."
        )
        return Cause("inbox", words)
    return None


def _said_after(case: Case, failed: Event, topic: str) -> bool:
    """Say whether such a message went out for the same item after all."""
    return any(
        event.index > failed.index and event.entity == failed.entity
        for event in case.history.of("publish")
        if event.data.get("topic") == topic
    )


def _in(write: Event, store: str) -> bool:
    return str(write.data.get("store", "")) == store


def _not_published(case: Case, work: Work, topic: str) -> Event | None:
    """Return where a piece of work tried to publish, and it did not happen."""
    for event in work.of("reply", "fault"):
        if event.operation.endswith(f"publish {topic}") and not any(
            case.history.same_attempt(event, out) for out in case.history.of("publish")
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
        repeated = [
            write
            for write in case.wrote(again, lasting=True)
            if _like(write, kept) and case.followed(write)
        ]
        if not repeated or lost[-1].index < case.lasting[kept[0].index]:
            continue
        memory = table(lost[-1])
        if memory in map(table, kept) or not _remembers(case, memory, early, late):
            continue
        what = case.narrator.message(early.sent.index)
        words = (
            f"{case.place(kept[0])} committed {table(kept[0])} for {what}, and {table(lost[-1])} "
            f"in a transaction of its own, which failed. So when {what} came again, nothing "
            f"remembered it, and {table(repeated[0])} was written a second time."
        )
        return Cause("inbox", words)
    return None


def _remembers(case: Case, memory: str, early: Handed, late: Handed) -> bool:
    """Say whether a table is where the handler looks, or writes first, to know a message again."""
    for one in (late, early):
        for event in case.works[one.index].of("read", "write"):
            if table(event) == memory:
                return event.kind == "read"
    return False


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
            if not case.followed(second):
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
    """Yield what was sent at first, with what was sent in its place the second time."""
    mine = case.works[early.index].of("publish")
    for first in [*mine, *(e for e in _happened_unseen(case, early) if e not in mine)]:
        place = (first.operation, first.data.get("topic"))
        again = [
            event
            for event in case.works[late.index].of("publish")
            if (event.operation, event.data.get("topic")) == place
        ]
        if again and all(event.data.get("value") != first.data.get("value") for event in again):
            yield first, again[0]


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
        if not any(map(case.followed, case.works[late.index].of("publish"))):
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
    for late in case.reading.handed.values():
        if late.handled < 0 or not case.narrator.is_copy(late.sent.index):
            continue
        led = [out for out in case.works[late.index].of("publish") if out in case.anchors]
        if not led or not _is_half(case, late, str(led[0].data.get("topic"))):
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


def _is_half(case: Case, late: Handed, into: str) -> bool:
    """Say whether a copy stood for another half: the first led to nothing, and one is not there.

    What belongs together is what the finding says, or else what the service had handled when it
    came of it in the run that passes, for any item.
    """
    reading = case.reading
    before = [
        one
        for one in reading.handed.values()
        if one.group == late.group
        and one.sent.entity == late.sent.entity
        and 0 <= one.handled < late.handled
    ]
    if not any(one.sent.topic == late.sent.topic for one in before):
        return False  # the other copy was not handled yet
    if any(out.data.get("topic") == into for one in before for out in _published(case, one)):
        return False
    counted = case.finding.data.get("halves")
    if isinstance(counted, Mapping):
        return int(counted.get(late.sent.topic, 0)) > 1
    if case.passing is None:
        return False
    there = {one.sent.topic for one in before} | {late.sent.topic}
    return any(not halves <= there for halves in _halves(case.passing, late.group, into))


def _published(case: Case, one: Handed) -> list[Event]:
    return case.works[one.index].of("publish")


def _halves(passing: History, group: str, into: str) -> Iterator[frozenset[str]]:
    """Yield the topics of what a group had handled of an item when it published something."""
    reading = read(passing)
    for out in passing.of("publish"):
        whole = reading.handed.get(reading.roots[out.index])
        if whole is None or whole.group != group or out.data.get("topic") != into:
            continue
        yield frozenset(
            one.sent.topic
            for one in reading.handed.values()
            if one.group == group
            and one.sent.entity == out.entity
            and (0 <= one.handled < out.index or one is whole)
        )
