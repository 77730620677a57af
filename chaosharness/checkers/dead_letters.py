"""What becomes of dead letters: how many lie there, how long, and what they do when put back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import attrs

from chaosharness.checkers.effects import names_of, times
from chaosharness.checkers.excused import letters_of
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reading import Handed, Sent, read
from chaosharness.checkers.replays import own_letters, put_back, touched
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.kernel.history import History


@attrs.frozen
class Letter:
    """One dead letter, as long as it lies there.

    Attributes:
        sent: What it was made of: the message that died.
        place: The queue or topic where it lies.
        begin: The event that put it there.
        end: The event that took it away; -1 if it still lies there.
        own: Whether code put it there by itself: no broker says that it died.
    """

    sent: Sent
    place: str
    begin: int
    end: int
    own: bool = False


@lru_cache(maxsize=8)
def _letters(history: History) -> tuple[Letter, ...]:
    """Return the dead letters of a run that somebody could read, oldest first."""
    reading = read(history)
    first_of = letters_of(history)
    ends: dict[int, int] = {}
    for event in history.of("publish"):
        before = event.data.get("instead_of")
        if before is not None:
            ends.setdefault(before, event.index)
    for handed in reading.handed.values():
        if handed.acked >= 0:
            ends.setdefault(handed.sent.index, handed.acked)
    found = []
    for letter, first in {**own_letters(history), **first_of}.items():
        original, lying = reading.sent.get(first), reading.sent.get(letter)
        if original is None or lying is None or original.poison or lying.topic == original.topic:
            continue
        own = letter not in first_of
        found.append(Letter(original, lying.topic, letter, ends.get(letter, -1), own))
    return tuple(found)


def dead_letters_at_most(
    most: int = 0, *, place: Any = (), age_s_max: float | None = None
) -> Property:
    """Claim that an alert on dead letters does not go off: so many at a time, and so old.

    Only messages that could be read count: poison belongs there. A letter is gone when it is
    acknowledged where it lies, or moved.

    Args:
        most: How many may lie in one place at a time.
        place: The queue or topic of dead letters, or several; by default each that the broker, or
            `on_error`, puts them in. One that code fills itself, with what it has in hand and as it
            was, has to be named.
        age_s_max: How long one may lie there; by default for ever.

    Raises:
        InvalidDefinition: A number is out of range.

    >>> run.check(dead_letters_at_most(0))
    >>> run.check(dead_letters_at_most(10, place="dead", age_s_max=3_600))
    """
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise InvalidDefinition(
            f"dead_letters_at_most takes a whole number from 0, not {most!r}{asked_at()}"
        )
    if age_s_max is not None and not age_s_max > 0:
        raise InvalidDefinition(f"age_s_max must be more than 0, not {age_s_max!r}{asked_at()}")
    wanted = names_of(place)

    def judge(evidence: Evidence) -> list[Finding]:
        history = evidence.history
        by_place: dict[str, list[Letter]] = {}
        for letter in _letters(history):
            if _is_meant(letter, wanted):
                by_place.setdefault(letter.place, []).append(letter)
        found: list[Finding] = []
        for name, letters in sorted(by_place.items()):
            found += _too_many(name, letters, most)
            if age_s_max is not None:
                found += _too_old(history, name, letters, age_s_max)
        return found

    def tested(evidence: Evidence) -> bool:
        return any(_is_meant(one, wanted) for one in _letters(evidence.history))

    words = f" in {', '.join(sorted(wanted))}" if wanted else ""
    age = "" if age_s_max is None else f", none older than {age_s_max:g} s"
    return Property(f"dead letters{words}: {most} at most{age}", judge, "eventually", tested=tested)


def _is_meant(letter: Letter, wanted: frozenset[str]) -> bool:
    """Say whether a letter counts: one of the broker's own where none is named, or one named."""
    return letter.place in wanted if wanted else not letter.own


def _too_many(place: str, letters: list[Letter], most: int) -> Iterator[Finding]:
    """Yield a finding for the moment when there is one too many."""
    lying: list[Letter] = []
    for letter in letters:
        lying = [one for one in lying if one.end < 0 or one.end > letter.begin] + [letter]
        if len(lying) > most:
            what = f"{letter.sent} lies in {place}"
            others = f", with {len(lying) - 1} more" if len(lying) > 1 else ""
            yield Finding(
                f"{what}{others}: {len(lying)} dead letters; promised: {most} at most",
                tuple(sorted({one.sent.index for one in lying} | {one.begin for one in lying})),
                letter.sent.entity,
                {"place": place, "letters": len(lying), "most": most},
                place=place,
            )
            return


def _too_old(
    history: History, place: str, letters: list[Letter], age_s_max: float
) -> Iterator[Finding]:
    raw = history.raw
    for letter in letters:
        if letter.end < 0:
            how = "and nobody takes it away"
        else:
            age_s = (raw[letter.end][0] - raw[letter.begin][0]) / 1000
            if age_s <= age_s_max:
                continue
            how = f"for {age_s:,.0f} s"
        events = (letter.sent.index, letter.begin, *((letter.end,) if letter.end >= 0 else ()))
        yield Finding(
            f"{letter.sent} lies in {place} {how}; promised: no longer than {age_s_max:g} s",
            events,
            letter.sent.entity,
            {"place": place, "age_s_max": age_s_max},
            place=place,
        )
        return


# ---- tried


def dead_letters_were_tried() -> Property:
    """Claim that no message is put aside which nobody has tried to handle.

    A broker counts how often a message was handed out, not how often somebody worked on it. It may
    have been lost on its way, have waited too long behind others of its batch, or a function that
    was throttled never saw it. Poison is nobody's loss. What a main loop was given counts as tried.

    >>> run.check(dead_letters_were_tried())
    """

    def judge(evidence: Evidence) -> list[Finding]:
        history = evidence.history
        reading = read(history)
        calm_handlers = read(evidence.calm()).handlers_of()
        handlers = reading.handlers_of() | calm_handlers
        found = []
        for letter in _letters(history):
            if letter.own:
                continue  # whoever put it aside had it in hand
            sent = letter.sent
            given = [one for one in reading.handed.values() if one.sent.index == sent.index]
            if not any(_tried(history, one, handlers) for one in given):
                many = times(len(given))
                found.append(
                    Finding(
                        f"{sent} lies in {letter.place}, handed out {many} and tried by nobody",
                        (sent.index, *(one.index for one in given), letter.begin),
                        sent.entity,
                        {"place": letter.place, "given": len(given)},
                        place=letter.place,
                    )
                )
        return found

    def tested(evidence: Evidence) -> bool:
        return any(not letter.own for letter in _letters(evidence.history))

    return Property("dead letters were tried", judge, "eventually", tested=tested)


def _tried(history: History, handed: Handed, handlers: set[str]) -> bool:
    """Say whether somebody began to work on what was handed to them."""
    if history.raw[handed.index][7].get("lost"):
        return False
    if handed.group not in handlers:
        return True
    return max(handed.handled, handed.raised, handed.cut) >= 0 or bool(handed.work)


# ---- put back


def dead_letters_overwrite_nothing_newer() -> Property:
    """Claim that a dead letter which is put back changes nothing that a newer message wrote.

    Put back is a message that died (or that code itself put aside, in another topic, as it was) and
    is stored again where it had been: moved by the broker, or published once more as it was by
    whoever took it from the dead letters. If it is handled after
    one that was published later, under the same key (or for the same workload item), it must not
    write what that one wrote: the same key of a store, or the same table for that item. How long
    it lay there does not matter.

    >>> run.check(dead_letters_overwrite_nothing_newer())
    """

    def judge(evidence: Evidence) -> list[Finding]:
        return [
            _overwritten(old, newer, again)
            for old, newer, again in put_back(evidence.history)
            if touched(evidence.history, again) & touched(evidence.history, newer)
        ]

    def tested(evidence: Evidence) -> bool:
        return bool(put_back(evidence.history))

    return Property("dead letters overwrite nothing newer", judge, "always", tested=tested)


def _overwritten(old: Sent, newer: Handed, again: Handed) -> Finding:
    who = again.to.partition("#")[0]
    summary = (
        f"{who} handled {old}, put back from the dead letters, over what it had written for one "
        f"that was published later; promised: it changes nothing newer"
    )
    events = sorted({old.index, newer.sent.index, newer.index, again.sent.index, again.index})
    data = {"group": again.group, "topic": old.topic, "key": old.key}
    return Finding(summary, tuple(events), old.entity, data, place=old.topic)
