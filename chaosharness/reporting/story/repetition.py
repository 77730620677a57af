"""What was done twice, or asked for twice, and why nobody noticed."""

from __future__ import annotations

from chaosharness.checkers.masking import mask
from chaosharness.checkers.reading import Handed, read
from chaosharness.kernel.history import Event, History, plain
from chaosharness.reporting.story.legible import clip, inner, listed, ordinal
from chaosharness.reporting.story.narrator import Narrator


def work_of(history: History, event: Event) -> Handed | None:
    """Return the delivery that an event is part of the work of."""
    reading = read(history)
    return reading.handed.get(reading.roots[event.index])


def repetition(
    history: History, narrator: Narrator, anchors: list[Event], *, keys_told: bool = False
) -> list[str]:
    """Say what was done twice, from which root, and why nobody noticed."""
    shown = [event for event in anchors if event.kind == "effect"]
    effects = alike(shown)
    if len(effects) < 2:
        return []
    if len({event.actor for event in effects}) > 1 and len(effects) < len(shown):
        return []  # two steps of one kind, and how each was undone
    first, last = effects[0], effects[-1]
    nth = ordinal(len(effects))
    sentences = []
    if first.operation == last.operation:
        place, _, action = last.operation.partition("/")
        handler = place.partition(".")[2] or place
        sentences.append(f"So {handler} asks for {action} {_once_more(history, effects, nth)}.")
    if not keys_told:
        sentences += keys(narrator, effects)
    return sentences


def alike(effects: list[Event]) -> list[Event]:
    """Return the effects that are as the last one is: the same thing was asked for."""

    def asked(event: Event) -> object:
        words = {name: one for name, one in event.data.items() if name not in ("id", "key")}
        return mask(plain(words))

    return [event for event in effects if asked(event) == asked(effects[-1])]


def _once_more(history: History, effects: list[Event], nth: str) -> str:
    """Say whether the repetition came from one message, or from one handler run."""
    roots = [work_of(history, event) for event in (effects[0], effects[-1])]
    if all(root is not None for root in roots):
        one, other = roots
        assert one is not None and other is not None
        if one.index == other.index:
            return f"for the {nth} time in the same handler run"
        if one.sent.index == other.sent.index:
            return f"for the {nth} time, for the same message"
        if one.sent.value == other.sent.value and one.sent.topic == other.sent.topic:
            return f"for the {nth} time, for a second copy of the message"
    return f"for the {nth} time"


def keys(narrator: Narrator, effects: list[Event]) -> list[str]:
    """Say why a third party could not tell that it was asked for the same thing."""
    asked = [narrator.name(one) for one in dict.fromkeys(event.actor for event in effects)]
    if len(asked) > 1:
        none = "neither knows of the other" if len(asked) == 2 else "none knows of the others"
        return [f"{listed(asked)} are asked for the same thing, and {none}."]
    if any("key" not in event.data for event in effects):
        return _telling_apart(asked[0], effects)
    known = list(dict.fromkeys(event.data["key"] for event in effects))
    if known == [None]:
        return [f"The requests carry no idempotency key, so {asked[0]} takes each for a new one."]
    if len(known) == 1:
        key = clip(str(known[0]), 48)
        return [f"Each carries the idempotency key {key!r}, and {asked[0]} did it again."]
    if len(known) == len(effects):
        shown = listed([clip(str(key), 48) for key in known[:3]])
        return [
            f"Each carries an idempotency key of its own ({shown}): {asked[0]} sees no repetition."
        ]
    return []


def _telling_apart(who: str, effects: list[Event]) -> list[str]:
    """Say in which one field requests differ that are otherwise the same."""
    names = dict.fromkeys(name for event in effects for name in event.data if name != "id")
    odd = {name: dict.fromkeys(inner(event.data.get(name)) for event in effects) for name in names}
    differing = [name for name, values in odd.items() if len(values) > 1]
    if len(differing) != 1:
        return []
    shown = listed([clip(value, 48) for value in odd[differing[0]]][:3])
    return [f"For {who} they differ in {differing[0]}, and in nothing else: {shown}."]
