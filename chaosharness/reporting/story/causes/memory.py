"""What code went by: halves in two memories, a look that was long ago, a mark before the deed."""

from __future__ import annotations

from chaosharness.checkers.reading import Handed, read
from chaosharness.kernel.history import Event, plain
from chaosharness.reporting.story.causes.case import (
    Case,
    Cause,
    about,
    action,
    names,
    table,
)
from chaosharness.reporting.story.legible import clip, read_payload, span
from chaosharness.reporting.story.narrator import raised


def halves_apart(case: Case) -> Cause | None:
    """Find what belongs together at two incarnations, of which neither wrote down what it had."""
    if case.passing is None or not case.finding.kind.startswith("message"):
        return None
    idle = [
        one
        for one in case.reading.handed.values()
        if one.handled >= 0
        and not one.work
        and not case.works[one.index].of("read")
        and case.concerns(one.sent.entity)
    ]
    for early in idle:
        for late in idle:
            if not _are_halves(early, late) or not _were_together(case, early, late):
                continue
            if _has_both(case, early, late):
                continue
            what, other = (case.narrator.message(one.sent.index) for one in (early, late))
            one, two = case.narrator.name(early.to), case.narrator.name(late.to)
            words = (
                f"{what} went to {one} and {other} to {two}, and neither wrote down what it had: "
                f"no one of them was given both halves."
            )
            return Cause("memory", words)
    return None


def _are_halves(early: Handed, late: Handed) -> bool:
    return (
        early.index < late.index
        and early.to != late.to
        and early.to.partition("#")[0] == late.to.partition("#")[0]
        and early.sent.entity == late.sent.entity
        and early.sent.topic != late.sent.topic
    )


def _has_both(case: Case, early: Handed, late: Handed) -> bool:
    """Say whether one incarnation was handed both, sooner or later."""
    had, had_too = (
        {one.to for one in case.reading.handed.values() if one.sent.index == half.sent.index}
        for half in (early, late)
    )
    return bool(had & had_too)


def _were_together(case: Case, early: Handed, late: Handed) -> bool:
    """Say whether the run that passes hands both to one incarnation, and something comes of it."""
    assert case.passing is not None
    whom = {
        one.sent.topic: one
        for one in read(case.passing).handed.values()
        if one.sent.entity == early.sent.entity and one.to.startswith(early.to.partition("#")[0])
    }
    both = [whom.get(one.sent.topic) for one in (early, late)]
    if both[0] is None or both[1] is None or both[0].to != both[1].to:
        return False
    return bool(both[0].work or both[1].work)


def forgotten(case: Case) -> Cause | None:
    """Find a handler that asks nobody and does nothing: what it went by is in another memory.

    That is of a replica beside it, or of one that crashed.
    """
    if case.passing is None:
        return None
    for late in case.reading.handed.values():
        if late.handled < 0 or late.work or case.works[late.index].of("read", "call"):
            continue
        if not case.lacks_through(late.sent, late.group) or not _asks_nobody(case, late):
            continue
        early = _handled_by_another_life(case, late)
        if early is None or not _by_one_life(case, early, late):
            continue
        who, place = case.narrator.name(early.to), case.place(case.history[late.handled])
        what, other = (case.narrator.message(one.sent.index) for one in (early, late))
        crashed = [e for e in case.history.of("crash") if e.actor == early.to]
        if crashed and crashed[0].index < late.index:
            told = f"{who} had handled {what} before, and crashed since, and what it had only in "
            told += "memory was gone"
        else:
            told = f"{who} had handled {what}, and what it had only in memory, "
            told += f"{case.narrator.name(late.to)} never had"
        words = f"{place} handled {other}, asked nobody and did nothing: {told}."
        return Cause("memory", words)
    return None


def _asks_nobody(case: Case, late: Handed) -> bool:
    """Say whether in the run that passes, too, the same is done without looking anything up."""
    assert case.passing is not None
    roots = read(case.passing).roots
    mine = {
        one.index
        for one in read(case.passing).handed.values()
        if (one.sent.entity, one.sent.topic, one.group)
        == (late.sent.entity, late.sent.topic, late.group)
    }
    return not any(roots[event.index] in mine for event in case.passing.of("read"))


def _handled_by_another_life(case: Case, late: Handed) -> Handed | None:
    """Return the last message for the same key that another incarnation handled, and never this."""
    mine = [one for one in case.reading.handed.values() if _are_of_one(one, late)]
    mine = [one for one in mine if one.sent.index != late.sent.index and one.index < late.index]
    mine = [one for one in mine if _service(one.to) == _service(late.to)]
    if any(one.to == late.to for one in mine):
        return None
    return next((one for one in reversed(mine) if 0 <= one.handled < late.index), None)


def _are_of_one(early: Handed, late: Handed) -> bool:
    """Say whether two messages are of one item, or of one key."""
    key = early.sent.key
    return early.sent.entity == late.sent.entity or (key is not None and key == late.sent.key)


def _by_one_life(case: Case, early: Handed, late: Handed) -> bool:
    """Say whether the run that passes hands both messages to one incarnation."""
    assert case.passing is not None
    whom = {
        (one.sent.topic, one.sent.entity, one.group): one.to
        for one in read(case.passing).handed.values()
    }
    lives = {
        whom.get((one.sent.topic, one.sent.entity, one.group), one.to + "?")
        for one in (early, late)
    }
    return len(lives) == 1


def _service(incarnation: str) -> str:
    return incarnation.partition("#")[0]


def old_knowledge(case: Case) -> Cause | None:
    """Find a write that its code looked something up for before, and not this time."""
    for write in case.history.of("write"):
        if write.index not in case.lasting or not case.came_out_otherwise(write):
            continue
        look = _look_before(case, write)
        if look is None:
            continue
        looks = [e for e in case.history.of("read") if e.actor == write.actor]
        look = [e for e in looks if e.index < write.index and table(e) == table(look)][-1]
        handed = case.handed(write)
        subject = about(write) | {handed.sent.key if handed and handed.sent.key else ""}
        changed = [
            event
            for event in case.history.of("write")
            if look.index < event.index < write.index
            and event.actor != write.actor
            and event.index in case.lasting
            and table(event) == table(look)
            and about(event) & (subject - {""})
        ]
        if not changed:
            continue
        who, other = case.narrator.name(write.actor), case.narrator.name(changed[-1].actor)
        words = (
            f"{who} looked into {table(look)} at {span(look.at_ms)} and not again: {other} changed "
            f"it at {span(changed[-1].at_ms)}, and {who} wrote {table(write)} at "
            f"{span(write.at_ms)} all the same."
        )
        return Cause("memory", words)
    return None


def _look_before(case: Case, write: Event) -> Event | None:
    """Return the look that such a write came after, when the same incarnation made it before.

    None if this one came after a look of its own.
    """
    mine = case.work(write)
    if mine.of("read"):
        return None
    for other in case.history.of("write"):
        if other.index >= write.index or other.operation != write.operation:
            continue
        if other.actor != write.actor or case.work(other).root == mine.root:
            continue
        looks = [e for e in case.work(other).of("read") if e.index < other.index]
        looks = [e for e in looks if table(e) != table(write)]
        if looks:
            return looks[-1]
    return None


def own_mark(case: Case) -> Cause | None:
    """Find a conditional write that is refused because of the first attempt's own write."""
    for early, late in case.again():
        end = max(early.raised, early.cut)
        if end < 0 or early.handled >= 0 or case.works[late.index].of("effect", "publish"):
            continue
        refused = [e for e in case.works[late.index].of("read") if "refused" in e.data]
        marks = [e for e in case.works[early.index].of("commit") if "key" in e.data]
        marks = [e for e in marks if any(one.operation == e.operation for one in refused)]
        if not marks or not _is_undone(case, early) or _others(case, early, marks[0], refused[0]):
            continue
        what = case.narrator.message(early.sent.index)
        how = f"it raised {raised(early.error)}" if early.raised == end else "it crashed"
        then = "it took that for done" if late.handled >= 0 else "it gave up, each time"
        words = (
            f"{case.place(marks[0])} wrote {table(marks[0])} for {what}, and then {how}. When "
            f"{what} came again, that write was refused, because its own first one was there: "
            f"{then}."
        )
        return Cause("inbox", words)
    return None


def _others(case: Case, early: Handed, mark: Event, refused: Event) -> bool:
    """Say whether somebody else wrote under that key, before the write was refused."""
    return any(
        (e.data.get("store"), e.data.get("key")) == (mark.data.get("store"), mark.data.get("key"))
        and e.index < refused.index
        and case.work(e).root != early.index
        for e in case.history.of("commit")
    )


def _is_undone(case: Case, one: Handed) -> bool:
    """Say whether nothing ever came of a message, and the finding is about what it is for."""
    deliveries = case.reading.pairs[one.sent.index, one.group]
    if any(case.works[other.index].of("effect", "publish") for other in deliveries):
        return False
    return case.lacks_through(one.sent, one.group) or case.finding.kind == "put aside"


def marked_first(case: Case) -> Cause | None:
    """Find a row that a loop marked as done before what it stands for, which then failed."""
    for reply in case.history.of("reply"):
        if reply.data.get("outcome") not in ("failed", "unknown") or reply.data.get("happened"):
            continue
        if case.handed(reply) is not None or not case.lacks_after(reply):
            continue
        place = case.place(reply)
        marks = [
            event
            for event in case.wrote(case.work(reply), lasting=True)
            if case.lasting[event.index] < reply.index
            and case.place(event) == place
            and event.data.get("verb") in ("update", "delete")
        ]
        if not marks or _asked_for_later(case, reply, marks[-1]):
            continue
        how = "was refused" if reply.data["outcome"] == "failed" else "got no answer to"
        words = (
            f"{place} committed {table(marks[-1])} before it asked for {action(reply)}, and then "
            f"{how} that: nobody asked for it again."
        )
        return Cause("marked", words)
    return None


def _asked_for_later(case: Case, reply: Event, mark: Event) -> bool:
    """Say whether the same was asked for again, for what was marked."""
    return any(
        call.index > reply.index
        and action(call) == action(reply)
        and (names(plain(call.data)) & about(mark) or 0 < call.entity == reply.entity)
        for call in case.history.of("call", "publish")
    )


def mixed_up(case: Case) -> Cause | None:
    """Find a message that carries what came with another one, which was in hand as well."""
    for out in (event for event in case.anchors if event.kind == "publish"):
        mine = case.handed(out)
        if mine is None:
            continue
        for other in case.reading.handed.values():
            if other.to != mine.to or other.sent.index == mine.sent.index:
                continue
            if not mine.index < other.index < out.index:
                continue  # what came first may have been kept on purpose
            ended = [end for end in (other.handled, other.raised) if end >= 0]
            strange = _said(case, out) & _said(case, case.history[other.sent.index])
            strange -= _said(case, case.history[mine.sent.index])
            if not strange or (ended and min(ended) < out.index):
                continue
            what, with_it = (case.narrator.message(one.sent.index) for one in (mine, other))
            words = (
                f"{case.place(out)} had {what} in hand, and {with_it} as well: what it published "
                f"for the first to {out.data.get('topic')} carries {clip(min(strange), 40)}, which "
                f"came with the second."
            )
            return Cause("mixed", words)
    return None


def _said(case: Case, message: Event) -> frozenset[str]:
    """Return the texts in a message, and in its headers."""
    return names(read_payload(message.data.get("value"))) | names(message.data.get("headers"))
