"""The same thing asked for twice, and why whoever was asked could not tell."""

from __future__ import annotations

from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, action
from chaosharness.reporting.story.legible import clip, count, inner, listed, span
from chaosharness.reporting.story.repetition import alike


def asked_twice(case: Case) -> Cause | None:
    """Find effects of one kind for one thing among what the finding points at."""
    shown = [event for event in case.anchors if event.kind == "effect"]
    effects = alike(shown)
    if len(effects) < 2:
        return None
    actors = list(dict.fromkeys(event.actor for event in effects))
    if len(actors) > 1:
        return _of_two(case, effects) if len(effects) == len(shown) else None
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
    names = dict.fromkeys(name for event in effects for name in event.data if name != "id")
    odd = {name: dict.fromkeys(inner(event.data.get(name)) for event in effects) for name in names}
    differing = [name for name, values in odd.items() if len(values) > 1]
    if len(differing) == 1:
        words = f"{asking}, with another {differing[0]} each time: {who} takes each for new."
        return Cause("key", words, True)
    if not differing:
        return Cause("key", f"{asking}, and nothing in it tells {who} that it is the same.", True)
    return None


def _of_two(case: Case, effects: list[Event]) -> Cause:
    """Say that two third parties did the same, and what was known of the first."""
    first, last = effects[0], effects[-1]
    one, other = case.narrator.name(first.actor), case.narrator.name(last.actor)
    method = last.data.get("method", "it")
    if case.unanswered(first):
        words = (
            f"{case.place(last)} got no answer from {one} to {method}, which {one} did, and asked "
            f"{other} for the same: no answer was taken for a no."
        )
        return Cause("unknown", words, True)
    words = f"{case.place(last)} asks {one} and {other} for the same {method}; neither knows of "
    words += "the other."
    return Cause("key", words, True)
