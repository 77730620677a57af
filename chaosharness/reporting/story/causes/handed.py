"""A message in hand, and what became of it: let go of, passed over, taken back, never stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from chaosharness.checkers.effects import times
from chaosharness.checkers.reading import Handed
from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, action, table
from chaosharness.reporting.story.legible import clip, listed, span
from chaosharness.reporting.story.narrator import raised

OFTEN: Final = 3
"""Attempts that all came too late, after which nobody believes in the next."""

MANY: Final = 10
"""Times that a message is given back, after which nobody believes that it will do some day."""


LOGS: Final = {
    "retention": ("aged", "a log keeps a record for so long and no longer, read or not."),
    "size": ("aged", "a log keeps so many bytes and no more, read or not."),
    "compaction": ("compacted", "of each key a compacted log keeps the last record alone."),
    "failover": ("failed over", "only the server that failed had it, whatever it had confirmed."),
    "lost with its server": (
        "replicated late",
        "only the server that failed had it, whatever it had confirmed.",
    ),
}
"""What a log lets go of, by reason: nobody could have put it aside."""


def let_go(case: Case) -> Cause | None:
    """Find a message that its broker dropped before its work was done."""
    for (index, group), (at, reason) in case.reading.dropped.items():
        sent = case.reading.sent.get(index)
        if sent is None or sent.poison or not case.concerns(sent.entity) or case.repeated:
            continue
        if not (case.points_at(index, at) or case.lacks_through(sent, group)):
            continue
        deliveries = case.reading.pairs.get((index, group), [])
        if any(0 <= one.handled < at for one in deliveries):
            continue
        who, what = case.narrator.name(sent.broker), case.narrator.message(index)
        before = f" after it had been handed out {times(len(deliveries))}" if deliveries else ""
        kind, why = LOGS.get(reason, ("dropped", "it was put nowhere, so nobody has it any more."))
        if case.history[index].data.get("lossy"):
            kind = "broadcast"
        words = (
            f"{who} let go of {what} ({clip(reason, 60)}){before}, and its work was not done: {why}"
        )
        return Cause(kind, words)
    return None


def passed_over(case: Case) -> Cause | None:
    """Find a main loop that acknowledged a message although a call made for it had failed."""
    for one in _last_deliveries(case):
        if one.by_handler or one.acked < 0 or one.raised >= 0:
            continue
        work = case.works[one.index]
        replies = [r for r in work.of("reply") if r.index < one.acked and r.actor == one.to]
        failed = [r for r in replies if r.data.get("outcome") in ("failed", "unknown")]
        failed = [r for r in failed if not _came_right(case, r) and case.lacks_after(r)]
        if not failed:
            continue
        bad = failed[0]
        how = "was refused" if bad.data["outcome"] == "failed" else "got no answer to"
        what = case.narrator.message(one.sent.index)
        words = (
            f"{case.place(bad)} {how} {action(bad)} for {what}, and acknowledged it all the same: "
            f"the message is done with, and nobody asks again."
        )
        return Cause("refused", words)
    return None


def offset_passed(case: Case) -> Cause | None:
    """Find a message of a log that a commit spoke for, which was made for a later one."""
    for one in _last_deliveries(case):
        if one.by_handler or one.acked >= 0 or not case.points_at(one.sent.index, one.index):
            continue
        if (one.sent.index, one.group) in case.reading.dead or _came_of(case, one):
            continue
        passed = min(_commits_past(case, one), default=-1)
        if passed < 0:
            continue
        what = case.narrator.message(one.sent.index)
        words = (
            f"{case.place(case.history[passed])} committed an offset beyond {what} (offset "
            f"{one.sent.offset}) before its work was done: an offset speaks for all before it, so "
            f"the message does not come again."
        )
        return Cause("ack", words)
    return None


def _came_of(case: Case, one: Handed) -> list[Event]:
    """Return what came of a delivery; a call that was only asked for is none of it."""
    return case.works[one.index].of("write", "commit", "effect", "publish")


def _commits_past(case: Case, one: Handed) -> Iterator[int]:
    """Yield the commits that were made, after a delivery, for later messages of its log."""
    sent = one.sent
    if sent.queues is not None:
        return
    for other in case.reading.handed.values():
        place = (other.group, other.sent.broker, other.sent.topic, other.sent.log_partition)
        if place != (one.group, sent.broker, sent.topic, sent.log_partition):
            continue
        if other.sent.offset > sent.offset and other.acked > one.index:
            yield other.acked


def _came_right(case: Case, failed: Event) -> bool:
    """Say whether the same was asked for again later, for the same item, and done."""
    return any(
        one.index > failed.index
        and (action(one), one.entity, one.data.get("outcome"))
        == (action(failed), failed.entity, "ok")
        for one in case.history.of("reply")
    )


def _last_deliveries(case: Case) -> Iterator[Handed]:
    """Yield the last delivery of each message that nobody handled, of what the finding is about."""
    for deliveries in case.reading.pairs.values():
        one = deliveries[-1]
        if case.concerns(one.sent.entity) and all(other.handled < 0 for other in deliveries):
            yield one


def never_again(case: Case) -> Cause | None:
    """Find a message whose only attempt failed, and which was handed to nobody after that."""
    if not case.reading.quiet or case.repeated:
        return None
    for one in _last_deliveries(case):
        place = (one.sent.index, one.group)
        if place in case.reading.dead or place in case.reading.dropped:
            continue
        if one.acked >= 0 or one.sent.queues is None:
            continue
        if not (case.points_at(one.index) or case.lacks_through(one.sent, one.group)):
            continue
        who, what = case.narrator.name(one.to), case.narrator.message(one.sent.index)
        broker = case.narrator.name(one.sent.broker)
        words = f"{broker} handed {what} to {who}{_how_it_ended(case, one)}"
        if any(one.index < ack.index for ack in _by_the_broker(case, one)):
            words += f"; {broker} counted it as acknowledged when it handed it out"
            kind = "broadcast" if case.history[one.sent.index].data.get("lossy") else "ack"
            return Cause(kind, f"{words}, so it does not come again.")
        return Cause(
            "pending", f"{words}. Nobody acknowledged it, and nobody takes it up: it stays pending."
        )
    return None


def _how_it_ended(case: Case, one: Handed) -> str:
    if one.raised >= 0:
        return f", which raised {raised(one.error)}"
    if case.history[one.index].data.get("lost"):
        return ", which never saw it"
    undone = case.lacks_through(one.sent, one.group) or not _came_of(case, one)
    crashes = [e for e in case.history.of("crash") if e.actor == one.to and e.index > one.index]
    if crashes:
        return ", which crashed before its work was done" if undone else ", which crashed"
    return ", which did not do its work" if undone else ""


def _by_the_broker(case: Case, one: Handed) -> list[Event]:
    return [
        event
        for event in case.history.of("ack")
        if event.actor == one.sent.broker and event.data.get("message") == one.sent.index
    ]


def taken_back(case: Case) -> Cause | None:
    """Find a message that comes for ever, as each attempt takes longer than it may."""
    for deliveries in case.reading.pairs.values():
        late = [
            (one, back)
            for one in deliveries
            if one.handled >= 0 and (back := _back_before_the_end(case, one)) is not None
        ]
        if len(late) < OFTEN or any(one.acked >= 0 for one in deliveries):
            continue
        sent = deliveries[0].sent
        if not _is_why(case, deliveries):
            continue
        one, back = late[0]
        since = case.history[one.index].at_ms
        what, broker = case.narrator.message(sent.index), case.narrator.name(sent.broker)
        words = (
            f"{case.place(case.history[one.handled])} takes "
            f"{span(case.history[one.handled].at_ms - since)} for {what}, and after "
            f"{span(back.at_ms - since)} {broker} takes it back ({back.data.get('why')}): the "
            f"acknowledgement comes too late, and the message comes again, for ever."
        )
        return Cause("lease", words)
    return None


def kept_too_long(case: Case) -> Cause | None:
    """Find a message that was handed out anew while somebody kept it, and done each time."""
    for deliveries in case.reading.pairs.values():
        sent, kept = deliveries[0].sent, deliveries[0]
        back = _taken_back_after(case, kept)
        if back is None or not back.data.get("why") or len(deliveries) < 2:
            continue
        done = _done_of(case, sent.index)
        if len(done) < 2 or not back.index < done[0].index:
            continue
        began = [case.handed(event) for event in done]
        if any(one is not None and one.sent.index == sent.index for one in began):
            continue  # done by the deliveries themselves: one attempt after the other
        what, broker = case.narrator.message(sent.index), case.narrator.name(sent.broker)
        since = case.history[kept.index].at_ms
        words = (
            f"{case.narrator.name(kept.to)} kept {what} in hand for "
            f"{span(done[0].at_ms - since)} before it began, and after {span(back.at_ms - since)} "
            f"{broker} handed it out again ({back.data['why']}): each time it was handed out, "
            f"{action(done[0])} is asked for."
        )
        return Cause("kept", words)
    return None


def _done_of(case: Case, message: int) -> list[Event]:
    """Return the deeds of one kind that came of a message, the finding being about the last."""
    before = case.history.happened_before
    for last in reversed(case.shown):
        if last.kind in ("effect", "publish") and last.index != message:
            same = (last.kind, last.operation, last.entity)
            alike = [
                event
                for event in case.history.of(last.kind)
                if (event.kind, event.operation, event.entity) == same
                and event.index <= last.index
                and before(message, event.index)
            ]
            if len(alike) > 1:
                return alike
    return []


def nobody_began(case: Case) -> Cause | None:
    """Find a message that was handed out and taken back each time, before anybody began with it."""
    for deliveries in case.reading.pairs.values():
        sent, group = deliveries[0].sent, deliveries[0].group
        if (sent.index, group) not in case.reading.dead or sent.poison:
            continue
        if not case.points_at(sent.index) or any(map(_began(case), deliveries)):
            continue
        beside = [_in_hand_beside(case, one) for one in deliveries]
        back = [_taken_back_after(case, one) for one in deliveries]
        if not all(beside) or not all(back):
            continue
        broker, what = case.narrator.name(sent.broker), case.narrator.message(sent.index)
        busy = list(dict.fromkeys(case.narrator.message(one.sent.index) for one in beside if one))
        last = back[-1]
        service = case.narrator.name(deliveries[0].to.partition("#")[0])
        words = (
            f"{broker} handed {what} out {times(len(deliveries))} and took it back each time "
            f"({last.data.get('why') if last else ''}): {service} was still at work on "
            f"{listed(busy[:3])}, and began with nothing else."
        )
        return Cause("busy", words)
    return None


def _began(case: Case) -> Callable[[Handed], bool]:
    """Return what says whether anything was done with a delivery, or it never arrived."""
    return lambda one: (
        len(case.works[one.index].events) > 1 or bool(case.history[one.index].data.get("lost"))
    )


def _in_hand_beside(case: Case, one: Handed) -> Handed | None:
    """Return what the service had begun with before a delivery, and ended after it."""
    service = one.to.partition("#")[0]
    return next(
        (
            other
            for other in case.reading.handed.values()
            if other.to.partition("#")[0] == service
            and other.index < one.index < other.handled
            and _began(case)(other)
        ),
        None,
    )


def _taken_back_after(case: Case, one: Handed) -> Event | None:
    """Return where the broker took back what it had handed to an incarnation."""
    return next(
        (
            event
            for event in case.history.of("nack")
            if event.actor == one.sent.broker
            and event.data.get("message") == one.sent.index
            and event.data.get("from") == one.to
            and one.index < event.index
        ),
        None,
    )


def _is_why(case: Case, deliveries: list[Handed]) -> bool:
    """Say whether the finding is about a message, or about a run that no other one kept going."""
    if case.points_at(*(one.index for one in deliveries)):
        return True
    most = max(map(len, case.reading.pairs.values()))
    return not case.reading.quiet and case.of_the_end and len(deliveries) == most


def _back_before_the_end(case: Case, one: Handed) -> Event | None:
    """Return where the broker took a message back while it was being handled."""
    back = _taken_back_after(case, one)
    return back if back is not None and back.index < one.handled else None


def given_back_for_ever(case: Case) -> Cause | None:
    """Find a message that whoever is handed it puts back into its queue, each time."""
    if case.reading.quiet:
        return None
    for deliveries in case.reading.pairs.values():
        back = [
            event
            for event in case.history.of("nack")
            if event.data.get("requeue") and event.data.get("message") == deliveries[0].sent.index
        ]
        if len(back) < MANY or not _is_why(case, deliveries):
            continue
        if any(one.acked >= 0 for one in deliveries):
            continue  # it went through, some day
        what = case.narrator.message(deliveries[0].sent.index)
        words = (
            f"{case.place(back[0])} gave {what} back {len(back):,} times, and each time it came "
            f"again: nobody put it aside."
        )
        return Cause("in the way", words)
    return None


def never_stored(case: Case) -> Cause | None:
    """Find a message that was lost on its way to its broker, and whose sender asked for no word."""
    for reply in case.history.of("reply"):
        if reply.data.get("outcome") != "unasked" or ".publish " not in action(reply):
            continue
        if reply.data.get("happened") or (reply.entity and not case.concerns(reply.entity)):
            continue
        over = [e for e in case.work(reply).events if e.index > reply.index]
        if any(e.kind in ("raised", "crash") and e.actor == reply.actor for e in over):
            continue
        again = (e for e in case.history.of("publish", "reply") if e.index > reply.index)
        if reply.entity and any(
            (e.operation, e.entity) == (reply.operation, reply.entity) for e in again
        ):  # of no item there are many, and each may be another one
            continue
        if not case.lacks_after(reply):
            continue
        words = (
            f"{case.place(reply)} sent {action(reply).partition('publish ')[2]} and asked for no "
            f"confirmation: it was lost on its way, nobody noticed, and nobody sends it again."
        )
        return Cause("unconfirmed", words)
    return None


def ignored(case: Case) -> Cause | None:
    """Find a message that was handled and led to nothing, and what is missing was its work."""
    for deliveries in case.reading.pairs.values():
        one = deliveries[-1]
        work = case.works[one.index]
        if one.handled < 0 or not case.concerns(one.sent.entity):
            continue
        looks = work.of("read")
        if not looks or any(other.work for other in deliveries):
            continue
        late = _written_first_after(case, looks)
        if late is None or not case.lacks_through(one.sent, one.group):
            continue
        what = case.narrator.message(one.sent.index)
        words = (
            f"{case.place(case.history[one.handled])} was handed {what}, looked into "
            f"{table(late)}, and did nothing: only after that {case.place(late)} committed what "
            f"it wrote there. The message is done with, and does not come again."
        )
        return Cause("too early", words)
    return None


def _written_first_after(case: Case, looks: list[Event]) -> Event | None:
    """Return what was written where code had looked, for the same item; the first there is."""
    for look in looks:
        there = [
            write
            for write in case.history.of("write", "commit")
            if write.index in case.lasting
            and (table(write), write.entity) == (table(look), look.entity)
            and write.data.get("rows", 1)
        ]
        if there and all(case.lasting[write.index] > look.index for write in there):
            return there[0]
    return None


def stopped_half_way(case: Case) -> Cause | None:
    """Find a request that failed half way, and that was taken for done when it came again."""
    calls: dict[tuple[str, int], list[Event]] = {}
    for call in case.history.of("call"):
        if "endpoint" in call.data:
            calls.setdefault((call.operation, call.entity), []).append(call)
    for attempts in calls.values():
        for first, again in pairwise(attempts):
            cause = _taken_for_done(case, first, again)
            if cause is not None:
                return cause
    return None


def _taken_for_done(case: Case, first: Event, again: Event) -> Cause | None:
    before = case.history.happened_before
    early = [e for e in case.history if first.index < e.index < again.index]
    early = [e for e in early if before(first.index, e.index)]
    late = [e for e in case.history if e.index > again.index and before(again.index, e.index)]
    kept = [e for e in early if e.kind == "write" and e.index in case.lasting]
    bad = [e for e in early if e.kind in ("raised", "crash")]
    if not kept or not bad or not any(e.kind == "handled" for e in late):
        return None
    looked = {table(event) for event in late if event.kind == "read"}
    deeds = [e for e in late if e.kind in ("write", "commit", "call", "publish", "effect")]
    did = [e for e in deeds if case.place(e) == case.place(kept[0]) and e.data.get("rows", 1)]
    if did or not looked & {table(event) for event in kept} or not case.lacks_after(first):
        return None
    how = (
        f"it raised {raised(str(bad[0].data['error']))}" if "error" in bad[0].data else "it crashed"
    )
    rows = listed(sorted({table(event) for event in kept})[:3])
    words = (
        f"{case.place(kept[0])} committed {rows} before all of its work was done; then {how}. "
        f"When it was asked again, it looked there, and did nothing."
    )
    return Cause("inbox", words)
