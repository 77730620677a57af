"""What nobody did: no answer, a refusal that nobody minded, a loop that ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from chaosharness.checkers.masking import mask
from chaosharness.kernel.history import Event, plain
from chaosharness.reporting.story.causes.case import Case, Cause, about, action, asks, table
from chaosharness.reporting.story.legible import clip, listed, span


def loop_ended(case: Case) -> Cause | None:
    """Find a loop that stopped at a call that failed, while its work was still to be done."""
    left = list(_rows_left(case))
    if not left or not case.reading.quiet or case.repeated:
        return None
    loops = _last_of_loops(case)
    for place, last in loops.items():
        if last.kind != "reply" or last.data.get("outcome") == "ok":
            continue
        rows = next((name for name in left if _is_work_of(case, name, place, last)), None)
        if rows is None:
            continue
        how = "no answer to" if last.data.get("outcome") == "unknown" else "a refusal of"
        alike = [
            actor
            for (actor, name), end in loops.items()
            if name == place[1] and (end.kind, end.operation) == (last.kind, last.operation)
        ]
        who = listed(sorted(map(case.narrator.name, alike)))
        words = (
            f"The loop {place[1]} of {who} ended at {span(last.at_ms)}, after {how} "
            f"{action(last)}, and nobody started it again. {rows} still holds what it was to "
            f"publish."
        )
        return Cause("loop", words)
    return None


def _is_work_of(case: Case, rows: str, loop: tuple[str, str], last: Event) -> bool:
    """Say whether rows wait for a loop alone: it reads them, and nobody did after it ended.

    What they wait for is to be published: to the topic that the finding names, if it does.
    """
    topic = case.finding.data.get("topic")
    what = action(last)
    if ".publish " not in what or (topic and not what.endswith(f".publish {topic}")):
        return False
    looks = [event for event in case.history.of("read") if table(event) == rows]
    mine = [event for event in looks if (event.actor, case.place(event)) == loop]
    ends = [end.index for place, end in _last_of_loops(case).items() if place[1] == loop[1]]
    return bool(mine) and all(event.index < max(ends) for event in looks)


def _last_of_loops(case: Case) -> dict[tuple[str, str], Event]:
    """Return the last event of each loop, by its incarnation and its name."""
    loops: dict[tuple[str, str], Event] = {}
    woken = {(event.actor, case.place(event)) for event in case.history.of("sleep", "poll")}
    for event in case.history:
        place = (event.actor, case.place(event))
        if place in woken:
            loops[place] = event
    return loops


def _rows_left(case: Case) -> Iterator[str]:
    """Yield the tables that hold rows here and are empty in the run that passes."""
    if case.passing is None:
        return
    usual = {
        (event.actor, name)
        for event in case.passing.of("state")
        for name, rows in _tables(event).items()
        if rows
    }
    for event in case.history.of("state"):
        for name, rows in _tables(event).items():
            if rows and (event.actor, name) not in usual:
                yield f"{event.actor}.{name}"


def _tables(event: Event) -> dict[str, object]:
    tables = event.data.get("tables")
    return dict(tables) if isinstance(tables, Mapping) else {}


def relay_never_ran(case: Case) -> Cause | None:
    """Find rows that wait to be published, which nobody read after they were written."""
    topic = str(case.finding.data.get("topic", ""))
    if not topic:
        return None
    for name in _rows_left(case):
        writes = [
            w
            for w in case.history.of("write")
            if table(w) == name and w.index in case.lasting and w.data.get("verb") == "insert"
        ]
        mine = [w for w in writes if case.concerns(w.entity)]
        if not mine or not _is_relayed(case, name, topic):
            continue
        last = mine[-1]
        since = case.lasting[last.index]
        if any(r.index > since and table(r) == name for r in case.history.of("read")):
            continue
        words = (
            f"{case.place(last)} wrote a row to {name} at {span(last.at_ms)}, and nobody read that "
            f"table after it: the relay that should publish it to {topic} never ran."
        )
        return Cause("loop", words)
    return None


def _is_relayed(case: Case, rows: str, topic: str) -> bool:
    """Say whether, in the run that passes, what reads a table publishes to a topic."""
    assert case.passing is not None
    readers = {e.operation.partition("/")[0] for e in case.passing.of("read") if table(e) == rows}
    return any(
        out.operation.partition("/")[0] in readers
        for out in case.passing.of("publish")
        if out.data.get("topic") == topic
    )


def led_to_another_decision(case: Case) -> Cause | None:
    """Find a deed that followed, by way of messages, from the failure of a side effect.

    Which effects are on the side the user said, or the flow; a finding of that claim says what
    differs where. That a payment which is refused ends in a compensation is as it should be.
    """
    if not {"where", "more", "less"} <= case.finding.data.keys():
        return None
    for anchor in case.anchors:
        if anchor.kind != "effect":
            continue
        for event in case.history.causes(anchor.index):
            failed = event.kind == "reply" and event.data.get("outcome") == "failed"
            if not failed or case.place(event) == case.place(anchor):
                continue
            if not any(case.history.same_attempt(event, one) for one in case.history.of("fault")):
                continue
            who = case.narrator.name(event.actor)
            words = (
                f"{who} was refused {action(event)} and said so as the answer to a step, so "
                f"{action(anchor)} followed: {action(event)} decides what becomes of all else."
            )
            return Cause("side effect", words)
    return None


def took_silence_for_an_answer(case: Case) -> Cause | None:
    """Find code that got no answer and went on as if it knew what had happened."""
    for asked in case.history.of("call"):
        if not case.concerns(asked.entity) or not case.unanswered(asked):
            continue
        replies = [r for r in case.history.of("reply") if case.history.same_attempt(r, asked)]
        since = replies[0].index if replies else asked.index
        over = [event for event in case.work(asked).events if event.index > since]
        kinds = {event.kind for event in over if event.actor == asked.actor}
        if "handled" not in kinds or kinds & {"raised", "crash"}:
            continue
        if _learned(case, asked, over) or not _matters(case, asked, since):
            continue
        return _silence(case, asked, replies[0] if replies else None, over)
    return None


def _learned(case: Case, asked: Event, over: list[Event]) -> bool:
    """Say whether the code asked again, or asked what became of it, and was told."""
    party = action(asked).rpartition(".")[0]
    for reply in over:
        if reply.kind != "reply" or reply.actor != asked.actor:
            continue
        if reply.data.get("outcome") not in ("ok", "failed"):
            continue
        if reply.operation == asked.operation:
            if _is_repeated(case, asked, reply) and reply.data.get("outcome") == "ok":
                return True
            continue
        if action(reply).rpartition(".")[0] == party and not case.counts(action(reply)):
            return True
    return False


def _is_repeated(case: Case, asked: Event, reply: Event) -> bool:
    """Say whether an answer is one to the same request, and not to another of its kind."""
    calls = [one for one in case.history.of("call") if case.history.same_attempt(one, reply)]
    return any(plain(one.data) == plain(asked.data) for one in calls)


def _matters(case: Case, asked: Event, since: int) -> bool:
    """Say whether the finding is about what was asked for, or about what the code did then."""
    if not case.counts(action(asked)):
        return False  # a question, or what leaves nothing behind
    deeds = [e for e in case.history.of("effect") if case.history.same_attempt(e, asked)]
    if any(event in case.shown for event in deeds):
        return True
    named = case.finding.place == action(asked) or case.lacks_after(asked)
    if case.of_the_end and asked.entity == case.finding.entity and named:
        return True
    then = [
        event
        for event in case.work(asked).events
        if event.index > since and event.kind in ("call", "publish", "write", "commit")
    ]
    return any(is_new(case, event) and case.followed(event) for event in then)


def is_new(case: Case, event: Event) -> bool:
    """Say whether the run that passes has nothing like a deed at its place, for that item."""
    if case.passing is None:
        return True
    said = mask(plain(event.data.get("value") or event.data.get("params")))
    return not any(
        (other.operation, other.entity) == (event.operation, event.entity)
        and mask(plain(other.data.get("value") or other.data.get("params"))) == said
        for other in case.passing.of(event.kind)
    )


def _silence(case: Case, asked: Event, reply: Event | None, over: list[Event]) -> Cause:
    who, what = case.place(asked), action(asked)
    effects = [e for e in case.history.of("effect") if case.history.same_attempt(e, asked)]
    since = asked.at_ms if reply is None else reply.at_ms
    late = [e for e in effects if reply is not None and e.index > reply.index]
    if late:
        words = (
            f"{who} gave up waiting for {what} and went on as if it had failed. "
            f"{case.narrator.name(late[0].actor)} did it after all, {span(late[0].at_ms - since)} "
            f"later."
        )
        return Cause("late", words)
    then = [
        asks(event)
        for event in over
        if event.kind in ("call", "publish", "write") and event.operation != asked.operation
    ]
    truth = "it had" if effects else "it had not"
    after = f"It went on all the same: it {then[0]}." if then else "It went on all the same."
    if reply is None:
        after = "It went on all the same, and returned."
    words = f"{who} got no answer to {what}, so it did not know whether it had happened ({truth})."
    return Cause("unknown", f"{words} {after}")


def minded_no_refusal(case: Case) -> Cause | None:
    """Find code that was refused, did not raise, and left it at that."""
    for fault in case.history.of("fault"):
        if not case.concerns(fault.entity):
            continue
        for reply in case.history.of("reply"):
            if reply.data.get("outcome") != "failed" or not case.history.same_attempt(reply, fault):
                continue
            work = case.work(reply)
            over = [e for e in work.events if e.index > reply.index]
            if any(e.kind in ("raised", "crash") for e in over):
                continue
            if not any(e.kind == "handled" for e in over):
                continue
            if _asked_again(case, reply) or not _is_missed(case, reply):
                continue
            kind = "undo" if case.finding.data.get("forward") else "refused"
            return Cause(kind, _not_minded(case, reply))
    return None


def _not_minded(case: Case, reply: Event) -> str:
    who, what, handed = case.place(reply), action(reply), case.handed(reply)
    if handed is None:
        return (
            f"{who} was refused {what} for now, did not raise, and answered as if it had been "
            f"done: nobody asks again."
        )
    if 0 <= handed.acked < reply.index:
        message = case.narrator.message(handed.sent.index)
        return (
            f"{message} was acknowledged before its work was done; then {who} was refused {what}, "
            f"and the message does not come again."
        )
    return (
        f"{who} was refused {what} for now, did not raise, and returned: the message is done "
        f"with, and nobody asks again."
    )


def _asked_again(case: Case, reply: Event) -> bool:
    """Say whether somebody asked for the same thing later, for the same item."""
    return any(
        event.index > reply.index
        and action(event) == action(reply)
        and event.entity == reply.entity
        for event in case.history.of("call")
    )


def _is_missed(case: Case, reply: Event) -> bool:
    """Say whether what is missing is what was refused, or comes of it in the run that passes.

    Where the finding points at what third parties did, it is one of these that lacks it.
    """
    parties = {event.actor for event in case.anchors if event.kind == "effect"}
    lacking = {event.actor for event in case.lacking}
    return case.lacks_after(reply) and (not parties or not parties.isdisjoint(lacking))


def entry_unread(case: Case) -> Cause | None:
    """Find a request that went well, although one of its entries had failed, and was left at that.

    An entry fails at a site of its own: `entry of` what was asked for.
    """
    for fault in case.history.of("fault"):
        before, found, rest = fault.operation.partition(ENTRY_OF)
        if not found or not case.concerns(fault.entity):
            continue
        whole = before + rest
        for reply in case.history.of("reply"):
            mine = (reply.operation, reply.entity, reply.data.get("outcome"))
            if mine != (whole, fault.entity, "ok") or reply.index < fault.index:
                continue
            if not case.history.happened_before(fault.index, reply.index):
                continue
            over = [e for e in case.work(reply).events if e.index > reply.index]
            kinds = {e.kind for e in over if e.actor == reply.actor}
            if kinds & {"raised", "crash"} or "handled" not in kinds:
                continue
            if _asked_again(case, reply) or not _is_missed(case, reply):
                continue
            words = (
                f"{case.place(reply)} asked for {action(reply)}, which went well as a whole, "
                f"while an entry of it was refused: it did not look at each entry, returned, and "
                f"nobody asks for that one again."
            )
            return Cause("refused", words)
    return None


ENTRY_OF: Final = "entry of "
"""What the operation of one entry has, and that of the whole request has not."""


def gave_up_too_soon(case: Case) -> Cause | None:
    """Find a decision that the run that passes lacks, and a deed that came after it anyway.

    What was asked for before the decision was still on its way: it did not come of it.
    """
    key = case.finding.data.get("key")
    if key is None:
        return None
    for index in case.extra.writes:
        write = case.history[index]
        if str(key) not in about(write):
            continue
        said = _decision(case, write, str(key))
        for anchor in case.anchors:
            if anchor.kind != "effect" or anchor.index < index or not said:
                continue
            if not _was_asked_before(case, anchor, write):
                continue
            words = (
                f"{case.place(write)} gave up on {clip(str(key), 40)} ({table(write)}: "
                f"{said}) before the answer was there. {action(anchor)} happened "
                f"all the same, {span(max(anchor.at_ms - write.at_ms, 1))} later."
            )
            return Cause("late", words)
    return None


def _decision(case: Case, write: Event, key: str) -> str:
    """Return the word that a row was given which no row is given in the run that passes."""
    usual = frozenset[str]().union(*map(about, case.passing.of("write") if case.passing else ()))
    words = sorted(about(write) - usual - {key}, key=len)
    return next((word for word in words if word.isalpha()), "")


def _was_asked_before(case: Case, anchor: Event, write: Event) -> bool:
    """Say whether a deed comes of what the same service had sent, or written down to be sent."""
    service = write.actor.partition("#")[0]
    before = [
        event
        for event in case.history.of("publish", "call", "write")
        if event.index < write.index
        and event.entity == anchor.entity
        and event.actor.partition("#")[0] == service
    ]
    rows = frozenset[str]().union(*(about(one) for one in before if one.index in case.lasting))
    sent = [event for event in before if event.kind != "write"]
    return any(
        event in sent or (event.kind == "publish" and _is_written(event, rows))
        for event in case.history.causes(anchor.index)
    )


def _is_written(publish: Event, rows: frozenset[str]) -> bool:
    """Say whether a message stood in a row: what a history shows of a long one is its beginning."""
    value = str(plain(publish.data.get("value")))
    return any(
        row == value or (row.endswith("…") and value.startswith(row[:-1]) and len(row) > 1)
        for row in rows
    )
