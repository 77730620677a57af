"""The same thing asked for twice, and why whoever was asked could not tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations, pairwise
from typing import Any, Final

import attrs

from chaosharness.checkers.masking import words_in
from chaosharness.checkers.outcomes.keys import KEY_REUSED
from chaosharness.kernel.history import Event, History, plain
from chaosharness.reporting.story.causes.case import Case, Cause, Work, about, action, table
from chaosharness.reporting.story.legible import clip, count, inner, listed, read_payload, span
from chaosharness.reporting.story.repetition import alike


def asked_twice(case: Case) -> Cause | None:
    """Find effects of one kind for one thing among what the finding points at."""
    shown = _shown(case)
    effects = _of_one_thing(case, shown)
    if len(effects) < 2:
        return None
    actors = list(dict.fromkeys(event.actor for event in effects))
    if len(actors) > 1:
        return _of_two(case, effects) if len(effects) == len(shown) == 2 else None
    who = case.narrator.name(actors[0])
    asking = _asking(case, effects)
    beside = _beside(case, effects)
    if any("key" not in event.data for event in effects):
        told = _another_field(who, asking, effects)
        return told and attrs.evolve(told, words=f"{told.words}{beside}")
    in_order = sorted(effects, key=lambda event: _asked_at(case, event))
    keys = list(dict.fromkeys(event.data["key"] for event in in_order))
    if keys == [None]:
        words = f"{asking}, and no request carries an idempotency key: {who} takes each for new."
        return Cause("key", f"{words}{beside}", True)
    if len(keys) == 1:
        later = span(effects[-1].at_ms - effects[0].at_ms)
        words = (
            f"{asking}, under one idempotency key ({clip(str(keys[0]), 48)}), and {who} did it "
            f"again {later} later: it has forgotten the key by then, or never looks at it."
        )
        return Cause("key over", words, True)
    if len(keys) == len(effects):
        shown_keys = listed([clip(str(key), 48) for key in keys[:3]])
        words = (
            f"{asking}, with another idempotency key each time ({shown_keys}): {who} sees no "
            f"repetition."
        )
        return Cause("key", f"{words}{beside}", True)
    return None


def _shown(case: Case) -> list[Event]:
    """Return the effects that the finding points at.

    One that was done twice may be pointed at alone: then with those like it, of its item. So is
    what was done under a key, and not in the run that passes, where the end is pointed at.
    """
    shown = [event for event in case.anchors if event.kind == "effect"]
    if case.finding.kind == TWICE and not shown:
        more = [event for event in case.excess if event.kind == "effect"]
        shown = [event for event in more if event.data.get("key") is not None][-1:]
    if case.finding.kind != TWICE or len(shown) != 1:
        return shown
    whose = case.item_of(shown[0])
    there = [
        event
        for event in case.history.of("effect")
        if event.actor == shown[0].actor and case.item_of(event) == whose
    ]
    same = alike([*there, shown[0]])[:-1]
    whole = [event for event in there if same[0].index <= event.index <= same[-1].index]
    return same if len(whole) == len(same) else shown


def _of_one_thing(case: Case, shown: list[Event]) -> list[Event]:
    """Return the effects that are alike, of one item; none where one was undone in between.

    After that, it is asked for anew, and not again.
    """
    effects = alike(shown)
    if len({event.entity for event in effects} - {0}) > 1:
        return []
    methods = {action(event).rpartition(".")[2] for event in effects}
    if len(methods) > 1:
        return []
    between = [e for e in shown if effects[0].index < e.index < effects[-1].index]
    alone = all(event in effects for event in between)
    return effects if alone and (len(shown) == len(effects) or effects[-1] is shown[-1]) else []


def _asking(case: Case, effects: list[Event]) -> str:
    """Say who asked, and how often: `payments.on_order asks for bank.charge 2 times`."""
    places = list(dict.fromkeys(map(case.place, effects)))
    often = count(len(effects), "time")
    if len(places) == 1:
        where = " in one and the same run of it" if _in_one_run(case, effects) else ""
        return f"{places[0]} asks for {action(effects[-1])} {often}{where}"
    return f"{listed(places)} ask for {action(effects[-1])}, {often} in all"


def _in_one_run(case: Case, effects: list[Event]) -> bool:
    """Say whether the last time came of the first, and no run of the code ended in between."""
    if len({case.reading.roots[event.index] for event in effects}) > 1:
        return False
    first, last = (end([_asked_at(case, event) for event in effects]) for end in (min, max))
    if not case.history.happened_before(first, last):
        return False  # a second run of it, beside the first
    place = case.place(effects[0])
    service = place.partition(".")[0]
    ends = [e for e in case.history.of("raised", "handled") if case.place(e) == place]
    crashes = [e for e in case.history.of("crash") if e.actor.partition("#")[0] == service]
    return not any(first < end.index < last for end in [*ends, *crashes])


def _asked_at(case: Case, effect: Event) -> int:
    calls = [event.index for event in case.history.causes(effect.index) if event.kind == "call"]
    return max(calls, default=effect.index)


def _beside(case: Case, effects: list[Event]) -> str:
    """Say that one message was at two consumers at once, if that is how it came to be twice."""
    one, other = (case.handed(event) for event in (effects[0], effects[-1]))
    if one is None or other is None or one.index == other.index:
        return ""
    early, late = sorted((one, other), key=lambda each: each.index)
    if early.sent.index != late.sent.index or not late.index < early.handled:
        return ""
    broker, who = case.narrator.name(early.sent.broker), case.narrator.name(early.to)
    since = span(case.history[late.index].at_ms - case.history[early.index].at_ms)
    what = case.narrator.message(early.sent.index)
    return f" {broker} handed {what} out again after {since}, while {who} was still at work on it."


def _another_field(who: str, asking: str, effects: list[Event]) -> Cause | None:
    """Say by which field a third party tells requests apart that carry no idempotency key."""
    names = dict.fromkeys(name for event in effects for name in event.data if name != "id")
    odd = {name: dict.fromkeys(inner(event.data.get(name)) for event in effects) for name in names}
    differing = [name for name, values in odd.items() if len(values) > 1]
    if len(differing) == 1 and words_in(differing[0]) & _NAMES_A_REQUEST:
        words = f"{asking}, with another {differing[0]} each time: {who} takes each for new."
        return Cause("key", words, True)
    if len(differing) == 1:
        words = f"{asking}, and only {differing[0]} differs: nothing in it names the request."
        return Cause("key", words, True)
    if not differing:
        return Cause("key", f"{asking}, and nothing in it tells {who} that it is the same.", True)
    return None


TWICE: Final = "effect twice"
"""The kind of a finding that points at the last of some effects, or at all of them."""

_NAMES_A_REQUEST: Final = frozenset({"id", "key", "token", "nonce", "uuid", "guid", "reference"})
"""Words in the name of a field by which requests are told apart."""


def _of_two(case: Case, effects: list[Event]) -> Cause | None:
    """Say that two third parties did the same, and what was known of the first."""
    first, last = effects
    one, other = case.narrator.name(first.actor), case.narrator.name(last.actor)
    method = last.data.get("method", "it")
    if case.place(first) == case.place(last) and _knew_nothing(case, first, last):
        words = (
            f"{case.place(last)} got no answer from {one} to {method}, which {one} did, and asked "
            f"{other} for the same: no answer was taken for a no."
        )
        return Cause("unknown", words, True)
    if case.place(first) == case.place(last):
        asking = f"{case.place(last)} asks {one} and {other}"
    else:
        asking = f"{case.place(first)} asks {one}, and {case.place(last)} asks {other},"
    words = f"{asking} for the same {method}; neither knows of the other."
    return Cause("key", words, True)


def _knew_nothing(case: Case, first: Event, last: Event) -> bool:
    """Say whether nobody had been told that it was done, before the other was asked."""
    if not case.unanswered(first):
        return False
    replies = [r for r in case.history.of("reply") if action(r) == action(first)]
    replies = [r for r in replies if r.entity == first.entity]
    asked = [e.index for e in case.history.causes(last.index) if e.kind == "call"]
    since = asked[0] if asked else last.index
    heard = [reply for reply in replies if reply.index < since]
    if replies and not heard:
        return False  # it asked both at once
    return not any(reply.data.get("outcome") == "ok" for reply in heard)


def done_each_time(case: Case) -> Cause | None:
    """Find a write that was made for one thing more often than in the run that passes."""
    if case.passing is None:
        return None
    for write in case.history.of("write"):
        if write.index not in case.lasting or not case.concerns(write.entity):
            continue
        if write.data.get("verb") != "update" or not case.came_out_otherwise(write):
            continue
        same = (write.operation, write.entity)
        here = [w for w in case.history.of("write") if (w.operation, w.entity) == same]
        here = [w for w in here if w.index in case.lasting and w.data.get("rows", 1)]
        usual = [w for w in case.passing.of("write") if (w.operation, w.entity) == same]
        again, usually = _asks(case.history, here), _asks(case.passing, usual)
        asked = next((n for what, n in again.items() if n > usually.get(what, n) > 0), 0)
        if not asked or any(_is_of_before(case, one, two) for one, two in pairwise(here)):
            continue
        words = (
            f"{case.place(write)} does {write.data.get('verb')} {table(write)} again when it is "
            f"asked again: {count(asked, 'time')} for one and the same thing, and less often in "
            f"the run that passes."
        )
        return Cause("inbox", words)
    return None


def forgot_its_key(case: Case) -> Cause | None:
    """Find a key that was thrown away as too old, before what it stands for came again."""
    for early, late in case.again():
        first, second = case.works[early.index], case.works[late.index]
        for gone in case.wrote(second, lasting=True):
            if gone.data.get("verb") != "delete":
                continue
            kept = _all_that_stood(case, first, gone)
            if kept is None:
                continue
            since = [w for w in case.wrote(second, lasting=True) if w.index > gone.index]
            anew = [w for w in since if table(w) == table(gone) and about(w) & about(kept)]
            again = [
                w
                for w in since
                if table(w) != table(gone)
                and case.followed(w)
                and any(_is_the_same(w, one) for one in case.wrote(first, lasting=True))
            ]
            if not anew or not again:
                continue
            what = case.narrator.message(early.sent.index)
            words = (
                f"{case.place(kept)} remembered {what} in {table(kept)} at {span(kept.at_ms)}, and "
                f"threw that away at {span(gone.at_ms)}, when it came again: it was kept for too "
                f"short a time, so {table(again[0])} was written a second time."
            )
            return Cause("key over", words)
    return None


def _all_that_stood(case: Case, first: Work, gone: Event) -> Event | None:
    """Return what a piece of work wrote to a table, if a deletion took all rows that stood there.

    A history says how many rows were deleted, and not which.
    """
    stood: dict[str, Event] = {}
    for write in case.history.of("write"):
        if write.index >= gone.index or table(write) != table(gone):
            continue
        if write.index not in case.lasting or not write.data.get("rows", 1):
            continue
        if write.data.get("verb") == "delete":
            return None
        if write.data.get("verb") == "insert":
            stood[str(plain(write.data.get("params")))] = write
    mine = [write for write in stood.values() if write in first.events]
    return mine[0] if mine and len(stood) == gone.data.get("rows") else None


def _is_the_same(write: Event, other: Event) -> bool:
    """Say whether one and the same was written, at one place of the code."""
    return (write.operation, plain(write.data.get("params"))) == (
        other.operation,
        plain(other.data.get("params")),
    )


def key_of_another(case: Case) -> Cause | None:
    """Find a request under a key that had been another's, and that was taken for that one."""
    calls: dict[str, list[Event]] = {}
    for call in case.history.of("call"):
        calls.setdefault(action(call), []).append(call)
    for what, asked in calls.items():
        for early, late in combinations(asked, 2):
            key = _shared_key(case, early, late)
            if not key or not case.concerns(late.entity) or not case.lacks_after(late):
                continue
            if _did_something(case, late):
                continue
            whose, other = (case.narrator.called(one.entity) for one in (late, early))
            words = (
                f"{case.place(late)} asked for {what} for {whose} under the key {clip(key, 40)}, "
                f"which had been that of {other} before: it was taken for that one come again, and "
                f"nothing was done."
            )
            return Cause("key taken", words)
    return None


def key_refused(case: Case) -> Cause | None:
    """Find the request that was refused, since its key had been another's."""
    refused = [event for event in case.anchors if event.kind == "reply"]
    if case.finding.kind != KEY_REUSED or not refused:
        return None
    [reply, *_] = refused
    who = case.narrator.name(action(reply).partition(".")[0])
    words = (
        f"{case.place(reply)} asks for {action(reply)} for {case.narrator.called(reply.entity)} "
        f"under a key that has been another request's: {who} does nothing, however often it is "
        f"asked."
    )
    return Cause("key taken", words)


def _shared_key(case: Case, early: Event, late: Event) -> str:
    """Return the key under which two different things were asked for; nothing if there is none."""
    if early.entity == late.entity or not early.entity or not late.entity:
        return ""
    one, other = (_fields(event) for event in (early, late))
    for name, value in one.items():
        if not isinstance(value, str) or other.get(name) != value:
            continue
        if not words_in(name) & _NAMES_A_REQUEST:
            continue
        rest = {key: what for key, what in one.items() if key != name}
        if rest and any(other.get(key) != what for key, what in rest.items()):
            return value
    return ""


def _fields(call: Event) -> Mapping[str, Any]:
    """Return what is asked for, by name."""
    said = read_payload(call.data["value"]) if "value" in call.data else call.data
    return said if isinstance(said, Mapping) else {}


def _did_something(case: Case, call: Event) -> bool:
    """Say whether anything came of a call, up to its answer."""
    replies = [r for r in case.history.of("reply") if case.history.same_attempt(r, call)]
    if not any(reply.data.get("outcome") == "ok" for reply in replies):
        return True  # it was refused, or nobody knows
    before = case.history.happened_before
    return any(
        before(call.index, event.index)
        for event in case.history.of("write", "commit", "publish", "effect", "call")
        if call.index < event.index < replies[0].index and event.data.get("rows", 1)
    )


def _asks(history: History, writes: list[Event]) -> Counter[tuple[str, str]]:
    """Count how often each thing was asked for, of some writes: what it was, and its contents."""
    asked = (_asked_by(history, write) for write in writes)
    once = {event.index: event for event in asked if event is not None}
    return Counter(
        (event.operation, str(plain(_contents(history, event)))) for event in once.values()
    )


def _asked_by(history: History, write: Event) -> Event | None:
    """Return what a write was asked for by: a delivery, or a call of a service."""
    asking = [
        event
        for event in history.causes(write.index)
        if event.kind == "deliver" or "endpoint" in event.data
    ]
    return max(asking, key=lambda event: event.index, default=None)


def _contents(history: History, asked: Event) -> object:
    if asked.kind != "deliver":
        return asked.data.get("value")
    return history[asked.data["message"]].data.get("value")


def _is_of_before(case: Case, early: Event, late: Event) -> bool:
    """Say whether a write was worked out from a look at its table before the write before it.

    That was overwritten, then, and not done again.
    """
    looks = [
        event.index
        for event in case.history.causes(late.index)
        if event.kind == "read" and table(event) == table(late)
    ]
    return bool(looks) and max(looks) < early.index
