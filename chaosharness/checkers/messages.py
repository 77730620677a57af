"""What becomes of messages: none lost, none in the way of others, none out of order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from chaosharness.checkers.effects import names_of, times
from chaosharness.checkers.outcomes.passed import (
    achieved,
    ends_as_calm,
    like,
    never_done,
    told_no,
)
from chaosharness.checkers.property import Evidence, Finding, Property, once_a_run
from chaosharness.checkers.reading import Handed, Reading, Sent, has_poison, read
from chaosharness.kernel.allowed import is_whole, refused
from chaosharness.kernel.history import History

RAISED_MIN = 3
"""Fewer tries than this are not yet "again and again"."""


def nothing_acknowledged_lost(*, ignore: Any = ()) -> Property:
    """Claim that each stored message is handled by each group or queue that reads it.

    Once the system is quiet, a message must have been handled by each of its readers, or
    dead-lettered. Lost are those acknowledged before they were handled, those acknowledged
    although their handler raised, those a queue dropped, and those never delivered. Poison
    is nobody's loss, and what waits behind a message in trouble is blocked and not lost:
    see `poison_blocks_nobody` and `unhandled_exceptions_block_nobody`.

    A main loop that polls does not say when it has handled a message. There a message is
    lost if it is acknowledged (by a later offset as well), something is left to do that the
    calm run does for it, nothing else was decided, and the run does not end as the calm run.
    Whose work a task or a batch does is known by the texts in it.

    Args:
        ignore: Consumer groups or queues, or topics, that may lose messages.

    >>> run.check(nothing_acknowledged_lost())
    >>> run.check(nothing_acknowledged_lost(ignore=["metrics"]))
    """
    ignored = names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        reading = read(evidence.history)
        found: list[Finding] = []
        for sent, group in _readings(reading, ignored, read(evidence.calm())):
            if reading.ended(sent, group) < 0:
                found += _lost(evidence, reading, sent, group)
        return found

    def tested(evidence: Evidence) -> bool:
        reading = read(evidence.history)
        calm = read(evidence.calm())
        return reading.quiet and any(True for _ in _readings(reading, ignored, calm))

    return Property("nothing acknowledged is lost", judge, "eventually", tested=tested)


def _readings(
    reading: Reading, ignored: frozenset[str], calm: Reading | None = None
) -> Iterator[tuple[Sent, str]]:
    """Yield each message with each group that reads it, poison and the ignored left out."""
    for sent in reading.sent.values():
        if not sent.poison and sent.topic not in ignored:
            for group in reading.readers_of(sent, calm):
                if group not in ignored:
                    yield sent, group


def _lost(evidence: Evidence, reading: Reading, sent: Sent, group: str) -> Iterator[Finding]:
    """Yield a finding if a message that no handler is done with is lost to a group."""
    deliveries = reading.pairs.get((sent.index, group), [])
    acked = reading.acked(sent, group)
    if (sent.index, group) in reading.dropped:
        index, reason = reading.dropped[sent.index, group]
        yield _loss(sent, group, f"was dropped ({reason}), with nowhere to put it, by", [], index)
        return
    by_handler = group in reading.handlers_of() or group in read(evidence.calm()).handlers_of()
    if not deliveries:
        if reading.quiet and not _is_blocked(reading, sent, group):
            yield _loss(sent, group, "was never delivered to", [])
        return
    last = deliveries[-1]
    if by_handler:
        if acked or reading.quiet:
            yield _loss(sent, group, _why(last, acked=acked), deliveries)
        return
    if acked and (work := _undone(evidence, reading, sent, deliveries)):
        why = f"was acknowledged before it was processed ({work} never happened) by"
        yield _loss(sent, group, why, deliveries)


def _undone(evidence: Evidence, reading: Reading, sent: Sent, deliveries: list[Handed]) -> str:
    """Return what a main loop never did for a message that it acknowledged; empty for nothing."""
    if ends_as_calm(evidence):
        return ""
    last, history = deliveries[-1], evidence.history
    if _was_cut(history, last) or told_no(history, deliveries):
        calm = evidence.calm()
        done = achieved(history, deliveries, calm)
        usual = _usual_work(calm, sent, last.group)
        for work in usual:
            if work not in done and not _done_beside(evidence, reading, last, work):
                return "" if [one for one in done if one not in usual] else work
    return never_done(evidence, sent, last.to.partition("#")[0]) if reading.quiet else ""


def _is_blocked(reading: Reading, sent: Sent, group: str) -> bool:
    """Say whether a message waits behind one that was delivered and never settled."""
    return any(
        _is_behind(sent, other)
        and (other.index, group) in reading.pairs
        and reading.ended(other, group) < 0
        and not reading.acked(other, group)
        for other in reading.sent.values()
    )


def _is_behind(sent: Sent, other: Sent) -> bool:
    """Say whether a message waits its turn behind another: same log partition, or queue."""
    if (sent.broker, sent.log_partition) != (other.broker, other.log_partition):
        return False
    if sent.queues is not None and other.queues is not None:
        return sent.index > other.index and not set(sent.queues).isdisjoint(other.queues)
    return sent.topic == other.topic and sent.offset > other.offset


def _why(last: Handed, *, acked: bool) -> str:
    if acked and last.raised >= 0:
        return f"was acknowledged although its handler raised {last.error}, and never handled by"
    if acked:
        return "was acknowledged before it was handled, and never handled by"
    return "was neither handled nor dead-lettered by"


def _loss(sent: Sent, group: str, why: str, deliveries: list[Handed], *more: int) -> Finding:
    events = [sent.index, *more, *(handed.index for handed in deliveries)]
    events += [
        index
        for handed in deliveries
        for index in (handed.acked, handed.raised, handed.cut)
        if index >= 0
    ]
    data = {"topic": sent.topic, "key": sent.key, "group": group, "deliveries": len(deliveries)}
    return Finding(f"{sent} {why} {group}", tuple(sorted(set(events))), sent.entity, data)


def _usual_work(calm: History, sent: Sent, group: str) -> list[str]:
    """Return what the calm run does with such a message, if possible with the very same."""
    return [*achieved(calm, like(read(calm), sent, group), calm)]


def _done_beside(evidence: Evidence, reading: Reading, last: Handed, work: str) -> bool:
    """Say whether a piece of work may well have been done, in the name of another message.

    A main loop that has several messages in hand acts on behalf of the one it took last,
    whichever its tasks are at. So the work is counted: of all messages that it was given
    while this one was in hand, as often as there are acknowledged ones that ask for it.
    """
    beside = [
        one
        for one in reading.handed.values()
        if (one.to, one.group) == (last.to, last.group) and _overlap(one, last)
    ]
    asking = sum(
        one.acked >= 0 and work in _usual_work(evidence.calm(), one.sent, one.group)
        for one in beside
    )
    return sum(one.work.count(work) for one in beside) >= asking


def _overlap(one: Handed, other: Handed) -> bool:
    """Say whether two messages were in hand at the same time."""
    return (one.acked < 0 or other.index < one.acked) and (
        other.acked < 0 or one.index < other.acked
    )


def _was_cut(history: History, handed: Handed) -> bool:
    """Say whether a crash struck in the middle of a delivery, or before its turn came."""
    if handed.cut >= 0:
        return True
    if handed.work and not handed.waiting:
        return False
    return any(event.actor == handed.to for event in history.of("crash"))


# ---- messages in the way of others


def _check_times(owner: str, name: str, given: Any) -> None:
    """Refuse what counts nothing: while runs are judged, it would be told as a mistake of theirs.

    Raises:
        InvalidDefinition: It is neither None nor a whole number from 0.
    """
    if given is not None and not is_whole(given, 0):
        raise refused(owner, name, "a whole number from 0", given)


def poison_blocks_nobody(*, ignore: Any = (), tries_max: int | None = None) -> Property:
    """Claim that a message nobody can read keeps no other message from being handled.

    Args:
        ignore: Consumer groups or queues, or topics, that may be blocked.
        tries_max: How often it may be tried while others wait behind it; by default any
            number of times, if they are handled in the end.

    Raises:
        InvalidDefinition: `tries_max` is no number of tries.

    >>> run.check(poison_blocks_nobody())
    >>> run.check(poison_blocks_nobody(ignore=["reports"], tries_max=10))
    """
    _check_times("poison_blocks_nobody", "tries_max", tries_max)
    ignored = names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        if not has_poison(evidence.history):
            return []
        reading = read(evidence.history)
        poison = [one for one in reading.sent.values() if one.poison and one.topic not in ignored]
        calm = read(evidence.calm())
        return [
            finding
            for sent in poison
            for group in reading.readers_of(sent, calm)
            if group not in ignored
            for finding in _blocking(evidence, sent, group, tries_max)
        ]

    def tested(evidence: Evidence) -> bool:
        if not has_poison(evidence.history):
            return False
        return any(handed.sent.poison for handed in read(evidence.history).handed.values())

    return Property("poison blocks nobody", judge, "eventually", tested=tested)


def unhandled_exceptions_block_nobody(
    *, ignore: Any = (), tries_max: int | None = None
) -> Property:
    """Claim that no handler raises for ever on one message that it is given again and again.

    Retrying for ever is right where the trouble passes. Where the faults have stopped and
    the handler still raises, the trouble is in the message or in the state, and whatever
    is behind that message waits. Poison has a property of its own.

    Args:
        ignore: Consumer groups or queues, or topics, that may be blocked.
        tries_max: How often it may be tried while others wait behind it; by default any
            number of times, if they are handled in the end.

    Raises:
        InvalidDefinition: `tries_max` is no number of tries.

    >>> run.check(unhandled_exceptions_block_nobody())
    >>> run.check(unhandled_exceptions_block_nobody(tries_max=10))
    """
    _check_times("unhandled_exceptions_block_nobody", "tries_max", tries_max)
    ignored = names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        if len(evidence.history.places_of("raised")) < RAISED_MIN:
            return []
        reading = read(evidence.history)
        return [
            finding
            for sent, group in _readings(reading, ignored)
            if _raised_again_and_again(reading, sent, group)
            for finding in _blocking(evidence, sent, group, tries_max)
        ]

    def tested(evidence: Evidence) -> bool:
        if not evidence.history.places_of("raised"):
            return False
        reading = read(evidence.history)
        return any(one.raised >= 0 and not one.sent.poison for one in reading.handed.values())

    return Property("unhandled exceptions block nobody", judge, "eventually", tested=tested)


def _raised_again_and_again(reading: Reading, sent: Sent, group: str) -> bool:
    given = reading.pairs.get((sent.index, group), ())
    return sum(handed.raised >= 0 for handed in given) >= RAISED_MIN


def _blocking(
    evidence: Evidence, sent: Sent, group: str, tries_max: int | None
) -> Iterator[Finding]:
    """Yield a finding if a message is in the way of others: for ever, or for too long."""
    reading = read(evidence.history)
    given = reading.pairs.get((sent.index, group), [])
    if not given:
        return
    over = _let_go(evidence, sent, group)
    if over < 0:
        behind = [
            other
            for other in _behind(reading, sent)
            if _let_go(evidence, other, group) < 0
            and not _handled_in_a_loop(evidence, other, group)
        ]
        if not behind and (reading.quiet or len(given) < RAISED_MIN):
            return  # it is in nobody's way
        yield _in_the_way(sent, group, given, behind, "for ever")
        return
    behind = [other for other in _behind(reading, sent) if other.index < over]
    raised = sum(handed.raised >= 0 for handed in given)
    if tries_max is not None and behind and raised > tries_max:
        yield _in_the_way(sent, group, given, behind, f"for more than {tries_max} tries")


def _let_go(evidence: Evidence, sent: Sent, group: str) -> int:
    """Return the event by which a message stops being in the way, or -1."""
    reading = read(evidence.history)
    over = reading.ended(sent, group)
    given = reading.pairs.get((sent.index, group), [])
    if over < 0 and given and reading.acked(sent, group):
        # A later offset speaks for it, where nobody acknowledged the message itself.
        over = max(given[-1].index, *(handed.acked for handed in given))
    if over < 0 and (sent.index, group) in reading.dropped:
        over = reading.dropped[sent.index, group][0]
    return over


def _handled_in_a_loop(evidence: Evidence, sent: Sent, group: str) -> bool:
    """Say whether a main loop that polls has handled a message, acknowledged or not.

    The commit of its offset may have been lost: that keeps nobody waiting. It has if it did
    something with it, where the calm run does, and was not broken off; or if all ends as it does
    in the calm run: it had done its work before, and knows that by a position of its own.
    """
    reading = read(evidence.history)
    given = reading.pairs.get((sent.index, group))
    if not given or not reading.quiet:
        return False
    if group in reading.handlers_of() or group in read(evidence.calm()).handlers_of():
        return False
    if ends_as_calm(evidence):
        return True
    last = given[-1]
    if last.waiting or _was_cut(evidence.history, last):
        return False
    return bool(last.work) or not _usual_work(evidence.calm(), sent, group)


def _behind(reading: Reading, sent: Sent) -> list[Sent]:
    return [
        other for other in reading.sent.values() if not other.poison and _is_behind(other, sent)
    ]


def _in_the_way(
    sent: Sent, group: str, given: list[Handed], behind: list[Sent], waits: str
) -> Finding:
    raised = [handed for handed in given if handed.raised >= 0]
    error = raised[-1].error if raised else ""
    number = f"{len(behind)} behind it" if behind else "nothing behind it yet"
    if sent.poison:
        what = f"a message on {sent.topic!r} that {group} could not read"
        summary = f"{what}, given {times(len(given))}, is in the way {waits}: {number}"
    else:
        summary = (
            f"{group} raised {error} {times(len(raised))} at {sent}, which is in the way "
            f"{waits}: {number}"
        )
    events = {sent.index, given[0].index, *(other.index for other in behind[:3])}
    events |= {handed.raised for handed in (*raised[:1], *raised[-1:])}
    data = {
        "group": group,
        "topic": sent.topic,
        "error": error,
        "given": len(given),
        "behind": len(behind),
    }
    entity = behind[0].entity if sent.poison and behind else sent.entity
    return Finding(summary, tuple(sorted(events)), entity, data)


def order_per_key(topic: str | Iterable[str] | None = None) -> Property:
    """Claim that messages of one key are handled in the order in which they were published.

    What counts is when each message is first handled by a group; redeliveries after that
    are skipped. In a main loop that polls, a message counts as handled when it is first
    acknowledged.

    Args:
        topic: A topic, or several that are taken together (`orders` and `orders.retry`);
            by default all, each by itself.

    >>> run.check(order_per_key("orders"))
    >>> run.check(order_per_key(["orders", "orders.retry"]))
    """
    wanted = names_of(topic)

    @once_a_run
    def handlings(evidence: Evidence) -> list[tuple[int, Sent, str]]:
        return _first_handlings(read(evidence.history), wanted)

    def judge(evidence: Evidence) -> list[Finding]:
        found: list[Finding] = []
        newest: dict[tuple[str, str, str, str], tuple[int, Sent]] = {}
        for done, sent, group in handlings(evidence):
            place = (sent.broker, "" if wanted else sent.topic, group, sent.key or "")
            before = newest.get(place)
            if before is not None and before[1].index > sent.index:
                found.append(_overtaken(before, (done, sent), group))
            else:
                newest[place] = (done, sent)
        return found

    def tested(evidence: Evidence) -> bool:
        counts: dict[tuple[str, str], int] = {}
        for _, sent, group in handlings(evidence):
            place = (group, sent.key or "")
            counts[place] = counts.get(place, 0) + 1
        return any(count > 1 for count in counts.values())

    words = f" on {', '.join(sorted(wanted))}" if wanted else ""
    return Property(f"order per key{words}", judge, "always", tested=tested)


def _first_handlings(reading: Reading, wanted: frozenset[str]) -> list[tuple[int, Sent, str]]:
    """Return when each message with a key was first handled by each group, oldest first."""
    first: dict[tuple[int, str], int] = {}
    loops = {handed.group for handed in reading.handed.values()} - reading.handlers_of()
    for handed in reading.handed.values():
        sent = handed.sent
        if sent.key is None or sent.poison or (wanted and sent.topic not in wanted):
            continue
        done = handed.acked if handed.group in loops else handed.handled
        if done >= 0:
            place = (sent.index, handed.group)
            first[place] = min(done, first.get(place, done))
    ordered = sorted((done, message, group) for (message, group), done in first.items())
    return [(done, reading.sent[message], group) for done, message, group in ordered]


def _overtaken(before: tuple[int, Sent], after: tuple[int, Sent], group: str) -> Finding:
    (early, newer), (late, older) = before, after
    summary = (
        f"{group} handled {newer} that was published later before the one that was published first"
    )
    events = (older.index, newer.index, early, late)
    data = {"group": group, "key": older.key, "topic": older.topic}
    return Finding(summary, events, older.entity, data)


def no_event_cycle(*, turns_max: int = 10) -> Property:
    """Claim that events do not go round in circles.

    A saga may pass one operation several times on its way; events that go in a circle
    pass it without end. What counts is how often an operation is among its own causes,
    from message to message: a loop that publishes again and again is no circle.

    Args:
        turns_max: How often one operation may follow from itself.

    Raises:
        InvalidDefinition: `turns_max` is no number of turns.

    >>> run.check(no_event_cycle())
    >>> run.check(no_event_cycle(turns_max=3))
    """
    if turns_max is None:
        raise refused("no_event_cycle", "turns_max", "a whole number from 0", turns_max)
    _check_times("no_event_cycle", "turns_max", turns_max)

    def judge(evidence: Evidence) -> list[Finding]:
        history = evidence.history
        raw = history.raw
        published = [raw[at][3] for at in history.places_of("publish")]
        if len(published) - len(set(published)) < turns_max:
            return []  # no operation published often enough
        turns: dict[int, dict[str, int]] = {}  # on the way to what the same code does next
        sent: dict[int, dict[str, int]] = {}  # on the way to what a message leads to
        for index, (_, kind, _, operation, entity, _, cause, _) in enumerate(raw):
            passed = (sent if kind == "deliver" else turns).get(cause, {})
            if kind == "publish" and operation:
                count = passed.get(operation, 0) + 1
                if count > turns_max:
                    return [_circle(history, index, operation, entity, count)]
                sent[index] = {**passed, operation: count}
            if passed:
                turns[index] = passed
        return []

    return Property("no event cycle", judge, "always", tested=_published)


def _published(evidence: Evidence) -> bool:
    return any(True for _ in evidence.history.of("publish"))


def _circle(history: History, index: int, operation: str, entity: int, count: int) -> Finding:
    ring: list[str] = []
    events = [index]
    for event in history.causes(index):
        if event.kind == "publish":
            if event.index != index and event.operation == operation:
                events.append(event.index)
                break
            ring.append(event.data["topic"])
    path = " → ".join([ring[0], *reversed(ring)])
    summary = f"events go in a circle: {path}, {times(count)} round so far"
    return Finding(summary, tuple(reversed(events)), entity, {"operation": operation})
