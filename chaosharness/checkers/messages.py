"""What becomes of messages: none lost, none in the way of others, none out of order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from chaosharness.checkers.effects import names_of, times
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reading import Handed, Reading, Sent, read
from chaosharness.kernel.history import History

RAISED_MIN = 3
"""Fewer tries than this are not yet "again and again"."""


def nothing_acknowledged_lost(*, ignore: Any = ()) -> Property:
    """Claim that each stored message is handled by each group or queue that reads it.

    Once the system is quiet, a message must have been handled by each of its readers, or
    dead-lettered. Lost are those acknowledged before they were handled, those acknowledged
    although their handler raised, and those never delivered. Poison is nobody's loss.

    A main loop that polls does not say when it has handled a message. There a message is
    lost if it is acknowledged, the crash struck in the middle of it (or before its turn),
    nobody was given it again, and something was left to do that the calm run does.

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
        if reading.quiet:
            yield _loss(sent, group, "was never delivered to", [])
        return
    last = deliveries[-1]
    if by_handler:
        if acked or reading.quiet:
            yield _loss(sent, group, _why(last, acked=acked), deliveries)
        return
    done = {operation for handed in deliveries for operation in handed.work}
    missing = [one for one in _usual_work(evidence.calm(), sent, group) if one not in done]
    if acked and missing and _was_cut(evidence.history, last):
        why = f"was acknowledged before it was processed ({missing[0]} never happened) by"
        yield _loss(sent, group, why, deliveries)


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
    """Return what the calm run does with such a message: same topic, same workload item."""
    found: dict[str, None] = {}
    for handed in read(calm).handed.values():
        like = handed.sent
        if (handed.group, like.topic, like.entity) == (group, sent.topic, sent.entity):
            found |= dict.fromkeys(handed.work)
    return [*found]


def _was_cut(history: History, handed: Handed) -> bool:
    """Say whether a crash struck in the middle of a delivery, or before its turn came."""
    if handed.cut >= 0:
        return True
    if handed.work and not handed.waiting:
        return False
    return any(event.actor == handed.to for event in history.of("crash"))


def poison_blocks_nobody(*, ignore: Any = ()) -> Property:
    """Claim that a message nobody can read keeps no other message from being handled.

    Args:
        ignore: Consumer groups or queues, or topics, that may be blocked.

    >>> run.check(poison_blocks_nobody())
    >>> run.check(poison_blocks_nobody(ignore=["reports"]))
    """
    ignored = names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        reading = read(evidence.history)
        return [
            finding
            for poison in _poison(reading)
            for group in reading.readers_of(poison)
            if not ignored & {group, poison.topic}
            for finding in _blocked(reading, poison, group)
        ]

    def tested(evidence: Evidence) -> bool:
        reading = read(evidence.history)
        return any(
            (poison.index, group) in reading.pairs
            for poison in _poison(reading)
            for group in reading.readers_of(poison)
        )

    return Property("poison blocks nobody", judge, "eventually", tested=tested)


def _poison(reading: Reading) -> list[Sent]:
    return [sent for sent in reading.sent.values() if sent.poison]


def _blocked(reading: Reading, poison: Sent, group: str) -> Iterator[Finding]:
    """Yield a finding if messages of the same topic were not handled once poison was there."""
    behind = [
        sent
        for sent in reading.sent.values()
        if (sent.broker, sent.topic) == (poison.broker, poison.topic)
        and not sent.poison
        and sent.index > poison.index
        and reading.ended(sent, group) < 0
        and not reading.acked(sent, group)
    ]
    given = reading.pairs.get((poison.index, group), [])
    if not behind or not given:
        return
    first = behind[0]
    others = f" and {len(behind) - 1} more" if len(behind) > 1 else ""
    summary = (
        f"{first}{others} waited for ever behind a message that {group} could not read "
        f"and was given {times(len(given))}"
    )
    events = (poison.index, given[0].index, *(sent.index for sent in behind))
    data = {"group": group, "topic": poison.topic, "blocked": len(behind), "given": len(given)}
    yield Finding(summary, tuple(sorted(events)), first.entity, data)


def unhandled_exceptions_block_nobody(*, ignore: Any = ()) -> Property:
    """Claim that no handler raises for ever on one message that it is given again and again.

    Retrying for ever is right where the trouble passes. Where the faults have stopped and
    the handler still raises, the trouble is in the message or in the state, and whatever
    is behind that message waits. Poison has a property of its own.

    Args:
        ignore: Consumer groups or queues, or topics, that may be blocked.

    >>> run.check(unhandled_exceptions_block_nobody())
    >>> run.check(unhandled_exceptions_block_nobody(ignore=["reports"]))
    """
    ignored = names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        reading = read(evidence.history)
        if reading.quiet:
            return []  # whatever raised, it came to an end
        return [
            finding
            for sent, group in _readings(reading, ignored)
            if reading.ended(sent, group) < 0
            for finding in _raising(reading, sent, group)
        ]

    def tested(evidence: Evidence) -> bool:
        reading = read(evidence.history)
        return any(one.raised >= 0 and not one.sent.poison for one in reading.handed.values())

    return Property("unhandled exceptions block nobody", judge, "eventually", tested=tested)


def _raising(reading: Reading, sent: Sent, group: str) -> Iterator[Finding]:
    given = reading.pairs.get((sent.index, group), [])
    raised = [handed for handed in given if handed.raised >= 0]
    if len(raised) < RAISED_MIN or raised[-1] is not given[-1]:
        return
    behind = [
        other
        for other in reading.sent.values()
        if (other.broker, other.topic, other.log_partition)
        == (sent.broker, sent.topic, sent.log_partition)
        and other.index > sent.index
        and reading.ended(other, group) < 0
    ]
    waiting = f", and {len(behind)} behind it wait" if behind else ""
    summary = (
        f"{group} raised {raised[-1].error} each of the {len(raised)} times it was given "
        f"{sent}{waiting}"
    )
    events = (sent.index, *(handed.raised for handed in (raised[0], raised[-1])))
    data = {
        "group": group,
        "topic": sent.topic,
        "error": raised[-1].error,
        "raised": len(raised),
        "behind": len(behind),
    }
    yield Finding(summary, events, sent.entity, data)


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

    def judge(evidence: Evidence) -> list[Finding]:
        found: list[Finding] = []
        newest: dict[tuple[str, str, str, str], tuple[int, Sent]] = {}
        for done, sent, group in _first_handlings(read(evidence.history), wanted):
            place = (sent.broker, "" if wanted else sent.topic, group, sent.key or "")
            before = newest.get(place)
            if before is not None and before[1].index > sent.index:
                found.append(_overtaken(before, (done, sent), group))
            else:
                newest[place] = (done, sent)
        return found

    def tested(evidence: Evidence) -> bool:
        counts: dict[tuple[str, str], int] = {}
        for _, sent, group in _first_handlings(read(evidence.history), wanted):
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
    return sorted((done, reading.sent[message], group) for (message, group), done in first.items())


def _overtaken(before: tuple[int, Sent], after: tuple[int, Sent], group: str) -> Finding:
    (early, newer), (late, older) = before, after
    summary = (
        f"{group} handled {newer} published later (e{newer.index}) before the one "
        f"published first (e{older.index})"
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

    >>> run.check(no_event_cycle())
    >>> run.check(no_event_cycle(turns_max=3))
    """

    def judge(evidence: Evidence) -> list[Finding]:
        history = evidence.history
        raw = history.raw
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
