"""The same thing asked for twice, and why whoever was asked could not tell."""

from __future__ import annotations

from typing import Final

from chaosharness.checkers.masking import words_in
from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, action
from chaosharness.reporting.story.legible import clip, count, inner, listed, span
from chaosharness.reporting.story.repetition import alike


def asked_twice(case: Case) -> Cause | None:
    """Find effects of one kind for one thing among what the finding points at."""
    shown = [event for event in case.anchors if event.kind == "effect"]
    effects = _of_one_thing(case, shown)
    if len(effects) < 2:
        return None
    actors = list(dict.fromkeys(event.actor for event in effects))
    if len(actors) > 1:
        return _of_two(case, effects) if len(effects) == len(shown) == 2 else None
    who = case.narrator.name(actors[0])
    asking = _asking(case, effects)
    if any("key" not in event.data for event in effects):
        return _another_field(who, asking, effects)
    keys = list(dict.fromkeys(event.data["key"] for event in effects))
    if keys == [None]:
        words = f"{asking}, and no request carries an idempotency key: {who} takes each for new."
        return Cause("key", words, True)
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
        return Cause("key", words, True)
    return None


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
        roots = {case.reading.roots[event.index] for event in effects}
        where = " in one and the same run of it" if len(roots) == 1 else ""
        return f"{places[0]} asks for {action(effects[-1])} {often}{where}"
    return f"{listed(places)} ask for {action(effects[-1])}, {often} in all"


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
