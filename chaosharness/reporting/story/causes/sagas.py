"""What became of a whole: a deed after its end, and an undoing too soon, for nothing, or never."""

from __future__ import annotations

from typing import Final

from chaosharness.checkers.effects import times
from chaosharness.kernel.history import Event, History
from chaosharness.reporting.story.causes.case import Case, Cause, action
from chaosharness.reporting.story.lanes import lane_of
from chaosharness.reporting.story.legible import clip, span

ENDED: Final = frozenset(
    {"aborted", "cancelled", "compensated", "completed", "failed", "out", "terminated"}
)
"""Last words of what is noted of a saga when it is over; `out` is of `timed out`."""


def went_on_under_an_old_lease(case: Case) -> Cause | None:
    """Find who went on with a saga under a lease, when another had been given out for it."""
    newest: dict[str, Event] = {}
    for note in case.history.of("note"):
        saga, lease = note.data.get("saga"), note.data.get("lease")
        if saga is None or not isinstance(lease, int):
            continue
        newer = newest.setdefault(str(saga), note)
        if lease > newer.data["lease"]:
            newest[str(saga)] = note
        elif (
            lease < newer.data["lease"]
            and case.concerns(note.entity)
            and case.came_of(case.work(note))
        ):
            place = case.place(next(e for e in case.history.causes(note.index) if e.operation))
            words = (
                f"{case.narrator.name(note.actor)} went on with {_saga(note)} under lease {lease} "
                f"({_word(note)}, by {place}), when lease {newer.data['lease']} had been given out "
                f"for it {span(note.at_ms - newer.at_ms)} before: its work was done twice."
            )
            return Cause("lease", words)
    return None


def came_after_the_end(case: Case) -> Cause | None:
    """Find a deed that happened when the saga it belongs to was over."""
    return _after_the_end(case, _found(case))


def lost_by_what_came_late(case: Case) -> Cause | None:
    """Find a deed that came too late for the end of its saga, which so lacks another one."""
    if case.finding.kind != "effect lost":
        return None
    mine = [e for e in case.history.of("effect") if e.entity == case.finding.entity]
    return _after_the_end(case, mine)


def _after_the_end(case: Case, effects: list[Event]) -> Cause | None:
    for effect in effects:
        over = [note for note in _ends(case, effect.entity) if note.index < effect.index]
        if not over or not _was_asked_before(case, effect, over[-1]):
            continue
        if _comes_late_as_a_rule(case, effect):
            continue
        end = over[-1]
        words = (
            f"{_saga(end)} was over ({_word(end)}) at {span(end.at_ms)}, while {action(effect)} "
            f"was still to come: that happened {span(effect.at_ms - end.at_ms)} later."
        )
        return Cause("late", words)
    return None


def _comes_late_as_a_rule(case: Case, effect: Event) -> bool:
    """Say whether such a deed comes after the end of its saga in the run that passes, too."""
    if case.passing is None:
        return False
    ends = [e.index for e in _ends_in(case.passing, effect.entity)]
    same = [e for e in case.passing.of("effect") if (e.operation, e.entity) == _as(effect)]
    return bool(ends) and any(e.index > ends[-1] for e in same)


def _as(event: Event) -> tuple[str, int]:
    return event.operation, event.entity


def _was_asked_before(case: Case, effect: Event, end: Event) -> bool:
    """Say whether a deed goes back to what was asked for before an end, and not to the end."""
    before = case.history.happened_before
    return not before(end.index, effect.index) and any(
        event.index < end.index and event.kind in ("call", "publish", "fault")
        for event in case.history.causes(effect.index)
    )


def answered_too_late(case: Case) -> Cause | None:
    """Find work whose answers came when nobody waited for them any more, so it was asked anew."""
    late: dict[str, list[Event]] = {}
    for reply in case.history.of("reply"):
        if reply.data.get("late") and case.concerns(case.item_of(reply)):
            late.setdefault(reply.operation, []).append(reply)
    for replies in late.values():
        place, first = case.place(replies[0]), replies[0]
        mine = [e for e in case.history if case.place(e) == place and e.entity == first.entity]
        began = [e for e in mine if e.attempt == first.attempt and e.index < first.index]
        later = [e for e in mine if e.index > first.index and e.kind in ("call", "effect")]
        again = [e for e in later if e.attempt > first.attempt]
        deeds = [e for e in case.anchors if e.kind == "effect" and case.place(e) == place]
        if not began or not again or not deeds:
            continue
        took = span(first.at_ms - began[0].at_ms)
        words = (
            f"{place} takes {took} for its work, and its answer came too late "
            f"({times(len(replies))}): whoever had asked had given it up by then, and asked again."
        )
        return Cause("lease", words)
    return None


def undone_too_soon(case: Case) -> Cause | None:
    """Find an undoing that found nothing, and the deed that came after it."""
    for effect in _found(case):
        for asked in _calls_of(case, effect):
            reply = _reply(case, asked)
            if reply is None or reply.data.get("outcome") != "ok" or reply.index > effect.index:
                continue
            if _did(case, asked) or not _undoes(case, asked, effect):
                continue
            if any(other.index < asked.index for other in _did_before(case, effect)):
                continue  # there was something to undo, or it was undone before
            if any(call.index > effect.index for call in _calls_of(case, effect)):
                continue
            words = (
                f"{case.place(asked)} asked for {action(asked)} when there was nothing to undo "
                f"yet; {action(effect)} came through {span(effect.at_ms - asked.at_ms)} later, "
                f"and nobody asks again."
            )
            return Cause("undo", words)
    return None


def undid_nothing(case: Case) -> Cause | None:
    """Find an undoing of what had been refused: nothing had happened."""
    for effect in _found(case) or _instead(case):
        if _did_before(case, effect) or _is_usual(case, effect):
            continue
        for reply in case.history.of("reply"):
            if not _is_of_the_same(reply, effect) or reply.index > effect.index:
                continue
            if reply.data.get("outcome") != "failed" or _did(case, reply):
                continue
            if action(reply) == action(effect):
                continue
            words = (
                f"{case.place(reply)} was refused {action(reply)}, so nothing had happened; "
                f"{case.place(effect)} asked for {action(effect)} all the same."
            )
            return Cause("undo nothing", words)
    return None


def nobody_undid(case: Case) -> Cause | None:
    """Find a saga that failed half way, and what the run that passes asks for after that.

    Where no run passes, what stands although the saga failed, and nothing more was asked for.
    """
    for end in case.history.of("note"):
        if end not in _ends(case, end.entity) or not case.concerns(end.entity):
            continue
        if not case.of_the_end and not case.anchors:
            continue
        done = [e for e in case.history.of("effect") if e.entity == end.entity]
        bad = [e for e in case.history.of("raised", "reply") if _failed(e, end)]
        bad = [e for e in bad if done and e.index > done[-1].index]
        if not done or not (bad or "error" in end.data):
            continue
        wanted = _wanted(case, end, done[-1])
        if wanted is None:
            continue
        then = f"{case.place(bad[-1])} failed, and " if bad else ""
        words = (
            f"{action(done[-1])} was done, then {then}{_saga(end)} was over ({_word(end)}): "
            f"{wanted}"
        )
        return Cause("undo", words)
    return None


def _wanted(case: Case, end: Event, done: Event) -> str | None:
    """Say what nobody asked for, or asked for once and was refused; None where it was done."""
    if case.passing is None:
        calls = [e for e in case.history.of("call") if e.entity == end.entity]
        since = [e for e in calls if e.index > done.index]
        if any(_is_of_the_same(e, done) or e.index > end.index for e in since):
            return None
        if str(end.data["what"]).endswith("completed"):
            return None
        return "nothing was asked for after that, so it stands, and nobody undoes it."
    for event in _lacking_undoings(case, end.entity):
        what = action(event)
        replies = [r for r in case.history.of("reply") if action(r) == what]
        replies = [r for r in replies if r.entity == end.entity]
        if not replies:
            return f"nobody asked for {what}{_died_at(case, end)}."
        if all(r.data.get("outcome") == "failed" for r in replies):
            return f"{what} was refused once, and nobody asked for it again."
    return None


def _died_at(case: Case, end: Event) -> str:
    """Say that who ended a saga died just then: what it begins last was never begun."""
    if not any(
        one.at_ms == end.at_ms and lane_of(one.actor) == lane_of(end.actor)
        for one in case.history.of("crash")
    ):
        return ""
    who, whose = lane_of(end.actor), _saga(end)
    return f", for {who} died when it ended {whose}, and does not come back to what has ended"


def _lacking_undoings(case: Case, entity: int) -> list[Event]:
    """Return what the run that passes does at a third party that did something else here."""
    done = [e for e in case.history.of("effect") if e.entity == entity]
    return [
        event
        for event in case.lacking
        if event.kind == "effect"
        and event.entity == entity
        and any(_is_of_the_same(event, e) and action(event) != action(e) for e in done)
        and all(action(event) != action(e) for e in done)
    ]


def failure_hidden(case: Case) -> Cause | None:
    """Find a saga in which something failed for good, and that ended as if all were well."""
    if case.passing is None or case.finding.kind != "forgotten":
        return None
    for end in case.history.of("note"):
        if not case.concerns(end.entity) or "saga" not in end.data or "attempt" in end.data:
            continue
        bad = [
            event
            for event in case.history.of("raised")
            if event.entity == end.entity
            and event.index < end.index
            and _never_came_right(case, event)
        ]
        calls = (e for e in case.history.of("call") if e.entity == end.entity)
        if not bad or any(e.index > end.index for e in calls) or _ended_badly(end):
            continue
        place = case.place(bad[-1])
        usual = [n for n in case.passing.of("note") if n.data.get("saga") == end.data["saga"]]
        ended_well = usual and usual[-1].data.get("what") == end.data.get("what")
        if not ended_well or any(case.place(e) == place for e in case.passing.of("raised")):
            continue
        often = times(sum(case.place(event) == place for event in bad))
        words = (
            f"{place} raised ({often}) and was never done, and yet {_saga(end)} ended with "
            f"{_word(end)!r}, as it does in the run that passes."
        )
        return Cause("hidden", words)
    return None


def _ended_badly(end: Event) -> bool:
    return str(end.data.get("what", "")).rpartition(" ")[2] in ENDED - {"completed"}


def _never_came_right(case: Case, last: Event) -> bool:
    return not any(
        event.entity == last.entity and case.place(event) == case.place(last)
        for event in case.history.of("handled")
    )


def took_it_for_undone(case: Case) -> Cause | None:
    """Find what nobody knew of, and what was then done as if it were known."""
    for effect in _found(case) or _instead(case):
        for asked in case.history.of("call"):
            if asked.entity != effect.entity or asked.index > effect.index:
                continue
            what = action(asked)
            replies = [r for r in case.history.of("reply") if action(r) == what]
            replies = [r for r in replies if r.entity == asked.entity and r.index < effect.index]
            if not replies or any(r.data.get("outcome") != "unknown" for r in replies):
                continue
            truth = _whether_it_happened(case, asked, effect)
            if what == action(effect) or not truth:
                continue
            if _looked_into_it(case, asked, effect):
                continue
            if _is_usual(case, effect):
                continue
            words = (
                f"{case.place(asked)} never got an answer to {what}, so nobody knew whether it had "
                f"happened ({truth}). {case.place(effect)} asked for {action(effect)} all the same."
            )
            return Cause("unknown", words)
    return None


def _looked_into_it(case: Case, asked: Event, before: Event) -> bool:
    """Say whether somebody asked the same third party something else, and was answered."""
    for call in case.history.of("call"):
        if not asked.index < call.index < before.index or not _is_of_the_same(call, asked):
            continue
        reply = _reply(case, call)
        if action(call) == action(asked) or reply is None or reply.index > before.index:
            continue
        if action(call) != action(before) and reply.data.get("outcome") == "ok":
            return True
    return False


def _whether_it_happened(case: Case, asked: Event, before: Event) -> str:
    """Say whether what was asked for had happened; nothing where that is of no concern here.

    What had not is of the same third party's, and leaves something behind when it happens.
    """
    mine = (action(asked), asked.entity)
    same = [e.index for e in case.history.of("effect") if (action(e), e.entity) == mine]
    if any(index < before.index for index in same):
        return "it had"
    usual = case.passing.of("effect") if case.passing is not None else ()
    happens = same or any(action(e) == action(asked) for e in usual)
    if not happens or not _is_of_the_same(asked, before):
        return ""
    return "it had not yet" if same else "it had not"


def _found(case: Case) -> list[Event]:
    """Return the effects that the finding points at, or those that no run without faults has."""
    anchors = [event for event in case.anchors if event.kind == "effect"]
    return anchors or [event for event in case.excess if event.kind == "effect"]


def _is_usual(case: Case, effect: Event) -> bool:
    """Say whether the run that passes has such a deed as well."""
    return case.passing is not None and effect not in [*case.excess, *_instead(case)]


def _instead(case: Case) -> list[Event]:
    """Return what was done for the item of the finding in place of an effect that it lacks.

    The run that passes does none of that.
    """
    if case.finding.kind != "effect lost":
        return []
    more = [case.history[at] for at in case.extra.effects]
    return [event for event in more if event.entity == case.finding.entity]


def _failed(event: Event, end: Event) -> bool:
    if event.entity != end.entity or event.index > end.index:
        return False
    return event.kind == "raised" or event.data.get("outcome") == "failed"


def _ends(case: Case, entity: int) -> list[Event]:
    return _ends_in(case.history, entity)


def _ends_in(history: History, entity: int) -> list[Event]:
    return [
        note
        for note in history.of("note")
        if note.entity == entity
        and "saga" in note.data
        and "attempt" not in note.data
        and str(note.data.get("what", "")).rpartition(" ")[2] in ENDED
    ]


def _calls_of(case: Case, effect: Event) -> list[Event]:
    """Return what else was asked of a third party for the same item."""
    return [
        call
        for call in case.history.of("call")
        if _is_of_the_same(call, effect) and action(call) != action(effect)
    ]


def _is_of_the_same(call: Event, effect: Event) -> bool:
    party = action(call).rpartition(".")[0]
    return call.entity == effect.entity and party == action(effect).rpartition(".")[0]


def _undoes(case: Case, asked: Event, effect: Event) -> bool:
    """Say whether what was asked for is what the run that passes does after such a deed."""
    lacking = {action(event) for event in case.lacking if event.entity == effect.entity}
    usual = case.passing.of("effect") if case.passing is not None else ()
    there = {action(event) for event in usual}
    return action(asked) in (lacking or there)


def _reply(case: Case, asked: Event) -> Event | None:
    same = case.history.same_attempt
    return next((r for r in case.history.of("reply") if same(r, asked)), None)


def _did(case: Case, asked: Event) -> bool:
    return any(case.history.same_attempt(e, asked) for e in case.history.of("effect"))


def _did_before(case: Case, effect: Event) -> list[Event]:
    """Return what the same third party had done for the same item before."""
    return [
        other
        for other in case.history.of("effect")
        if other.index < effect.index
        and (other.actor, other.entity) == (effect.actor, effect.entity)
    ]


def _saga(note: Event) -> str:
    return clip(str(note.data["saga"]), 40)


def _word(note: Event) -> str:
    return clip(str(note.data["what"]), 40)
