"""What nobody did: no answer, a refusal that nobody minded, a loop that ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, about, action, asks, table
from chaosharness.reporting.story.legible import clip, listed, span


def loop_ended(case: Case) -> Cause | None:
    """Find a loop that stopped at a call that failed, while its work was still to be done."""
    left = list(_rows_left(case))
    loops = _last_of_loops(case) if left else {}
    for place, last in loops.items():
        if last.kind != "reply" or last.data.get("outcome") == "ok":
            continue
        how = "no answer to" if last.data.get("outcome") == "unknown" else "a refusal of"
        alike = [
            actor
            for (actor, name), end in loops.items()
            if name == place[1] and (end.kind, end.operation) == (last.kind, last.operation)
        ]
        who = listed(sorted(map(case.narrator.name, alike)))
        rows = left[0]
        words = (
            f"The loop {place[1]} of {who} ended at {span(last.at_ms)}, after {how} "
            f"{action(last)}, and nobody started it again. {rows} still holds what it was to "
            f"publish."
        )
        return Cause("loop", words)
    return None


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
            w for w in case.history.of("write") if table(w) == name and w.index in case.lasting
        ]
        if not writes:
            continue
        last = writes[-1]
        if any(r.index > last.index and table(r) == name for r in case.history.of("read")):
            continue
        words = (
            f"{case.place(last)} wrote a row to {name} at {span(last.at_ms)}, and nobody read that "
            f"table after it: the relay that should publish it to {topic} never ran."
        )
        return Cause("loop", words)
    return None


def led_to_another_decision(case: Case) -> Cause | None:
    """Find a deed that followed, by way of messages, from the failure of something else."""
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
        if asked.entity not in case.items or not case.unanswered(asked):
            continue
        replies = [r for r in case.history.of("reply") if case.history.same_attempt(r, asked)]
        since = replies[0].index if replies else asked.index
        over = [event for event in case.work(asked).events if event.index > since]
        kinds = {event.kind for event in over if event.actor == asked.actor}
        if "handled" in kinds and not kinds & {"raised", "crash"}:
            return _silence(case, asked, replies[0] if replies else None, over)
    return None


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
        if fault.entity not in case.items:
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
            asked = any(
                e.index > reply.index
                and e.operation == reply.operation
                and e.entity == fault.entity
                for e in case.history.of("call")
            )
            if asked:
                continue
            words = (
                f"{case.place(reply)} was refused {action(reply)} for now, did not raise, and "
                f"returned: the message is done with, and nobody asks again."
            )
            return Cause("undo", words)
    return None


def gave_up_too_soon(case: Case) -> Cause | None:
    """Find a decision that the run that passes lacks, and a deed that came after it anyway."""
    key = case.finding.data.get("key")
    for index in case.extra.writes:
        write = case.history[index]
        if key is not None and str(key) not in about(write):
            continue
        for anchor in case.anchors:
            if anchor.kind != "effect" or anchor.index < index:
                continue
            if index in {event.index for event in case.history.causes(anchor.index)}:
                sent = _sent_by(case, anchor)
                if sent is None or sent.entity == write.entity:
                    continue
            said = sorted(about(write) - {str(key)}, key=len)
            words = (
                f"{case.place(write)} gave up on {clip(str(key), 40)} ({table(write)}: "
                f"{_word(said)}) before the answer was there. {action(anchor)} happened "
                f"all the same, {span(max(anchor.at_ms - write.at_ms, 1))} later."
            )
            return Cause("late", words)
    return None


def _sent_by(case: Case, anchor: Event) -> Event | None:
    return next((e for e in case.history.causes(anchor.index) if e.kind == "publish"), None)


def _word(said: list[str]) -> str:
    words = [one for one in said if one.isalpha()]
    return words[0] if words else "another state"
